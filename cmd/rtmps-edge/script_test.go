package main

import (
	"encoding/json"
	"maps"
	"net"
	"os"
	"slices"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"rtmps-edge/rtmp/rtmptest"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"rtmps-edge": main})
}

// The scripts in testdata run the real program as its user would.
func TestScripts(t *testing.T) {
	origin := rtmptest.NewOrigin(t, rtmptest.OriginConfig{})
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		UpdateScripts:       os.Getenv("UPDATE_SCRIPTS") != "",
		Setup: func(e *testscript.Env) error {
			e.Setenv("ORIGIN", origin.Addr())
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"certificate": certificateScript,
			"fill":        fillScript,
			"json":        jsonScript,
			"publish":     publishScript,
		},
	})
}

// certificateScript writes fullchain.pem, privkey.pem and root.pem, with the
// flags of paper.
func certificateScript(ts *testscript.TestScript, _ bool, args []string) {
	var p paper
	ts.Check(p.flags(args))
	ts.Check(p.write(ts.MkAbs(".")))
}

// fillScript replaces $NAME in a file by the script's variables.
func fillScript(ts *testscript.TestScript, _ bool, args []string) {
	for _, file := range args {
		text := os.Expand(ts.ReadFile(file), ts.Getenv)
		ts.Check(os.WriteFile(ts.MkAbs(file), []byte(text), 0o600))
	}
}

// jsonScript holds what was printed against JSON: one value and, where names are
// given, an object with exactly these.
func jsonScript(ts *testscript.TestScript, _ bool, names []string) {
	text := []byte(ts.ReadFile("stdout"))
	if !json.Valid(text) {
		ts.Fatalf("this is no JSON: %s", text)
	}
	if len(names) == 0 {
		return
	}
	var object map[string]any
	ts.Check(json.Unmarshal(text, &object))
	slices.Sort(names)
	if got := slices.Sorted(maps.Keys(object)); !slices.Equal(got, names) {
		ts.Fatalf("it has %q, want %q", got, names)
	}
}

// publishScript publishes a stream through a unix socket until the script ends.
func publishScript(ts *testscript.TestScript, _ bool, args []string) {
	c, err := net.Dial("unix", ts.MkAbs(args[0]))
	ts.Check(err)
	ts.Defer(func() { _ = c.Close() })
	_, err = rtmptest.Publish(c, rtmptest.PublishConfig{App: "live", Name: args[1]})
	ts.Check(err)
}
