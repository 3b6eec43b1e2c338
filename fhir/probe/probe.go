package probe

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"
)

// Options are how an endpoint is probed.
type Options struct {
	URL     string      // of the endpoint, as a Subscription would have it
	Header  http.Header // of every request, e.g. Authorization
	Secret  string      // of X-Signature; "": nothing is signed
	Kind    string      // DiagnosticReport or Composition
	ID      string      // of the resource that does not exist; NewID makes one
	Client  *http.Client
	Timeout time.Duration // of one exchange; a sender that is less patient waits no longer
	// Base is where the servers say that they are; "": Nowhere.
	Base string
}

// Exchange is one request with what came of it.
type Exchange struct {
	Sender  string  `json:"sender"`
	Rule    string  `json:"rule"`
	What    string  `json:"what"`
	Sent    string  `json:"sent"`
	Status  int     `json:"status,omitempty"`
	Came    string  `json:"came"`
	Verdict Verdict `json:"verdict"`
	Reason  string  `json:"reason,omitempty"`

	Request Request `json:"-"`
}

// mark begins the id of every resource that is probed with.
const mark = "staffetta-probe-no-such-report-"

// NewID is an id that no server has given to anything: 130 bits of it are random.
func NewID() string { return mark + rand.Text() }

// Check says what forbids to probe. Whoever would post to another machine must have said so: what a receiver in production
// makes of notifications about a report that does not exist is not for us to know.
func (o Options) Check(remote bool) error {
	target, err := url.Parse(o.URL)
	switch {
	case err != nil || target.Host == "" || (target.Scheme != "http" && target.Scheme != "https"):
		return errors.New("want the http or https URL of an endpoint")
	case target.User != nil || target.RawQuery != "" || target.Fragment != "":
		return errors.New("want a URL without credentials, query and fragment, as a Subscription would have it")
	case resources[o.Kind] == "":
		return errors.New("want notifications about a DiagnosticReport or a Composition")
	case len(o.ID) > 61 || strings.Trim(strings.ToLower(o.ID), "abcdefghijklmnopqrstuvwxyz0123456789-.") != "" || o.ID == "":
		return errors.New("want an id of FHIR, of 61 characters at most")
	case !remote && !isLoopback(target.Hostname()):
		return errors.New("this endpoint is on another machine: it will get notifications about a report that does not exist. Say --remote if nobody minds")
	}
	return nil
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || (ip != nil && ip.IsLoopback())
}

// NewClient is a client that follows no redirects, as senders do not, and trusts the authorities of a file besides those of
// the system; "": only these.
func NewClient(caFile string) (*http.Client, error) {
	trusted, err := x509.SystemCertPool()
	if err != nil {
		trusted = x509.NewCertPool()
	}
	if caFile != "" {
		text, err := os.ReadFile(caFile) //nolint:gosec // whoever runs the command names it
		if err != nil {
			return nil, fmt.Errorf("authorities: %w", err)
		}
		if !trusted.AppendCertsFromPEM(text) {
			return nil, errors.New("authorities: no certificate in the file")
		}
	}
	return &http.Client{
		Transport: &http.Transport{
			TLSClientConfig: &tls.Config{RootCAs: trusted, MinVersion: tls.VersionTLS12}, ForceAttemptHTTP2: true, Proxy: http.ProxyFromEnvironment,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}, nil
}

// Play lets one sender send all that it has, and gives each exchange to hear.
func (s Sender) Play(ctx context.Context, o Options, hear func(Exchange)) {
	f := newFill(o, time.Now())
	for i, r := range s.Requests {
		x := s.exchange(ctx, o, f, r)
		hear(x)
		if r.Handshake && x.Verdict != Accepted {
			for _, rest := range s.Requests[i+1:] {
				hear(Exchange{
					Sender: s.Name, Rule: s.Rule, What: rest.What, Sent: line(rest, f), Verdict: NotSent,
					Reason: "the Subscription never became active", Request: rest,
				})
			}
			return
		}
	}
}

// exchange is one request and what its sender makes of the answer.
func (s Sender) exchange(ctx context.Context, o Options, f fill, r Request) Exchange {
	x := Exchange{Sender: s.Name, Rule: s.Rule, What: r.What, Sent: line(r, f), Verdict: Accepted, Request: r}
	wait := o.Timeout
	if s.Patience > 0 {
		wait = min(wait, s.Patience)
	}
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	answer, err := send(ctx, o, f, r)
	switch {
	case err != nil && ctx.Err() != nil:
		x.Verdict, x.Reason = s.Otherwise.Verdict, fmt.Sprintf("no answer within %s: it would %s", wait, s.Otherwise.Words)
		return x
	case err != nil:
		x.Verdict, x.Reason = Unreachable, withoutURL(err).Error()
		return x
	}
	x.Status, x.Came = answer.Status, answer.line()
	if wrong := s.takes(r, answer); wrong != "" {
		x.Verdict, x.Reason = s.Otherwise.Verdict, wrong+": it would "+s.Otherwise.Words
	}
	return x
}

// answerAtMost is how much of an answer is read.
const answerAtMost = 64 << 10

func send(ctx context.Context, o Options, f fill, r Request) (Answer, error) {
	target := o.URL
	if r.Path != "" {
		target = strings.TrimSuffix(o.URL, "/") + f.Replace(r.Path)
	}
	req, err := http.NewRequestWithContext(ctx, r.Method, target, strings.NewReader(f.Replace(r.Body)))
	if err != nil {
		return Answer{}, err
	}
	req.Header = r.header(f, o.Secret)
	maps.Copy(req.Header, o.Header)
	res, err := o.Client.Do(req)
	if err != nil {
		return Answer{}, err
	}
	defer func() { _ = res.Body.Close() }()
	text, err := io.ReadAll(io.LimitReader(res.Body, answerAtMost))
	return Answer{Status: res.StatusCode, ContentType: res.Header.Get("Content-Type"), Body: text}, err
}

// withoutURL drops the URL of an HTTP error.
func withoutURL(err error) error {
	if one, ok := errors.AsType[*url.Error](err); ok {
		return one.Err
	}
	return err
}

// line is a request in one line, without the id.
func line(r Request, f fill) string {
	text := r.Method + " " + cmp.Or(strings.NewReplacer("{type}", f.Replace("{type}"), "{id}", "{id}").Replace(r.Path), "/")
	if r.Body == "" {
		return text + ", no body"
	}
	kind, _, _ := strings.Cut(r.ContentType, ";")
	return text + ", " + kind
}

// line is an answer in one line: nothing of what it says, but what it is.
func (a Answer) line() string {
	text := strconv.Itoa(a.Status)
	switch kind := a.resourceType(); {
	case len(a.Body) == 0:
		text += ", no body"
	case kind != "":
		text += ", " + kind
	default:
		text += fmt.Sprintf(", %d bytes that are no resource", len(a.Body))
	}
	return text
}
