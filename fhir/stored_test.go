package fhir

import (
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// sample is a file of the reference, which is not part of the project. In CI it must be there.
func sample(t *testing.T, path string) []byte {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "shared", "reference", "fhir-samples", path))
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("CI needs the reference beside the project")
		}
		t.Skip("the sample payloads of others are not part of the project: no reference beside it")
	}
	return text
}

func TestSubscriptionsOfOthersAreRead(t *testing.T) {
	end := time.Date(2020, 12, 31, 12, 0, 0, 0, time.UTC)
	const inferno = "http://inferno.healthit.gov/suites/custom/subscriptions_r5_backport_r4_"
	for file, want := range map[string]held{
		"backport-r4/Subscription_id-only.json": {
			status: "requested", criteria: inferno + "client/topics/patient-admission", content: "id-only",
			endpoint: inferno + "server/subscription/channel/notification_listener", authorization: "Bearer SAMPLE_TOKEN",
			filters: []string{"Encounter.patient=Patient/123"}, timeout: 60, maxCount: 20, end: end,
		},
		"backport-r4/subscription_resource_example.json": {
			id: "123", status: "requested", criteria: "http://fhirserver.org/topics/patient-admission", content: "full-resource",
			endpoint:      "http://localhost:4567/custom/subscriptions_r5_backport_r4_server/subscription/channel/notification_listener",
			authorization: "Bearer SAMPLE_TOKEN", filters: []string{"Encounter.patient=Patient/123"},
			heartbeat: 86400, timeout: 60, maxCount: 20, end: end,
		},
		"r5/subscription-example.json": {
			id: "example", status: "active", criteria: "http://example.org/R5/SubscriptionTopic/example",
			filters: []string{"Encounter?patient=Patient%2F123"},
		},
	} {
		t.Run(file, func(t *testing.T) {
			got, err := readHeld(sample(t, file))
			if err != nil {
				t.Fatal(err)
			}
			same := got.id == want.id && got.status == want.status && got.criteria == want.criteria && got.content == want.content &&
				got.endpoint == want.endpoint && got.authorization == want.authorization && slices.Equal(got.filters, want.filters) &&
				got.heartbeat == want.heartbeat && got.timeout == want.timeout && got.maxCount == want.maxCount && got.end.Equal(want.end)
			if !same {
				got.raw = nil
				t.Errorf("got\n%+v, want\n%+v", *got, want)
			}
		})
	}
}

func TestStatusesOfOthersAreRead(t *testing.T) {
	for file, want := range map[string]SubscriptionStatus{
		"backport-r4/subscription_status_example.json": {Status: "active", Events: 2},
		"r4b/notification-query-status.json":           {Status: "active", Events: 310},
		"r5/notification-query-status.json":            {Status: "active", Events: 310},
	} {
		t.Run(file, func(t *testing.T) {
			got, ok := statusIn(reply{status: http.StatusOK, body: sample(t, file)})
			if !ok || got != want {
				t.Errorf("got %+v (%t), want %+v", got, ok, want)
			}
		})
	}
}

// The published forms of a filter mean the same.
func TestFiltersInTheirPublishedForms(t *testing.T) {
	for _, form := range []string{"Encounter?patient=Patient/1", "Encounter.patient=Patient/1", "Encounter?patient=Patient%2F1"} {
		if !same(form, "Encounter?patient=Patient/1") {
			t.Errorf("%s is another filter", form)
		}
	}
	for _, none := range []string{"", "?", "encounter?a=b", "Encounter?a=%zz"} {
		if kind, query, err := ParseCriteria(none); err == nil {
			t.Errorf("%q is read as %s %v", none, kind, query)
		}
	}
}
