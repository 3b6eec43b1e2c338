package fhir

import (
	"context"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"staffetta/fhir/fiscalcode"
)

// person finds whom a document is about: the voices that name somebody must agree. It adds the patient's labels.
func (s *Source) person(ctx context.Context, p *pool, voices []*node, doc *Document) (Person, error) {
	var found *Person
	asked := map[string]bool{}
	for _, voice := range voices {
		for _, subject := range voice.Subject {
			if voice.ResourceType != "DiagnosticReport" || len(subject.Identifier) == 0 { // the same words need no second look
				if name := string(subject.Reference); name != "" && len(subject.Identifier) == 0 && !strings.HasPrefix(name, "#") {
					if asked[withoutVersion(name)] {
						continue
					}
					asked[withoutVersion(name)] = true
				}
			}
			one, said, err := s.subject(ctx, p, voice, subject, doc)
			if err != nil {
				return Person{}, err
			}
			if !said {
				continue
			}
			if found == nil {
				found = &one
				continue
			}
			agreed := agree(*found, one)
			found = &agreed
		}
	}
	if found == nil {
		return Person{Trouble: NoSubject}, nil
	}
	return *found, nil
}

// agree joins two voices. Two codes, also one the omocodia form of the other, are two persons; so are one that has a code and
// one that has none, and was born in another year.
func agree(a, b Person) Person {
	if a.Trouble == NoTrouble && b.Trouble == NoTrouble && a.Code != b.Code {
		return Person{Trouble: TwoCodes}
	}
	if gravity(b.Trouble) > gravity(a.Trouble) {
		a, b = b, a
	}
	if a.Trouble == NoTrouble && b.Trouble == NoFiscalCode && !a.Birth.IsZero() && !b.Birth.IsZero() && a.Birth.Year() != b.Birth.Year() {
		a.Code, a.Trouble = fiscalcode.Code{}, TwoCodes
	}
	a.Deceased, a.Inactive = a.Deceased || b.Deceased, a.Inactive || b.Inactive
	a.Birth = later(a.Birth, b.Birth)
	return a
}

// gravity says which of two voices counts: what a person must look at is outvoted by nobody, and who has no code says
// least.
func gravity(t PersonTrouble) int {
	switch t {
	case NoFiscalCode:
		return 0
	case NoTrouble:
		return 1
	case NotAPerson, NoSubject, NoPatient, InvalidFiscalCode, LinkLoop:
		return 2
	case TwoCodes:
	}
	return 3
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// subject resolves one subject; said is false where it names nobody.
func (s *Source) subject(ctx context.Context, p *pool, voice *node, subject ref, doc *Document) (who Person, said bool, err error) {
	if !subject.mayBe("Patient") {
		return Person{Trouble: NotAPerson}, true, nil
	}
	literal, hasLiteral, err := s.byReference(ctx, p, voice, string(subject.Reference), doc)
	if err != nil {
		return Person{}, false, err
	}
	logical, hasLogical, err := s.byLogical(ctx, subject.Identifier.first(), doc)
	if err != nil {
		return Person{}, false, err
	}
	switch {
	case hasLiteral && hasLogical:
		return agree(literal, logical), true, nil
	case hasLiteral:
		return literal, true, nil
	}
	return logical, hasLogical, nil
}

// byReference resolves a literal reference: contained, in the same answer, or read at the source. Other servers are never
// asked.
func (s *Source) byReference(ctx context.Context, p *pool, voice *node, text string, doc *Document) (who Person, said bool, err error) {
	if text == "" {
		return Person{}, false, nil
	}
	if id, contained := strings.CutPrefix(text, "#"); contained {
		for i := range voice.Contained {
			if n := &voice.Contained[i]; string(n.ID) == id {
				return s.patient(ctx, p, n, doc)
			}
		}
		return Person{Trouble: NoSubject}, true, nil
	}
	if n := p.lookup(s, text); n != nil {
		return s.patient(ctx, p, n, doc)
	}
	if query, conditional := strings.CutPrefix(text, "Patient?identifier="); conditional {
		value, err := url.QueryUnescape(query)
		if err != nil {
			value = "" // names nobody
		}
		system, code, found := strings.Cut(value, "|")
		if !found {
			system, code = "", value
		}
		return s.byLogicalOrNobody(ctx, identifierOf(system, code), doc)
	}
	named, ok := parseReference(text)
	switch {
	case !ok:
		return Person{Trouble: NoSubject, Detail: "unresolvable"}, true, nil
	case named.kind != "Patient":
		return Person{Trouble: NotAPerson}, true, nil
	case !s.own(named):
		return Person{Trouble: NoPatient, Detail: "another-server"}, true, nil
	}
	n, standing, err := s.readPatient(ctx, named.id)
	if err != nil {
		return Person{}, false, err
	}
	if n == nil {
		return Person{Trouble: NoPatient, Missing: standing == Missing}, true, nil
	}
	p.add("", n)
	return s.patient(ctx, p, n, doc)
}

func identifierOf(system, value string) identifier {
	return identifier{System: text(system), Value: text(value)}
}

func (s *Source) byLogicalOrNobody(ctx context.Context, id identifier, doc *Document) (Person, bool, error) {
	who, said, err := s.byLogical(ctx, id, doc)
	if !said && err == nil {
		who = Person{Trouble: NoSubject}
	}
	return who, true, err
}

// byLogical resolves a logical reference: the value may already be the codice fiscale, else exactly one patient must
// carry it.
func (s *Source) byLogical(ctx context.Context, id identifier, doc *Document) (who Person, said bool, err error) {
	if id.Value == "" {
		return Person{}, false, nil
	}
	if slices.Contains(s.systems, string(id.System)) {
		return s.coded([]identifier{id}), true, nil
	}
	p, err := s.search(ctx, "Patient", url.Values{"identifier": {token(string(id.System), string(id.Value))}})
	if err != nil {
		return Person{Trouble: NoFiscalCode, Detail: "other-identifier"}, true, ignoreUnsupported(err)
	}
	var match []*node
	for _, n := range p.of("Patient") {
		if slices.ContainsFunc(n.Identifier, func(i identifier) bool { return i.Value == id.Value && (id.System == "" || i.System == id.System) }) {
			match = append(match, n)
		}
	}
	if len(match) != 1 {
		return Person{Trouble: NoPatient, Missing: len(match) == 0}, true, nil
	}
	return s.patient(ctx, p, match[0], doc)
}

func ignoreUnsupported(err error) error {
	if err == errUnsupported { //nolint:errorlint // our own sentinel, never wrapped
		return nil
	}
	return err
}

// deepestLink is how many merges in a row are followed.
const deepestLink = 5

// patient reads a Patient, following merges to the record that is alive.
func (s *Source) patient(ctx context.Context, p *pool, n *node, doc *Document) (who Person, said bool, err error) {
	for merges := 0; ; merges++ {
		if n.ResourceType != "Patient" {
			return Person{Trouble: NotAPerson}, true, nil
		}
		doc.label(n)
		survivors := n.linked("replaced-by")
		switch {
		case len(survivors) == 0:
			who, err := s.orReferred(ctx, p, n, doc)
			return who, true, err
		case len(survivors) > 1, merges == deepestLink:
			return Person{Trouble: LinkLoop}, true, nil
		}
		to, standing, err := s.otherPatient(ctx, p, survivors[0])
		switch {
		case err != nil:
			return Person{}, false, err
		case standing == Withdrawn:
			return Person{Trouble: LinkLoop}, true, nil
		case to == nil:
			return Person{Trouble: NoPatient, Missing: standing == Missing}, true, nil
		}
		n = to
	}
}

// otherPatient reads the Patient that a link names; Withdrawn says that it leads nowhere that we may ask.
func (s *Source) otherPatient(ctx context.Context, p *pool, reference string) (*node, Standing, error) {
	if n := p.lookup(s, reference); n != nil {
		return n, Readable, nil
	}
	named, ok := parseReference(reference)
	if !ok || named.kind != "Patient" || !s.own(named) {
		return nil, Withdrawn, nil
	}
	n, standing, err := s.readPatient(ctx, named.id)
	if n != nil {
		p.add("", n)
	}
	return n, standing, err
}

// orReferred are the facts of a Patient; where it carries no codice fiscale, and refers to records that have more, the code of
// these (reference fhir-subscriptions.md, 6).
func (s *Source) orReferred(ctx context.Context, p *pool, n *node, doc *Document) (Person, error) {
	who := s.personOf(n)
	if who.Trouble != NoFiscalCode {
		return who, nil
	}
	for _, reference := range n.linked("refer") {
		other, _, err := s.otherPatient(ctx, p, reference)
		if err != nil {
			return who, err
		}
		if other == nil || other.ResourceType != "Patient" || len(other.linked("replaced-by")) > 0 {
			continue
		}
		doc.label(other)
		who = agree(who, s.personOf(other))
	}
	return who, nil
}

// linked are the references of the links of a type, each once; "" is a link that names nobody by a reference.
func (n *node) linked(kind text) (to []string) {
	for _, l := range n.Link {
		if other := string(l.Other.first().Reference); l.Type == kind && !slices.Contains(to, other) {
			to = append(to, other)
		}
	}
	return to
}

// personOf are the facts of one Patient.
func (s *Source) personOf(n *node) Person {
	who := s.coded(n.Identifier)
	who.Birth = latestReading(string(n.BirthDate))
	who.Deceased = n.Deceased == "true" || n.DeceasedAt != ""
	who.Inactive = n.Active == "false"
	return who
}

// coded picks the codice fiscale among identifiers: right system, not old, in its period.
func (s *Source) coded(identifiers []identifier) Person {
	now := s.o.Now()
	codes := map[fiscalcode.Code]bool{}
	invalid, detail, elsewhere := "", noCode, ""
	for _, id := range identifiers {
		if !slices.Contains(s.systems, string(id.System)) {
			if kind := otherKind(string(id.System)); kind != "" {
				detail = kind
			} else if detail == noCode && s.mayHold(id) {
				detail, elsewhere = otherSystem, string(id.System)
			}
			continue
		}
		if id.Value == "" || id.Use == "old" || !id.covers(now) {
			continue
		}
		code, err := s.parse(string(id.Value))
		if err == nil {
			codes[code] = true
			continue
		}
		switch reason := reasonOf(err); reason { //nolint:exhaustive // all others are invalid
		case fiscalcode.Provisional, fiscalcode.STP, fiscalcode.ENI, fiscalcode.TEAM, fiscalcode.ANPR:
			detail = string(reason)
		default:
			invalid = string(reason)
		}
	}
	switch {
	case len(codes) > 1:
		return Person{Trouble: TwoCodes}
	case len(codes) == 1:
		for code := range codes {
			return Person{Code: code}
		}
	case invalid != "":
		return Person{Trouble: InvalidFiscalCode, Detail: invalid}
	}
	who := Person{Trouble: NoFiscalCode, Detail: detail}
	if detail == otherSystem {
		who.System = s.shownSystem(elsewhere)
	}
	return who
}

// The details of a patient without a codice fiscale of whom nothing else is known. The second says that the configuration
// may lack a system: what it is called there is no proof.
const noCode, otherSystem = "none", "other-system"

// mayHold says whether an identifier of a system that nobody knows looks like a codice fiscale. Registers of regions repeat it.
func (s *Source) mayHold(id identifier) bool {
	_, err := s.parse(string(id.Value))
	return err == nil && !strings.HasPrefix(string(id.System), "urn:oid:2.16.840.1.113883.2.9.2.")
}

// systemForm is what a system that may be configured looks like.
var systemForm = regexp.MustCompile(`^[A-Za-z0-9.:/_~#-]{1,200}$`)

// shownSystem is a system as a person may read it: not one that holds a codice fiscale itself.
func (s *Source) shownSystem(system string) string {
	const length = 16
	for i := range max(0, len(system)-length+1) {
		if _, err := s.parse(system[i : i+length]); err == nil {
			return "a system that holds the code itself"
		}
	}
	switch {
	case system == "":
		return "no system"
	case !systemForm.MatchString(system):
		return "a system that is no URI"
	}
	return system
}

func (s *Source) parse(text string) (fiscalcode.Code, error) {
	if s.o.TestRecipient {
		return fiscalcode.Recipient(text)
	}
	return fiscalcode.Parse(text)
}

func reasonOf(err error) fiscalcode.Reason {
	if one, ok := err.(*fiscalcode.Error); ok { //nolint:errorlint // what Parse says it returns
		return one.Reason
	}
	return fiscalcode.BadCharset
}

// otherKinds are systems of identifiers that are no codice fiscale (reference fse.md, 6).
var otherKinds = map[string]string{
	"http://hl7.it/sid/anpr": "anpr", "urn:oid:2.16.840.1.113883.2.9.4.3.16": "anpr",
	"http://hl7.it/sid/stp": "stp", "urn:oid:2.16.840.1.113883.2.9.4.3.17": "stp",
	"http://hl7.it/sid/eni": "eni", "urn:oid:2.16.840.1.113883.2.9.4.3.18": "eni",
	"urn:oid:2.16.840.1.113883.2.9.4.3.7": "team", "urn:oid:2.16.840.1.113883.2.9.4.3.3": "team",
	"urn:oid:2.16.840.1.113883.2.9.4.3.15": "ana",
}

// regionalSTP are the regions' own systems of STP codes.
var regionalSTP = regexp.MustCompile(`^urn:oid:2\.16\.840\.1\.113883\.2\.9\.2\.\d+\.4\.1\.1$`)

func otherKind(system string) string {
	if regionalSTP.MatchString(system) {
		return "stp"
	}
	return otherKinds[system]
}

// covers says whether the identifier's period holds now.
func (id identifier) covers(now time.Time) bool {
	for _, p := range id.Period {
		if start := inItaly(string(p.Start), parseInstant, 0); !start.IsZero() && start.After(now) {
			return false
		}
		if end := inItaly(string(p.End), latestReading, 1); !end.IsZero() && !end.After(now) {
			return false
		}
	}
	return true
}

// inItaly is a dateTime as it is, or the midnight in Italy that many days after the day that a date is read as; zero where
// it is none.
func inItaly(text string, reading func(string) time.Time, days int) time.Time {
	day := parseInstant(text)
	if day.IsZero() || strings.Contains(text, "T") {
		return day
	}
	day = reading(text)
	return time.Date(day.Year(), day.Month(), day.Day()+days, 0, 0, 0, 0, italy())
}

var italy = sync.OnceValue(func() *time.Location {
	rome, err := time.LoadLocation("Europe/Rome")
	if err != nil {
		return time.FixedZone("CET", 60*60)
	}
	return rome
})

// latestReading is the last day that a date may mean: a bare year is its 31 December.
func latestReading(date string) time.Time {
	at := parseInstant(date)
	switch len(date) {
	case len("2006"):
		return at.AddDate(1, 0, -1)
	case len("2006-01"):
		return at.AddDate(0, 1, -1)
	}
	return at.UTC().Truncate(24 * time.Hour)
}
