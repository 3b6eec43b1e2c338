package sandbox

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
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
	// Subscription is the id of the one that notifications are of; "" is one id for all.
	Subscription string

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
	return p.post(ctx, http.MethodPost, "", Traits{Way: R4Full}.bundle(p.notice("handshake"), p.Server.Get))
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
	if flavour == Transaction {
		return p.transaction(names)
	}
	n := p.notice("event-notification")
	if flavour == R4IDOnly {
		n.content = "id-only"
	}
	for _, name := range names {
		n.events = append(n.events, event{number: p.number.Add(1), name: name, at: time.Now()})
	}
	n.count = p.number.Load()
	return Traits{Way: flavour}.bundle(n, p.Server.Get)
}

// notice is one of a subscription that the server does not keep.
func (p *Poster) notice(kind string) notice {
	return notice{kind: kind, status: "active", base: fseBase, id: cmp.Or(p.Subscription, "staffetta"), content: "full-resource"}
}

func (p *Poster) transaction(names []string) Resource {
	entries := make([]any, 0, len(names))
	for _, name := range names {
		entries = append(entries, Resource{
			"fullUrl": fseBase + name, "resource": p.Server.Get(name), "request": Resource{"method": "PUT", "url": name},
		})
	}
	return Resource{"resourceType": "Bundle", "type": "transaction", "entry": entries}
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
