package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// now stands in every document, so that none is too old to be told.
var now = time.Now().UTC().Format("2006-01-02T15:04:05.000Z")

// report is a final DiagnosticReport as its source shows it.
func report(id string) string {
	return `{"resourceType":"DiagnosticReport","id":"` + id + `","meta":{"versionId":"1","lastUpdated":"` + now +
		`"},"status":"final","code":{"coding":[{"system":"http://loinc.org","code":"11502-2"}]},"subject":{"reference":"Patient/p-` +
		id + `"},"effectiveDateTime":"` + now + `","issued":"` + now + `"}`
}

// patient is a synthetic person of its own for each report.
func patient(id string) string {
	return `{"resourceType":"Patient","id":"p-` + id + `","meta":{"versionId":"1","lastUpdated":"` + now +
		`"},"identifier":[{"system":"http://hl7.it/sid/codiceFiscale","value":"` + codeOf(id) + `"}],"birthDate":"1980-01-01"}`
}

// codeOf makes a valid codice fiscale of the number in an id: the letters of a name are the number in base 26.
func codeOf(id string) string {
	var n int
	if _, err := fmt.Sscanf(id, "r%d", &n); err != nil {
		n = 0
	}
	name := make([]byte, 6)
	for i := range name {
		name[i] = 'A' + byte(n%20) //nolint:gosec // 0 to 19
		n /= 20
	}
	text := string(name) + "80A01H501"
	return text + string(checkCharacter(text))
}

// oddValues are what the characters at odd places of a codice fiscale count (DM 23/12/1976).
var oddValues = [26]int{1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23}

func checkCharacter(text string) byte {
	sum := 0
	for i := range len(text) {
		value := int(text[i] - 'A')
		if text[i] <= '9' {
			value = int(text[i] - '0')
		}
		if i%2 == 0 {
			value = oddValues[value]
		}
		sum += value
	}
	return 'A' + byte(sum%26)
}

// smallReport is a classic body of about 2 KB.
func smallReport(i int) []byte {
	const size = 2 << 10
	text := strings.TrimSuffix(report(id(i)), "}") + `,"text":{"status":"generated","div":"`
	return []byte(text + strings.Repeat("x", max(0, size-len(text)-3)) + `"}}`)
}

// printedBundle is an R4 backport notification of one event, about 4 KB: printed in lines and with its narrative, as HL7's
// own examples are.
func printedBundle(i int) []byte {
	const size = 4 << 10
	var printed bytes.Buffer
	if err := json.Indent(&printed, idOnlyBundle(i, 1), "", "  "); err != nil {
		panic(err) // what we write is JSON
	}
	status, parameters, _ := strings.Cut(printed.String(), `"resourceType": "Parameters",`)
	narrative := "\"resourceType\": \"Parameters\",\n        \"text\": {\n          \"status\": \"generated\",\n          \"div\": \""
	filler := strings.Repeat("x", max(0, size-printed.Len()-len(narrative)))
	return []byte(status + narrative + filler + "\"\n        }," + parameters)
}

// sixEventsBundle is the same in one line, about 4 KB with six events.
func sixEventsBundle(i int) []byte { return idOnlyBundle(i, 6) }

// idOnlyBundle is an R4 backport notification of some events, each about a report of its own.
func idOnlyBundle(i, events int) []byte {
	var part, entry strings.Builder
	for e := range events {
		focus := "http://fse.example.it/fhir/DiagnosticReport/" + id(i*events+e)
		fmt.Fprintf(&part, `,{"name":"notification-event","part":[{"name":"event-number","valueString":"%d"},{"name":"timestamp","valueInstant":"%s"},{"name":"focus","valueReference":{"reference":"%s"}}]}`,
			i*events+e+1, now, focus)
		fmt.Fprintf(&entry, `,{"fullUrl":"%s","request":{"method":"PUT","url":"DiagnosticReport/%s"},"response":{"status":"200","lastModified":"%s"}}`,
			focus, id(i*events+e), now)
	}
	return []byte(`{"resourceType":"Bundle","id":"` + id(i) + `","meta":{"profile":["http://hl7.org/fhir/uv/subscriptions-backport/StructureDefinition/backport-subscription-notification-r4"]},"type":"history","timestamp":"` +
		now + `","entry":[{"fullUrl":"urn:uuid:0b4f7d1c-4b1e-4f5b-9f2a-2f6c1f1d7a55","resource":{"resourceType":"Parameters","id":"status","meta":{"profile":["http://hl7.org/fhir/uv/subscriptions-backport/StructureDefinition/backport-subscription-status-r4"]},"parameter":[{"name":"subscription","valueReference":{"reference":"http://fse.example.it/fhir/Subscription/s1"}},{"name":"topic","valueCanonical":"http://fse.example.it/SubscriptionTopic/reports"},{"name":"status","valueCode":"active"},{"name":"type","valueCode":"event-notification"},{"name":"events-since-subscription-start","valueString":"` +
		strconv.Itoa((i+1)*events) + `"}` + part.String() + `]},"request":{"method":"GET","url":"Subscription/s1/$status"},"response":{"status":"200"}}` + entry.String() + `]}`)
}

// pdf is a megabyte of base64.
var pdf = strings.Repeat("JVBERi0xLjQKJcOkw7zDtsOfCjIgMCBvYmoKPDwvTGVuZ3RoIDMgMCBSL0ZpbHRlci9GbGF0ZURl", (1<<20)/76)

// largeReport is a classic body of about 1 MB, with its PDF inside.
func largeReport(i int) []byte {
	return []byte(strings.TrimSuffix(report(id(i)), "}") + `,"presentedForm":[{"contentType":"application/pdf","data":"` + pdf + `"}]}`)
}

func id(i int) string { return fmt.Sprintf("r%d", i) }
