package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"staffetta/adapter/ledger/redistest"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"staffetta": main})
}

// The command line as people and scripts see it: testdata/script runs the real program.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: filepath.Join("testdata", "script"), RequireExplicitExec: true,
		Condition: func(name string) (bool, error) {
			_, err := exec.LookPath("redis-server")
			return name == "redis" && (err == nil || os.Getenv("CI") != ""), nil
		},
		Setup: func(env *testscript.Env) error {
			env.Setenv("USER", "giulia")
			if _, err := exec.LookPath("redis-server"); err == nil {
				tb, is := env.T().(testing.TB)
				if !is {
					tb = t
				}
				env.Setenv("REDIS", "redis://"+redistest.NewServer(tb).Addr+"/0")
			}
			return nil
		},
	})
}
