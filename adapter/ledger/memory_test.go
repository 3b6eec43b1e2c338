package ledger

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"staffetta/adapter/ledger/redistest"
	"staffetta/fhir"
)

// mostFinished is what a finished document costs in Redis at most, in bytes (design, section 4): the goal at a million, which
// holds for some thousands as well.
const mostFinished = 100

// memoryUsed is used_memory of INFO, in bytes.
func memoryUsed(t *testing.T, client *redis.Client) int64 {
	t.Helper()
	info, err := client.Info(t.Context(), "memory").Result()
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(info) {
		if value, found := strings.CutPrefix(strings.TrimSpace(line), "used_memory:"); found {
			used, err := strconv.ParseInt(value, 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			return used
		}
	}
	t.Fatal("no used_memory in INFO")
	return 0
}

// scales is a ledger without a journal over a redis-server of its own, which has its scripts and its connections already.
func scales(t *testing.T) (*Ledger, *redis.Client) {
	t.Helper()
	if _, err := exec.LookPath("redis-server"); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("CI needs a redis-server on the PATH")
		}
		t.Skip("no redis-server on the PATH: the embedded one has no used_memory")
	}
	client := redistest.Real(t)
	naming, seal := sha256.Sum256([]byte("naming")), sha256.Sum256([]byte("seal"))
	l, err := Open(t.Context(), Options{Redis: client, NamingKey: naming[:], SealKeys: []SealKey{{ID: 1, Key: seal[:]}}})
	if err != nil {
		t.Fatal(err)
	}
	checkedAtTheEnd(t, l)
	warm := weighed(l, 0, documentHint(l, "north", 1).Key, countedID)
	if _, err := l.Admit(t.Context(), []Hint{warm}); err != nil {
		t.Fatal(err)
	}
	endAll(t, l)
	return l, client
}

// weighed is a hint as the endpoint makes it of a notification.
func weighed(l *Ledger, n int, key Key, id string) Hint {
	return Hint{
		Key: key, Source: "north", Locator: fhir.Locator{Type: "DiagnosticReport", ID: fmt.Sprintf(id, n)}, State: Pending,
		Order: 1_800_000_000_000 + int64(n), Version: l.VersionTag(strconv.Itoa(n)), Settle: time.Hour,
	}
}

// countedID is an id as most servers give them.
const countedID = "r%07d"

// endAll ends what is due as most documents end: told, and delivered.
func endAll(t *testing.T, l *Ledger) {
	t.Helper()
	l.skew = func() time.Duration { return 2 * time.Hour }
	defer func() { l.skew = func() time.Duration { return 0 } }()
	claimed, err := l.Claim(t.Context(), ClaimOptions{N: 1000, Sources: []string{"north"}})
	if err != nil {
		t.Fatal(err)
	}
	settlements := make([]Settlement, len(claimed.Records))
	for i, rec := range claimed.Records {
		rec.State, rec.ReadOrder, rec.ReadVersion, rec.HintedOrder = Delivered, rec.HintedOrder, l.VersionTag(rec.Locator.ID), 0
		rec.Told = Told{
			Publication: Published, Edition: l.EditionTag(""), At: rec.Now, Person: l.VersionTag(rec.Key.String()),
			MessageID: fmt.Sprintf("01ARZ3NDEKTSV4RR%010d", i),
		}
		settlements[i] = Settlement{Record: rec, Event: "delivered"}
	}
	settled, err := l.Settle(t.Context(), settlements)
	if err != nil {
		t.Fatal(err)
	}
	for _, word := range settled {
		if word != Written {
			t.Fatalf("%s, want written", word)
		}
	}
}

func TestWhatAPendingDocumentCosts(t *testing.T) {
	const n, batch = 16_000, 1000 // which fills Redis' tables as a million does
	for _, tt := range []struct {
		name, id string
		most     float64
	}{
		{"ids that are numbers", countedID, 350},
		{"ids that are UUIDs", "6f1b9a52-3c7e-4c3a-9d2e-0c5a7%07d", 366}, // one step of Redis' allocator more
	} {
		t.Run(tt.name, func(t *testing.T) {
			l, client := scales(t)
			empty := memoryUsed(t, client)
			for first := range n / batch {
				hints := make([]Hint, batch)
				for i := range hints {
					at := first*batch + i
					key := l.DocumentKey("north", fhir.Locator{Type: "DiagnosticReport", ID: strconv.Itoa(at)})
					hints[i] = weighed(l, at, key, tt.id)
				}
				if _, err := l.Admit(t.Context(), hints); err != nil {
					t.Fatal(err)
				}
			}
			each := float64(memoryUsed(t, client)-empty) / n
			t.Logf("%.0f bytes of Redis for each", each)
			if each > tt.most || each < tt.most/4 {
				t.Errorf("%.0f bytes of Redis for each, want at most %.0f", each, tt.most)
			}
		})
	}
}

// At a million documents a month about 64 lie in a bucket: here, too, in fewer buckets.
func TestWhatAFinishedDocumentCosts(t *testing.T) {
	const full, some, batch = 64, 160, 512
	l, client := scales(t)
	empty := memoryUsed(t, client)
	hints := make([]Hint, 0, batch)
	for n := range full * some {
		var key Key
		sum := sha256.Sum256([]byte(strconv.Itoa(n)))
		copy(key[:], sum[:])
		bucket := n % some
		key[0] = byte(bucket % Partitions)
		binary.BigEndian.PutUint16(key[1:], uint16(bucket/Partitions))
		hints = append(hints, weighed(l, n, key, countedID))
		if len(hints) == cap(hints) {
			if _, err := l.Admit(t.Context(), hints); err != nil {
				t.Fatal(err)
			}
			endAll(t, l)
			hints = hints[:0]
		}
	}
	checked, err := l.Check(t.Context(), []string{"north"})
	if err != nil || checked.Finished < full*some || checked.Live > 0 {
		t.Fatalf("%d finished and %d live, want %d and none: %v", checked.Finished, checked.Live, full*some, err)
	}
	each := float64(memoryUsed(t, client)-empty) / (full * some)
	t.Logf("%.0f bytes of Redis for each", each)
	if each > mostFinished || each < mostFinished/4 {
		t.Errorf("%.0f bytes of Redis for each, want at most %d", each, mostFinished)
	}
}
