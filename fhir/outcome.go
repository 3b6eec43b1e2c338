package fhir

import (
	"encoding/json"

	models "github.com/samply/golang-fhir-models/fhir-models/fhir"
)

// Issue is what is wrong with what a sender sent: it answers with an OperationOutcome.
type Issue struct {
	Status      int    // HTTP
	Code        string // of the value set issue-type
	Diagnostics string // for the person who reads the sender's log: never a value that was sent
	Expression  string // the element at fault, e.g. Bundle.entry[2].resource; may be empty
}

// Error says what is wrong, without values.
func (i *Issue) Error() string {
	if i.Expression == "" {
		return i.Diagnostics
	}
	return i.Expression + ": " + i.Diagnostics
}

// issueTypes are the codes that we use.
var issueTypes = map[string]models.IssueType{
	"invalid": models.IssueTypeInvalid, "structure": models.IssueTypeStructure, "required": models.IssueTypeRequired,
	"value": models.IssueTypeValue, "login": models.IssueTypeLogin, "forbidden": models.IssueTypeForbidden,
	"not-supported": models.IssueTypeNotSupported, "not-found": models.IssueTypeNotFound, "too-long": models.IssueTypeTooLong,
	"transient": models.IssueTypeTransient, "timeout": models.IssueTypeTimeout, "incomplete": models.IssueTypeIncomplete,
}

// Outcome is the OperationOutcome of an issue, as JSON.
func Outcome(i *Issue) []byte {
	code, known := issueTypes[i.Code]
	if !known {
		code = models.IssueTypeInvalid
	}
	issue := models.OperationOutcomeIssue{Severity: models.IssueSeverityError, Code: code, Diagnostics: &i.Diagnostics}
	if i.Expression != "" {
		issue.Expression = []string{i.Expression}
	}
	text, err := json.Marshal(models.OperationOutcome{Issue: []models.OperationOutcomeIssue{issue}})
	if err != nil {
		return []byte(`{"resourceType":"OperationOutcome","issue":[{"severity":"error","code":"exception"}]}`)
	}
	return text
}
