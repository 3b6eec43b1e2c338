package sandbox

import (
	"bytes"
	_ "embed" // the page
	"html/template"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/renderer/html"
)

// InboxOptions are what the page shows.
type InboxOptions struct {
	Codes bool // are shown; else citizens are numbered
	// ServiceNotSensitive says that the service's own flag (require_secure_channel) is off: then pushes may show the title.
	ServiceNotSensitive bool
	Sender              string // name of the service; "" is Prestazioni sanitarie
}

//go:embed inbox.html
var inboxText string

//go:embed inbox.css
var inboxStyle []byte

var inboxPage = template.Must(template.New("inbox").Funcs(template.FuncMap{
	"clock": clock, "day": day, "ms": milliseconds, "initial": initial,
}).Parse(inboxText))

// inbox shows what citizens' phones would.
type inbox struct {
	InboxOptions

	io *Sandbox
}

// Site is the API with the page beside it, for one listener.
func (s *Sandbox) Site(o InboxOptions) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/api/", s)
	mux.Handle("/inbox/", s.Inbox(o))
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/inbox/", http.StatusFound) })
	return mux
}

// Inbox is a page for people: each citizen's inbox as a phone shows it. Opening a message on it is opening the message: remote
// content is fetched, and the message is read.
func (s *Sandbox) Inbox(o InboxOptions) http.Handler {
	if o.Sender == "" {
		o.Sender = "Prestazioni sanitarie"
	}
	in := &inbox{InboxOptions: o, io: s}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /inbox/{$}", in.overview)
	mux.HandleFunc("GET /inbox/{citizen}/{$}", in.list)
	mux.HandleFunc("GET /inbox/{citizen}/{message}", in.message)
	mux.HandleFunc("GET /inbox/style.css", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/css; charset=utf-8")
		_, _ = w.Write(inboxStyle)
	})
	return closed(mux)
}

// closed lets the page load nothing from elsewhere, run no script, and stand in no frame: what a message holds was written by
// others.
func closed(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cache-Control", "no-store")
		next.ServeHTTP(w, r)
	})
}

// view is what the page shows.
type view struct {
	Language string // of the phone: the app reads buttons in it and en
	Sender   string
	Citizens []citizen // those whose phones rang last
	More     int       // citizens that are not listed
	Chosen   *citizen
	Inbox    []line
	Push     push
	Gate     *gateView
	Opened   *openedView
	Refresh  bool
	Sent     int // messages so far, of all citizens
}

// citizen is one of those who have messages, numbered in the order of their first one.
type citizen struct {
	Number int
	Name   string // masked, unless codes are revealed
	All    int
	Unread int

	code string
	last int // place of the latest message
}

// line is one message in an inbox.
type line struct {
	ID, Subject string
	At          time.Time
	Unread      bool
}

// push is what the phone shows before it is unlocked (reference io.md, 3).
type push struct {
	Title, Text string
	Told        bool // it may show the message's title
}

// gateView is a precondition.
type gateView struct {
	ID, Title string
	Text      template.HTML
}

// openedView is an opened message.
type openedView struct {
	ID, Subject string
	Text        template.HTML
	Buttons     []drawnButton
	Warning     string // in place of the text, as the app has it
	Problem     string // why it cannot be opened
	Status      int
	Remote      bool
	Pointer     *ThirdParty
	Took        time.Duration
	Kept        string // subject that IO keeps, where another one was fetched
	Units       int
	At          time.Time
}

// drawnButton is a button with what pressing it does.
type drawnButton struct{ Text, Action, Does string }

// citizens are all who have messages in their inbox.
func (in *inbox) citizens() (all []citizen) {
	at := map[string]int{}
	for place, taken := range in.io.Messages() {
		if in.io.statusOf(taken) != statusProcessed {
			continue
		}
		i, known := at[taken.code]
		if !known {
			i = len(all)
			at[taken.code] = i
			all = append(all, citizen{Number: i + 1, Name: in.name(i+1, taken.code), code: taken.code})
		}
		all[i].last = place
		all[i].All++
		if !in.io.Read(taken.ID) {
			all[i].Unread++
		}
	}
	return all
}

func (in *inbox) name(number int, code string) string {
	if in.Codes {
		return code
	}
	return "Citizen " + strconv.Itoa(number)
}

// base is what every page shows; false where there is no such citizen.
func (in *inbox) base(r *http.Request) (*view, bool) {
	v := &view{Language: "it", Sender: in.Sender, Sent: len(in.io.Messages())}
	citizens := in.citizens()
	v.Citizens, v.More = latest(citizens)
	if r.URL.Query().Get("lang") == "en" {
		v.Language = "en"
	}
	number, err := strconv.Atoi(r.PathValue("citizen"))
	if err != nil || number < 1 || number > len(citizens) {
		return v, r.PathValue("citizen") == ""
	}
	v.Chosen = &citizens[number-1]
	return v, true
}

// listed is how many citizens the page lists.
const listed = 60

// latest are the citizens whose phones rang last, and how many more there are.
func latest(citizens []citizen) (some []citizen, more int) {
	some = slices.Clone(citizens)
	slices.SortFunc(some, func(a, b citizen) int { return b.last - a.last })
	n := min(len(some), listed)
	return some[:n], len(some) - n
}

// overview is the page before a citizen is chosen.
func (in *inbox) overview(w http.ResponseWriter, r *http.Request) {
	v, _ := in.base(r)
	v.Refresh = true
	show(w, v)
}

// list is one citizen's inbox, the newest message first, with the push of that one.
func (in *inbox) list(w http.ResponseWriter, r *http.Request) {
	v, known := in.base(r)
	if !known {
		http.NotFound(w, r)
		return
	}
	v.Refresh = true
	for _, taken := range slices.Backward(in.io.Messages()) {
		if taken.code == v.Chosen.code && in.io.statusOf(taken) == statusProcessed {
			v.Inbox = append(v.Inbox, line{ID: taken.ID, Subject: taken.Subject, At: taken.At, Unread: !in.io.Read(taken.ID)})
		}
	}
	v.Push = in.push(v)
	show(w, v)
}

// push is generic where the service is flagged as sensitive, whatever the message says. Where it is not, the phone of a citizen
// who chose full text shows the title, though the message itself requires secure channels.
func (in *inbox) push(v *view) push {
	if in.ServiceNotSensitive && len(v.Inbox) > 0 {
		return push{Title: in.Sender, Text: v.Inbox[0].Subject, Told: true}
	}
	return push{Title: "Hai un nuovo messaggio", Text: "Entra nell'app per leggerlo"}
}

// message opens a message, after its precondition where it has one.
func (in *inbox) message(w http.ResponseWriter, r *http.Request) {
	v, known := in.base(r)
	taken, found := in.io.find(r.PathValue("message"))
	if !known || v.Chosen == nil || !found || taken.code != v.Chosen.code || in.io.statusOf(taken) != statusProcessed {
		http.NotFound(w, r)
		return
	}
	if r.URL.Query().Get("go") == "" {
		gate, err := in.io.Precondition(r.Context(), taken.ID)
		if err != nil {
			v.Opened = &openedView{ID: taken.ID, Status: http.StatusInternalServerError, Problem: err.Error(), Pointer: taken.ThirdParty, At: taken.At}
			show(w, v)
			return
		}
		if gate != nil {
			v.Gate = &gateView{taken.ID, gate.Title, inHTML(gate.Markdown)}
			show(w, v)
			return
		}
	}
	opened, err := in.io.Open(r.Context(), taken.ID)
	if err != nil {
		http.NotFound(w, r)
		return
	}
	v.Opened = drawn(taken, opened, v.Language)
	v.Citizens, v.More = latest(in.citizens()) // it is read now
	show(w, v)
}

// drawn is an opened message as the app draws it: front matter becomes buttons, and what it cannot read becomes a warning.
func drawn(taken Taken, opened Opened, language string) *openedView {
	o := &openedView{
		ID: taken.ID, Subject: opened.Subject, Problem: opened.Problem, Status: opened.Status, Remote: opened.Remote,
		Pointer: taken.ThirdParty, Took: opened.Took, Units: units(opened.Markdown), At: taken.At,
	}
	if opened.Remote && opened.Subject != taken.Subject {
		o.Kept = taken.Subject
	}
	if opened.Problem != "" {
		return o
	}
	buttons, err := Buttons(opened.Markdown)
	if err != nil {
		o.Warning = err.Error()
		return o
	}
	for _, b := range buttons[language] {
		o.Buttons = append(o.Buttons, drawnButton{b.Text, b.Action, does(b.Action)})
	}
	o.Text = inHTML(withoutFront(opened.Markdown))
	return o
}

// does is what pressing a button does (reference io.md, 4).
func does(action string) string {
	switch {
	case strings.HasPrefix(action, "iosso://"):
		return "Single sign-on: the app calls the portal itself, which must answer with a redirect to IO's sign-in."
	case strings.HasPrefix(action, "ioit://"):
		return "Opens a screen of the app."
	case strings.HasPrefix(action, "iohandledlink://http"):
		return "Opens the phone's browser."
	}
	return "Opens what the phone has for it: telephone, mail."
}

// withoutFront is a markdown without its front matter, which Buttons has read.
func withoutFront(markdown string) string {
	text := strings.ReplaceAll(strings.TrimPrefix(markdown, "\ufeff"), "\r\n", "\n")
	rest, has := strings.CutPrefix(text, "---\n")
	if !has {
		return text
	}
	_, body, _ := strings.Cut(rest, "\n---\n")
	return body
}

// markdown is what the app reads, as far as a sandbox draws it: no raw HTML, no links but harmless ones, line ends as they are.
var markdown = goldmark.New(goldmark.WithRendererOptions(html.WithHardWraps()))

// inHTML renders a message. goldmark leaves out raw HTML, and javascript: and its like from links.
func inHTML(text string) template.HTML {
	var out bytes.Buffer
	if err := markdown.Convert([]byte(text), &out); err != nil {
		return ""
	}
	return template.HTML(out.String()) //nolint:gosec // rendered without raw HTML, under a policy that loads and runs nothing
}

func show(w http.ResponseWriter, v *view) {
	var text bytes.Buffer
	if err := inboxPage.Execute(&text, v); err != nil {
		http.Error(w, "the page cannot be shown", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_, _ = w.Write(text.Bytes())
}

// initial is the first letter of a name.
func initial(name string) string {
	r, _ := utf8.DecodeRuneInString(name)
	return string(r)
}

func clock(at time.Time) string { return at.Local().Format("15:04") }

func day(at time.Time) string { return at.Local().Format("02/01/2006, 15:04") }

func milliseconds(d time.Duration) string { return strconv.FormatInt(d.Milliseconds(), 10) + " ms" }
