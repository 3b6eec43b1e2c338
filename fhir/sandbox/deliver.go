package sandbox

import (
	"bytes"
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"time"
)

// delivery is a notification that a subscriber is owed.
type delivery struct {
	subscriber *subscriber
	kind       string // handshake, heartbeat, event-notification
	events     []event
}

// signatureSecret is Medplum's extension.
const signatureSecret = "https://www.medplum.com/fhir/StructureDefinition/subscription-secret" //nolint:gosec // a name

const (
	owedAtMost = 1 << 17 // more than any test changes before it delivers
	tries      = 3
	tryPause   = 5 * time.Millisecond
)

// client posts notifications; it keeps no connections, so that nothing outlives a test.
var client = &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}

// owe puts a delivery on the list; a full list loses it, as real ones do.
func (s *Server) owe(d delivery) {
	select {
	case s.owed <- d:
	default:
		s.dropped++
	}
}

// Run delivers what is owed, until ctx ends.
func (s *Server) Run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case d := <-s.owed:
			s.deliver(ctx, d)
		}
	}
}

// Deliver delivers what is owed now.
func (s *Server) Deliver(ctx context.Context) {
	for {
		select {
		case d := <-s.owed:
			s.deliver(ctx, d)
		default:
			return
		}
	}
}

// Speak lets a mute server fire.
func (s *Server) Speak() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.Traits.Mute = false
}

// Restart is what a server that keeps such things in memory only does (HAPI): what it owes is lost, and every count begins
// anew.
func (s *Server) Restart() {
	for len(s.owed) > 0 {
		<-s.owed
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, one := range s.subscribers {
		one.events = nil
	}
}

// Dropped is how many notifications nobody took.
func (s *Server) Dropped() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.dropped
}

// Heartbeat owes a heartbeat to whoever asked for one.
func (s *Server) Heartbeat() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, one := range s.subscribers {
		r := s.kept["Subscription/"+one.id]
		if r != nil && !s.Traits.classic() && heartbeatOf(r) > 0 && text(r["status"]) == "active" {
			s.owe(delivery{subscriber: one, kind: "heartbeat"})
		}
	}
}

// deliver tries a few times, and then does what the server does with a subscriber that does not answer.
func (s *Server) deliver(ctx context.Context, d delivery) {
	s.mu.Lock()
	subscription := s.kept["Subscription/"+d.subscriber.id]
	s.mu.Unlock()
	if subscription == nil {
		return
	}
	taken := false
	for try := 0; try < cmp.Or(s.Traits.Tries, tries) && !taken && ctx.Err() == nil; try++ {
		if try > 0 {
			select {
			case <-ctx.Done():
			case <-time.After(cmp.Or(s.Traits.Between, tryPause)):
			}
		}
		taken = s.send(ctx, subscription, d)
	}
	s.delivered(d, taken)
}

// delivered notes what came of it.
func (s *Server) delivered(d delivery, taken bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	status := text(s.kept["Subscription/"+d.subscriber.id]["status"])
	switch {
	case taken && d.kind == "handshake" && status == "requested":
		s.setStatus(d.subscriber.id, "active")
	case taken:
	case d.kind == "handshake":
		s.setStatus(d.subscriber.id, "error")
	default:
		s.dropped++
		if s.Traits.GivesUp != "" && status == "active" {
			s.setStatus(d.subscriber.id, s.Traits.GivesUp)
		}
	}
}

// send posts once; true where it was answered with 2xx.
func (s *Server) send(ctx context.Context, subscription Resource, d delivery) bool {
	method, target, body := http.MethodPost, endpointOf(subscription), Resource(nil)
	if s.Traits.classic() {
		method, target, body = s.classicRequest(subscription, d)
	} else if n, known := s.notice(d.subscriber.id, d.kind, fseBase); known {
		n.events = d.events
		if len(d.events) > 0 {
			n.count = d.events[len(d.events)-1].number
		}
		body = s.Traits.bundle(n, s.Get)
	}
	content := []byte(nil)
	if body != nil {
		content, _ = json.Marshal(body)
	}
	req, err := http.NewRequestWithContext(ctx, method, target, bytes.NewReader(content))
	if err != nil {
		return false
	}
	req.Header = headersOf(subscription)
	if body != nil {
		req.Header.Set("Content-Type", "application/fhir+json")
	}
	if secret := text(extensionIn(subscription, signatureSecret)["valueString"]); secret != "" && s.Traits.Way == ClassicPost {
		mac := hmac.New(sha256.New, []byte(secret))
		_, _ = mac.Write(content)
		req.Header.Set("X-Signature", hex.EncodeToString(mac.Sum(nil)))
	}
	if d.deletion() && s.Traits.Way == ClassicPost {
		req.Header.Set("X-Medplum-Deleted-Resource", d.events[0].name)
	}
	res, err := client.Do(req)
	if err != nil {
		return false
	}
	_, _ = io.Copy(io.Discard, res.Body)
	_ = res.Body.Close()
	if s.Traits.Exactly200 && d.kind == "handshake" {
		return res.StatusCode == http.StatusOK
	}
	return res.StatusCode >= 200 && res.StatusCode < 300
}

func (d delivery) deletion() bool { return len(d.events) > 0 && d.events[0].deleted }

// classicRequest is a rest-hook without a topic.
func (s *Server) classicRequest(subscription Resource, d delivery) (method, target string, body Resource) {
	name, target := d.events[0].name, strings.TrimSuffix(endpointOf(subscription), "/")
	switch payload := text(channelOf(subscription)["payload"]); {
	case s.Traits.Way == ClassicPost && d.deletion():
		return http.MethodPost, target, Resource{}
	case s.Traits.Way == ClassicPost:
		return http.MethodPost, target, s.Get(name)
	case d.deletion():
		return http.MethodDelete, target + "/" + name, nil
	case payload == "":
		return http.MethodPost, target, nil
	}
	return http.MethodPut, target + "/" + name, s.Get(name)
}
