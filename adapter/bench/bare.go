package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/redis/go-redis/v9"
)

// bareWorkers is how many documents the bare loop works on at once.
const bareWorkers = 16

// bareIngest is the ceiling of ingest: a gin handler that reads the body, hashes it and does one EVALSHA.
func bareIngest(ctx context.Context, redisAddr string, out io.Writer) error {
	client := redis.NewClient(&redis.Options{Addr: redisAddr})
	defer func() { _ = client.Close() }()
	sha, err := client.ScriptLoad(ctx, "redis.call('HSET', KEYS[1], 'at', ARGV[1]) return 1").Result()
	if err != nil {
		return err
	}
	return serveBare(ctx, out, func(c *gin.Context) { //nolint:contextcheck // the request has its own
		body, err := io.ReadAll(c.Request.Body)
		if err != nil {
			c.Status(http.StatusBadRequest)
			return
		}
		sum := sha256.Sum256(body)
		err = client.EvalSha(c.Request.Context(), sha, []string{"bare:" + string(sum[:16])}, time.Now().UnixMilli()).Err()
		if err != nil {
			c.Status(http.StatusServiceUnavailable)
			return
		}
		c.Status(http.StatusOK)
	})
}

// bareLoop is the ceiling of the whole way: no Redis, nothing remembered, nothing checked; 16 workers read the report and
// its patient, ask for the profile and post the message.
func bareLoop(ctx context.Context, fse, ioBase string, out io.Writer) error {
	ids := make(chan string, 1<<20)
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64, MaxConnsPerHost: 64}}
	for range bareWorkers {
		go func() {
			for id := range ids {
				if err := tellBare(ctx, client, fse, ioBase, id); err != nil && ctx.Err() == nil {
					_, _ = fmt.Fprintln(out, err)
				}
			}
		}()
	}
	return serveBare(ctx, out, func(c *gin.Context) {
		body, err := io.ReadAll(c.Request.Body)
		var report struct {
			ID string `json:"id"`
		}
		if err != nil || json.Unmarshal(body, &report) != nil {
			c.Status(http.StatusBadRequest)
			return
		}
		ids <- report.ID
		c.Status(http.StatusOK)
	})
}

func tellBare(ctx context.Context, client *http.Client, fse, ioBase, id string) error {
	var report struct {
		Status  string `json:"status"`
		Subject struct {
			Reference string `json:"reference"`
		} `json:"subject"`
	}
	if err := call(ctx, client, http.MethodGet, fse+"/DiagnosticReport/"+id, nil, &report); err != nil {
		return err
	}
	var patient struct {
		Identifier []struct {
			Value string `json:"value"`
		} `json:"identifier"`
	}
	if err := call(ctx, client, http.MethodGet, fse+"/"+report.Subject.Reference, nil, &patient); err != nil {
		return err
	}
	code := patient.Identifier[0].Value
	var profile struct {
		Allowed bool `json:"sender_allowed"`
	}
	if err := call(ctx, client, http.MethodPost, ioBase+"/profiles", map[string]string{"fiscal_code": code}, &profile); err != nil {
		return err
	}
	var created struct {
		ID string `json:"id"`
	}
	return call(ctx, client, http.MethodPost, ioBase+"/messages", map[string]any{
		"fiscal_code": code, "feature_level_type": "STANDARD",
		"content": map[string]any{"subject": bareSubject, "markdown": bareMarkdown, "require_secure_channels": true},
	}, &created)
}

const (
	bareSubject  = "Un nuovo documento è disponibile"
	bareMarkdown = "Un nuovo documento è disponibile nel tuo Fascicolo Sanitario Elettronico. Per leggerlo, apri il Fascicolo."
)

func call(ctx context.Context, client *http.Client, method, url string, body, answer any) error {
	var content io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return err
		}
		content = bytes.NewReader(text)
	}
	req, err := http.NewRequestWithContext(ctx, method, url, content) //nolint:gosec // our own world
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := client.Do(req) //nolint:gosec // our own world
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		return err
	}
	return json.Unmarshal(text, answer)
}

// serveBare serves one handler on every path until ctx ends.
func serveBare(ctx context.Context, out io.Writer, handler gin.HandlerFunc) error {
	gin.SetMode(gin.ReleaseMode)
	engine := gin.New()
	engine.NoRoute(handler)
	engine.POST("/fhir/:source", handler)
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	server := &http.Server{Handler: engine, ReadHeaderTimeout: time.Minute}
	context.AfterFunc(ctx, func() { _ = server.Close() })
	_, _ = fmt.Fprintln(out, l.Addr())
	if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
