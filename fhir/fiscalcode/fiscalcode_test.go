package fiscalcode_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"staffetta/fhir/fiscalcode"
)

// vectorsAt is the day on which the vectors' readings of a year were written.
var vectorsAt = time.Date(2026, 11, 24, 0, 0, 0, 0, time.UTC)

func vectors(tb testing.TB) [][]string {
	tb.Helper()
	text, err := os.ReadFile("../../testdata/fiscal-codes.tsv")
	if err != nil {
		tb.Fatal(err)
	}
	var all [][]string
	for line := range strings.Lines(string(text)) {
		if columns := strings.Split(strings.TrimSuffix(line, "\n"), "\t"); columns[1] != "kind" {
			all = append(all, columns)
		}
	}
	if len(all) < 100 {
		tb.Fatalf("only %d vectors", len(all))
	}
	return all
}

func TestVectors(t *testing.T) {
	for i, v := range vectors(t) {
		t.Run(fmt.Sprintf("%d %s", i+2, v[3]), func(t *testing.T) {
			code, err := fiscalcode.Parse(v[0])
			if v[1] == "invalid" {
				wantRefused(t, code, err, v[3])
				return
			}
			if err != nil || code.Reveal() != v[2] {
				t.Fatalf("got %q, %v; want %q", code.Reveal(), err, v[2])
			}
			var births []string
			for _, birth := range code.Births(vectorsAt) {
				births = append([]string{birth.Format(time.DateOnly)}, births...)
			}
			if got := strings.Join(births, "|"); got != v[4] {
				t.Errorf("born %s, want %s", got, v[4])
			}
			if code.Female() != (v[5] == "F") || code.Birthplace() != v[6] {
				t.Errorf("female %t at %s, want %s at %s", code.Female(), code.Birthplace(), v[5], v[6])
			}
		})
	}
}

func wantRefused(t *testing.T, code fiscalcode.Code, err error, class string) {
	t.Helper()
	want := strings.ToLower(class)
	if want == "io-test" {
		want = "bad-day"
	}
	refused, ok := errors.AsType[*fiscalcode.Error](err)
	if !ok || string(refused.Reason) != want || code != (fiscalcode.Code{}) {
		t.Errorf("got %v, %v; want it refused for %s", code, err, want)
	}
}

func TestNoPrintShowsACode(t *testing.T) {
	const text = "RSSMRA80A01H501U"
	code, err := fiscalcode.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	inside := struct {
		Exported fiscalcode.Code
		hidden   fiscalcode.Code
		pointer  *fiscalcode.Code
		byCode   map[fiscalcode.Code]int
	}{code, code, &code, map[fiscalcode.Code]int{code: 1}}
	var all bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		fmt.Fprintf(&all, verb+verb+verb, code, inside, []any{code, &inside})
	}
	log := slog.New(slog.NewJSONHandler(&all, nil))
	log.Info("message", slog.Any("code", code), slog.Any("inside", inside), slog.Any("pointer", &code))
	encoded, err := json.Marshal(inside)
	if err != nil {
		t.Fatal(err)
	}
	all.Write(encoded)
	for n := 4; n <= len(text); n++ {
		if strings.Contains(all.String(), text[:n]) || strings.Contains(all.String(), text[len(text)-n:]) {
			t.Fatalf("a print shows %d characters of the code", n)
		}
	}
	for _, asNumbers := range []string{"82 83 83 77", "5253534d", "0x52, 0x53, 0x53, 0x4d"} {
		if strings.Contains(all.String(), asNumbers) {
			t.Errorf("a print shows the code by its bytes, %s", asNumbers)
		}
	}
	if !strings.Contains(all.String(), "***") {
		t.Error("the mask is not there")
	}
}

func TestCodesCompareAndTheZeroCodeIsNobody(t *testing.T) {
	a, _ := fiscalcode.Parse("RSSMRA80A01H501U")
	b, _ := fiscalcode.Parse(" rssmra80a01h501u ")
	other, _ := fiscalcode.Parse("BNCLCU75B68F205U")
	var zero fiscalcode.Code
	if a != b || a == other || a == zero {
		t.Error("codes do not compare as persons do")
	}
	if zero.Reveal() != "" || zero.String() != "(none)" || len(zero.Births(vectorsAt)) != 0 || zero.Birthplace() != "" || zero.Female() {
		t.Error("the zero Code is somebody")
	}
}

func TestOneWrongCharacterIsNoticedOrAnotherPerson(t *testing.T) {
	codes := vectors(t)
	rapid.Check(t, func(t *rapid.T) {
		v := rapid.SampledFrom(codes).Draw(t, "vector")
		if v[1] != "valid" {
			t.Skip("not a code")
		}
		text := []byte(v[2])
		text[rapid.IntRange(0, len(text)-1).Draw(t, "place")] = byte(rapid.IntRange('0', 'Z').Draw(t, "character"))
		code, err := fiscalcode.Parse(string(text))
		if err == nil && code.Reveal() != string(text) {
			t.Fatal("a code was repaired to another person")
		}
		if err != nil && strings.Contains(err.Error(), string(text)) {
			t.Fatal("the error holds the text")
		}
	})
}

func FuzzParse(f *testing.F) {
	for _, v := range vectors(f) {
		f.Add(v[0])
	}
	f.Fuzz(func(t *testing.T, text string) {
		code, err := fiscalcode.Parse(text)
		if (err == nil) != (code != fiscalcode.Code{}) {
			t.Fatal("neither a code nor an error")
		}
		if err == nil {
			if again, err := fiscalcode.Parse(code.Reveal()); err != nil || again != code {
				t.Fatal("a code is not read again as itself")
			}
		}
	})
}
