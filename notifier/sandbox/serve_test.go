package sandbox_test

import (
	"context"
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"staffetta/notifier/sandbox"
)

// The sandbox says what it is and what a file needs, serves both, and ends when it is told to.
func TestTheSandboxAlone(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	out, in := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		ended <- sandbox.Serve(ctx, sandbox.ServeOptions{Listen: "127.0.0.1:0", Language: "de_DE", Out: in})
		_ = in.Close()
	}()
	said := make([]byte, 4096)
	n, err := out.Read(said)
	if err != nil {
		t.Fatal(err)
	}
	text := string(said[:n])
	go func() { _, _ = io.Copy(io.Discard, out) }()
	wants(t, text, "NOT IO", "forgets everything when it stops", "manage_key: ")
	base := regexp.MustCompile(`base_url: (\S+)/api/v1\n    key: (\S+)\n    secondary_key: (\S+)`).FindStringSubmatch(text)
	if base == nil {
		t.Fatalf("what does a file need?\n%s", text)
	}
	client := new(http.Client)
	for _, key := range base[2:] {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, base[1]+"/api/v1/profiles", strings.NewReader(`{"fiscal_code": "`+code+`"}`))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Ocp-Apim-Subscription-Key", key)
		res, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		profile, err := io.ReadAll(res.Body)
		_ = res.Body.Close()
		if err != nil || res.StatusCode != http.StatusOK || !strings.Contains(string(profile), "de_DE") {
			t.Errorf("a profile: %d %s, %v", res.StatusCode, profile, err)
		}
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, base[1]+"/", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	res, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	if res.StatusCode != http.StatusOK || res.Request.URL.Path != "/inbox/" {
		t.Errorf("the first page: %d at %s", res.StatusCode, res.Request.URL.Path)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	client.CloseIdleConnections()
}
