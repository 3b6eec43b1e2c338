package sandbox

import (
	"net/http"

	"staffetta/fhir/fiscalcode"
)

// Profile is what IO knows of a citizen.
type Profile int

// The profiles.
const (
	Reachable  Profile = iota // on IO, the service is allowed
	NotOnIO                   // 404
	NotAllowed                // sender_allowed: false
	Forbidden                 // 403 Recipient forbidden
)

// of is the profile behind a code. One with a wrong check letter fits IO's pattern and belongs to nobody.
func (s *Sandbox) of(code string) Profile {
	if s.o.Profile == nil {
		return Reachable
	}
	parsed, err := fiscalcode.Parse(code)
	if err != nil {
		return NotOnIO
	}
	return s.o.Profile(parsed)
}

func (s *Sandbox) profileByBody(w http.ResponseWriter, r *http.Request) {
	body, wrong := read(r, fiscalCodePayload)
	if wrong != nil {
		refuse(w, wrong)
		return
	}
	s.profile(w, body.text("fiscal_code"))
}

func (s *Sandbox) profileByPath(w http.ResponseWriter, r *http.Request) {
	s.profile(w, r.PathValue("code"))
}

func (s *Sandbox) profile(w http.ResponseWriter, code string) {
	if fiscalCode("fiscal_code", code) != nil {
		refuse(w, badRequest("fiscal_code does not match the pattern"))
		return
	}
	allowed := false
	switch s.of(code) {
	case NotOnIO:
		refuse(w, &refusal{http.StatusNotFound, "Profile not found", "The profile you requested was not found in the system."})
		return
	case Forbidden:
		refuse(w, recipientForbidden)
		return
	case NotAllowed:
	case Reachable:
		allowed = true
	}
	profile := map[string]any{"sender_allowed": allowed}
	if languages := s.languages(code); len(languages) > 0 {
		profile["preferred_languages"] = languages
	}
	answer(w, http.StatusOK, profile)
}

var recipientForbidden = &refusal{http.StatusForbidden, "Recipient forbidden", "You are not allowed to issue requests for this recipient."}

func (s *Sandbox) languages(code string) []string {
	parsed, err := fiscalcode.Parse(code)
	if s.o.Languages == nil || err != nil {
		return []string{"it_IT"}
	}
	return s.o.Languages(parsed)
}
