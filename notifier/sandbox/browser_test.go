package sandbox_test

import (
	"context"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"staffetta/notifier/sandbox"
)

// browser is a Chromium for one test. In CI there must be one.
func browser(t *testing.T) context.Context {
	t.Helper()
	path := ""
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome", "headless-shell"} {
		if found, err := exec.LookPath(name); err == nil {
			path = found
			break
		}
	}
	if path == "" {
		if os.Getenv("CI") != "" {
			t.Fatal("CI needs a chromium on the PATH")
		}
		t.Skip("no chromium on the PATH")
	}
	ctx, cancel := chromedp.NewExecAllocator(
		t.Context(), chromedp.Headless, chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.DisableGPU, chromedp.NoFirstRun,
		chromedp.Flag("disable-background-networking", true), chromedp.WindowSize(1280, 950), chromedp.UserDataDir(t.TempDir()),
	)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(func() {
		if t.Failed() {
			keepScreen(ctx, t)
		}
		_ = chromedp.Cancel(ctx) // and waits until the browser has gone
		cancel()
	})
	return ctx
}

// keepScreen leaves a picture of what was there when the test failed.
func keepScreen(ctx context.Context, t *testing.T) {
	t.Helper()
	picture, err := chromedp.Run(ctx, chromedp.FullScreenshot(100))
	if err != nil {
		return
	}
	path := filepath.Join(os.TempDir(), "staffetta-"+t.Name()+".png")
	if os.WriteFile(path, picture, 0o600) == nil {
		t.Log("screenshot in", path)
	}
}

// walker goes through pages, and stops the test where something is not there.
type walker struct {
	*testing.T

	ctx context.Context //nolint:containedctx // a test's
}

func (w *walker) click(selector string) {
	w.Helper()
	w.must(chromedp.Click(chromedp.CSS(selector)))
}

func (w *walker) must(step chromedp.Action[chromedp.Void]) {
	w.Helper()
	do(w, step)
}

func (w *walker) text(selector string) string {
	w.Helper()
	return do(w, chromedp.Text(chromedp.CSS(selector)))
}

// do does one step. It may take long where the machine is busy, but not for ever.
func do[T any](w *walker, step chromedp.Action[T]) T {
	w.Helper()
	ctx, cancel := context.WithTimeout(w.ctx, time.Minute)
	defer cancel()
	got, err := chromedp.Run(ctx, step)
	if err != nil {
		w.Fatal(err)
	}
	return got
}

// A person walks through an inbox: citizen, list, push, message, button, and back.
func TestAPersonLooksAtAPhone(t *testing.T) {
	from := newInstitution(t, says(details("C'è un nuovo referto", buttons+"Un **documento** di oggi, con dettagli che solo tu leggi, da ASL Esempio, e altro ancora.")))
	s, _ := sendRemote(t, from.url)
	server := httptest.NewServer(s.Site(sandbox.InboxOptions{}))
	t.Cleanup(server.Close)
	w := &walker{t, browser(t)}
	if _, err := chromedp.Run(w.ctx, chromedp.Navigate(server.URL)); err != nil { // starts it: its time is the context's
		t.Fatal(err)
	}
	w.click("nav a")
	wants(t, w.text(".push"), "Hai un nuovo messaggio")
	w.click(".messages a")
	if title := w.text("article h2"); title != "C'è un nuovo referto" {
		t.Errorf("title %q", title)
	}
	wants(t, w.text("article .text"), "ASL Esempio")
	if text := w.text(".actions .button"); text != "Vai al Fascicolo" {
		t.Errorf("button %q", text)
	}
	// The stylesheet is there, though nothing else may load: the button looks like one, and is on the screen.
	if background := do(w, chromedp.Evaluate[string](`getComputedStyle(document.querySelector(".button")).backgroundColor`)); background == "rgba(0, 0, 0, 0)" {
		t.Error("the button has no colour")
	}
	if !do(w, chromedp.Evaluate[bool](`(r => r.bottom <= innerHeight && r.width > 200)(document.querySelector(".button").getBoundingClientRect())`)) {
		t.Error("the button is not on the screen")
	}
	w.click(".back a")
	w.must(chromedp.WaitVisible(chromedp.CSS(".messages")))
	if unread := do(w, chromedp.Evaluate[int](`document.querySelectorAll(".unread").length`)); unread != 0 {
		t.Errorf("%d unread messages, want none", unread)
	}
}
