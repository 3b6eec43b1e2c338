package notifier

import (
	"slices"
	"strings"

	"staffetta/fhir/fiscalcode"
)

// state is what a text may depend on: the buttons under it.
type state struct {
	wording       Wording
	first, second Button
	found         findings // what is wrong with the texts
}

// String says which state it is to those who look for a mistake that shows in one state only.
func (s state) String() string {
	sso, buttons := "without SSO", "one button"
	if s.first.SSO {
		sso = "with SSO"
	}
	if s.second.exists() {
		buttons = "two buttons"
	}
	return sso + ", " + buttons
}

// findings are the states that a mistake shows in, by file and mistake.
type findings map[[2]string][]string

func (s state) wrong(text source, says string) {
	mistake := [2]string{text.path, says}
	if in := s.found[mistake]; !slices.Contains(in, s.String()) {
		s.found[mistake] = append(in, s.String())
	}
}

// violations names the states where a mistake does not show in all of them.
func (f findings) violations() violations {
	const states = 4
	var v violations
	for mistake, in := range f {
		where := mistake[0]
		if len(in) < states {
			where += " (" + strings.Join(in, "; ") + ")"
		}
		v.add(where, mistake[1])
	}
	v.sort()
	return v
}

// messages are all messages of a language in this state.
func (s state) messages(all texts, language string) map[string]written {
	done := map[string]written{}
	for _, publication := range publications {
		done[publication] = s.message(all, language, publication)
	}
	return done
}

// message is one of them: the text of the language, and the Italian one below.
func (s state) message(all texts, language, publication string) written {
	text := all[language][publication]
	subject, body := s.render(all, text)
	if language != fallback {
		_, italian := s.render(all, all[fallback][publication])
		body += "\n" + fallbackHeading + "\n" + italian
	}
	front, err := frontOf(s.first, s.second).encode()
	w := written{subject: subject, front: front, body: body}
	if err == nil {
		m := w.message(fiscalcode.Code{})
		m.Markdown = strings.ReplaceAll(m.Markdown, Placeholder, sampleReference)
		err = m.Check()
	}
	if err != nil {
		s.wrong(text, err.Error())
	}
	return w
}

// render fills a text in, and holds what comes out against the rules once more.
func (s state) render(all texts, text source) (title, body string) {
	w := Words{Button: s.first.text(text.language), SSO: s.first.SSO}
	if s.second.exists() {
		w.SecondButton = s.second.text(text.language)
	}
	if isCorrection(text.publication) {
		w.OldTitle, _ = s.render(all, all[text.language]["published"])
	}
	title, body, err := text.render(w)
	if err != nil {
		s.wrong(text, "cannot be rendered")
		return title, body
	}
	lines := strings.Split(title+"\n"+body, "\n")
	checkLines(lines, text.language, s.wording, func(_ int, says string) { s.wrong(text, says) })
	s.checkWhole(text, w, title, body)
	return title, body
}

// checkWhole holds a text against the rules that concern it as a whole.
func (s state) checkWhole(text source, w Words, title, body string) {
	switch {
	case !isCorrection(text.publication):
	case !strings.HasSuffix(title, ": "+w.OldTitle):
		s.wrong(text, "want a title as the manual has it for corrections: # Errata corrige: {{.OldTitle}}")
	case text.language == fallback && !strings.HasPrefix(title, "Errata corrige: "):
		s.wrong(text, "want a title that begins with Errata corrige")
	}
	paragraphs := strings.Split(strings.TrimSpace(body), "\n\n")
	if last := paragraphs[len(paragraphs)-1]; !strings.Contains(last, w.Button) && (w.SecondButton == "" || !strings.Contains(last, w.SecondButton)) {
		s.wrong(text, "ends without an action, want {{.Button}} in the last paragraph")
	}
}
