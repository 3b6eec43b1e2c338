package ledger

import (
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"staffetta/adapter/ledger/redistest"
)

// A message that was not delivered covers nothing more; a later one is left alone.
func TestLapse(t *testing.T) {
	redistest.Each(t, func(t *testing.T, client redis.UniversalClient) {
		t.Helper()
		l := open(t, client)
		person := Tag{1}
		first := Record{Key: Key{1}, Source: "north"}
		told := Told{Publication: Published, At: time.Now(), MessageID: "01ARZ3NDEKTSV4RRFFQ69G5FAV", Person: person}
		if err := l.Uncover(t.Context(), first, person, told, time.Minute); err != nil {
			t.Fatal(err)
		}
		for _, tt := range []struct {
			name, id string
			want     Covered
		}{
			{"another message was not delivered", "01ARZ3NDEKTSV4RRFFQ69G5FAW", ByFirst},
			{"this one was not", told.MessageID, First},
			{"somebody is the first now", told.MessageID, First},
		} {
			failed := first
			failed.Told = told
			failed.Told.MessageID = tt.id
			if err := l.Lapse(t.Context(), failed); err != nil {
				t.Fatal(err)
			}
			if got, _, err := l.Cover(t.Context(), Record{Key: Key{2}, Source: "north"}, person, time.Minute); got != tt.want || err != nil {
				t.Errorf("%s: %s, %v; want %s", tt.name, got, err, tt.want)
			}
		}
	})
}

// One record asks for all that share a message; what it learns in the end is everybody's.
func TestAsk(t *testing.T) {
	redistest.Each(t, func(t *testing.T, client redis.UniversalClient) {
		t.Helper()
		l := open(t, client)
		told := Told{MessageID: "01ARZ3NDEKTSV4RRFFQ69G5FAV"}
		one, other := Record{Key: Key{1}, Told: told}, Record{Key: Key{2}, Told: told}
		wants := func(what string, rec Record, mine bool, known Delivery) {
			t.Helper()
			gotMine, got, err := l.Ask(t.Context(), rec)
			if err != nil || gotMine != mine || got != known {
				t.Fatalf("%s: %t %+v, %v; want %t %+v", what, gotMine, got, err, mine, known)
			}
		}
		wants("nobody asks", one, true, Delivery{})
		wants("it asks again, after a shutdown", one, true, Delivery{})
		wants("another one waits", other, false, Delivery{})
		wants("another message", Record{Key: Key{2}, Told: Told{MessageID: "01ARZ3NDEKTSV4RRFFQ69G5FAW"}}, true, Delivery{})
		if err := l.Answered(t.Context(), one, Delivery{}, time.Minute); err != nil {
			t.Fatal(err)
		}
		wants("it is on its way: all wait", other, false, Delivery{})
		final := Delivery{Status: "PROCESSED", ReadStatus: "UNREAD"}
		if err := l.Answered(t.Context(), one, final, time.Minute); err != nil {
			t.Fatal(err)
		}
		wants("all know it", other, false, final)
		wants("also who asked", one, false, final)
	})
}
