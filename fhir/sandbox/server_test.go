package sandbox_test

import (
	"testing"

	"staffetta/fhir/sandbox"
)

// What is served changes by a new version only: it may be on its way to a client while a test prepares the next one.
func TestWhatIsGotIsACopy(t *testing.T) {
	server := sandbox.NewServer()
	server.Put(sandbox.Resource{"resourceType": "DiagnosticReport", "id": "r1", "status": "final"})
	server.Get("DiagnosticReport/r1")["status"] = "amended"
	if status := server.Get("DiagnosticReport/r1")["status"]; status != "final" {
		t.Errorf("status %v, want final", status)
	}
	if server.Get("DiagnosticReport/r2") != nil {
		t.Error("what is not there is there")
	}
}
