package ledger

import (
	"context"
	"fmt"
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"staffetta/adapter/ledger/redistest"
	"staffetta/fhir/fiscalcode"
)

// BenchmarkScripts is what a document costs Redis in each script on its way from a hint to a message, 32 in one call.
func BenchmarkScripts(b *testing.B) {
	client := redistest.Real(b)
	l := open(b, client)
	person, err := fiscalcode.Parse("RSSMRA85T10A562S")
	if err != nil {
		b.Fatal(err)
	}
	const together = 32
	spent := map[string]int64{}
	timed := func(script string, do func()) {
		before := scriptTime(b, client)
		do()
		spent[script] += scriptTime(b, client) - before
	}
	n := 0
	for b.Loop() {
		hints := make([]Hint, together)
		for i := range hints {
			hints[i] = documentHint(l, "north", n)
			n++
		}
		timed("admit", func() {
			if _, err := l.Admit(b.Context(), hints); err != nil {
				b.Fatal(err)
			}
		})
		var claimed Claimed
		timed("claim", func() {
			if claimed, err = l.Claim(b.Context(), ClaimOptions{N: together, Sources: []string{"north"}, Track: true}); err != nil {
				b.Fatal(err)
			}
		})
		settlements := make([]Settlement, len(claimed.Records))
		for i, rec := range claimed.Records {
			rec.State, rec.Recipient, rec.Publication = Sending, person, Published
			settlements[i] = Settlement{Record: rec, Next: Next{Keep: true}, Event: "about-to-send"}
		}
		settle := func() {
			if _, err := l.Settle(b.Context(), settlements); err != nil {
				b.Fatal(err)
			}
		}
		timed("sending", settle)
		for i := range settlements {
			s := &settlements[i]
			s.Record.State, s.Event = Sent, "created"
			s.Record.Told = Told{Publication: Published, At: s.Record.Now, MessageID: fmt.Sprintf("01J%023d", n+i)}
			s.Next = Next{Track: time.Now().Add(time.Hour)}
		}
		timed("sent", settle)
	}
	for script, us := range spent {
		b.ReportMetric(float64(us)/float64(n), script+"-us/doc")
	}
}

var scriptTimes = regexp.MustCompile(`cmdstat_eval(?:sha)?:calls=\d+,usec=(\d+)`)

// scriptTime is how many microseconds Redis has spent in scripts so far.
func scriptTime(b *testing.B, client *redis.Client) (us int64) {
	b.Helper()
	info, err := client.Info(context.Background(), "commandstats").Result()
	if err != nil {
		b.Fatal(err)
	}
	for _, found := range scriptTimes.FindAllStringSubmatch(info, -1) {
		n, err := strconv.ParseInt(found[1], 10, 64)
		if err != nil {
			b.Fatal(err)
		}
		us += n
	}
	return us
}
