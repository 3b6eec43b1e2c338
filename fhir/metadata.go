package fhir

import (
	stdjson "encoding/json"
	"fmt"

	models "github.com/samply/golang-fhir-models/fhir-models/fhir"
)

// Software is what runs, as its build says.
type Software struct {
	Version  string // "": not known
	Released string // dateTime; "": not known
}

// statementDate is when what Metadata says last changed.
const statementDate = "2026-11-24"

// Metadata is our CapabilityStatement as JSON: what the endpoint of a source takes in. It is the same for all sources and
// names none of them.
func Metadata(software Software) ([]byte, error) {
	name, description := "Staffetta", "Takes in notifications of FHIR Subscriptions, and tells citizens on the app IO that a medical report is ready."
	statement := models.CapabilityStatement{
		Name: &name, Title: &name, Status: models.PublicationStatusActive, Date: statementDate, Description: &description,
		Kind: models.CapabilityStatementKindInstance, FhirVersion: models.FHIRVersion4_0_1,
		Software:            &models.CapabilityStatementSoftware{Name: name, Version: optional(software.Version), ReleaseDate: optional(software.Released)},
		Implementation:      &models.CapabilityStatementImplementation{Description: "The notification endpoints of this installation, one for each FHIR server"},
		Format:              []string{fhirJSON, "application/fhir+xml"},
		ImplementationGuide: []string{backport + "ImplementationGuide/hl7.fhir.uv.subscriptions-backport"},
		Rest:                []models.CapabilityStatementRest{notificationEndpoint()},
	}
	text, err := stdjson.Marshal(statement)
	if err != nil {
		return nil, fmt.Errorf("write CapabilityStatement: %w", err)
	}
	return legible(text)
}

func optional(text string) *string {
	if text == "" {
		return nil
	}
	return &text
}

// notificationEndpoint is /fhir/{source}: to whoever posts there it is a FHIR server that nothing can be read from.
func notificationEndpoint() models.CapabilityStatementRest {
	about := "Below /fhir/{source}, one base for each FHIR server that posts. Whatever arrives is a hint that something changed: it is " +
		"not stored, cannot be read again, and is answered 200 also where nothing follows from it. Notification Bundles of the R4 " +
		"backport (0.1 to 1.1, with any content), of R4B and of R5, with one or many events, are taken in by POST of the base."
	security := "Each source proves itself as agreed with its operator: bearer token, JWT, X-Signature over the body, client certificate. " +
		"A Subscription carries the token in channel.header."
	bundles := "A Bundle is answered by a Bundle of type transaction-response without entries."
	rest := models.CapabilityStatementRest{
		Mode: models.RestfulCapabilityModeServer, Documentation: &about,
		Security: &models.CapabilityStatementRestSecurity{Description: &security},
		Interaction: []models.CapabilityStatementRestInteraction{
			{Code: models.SystemRestfulInteractionTransaction, Documentation: &bundles}, {Code: models.SystemRestfulInteractionBatch},
		},
	}
	for _, kind := range []models.ResourceType{
		models.ResourceTypeDiagnosticReport, models.ResourceTypeComposition, models.ResourceTypeDocumentReference, models.ResourceTypeBundle,
	} {
		rest.Resource = append(rest.Resource, notifiedType(kind))
	}
	return rest
}

// notifiedType is a type that the classic rest-hook may name, by every method that servers were seen to use.
func notifiedType(kind models.ResourceType) models.CapabilityStatementRestResource {
	yes, versions := true, models.ResourceVersionPolicyNoVersion
	about := "The classic rest-hook: the resource, or only its type and id in the path. If-Match names the version that a notification is of."
	return models.CapabilityStatementRestResource{
		Type: kind, Documentation: &about, Versioning: &versions, UpdateCreate: &yes,
		Interaction: []models.CapabilityStatementRestResourceInteraction{
			{Code: models.TypeRestfulInteractionCreate}, {Code: models.TypeRestfulInteractionUpdate}, {Code: models.TypeRestfulInteractionDelete},
		},
	}
}
