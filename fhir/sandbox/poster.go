package sandbox

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// Flavour is how a server tells of a change (reference fhir-subscriptions.md, 2 and 3).
type Flavour string

// The flavours.
const (
	ClassicPut   Flavour = "classic PUT"               // HAPI
	ClassicPost  Flavour = "classic POST"              // Medplum
	EmptyPut     Flavour = "classic PUT without body"  // FHIR Works
	R4IDOnly     Flavour = "R4 backport id-only"       //
	R4Full       Flavour = "R4 backport full-resource" //
	R4B          Flavour = "R4B"                       //
	R5           Flavour = "R5"                        //
	Transaction  Flavour = "transaction"               // HAPI's search-criteria payload
	deleteMethod         = http.MethodDelete
)

// Flavours are all of them.
var Flavours = []Flavour{ClassicPut, ClassicPost, EmptyPut, R4IDOnly, R4Full, R4B, R5, Transaction}

// Poster posts notifications to an adapter, again and again until they are taken.
type Poster struct {
	URL    string // of the adapter's endpoint for this source, http://host/fhir/{source}
	Token  string
	Server *Server
	Client *http.Client
	XML    bool // post in XML

	posted, retried, refused, number, named atomic.Int64
}

// Posted counts notifications that were taken, tries that failed, and notifications that were refused for good.
func (p *Poster) Posted() (posted, retried, refused int64) {
	return p.posted.Load(), p.retried.Load(), p.refused.Load()
}

// Named counts the resources that notifications named, as often as they did.
func (p *Poster) Named() int64 { return p.named.Load() }

// Notify tells of resources by name (Type/id), in a flavour. Classic flavours tell of one at a time.
func (p *Poster) Notify(ctx context.Context, flavour Flavour, names ...string) error {
	p.named.Add(int64(len(names)))
	switch flavour {
	case ClassicPut, ClassicPost, EmptyPut:
		for _, name := range names {
			if err := p.classic(ctx, flavour, name); err != nil {
				return err
			}
		}
		return nil
	case R4IDOnly, R4Full, R4B, R5, Transaction:
	}
	return p.post(ctx, http.MethodPost, "", p.bundle(flavour, names))
}

// Deleted tells of a deletion, as HAPI does.
func (p *Poster) Deleted(ctx context.Context, name string) error {
	return p.post(ctx, deleteMethod, "/"+name, nil)
}

// Handshake begins a subscription.
func (p *Poster) Handshake(ctx context.Context) error {
	return p.post(ctx, http.MethodPost, "", Resource{"resourceType": "Bundle", "type": "history", "entry": []any{p.statusR4("handshake", nil)}})
}

func (p *Poster) classic(ctx context.Context, flavour Flavour, name string) error {
	switch flavour {
	case ClassicPost:
		return p.post(ctx, http.MethodPost, "", p.Server.Get(name))
	case EmptyPut:
		return p.post(ctx, http.MethodPut, "/"+name, nil)
	case ClassicPut, R4IDOnly, R4Full, R4B, R5, Transaction:
	}
	return p.post(ctx, http.MethodPut, "/"+name, p.Server.Get(name))
}

const fseBase = "https://fse.example.it/fhir/"

func (p *Poster) bundle(flavour Flavour, names []string) Resource {
	entries := []any{}
	switch flavour {
	case R4IDOnly, R4Full:
		entries = append(entries, p.statusR4("event-notification", names))
	case R4B, R5:
		entries = append(entries, p.statusResource(names))
	case Transaction, ClassicPut, ClassicPost, EmptyPut:
	}
	for _, name := range names {
		entry := Resource{"fullUrl": fseBase + name, "request": Resource{"method": "PUT", "url": name}, "response": Resource{"status": "200"}}
		if flavour != R4IDOnly {
			entry["resource"] = p.Server.Get(name)
		}
		entries = append(entries, entry)
	}
	kind := map[Flavour]string{R5: "subscription-notification", Transaction: "transaction"}[flavour]
	if kind == "" {
		kind = "history"
	}
	return Resource{"resourceType": "Bundle", "type": kind, "timestamp": time.Now().UTC().Format(time.RFC3339), "entry": entries}
}

// statusR4 is the first entry of the R4 backport.
func (p *Poster) statusR4(kind string, names []string) Resource {
	parameters := make([]any, 0, len(names)+4)
	parameters = append(parameters,
		Resource{"name": "subscription", "valueReference": Resource{"reference": fseBase + "Subscription/staffetta"}},
		Resource{"name": "status", "valueCode": "active"},
		Resource{"name": "type", "valueCode": kind},
	)
	for _, name := range names {
		parameters = append(parameters, Resource{"name": "notification-event", "part": []any{
			Resource{"name": "event-number", "valueString": strconv.FormatInt(p.number.Add(1), 10)},
			Resource{"name": "focus", "valueReference": Resource{"reference": fseBase + name}},
		}})
	}
	parameters = append(parameters, Resource{"name": "events-since-subscription-start", "valueString": strconv.FormatInt(p.number.Load(), 10)})
	return Resource{
		"fullUrl":  "urn:uuid:0b1b2c3d-0000-4000-8000-000000000001",
		"resource": Resource{"resourceType": "Parameters", "parameter": parameters},
		"request":  Resource{"method": "GET", "url": "Subscription/staffetta/$status"}, "response": Resource{"status": "200"},
	}
}

// statusResource is the first entry of R4B and R5.
func (p *Poster) statusResource(names []string) Resource {
	events := make([]any, 0, len(names))
	for _, name := range names {
		events = append(events, Resource{"eventNumber": strconv.FormatInt(p.number.Add(1), 10), "focus": Resource{"reference": fseBase + name}})
	}
	return Resource{"fullUrl": "urn:uuid:0b1b2c3d-0000-4000-8000-000000000002", "resource": Resource{
		"resourceType": "SubscriptionStatus", "status": "active", "type": "event-notification", "notificationEvent": events,
		"eventsSinceSubscriptionStart": strconv.FormatInt(p.number.Load(), 10),
		"subscription":                 Resource{"reference": fseBase + "Subscription/staffetta"},
	}}
}

// longestPause between two tries of one notification.
const longestPause = 2 * time.Second

// post sends one notification until it is taken, or refused for good.
func (p *Poster) post(ctx context.Context, method, path string, r Resource) error {
	var body []byte
	if r != nil {
		var err error
		if body, err = p.encode(r); err != nil {
			return err
		}
	}
	for pause := 20 * time.Millisecond; ; pause = min(2*pause, longestPause) {
		status, err := p.once(ctx, method, path, body)
		switch {
		case err == nil && status < 300:
			p.posted.Add(1)
			return nil
		case err == nil && status >= 400 && status < 500:
			p.refused.Add(1)
			return fmt.Errorf("notification refused: %d", status)
		}
		p.retried.Add(1)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause/2 + rand.N(pause)):
		}
	}
}

func (p *Poster) encode(r Resource) ([]byte, error) {
	if p.XML {
		return XML(r)
	}
	return json.Marshal(r)
}

func (p *Poster) once(ctx context.Context, method, path string, body []byte) (int, error) {
	req, err := http.NewRequestWithContext(ctx, method, strings.TrimSuffix(p.URL, "/")+path, bytes.NewReader(body))
	if err != nil {
		return 0, err
	}
	req.Header.Set("Authorization", "Bearer "+p.Token)
	switch {
	case len(body) > 0 && p.XML:
		req.Header.Set("Content-Type", "application/fhir+xml")
	case len(body) > 0:
		req.Header.Set("Content-Type", "application/fhir+json")
	}
	res, err := p.Client.Do(req)
	if err != nil {
		return 0, err
	}
	defer func() { _ = res.Body.Close() }()
	_, _ = io.Copy(io.Discard, res.Body)
	return res.StatusCode, nil
}
