package sandbox

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"time"

	"staffetta/fhir/fiscalcode"
)

// ServeOptions are what an institution tries against.
type ServeOptions struct {
	Listen     string        // host:port
	Delay      time.Duration // from ACCEPTED to PROCESSED
	Rate       int           // requests in 5 s; 0 = no limit
	Language   string        // that every profile prefers, e.g. de_DE
	NotOnIO    []fiscalcode.Code
	NotAllowed []fiscalcode.Code
	Cut        float64 // share of messages whose answer is cut
	Inbox      InboxOptions
	Out        io.Writer
}

// Serve serves an IO with its inboxes until ctx ends. Its keys are new each time, and what it took is forgotten afterwards.
func Serve(ctx context.Context, o ServeOptions) error {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", o.Listen)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	primary, secondary, manage := rand.Text(), rand.Text(), rand.Text()
	s := New(Options{
		Keys: []string{primary, secondary}, Rate: o.Rate, Delay: o.Delay, Cut: o.Cut, Profile: o.profile,
		Languages:     func(fiscalcode.Code) []string { return []string{o.Language} },
		RemoteContent: RemoteContent{Allowed: true, ManageKeys: []string{manage}},
	})
	server := &http.Server{Handler: s.Site(o.Inbox), ReadHeaderTimeout: edgeWaits}
	introduce(o.Out, "http://"+listener.Addr().String(), primary, secondary, manage)
	ended := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer ended()
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve: %w", err)
	}
	return nil
}

func (o *ServeOptions) profile(code fiscalcode.Code) Profile {
	switch {
	case slices.Contains(o.NotOnIO, code):
		return NotOnIO
	case slices.Contains(o.NotAllowed, code):
		return NotAllowed
	}
	return Reachable
}

func introduce(out io.Writer, base, primary, secondary, manage string) {
	_, _ = fmt.Fprintf(out, `This is a sandbox of IO, and NOT IO: nothing reaches anybody. It is as strict as the real one, as far as is known
of it, and forgets everything when it stops. Use invented people only. What your file needs to try against it:

  io:
    base_url: %s/api/v1
    key: %s
    secondary_key: %s
  remote:
    manage_key: %s  # for staffetta io configure

What citizens' phones show: %s/inbox/
`, base, primary, secondary, manage, base)
}
