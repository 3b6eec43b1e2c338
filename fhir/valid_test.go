package fhir_test

import (
	"encoding/json"
	"testing"
	"time"

	"staffetta/fhir/fhirtest"
	"staffetta/fhir/sandbox"
)

// What we create at servers of R4 is valid: the plain Subscription, and that of the backport with its extensions. Its profile
// is not among the validator's definitions: the test of Inferno's workflow holds us to it.
func TestSubscriptionsAreValidFHIR(t *testing.T) {
	written := map[string][]byte{}
	for _, product := range []string{"HAPI", "Medplum", "Aidbox", "Inferno"} {
		c := open(t, sandbox.Products()[product])
		c.wish.Endpoint, c.wish.Secret, c.wish.Contact, c.wish.End = "https://adapter.example/fhir/test", "s3cr3t", "it@example.it", 24*time.Hour
		c.wish.Topics, c.wish.Filters = []string{sandbox.ReportTopic}, []string{"DiagnosticReport?status=final"}
		if sandbox.Products()[product].Topics == nil {
			c.wish.Topics, c.wish.Filters = nil, nil
		}
		intended, _, err := c.subscriber().Intend(t.Context(), nil, true)
		if err != nil || len(intended) != 1 {
			t.Fatalf("%s: %d intended, %v", product, len(intended), err)
		}
		var subscription sandbox.Resource
		if err := json.Unmarshal(intended[0].JSON, &subscription); err != nil {
			t.Fatal(err)
		}
		delete(subscription, "meta")
		if written[product], err = json.Marshal(subscription); err != nil {
			t.Fatal(err)
		}
	}
	fhirtest.Valid(t, written)
}
