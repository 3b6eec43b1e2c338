package endpoint_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/gin-gonic/gin"
	"github.com/redis/go-redis/v9"

	"staffetta/adapter/endpoint"
)

// The three sizes of the issue: a report, an id-only Bundle with as many events as fit, a report with a PDF inside.
var sizes = []struct {
	name string
	body func(n int64) string
}{
	{"report-2KB", func(n int64) string { return reportOf(n, 2<<10) }},
	{"bundle-4KB", func(n int64) string {
		return events(focus("1", fmt.Sprintf("DiagnosticReport/b%d", n))) + strings.Repeat(" ", 4<<10-700)
	}},
	{"report-1MB", func(n int64) string { return reportOf(n, 1<<20-1<<10) }},
}

// reportOf is a report of about the size, most of it an embedded PDF.
func reportOf(n int64, size int) string {
	pdf := make([]byte, (size-300)*3/4)
	random := rand.NewChaCha8([32]byte{})
	_, _ = random.Read(pdf)
	return fmt.Sprintf(`{"resourceType":"DiagnosticReport","id":"b%d","meta":{"versionId":"1","lastUpdated":"2026-01-10T09:05:00Z"},`+
		`"status":"final","subject":{"reference":"Patient/p1"},"presentedForm":[{"contentType":"application/pdf","data":"%s"}]}`,
		n, base64.StdEncoding.EncodeToString(pdf))
}

// BenchmarkIngest is notifications through HTTP into Redis, 32 senders at once.
func BenchmarkIngest(b *testing.B) {
	for _, size := range sizes {
		b.Run(size.name, func(b *testing.B) {
			h := open(b, quiet)
			flood(b, h.client, h.url+"/fhir/lab", size.body)
		})
	}
}

func quiet(o *endpoint.Options) { o.Log = slog.New(slog.DiscardHandler) }

// BenchmarkBare is the ceiling: gin reads the body, hashes it, and makes one EVALSHA.
func BenchmarkBare(b *testing.B) {
	for _, size := range sizes {
		b.Run(size.name, func(b *testing.B) {
			h := open(b, quiet)
			flood(b, h.client, bare(b, h.redis.client), size.body)
		})
	}
}

// flood sends bodies from 32 senders until the benchmark has enough.
func flood(b *testing.B, client *http.Client, url string, body func(n int64) string) {
	b.Helper()
	client.Transport.(*http.Transport).MaxIdleConnsPerHost = 64
	template := body(1_000_000_000)
	b.SetBytes(int64(len(template)))
	b.SetParallelism(16)
	b.ReportAllocs()
	var sequence atomic.Int64
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			one := bytes.Replace([]byte(template), []byte("b1000000000"), fmt.Appendf(nil, "b%010d", sequence.Add(1)), 1)
			post(b, client, url, one)
		}
	})
}

func post(b *testing.B, client *http.Client, url string, body []byte) {
	b.Helper()
	req, err := http.NewRequestWithContext(b.Context(), http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		b.Error(err)
		return
	}
	req.Header.Set("Content-Type", "application/fhir+json")
	req.Header.Set("Authorization", "Bearer "+labToken)
	resp, err := client.Do(req)
	if err != nil {
		b.Error(err)
		return
	}
	_, _ = io.Copy(io.Discard, resp.Body)
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		b.Errorf("status %d", resp.StatusCode)
	}
}

func bare(b *testing.B, client *redis.Client) string {
	b.Helper()
	script := redis.NewScript(`return redis.call("ZADD", KEYS[1], ARGV[1], ARGV[2])`)
	if err := script.Load(b.Context(), client).Err(); err != nil {
		b.Fatal(err)
	}
	engine := gin.New()
	engine.POST("/", func(c *gin.Context) {
		body, err := io.ReadAll(c.Request.Body)
		digest := sha256.Sum256(body)
		if err == nil {
			err = script.EvalSha(c.Request.Context(), client, []string{"bare"}, 1, digest[:]).Err()
		}
		if err != nil {
			c.Status(http.StatusServiceUnavailable)
		}
	})
	server := httptest.NewServer(engine)
	b.Cleanup(server.Close)
	return server.URL + "/"
}
