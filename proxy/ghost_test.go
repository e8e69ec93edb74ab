package proxy

import (
	"net/netip"
	"testing"
	"testing/synctest"
	"time"
)

// A publisher whose line is dead does not lock its name.
func TestGhost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &Policy{}
		client := netip.MustParseAddrPort("192.0.2.1:1")
		first := &session{policy: p, event: Event{Client: client}}
		second := &session{policy: p, event: Event{Client: client}}
		if second.mayTakeOver(first) {
			t.Error("a stream that has not started is a ghost")
		}
		r := &running{}
		r.heard.Store(time.Now().UnixNano())
		first.running.Store(r)
		time.Sleep(ghost - time.Nanosecond)
		if second.mayTakeOver(first) {
			t.Error("a ghost too soon")
		}
		time.Sleep(time.Nanosecond)
		if !second.mayTakeOver(first) {
			t.Error("a ghost keeps its name")
		}
		p.Duplicate = DuplicateSameIP
		r.heard.Store(time.Now().UnixNano())
		other := &session{policy: p, event: Event{Client: netip.MustParseAddrPort("192.0.2.2:1")}}
		if !second.mayTakeOver(first) || other.mayTakeOver(first) {
			t.Error("same-ip does not go by the address")
		}
	})
}
