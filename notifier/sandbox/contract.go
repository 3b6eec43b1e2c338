package sandbox

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/big"
	"mime"
	"net/http"
	"regexp"
	"slices"
	"time"
	"unicode/utf16"
)

// rule is what IO's contract says of one value of a JSON body. It names the path of what is wrong, never the value.
type rule func(path string, value any) error

// fields are the rules of an object's fields.
type fields map[string]rule

var errMismatch = errors.New("is not what the contract says")

func wrong(path string) error { return fmt.Errorf("%s %w", path, errMismatch) }

// record refuses unknown fields too, which IO ignores: a field that is misspelt has no effect there, and nobody is told.
func record(known fields, required ...string) rule {
	return func(path string, value any) error {
		all, is := value.(map[string]any)
		if !is {
			return wrong(path)
		}
		for _, name := range required {
			if _, has := all[name]; !has {
				return fmt.Errorf("%s.%s is required", path, name)
			}
		}
		for _, name := range slices.Sorted(maps.Keys(all)) {
			check, is := known[name]
			if !is {
				return fmt.Errorf("%s holds a field that the contract does not know", path)
			}
			if err := check(path+"."+name, all[name]); err != nil {
				return err
			}
		}
		return nil
	}
}

// text has a length in UTF-16 units; most 0 is without limit.
func text(least, most int) rule {
	return func(path string, value any) error {
		s, is := value.(string)
		if n := units(s); !is || n < least || (most > 0 && n > most) {
			return wrong(path)
		}
		return nil
	}
}

func pattern(expression string) rule {
	compiled := regexp.MustCompile(expression)
	return func(path string, value any) error {
		if s, is := value.(string); !is || !compiled.MatchString(s) {
			return wrong(path)
		}
		return nil
	}
}

func oneOf(words ...string) rule {
	return func(path string, value any) error {
		if s, is := value.(string); !is || !slices.Contains(words, s) {
			return wrong(path)
		}
		return nil
	}
}

func flag(path string, value any) error {
	if _, is := value.(bool); !is {
		return wrong(path)
	}
	return nil
}

func whole(least, most int64) rule {
	return func(path string, value any) error {
		number, is := value.(json.Number)
		if !is {
			return wrong(path)
		}
		f, err := number.Float64() // JavaScript has no other numbers: 3600, 3600.0 and 3.6e3 are the same
		if err != nil || !big.NewFloat(f).IsInt() || f < float64(least) || f > float64(most) {
			return wrong(path)
		}
		return nil
	}
}

var dateTime = regexp.MustCompile(`^\d{4}-\d\d-\d\dT([01]\d|2[0-3]):[0-5]\d:([0-5]\d|60)(\.\d+)?(Z|[+-]([01]\d|2[0-3]):[0-5]\d)$`)

// moment is ISO 8601 with a zone.
func moment(path string, value any) error {
	s, is := value.(string)
	if !is || !dateTime.MatchString(s) {
		return wrong(path)
	}
	if _, err := time.Parse(time.DateOnly, s[:len(time.DateOnly)]); err != nil {
		return wrong(path)
	}
	return nil
}

func units(text string) int { return len(utf16.Encode([]rune(text))) }

// What the contract says (io-services.openapi.yaml).
var (
	// fiscalCode is IO's own pattern: no check letter, no days, capitals only.
	fiscalCode        = pattern(`^[A-Z]{6}[0-9LMNPQRSTUV]{2}[ABCDEHLMPRST][0-9LMNPQRSTUV]{2}[A-Z][0-9LMNPQRSTUV]{3}[A-Z]$`)
	configurationID   = pattern(`^[0-9a-hjkmnp-tv-zA-HJKMNP-TV-Z]{26}$`)
	fiscalCodePayload = record(fields{"fiscal_code": fiscalCode}, "fiscal_code")
	newMessage        = record(fields{
		"time_to_live": whole(3600, 604800), "content": content, "fiscal_code": fiscalCode,
		"feature_level_type": oneOf("STANDARD", "ADVANCED"),
		"default_addresses":  record(fields{"email": text(0, 0)}),
	}, "content")
	content = record(fields{
		"subject": text(10, 120), "markdown": text(80, 10_000), "require_secure_channels": flag,
		"payment_data": paymentData, "eu_covid_cert": record(fields{"auth_code": text(0, 0)}, "auth_code"),
		"third_party_data": thirdPartyData, "due_date": moment,
	}, "subject", "markdown")
	paymentData = record(fields{
		"amount": whole(1, 9_999_999_999), "notice_number": pattern(`^[0123][0-9]{17}$`), "invalid_after_due_date": flag,
		"payee": record(fields{"fiscal_code": pattern(`^[0-9]{11}$`)}, "fiscal_code"),
	}, "amount", "notice_number")
	thirdPartyData = record(fields{
		"id": text(1, 0), "original_sender": text(1, 0), "original_receipt_date": moment, "has_attachments": flag,
		"has_remote_content": flag, "has_precondition": oneOf("ALWAYS", "ONCE", "NEVER"), "summary": text(1, 0),
		"configuration_id": configurationID,
	}, "id")
)

// maxRequest is more than the largest message that has every character escaped.
const maxRequest = 1 << 20

// read reads a JSON body that follows a rule.
func read(r *http.Request, follows rule) (object, *refusal) {
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || kind != "application/json" {
		return nil, badRequest("want Content-Type application/json")
	}
	decoder := json.NewDecoder(io.LimitReader(r.Body, maxRequest))
	decoder.UseNumber()
	var body any
	if decoder.Decode(&body) != nil {
		return nil, badRequest("the body is not JSON")
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return nil, badRequest("something follows the JSON")
	}
	if err := follows("body", body); err != nil {
		return nil, badRequest(err.Error())
	}
	all, _ := body.(map[string]any)
	return all, nil
}
