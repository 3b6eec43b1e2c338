package ledger

import (
	"crypto/sha256"
	"encoding/base64"
	"log/slog"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"pgregory.net/rapid"

	"staffetta/adapter/ledger/redistest"
)

// anyReference is what any message could say of itself.
func anyReference(t *rapid.T, label string) Reference {
	tag := func(name string) (tag Tag) {
		copy(tag[:], rapid.SliceOfN(rapid.Byte(), len(tag), len(tag)).Draw(t, label+name))
		return tag
	}
	of := Reference{
		Person: tag(" person"), Publication: rapid.SampledFrom(publications[1:]).Draw(t, label+" publication"),
		Language: rapid.StringMatching(`[a-z]{2}`).Draw(t, label+" language"),
	}
	copy(of.Document[:], rapid.SliceOfN(rapid.Byte(), len(of.Document), len(of.Document)).Draw(t, label+" document"))
	edition := tag(" edition")
	copy(of.Edition[:halfTag], edition[:])
	return of
}

func TestReferences(t *testing.T) {
	l := open(t, redistest.Start(t))
	naming := sha256.Sum256([]byte("another naming key"))
	others, err := newReferences(naming[:])
	if err != nil {
		t.Fatal(err)
	}
	stranger := &Ledger{references: others}
	rapid.Check(t, func(t *rapid.T) {
		one, other := anyReference(t, "one"), anyReference(t, "other")
		text := l.Reference(one)
		if !regexp.MustCompile(`^[A-Za-z0-9_-]{63}$`).MatchString(text) {
			t.Fatalf("a reference of %d characters, or of others than base64url", len(text))
		}
		if again := l.Reference(one); again != text {
			t.Fatal("the same message has another reference the second time")
		}
		if opened, ours := l.OpenReference(text); !ours || opened != one {
			t.Fatal("a reference does not say what it said")
		}
		if one != other && l.Reference(other) == text {
			t.Fatal("two messages share a reference")
		}
		if _, ours := stranger.OpenReference(text); ours {
			t.Fatal("a reference opens under another naming key")
		}
		at := rapid.IntRange(0, len(text)-1).Draw(t, "at")
		forged := []byte(text)
		forged[at] = rapid.SampledFrom([]byte("AZaz09-_")).Draw(t, "character")
		if _, ours := l.OpenReference(string(forged)); ours && string(forged) != text {
			t.Fatal("a changed reference opens")
		}
		if strings.Contains(text, one.Document.String()) {
			t.Fatal("a reference shows the record's key")
		}
	})
}

// Of two references that differ in one thing only, nothing is the same but what chance makes so.
func TestAReferenceTellsNothingOfAnotherOne(t *testing.T) {
	l := open(t, redistest.Start(t))
	of := Reference{Document: Key{1}, Person: Tag{2}, Edition: Tag{3}, Publication: Published, Language: "it"}
	first := l.Reference(of)
	for name, change := range map[string]func(*Reference){
		"person": func(r *Reference) { r.Person[7]++ }, "document": func(r *Reference) { r.Document[15]++ },
		"edition": func(r *Reference) { r.Edition[0]++ }, "publication": func(r *Reference) { r.Publication = Updated },
		"language": func(r *Reference) { r.Language = "de" },
	} {
		other := of
		change(&other)
		second, same := l.Reference(other), 0
		for i := range first {
			if first[i] == second[i] {
				same++
			}
		}
		if same > len(first)/4 {
			t.Errorf("another %s: %d of %d characters are the same", name, same, len(first))
		}
	}
}

func TestWhatIsNoReference(t *testing.T) {
	l := open(t, redistest.Start(t))
	good := l.Reference(Reference{Document: Key{1}, Person: Tag{2}, Publication: Published, Language: "it"})
	for name, text := range map[string]string{
		"nothing": "", "a codice fiscale": "RSSMRA80A01H501U", "a path": "../" + good[3:], "longer": good + "A", "shorter": good[1:],
		"in the other base64": strings.NewReplacer("-", "+", "_", "/").Replace(good) + "=", "padded": good + "=",
		"of zeros":  base64.RawURLEncoding.EncodeToString(make([]byte, referenceLength)),
		"a key":     Key{1}.String(),
		"not ASCII": strings.Repeat("é", 32)[:63],
	} {
		if _, ours := l.OpenReference(text); ours && text != good {
			t.Errorf("%s opens", name)
		}
	}
	// Two bits of the last character mean nothing: only one of the four spellings is a reference.
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	spellings := 0
	for _, last := range alphabet {
		if _, ours := l.OpenReference(good[:62] + string(last)); ours {
			spellings++
		}
	}
	if spellings != 1 {
		t.Errorf("%d spellings of one reference", spellings)
	}
}

func TestOfEditionAndSamePerson(t *testing.T) {
	l := open(t, redistest.Start(t))
	of, ours := l.OpenReference(l.Reference(Reference{Edition: l.EditionTag("1"), Publication: Published, Language: "it"}))
	if !ours || !of.OfEdition(l.EditionTag("1")) || of.OfEdition(l.EditionTag("2")) {
		t.Error("an edition is taken for another one")
	}
	if !SamePerson(Tag{1}, Tag{1}) || SamePerson(Tag{1}, Tag{2}) || SamePerson(Tag{}, Tag{}) {
		t.Error("a person is taken for another one, or nobody for somebody")
	}
}

// admitAndClaim admits a document and claims it.
func admitAndClaim(t *testing.T, l *Ledger) Record {
	t.Helper()
	h := documentHint(l, "north", 1)
	if _, err := l.Admit(t.Context(), []Hint{h}); err != nil {
		t.Fatal(err)
	}
	got, err := l.Claim(t.Context(), ClaimOptions{N: 16, Sources: []string{"north"}})
	if err != nil || len(got.Records) != 1 || got.Records[0].Key != h.Key {
		t.Fatalf("%d records, %v", len(got.Records), err)
	}
	return got.Records[0]
}

func settle(t *testing.T, l *Ledger, s Settlement) Settled {
	t.Helper()
	settled, err := l.Settle(t.Context(), []Settlement{s})
	if err != nil {
		t.Fatal(err)
	}
	return settled[0]
}

// whereabouts wants them kept, or not.
func whereabouts(t *testing.T, l *Ledger, rec *Record, want bool) {
	t.Helper()
	w, known, err := l.Whereabouts(t.Context(), rec.Key)
	if err != nil || known != want {
		t.Fatalf("known %t, %v, want %t", known, err, want)
	}
	if known && (w.Source != "north" || w.Locator != rec.Locator) {
		t.Errorf("source %s, or another locator", w.Source)
	}
}

func TestWhereaboutsAreKeptWithWhatWasTold(t *testing.T) {
	redistest.Each(t, func(t *testing.T, client redis.UniversalClient) {
		t.Helper()
		l := open(t, client)
		rec := admitAndClaim(t, l)
		whereabouts(t, l, &rec, false)

		// Before the POST: a citizen may open a message before its outcome is written.
		rec.State, rec.Publication, rec.Recipient = Sending, Published, somebody
		if got := settle(t, l, Settlement{Record: rec, Next: Next{Keep: true}, Event: "about-to-send", Referenced: true}); got != Written {
			t.Fatal(got)
		}
		whereabouts(t, l, &rec, true)

		// With the outcome, too, so that they last from then on.
		if err := client.Del(t.Context(), toldKey(rec.Key, l.today().ending)).Err(); err != nil {
			t.Fatal(err)
		}
		rec.State, rec.Told = Delivered, Told{Publication: Published, At: rec.Now.Add(time.Second), Person: l.PersonTag(rec.Recipient)}
		rec.Recipient = Record{}.Recipient
		if got := settle(t, l, Settlement{Record: rec, Event: "delivered", Referenced: true}); got != Written {
			t.Fatal(got)
		}
		whereabouts(t, l, &rec, true)

		// Their time is their own: longer than that of the record.
		ttl := client.TTL(t.Context(), toldKey(rec.Key, l.today().ending)).Val()
		if rests := client.TTL(t.Context(), doneKey(rec.Key, l.today().ending)).Val(); ttl < 400*24*time.Hour || rests >= ttl {
			t.Errorf("whereabouts are kept for %s, records for %s", ttl, rests)
		}
	})
}

func TestWithoutAReferenceNothingIsKept(t *testing.T) {
	client := redistest.Start(t)
	l := open(t, client)
	rec := admitAndClaim(t, l)
	rec.State, rec.Told = Delivered, Told{Publication: Published, At: rec.Now.Add(time.Second)}
	settle(t, l, Settlement{Record: rec, Event: "delivered"})
	whereabouts(t, l, &rec, false)
	if n := client.Exists(t.Context(), toldKey(rec.Key, l.today().ending)).Val(); n != 0 {
		t.Error("something is kept")
	}
}

// A message whose claim is over, or that Redis has forgotten, is told late: its whereabouts come with it.
func TestWhereaboutsOfWhatWasToldLate(t *testing.T) {
	redistest.Each(t, func(t *testing.T, client redis.UniversalClient) {
		t.Helper()
		l := open(t, client)
		rec := admitAndClaim(t, l)
		rec.State, rec.Told = Delivered, Told{Publication: Published, At: rec.Now.Add(time.Second)}
		rec.token = staleOnlyFor
		if got := settle(t, l, Settlement{Record: rec, Event: "delivered", Referenced: true}); got != StaleToken {
			t.Fatal(got)
		}
		whereabouts(t, l, &rec, true)
	})
}

// A claim that is over tells late where its document was: what was written since stays.
func TestWhereaboutsOfAClaimThatIsOver(t *testing.T) {
	redistest.Each(t, func(t *testing.T, client redis.UniversalClient) {
		t.Helper()
		l := open(t, client)
		old := admitAndClaim(t, l)
		newer := old
		newer.State, newer.Told = Delivered, Told{Publication: Published, At: old.Now.Add(2 * time.Second)}
		newer.Locator.ID = "moved"
		if got := settle(t, l, Settlement{Record: newer, Event: "delivered", Referenced: true}); got != Written {
			t.Fatal(got)
		}
		old.State, old.Told = Delivered, Told{Publication: Published, At: old.Now.Add(time.Second)}
		if got := settle(t, l, Settlement{Record: old, Event: "delivered", Referenced: true}); got != StaleToken {
			t.Fatal(got)
		}
		whereabouts(t, l, &newer, true)
	})
}

func TestWhereaboutsOutliveMonthsAndSealKeys(t *testing.T) {
	client := redistest.Start(t)
	l := open(t, client)
	jumped := time.Duration(0)
	l.skew = func() time.Duration { return jumped }
	rec := admitAndClaim(t, l)
	rec.State, rec.Told = Delivered, Told{Publication: Published, At: rec.Now.Add(time.Second)}
	settle(t, l, Settlement{Record: rec, Event: "delivered", Referenced: true})
	text := l.Reference(Reference{Document: rec.Key, Publication: Published, Language: "it"})

	naming, seal, next := sha256.Sum256([]byte("naming")), sha256.Sum256([]byte("seal")), sha256.Sum256([]byte("next"))
	rotated := func(keys ...SealKey) *Ledger {
		l, err := Open(t.Context(), Options{
			Redis: client, NamingKey: naming[:], SealKeys: keys, Log: slog.New(slog.DiscardHandler), Skew: func() time.Duration { return jumped },
		})
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	jumped = 390 * 24 * time.Hour
	both := rotated(SealKey{ID: 2, Key: next[:]}, SealKey{ID: 1, Key: seal[:]})
	if _, ours := both.OpenReference(text); !ours {
		t.Error("a reference does not outlive the seal key")
	}
	whereabouts(t, both, &rec, true)
	if _, known, err := rotated(SealKey{ID: 2, Key: next[:]}).Whereabouts(t.Context(), rec.Key); known || err == nil {
		t.Errorf("sealed under a key that is gone: known %t, %v", known, err)
	}
	jumped = 500 * 24 * time.Hour
	whereabouts(t, rotated(SealKey{ID: 1, Key: seal[:]}), &rec, false)
}

// Whatever is asked for, it is read without harm, and what is a reference is one in its only spelling.
func FuzzOpenReference(f *testing.F) {
	naming := sha256.Sum256([]byte("naming"))
	keys, err := newReferences(naming[:])
	if err != nil {
		f.Fatal(err)
	}
	l := &Ledger{references: keys}
	f.Add(l.Reference(Reference{Document: Key{1}, Person: Tag{2}, Publication: Published, Language: "it"}))
	f.Add("")
	f.Add(strings.Repeat("A", 63))
	f.Fuzz(func(t *testing.T, text string) {
		if of, ours := l.OpenReference(text); ours && l.Reference(of) != text {
			t.Error("a reference with two spellings")
		}
	})
}
