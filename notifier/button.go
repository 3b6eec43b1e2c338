package notifier

import (
	"errors"
	"net/url"
	"regexp"
	"strings"
)

// Button is one button under a message. The app reads its text in Italian and English only: every other language sees
// the Italian one (reference io.md, 4).
type Button struct {
	URL     string // https, for the second button also mailto: or tel:; may hold {ref}. "" is no such button
	Italian string // short, an explicit verb first
	English string
	SSO     bool // the portal at URL is registered with IO, and starts the sign-in there: iosso:// instead of iohandledlink://
}

// Placeholder is where a button's URL takes the opaque reference of a document.
const Placeholder = "{ref}"

// Keys of the configuration file, for those who have to change something there.
const (
	firstKey  = "message.button"
	secondKey = "message.second_button"
)

// text is what the app shows to readers of a language.
func (b Button) text(language string) string {
	if language == "en" {
		return b.English
	}
	return b.Italian
}

// exists says whether there is such a button.
func (b Button) exists() bool { return b.URL != "" }

func (b Button) withSSO(sso bool) Button {
	b.SSO = sso
	return b
}

// or is another button where there is none.
func (b Button) or(other Button) Button {
	if b.exists() {
		return b
	}
	return other
}

// action is what the app does when the button is pressed.
func (b Button) action() string {
	if b.SSO {
		return "iosso://" + b.URL
	}
	return "iohandledlink://" + b.URL
}

// check says what is wrong with a button, by the keys of the configuration file.
func (b Button) check(key string, wording Wording) violations {
	var v violations
	if err := b.checkURL(key == secondKey); err != nil {
		v.add(key+"_url", err.Error())
	}
	for language, text := range map[string]string{"it": b.Italian, "en": b.English} {
		for _, rule := range rulesOfButton(language, wording) {
			if rule.broken(text) {
				v.add(key+"_text."+language, rule.says)
			}
		}
	}
	v.sort()
	return v
}

// sampleReference stands for a document's reference where an address or a length is checked: no reference is longer.
var sampleReference = strings.Repeat("r", maxReference)

// checkURL never repeats the address.
func (b Button) checkURL(second bool) error {
	portal, err := url.Parse(strings.ReplaceAll(b.URL, Placeholder, sampleReference))
	switch {
	case err != nil || strings.ContainsFunc(b.URL, unfitForURL):
		return errors.New("want an address without blanks, quotes, control characters or letters beyond ASCII")
	case second && !b.SSO && (portal.Scheme == "mailto" || portal.Scheme == "tel") && portal.Opaque != "":
		return nil
	case portal.Scheme != "https" || portal.Hostname() == "":
		return errors.New("want an https address")
	case portal.User != nil:
		return errors.New("holds a user or a password")
	case strings.Contains(portal.Host+portal.Fragment, sampleReference):
		return errors.New("want {ref} in the path or in the query: a portal sees nothing else of the address")
	}
	return nil
}

func unfitForURL(r rune) bool { return r <= ' ' || r > '~' || strings.ContainsRune(`"'\<>`, r) }

// References are opaque: 22 characters of base64url are 128 bits, and a codice fiscale is shorter.
const minReference, maxReference = 22, 64

var opaque = regexp.MustCompile(`^[A-Za-z0-9_-]+$`)

func checkReference(reference string) error {
	if len(reference) < minReference || len(reference) > maxReference || !opaque.MatchString(reference) {
		return errors.New("reference: want 22 to 64 of A-Z, a-z, 0-9, - and _, and nothing that means something")
	}
	return nil
}
