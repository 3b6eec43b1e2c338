package endpoint_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"staffetta/adapter/endpoint"
	"staffetta/adapter/ledger"
	"staffetta/adapter/ledger/redistest"
	"staffetta/fhir"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	labToken, labNextToken = "token-of-the-lab", "next-token-of-the-lab"
	regionToken            = "token-of-the-region"
)

// house is an endpoint behind a real listener, with a real ledger.
type house struct {
	endpoint *endpoint.Endpoint
	handler  http.Handler
	url      string
	client   *http.Client
	ledger   *ledger.Ledger
	redis    *wire
	metrics  *prometheus.Registry
	logs     *journal
	admitted atomic.Int64
}

type setting func(*endpoint.Options)

func open(tb testing.TB, settings ...setting) *house {
	tb.Helper()
	h := &house{metrics: prometheus.NewRegistry(), logs: &journal{}}
	h.redis = connect(tb)
	h.ledger = openLedger(tb, h.redis.client)
	o := endpoint.Options{
		Sources: []endpoint.Source{
			{Name: "lab", Tokens: []string{labToken, labNextToken}, Shape: fhir.ShapeReport, Settle: time.Minute},
			{Name: "region", Tokens: []string{regionToken}, Shape: fhir.ShapeFSE2, Settle: time.Minute},
		},
		Ledger:  h.ledger,
		Limits:  fhir.Limits{MaxBytes: 1 << 20, MaxDepth: 32, MaxEntries: 100},
		Metrics: h.metrics, Log: h.logs.logger(),
		Admitted: func(time.Duration) { h.admitted.Add(1) },
	}
	for _, set := range settings {
		set(&o)
	}
	e, err := endpoint.New(o)
	if err != nil {
		tb.Fatal(err)
	}
	server := httptest.NewServer(e.Handler())
	tb.Cleanup(server.Close)
	h.endpoint, h.handler, h.url, h.client = e, e.Handler(), server.URL, server.Client()
	h.client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return h
}

func openLedger(tb testing.TB, client redis.UniversalClient) *ledger.Ledger {
	tb.Helper()
	seal := sha256.Sum256([]byte("seal"))
	naming := sha256.Sum256([]byte("naming"))
	l, err := ledger.Open(tb.Context(), ledger.Options{
		Redis: client, NamingKey: naming[:], SealKeys: []ledger.SealKey{{ID: 1, Key: seal[:]}},
		Retention: 90 * 24 * time.Hour, Lease: 15 * time.Second, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		tb.Fatal(err)
	}
	return l
}

// wire is a connection to a Redis that a test can cut, and that counts its round trips.
type wire struct {
	client *redis.Client
	cut    atomic.Bool
	trips  atomic.Int64
}

func connect(tb testing.TB) *wire {
	tb.Helper()
	server, ok := redistest.Start(tb).(*redis.Client)
	if !ok {
		tb.Fatal("redistest gave no single Redis")
	}
	w := &wire{}
	w.client = redis.NewClient(&redis.Options{
		Addr: server.Options().Addr, MaxRetries: -1,
		Dialer: func(ctx context.Context, network, addr string) (net.Conn, error) {
			if w.cut.Load() {
				return nil, errors.New("cut by the test")
			}
			conn, err := new(net.Dialer).DialContext(ctx, network, addr)
			return &cuttable{conn, w}, err
		},
	})
	tb.Cleanup(func() { _ = w.client.Close() })
	return w
}

// cuttable is a connection that breaks while its wire is cut, and counts what is sent on it.
type cuttable struct {
	net.Conn
	wire *wire
}

func (c *cuttable) Write(p []byte) (int, error) {
	if c.wire.cut.Load() {
		return 0, errors.New("cut by the test")
	}
	c.wire.trips.Add(1)
	return c.Conn.Write(p)
}

// journal keeps all log lines, for reading them after the test.
type journal struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.Write(p)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.String()
}

func (j *journal) logger() *slog.Logger {
	return slog.New(slog.NewJSONHandler(j, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// sent is a request as a test writes it down.
type sent struct {
	method, path string
	body         string
	header       map[string]string
}

// got is an answer, read to its end.
type got struct {
	status int
	header http.Header
	body   string
}

// outcome is the code of the OperationOutcome in the answer; "" where there is none.
func (g got) outcome() string {
	var outcome struct {
		ResourceType string
		Issue        []struct{ Severity, Code string }
	}
	if json.Unmarshal([]byte(g.body), &outcome) != nil || outcome.ResourceType != "OperationOutcome" || len(outcome.Issue) == 0 {
		return ""
	}
	return outcome.Issue[0].Code
}

func (h *house) send(tb testing.TB, s sent) got {
	tb.Helper()
	answer, err := h.trySend(tb.Context(), s)
	if err != nil {
		tb.Fatal(err)
	}
	return answer
}

func (h *house) trySend(ctx context.Context, s sent) (got, error) {
	var body io.Reader = http.NoBody
	if s.body != "" {
		body = strings.NewReader(s.body)
	}
	req, err := http.NewRequestWithContext(ctx, s.method, h.url+s.path, body)
	if err != nil {
		return got{}, err
	}
	if s.body != "" {
		req.Header.Set("Content-Type", "application/fhir+json")
	}
	req.Header.Set("Authorization", "Bearer "+labToken)
	for name, value := range s.header {
		if value == "" {
			req.Header.Del(name)
			continue
		}
		req.Header.Set(name, value)
	}
	resp, err := h.client.Do(req)
	if err != nil {
		return got{}, err
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	return got{resp.StatusCode, resp.Header, string(text)}, err
}

// count is the value of one counter, summed over all its labels that are not named.
func (h *house) count(tb testing.TB, name string, labels ...string) float64 {
	tb.Helper()
	families, err := h.metrics.Gather()
	if err != nil {
		tb.Fatal(err)
	}
	sum := 0.0
	for _, family := range families {
		if family.GetName() != name {
			continue
		}
		for _, metric := range family.GetMetric() {
			matched := 0
			for _, pair := range metric.GetLabel() {
				for _, label := range labels {
					if pair.GetName()+"="+pair.GetValue() == label {
						matched++
					}
				}
			}
			if matched == len(labels) {
				sum += metric.GetCounter().GetValue()
			}
		}
	}
	return sum
}

func gzipped(tb testing.TB, text string) string {
	tb.Helper()
	var out bytes.Buffer
	zip := gzip.NewWriter(&out)
	if _, err := io.WriteString(zip, text); err != nil {
		tb.Fatal(err)
	}
	if err := zip.Close(); err != nil {
		tb.Fatal(err)
	}
	return out.String()
}

const (
	report = `{"resourceType":"DiagnosticReport","id":"r1","meta":{"versionId":"2","lastUpdated":"2026-01-10T09:05:00Z"},"status":"final","code":{"text":"Emocromo"},"subject":{"reference":"Patient/p1"}}`

	bundleHead = `{"resourceType":"Bundle","type":"history","timestamp":"2026-01-10T09:06:00Z","entry":[{"fullUrl":"urn:uuid:0b1b2c3d-0000-4000-8000-000000000003","resource":{"resourceType":"Parameters","parameter":[{"name":"subscription","valueReference":{"reference":"https://ehr.example/fhir/Subscription/s1"}},{"name":"status","valueCode":"active"},{"name":"type","valueCode":"`
	bundleTail = `]},"request":{"method":"GET","url":"https://ehr.example/fhir/Subscription/s1/$status"},"response":{"status":"200"}}]}`

	handshake = bundleHead + `handshake"}` + bundleTail
	nothing   = bundleHead + `event-notification"},{"name":"notification-event","part":[{"name":"event-number","valueString":"7"}]}` + bundleTail
)

// focus is one notification event about a resource, without it.
func focus(number, reference string) string {
	return `,{"name":"notification-event","part":[{"name":"event-number","valueString":"` + number +
		`"},{"name":"focus","valueReference":{"reference":"` + reference + `"}}]}`
}

func events(foci ...string) string {
	return bundleHead + `event-notification"}` + strings.Join(foci, "") + bundleTail
}
