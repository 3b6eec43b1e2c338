package sandbox

import (
	"crypto/rand"
	"net/http"
	"slices"
	"time"

	"staffetta/fhir/fiscalcode"
)

// Taken is a message that the sandbox took.
type Taken struct {
	ID         string
	Recipient  fiscalcode.Code // zero where the code fits IO's pattern only
	Subject    string
	Markdown   string
	At         time.Time
	Advanced   bool
	ThirdParty *ThirdParty // the pointer to remote content; nil for a static message
	Unheard    bool        // its answer was cut: who sent it does not know that it exists

	code string // as it was sent
}

// ThirdParty is third_party_data (reference io.md, 2.3).
type ThirdParty struct {
	ID               string
	ConfigurationID  string
	HasRemoteContent bool
	HasAttachments   bool
	HasPrecondition  string // "" leaves it to the configuration
}

// draft is a message as it was sent, once it follows the contract.
type draft struct {
	code, subject, markdown string
	advanced, secure        bool
	thirdParty              *ThirdParty
}

// object is a part of a body. What is absent is zero; of another kind nothing is, once it follows the contract.
type object map[string]any

func (o object) text(name string) string {
	text, _ := o[name].(string)
	return text
}

func (o object) flag(name string) bool {
	flag, _ := o[name].(bool)
	return flag
}

func (o object) inner(name string) object {
	inner, _ := o[name].(map[string]any)
	return inner
}

func draftOf(body object, code string) draft {
	content := body.inner("content")
	d := draft{
		code: code, subject: content.text("subject"), markdown: content.text("markdown"),
		advanced: body.text("feature_level_type") == "ADVANCED", secure: content.flag("require_secure_channels"),
	}
	if pointer := content.inner("third_party_data"); pointer != nil {
		d.thirdParty = &ThirdParty{
			ID: pointer.text("id"), ConfigurationID: pointer.text("configuration_id"), HasRemoteContent: pointer.flag("has_remote_content"),
			HasAttachments: pointer.flag("has_attachments"), HasPrecondition: pointer.text("has_precondition"),
		}
	}
	return d
}

// message is POST /messages and POST /messages/{fiscal_code}.
func (s *Sandbox) message(w http.ResponseWriter, r *http.Request) {
	d, wrong := readDraft(r)
	if wrong == nil {
		wrong = s.judge(d)
	}
	if wrong != nil {
		refuse(w, wrong)
		return
	}
	taken := s.take(d)
	if taken.Unheard {
		panic(http.ErrAbortHandler) // the connection is cut, and the message is there
	}
	if s.o.Fault != nil && s.o.Fault(w, r, true) {
		return
	}
	w.Header().Set("Location", "/api/v1/messages/"+d.code+"/"+taken.ID)
	answer(w, http.StatusCreated, map[string]any{"id": taken.ID})
}

// readDraft takes the recipient from the path or from the body, never from both.
func readDraft(r *http.Request) (draft, *refusal) {
	body, wrong := read(r, newMessage)
	if wrong != nil {
		return draft{}, wrong
	}
	inPath, inBody := r.PathValue("code"), body.text("fiscal_code")
	switch {
	case inPath != "" && inBody != "":
		return draft{}, badRequest("fiscal_code is in the path and in the body")
	case inPath == "" && inBody == "":
		return draft{}, badRequest("fiscal_code is neither in the path nor in the body")
	case inPath != "" && fiscalCode("fiscal_code", inPath) != nil:
		return draft{}, badRequest("fiscal_code does not match the pattern")
	}
	return draftOf(body, inPath+inBody), nil
}

// judge is what IO's code refuses beyond its contract, and what its app would show wrongly.
func (s *Sandbox) judge(d draft) *refusal {
	if wrong := s.judgeAccount(d); wrong != nil {
		return wrong
	}
	if !d.secure {
		return badRequest("content.require_secure_channels: a health service always sets it")
	}
	if _, err := Buttons(d.markdown); err != nil {
		return badRequest("content.markdown: " + err.Error())
	}
	if s.of(d.code) == Forbidden {
		return recipientForbidden
	}
	return nil
}

// judgeAccount is what the account's contract and groups allow.
func (s *Sandbox) judgeAccount(d draft) *refusal {
	pointer, remote := d.thirdParty, s.o.RemoteContent
	switch {
	case d.advanced && !s.o.Premium:
		return forbidden("You are not allowed here")
	case pointer == nil:
		return nil
	case !remote.Allowed:
		return forbidden("You are not allowed here")
	case pointer.HasAttachments && !d.advanced:
		return forbidden("Attachments call forbidden")
	case pointer.ConfigurationID == "":
		return forbidden("No configuration id for remote content")
	case slices.Contains(remote.Foreign, pointer.ConfigurationID):
		return forbidden("Not your configuration")
	case s.configuration(pointer.ConfigurationID) == nil:
		return noConfiguration
	}
	return nil
}

// take keeps a message that is well.
func (s *Sandbox) take(d draft) Taken {
	recipient, err := fiscalcode.Parse(d.code)
	if err != nil {
		recipient = fiscalcode.Code{} // IO tests no check letter; such a message ends as REJECTED
	}
	now := s.now()
	taken := Taken{
		ID: ulid(now), Recipient: recipient, Subject: d.subject, Markdown: d.markdown, At: now,
		Advanced: d.advanced, ThirdParty: d.thirdParty, code: d.code,
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	taken.Unheard = s.chance.Float64() < s.o.Cut
	s.byID[taken.ID] = len(s.messages)
	s.messages = append(s.messages, taken)
	return taken
}

// ulid makes an id as IO's are: 48 bits of time and 80 of chance.
func ulid(now time.Time) string {
	const alphabet = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
	id := make([]byte, 26)
	ms := now.UnixMilli()
	for i := 9; i >= 0; i-- {
		id[i] = alphabet[ms&31]
		ms >>= 5
	}
	_, _ = rand.Read(id[10:]) // never fails (crypto/rand)
	for i := 10; i < len(id); i++ {
		id[i] = alphabet[id[i]&31]
	}
	return string(id)
}
