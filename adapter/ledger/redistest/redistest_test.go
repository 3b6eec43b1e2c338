package redistest

import (
	"os/exec"
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
