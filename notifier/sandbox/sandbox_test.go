package sandbox_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"staffetta/fhir/fiscalcode"
	"staffetta/notifier/sandbox"
)

// answered is what the sandbox said.
type answered struct {
	status int
	header http.Header
	body   map[string]any
}

func (a answered) message() map[string]any {
	m, _ := a.body["message"].(map[string]any)
	return m
}

func ask(t *testing.T, io http.Handler, q request) answered {
	t.Helper()
	recorded := httptest.NewRecorder()
	io.ServeHTTP(recorded, q.http())
	a := answered{status: recorded.Code, header: recorded.Header()}
	if err := json.Unmarshal(recorded.Body.Bytes(), &a.body); err != nil {
		t.Fatal(err)
	}
	return a
}

// send gives the id of a message that the sandbox took.
func send(t *testing.T, io http.Handler, body string) string {
	t.Helper()
	a := ask(t, io, post("/messages", body))
	id, _ := a.body["id"].(string)
	if a.status != http.StatusCreated || a.header.Get("Location") != "/api/v1/messages/"+code+"/"+id {
		t.Fatalf("answer %d, Location %q", a.status, a.header.Get("Location"))
	}
	return id
}

func status(t *testing.T, io http.Handler, id string) answered {
	t.Helper()
	return ask(t, io, get("/messages/"+code+"/"+id))
}

func TestProfiles(t *testing.T) {
	for _, tt := range []struct {
		name      string
		profile   sandbox.Profile
		languages []string
		status    int
		body      string
	}{
		{"on IO", sandbox.Reachable, []string{"it_IT"}, 200, `map[preferred_languages:[it_IT] sender_allowed:true]`},
		{"on IO, in German", sandbox.Reachable, []string{"de_DE", "it_IT"}, 200, `map[preferred_languages:[de_DE it_IT] sender_allowed:true]`},
		{"on IO, which does not say the language", sandbox.Reachable, nil, 200, `map[sender_allowed:true]`},
		{"switched off", sandbox.NotAllowed, []string{"it_IT"}, 200, `map[preferred_languages:[it_IT] sender_allowed:false]`},
		{"not on IO", sandbox.NotOnIO, nil, 404, `map[detail:The profile you requested was not found in the system. status:404 title:Profile not found]`},
		{"not for this account", sandbox.Forbidden, nil, 403, `map[detail:You are not allowed to issue requests for this recipient. status:403 title:Recipient forbidden]`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			io := sandbox.New(sandbox.Options{
				Keys:      []string{key},
				Profile:   func(fiscalcode.Code) sandbox.Profile { return tt.profile },
				Languages: func(fiscalcode.Code) []string { return tt.languages },
			})
			for _, q := range []request{post("/profiles", `{"fiscal_code": "`+code+`"}`), get("/profiles/" + code)} {
				if a := ask(t, io, q); a.status != tt.status || fmt.Sprint(a.body) != tt.body {
					t.Errorf("%s: answer %d %v, want %d %s", q.method, a.status, a.body, tt.status, tt.body)
				}
			}
		})
	}
	io := sandbox.New(sandbox.Options{Keys: []string{key}, Profile: func(fiscalcode.Code) sandbox.Profile { return sandbox.Reachable }})
	if a := ask(t, io, get("/profiles/AAAAAA00A00A000A")); a.status != http.StatusNotFound {
		t.Errorf("a code that nobody has: %d, want 404", a.status)
	}
}

func TestAMessageToAForbiddenRecipient(t *testing.T) {
	io := sandbox.New(sandbox.Options{Keys: []string{key}, Profile: func(fiscalcode.Code) sandbox.Profile { return sandbox.Forbidden }})
	if a := ask(t, io, post("/messages", message())); a.status != http.StatusForbidden || a.body["title"] != "Recipient forbidden" || len(io.Messages()) != 0 {
		t.Errorf("answer %d %v", a.status, a.body["title"])
	}
}

// pass lets time pass, which in a bubble takes none.
func pass(d time.Duration) { <-time.After(d) }

// TestStatusProgress walks through time: ACCEPTED, THROTTLED where there is such a time, then final.
func TestStatusProgress(t *testing.T) {
	profile := func(p sandbox.Profile) func(fiscalcode.Code) sandbox.Profile {
		return func(fiscalcode.Code) sandbox.Profile { return p }
	}
	for _, tt := range []struct {
		name string
		o    sandbox.Options
		want string // the status at every second
	}{
		{"at once", sandbox.Options{}, "PROCESSED"},
		{"after a while", sandbox.Options{Delay: 2 * time.Second}, "ACCEPTED ACCEPTED PROCESSED"},
		{"throttled on the way", sandbox.Options{Delay: 3 * time.Second, Throttled: 2 * time.Second}, "ACCEPTED THROTTLED THROTTLED PROCESSED"},
		{"throttled all the way", sandbox.Options{Delay: time.Second, Throttled: time.Minute}, "THROTTLED PROCESSED"},
		{"no profile: rejected", sandbox.Options{Delay: time.Second, Profile: profile(sandbox.NotOnIO)}, "ACCEPTED REJECTED"},
		{"service switched off: rejected", sandbox.Options{Profile: profile(sandbox.NotAllowed)}, "REJECTED"},
		{"as it is told", sandbox.Options{Processed: "FAILED"}, "FAILED"},
		{"as one message is told", sandbox.Options{Final: func(m sandbox.Taken) string {
			return map[bool]string{true: "FAILED"}[m.Subject == "C'è un nuovo referto"]
		}}, "FAILED"},
		{"as its profile leads to where one is told nothing", sandbox.Options{
			Final: func(sandbox.Taken) string { return "" }, Profile: profile(sandbox.NotOnIO),
		}, "REJECTED"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tt.o.Keys = []string{key}
				io := sandbox.New(tt.o)
				id := send(t, io, message())
				var got []string
				for range strings.FieldsSeq(tt.want) {
					a := status(t, io, id)
					got = append(got, fmt.Sprint(a.body["status"]))
					if _, stored := a.message()["content"]; stored != (a.body["status"] == "PROCESSED") {
						t.Errorf("%v, with its content: %t", a.body["status"], stored)
					}
					pass(time.Second)
				}
				if line := strings.Join(got, " "); line != tt.want {
					t.Errorf("got %s, want %s", line, tt.want)
				}
			})
		})
	}
}

func TestACodeOfNobodyIsTakenAndRejected(t *testing.T) {
	io := sandbox.New(sandbox.Options{Keys: []string{key}, Profile: func(fiscalcode.Code) sandbox.Profile { return sandbox.Reachable }})
	a := ask(t, io, post("/messages", message("fiscal_code", "AAAAAA00A00A000A")))
	if a.status != http.StatusCreated {
		t.Fatalf("answer %d, want 201: IO tests no check letter", a.status)
	}
	if got := ask(t, io, get(fmt.Sprintf("/messages/AAAAAA00A00A000A/%s", a.body["id"]))); got.body["status"] != "REJECTED" {
		t.Errorf("status %v, want REJECTED", got.body["status"])
	}
}

func TestAMessageIsReadByItsCodeAndIdOnly(t *testing.T) {
	io := sandbox.New(sandbox.Options{Keys: []string{key}})
	id := send(t, io, message())
	for _, path := range []string{"/messages/BNCLCU75B68F205U/" + id, "/messages/" + code + "/" + ours} {
		if a := ask(t, io, get(path)); a.status != http.StatusNotFound || a.body["title"] != "Message not found" {
			t.Errorf("answer %d %v, want 404 Message not found", a.status, a.body["title"])
		}
	}
}

func TestReadStatusIsPremium(t *testing.T) {
	advanced := message("feature_level_type", "ADVANCED")
	for _, tt := range []struct {
		name, body string
		o          sandbox.Options
		want       any
	}{
		{"not of a STANDARD message", message(), sandbox.Options{Premium: true}, nil},
		{"not before it is processed", advanced, sandbox.Options{Premium: true, Delay: time.Hour}, nil},
		{"not of a rejected one", advanced, sandbox.Options{Premium: true, Processed: "REJECTED"}, nil},
		{"of an ADVANCED one", advanced, sandbox.Options{Premium: true}, "UNREAD"},
		{"read", advanced, sandbox.Options{Premium: true, ReadStatus: func(sandbox.Taken) string { return "READ" }}, "READ"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.o.Keys = []string{key}
			io := sandbox.New(tt.o)
			if got := status(t, io, send(t, io, tt.body)).body["read_status"]; got != tt.want {
				t.Errorf("read_status %v, want %v", got, tt.want)
			}
		})
	}
}

func TestThirdPartyDataIsKept(t *testing.T) {
	io := sandbox.New(sandbox.Options{Keys: []string{key}, RemoteContent: sandbox.RemoteContent{Allowed: true, Own: []string{ours}}})
	if a := ask(t, io, post("/messages", message("content.third_party_data.id", "x"))); a.status != http.StatusForbidden ||
		a.body["title"] != "No configuration id for remote content" {
		t.Errorf("without configuration: %d %v", a.status, a.body["title"])
	}
	id := send(t, io, pointing(ours, "has_remote_content", true, "has_precondition", "ALWAYS"))
	taken := io.Messages()[0]
	want := sandbox.ThirdParty{ID: "x", ConfigurationID: ours, HasRemoteContent: true, HasPrecondition: "ALWAYS"}
	if taken.ThirdParty == nil || *taken.ThirdParty != want {
		t.Errorf("kept %+v, want %+v", taken.ThirdParty, want)
	}
	if got := fmt.Sprint(status(t, io, id).message()["content"]); !strings.Contains(got, "third_party_data:map[configuration_id:"+ours) {
		t.Errorf("the status shows %s", got)
	}
}

// TestThrottling: 150 requests in 5 s for the whole account, whatever they ask for.
func TestThrottling(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		io := sandbox.New(sandbox.Options{Keys: []string{key, "another"}, Rate: sandbox.RealRate})
		for n := range sandbox.RealRate {
			q := []request{get("/profiles/" + code), post("/messages", message()), get("/messages/" + code + "/" + ours), get("/nothing")}[n%4]
			if n%2 == 0 {
				q.key = "another"
			}
			a := ask(t, io, q)
			if a.status == http.StatusTooManyRequests || a.header.Get("x-rate-limit-remaining") != strconv.Itoa(sandbox.RealRate-1-n) {
				t.Fatalf("request %d: answer %d, remaining %q", n, a.status, a.header.Get("x-rate-limit-remaining"))
			}
			if n == 0 {
				pass(1500 * time.Millisecond)
			}
		}
		before := len(io.Messages())
		a := ask(t, io, post("/messages", message()))
		if a.status != http.StatusTooManyRequests || a.header.Get("x-rate-limit-retry-after") != "4" || a.header.Get("Retry-After") != "" {
			t.Errorf("answer %d, retry after %q and %q, want 429 after 4 s, by IO's own header", a.status,
				a.header.Get("x-rate-limit-retry-after"), a.header.Get("Retry-After"))
		}
		if a.body["statusCode"] != 429.0 || len(io.Messages()) != before {
			t.Error("want the gateway's answer, and nothing processed")
		}
		pass(4 * time.Second)
		if a := ask(t, io, get("/profiles/"+code)); a.status != http.StatusOK {
			t.Errorf("after the wait: %d, want 200", a.status)
		}
	})
	if a := ask(t, sandbox.New(sandbox.Options{Keys: []string{key}}), get("/profiles/"+code)); a.header.Get("x-rate-limit-remaining") != "" {
		t.Error("no limit, and something remains of it")
	}
}

// TestKeys: a wrong key is the gateway's to refuse, and is not counted; a regenerated one is refused from then on.
func TestKeys(t *testing.T) {
	io := sandbox.New(sandbox.Options{Keys: []string{key, "secondary"}, Rate: 100})
	for _, tt := range []struct {
		with    string
		want    int
		renewed bool // the primary key was regenerated before
	}{
		{key, 200, false},
		{"secondary", 200, false},
		{"x", 401, false},
		{"", 401, false},
		{key, 401, true},
		{"secondary", 200, true},
		{"regenerated", 200, true},
	} {
		if tt.renewed {
			io.SetKeys("secondary", "regenerated")
		}
		q := get("/profiles/" + code)
		q.key = tt.with
		a := ask(t, io, q)
		if a.status != tt.want {
			t.Errorf("key %q, renewed %t: %d, want %d", tt.with, tt.renewed, a.status, tt.want)
		}
		if a.status == http.StatusUnauthorized && (a.body["statusCode"] != 401.0 || a.header.Get("x-rate-limit-remaining") != "") {
			t.Errorf("a 401 that is not the gateway's: %v", a.body)
		}
	}
}

func TestAnAccountThatIsNotProvisioned(t *testing.T) {
	for _, title := range []string{"You are not allowed here", "Production call forbidden", "User has no valid scopes", "Anonymous user"} {
		io := sandbox.New(sandbox.Options{Keys: []string{key}, Refusal: title})
		for _, q := range []request{get("/profiles/" + code), post("/messages", message()), get("/messages/" + code + "/" + ours)} {
			if a := ask(t, io, q); a.status != http.StatusForbidden || a.body["title"] != title {
				t.Errorf("answer %d %v, want 403 %s", a.status, a.body["title"], title)
			}
		}
	}
}

// TestCutAnswers: a share of the messages is created, and nobody hears of them; the same ones for the same seed.
func TestCutAnswers(t *testing.T) {
	const n = 500
	run := func(seed uint64) []bool {
		io := sandbox.New(sandbox.Options{Keys: []string{key}, Cut: 0.2, Seed: seed})
		server := httptest.NewServer(io)
		defer server.Close()
		unheard := make([]bool, n)
		for i := range n {
			q := post("/messages", message())
			r, err := http.NewRequestWithContext(t.Context(), q.method, server.URL+"/api/v1"+q.path, strings.NewReader(q.body))
			if err != nil {
				t.Fatal(err)
			}
			r.Header = q.http().Header
			answer, err := server.Client().Do(r)
			if unheard[i] = err != nil; err == nil {
				_ = answer.Body.Close()
			}
		}
		taken := io.Messages()
		if len(taken) != n {
			t.Fatalf("%d messages, want %d: a cut answer is of a message that was created", len(taken), n)
		}
		for i, m := range taken {
			if m.Unheard != unheard[i] {
				t.Fatalf("message %d: cut %t, and the sender heard: %t", i, m.Unheard, !unheard[i])
			}
		}
		return unheard
	}
	first, again, other := run(1), run(1), run(2)
	cut := 0
	for _, is := range first {
		if is {
			cut++
		}
	}
	if cut < n/10 || cut > n*3/10 {
		t.Errorf("%d of %d cut, want about a fifth", cut, n)
	}
	if !slices.Equal(first, again) || slices.Equal(first, other) {
		t.Error("want the same for the same seed, and others for another")
	}
}

func TestButtonsAsTheAppShowsThem(t *testing.T) {
	const block = "---\nit:\n  cta_1:\n    text: \"Vai\"\n    action: \"iosso://https://a.example\"\n" +
		"en:\n  cta_1:\n    text: \"Go\"\n    action: \"iohandledlink://tel:+39\"\n---\n\nTesto"
	with := func(old, by string) string { return strings.Replace(block, old, by, 1) }
	for _, tt := range []struct {
		name, markdown string
		want           string
	}{
		{"none", "Testo", "map[]"},
		{"both languages", block, "map[en:[{Go iohandledlink://tel:+39}] it:[{Vai iosso://https://a.example}]]"},
		{"line ends of Windows, and a mark of the byte order", "\ufeff" + strings.ReplaceAll(block, "\n", "\r\n"), "map[en:[{Go iohandledlink://tel:+39}] it:[{Vai iosso://https://a.example}]]"},
		{"without quotes", with(`"Vai"`, "Vai"), "map[en:[{Go iohandledlink://tel:+39}] it:[{Vai iosso://https://a.example}]]"},
		{
			"two", with("\nen:", "\n  cta_2: {text: \"Aiuto\", action: \"iohandledlink://mailto:a@a.example\"}\nen:"),
			"map[en:[{Go iohandledlink://tel:+39}] it:[{Vai iosso://https://a.example} {Aiuto iohandledlink://mailto:a@a.example}]]",
		},
		{"a third language is ignored", with("en:", "de: {}\nen:"), "map[en:[{Go iohandledlink://tel:+39}] it:[{Vai iosso://https://a.example}]]"},
		{"English is missing", block[:strings.Index(block, "en:")] + "---\n", "error"},
		{"a blank before", " " + block, "error"},
		{"an empty line before", "\n" + block, "error"},
		{"not closed", with("---\n\nTesto", "Testo"), "error"},
		{"an unbalanced quote", with(`"Vai"`, `"Vai`), "error"},
		{"a colon without quotes", with(`"Vai"`, `Vai: qui`), "error"},
		{"a text that is no string", with(`"Vai"`, "1"), "error"},
		{"a bare address", with("iosso://", ""), "error"},
		{"single sign-on in clear", with("iosso://https", "iosso://http"), "error"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			shown, err := sandbox.Buttons(tt.markdown)
			got := fmt.Sprint(shown)
			if err != nil {
				got = "error"
			}
			if got != tt.want {
				t.Errorf("got %s (%v), want %s", got, err, tt.want)
			}
		})
	}
}
