package fhir

import (
	stdjson "encoding/json"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
	models "github.com/samply/golang-fhir-models/fhir-models/fhir"
)

// Extensions of servers (reference fhir-subscriptions.md, 2.2 and 2.3).
const (
	sendDeletes     = "http://hapifhir.io/fhir/StructureDefinition/subscription-send-delete-messages" // inside channel
	signatureSecret = "https://www.medplum.com/fhir/StructureDefinition/subscription-secret"          //nolint:gosec // a name
)

const fhirJSON = "application/fhir+json"

// classic is the R4 Subscription. Whatever content is asked for, a notification names its report only where it carries it.
func (w *wanted) classic(id, end string) ([]byte, error) {
	subscription := models.Subscription{
		Status: models.SubscriptionStatusRequested, Reason: w.reason(), Criteria: w.criteria, Contact: w.contact(),
		Channel: models.SubscriptionChannel{
			Type: models.SubscriptionChannelTypeRestHook, Endpoint: &w.Endpoint, Header: w.headers(),
		},
	}
	if w.status() == "active" {
		subscription.Status = models.SubscriptionStatusActive
	}
	if id != "" {
		subscription.Id = &id
	}
	if end != "" {
		subscription.End = &end
	}
	if w.Content != ContentEmpty {
		payload := fhirJSON
		subscription.Channel.Payload = &payload
	}
	if w.product == HAPI {
		yes := true
		subscription.Channel.Extension = []models.Extension{{Url: sendDeletes, ValueBoolean: &yes}}
	}
	if w.product == Medplum && w.Secret != "" {
		subscription.Extension = []models.Extension{{Url: signatureSecret, ValueString: &w.Secret}}
	}
	text, err := stdjson.Marshal(subscription)
	if err != nil {
		return nil, err
	}
	return legible(text)
}

// legible is the same JSON without escapes that nobody needs: & is not \u0026.
func legible(text jsontext.Value) ([]byte, error) {
	err := text.Format(jsontext.PreserveRawStrings(false))
	return text, err
}

// authorization is the header by which the server proves itself; "" where no token is agreed.
func (w *wanted) authorization() string {
	if w.Token == "" {
		return ""
	}
	return "Bearer " + w.Token
}

// headers are lines, as R4 has them.
func (w *wanted) headers() []string {
	if w.Token == "" {
		return nil
	}
	return []string{"Authorization: " + w.authorization()}
}

// contact is whom to ask about the Subscription.
func (w *wanted) contact() []models.ContactPoint {
	if w.Contact == "" {
		return nil
	}
	system := contactSystem(w.Contact)
	return []models.ContactPoint{{System: &system, Value: &w.Contact}}
}

func contactSystem(contact string) models.ContactPointSystem {
	switch {
	case strings.Contains(contact, "://"):
		return models.ContactPointSystemUrl
	case strings.Contains(contact, "@"):
		return models.ContactPointSystemEmail
	}
	return models.ContactPointSystemPhone
}
