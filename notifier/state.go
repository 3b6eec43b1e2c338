package notifier

import (
	"errors"
	"slices"
	"strings"
	"time"
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
		if isCorrection(source.name) {
			w.OldTitle = done[source.language][published].title
		}
		text, err := source.render(w)
		if err != nil {
			s.wrong(source, "cannot be rendered")
			continue
		}
		lines := strings.Split(text.title+"\n"+text.body, "\n")
		checkLines(lines, source.language, s.wording, func(_ int, says string) { s.wrong(source, says) })
		s.checkCorrection(source, w, text)
		s.checkAction(source, text)
		done[source.language][source.name] = text
	}
	return done
}

// checkCorrection holds a correction against the manual's form.
func (s state) checkCorrection(from source, w Words, text rendered) {
	switch {
	case !isCorrection(from.name):
	case !strings.HasSuffix(text.title, ": "+w.OldTitle):
		s.wrong(from, "want a title as the manual has it for corrections: # Errata corrige: {{.OldTitle}}")
	case from.language == fallback && !strings.HasPrefix(text.title, "Errata corrige: "):
		s.wrong(from, "want a title that begins with Errata corrige")
	}
}

// checkAction wants a text to end in what there is to do.
func (s state) checkAction(from source, text rendered) {
	paragraphs := strings.Split(strings.TrimSpace(text.body), "\n\n")
	last := paragraphs[len(paragraphs)-1]
	if !strings.Contains(last, s.first.text(from.language)) && (!s.second.exists() || !strings.Contains(last, s.second.text(from.language))) {
		s.wrong(from, "ends without an action, want {{.Button}} in the last paragraph")
	}
}

// checkOpener renders remote content with the least and with the most that can be said, and holds it against the rules. What
// stands in for facts breaks none: they are words of ours, and of the configuration, which is checked where it comes from.
func (s state) checkOpener(o *opener) {
	for _, source := range o.texts.inOrder() {
		publications := []string{published}
		if source.name == details {
			publications = append(publications, updated)
		}
		for _, publication := range publications {
			if w, has := o.messages[source.language][publication]; has { // else there are no messages in the language
				s.checkOpened(o, source, w, publication == updated)
			}
		}
	}
}

func (s state) checkOpened(o *opener, from source, w written, isUpdated bool) {
	text, err := o.render(from.language, from.name, w.subject, Facts{}, isUpdated)
	if err != nil {
		s.wrong(from, "cannot be rendered")
		return
	}
	lines := strings.Split(text.title+"\n"+text.body, "\n")
	checkLines(lines, from.language, s.wording, func(_ int, says string) { s.wrong(from, says) })
	if from.name == precondition {
		return
	}
	s.checkAction(from, text)
	most := Facts{Kind: Outpatient, Date: time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC), Institution: strings.Repeat("Ente ", longestInstitution/5)}
	for _, facts := range []Facts{{}, most} {
		content, err := o.whole(from.language, from.name, w, facts, isUpdated)
		w.subject, w.body = content.Subject, content.Markdown
		for _, err := range append(w.longest().checkLengths(), err) {
			if err != nil {
				s.wrong(from, err.Error())
			}
		}
	}
}
