// Package fhir is what FHIR servers say and what we say to them: notifications come in and leave as events, documents
// and patients are read at their source and leave as facts. It knows nothing of Redis, of policy or of IO.
package fhir
