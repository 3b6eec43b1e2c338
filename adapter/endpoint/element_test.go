package endpoint_test

import (
	"net/http"
	"strings"
	"testing"
)

// The log names the element at fault as the OperationOutcome does, and no name that is the sender's own.
func TestTheLogOfARefusalNamesTheElement(t *testing.T) {
	h := open(t)
	for _, tt := range []struct{ name, path, body, element string }{
		{"a name of FHIR", "", `{"resourceType":"Bundle","type":5}`, "Bundle.type"},
		{"a place in a list", "", `{"resourceType":"Bundle","entry":[{},{"resource":{"id":"r1","id":"r1"}}]}`, "entry[1].resource.id"},
		{"a name of the sender's", "", `{"resourceType":"Bundle","entry":[{"RSSMRA":{"id":1,"id":1}}]}`, "entry[0]"},
		{"a number of the sender's", "", `{"resourceType":"Bundle","3331234567":{"id":1,"id":1}}`, ""},
		{"a type of the sender's", "/RSSMRA/r1", `{"resourceType":"RSSMRA","id":"r2"}`, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if answer := h.send(t, sent{http.MethodPost, "/fhir/lab" + tt.path, tt.body, nil}); answer.status != http.StatusBadRequest {
				t.Fatalf("status %d: %s", answer.status, answer.body)
			}
			line := lastLine(h.logs.String())
			for _, theirs := range []string{"RSSMRA", "3331234567"} {
				if strings.Contains(line, theirs) {
					t.Errorf("the log repeats what the sender wrote: %s", line)
				}
			}
			if want := `"element":"` + tt.element + `"`; tt.element != "" && !strings.Contains(line, want) {
				t.Errorf("the log says %s, want %s", line, want)
			}
		})
	}
}
