package adapter

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"staffetta/config"
	"staffetta/config/tlstest"
)

func TestWhatBecomesWrongWithAFileIsSaidOnce(t *testing.T) {
	folder, authority := t.TempDir(), tlstest.NewAuthority(t, "ours")
	pair := authority.Issue(t, tlstest.Holder{})
	cfg := config.Default()
	cfg.Public.TLS.CertFile, cfg.Public.TLS.KeyFile = pair.Files(t, folder, "public")
	var logs bytes.Buffer
	registry := prometheus.NewRegistry()
	f := newFiles(cfg, registry, slog.New(slog.NewTextHandler(&logs, nil)))
	for _, step := range []struct {
		name  string
		do    func()
		now   time.Time
		want  string // in the one line that is logged; "" for none
		count float64
	}{
		{"all is well", func() {}, time.Now(), "", 0},
		{"a rotation fails", func() { tlstest.Write(t, folder, "public.pem", []byte("half a certificate")) }, time.Now(), `level=ERROR msg="a file of the configuration is not well" file="public.tls.cert_file: tls: failed to find`, 1},
		{"and is not repeated", func() {}, time.Now(), "", 1},
		{"until it is put right", func() { tlstest.Write(t, folder, "public.pem", pair.CertPEM) }, time.Now(), `level=WARN msg="this is no longer so of a file of the configuration"`, 0},
		{"and nobody renews it", func() {}, time.Now().Add(2 * time.Hour), "the certificate has expired on", 1},
	} {
		logs.Reset()
		step.do()
		f.look(t.Context(), step.now)
		if lines := strings.Count(logs.String(), "\n"); (step.want == "" && lines != 0) || (step.want != "" && lines != 1) || !strings.Contains(logs.String(), step.want) {
			t.Errorf("%s: got %q, want %q", step.name, logs.String(), step.want)
		}
		families, err := registry.Gather()
		if err != nil || len(families) != 1 {
			t.Fatalf("%d metrics, %v; want one", len(families), err)
		}
		if got := families[0].GetMetric()[0].GetGauge().GetValue(); got != step.count {
			t.Errorf("%s: %v files are counted, want %v", step.name, got, step.count)
		}
		if strings.Contains(logs.String(), folder) {
			t.Errorf("%s: a path is in the logs: %s", step.name, logs.String())
		}
	}
}
