package endpoint

import (
	"regexp"
	"strings"
)

// ownWords are names of FHIR that may stand in the log. Others are left out, whatever they look like: a sender chooses the names
// in its JSON and XML, and one may be a codice fiscale.
var ownWords = wordsOf(`resourceType id meta contained extension entry fullUrl resource request response method url type status link
	relation identifier system value code coding subject patient reference parameter name part event notificationEvent focus
	eventNumber eventsSinceSubscriptionStart subscription topic timestamp context additionalContext author category result
	relatesTo section text div display versionId lastUpdated security tag profile
	Bundle Composition DiagnosticReport DocumentReference Observation Parameters Patient Subscription SubscriptionStatus`)

func wordsOf(text string) map[string]bool {
	words := map[string]bool{}
	for word := range strings.FieldsSeq(text) {
		words[word] = true
	}
	return words
}

// step is one element of a path, with its place in a list: entry[12].
var step = regexp.MustCompile(`^([A-Za-z]*)(?:\[\d{1,5}\])*$`)

// elementForLog is the path of an element, as far as it consists of names of FHIR; the OperationOutcome has all of it.
func elementForLog(expression string) string {
	steps := strings.Split(expression, ".")
	for i, one := range steps {
		if found := step.FindStringSubmatch(one); found == nil || !ownWords[found[1]] {
			return strings.Join(steps[:i], ".")
		}
	}
	return expression
}
