package endpoint_test

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"fmt"
	"go/ast"
	"go/parser"
	gotoken "go/token"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"staffetta/adapter/endpoint"
	"staffetta/config/tlstest"
	"staffetta/fhir/fhirtest"
)

// everyAnswer drives every answer with a body through the endpoint, by what the answer is of.
func everyAnswer(t *testing.T) map[string][]byte {
	t.Helper()
	h := open(t)
	answers := map[string][]byte{
		"metadata":  []byte(h.send(t, sent{"GET", "/fhir/metadata", "", map[string]string{"Authorization": ""}}).body),
		"handshake": []byte(h.send(t, sent{"POST", "/fhir/lab", handshake, nil}).body),
	}
	for _, one := range refusals(t) {
		answers[strings.ReplaceAll(one.name, " ", "-")] = []byte(h.send(t, one.sent).body)
	}
	for name, one := range unreadable() {
		answers[name] = h.raw(t, one.text, nil).text
	}
	answers["no-TLS"] = h.inClear(t, "hello, who is there?\r\n\r\n").text
	answers["too-late"] = h.halfOf(t, false)
	answers["cut-off"] = h.halfOf(t, true)
	h.redis.cut.Store(true)
	answers["redis-is-away"] = []byte(h.send(t, sent{"POST", "/fhir/lab", report, nil}).body)
	return answers
}

// unreadable are requests that no handler sees.
func unreadable() map[string]struct {
	text string
	want int
} {
	const post = "POST /fhir/lab HTTP/1.1\r\nHost: x\r\n"
	return map[string]struct {
		text string
		want int
	}{
		"no-HTTP":                      {"hello\r\n\r\n", 400},
		"a-path-that-cannot-be-read":   {"PUT /fhir/lab/DiagnosticReport/%zz HTTP/1.1\r\nHost: x\r\n\r\n", 400},
		"a-header-that-is-none":        {post + "A b: c\r\n\r\n", 400},
		"two-lengths":                  {post + "Content-Length: 1\r\nContent-Length: 2\r\n\r\n", 400},
		"no-host":                      {"POST /fhir/lab HTTP/1.1\r\n\r\n", 400},
		"too-large-a-header":           {post + "X: " + strings.Repeat("x", 64<<10) + "\r\n\r\n", 431},
		"a-coding-that-is-not-known":   {post + "Transfer-Encoding: gzip, chunked\r\n\r\n", 501},
		"a-version-that-is-not-spoken": {"POST /fhir/lab HTTP/3.0\r\nHost: x\r\n\r\n", 505},
		"HTTP-2-that-nobody-offered":   {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 404},
		"an-expectation":               {post + "Expect: a-miracle\r\nContent-Length: 2\r\n\r\n{}", 417},
	}
}

// rawAnswer is an answer to what no HTTP client sends.
type rawAnswer struct {
	status      int
	contentType string
	text        []byte
}

// raw sends a text as it is, over TLS where there is an authority.
func (h *house) raw(t *testing.T, text string, ours *tlstest.Authority) rawAnswer {
	t.Helper()
	o := endpoint.ServerOptions{Handler: h.handler, ReadTimeout: time.Minute, Grace: time.Hour}
	if ours == nil {
		return answerTo(t, dial(t, serveWith(t, o).addr), text)
	}
	o.TLS = showing(t, ours)
	conn := dial(t, serveWith(t, o).addr)
	over := &tls.Config{RootCAs: ours.Pool(), ServerName: "127.0.0.1", NextProtos: []string{"h2", "http/1.1"}, MinVersion: tls.VersionTLS12}
	return answerTo(t, tls.Client(conn, over), text)
}

// answerTo is what a text that is sent over a new connection is answered with.
func answerTo(t *testing.T, conn net.Conn, text string) rawAnswer {
	t.Helper()
	if _, err := io.WriteString(conn, text); err != nil {
		t.Fatal(err)
	}
	return readAnswer(t, conn)
}

// readAnswer reads what comes over a connection.
func readAnswer(t *testing.T, conn net.Conn) rawAnswer {
	t.Helper()
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return rawAnswer{resp.StatusCode, resp.Header.Get("Content-Type"), text}
}

// What net/http refuses before any handler is answered as FHIR, too.
func TestWhatCannotBeReadIsAnsweredAsFHIR(t *testing.T) {
	h := open(t)
	ours := tlstest.NewAuthority(t, "ours")
	for name, one := range unreadable() {
		for over, got := range map[string]rawAnswer{"HTTP": h.raw(t, one.text, nil), "HTTPS": h.raw(t, one.text, ours)} {
			outcomeOf(t, over+", "+name, got, one.want)
		}
	}
}

// outcomeOf wants an OperationOutcome with that status.
func outcomeOf(t *testing.T, name string, got rawAnswer, want int) {
	t.Helper()
	if got.status != want || got.contentType != "application/fhir+json" || !bytes.Contains(got.text, []byte(`"resourceType":"OperationOutcome"`)) {
		t.Errorf("%s: %d, %s, %s; want %d and an OperationOutcome", name, got.status, got.contentType, got.text, want)
	}
}

// inClear sends a text to an endpoint that speaks HTTPS, without TLS.
func (h *house) inClear(t *testing.T, text string) rawAnswer {
	t.Helper()
	o := endpoint.ServerOptions{Handler: h.handler, ReadTimeout: time.Minute, TLS: showing(t, tlstest.NewAuthority(t, "ours"))}
	return answerTo(t, dial(t, serveWith(t, o).addr), text)
}

// Who speaks HTTP, or nothing known, where HTTPS is spoken is told so in clear.
func TestWhoDoesNotSpeakTLSIsAnsweredAsFHIR(t *testing.T) {
	h := open(t)
	for name, text := range map[string]string{
		"HTTP": "POST /fhir/lab HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}", "nothing known": "hello, who is there?\r\n\r\n",
	} {
		got := h.inClear(t, text)
		outcomeOf(t, name, got, http.StatusBadRequest)
		if !bytes.Contains(got.text, []byte("HTTPS")) {
			t.Errorf("%s is answered with %s, want that HTTPS is spoken here", name, got.text)
		}
	}
}

// halfOf is the answer to half of a request, whose sender then says nothing more, or hangs up.
func (h *house) halfOf(t *testing.T, hangUp bool) []byte {
	t.Helper()
	s := serve(t, h.handler, time.Second, time.Hour) // long enough to say half of it
	conn := halfSent(t, s.addr)
	if tcp, is := conn.(*net.TCPConn); is && hangUp {
		if err := tcp.CloseWrite(); err != nil {
			t.Fatal(err)
		}
	}
	return readAnswer(t, conn).text
}

func TestEveryAnswerIsValidFHIR(t *testing.T) {
	fhirtest.Valid(t, everyAnswer(t))
}

// unheard are the words that no sender ever hears, and why.
var unheard = map[string]string{
	"the body cannot be read": "the endpoint knows better why reading failed",
}

// Whoever adds a refusal adds it to those that the validator sees.
func TestEveryRefusalIsDriven(t *testing.T) {
	heard := bytes.Join(valuesOf(everyAnswer(t)), []byte("\n"))
	for _, words := range refusalsInSource(t, ".", filepath.Join("..", "..", "fhir")) {
		_, excused := unheard[words]
		if driven := bytes.Contains(heard, []byte(strings.Trim(strconv.Quote(words), `"`))); driven == excused {
			t.Errorf("%q: driven %t, excused %t", words, driven, excused)
		}
	}
}

func valuesOf(answers map[string][]byte) (all [][]byte) {
	for _, one := range answers {
		all = append(all, one)
	}
	return all
}

// refusalsInSource are the literal words of every fhir.Issue in the code: Diagnostics, the third argument of refusal, and
// the faults of XML.
func refusalsInSource(t *testing.T, folders ...string) (words []string) {
	t.Helper()
	add := func(e ast.Expr) {
		ast.Inspect(e, func(n ast.Node) bool {
			if literal, is := n.(*ast.BasicLit); is && literal.Kind == gotoken.STRING {
				text, err := strconv.Unquote(literal.Value)
				if err != nil {
					t.Fatal(err)
				}
				text, _, _ = strings.Cut(text, "%")
				words = append(words, text)
			}
			return true
		})
	}
	for _, folder := range folders {
		files, err := filepath.Glob(filepath.Join(folder, "*.go"))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			if strings.HasSuffix(file, "_test.go") {
				continue
			}
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			parsed, err := parser.ParseFile(gotoken.NewFileSet(), file, text, 0)
			if err != nil {
				t.Fatal(err)
			}
			ast.Inspect(parsed, func(n ast.Node) bool {
				switch n := n.(type) {
				case *ast.KeyValueExpr:
					if fmt.Sprint(n.Key) == "Diagnostics" {
						add(n.Value)
					}
				case *ast.AssignStmt:
					for i, to := range n.Lhs {
						if field, is := to.(*ast.SelectorExpr); is && field.Sel.Name == "Diagnostics" && len(n.Rhs) > i {
							add(n.Rhs[i])
						}
					}
				case *ast.CallExpr:
					if name := fmt.Sprint(n.Fun); (name == "refusal" && len(n.Args) == 3) || name == "xmlFault" {
						add(n.Args[len(n.Args)-1])
					}
				}
				return true
			})
		}
	}
	if len(words) < 30 {
		t.Fatalf("only %d refusals in the code", len(words))
	}
	return words
}

func TestMetadata(t *testing.T) {
	h := open(t)
	anybody := map[string]string{"Authorization": ""}
	first := h.send(t, sent{"GET", "/fhir/metadata", "", anybody})
	if first.status != http.StatusOK || first.header.Get("Content-Type") != "application/fhir+json" {
		t.Fatalf("status %d, %s", first.status, first.header.Get("Content-Type"))
	}
	for _, want := range []string{`"resourceType":"CapabilityStatement"`, `"kind":"instance"`, `"fhirVersion":"4.0.1"`, `"name":"Staffetta"`, `"DiagnosticReport"`} {
		if !strings.Contains(first.body, want) {
			t.Errorf("no %s in it", want)
		}
	}
	for _, private := range []string{"lab", "region", labToken, "127.0.0.1"} {
		if strings.Contains(strings.ReplaceAll(first.body, "label", ""), private) {
			t.Errorf("it says %q", private)
		}
	}
	if slashed := h.send(t, sent{"GET", "/fhir/metadata/", "", anybody}); slashed.body != first.body || slashed.status != http.StatusOK {
		t.Errorf("with a slash at its end: status %d", slashed.status)
	}
	if head := h.send(t, sent{"HEAD", "/fhir/metadata", "", anybody}); head.status != http.StatusOK || head.body != "" ||
		head.header.Get("Content-Length") != strconv.Itoa(len(first.body)) {
		t.Errorf("HEAD: status %d, %q, length %s", head.status, head.body, head.header.Get("Content-Length"))
	}
	known := map[string]string{"Authorization": "", "If-None-Match": first.header.Get("ETag")}
	if again := h.send(t, sent{"GET", "/fhir/metadata", "", known}); again.status != http.StatusNotModified || again.body != "" {
		t.Errorf("with its ETag: status %d, %q", again.status, again.body)
	}
	if posted := h.send(t, sent{"POST", "/fhir/metadata", report, nil}); posted.status != http.StatusUnauthorized {
		t.Errorf("posted there: status %d, want that of a source that does not exist", posted.status)
	}
	if other := h.send(t, sent{"GET", "/fhir/metadata/x", "", anybody}); other.status != http.StatusMethodNotAllowed {
		t.Errorf("below it: status %d", other.status)
	}
}
