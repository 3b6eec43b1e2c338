package fhir

import (
	"cmp"
	"context"
	"errors"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Read asks how a document stands now, with its person where a citizen may open it.
func (s *Source) Read(ctx context.Context, l Locator) (Document, error) {
	return s.readFor(ctx, l, false)
}

// ReadWithPerson is Read that says whom a withdrawn document concerns, too: somebody wants that citizen to know.
func (s *Source) ReadWithPerson(ctx context.Context, l Locator) (Document, error) {
	return s.readFor(ctx, l, true)
}

func (s *Source) readFor(ctx context.Context, l Locator, withdrawn bool) (Document, error) {
	if !s.o.Shape.OfCompositions() {
		return s.readReport(ctx, l, withdrawn)
	}
	if l.Type == "Composition" || (l.Type == "Bundle" && l.Value != "") {
		return s.readComposition(ctx, l, withdrawn)
	}
	// All that is left of the document is one of its members.
	found, err := s.Find(ctx, l)
	if err != nil {
		return Document{}, err
	}
	if len(found.Documents) == 0 {
		if found.Standing == Readable {
			found.Standing = Gone // it belongs to no document any more
		}
		return Document{Locator: l, Shape: s.o.Shape, Standing: found.Standing}, nil
	}
	return s.readComposition(ctx, found.Documents[0].Locator, withdrawn)
}

// concerns says whether it matters whom the document is about: nobody is told of one that cannot be read.
func (d *Document) concerns(withdrawn bool) bool {
	return d.Standing == Readable || (withdrawn && d.Standing == Withdrawn)
}

// readReport reads a document that is a report, with its patient in the same call where the server can.
func (s *Source) readReport(ctx context.Context, l Locator, withdrawn bool) (Document, error) {
	p, err := s.only(ctx, "DiagnosticReport", url.Values{"_id": {l.ID}, "_include": {"DiagnosticReport:subject"}})
	if err != nil && !errors.Is(err, errUnsupported) {
		return Document{}, err
	}
	if p == nil {
		p = newPool()
	}
	report := p.byName["DiagnosticReport/"+l.ID]
	if report == nil { // a search index may lag: ask for the resource itself before it is missing
		read, standing, err := s.read(ctx, "DiagnosticReport", l.ID)
		if err != nil || read == nil {
			return Document{Locator: l, Shape: s.o.Shape, Standing: standing}, err
		}
		report = read
		p.add("", report)
	}
	doc := s.reportFacts(l, report)
	if !doc.concerns(withdrawn) {
		return doc, nil
	}
	doc.Person, err = s.person(ctx, p, []*node{report}, &doc)
	return doc, err
}

// reportFacts are the facts of a report that is the document.
func (s *Source) reportFacts(l Locator, report *node) Document {
	doc := Document{Locator: l, Shape: s.o.Shape, Standing: reportStanding(string(report.Status))}
	doc.latest(report)
	if amended(string(report.Status)) {
		doc.Edition = string(report.Status) + "|" + moment(report.Issued)
	}
	doc.Date = firstInstant(report.Issued, report.Effective, report.Period.first().End, report.Period.first().Start)
	doc.Type = codings(report.Code)
	doc.Categories = codings(report.Category)
	doc.coded(report)
	doc.label(report)
	s.replaces(&doc, report)
	doc.ReplacedBy = s.replacedBy(report)
	doc.Visible = true // a report that can be read is all that this shape knows
	return doc
}

// reportStanding is how a report stands that is the document (design, section 6).
func reportStanding(status string) Standing {
	switch status {
	case "final", "amended", "corrected", "appended", "modified":
		return Readable
	case "cancelled", "entered-in-error":
		return Withdrawn
	}
	return NotFinal
}

func amended(status string) bool {
	return slices.Contains([]string{"amended", "corrected", "appended", "modified"}, status)
}

// compositionStanding is how a Composition stands: its reports may stay registered for ever.
func compositionStanding(status string) Standing {
	switch status {
	case "final", "amended", "corrected", "appended":
		return Readable
	case "entered-in-error", "cancelled", "deprecated":
		return Withdrawn
	}
	return NotFinal
}

// latest raises the document's order to that of one of its resources.
func (d *Document) latest(n *node) {
	m := n.Meta.first()
	at := parseInstant(string(m.LastUpdated))
	if order := at.UnixMilli(); !at.IsZero() && order > d.Order {
		d.Order, d.Version = order, string(m.VersionID)
	}
}

const (
	confidentiality = "http://terminology.hl7.org/CodeSystem/v3-Confidentiality"
	testCode        = "HTEST"
)

// label adds the labels of one resource.
func (d *Document) label(n *node) {
	m := n.Meta.first()
	d.Labels = append(d.Labels, plain(m.Security)...)
	for _, tag := range plain(m.Tag) {
		if tag.Code == testCode {
			d.Labels = append(d.Labels, tag)
		}
	}
	if n.Confidential != "" {
		d.Labels = append(d.Labels, Coding{System: confidentiality, Code: string(n.Confidential)})
	}
	d.Labels = append(d.Labels, codings(n.Security)...)
}

// coded adds the code of a report or an Observation, and of the Observations inside it: codes only.
func (d *Document) coded(n *node) {
	d.Codes = append(d.Codes, codings(n.Code)...)
	for i := range n.Contained {
		if n.Contained[i].ResourceType == "Observation" {
			d.Codes = append(d.Codes, codings(n.Contained[i].Code)...)
		}
	}
}

// compositionIncludes bring what belongs to a Composition in the same answer (reference fse.md, 3.3, search C).
func compositionIncludes(query url.Values) url.Values {
	query["_include"] = []string{"Composition:subject", "Composition:entry"}
	query["_revinclude"] = []string{"DocumentReference:related"}
	return query
}

// readComposition reads a document that is a Composition: the newest of its identifier.
func (s *Source) readComposition(ctx context.Context, l Locator, withdrawn bool) (Document, error) {
	p, composition, standing, err := s.composition(ctx, l)
	if err != nil || composition == nil {
		return Document{Locator: l, Shape: s.o.Shape, Standing: standing}, err
	}
	known := s.compositionFacts(p, composition).Members
	for _, add := range []func(context.Context, *pool, *node) error{s.complete, s.addReport, s.addDocumentReference, s.addBundle} {
		if err := add(ctx, p, composition); err != nil {
			return Document{}, err
		}
	}
	doc := s.compositionFacts(p, composition)
	for _, member := range doc.Members {
		if !slices.Contains(known, member) {
			doc.Late = append(doc.Late, member)
		}
	}
	if l.Type == "Bundle" {
		doc.Locator.Type, doc.Locator.ID = l.Type, p.bundleOf(composition)
	}
	if !doc.concerns(withdrawn) {
		return doc, nil
	}
	doc.Person, err = s.person(ctx, p, s.voices(p, composition), &doc)
	return doc, err
}

// composition finds the newest Composition of a locator, with what came along. A server that keeps whole documents only has
// it inside of a Bundle.
func (s *Source) composition(ctx context.Context, l Locator) (*pool, *node, Standing, error) {
	if l.Type == "Bundle" {
		return s.compositionInBundle(ctx, l.ID)
	}
	if l.Value != "" {
		p, err := s.search(ctx, "Composition", compositionIncludes(url.Values{"identifier": {token(l.System, l.Value)}}))
		if err != nil && !errors.Is(err, errUnsupported) {
			return nil, nil, "", err
		}
		if err == nil && newestOf(p, l) != nil {
			err := s.addByID(ctx, p, l.ID)
			return p, newestOf(p, l), Readable, err
		}
	}
	if l.ID == "" { // a person named it by its identifier
		return nil, nil, Missing, nil
	}
	p, err := s.search(ctx, "Composition", compositionIncludes(url.Values{"_id": {l.ID}}))
	if err != nil && !errors.Is(err, errUnsupported) {
		return nil, nil, "", err
	}
	if err == nil && p.byName["Composition/"+l.ID] != nil {
		return p, p.byName["Composition/"+l.ID], Readable, nil
	}
	n, standing, err := s.read(ctx, "Composition", l.ID)
	if err != nil || n == nil {
		return nil, nil, standing, err
	}
	p = newPool()
	p.add("", n)
	return p, n, Readable, nil
}

// addByID reads the Composition that was found by its id, where a search for its identifier did not give it: its index may
// lag, and know old versions only.
func (s *Source) addByID(ctx context.Context, p *pool, id string) error {
	if id == "" || p.byName["Composition/"+id] != nil {
		return nil
	}
	n, _, err := s.read(ctx, "Composition", id)
	if n != nil {
		p.add("", n)
	}
	return err
}

// compositionInBundle is the first entry of a document Bundle, with everything else in it.
func (s *Source) compositionInBundle(ctx context.Context, id string) (*pool, *node, Standing, error) {
	bundle, standing, err := s.read(ctx, "Bundle", id)
	if err != nil || bundle == nil {
		return nil, nil, standing, err
	}
	return s.inBundle(ctx, bundle)
}

// inBundle is the first entry of a document Bundle, or of one that holds a later version of the same document.
func (s *Source) inBundle(ctx context.Context, bundle *node) (*pool, *node, Standing, error) {
	first := bundle.beginning()
	if first.ResourceType != "Composition" {
		return nil, nil, Missing, nil
	}
	versions, err := s.versions(ctx, &first)
	if err != nil {
		return nil, nil, "", err
	}
	for _, other := range versions {
		if later := other.beginning(); later.sameIdentifier(&first) && other.bundleFollows(bundle) {
			bundle = other
		}
	}
	first = bundle.beginning()
	p := newPool()
	p.addEntries(bundle)
	return p, p.byName["Composition/"+string(first.ID)], Readable, nil
}

// versions are the Bundles of all versions of a document, as far as the server finds them: each may give its Composition an id
// of its own, so that is asked only where the identifier finds nothing, not even the Bundle that is known. One without an
// identifier is a document by itself, whatever other Bundles begin with the same id.
func (s *Source) versions(ctx context.Context, composition *node) ([]*node, error) {
	if composition.Identifier.first().Value == "" {
		return nil, nil
	}
	for _, ask := range []func(context.Context, *node) (*pool, error){s.bundlesOfIdentifier, s.bundles} {
		found, err := ask(ctx, composition)
		if errors.Is(err, errUnsupported) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if all := found.of("Bundle"); len(all) > 0 {
			return all, nil
		}
	}
	return nil, nil
}

// beginning is the first resource of a Bundle.
func (n *node) beginning() node { return n.Entry.first().Resource.first() }

// sameIdentifier says whether two Compositions are versions of one document.
func (n *node) sameIdentifier(other *node) bool {
	a, b := n.Identifier.first(), other.Identifier.first()
	return a.Value != "" && a.Value == b.Value && a.System == b.System
}

// otherDocument says whether two Compositions are two documents, though they have the same id: one of them has it inside of a
// Bundle, where the server gives none.
func (n *node) otherDocument(other *node) bool {
	return n.Identifier.first().Value != "" && other.Identifier.first().Value != "" && !n.sameIdentifier(other)
}

// bundleOf is the id of the document Bundle of the pool that begins with a Composition.
func (p *pool) bundleOf(composition *node) string {
	for _, bundle := range p.of("Bundle") {
		if composition.isFirstOf(bundle) {
			return string(bundle.ID)
		}
	}
	return ""
}

// token is an identifier as a search asks for it; what would mean something to the search is escaped (FHIR R4 search,
// Escaping Search Parameters).
func token(system, value string) string {
	if system == "" {
		return escaped.Replace(value)
	}
	return escaped.Replace(system) + "|" + escaped.Replace(value)
}

var escaped = strings.NewReplacer(`\`, `\\`, `,`, `\,`, `|`, `\|`, `$`, `\$`)

// newestOf is the newest Composition of an identifier; a lenient server may have sent others too. A person may leave out its
// system; what was found without one has none.
func newestOf(p *pool, l Locator) (newest *node) {
	for _, n := range p.of("Composition") {
		id := n.Identifier.first()
		if string(id.Value) != l.Value || ((l.System != "" || l.ID != "") && string(id.System) != l.System) {
			continue
		}
		if newest == nil || n.follows(newest) {
			newest = n
		}
	}
	return newest
}

// follows says whether a Composition is a later version of the document than another one: by number, else by date, and only
// where these say nothing by when it was written. What was written last may be an old version that was marked as such.
func (n *node) follows(other *node) bool {
	if order := n.compareVersion(other); order != 0 {
		return order > 0
	}
	return n.updated().After(other.updated())
}

// bundleFollows is follows for the Bundles that two versions are in. What is inside often does not say when it was written.
func (n *node) bundleFollows(other *node) bool {
	a, b := n.beginning(), other.beginning()
	if order := a.compareVersion(&b); order != 0 {
		return order > 0
	}
	if at, than := a.updated(), b.updated(); !at.IsZero() && !than.IsZero() && !at.Equal(than) {
		return at.After(than)
	}
	return n.updated().After(other.updated())
}

// compareVersion compares two versions of a document by number, else by date; 0 where these say nothing.
func (n *node) compareVersion(other *node) int {
	number, numberErr := strconv.Atoi(cmp.Or(versionNumber(n), "1"))
	than, thanErr := strconv.Atoi(cmp.Or(versionNumber(other), "1"))
	if numberErr == nil && thanErr == nil && number != than {
		return cmp.Compare(number, than)
	}
	a, b := string(n.Date), string(other.Date)
	if !strings.Contains(a, "T") || !strings.Contains(b, "T") { // a day is neither before nor after an hour of it
		short := min(len(a), len(b), len(time.DateOnly))
		a, b = a[:short], b[:short]
	}
	if date, than := parseInstant(a), parseInstant(b); !date.IsZero() && !than.IsZero() {
		return date.Compare(than)
	}
	return 0
}

// updated is when a resource was written last; zero when unknown.
func (n *node) updated() time.Time { return parseInstant(string(n.Meta.first().LastUpdated)) }

// How many reports of one document are read, and how many are asked for at once: their ids stand in one URL.
const (
	maxReports     = 300
	reportsAtATime = 50
)

// errTooManyReports says that what a document lists cannot be seen whole: it is not decided upon a part.
var errTooManyReports = errors.New("a document lists more reports than are read")

// complete reads the reports that the Composition lists and that did not come along: the ministry's laboratory documents
// list them one section deeper than searches look. Each may be the one that says what the document is.
func (s *Source) complete(ctx context.Context, p *pool, composition *node) error {
	var missing []string
	for _, r := range listed(composition.Section, nil) {
		if named, ok := parseReference(string(r.Reference)); ok && named.kind == "DiagnosticReport" && s.own(named) &&
			p.byName["DiagnosticReport/"+named.id] == nil && !slices.Contains(missing, named.id) {
			missing = append(missing, named.id)
		}
	}
	if len(missing) > maxReports {
		return &Trouble{Kind: Unusable, Doing: "search DiagnosticReport", Err: errTooManyReports}
	}
	for some := range slices.Chunk(missing, reportsAtATime) {
		more, err := s.search(ctx, "DiagnosticReport", url.Values{"_id": {strings.Join(some, ",")}, "_count": {strconv.Itoa(len(some))}})
		if errors.Is(err, errUnsupported) {
			break
		}
		if err != nil {
			return err
		}
		p.addAll(more)
	}
	return s.readReports(ctx, p, missing)
}

// readReports reads those that no search gave: its index may lag.
func (s *Source) readReports(ctx context.Context, p *pool, ids []string) error {
	for _, id := range ids {
		if p.byName["DiagnosticReport/"+id] != nil {
			continue
		}
		n, _, err := s.read(ctx, "DiagnosticReport", id)
		if err != nil {
			return err
		}
		if n != nil {
			p.add("", n)
		}
	}
	return nil
}

// addReport reads the report that only names the Composition or shares its identifier (hl7-it): labels may stand on it alone.
func (s *Source) addReport(ctx context.Context, p *pool, composition *node) error {
	type ask func(context.Context, string, url.Values) (*pool, error)
	id := composition.Identifier.first()
	subject, named := parseReference(string(composition.Subject.first().Reference))
	for _, way := range []struct {
		there bool
		ask   ask
		query url.Values
	}{
		{id.Value != "", s.search, url.Values{"identifier": {token(string(id.System), string(id.Value))}}},
		{named && s.own(subject), s.newest, url.Values{"subject": {subject.tail}}},
	} {
		if s.o.Shape != ShapeHL7IT || len(s.reports(p, composition)) > 0 {
			return nil
		}
		if !way.there {
			continue
		}
		found, err := way.ask(ctx, "DiagnosticReport", way.query)
		if err != nil && !errors.Is(err, errUnsupported) {
			return err
		}
		if err == nil {
			s.addNamed(p, found, composition)
		}
	}
	return nil
}

// addNamed adds the reports that name the Composition, or share its identifier: a search gives others too.
func (s *Source) addNamed(p, found *pool, composition *node) {
	for _, n := range found.of("DiagnosticReport") {
		if s.names(n, composition) {
			p.add("", n)
		}
	}
}

// addDocumentReference asks for what speaks of the Composition where it did not come along: some servers do not know
// _revinclude, and that a document is hidden from its citizen may stand there alone.
func (s *Source) addDocumentReference(ctx context.Context, p *pool, composition *node) error {
	if len(s.documentReferences(p, composition)) > 0 {
		return nil
	}
	found, err := s.search(ctx, "DocumentReference", url.Values{"related": {"Composition/" + string(composition.ID)}})
	if err != nil {
		return ignoreUnsupported(err)
	}
	p.addAll(found)
	return nil
}

// listed are all entries of sections, nested ones too.
func listed(sections []section, into []ref) []ref {
	for _, one := range sections {
		into = append(into, one.Entry...)
		into = listed(one.Section, into)
	}
	return into
}

// addBundle reads the document Bundle of hl7-it: labels may stand on it alone. What is inside counts only where the Composition
// names its patient by a URN, which means something inside of that Bundle only.
func (s *Source) addBundle(ctx context.Context, p *pool, composition *node) error {
	subject := string(composition.Subject.first().Reference)
	urn := strings.HasPrefix(subject, "urn:") && p.lookup(s, subject) == nil
	if (s.o.Shape != ShapeHL7IT && !urn) || slices.ContainsFunc(p.of("Bundle"), composition.isFirstOf) {
		return nil
	}
	found, err := s.bundles(ctx, composition)
	if err != nil {
		return ignoreUnsupported(err)
	}
	for _, bundle := range latestOf(found.of("Bundle"), composition) {
		if urn {
			p.addEntries(bundle)
		}
		p.add("", bundle)
	}
	return nil
}

// latestOf are the Bundles of the latest version: each version of a document may be a Bundle of its own.
func latestOf(bundles []*node, composition *node) []*node {
	bundles = slices.DeleteFunc(bundles, func(n *node) bool { first := n.beginning(); return first.otherDocument(composition) })
	if len(bundles) == 0 {
		return nil
	}
	latest := bundles[0]
	for _, n := range bundles[1:] {
		if n.bundleFollows(latest) {
			latest = n
		}
	}
	return slices.DeleteFunc(bundles, latest.bundleFollows)
}

// isFirstOf says whether a Bundle is a document that begins with this Composition.
func (n *node) isFirstOf(bundle *node) bool {
	first := bundle.beginning()
	return first.ResourceType == n.ResourceType && first.ID == n.ID
}

// reports are those of the pool that the Composition lists.
func (s *Source) reports(p *pool, composition *node) (all []*node) {
	for _, r := range listed(composition.Section, nil) {
		n := p.lookup(s, string(r.Reference))
		if n != nil && n.ResourceType == "DiagnosticReport" && !slices.Contains(all, n) {
			all = append(all, n)
		}
	}
	for _, n := range p.of("DiagnosticReport") { // hl7-it: sections hold Observations, the report names its Composition
		if !slices.Contains(all, n) && s.names(n, composition) {
			all = append(all, n)
		}
	}
	return all
}

// compositionExtension is by which R4 reports name their Composition (R5 has an element).
const compositionExtension = "http://hl7.org/fhir/5.0/StructureDefinition/extension-DiagnosticReport.composition"

// compositionOf is what a report says its Composition is.
func compositionOf(report *node) (refs []ref) {
	refs = append(refs, report.Composition...)
	for _, e := range report.Extension {
		if string(e.URL) == compositionExtension {
			refs = append(refs, e.Reference...)
		}
	}
	return refs
}

// names says whether a report names the Composition, or shares its identifier.
func (s *Source) names(report, composition *node) bool {
	for _, r := range compositionOf(report) {
		if named, ok := parseReference(string(r.Reference)); ok && named.kind == "Composition" && named.id == string(composition.ID) && s.own(named) {
			return true
		}
	}
	of := composition.Identifier.first()
	return of.Value != "" && slices.ContainsFunc(report.Identifier, func(i identifier) bool {
		return i.Value == of.Value && (i.System == of.System || i.System == "" || of.System == "")
	})
}

// documentReferences are those of the pool that speak of the Composition.
func (s *Source) documentReferences(p *pool, composition *node) (all []*node) {
	for _, n := range p.of("DocumentReference") {
		// By type and id, whatever base the server writes: one that is taken for ours too much can only hide the document.
		if slices.ContainsFunc(n.Context.first().Related, func(r ref) bool {
			named, ok := parseReference(string(r.Reference))
			return p.lookup(s, string(r.Reference)) == composition || (ok && named.kind == "Composition" && named.id == string(composition.ID))
		}) {
			all = append(all, n)
		}
	}
	return all
}

// voices are the resources that name whom the document is about.
func (s *Source) voices(p *pool, composition *node) []*node {
	voices := append([]*node{composition}, s.documentReferences(p, composition)...)
	return append(voices, s.reports(p, composition)...)
}

// compositionFacts are the facts of a document that is a Composition.
func (s *Source) compositionFacts(p *pool, composition *node) Document {
	id := composition.Identifier.first()
	doc := Document{
		Locator:  Locator{Type: "Composition", ID: string(composition.ID), System: string(id.System), Value: string(id.Value)},
		Shape:    s.o.Shape,
		Standing: compositionStanding(string(composition.Status)),
		Edition:  versionNumber(composition) + "|" + moment(composition.Date) + "|" + string(composition.Status),
		Date:     firstInstant(composition.Date),
		Type:     codings(composition.Type),
	}
	doc.Codes = append(doc.Codes, sectionCodes(composition.Section, nil)...)
	doc.Categories = append(doc.Categories, codings(composition.Category)...)
	s.replaces(&doc, composition)
	if len(doc.Replaces) > 0 { // what replaces another one is an edition by that alone; what a DocumentReference says may change
		doc.Edition += "|" + doc.Locator.ID
	}
	references := s.documentReferences(p, composition)
	s.addReferences(&doc, references)
	doc.Visible = len(references) > 0 || s.o.Shape != ShapeFSE2
	for _, n := range append([]*node{composition}, s.reports(p, composition)...) {
		doc.latest(n)
		doc.label(n)
		doc.Members = append(doc.Members, Locator{Type: n.ResourceType, ID: string(n.ID)})
		if n.ResourceType == "DiagnosticReport" {
			doc.Categories = append(doc.Categories, codings(n.Category)...)
			doc.coded(n)
		}
	}
	for _, n := range p.of("Observation") {
		doc.coded(n)
	}
	for _, n := range p.of("Bundle") {
		doc.label(n)
		doc.Members = append(doc.Members, Locator{Type: n.ResourceType, ID: string(n.ID)})
	}
	return doc
}

// addReferences adds what DocumentReferences say: class, access rules, labels, and whether they still stand.
func (s *Source) addReferences(doc *Document, references []*node) {
	standings := map[Standing]bool{}
	for _, n := range references {
		doc.latest(n)
		doc.label(n)
		s.replaces(doc, n)
		doc.Type = append(doc.Type, codings(n.Type)...)
		doc.Class = append(doc.Class, codings(n.Category)...)
		doc.Access = append(doc.Access, codings(n.Context.first().Event)...)
		doc.Members = append(doc.Members, Locator{Type: n.ResourceType, ID: string(n.ID)})
		if doc.Date.IsZero() {
			doc.Date = firstInstant(n.Date)
		}
		standings[referenceStanding(n)] = true
	}
	switch {
	case doc.Standing != Readable || len(references) == 0 || standings[Readable]:
	case standings[NotFinal]:
		doc.Standing = NotFinal
	default:
		doc.Standing = Withdrawn
	}
}

// referenceStanding is how a DocumentReference says that its document stands.
func referenceStanding(n *node) Standing {
	switch {
	case n.Status == "superseded", n.Status == "entered-in-error":
		return Withdrawn
	case n.DocStatus == "":
		return Readable
	}
	return compositionStanding(string(n.DocStatus))
}

// versionNumber is the version that the CDA document had; "" for the first.
func versionNumber(composition *node) string {
	for _, e := range composition.Extension {
		if strings.HasSuffix(string(e.URL), "composition-clinicaldocument-versionNumber") {
			return string(e.String + e.Integer + e.Unsigned + e.Positive)
		}
	}
	return string(composition.Version)
}

// moment is a time in one spelling: a server that its documents moved to may write another zone, which makes no edition.
func moment(written text) string {
	if at := parseInstant(string(written)); !at.IsZero() && strings.Contains(string(written), "T") {
		return at.UTC().Format(time.RFC3339Nano)
	}
	return string(written)
}

func sectionCodes(sections []section, into []Coding) []Coding {
	for _, one := range sections {
		into = append(into, codings(one.Code)...)
		into = sectionCodes(one.Section, into)
	}
	return into
}

func firstInstant(texts ...text) time.Time {
	for _, one := range texts {
		if at := parseInstant(string(one)); !at.IsZero() {
			return at
		}
	}
	return time.Time{}
}
