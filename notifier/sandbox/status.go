package sandbox

import "net/http"

// The states of a message (reference io.md, 2.4).
const (
	statusAccepted  = "ACCEPTED"
	statusThrottled = "THROTTLED"
	statusProcessed = "PROCESSED"
	statusRejected  = "REJECTED"
)

// status is GET /messages/{fiscal_code}/{id}.
func (s *Sandbox) status(w http.ResponseWriter, r *http.Request) {
	if fiscalCode("fiscal_code", r.PathValue("code")) != nil {
		refuse(w, badRequest("fiscal_code does not match the pattern"))
		return
	}
	taken, known := s.find(r.PathValue("id"))
	if !known || taken.code != r.PathValue("code") {
		refuse(w, &refusal{http.StatusNotFound, "Message not found", "The message that you requested was not found in the system."})
		return
	}
	answer(w, http.StatusOK, s.standing(taken))
}

func (s *Sandbox) find(id string) (Taken, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	at, known := s.byID[id]
	if !known {
		return Taken{}, false
	}
	return s.messages[at], true
}

// standing is a message with its status. Its content is stored when it is processed, not before; read_status is there
// for ADVANCED messages only.
func (s *Sandbox) standing(taken Taken) map[string]any {
	status, level := s.statusOf(taken), "STANDARD"
	if taken.Advanced {
		level = "ADVANCED"
	}
	message := map[string]any{
		"id": taken.ID, "fiscal_code": taken.code, "created_at": taken.At.UTC().Format("2006-01-02T15:04:05.000Z"),
		"time_to_live": 3600, "feature_level_type": level, "sender_service_id": "01JBSANDBOX00000000000000",
	}
	all := map[string]any{"message": message, "status": status}
	if status != statusProcessed {
		return all
	}
	stored := map[string]any{"subject": taken.Subject, "markdown": taken.Markdown, "require_secure_channels": true}
	if taken.ThirdParty != nil {
		stored["third_party_data"] = taken.ThirdParty.stored()
	}
	message["content"] = stored
	if taken.Advanced {
		all["read_status"] = s.readStatus(taken)
	}
	return all
}

func (p ThirdParty) stored() map[string]any {
	stored := map[string]any{
		"id": p.ID, "configuration_id": p.ConfigurationID, "has_remote_content": p.HasRemoteContent, "has_attachments": p.HasAttachments,
	}
	if p.HasPrecondition != "" {
		stored["has_precondition"] = p.HasPrecondition
	}
	return stored
}

// statusOf is where a message is on its way: ACCEPTED, maybe THROTTLED, then final.
func (s *Sandbox) statusOf(taken Taken) string {
	switch left := s.o.Delay - s.now().Sub(taken.At); {
	case left > max(s.o.Throttled, 0):
		return statusAccepted
	case left > 0:
		return statusThrottled
	}
	if s.o.Final != nil {
		if status := s.o.Final(taken); status != "" {
			return status
		}
	}
	if profile := s.of(taken.code); profile == NotOnIO || profile == NotAllowed {
		return statusRejected
	}
	return s.o.Processed
}

func (s *Sandbox) readStatus(taken Taken) string {
	switch {
	case s.o.ReadStatus != nil:
		return s.o.ReadStatus(taken)
	case s.Read(taken.ID):
		return "READ"
	}
	return "UNREAD"
}
