package config_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"staffetta/config"
	"staffetta/config/tlstest"
)

func TestWhatAilsFiles(t *testing.T) {
	authority := tlstest.NewAuthority(t, "a") // valid for a day
	end := time.Now().Add(time.Hour)          // of certificates that are valid for three hours
	for _, tt := range []struct {
		name    string
		breakIt func(t *testing.T, folder string)
		at      time.Duration // before the end of the certificates
		want    []string
	}{
		{"nothing", func(*testing.T, string) {}, 50 * time.Minute, nil},
		{"certificates that end soon", func(*testing.T, string) {}, 40 * time.Minute, []string{
			"public.tls.cert_file: the certificate expires on END",
			"sources[2].read.cert_file: the certificate expires on END",
			"sources[2].read.modi.signing_cert_file: the certificate expires on END",
		}},
		{"certificates that have ended", func(*testing.T, string) {}, -10 * time.Minute, []string{
			"public.tls.cert_file: the certificate has expired on END",
			"sources[2].read.cert_file: the certificate has expired on END",
			"sources[2].read.modi.signing_cert_file: the certificate has expired on END",
		}},
		{"half of a rotation", func(t *testing.T, folder string) {
			t.Helper()
			authority.Issue(t, tlstest.Holder{}).Files(t, folder, "next")
			rename(t, folder, "next.key", "public.key")
		}, 50 * time.Minute, []string{
			"public.tls.cert_file: tls: private key does not match public key",
			"sources[2].read.cert_file: tls: private key does not match public key",
		}},
		{"authorities that are none", func(t *testing.T, folder string) {
			t.Helper()
			tlstest.Write(t, folder, "ca.pem", nil)
		}, 50 * time.Minute, []string{
			"sources[0].receive.jwt.ca_file: no certificate in it",
			"sources[0].receive.mtls.ca_file: no certificate in it",
			"sources[0].read.ca_file: no certificate in it",
			"sources[2].receive.mtls.ca_file: no certificate in it",
		}},
		{"authorities of which one has ended", func(t *testing.T, folder string) {
			t.Helper()
			old := authority.Issue(t, tlstest.Holder{NotAfter: time.Now().Add(-time.Hour)})
			tlstest.Write(t, folder, "ca.pem", append(old.CertPEM, authority.PEM()...))
		}, 50 * time.Minute, nil},
		{"a secret that is gone", func(t *testing.T, folder string) {
			t.Helper()
			if err := os.Remove(filepath.Join(folder, "secret.key")); err != nil {
				t.Fatal(err)
			}
		}, 50 * time.Minute, []string{"sources[1].read.oauth2.client_secret_file: no such file or directory"}},
		{"a key that is none", func(t *testing.T, folder string) {
			t.Helper()
			tlstest.Write(t, folder, "client.key", []byte("{}"))
		}, 50 * time.Minute, []string{
			"sources[0].read.oauth2.key_file: want a private key, PEM or JWK, RSA of 2048 bits or more or P-384",
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := proofFiles(t)
			c, err := config.Load(path)
			if err != nil {
				t.Fatal(err)
			}
			tt.breakIt(t, filepath.Dir(path))
			got := c.Ailing(end.Add(-tt.at))
			for i := range got {
				got[i] = replaceMoments(got[i])
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// replaceMoments puts END where a time stands.
func replaceMoments(line string) string {
	before, at, found := strings.Cut(line, " on ")
	if _, err := time.Parse("2006-01-02 15:04 UTC", at); !found || err != nil {
		return line
	}
	return before + " on END"
}

func rename(t *testing.T, folder, old, next string) {
	t.Helper()
	if err := os.Rename(filepath.Join(folder, old), filepath.Join(folder, next)); err != nil {
		t.Fatal(err)
	}
}

func TestAnExpiredCertificateIsAWarning(t *testing.T) {
	path := proofFiles(t)
	expired := tlstest.NewAuthority(t, "b").Issue(t, tlstest.Holder{NotAfter: time.Now().Add(-time.Hour)})
	expired.Files(t, filepath.Dir(path), "public")
	c, err := config.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	on := " the certificate has expired on " + expired.Certificate.Leaf.NotAfter.UTC().Format("2006-01-02 15:04 UTC")
	if diff := cmp.Diff([]string{"public.tls.cert_file:" + on, "sources[2].read.cert_file:" + on}, c.Warnings); diff != "" {
		t.Errorf("warnings (-want +got):\n%s", diff)
	}
}
