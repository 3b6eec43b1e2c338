package fhir

import (
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"regexp"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// NotificationRequest is an HTTP request as far as it says what changed.
type NotificationRequest struct {
	Method           string
	PathType, PathID string // of the route; "" where it has none
	ContentType      string
	MedplumDeleted   string // X-Medplum-Deleted-Resource
	IfMatch          string // HAPI: the version
	Body             io.Reader
	Limits           Limits
	// Documents says that the source keeps documents as Compositions: Composition and DocumentReference are hints too.
	Documents bool
}

// DecodeNotification understands anything that a source posts: the classic rest-hook forms, notification Bundles of the R4
// backport (0.1 to 1.1), of R4B and R5, and what real servers make of them (reference fhir-subscriptions.md, 2, 3 and 9). An
// error is an *Issue, or an error of reading the body.
func DecodeNotification(req NotificationRequest) (Notification, error) {
	if issue := req.checkPath(); issue != nil {
		return Notification{}, issue
	}
	if req.Method == http.MethodDelete {
		return req.deleted()
	}
	body, err := openBody(req.Body, req.Limits.MaxBytes)
	switch {
	case errors.Is(err, errTooLarge), errors.Is(err, errEncoding):
		return Notification{}, unreadable(err)
	case err != nil:
		return Notification{}, &Issue{Status: http.StatusBadRequest, Code: "incomplete", Diagnostics: "the body cannot be read"}
	case body.empty:
		return req.withoutBody(), nil
	}
	if issue := checkContentType(req.ContentType); issue != nil {
		return Notification{}, issue
	}
	resource, err := readWire(body, req.Limits)
	if err != nil {
		return Notification{}, unreadable(err)
	}
	return req.understand(resource)
}

// checkPath refuses what is no type and no id: nothing else ever gets into a URL or into Redis.
func (req *NotificationRequest) checkPath() *Issue {
	if req.PathType != "" && !isType(req.PathType) {
		return &Issue{Status: http.StatusBadRequest, Code: "value", Diagnostics: "the path names no resource type"}
	}
	if req.PathID != "" && !IsID(req.PathID) {
		return &Issue{Status: http.StatusBadRequest, Code: "value", Diagnostics: "the path names no FHIR id"}
	}
	return nil
}

func (req *NotificationRequest) deleted() (Notification, error) {
	if req.PathID == "" {
		return Notification{}, &Issue{Status: http.StatusBadRequest, Code: "required", Diagnostics: "DELETE wants type and id in its path"}
	}
	return req.classic(Event{Type: req.PathType, ID: req.PathID, Deleted: true}), nil
}

// withoutBody is a ping, or an id in the path (FHIR Works on AWS).
func (req *NotificationRequest) withoutBody() Notification {
	if deleted, ok := parseReference(req.MedplumDeleted); ok {
		return req.classic(Event{Type: deleted.kind, ID: deleted.id, Deleted: true})
	}
	if req.PathID == "" {
		return Notification{Kind: KindPing, EventCount: -1, CatchUp: true}
	}
	return req.classic(Event{Type: req.PathType, ID: req.PathID, Version: entityTag(req.IfMatch)})
}

// classic is a notification of one resource, or none of our business.
func (req *NotificationRequest) classic(event Event) Notification {
	n := Notification{Kind: KindIgnored, EventCount: -1}
	if concerns(event.Type, req.Documents) {
		n.Kind, n.Events = KindClassic, []Event{event}
	}
	return n
}

// concerns says whether a resource of the type can lead to a document.
func concerns(kind string, documents bool) bool {
	switch kind {
	case "DiagnosticReport":
		return true
	case "Composition", "DocumentReference", "Bundle":
		return documents
	}
	return false
}

// entityTag is the version in an If-Match header: "3" or W/"3".
func entityTag(header string) string {
	version := strings.Trim(strings.TrimPrefix(strings.TrimSpace(header), "W/"), `"`)
	if !IsID(version) {
		return ""
	}
	return version
}

// checkContentType wants JSON or XML. Which of them a body is, it tells itself.
func checkContentType(header string) *Issue {
	if header == "" {
		return nil
	}
	kind, parameters, err := mime.ParseMediaType(header)
	if errors.Is(err, mime.ErrInvalidMediaParameter) {
		err = nil // the type is known, and a parameter that is none says nothing
	}
	charset := parameters["charset"]
	isJSON := kind == "application/json" || kind == "text/json" || strings.HasSuffix(kind, "+json")
	isXML := kind == "application/xml" || kind == "text/xml" || strings.HasSuffix(kind, "+xml")
	switch {
	case err != nil || !isJSON && !isXML:
		return &Issue{Status: http.StatusUnsupportedMediaType, Code: "not-supported", Diagnostics: "Content-Type is neither application/fhir+json nor application/fhir+xml"}
	case isXML && charset != "" && !strings.EqualFold(charset, "utf-8"): // JSON is UTF-8 whatever it says
		return &Issue{Status: http.StatusUnsupportedMediaType, Code: "not-supported", Diagnostics: "the charset that Content-Type names is not utf-8"}
	}
	return nil
}

// elementName is what a pointer may show: an element of FHIR or an index. A name that somebody made up may hold anything.
var elementName = regexp.MustCompile(`^([a-z][A-Za-z]{0,40}|[0-9]{1,5})$`)

// unreadable says what is wrong with a body, and where, without repeating any of it.
func unreadable(err error) error {
	issue := &Issue{Status: http.StatusBadRequest, Code: "structure", Diagnostics: "the body is not well-formed JSON"}
	switch {
	case errors.Is(err, errTooLarge):
		return &Issue{Status: http.StatusRequestEntityTooLarge, Code: "too-long", Diagnostics: "the body is larger than this server accepts"}
	case errors.Is(err, errEncoding):
		return &Issue{Status: http.StatusUnsupportedMediaType, Code: "not-supported", Diagnostics: "the body is not in UTF-8"}
	case errors.Is(err, errTooMany):
		return &Issue{Status: http.StatusRequestEntityTooLarge, Code: "too-long", Diagnostics: "the Bundle has more entries or events than this server accepts"}
	case errors.Is(err, errTooDeep):
		issue.Code, issue.Diagnostics = "structure", "the body is nested deeper than this server accepts"
	case errors.Is(err, errTooManyNames):
		issue.Diagnostics = "one object has more elements than any of FHIR has"
	case errors.Is(err, errNotObject):
		issue.Diagnostics = "the body is not one JSON object"
	}
	if trouble, ok := errors.AsType[*xmlTrouble](err); ok {
		issue.Diagnostics, issue.Expression = "the body is "+trouble.Error(), trouble.at
	}
	if syntactic, ok := errors.AsType[*jsontext.SyntacticError](err); ok {
		issue.Expression = expression(string(syntactic.JSONPointer))
		issue.Diagnostics = fmt.Sprintf("the body is not well-formed JSON, at byte %d of it without its long strings", syntactic.ByteOffset)
		if errors.Is(err, jsontext.ErrDuplicateName) {
			issue.Diagnostics = "the body is JSON with a duplicate name in one object"
		}
	}
	return issue
}

// expression turns a JSON pointer into a path as OperationOutcome has it.
func expression(pointer string) string {
	var path strings.Builder
	for i, part := range strings.Split(pointer, "/") {
		switch {
		case i == 0:
		case !elementName.MatchString(part):
			return path.String()
		case part[0] <= '9':
			path.WriteString("[" + part + "]")
		default:
			if path.Len() > 0 {
				path.WriteByte('.')
			}
			path.WriteString(part)
		}
	}
	return path.String()
}

// understand tells the forms apart (reference fhir-subscriptions.md, 9).
func (req *NotificationRequest) understand(r *wireResource) (Notification, error) {
	switch {
	case r.kind == "Bundle":
		if r.code == "document" && statusOf(r) == nil { // the classic form of a resource that is a Bundle
			if issue := req.disagrees(r); issue != nil {
				return Notification{}, issue
			}
		}
		return req.bundle(r)
	case r.kind == "SubscriptionStatus" || r.kind == "Parameters":
		return Notification{}, &Issue{Status: http.StatusBadRequest, Code: "invalid", Diagnostics: "a bare " + r.kind + " is no notification: want it in a Bundle"}
	case r.kind != "" && isType(r.kind):
		return req.bare(r)
	case r.kind != "":
		return Notification{}, &Issue{Status: http.StatusBadRequest, Code: "value", Diagnostics: "names no resource type", Expression: "resourceType"}
	}
	if req.MedplumDeleted != "" {
		deleted, ok := parseReference(req.MedplumDeleted)
		if !ok {
			return Notification{}, &Issue{Status: http.StatusBadRequest, Code: "value", Diagnostics: "X-Medplum-Deleted-Resource names no resource"}
		}
		return req.classic(Event{Type: deleted.kind, ID: deleted.id, Deleted: true}), nil
	}
	if r.code == "handshake" {
		return Notification{Kind: KindHandshake, EventCount: -1}, nil
	}
	if r.inner != nil && r.event != "" { // Aidbox' old SubsSubscription
		if r.event == "delete" && IsID(r.inner.id) {
			return req.classic(Event{Type: r.inner.kind, ID: r.inner.id, Deleted: true}), nil
		}
		return req.bare(r.inner)
	}
	return Notification{}, &Issue{Status: http.StatusBadRequest, Code: "invalid", Diagnostics: "the body is no FHIR resource: it has no resourceType"}
}

// disagrees refuses a body that is another resource than its path names (reference fhir-subscriptions.md, 2.4).
func (req *NotificationRequest) disagrees(r *wireResource) *Issue {
	if req.PathType != "" && req.PathType != r.kind {
		return &Issue{Status: http.StatusBadRequest, Code: "invalid", Diagnostics: "path and body name different types", Expression: "resourceType"}
	}
	if req.PathID != "" && r.id != "" && req.PathID != r.id {
		return &Issue{Status: http.StatusBadRequest, Code: "invalid", Diagnostics: "path and body name different ids", Expression: r.kind + ".id"}
	}
	return nil
}

// bareEvent is a resource that stands in no notification: path and header may say what it does not.
func (req *NotificationRequest) bareEvent(r *wireResource) Event {
	event := r.asEvent()
	if event.ID == "" {
		event.ID = req.PathID
	}
	if event.Version == "" {
		event.Version = entityTag(req.IfMatch)
	}
	return event
}

// bare is a classic rest-hook body. Where path and body both name it, they must agree.
func (req *NotificationRequest) bare(r *wireResource) (Notification, error) {
	if issue := req.disagrees(r); issue != nil {
		return Notification{}, issue
	}
	event := req.bareEvent(r)
	if concerns(event.Type, req.Documents) && !IsID(event.ID) {
		return Notification{}, &Issue{Status: http.StatusBadRequest, Code: "required", Diagnostics: "an id is missing, or is none", Expression: r.kind + ".id"}
	}
	return req.classic(event), nil
}

func (r *wireResource) asEvent() Event {
	return Event{Type: r.kind, ID: r.id, Version: r.version, LastUpdated: parseInstant(r.updated)}
}
