package main

import (
	"encoding/json"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// receiver answers as HAPI wants it, to whoever shows the token.
func receiver(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Authorization") != "Bearer probe-token" || r.Header.Get("X-Trial") != "a: b, c" {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	w.Header().Set("Content-Type", "application/fhir+json")
	_, _ = w.Write([]byte(`{"resourceType":"Bundle","type":"transaction-response"}`))
}

func TestProbe(t *testing.T) {
	server := httptest.NewTLSServer(http.HandlerFunc(receiver))
	t.Cleanup(server.Close)
	authority := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(authority, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	flags := []string{"probe", server.URL + "/fhir/lab", "--token", "probe-token", "--header", "X-Trial=a: b, c", "--insecure-ca", authority}
	code, out, logs := command(t, flags...)
	if code != 0 || !strings.Contains(out, "does not exist") || !strings.Contains(out, "HAPI, topics (success: ") || !strings.Contains(out, " accepted\n") {
		t.Errorf("exit code %d\n%s%s", code, out, logs)
	}
	if strings.Contains(out+logs, "probe-token") {
		t.Error("the token is shown")
	}
	code, out, _ = command(t, append(flags, "--json", "--source-type", "composition", "--token", "another")...)
	if code != exitFinding {
		t.Errorf("with a wrong token: exit code %d", code)
	}
	for line := range strings.Lines(out) {
		var one struct{ Sender, Sent, Verdict, Reason string }
		if err := json.Unmarshal([]byte(line), &one); err != nil || one.Verdict == "" || one.Verdict == "accepted" || one.Reason == "" {
			t.Errorf("%s: %v", line, err)
		}
	}
	if !strings.Contains(out, "/Composition/") {
		t.Errorf("no Composition was sent:\n%s", out)
	}
	if code, out, _ = command(t, flags[:len(flags)-2]...); code != exitFinding || !strings.Contains(out, "unreachable") {
		t.Errorf("an authority that is not trusted: exit code %d", code)
	}
}

// Senders follow no redirect, and neither does the probe: what stands behind it is not what was to be tried, and gets no token.
func TestProbeFollowsNoRedirect(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/elsewhere") {
			t.Errorf("%s of %s", r.Method, r.URL.Path)
			return
		}
		http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
	}))
	t.Cleanup(server.Close)
	code, out, _ := command(t, "probe", server.URL+"/fhir/lab", "--token", "probe-token")
	if code != exitFinding || !strings.Contains(out, "307 is no 2xx") {
		t.Errorf("exit code %d\n%s", code, out)
	}
}

func TestProbeDoesNotHappenByMistake(t *testing.T) {
	for _, tt := range []struct {
		name, want string
		args       []string
	}{
		{"another machine, and nobody said that it may", "--remote", []string{"https://adapter.example/fhir/lab"}},
		{"no URL", "URL of an endpoint", []string{"adapter"}},
		{"credentials in the URL", "without credentials", []string{"http://a:b@127.0.0.1/fhir/lab"}},
		{"a query", "query", []string{"http://127.0.0.1/fhir/lab?a=b"}},
		{"an id that is none", "an id of FHIR", []string{"http://127.0.0.1/fhir/lab", "--id", "a_b"}},
		{"a type that is none", "source-type", []string{"http://127.0.0.1/fhir/lab", "--source-type", "patient"}},
	} {
		code, out, logs := command(t, append([]string{"probe"}, tt.args...)...)
		if code != exitUsage || !strings.Contains(logs, tt.want) || strings.Contains(out, "accepted") {
			t.Errorf("%s: exit code %d, %s%s", tt.name, code, out, logs)
		}
	}
}
