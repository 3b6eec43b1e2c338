package notifier

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// openings are the texts of remote content: what a citizen reads who opens a message, at that moment.
var openings = []string{details, unavailable, precondition}

const (
	details      = "details"      // the document that the message is about
	unavailable  = "unavailable"  // the same text whatever the reason is: hidden, gone, a source that does not answer
	precondition = "precondition" // before the message is opened
)

// Content is what IO shows of an opened message. IO fetches it each time and keeps nothing of it.
type Content struct{ Subject, Markdown string }

// Facts are all that remote content says of a document. What is zero is not said.
type Facts struct {
	Kind        DocumentKind
	Date        time.Time
	Institution string // as the configuration names it: what a source writes can be a department, or a doctor
}

// Opened is all that the texts unavailable and precondition can put in: nothing of a document.
type Opened struct {
	Title        string // under which IO keeps the message, in the same language
	Button       string // the text of the first button, as the app shows it to readers of the template's language
	SecondButton string // the same of the second button; "" where there is none
	SSO          bool   // the first button signs the citizen in
}

// Details is what the text details can put in.
type Details struct {
	Opened

	Kind        string // of the document, in words of ours
	Date        string // of the document, as it is written in the language; "" unknown
	Institution string // "" where the configuration names none
	Updated     bool   // the message announced another edition than the first
}

// opener writes remote content. Of the state with which it was made, every text was rendered at start.
type opener struct {
	texts         texts
	messages      map[string]map[string]written
	first, second Button
	rome          *time.Location
}

// Details is a message about a document that its citizen may see. There is none about one that was withdrawn.
func (c *Composer) Details(n Notice, f Facts) (Content, error) {
	if n.Publication == withdrawn {
		return Content{}, errors.New("nothing is shown of what was withdrawn")
	}
	return c.open(n, details, f)
}

// Unavailable is a message about a document that cannot be shown, and does not say why: the reason may be one that the citizen
// must hear from a doctor. That a document was withdrawn is what its own message says.
func (c *Composer) Unavailable(n Notice) (Content, error) { return c.open(n, unavailable, Facts{}) }

// Precondition is what a citizen reads before a message is opened.
func (c *Composer) Precondition(n Notice) (Content, error) {
	o := c.opener
	language := o.language(c.Language(n.Languages))
	return o.whole(language, precondition, o.messages[language][published], Facts{}, false)
}

// open writes remote content in the language of its message, with its buttons: the app reads them from here, not from what IO
// keeps (reference io.md, 4).
func (c *Composer) open(n Notice, name string, f Facts) (Content, error) {
	language := c.opener.language(c.Language(n.Languages))
	w, known := c.opener.messages[language][n.Publication]
	if !known {
		return Content{}, errors.New("there is no such message")
	}
	if err := checkReference(n.Reference); err != nil {
		return Content{}, err
	}
	content := Content{Subject: w.subject, Markdown: w.body}
	if n.Publication != withdrawn {
		var err error
		if content, err = c.opener.whole(language, name, w, f, n.Publication == updated); err != nil {
			return Content{}, err
		}
	}
	content.Markdown = strings.ReplaceAll(w.front, Placeholder, n.Reference) + "\n" + content.Markdown
	return content, content.check()
}

// check holds the content against IO's limits: beyond them the citizen reads an error (reference io.md, 5).
func (c Content) check() error { return Message{Subject: c.Subject, Markdown: c.Markdown}.Check() }

// language is one that there are these texts in.
func (o *opener) language(wanted string) string {
	if _, has := o.texts[wanted]; has {
		return wanted
	}
	return fallback
}

// whole is a text without buttons, with the Italian one below every other language.
func (o *opener) whole(language, name string, w written, f Facts, isUpdated bool) (Content, error) {
	text, err := o.render(language, name, w.subject, f, isUpdated)
	if err != nil || language == fallback {
		return Content{text.title, text.body}, err
	}
	below, err := o.render(fallback, name, w.subject, f, isUpdated)
	return Content{text.title, text.body + "\n" + fallbackHeading + "\n" + below.body}, err
}

// render fills one text in.
func (o *opener) render(language, name, title string, f Facts, isUpdated bool) (rendered, error) {
	opened := Opened{Title: title, Button: o.first.text(language), SSO: o.first.SSO}
	if o.second.exists() {
		opened.SecondButton = o.second.text(language)
	}
	source := o.texts[language][name]
	if name != details {
		return source.render(opened)
	}
	return source.render(Details{
		Opened: opened, Kind: f.Kind.in(language), Date: o.date(f.Date, language), Institution: f.Institution, Updated: isUpdated,
	})
}

// timeOfRome is Italy's.
func timeOfRome() *time.Location {
	if rome, err := time.LoadLocation("Europe/Rome"); err == nil {
		return rome
	}
	return time.FixedZone("CET", 60*60) // a machine without a time zone database: another day in an hour around midnight
}

// date writes a day as readers of a language do.
func (o *opener) date(at time.Time, language string) string {
	if at.IsZero() {
		return ""
	}
	layout := "02/01/2006"
	switch language {
	case "de":
		layout = "02.01.2006"
	case "en":
		layout = "2 January 2006"
	}
	return at.In(o.rome).Format(layout)
}

// longestInstitution is in UTF-16 units.
const longestInstitution = 80

// CheckInstitution says whether the name of an institution can stand in remote content.
func CheckInstitution(name string) error {
	for _, rule := range append([]rule{
		{fmt.Sprintf("want %d characters at most", longestInstitution), func(text string) bool { return units(text) > longestInstitution }},
		{"want no blanks around it", func(text string) bool { return strings.TrimSpace(text) != text }},
		{"holds Markdown, want plain text", func(text string) bool { return strings.ContainsAny(text, "*_`[]#|~<>\\") }},
	}, everywhere[0]) {
		if rule.broken(name) {
			return errors.New(rule.says)
		}
	}
	return nil
}
