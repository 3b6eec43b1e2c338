package ledger

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"strconv"
	"sync"

	"staffetta/fhir"
	"staffetta/fhir/fiscalcode"
)

// Buckets is how many buckets finished records of one month fill in each partition: at a million a month about 64 each,
// small enough for Redis' compact encoding.
const buckets = 1024

// paceKey is the budget of IO calls and the pauses that all replicas share.
const paceKey = "staffetta:{io}:pace"

// prefix is the start of every key of a partition; its braces are the hash tag of Redis Cluster.
func prefix(partition int) string { return "staffetta:{" + strconv.Itoa(partition) + "}:" }

// What is not of one partition has keys of its own.
func leaseKey(name string) string      { return "staffetta:lease:" + name }
func subKey(source, id string) string  { return "staffetta:sub:" + source + ":" + id }
func subsKey(source string) string     { return "staffetta:sub:" + source } // set of the ids
func askedKey(messageID string) string { return "staffetta:asked:" + messageID }
func coverKey(source string, person Tag) string {
	return "staffetta:cover:" + source + ":" + base64.RawURLEncoding.EncodeToString(person[:])
}

// Of catching up with a source: one hash tag for both.
func catchUpKey(source string) string { return "staffetta:{at:" + source + "}:catchup" }
func heardKey(source string) string   { return catchUpKey(source) + ":heard" }

// thereKey holds what was there of a resource type when its source was connected.
func thereKey(source, kind string) string { return catchUpKey(source) + ":there:" + kind }

func dueKey(partition int, source string) string { return prefix(partition) + "due:" + source }
func trackKey(partition int) string              { return prefix(partition) + "track" }
func heldKey(partition int) string               { return prefix(partition) + "held" }
func journalKey(partition int) string            { return prefix(partition) + "journal" }
func endsKey(partition int) string               { return prefix(partition) + "ends" }
func recordKey(key Key) string                   { return prefix(key.Partition()) + "r:" + key.String() }

func doneKey(key Key, month string) string {
	return prefix(key.Partition()) + "done:" + month + ":" + key.bucket()
}

// toldKey holds whereabouts of documents that somebody was told of in a month.
func toldKey(key Key, month string) string {
	return prefix(key.Partition()) + "told:" + month + ":" + key.bucket()
}

// bucket is where the finished record lies within its month.
func (k Key) bucket() string { return strconv.Itoa((int(k[1])<<8 | int(k[2])) % buckets) }

// DocumentKey names the record of a document.
func (l *Ledger) DocumentKey(source string, document fhir.Locator) Key {
	return Key(l.keyed("document", source, document.Identity())[:16])
}

// FindKey names the record of a hint whose document is still to be found.
func (l *Ledger) FindKey(source, resourceType, id string) Key {
	return Key(l.keyed("find", source, resourceType+"/"+id)[:16])
}

// VersionTag is a version as records keep it; zero for "", which is unknown.
func (l *Ledger) VersionTag(version string) Tag {
	if version == "" {
		return Tag{}
	}
	return Tag(l.keyed("version", "", version)[:8])
}

// EditionTag is an edition as records keep it. The original edition, "", is an edition too.
func (l *Ledger) EditionTag(edition string) Tag { return Tag(l.keyed("edition", "", edition)[:8]) }

// PersonTag is the keyed hash of whom was told; zero for nobody.
func (l *Ledger) PersonTag(code fiscalcode.Code) Tag {
	if code == (fiscalcode.Code{}) {
		return Tag{}
	}
	return Tag(l.keyed("person", "", code.Reveal())[:8]) //nolint:forbidigo // leaves as a keyed hash only
}

// keyed is HMAC-SHA-256 under the naming key; kind and source cannot run into what follows, they hold no line feed.
func (l *Ledger) keyed(kind, source, text string) []byte {
	return macOf(&l.macs, []byte(kind+"\n"+source+"\n"+text))
}

// macOf takes a MAC of a pool (newMAC) for one text.
func macOf(macs *sync.Pool, text []byte) []byte {
	mac, _ := macs.Get().(interface {
		Reset()
		Write(p []byte) (int, error)
		Sum(b []byte) []byte
	})
	defer macs.Put(mac)
	mac.Reset()
	_, _ = mac.Write(text)
	return mac.Sum(nil)
}

func newMAC(key []byte) func() any {
	return func() any { return hmac.New(sha256.New, key) }
}
