package notifier

import (
	"errors"
	"slices"
	"strings"
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

func (s state) wrong(in source, says string) {
	mistake := [2]string{in.path, says}
	if states := s.found[mistake]; !slices.Contains(states, s.String()) {
		s.found[mistake] = append(states, s.String())
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

// rendered is a text with everything filled in.
type rendered struct{ title, body string }

// messages are all messages in this state, by language and publication.
func (s state) messages(all texts) map[string]map[string]written {
	texts := s.render(all)
	front, err := frontOf(s.first, s.second).encode()
	messages := map[string]map[string]written{}
	for language := range all {
		messages[language] = map[string]written{}
		for publication, source := range all[language] {
			text := texts[language][publication]
			w := written{subject: text.title, front: front, body: text.body}
			if language != fallback {
				w.body += "\n" + fallbackHeading + "\n" + texts[fallback][publication].body
			}
			messages[language][publication] = w
			if err := errors.Join(err, w.longest().Check()); err != nil {
				s.wrong(source, err.Error())
			}
		}
	}
	return messages
}

// render fills all texts in, and holds what comes out against the rules once more.
func (s state) render(all texts) map[string]map[string]rendered {
	done := map[string]map[string]rendered{}
	for _, source := range all.inOrder() { // the published message before what corrects it
		if done[source.language] == nil {
			done[source.language] = map[string]rendered{}
		}
		w := Words{Button: s.first.text(source.language), SSO: s.first.SSO}
		if s.second.exists() {
			w.SecondButton = s.second.text(source.language)
		}
		if isCorrection(source.publication) {
			w.OldTitle = done[source.language][published].title
		}
		text, err := source.render(w)
		if err != nil {
			s.wrong(source, "cannot be rendered")
			continue
		}
		lines := strings.Split(text.title+"\n"+text.body, "\n")
		checkLines(lines, source.language, s.wording, func(_ int, says string) { s.wrong(source, says) })
		s.checkWhole(source, w, text)
		done[source.language][source.publication] = text
	}
	return done
}

// checkWhole holds a text against the rules that concern it as a whole.
func (s state) checkWhole(from source, w Words, text rendered) {
	switch {
	case !isCorrection(from.publication):
	case !strings.HasSuffix(text.title, ": "+w.OldTitle):
		s.wrong(from, "want a title as the manual has it for corrections: # Errata corrige: {{.OldTitle}}")
	case from.language == fallback && !strings.HasPrefix(text.title, "Errata corrige: "):
		s.wrong(from, "want a title that begins with Errata corrige")
	}
	paragraphs := strings.Split(strings.TrimSpace(text.body), "\n\n")
	if last := paragraphs[len(paragraphs)-1]; !strings.Contains(last, w.Button) && (w.SecondButton == "" || !strings.Contains(last, w.SecondButton)) {
		s.wrong(from, "ends without an action, want {{.Button}} in the last paragraph")
	}
}
