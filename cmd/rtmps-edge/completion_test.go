package main

import (
	"net"
	"testing"
	"time"

	"github.com/spf13/cobra"
)

// An edge that takes its time has nothing to complete: whoever has pressed a key
// does not wait for as long as a command may.
func TestCompletionDoesNotWait(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }() // nobody accepts: the kernel does, and nobody answers
	c := &cobra.Command{}
	new(steerFlags).add(c)
	if err := c.ParseFlags([]string{"-c", "none.toml", "--admin", ln.Addr().String()}); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	if ids := sessionIDs(c); ids != nil {
		t.Errorf("%q", ids)
	}
	if took := time.Since(begin); took < completeTimeout || took > 10*completeTimeout {
		t.Errorf("took %s", took)
	}
}
