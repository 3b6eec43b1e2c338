package redistest

import (
	"os/exec"
	"strings"
	"testing"
)

// With -v it says on which Redis all tests run here; without, go test shows nothing of a test that passes.
func TestWhichRedis(t *testing.T) {
	_, absent := exec.LookPath("redis-server")
	_, embedded := Start(t).ConfigGet(t.Context(), "appendonly").Result() // which the embedded one does not know
	if (embedded == nil) != (absent == nil) {
		t.Errorf("it runs on the wrong one: a redis-server is on the PATH: %t; this one is real: %t", absent == nil, embedded == nil)
	}
}

// A port that was free a moment ago may have been taken by a test of another package: nobody works on its Redis by mistake.
func TestAnotherOnesPortIsNotTaken(t *testing.T) {
	other := NewServer(t)
	s := &Server{Addr: other.Addr, dir: t.TempDir()}
	t.Cleanup(s.Kill)
	if err := s.start(); err == nil || !strings.Contains(err.Error(), "it has ended") && !strings.Contains(err.Error(), "another one does") {
		t.Errorf("%v, want to be told that another one has the port", err)
	}
}
