package probe

import (
	"encoding/json"
	"encoding/xml"
	"fmt"
	"mime"
	"net/http"
	"strings"
)

// The rules give what is wrong with an answer; "" where the sender takes it for success.

func any2xx(_ Request, a Answer) string {
	if a.Status >= 200 && a.Status <= 299 {
		return ""
	}
	return fmt.Sprintf("%d is no 2xx", a.Status)
}

func exactly200(_ Request, a Answer) string {
	if a.Status == http.StatusOK {
		return ""
	}
	return fmt.Sprintf("%d is not 200", a.Status)
}

func upTo399(_ Request, a Answer) string {
	if a.Status >= 200 && a.Status <= 399 {
		return ""
	}
	return fmt.Sprintf("%d is not among 200 to 399", a.Status)
}

func candleTakes(_ Request, a Answer) string {
	switch a.Status {
	case http.StatusOK, http.StatusAccepted, http.StatusNoContent:
		return ""
	}
	return fmt.Sprintf("%d is none of 200, 202 and 204", a.Status)
}

// infernoTakes: the event only follows a handshake that was answered with exactly 200.
func infernoTakes(r Request, a Answer) string {
	if r.Handshake {
		return exactly200(r, a)
	}
	return any2xx(r, a)
}

// hapiTakes reads the answer as HAPI's client does. After a Bundle it wants 204, or a Bundle; after anything else a body
// that claims to be FHIR must be a resource.
func hapiTakes(r Request, a Answer) string {
	if wrong := any2xx(r, a); wrong != "" || a.Status == http.StatusNoContent {
		return wrong
	}
	kind := a.resourceType()
	switch {
	case r.isBundle() && a.encoding() == "":
		return "the Content-Type is none of FHIR, and it wants a Bundle or 204"
	case r.isBundle() && kind == "":
		return "the body is no resource, and it wants a Bundle or 204"
	case r.isBundle() && kind != "Bundle":
		return "the body is a " + kind + ", and it wants a Bundle or 204"
	case a.encoding() != "" && len(strings.TrimSpace(string(a.Body))) > 0 && kind == "":
		return "the Content-Type is " + strings.ToUpper(a.encoding()) + ", and the body is no resource (HAPI-1838)"
	}
	return ""
}

// encoding is json or xml where HAPI would parse the body; "" where it would not look at it.
func (a Answer) encoding() string {
	kind, _, err := mime.ParseMediaType(a.ContentType)
	switch {
	case err != nil:
		return ""
	case strings.HasSuffix(kind, "json"):
		return "json"
	case strings.HasSuffix(kind, "xml"):
		return "xml"
	}
	return ""
}

// resourceType is that of the body; "" where it is no resource.
func (a Answer) resourceType() string {
	var kind string
	if a.encoding() == "xml" {
		var root struct{ XMLName xml.Name }
		if xml.Unmarshal(a.Body, &root) == nil && root.XMLName.Space == "http://hl7.org/fhir" {
			kind = root.XMLName.Local
		}
	} else {
		var resource struct {
			Type string `json:"resourceType"`
		}
		if json.Unmarshal(a.Body, &resource) == nil {
			kind = resource.Type
		}
	}
	for _, c := range kind {
		if (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') {
			return "" // a name that we would not print
		}
	}
	return kind
}
