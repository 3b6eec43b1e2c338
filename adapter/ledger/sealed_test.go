package ledger

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"

	"github.com/redis/go-redis/v9"

	"staffetta/adapter/ledger/redistest"
	"staffetta/fhir"
)

// What a record must know of a person lies in Redis sealed, in every state that knows it: never in clear.
func TestARecipientLiesInRedisSealed(t *testing.T) {
	const code = "RSSMRA80A01H501U" // somebody
	for _, tt := range []struct {
		state State
		next  func(Record) Next
	}{
		{Sending, func(Record) Next { return Next{Keep: true} }},
		{Sent, func(rec Record) Next { return Next{Track: rec.Now, Wait: WaitDelivery} }},
		{Held, func(Record) Next { return Next{} }},
	} {
		t.Run(string(tt.state), func(t *testing.T) {
			redistest.Each(t, func(t *testing.T, client redis.UniversalClient) {
				t.Helper()
				r := handOpen(t, client)
				locator := fhir.Locator{Type: "Composition", ID: "comp-" + code, System: "urn:oid:2.16", Value: "120." + code + ".7"}
				hint := Hint{Key: r.DocumentKey("north", locator), Source: "north", Locator: locator, State: Pending}
				r.admit(hint)
				rec := sentRecord(r.claimOne(), 1000, 1, messageA, r.clock())
				rec.State = tt.state
				if got := r.settle(rec, tt.next(rec), "test"); got != Written {
					t.Fatal(got)
				}
				sealed, err := client.HGet(t.Context(), recordKey(hint.Key), "p").Result()
				if err != nil || len(sealed) < len(code)+16 { // AES-GCM's tag alone is 16 bytes
					t.Fatalf("%d bytes: the record has no sealed recipient: %v", len(sealed), err)
				}
				if text := everything(t, client); strings.Contains(text, code) || !strings.Contains(text, sealed) {
					t.Error("Redis holds a fiscal code in clear")
				}
				known, _, err := r.Lookup(t.Context(), hint.Key)
				if err != nil || known.Recipient != somebody || known.Locator != locator {
					t.Errorf("what was sealed does not open: %v", err)
				}
				r.jumped = defaultLease * 2 // whoever claims it again can still write to that person
				if tt.state != Held {
					if again := r.claimOne(); again.Recipient != somebody {
						t.Error("the recipient is not known to the next claim")
					}
				}
			})
		})
	}
}

// everything is all bytes in Redis: keys, fields, values.
func everything(t *testing.T, client redis.UniversalClient) string {
	t.Helper()
	var all strings.Builder
	var mu sync.Mutex // the nodes of a cluster are asked at once
	dump := func(ctx context.Context, node *redis.Client) error {
		mu.Lock()
		defer mu.Unlock()
		keys := node.Scan(ctx, 0, "*", 1000).Iterator()
		for keys.Next(ctx) {
			key := keys.Val()
			all.WriteString(key + "\n")
			for field, value := range node.HGetAll(ctx, key).Val() { // nothing, where it is no hash
				all.WriteString(field + "=" + value + "\n")
			}
			all.WriteString(strings.Join(node.ZRange(ctx, key, 0, -1).Val(), "\n"))
			for _, message := range node.XRange(ctx, key, "-", "+").Val() {
				for field, value := range message.Values {
					all.WriteString(field + "=" + text(value) + "\n")
				}
			}
			all.WriteString(node.Get(ctx, key).Val())
		}
		return keys.Err()
	}
	var err error
	switch client := client.(type) {
	case *redis.ClusterClient:
		err = client.ForEachMaster(t.Context(), dump)
	case *redis.Client:
		err = dump(t.Context(), client)
	default:
		err = errors.New("an unknown kind of Redis")
	}
	if err != nil {
		t.Fatal(err)
	}
	return all.String()
}
