// Package sandbox is an IO that runs in-process, as strict as the real one, for the demo and for tests: it refuses what the
// real one would refuse, and keeps what it took.
package sandbox

import (
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"time"

	"staffetta/fhir/fiscalcode"
)

// Options are how the sandbox behaves.
type Options struct {
	Keys      []string                       // valid keys of the service; SetKeys changes them
	Profile   func(fiscalcode.Code) Profile  // nil: everybody is reachable
	Languages func(fiscalcode.Code) []string // of a profile, the preferred one first; none: IO does not say. nil: it_IT
	Rate      int                            // requests in 5 s for the whole account, RealRate at IO; 0 = no limit
	Refusal   string                         // title of the 403 that every function answers, e.g. You are not allowed here

	Delay     time.Duration // from ACCEPTED to the final status
	Throttled time.Duration // the last part of Delay, in which the status is THROTTLED
	Processed string        // the final status of a message to a reachable citizen, PROCESSED where it is empty
	// Final is the final status of one message, in place of what its recipient's profile leads to; "" leaves it at that.
	Final func(Taken) string

	Premium       bool               // the Premium contract: ADVANCED messages, attachments, read status
	ReadStatus    func(Taken) string // of a processed ADVANCED message: READ, UNREAD, UNAVAILABLE; nil: whether it was opened
	RemoteContent RemoteContent

	Cut  float64 // share of messages (0 to 1) whose connection is cut after they were created: nobody hears of them
	Seed uint64  // another number cuts others
	// Fault may answer a request in IO's place; it says whether it did. taken calls say that the message was taken before.
	Fault func(w http.ResponseWriter, r *http.Request, taken bool) bool
}

// RealRate is what IO allows an account in 5 s, PremiumRate where it is in the Premium rate group (reference io.md, 2.7).
const (
	RealRate    = 150
	PremiumRate = 250
)

// RemoteContent is what the account may do with third_party_data.
type RemoteContent struct {
	Allowed bool     // the account is in the groups ApiThirdPartyMessageWrite and ApiRemoteContentConfigurationWrite
	Own     []string // ids of the account's configurations; Configure and the API make them, too
	Foreign []string // ids of another account's configurations; every other id is unknown
	// ManageKeys are those that may make configurations, and do nothing else.
	ManageKeys []string
	// Client fetches remote content; nil for one that trusts what the system trusts.
	Client *http.Client
}

// Sandbox is the API under /api/v1.
type Sandbox struct {
	o   Options
	mux *http.ServeMux
	now func() time.Time

	institution *http.Client // where remote content is fetched

	mu             sync.Mutex
	keys           []string
	messages       []Taken
	byID           map[string]int
	read           map[string]bool // messages that their citizens opened, by id
	configurations map[string]object
	calls          map[string]int
	window         []time.Time
	chance         *rand.Rand
}

// New makes an IO that has no messages yet.
func New(o Options) *Sandbox {
	s := &Sandbox{
		o: o, mux: http.NewServeMux(), now: time.Now, keys: slices.Clone(o.Keys), byID: map[string]int{}, calls: map[string]int{},
		read: map[string]bool{}, configurations: map[string]object{}, institution: o.RemoteContent.Client,
		chance: rand.New(rand.NewPCG(o.Seed, 0)),
	}
	if s.institution == nil {
		s.institution = newInstitution()
	}
	for _, id := range o.RemoteContent.Own {
		s.Configure(id, Environment{})
	}
	if s.o.Processed == "" {
		s.o.Processed = statusProcessed
	}
	s.mux.HandleFunc("POST /api/v1/profiles", s.function("profile", s.profileByBody))
	s.mux.HandleFunc("GET /api/v1/profiles/{code}", s.function("profile", s.profileByPath))
	s.mux.HandleFunc("POST /api/v1/messages", s.function("message", s.message))
	s.mux.HandleFunc("POST /api/v1/messages/{code}", s.function("message", s.message))
	s.mux.HandleFunc("GET /api/v1/messages/{code}/{id}", s.function("status", s.status))
	const configurations = "/api/v1/messages-sending/remote-contents/configurations"
	s.mux.HandleFunc("POST "+configurations, s.function("configuration", s.manager(s.createConfiguration)))
	s.mux.HandleFunc("GET "+configurations, s.function("configuration", s.manager(s.listConfigurations)))
	s.mux.HandleFunc("GET "+configurations+"/{configuration}", s.function("configuration", s.manager(s.readConfiguration)))
	s.mux.HandleFunc("PUT "+configurations+"/{configuration}", s.function("configuration", s.manager(s.replaceConfiguration)))
	s.mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { gateway(w, http.StatusNotFound, "Resource not found") })
	return s
}

// Messages are all messages taken so far, in order.
func (s *Sandbox) Messages() []Taken {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.messages)
}

// Calls are how often each of profile, message, status and configuration was called.
func (s *Sandbox) Calls() map[string]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.calls)
}

// SetKeys makes these the valid keys, as a regeneration does: the others are refused from now on.
func (s *Sandbox) SetKeys(keys ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keys = slices.Clone(keys)
}
