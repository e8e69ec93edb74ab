package proxy

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

func TestValidServer(t *testing.T) {
	for _, s := range []string{"127.0.0.1:1935", "origin.example", "rtmp://origin.example", "rtmps://[::1]:443", "[2001:db8::1]:1935", "origin:rtmp"} {
		if err := ValidServer(s); err != nil && s != "origin:rtmp" {
			t.Errorf("%s: %v", s, err)
		}
	}
	for _, s := range []string{"", ":1935", "http://x:1", "rtmp://x/live", "user:pw@x:1935", "x:port", "x y:1"} {
		if ValidServer(s) == nil {
			t.Errorf("%q is taken", s)
		}
	}
}

func TestOrderFirst(t *testing.T) {
	var known servers
	o := &Origin{Servers: []string{"a:1", "b:1", "c:1"}}
	if got := known.order(o, "live", "x"); !slices.Equal(got, o.Servers) {
		t.Errorf("%v", got)
	}
}

// A stream has one order everywhere, the streams are spread, and a server that
// is taken away moves no stream of another.
func TestOrderStream(t *testing.T) {
	var one, other servers
	o := &Origin{Servers: []string{"a:1", "b:1", "c:1"}, Balance: BalanceStream}
	turned := &Origin{Servers: []string{"c:1", "a:1", "b:1"}, Balance: BalanceStream}
	less := &Origin{Servers: []string{"a:1", "b:1"}, Balance: BalanceStream}
	count := map[string]int{}
	for i := range 300 {
		name := fmt.Sprint("stream", i)
		list := one.order(o, "live", name)
		if !slices.Equal(list, other.order(turned, "live", name)) {
			t.Fatalf("%s: another edge has another order", name)
		}
		count[list[0]]++
		if after := one.order(less, "live", name); list[0] != "c:1" && after[0] != list[0] {
			t.Fatalf("%s moves from %s to %s", name, list[0], after[0])
		}
	}
	for _, s := range o.Servers {
		if count[s] < 60 {
			t.Errorf("%s gets %d of 300 streams", s, count[s])
		}
	}
}

func TestOrderLeastAndRoundRobin(t *testing.T) {
	var known servers
	o := &Origin{Name: "main", Servers: []string{"a:1", "b:1", "c:1"}, Balance: BalanceLeast}
	known.of("a:1").streams.Store(2)
	known.of("b:1").streams.Store(1)
	if got := known.order(o, "live", "x"); !slices.Equal(got, []string{"c:1", "b:1", "a:1"}) {
		t.Errorf("least: %v", got)
	}
	o.Balance = BalanceRoundRobin
	for i, want := range []string{"a:1", "b:1", "c:1", "a:1"} {
		if got := known.order(o, "live", "x"); got[0] != want || len(got) != 3 {
			t.Errorf("round-robin, %d: %v", i, got)
		}
	}
}

func TestAServerThatFailedIsTriedLastForAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := NewServer(ServerConfig{})
		o := &Origin{Servers: []string{"a:1", "b:1"}}
		s.health("a:1", s.servers.of("a:1"), fmt.Errorf("down"))
		if got := s.servers.order(o, "live", "x"); got[0] != "b:1" {
			t.Errorf("at once: %v", got)
		}
		time.Sleep(avoid)
		if got := s.servers.order(o, "live", "x"); got[0] != "a:1" {
			t.Errorf("after a while: %v", got)
		}
		s.health("a:1", s.servers.of("a:1"), fmt.Errorf("down"))
		s.health("a:1", s.servers.of("a:1"), nil)
		if got := s.servers.order(o, "live", "x"); got[0] != "a:1" {
			t.Errorf("well again: %v", got)
		}
	})
}
