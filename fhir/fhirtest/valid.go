// Package fhirtest holds what we write against a FHIR validator that is not ours: HL7's own, which .ci/validator runs.
package fhirtest

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// ValidatorEnv names the command that validates a folder: .ci/validator/validate, or nothing where there is no Java.
const ValidatorEnv = "STAFFETTA_FHIR_VALIDATOR"

// invalid must be refused by whatever calls itself a validator: a code that is none, an element that is missing, one that
// does not exist, an invariant that does not hold.
var invalid = map[string]string{
	"invalid-code":      `{"resourceType":"OperationOutcome","issue":[{"severity":"loud","code":"invalid"}]}`,
	"invalid-missing":   `{"resourceType":"OperationOutcome","issue":[{"severity":"error"}]}`,
	"invalid-element":   `{"resourceType":"OperationOutcome","issue":[{"severity":"error","code":"invalid","because":"x"}]}`,
	"invalid-invariant": `{"resourceType":"CapabilityStatement","status":"active","date":"2026","kind":"instance","fhirVersion":"4.0.1","format":["json"],"rest":[{"mode":"server"}]}`,
}

// Valid wants every resource to be valid FHIR R4. Without a validator it skips, and says what was not checked; in CI that is
// a failure.
func Valid(tb testing.TB, resources map[string][]byte) {
	tb.Helper()
	command := os.Getenv(ValidatorEnv)
	switch {
	case command == "" && os.Getenv("CI") != "":
		tb.Fatalf("CI needs a FHIR validator: %s", ValidatorEnv)
	case command == "":
		tb.Skipf("not checked: whether %d resources are valid FHIR. Want Java, Maven and %s=$PWD/.ci/validator/validate", len(resources), ValidatorEnv)
	}
	folder := tb.TempDir()
	write := func(name string, text []byte) {
		if err := os.WriteFile(filepath.Join(folder, name+".json"), text, 0o600); err != nil {
			tb.Fatal(err)
		}
	}
	for name, text := range resources {
		write(name, text)
	}
	for name, text := range invalid {
		write(name, []byte(text))
	}
	judge(tb, resources, findings(tb, command, folder))
}

// findings runs the validator: errors by the name of a file.
func findings(tb testing.TB, command, folder string) map[string][]string {
	tb.Helper()
	cmd := exec.CommandContext(tb.Context(), command, folder) //nolint:gosec // who runs the tests says which
	var logs bytes.Buffer
	cmd.Stderr = &logs
	out, err := cmd.Output()
	if err != nil {
		tb.Fatalf("the validator failed: %v\n%s", err, logs.String())
	}
	found, read := map[string][]string{}, ""
	for line := range strings.Lines(string(out)) {
		cells := strings.Split(strings.TrimSpace(line), "\t")
		switch {
		case len(cells) == 2 && cells[0] == "validated":
			read = cells[1]
		case len(cells) == 4 && slices.Contains([]string{"error", "fatal"}, cells[1]):
			name := strings.TrimSuffix(cells[0], ".json")
			found[name] = append(found[name], cells[2]+": "+cells[3])
		}
	}
	files, err := os.ReadDir(folder)
	if err != nil || read != strconv.Itoa(len(files)) {
		tb.Fatalf("the validator read %q of %d files, %v", read, len(files), err)
	}
	return found
}

func judge(tb testing.TB, resources map[string][]byte, found map[string][]string) {
	tb.Helper()
	for name := range invalid {
		if len(found[name]) == 0 {
			tb.Errorf("the validator finds nothing wrong with %s: it is none", name)
		}
	}
	for name, text := range resources {
		for _, finding := range found[name] {
			tb.Errorf("%s: %s\n%s", name, finding, text)
		}
	}
}
