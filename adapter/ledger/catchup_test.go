package ledger

import (
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"

	"staffetta/adapter/ledger/redistest"
	"staffetta/fhir"
)

func TestWhatIsHeardIsTakenOnce(t *testing.T) {
	redistest.Each(t, func(t *testing.T, client redis.UniversalClient) {
		t.Helper()
		l := open(t, client)
		skew := time.Duration(0)
		l.skew = func() time.Duration { return skew }
		hear := func(why string, heard ...Heard) time.Duration {
			t.Helper()
			away, err := l.Hear(t.Context(), "north", time.Minute, why, heard)
			if err != nil {
				t.Fatal(err)
			}
			return away
		}
		open := func() (CatchUp, []Heard) {
			t.Helper()
			c, heard, err := l.CatchUp(t.Context(), "north")
			if err != nil {
				t.Fatal(err)
			}
			return c, heard
		}
		one := Heard{Subscription: "s-1.a", Status: "active", Numbers: []Span{{1, 3}, {5, 9_000_000_000}}, Counted: 9, Beat: -1}
		two := Heard{Subscription: "s2", Counted: -1, Beat: 0, Handshake: true}
		if away := hear(""); away >= 0 {
			t.Errorf("away for %s, and nobody ever was there", away)
		}
		hear("", one, two)
		c, heard := open()
		if diff := cmp.Diff([]Heard{one, two}, heard); diff != "" || c.Open() {
			t.Errorf("a sweep is asked for: %t; (-want +got)\n%s", c.Open(), diff)
		}
		if _, heard = open(); len(heard) > 0 {
			t.Error("it is taken twice")
		}
		skew = 50 * time.Second
		if away := hear(""); away < 50*time.Second || away >= time.Minute {
			t.Errorf("away for %s, want 50 s, and the moment since", away)
		}
		if c, _ = open(); c.Open() {
			t.Error("a sweep after an absence that is none")
		}
		skew = 3 * time.Minute
		hear("")
		if c, _ = open(); !c.Open() || c.Why != "outage" || c.Now.Sub(c.Alive) > time.Minute {
			t.Errorf("no sweep after an outage: %+v", c)
		}
		hear("redis")
		if c, _ = open(); c.Wanted != 2 || c.Why != "redis" {
			t.Errorf("%+v", c)
		}
		if err := l.WantCatchUp(t.Context(), "north", "unnamed"); err != nil {
			t.Fatal(err)
		}
		c, _ = open()
		c.Served, c.Trouble, c.Judged, c.Missed, c.Since = c.Wanted, "it is so", 7, 3, c.Now.Truncate(time.Millisecond)
		if err := l.SweepEnded(t.Context(), "north", c); err != nil {
			t.Fatal(err)
		}
		again, err := l.LookAtCatchUp(t.Context(), "north")
		if diff := cmp.Diff(c, again, cmp.FilterPath(func(p cmp.Path) bool { return p.Last().String() == ".Now" }, cmp.Ignore())); err != nil || diff != "" || again.Open() {
			t.Errorf("%v (-want +got)\n%s", err, diff)
		}
		if other, err := l.LookAtCatchUp(t.Context(), "south"); err != nil || other.Wanted != 0 {
			t.Errorf("another source: %+v, %v", other, err)
		}
	})
}

func TestAFirstConnectionIsOnlyOnce(t *testing.T) {
	redistest.Each(t, func(t *testing.T, client redis.UniversalClient) {
		t.Helper()
		l := open(t, client)
		skew := time.Duration(0)
		l.skew = func() time.Duration { return skew }
		first := func(kinds ...string) map[string]time.Time {
			t.Helper()
			first, err := l.Connect(t.Context(), "north", kinds...)
			if err != nil || len(first) != len(kinds) {
				t.Fatalf("%v, %v", first, err)
			}
			return first
		}
		at := first("Composition")["Composition"]
		if time.Since(at).Abs() > time.Minute {
			t.Fatalf("first at %s", at)
		}
		skew = time.Hour
		again := first("Composition", "Bundle")
		if !again["Composition"].Equal(at) || again["Bundle"].Sub(at) < time.Hour {
			t.Errorf("again: %v; want %s, and an hour later for what is new", again, at)
		}
		skew = 2 * time.Hour
		for range 2 { // the second time nothing is there
			if err := l.Disconnect(t.Context(), "north", "Bundle"); err != nil {
				t.Fatal(err)
			}
		}
		if again = first("Composition", "Bundle"); !again["Composition"].Equal(at) || again["Bundle"].Sub(at) < 2*time.Hour {
			t.Errorf("a type that was forgotten: %v; want %s, and two hours later", again, at)
		}
		if c, err := l.LookAtCatchUp(t.Context(), "north"); err != nil || !c.First.Equal(at) {
			t.Errorf("the source was connected at %s, %v; want %s", c.First, err, at)
		}
		at = time.UnixMilli(1_800_000_000_123)
		want := Progress{Floor: at, Checkpoint: at.Add(time.Minute), Newest: at.Add(time.Hour)}
		if err := l.SaveProgress(t.Context(), "north", "Composition", want); err != nil {
			t.Fatal(err)
		}
		c, err := l.LookAtCatchUp(t.Context(), "north")
		if diff := cmp.Diff(map[string]Progress{"Composition": want}, c.Kinds); err != nil || diff != "" || !c.Undecided() {
			t.Errorf("undecided %t, %v (-want +got)\n%s", c.Undecided(), err, diff)
		}
		if err := l.Decide(t.Context(), "north"); err != nil {
			t.Fatal(err)
		}
		if c, err = l.LookAtCatchUp(t.Context(), "north"); err != nil || c.Undecided() {
			t.Errorf("undecided after a person decided, %v", err)
		}
		if checked, err := l.Check(t.Context(), []string{"north"}); err != nil || len(checked.Findings) > 0 {
			t.Errorf("the checker finds %v, %v", checked.Findings, err)
		}
	})
}

func TestWhatWasThereIsKept(t *testing.T) {
	redistest.Each(t, func(t *testing.T, client redis.UniversalClient) {
		t.Helper()
		l := open(t, client)
		there := func() map[Tag]bool {
			t.Helper()
			there, err := l.There(t.Context(), "north", "Composition")
			if err != nil {
				t.Fatal(err)
			}
			return there
		}
		if got := there(); got != nil {
			t.Errorf("%v, and nothing was kept", got)
		}
		want := map[Tag]bool{}
		for i := range 300 {
			want[l.StateTag("north", strconv.Itoa(i))] = true
		}
		for _, want := range []map[Tag]bool{want, {}} {
			if err := l.SaveThere(t.Context(), "north", "Composition", want); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, there()); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		}
		if other, err := l.There(t.Context(), "north", "Bundle"); err != nil || other != nil {
			t.Errorf("of another type: %v, %v", other, err)
		}
		if l.StateTag("south", "1") == l.StateTag("north", "1") {
			t.Error("two sources have the same tags")
		}
		if life := client.TTL(t.Context(), thereKey("north", "Composition")).Val(); life <= 0 {
			t.Errorf("it is kept for %s", life)
		}
		if err := l.ForgetThere(t.Context(), "north", "Composition"); err != nil || there() != nil {
			t.Errorf("it is kept, %v", err)
		}
	})
}

func TestCountsAreRemembered(t *testing.T) {
	redistest.Each(t, func(t *testing.T, client redis.UniversalClient) {
		t.Helper()
		l := open(t, client)
		at := time.UnixMilli(1_800_000_000_123)
		want := Count{
			Known: true, Highest: 12, Raised: at, Gaps: []Gap{{Span{3, 4}, at}, {Span{7, 9}, at.Add(time.Second)}}, Low: 2, Restarts: 1,
			RestartsSince: at, Useless: true, Heard: at.Add(time.Minute), Asked: at.Add(time.Hour),
		}
		if err := l.RememberSubscription(t.Context(), "north", Subscription{ID: "s1", Fingerprint: "f", Events: -1, Heartbeat: 5 * time.Minute}); err != nil {
			t.Fatal(err)
		}
		for id, ours := range map[string]bool{"s1": true, "heard-of": false} {
			if err := l.SaveCount(t.Context(), "north", id, want, ours); err != nil {
				t.Fatal(err)
			}
		}
		if err := l.SaveVerdict(t.Context(), "north", "s1", "it never fires"); err != nil {
			t.Fatal(err)
		}
		all, err := l.Subscriptions(t.Context(), "north")
		if err != nil || len(all) != 2 {
			t.Fatalf("%d, %v; want 2", len(all), err)
		}
		for _, s := range all {
			if diff := cmp.Diff(want, s.Count); diff != "" || s.Ours() != (s.ID == "s1") {
				t.Errorf("%s: ours %t (-want +got)\n%s", s.ID, s.Ours(), diff)
			}
			if life := client.TTL(t.Context(), subKey("north", s.ID)).Val(); (life > 0) == s.Ours() {
				t.Errorf("%s lives for %s, ours %t", s.ID, life, s.Ours())
			}
		}
		if s := all[1]; s.ID != "s1" || s.Verdict != "it never fires" || s.Heartbeat != 5*time.Minute {
			t.Errorf("%+v", s)
		}
		if err := l.RememberSubscription(t.Context(), "north", Subscription{ID: "heard-of", Fingerprint: "f", Events: -1}); err != nil {
			t.Fatal(err)
		}
		if life := client.TTL(t.Context(), subKey("north", "heard-of")).Val(); life > 0 {
			t.Errorf("what became ours ends in %s", life)
		}
		for _, ours := range []bool{false, true} { // whoever writes first has read it before it was ours
			if err := l.SaveCount(t.Context(), "north", "heard-of", want, ours); err != nil {
				t.Fatal(err)
			}
		}
		if life := client.TTL(t.Context(), subKey("north", "heard-of")).Val(); life > 0 {
			t.Errorf("what is ours ends in %s, because somebody did not know", life)
		}
		if err := client.Del(t.Context(), subKey("north", "heard-of")).Err(); err != nil { // as if nobody had heard of it for long
			t.Fatal(err)
		}
		if all, err = l.Subscriptions(t.Context(), "north"); err != nil || len(all) != 1 {
			t.Errorf("%d, %v; want s1 only", len(all), err)
		}
		if n := client.SCard(t.Context(), subsKey("north")).Val(); n != 1 {
			t.Errorf("%d names are kept, want 1", n)
		}
	})
}

func TestBacklogIsWhatIsDueNow(t *testing.T) {
	l := open(t, redistest.Start(t))
	hints := make([]Hint, 0, 20)
	for i := range 20 {
		hint, _ := l.HintOf("north", fhir.ShapeReport, &fhir.Event{Type: "DiagnosticReport", ID: string(rune('a' + i))}, time.Duration(i%2)*time.Hour)
		hints = append(hints, hint)
	}
	if _, err := l.Admit(t.Context(), hints); err != nil {
		t.Fatal(err)
	}
	if n, err := l.Backlog(t.Context(), "north"); err != nil || n != 10 {
		t.Errorf("%d, %v; want the 10 that settle for no time", n, err)
	}
}

func TestRepairsAreCounted(t *testing.T) {
	l := open(t, redistest.Start(t))
	for want := range int64(3) {
		if n, err := l.Repairs(t.Context(), "north"); err != nil || n != want {
			t.Errorf("%d, %v; want %d", n, err, want)
		}
		if err := l.WantRepair(t.Context(), "north"); err != nil {
			t.Fatal(err)
		}
	}
}

func TestASourceIsSweptWhenAllOfItIs(t *testing.T) {
	early, late := time.UnixMilli(1000), time.UnixMilli(2000)
	for _, tt := range []struct {
		name  string
		kinds map[string]Progress
		want  time.Time
	}{
		{"nothing is known: never", nil, time.Time{}},
		{"one type was never swept: never", map[string]Progress{"Composition": {Swept: late}, "DocumentReference": {}}, time.Time{}},
		{"the one that was swept first counts", map[string]Progress{"Composition": {Swept: late}, "DocumentReference": {Swept: early}}, early},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := (CatchUp{Kinds: tt.kinds}).Swept(); !got.Equal(tt.want) {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}
