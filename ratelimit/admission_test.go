package ratelimit

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func ip(s string) netip.Addr { return netip.MustParseAddr(s) }

// nth returns a distinct IPv6 /64 for each n.
func nth(n int) netip.Addr {
	return netip.AddrFrom16([16]byte{0x20, 1, byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n), 15: 1})
}

func entries(a *Admission) int { return a.peers.len() }

func admitted(t *testing.T, a *Admission, addr string, lim AdmissionLimits) func() {
	t.Helper()
	release, err := a.Admit(ip(addr), lim)
	if err != nil {
		t.Fatalf("%s: %v", addr, err)
	}
	return release
}

func refused(t *testing.T, a *Admission, addr string, lim AdmissionLimits, reason string) {
	t.Helper()
	release, err := a.Admit(ip(addr), lim)
	var r *Refusal
	if release != nil || !errors.As(err, &r) || r.Reason != reason {
		t.Fatalf("%s: got %v, want %s", addr, err, reason)
	}
}

func TestNoLimits(t *testing.T) {
	a := NewAdmission()
	for range 1000 {
		admitted(t, a, "192.0.2.1", AdmissionLimits{})
	}
	if a.Connections() != 1000 {
		t.Errorf("counted %d", a.Connections())
	}
}

func TestConnections(t *testing.T) {
	a, lim := NewAdmission(), AdmissionLimits{Connections: 2}
	release := admitted(t, a, "192.0.2.1", lim)
	admitted(t, a, "192.0.2.2", lim)
	refused(t, a, "192.0.2.3", lim, ReasonConnections)
	release()
	release() // does nothing
	admitted(t, a, "192.0.2.3", lim)
	refused(t, a, "192.0.2.4", lim, ReasonConnections)
}

func TestConnectionsPerIP(t *testing.T) {
	for _, c := range []struct{ name, first, same, other string }{
		{"IPv4", "192.0.2.1", "192.0.2.1", "192.0.2.2"},
		{"IPv4-mapped is IPv4", "192.0.2.1", "::ffff:192.0.2.1", "::ffff:192.0.2.2"},
		{"IPv6 is its /64", "2001:db8::1", "2001:db8::ffff:0:0:1", "2001:db8:0:1::1"},
		{"zones do not matter", "fe80::1%eth0", "fe80::2%eth1", "fe80:0:0:1::1%eth0"},
		{"IPv6 is no IPv4", "::1", "::2", "0.0.0.0"},
	} {
		t.Run(c.name, func(t *testing.T) {
			a, lim := NewAdmission(), AdmissionLimits{ConnectionsPerIP: 1}
			release := admitted(t, a, c.first, lim)
			refused(t, a, c.same, lim, ReasonConnectionsPerIP)
			admitted(t, a, c.other, lim)
			release()
			release()
			admitted(t, a, c.same, lim)
			refused(t, a, c.first, lim, ReasonConnectionsPerIP)
		})
	}
}

func TestConnectRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, lim := NewAdmission(), AdmissionLimits{ConnectRatePerIP: Rate{10, time.Second}}
		for range 20 { // the burst: 2 × the rate
			admitted(t, a, "192.0.2.1", lim)()
		}
		refused(t, a, "192.0.2.1", lim, ReasonConnectRatePerIP)
		admitted(t, a, "192.0.2.2", lim)
		time.Sleep(100*time.Millisecond - 1)
		refused(t, a, "192.0.2.1", lim, ReasonConnectRatePerIP)
		time.Sleep(time.Nanosecond) // one interval, and no refusal was charged
		admitted(t, a, "192.0.2.1", lim)()
		refused(t, a, "192.0.2.1", lim, ReasonConnectRatePerIP)
	})
}

func TestConnectRateCountsAttempts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, lim := NewAdmission(), AdmissionLimits{ConnectionsPerIP: 1, ConnectRatePerIP: Rate{1, time.Second}}
		admitted(t, a, "192.0.2.1", lim)
		refused(t, a, "192.0.2.1", lim, ReasonConnectionsPerIP)
		refused(t, a, "192.0.2.1", lim, ReasonConnectRatePerIP)
	})
}

func TestReloadReachesAdmission(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := NewAdmission()
		slow := AdmissionLimits{ConnectRatePerIP: Rate{1, time.Hour}}
		release := admitted(t, a, "192.0.2.1", slow)
		admitted(t, a, "192.0.2.1", slow)
		refused(t, a, "192.0.2.1", slow, ReasonConnectRatePerIP)
		// Counted while there was no limit on it:
		refused(t, a, "192.0.2.1", AdmissionLimits{ConnectionsPerIP: 2}, ReasonConnectionsPerIP)
		release()
		// The debt of the slow rate is worth a burst of the fast one at most.
		fast := AdmissionLimits{ConnectRatePerIP: Rate{10, time.Second}}
		refused(t, a, "192.0.2.1", fast, ReasonConnectRatePerIP)
		time.Sleep(100 * time.Millisecond)
		admitted(t, a, "192.0.2.1", fast)
	})
}

func TestInvalidAddrCountsInTotal(t *testing.T) {
	a, lim := NewAdmission(), AdmissionLimits{Connections: 1, ConnectionsPerIP: 1, ConnectRatePerIP: Rate{1, time.Hour}}
	for range 5 {
		release, err := a.Admit(netip.Addr{}, lim)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := a.Admit(netip.Addr{}, lim); err != overConnections {
			t.Fatalf("got %v", err)
		}
		release()
		release()
	}
}

// Whatever the interleaving: never more than allowed, neither in all nor per
// address, and nothing left over in the end.
func TestNeverMoreThanAllowed(t *testing.T) {
	const peers, limit, perIP = 8, 20, 4
	a, lim := NewAdmission(), AdmissionLimits{Connections: limit, ConnectionsPerIP: perIP}
	var total atomic.Int64
	var each [peers]atomic.Int64
	var wg sync.WaitGroup
	for w := range 16 {
		wg.Go(func() {
			random := rand.New(rand.NewPCG(uint64(w), 1))
			var held []func()
			for range 2000 {
				if n := len(held); n > 0 && random.IntN(2) == 0 {
					held[n-1]()
					held = held[:n-1]
					continue
				}
				i := random.IntN(peers)
				release, err := a.Admit(nth(i), lim)
				if err != nil {
					continue
				}
				if n := total.Add(1); n > limit {
					t.Errorf("%d at once", n)
				}
				if n := each[i].Add(1); n > perIP {
					t.Errorf("%d at once of one address", n)
				}
				held = append(held, func() {
					total.Add(-1)
					each[i].Add(-1)
					release()
					release()
				})
			}
			for _, release := range held {
				release()
			}
		})
	}
	wg.Wait()
	if a.Connections() != 0 || entries(a) != 0 {
		t.Errorf("left over: %d connections, %d entries", a.Connections(), entries(a))
	}
}

// One release called from many goroutines gives back one connection.
func TestReleaseIsIdempotent(t *testing.T) {
	a, lim := NewAdmission(), AdmissionLimits{ConnectionsPerIP: 2}
	release := admitted(t, a, "192.0.2.1", lim)
	admitted(t, a, "192.0.2.1", lim)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(release)
	}
	wg.Wait()
	admitted(t, a, "192.0.2.1", lim)
	refused(t, a, "192.0.2.1", lim, ReasonConnectionsPerIP)
}

func TestTableForgets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, lim := NewAdmission(), AdmissionLimits{ConnectRatePerIP: Rate{10, time.Second}}
		for i := range 10_000 {
			release, err := a.Admit(nth(i), lim)
			if err != nil {
				t.Fatal(err)
			}
			release()
		}
		if entries(a) != 10_000 {
			t.Fatalf("%d entries: their buckets are not full yet", entries(a))
		}
		time.Sleep(time.Second)
		for i := range 10_000 {
			release, _ := a.Admit(nth(i), AdmissionLimits{})
			release()
		}
		if n := entries(a); n > 100 {
			t.Errorf("%d entries hold nothing and are still there", n)
		}
	})
}

func TestTableIsBounded(t *testing.T) {
	const most, more = 1 << 12, 10_000
	synctest.Test(t, func(t *testing.T) {
		a, lim := newAdmission(most), AdmissionLimits{ConnectionsPerIP: 1, ConnectRatePerIP: Rate{1, time.Hour}}
		admitted(t, a, "192.0.2.1", lim)
		for i := range most + more {
			release, err := a.Admit(nth(i), lim)
			if err != nil {
				t.Fatalf("%d: %v: who connects first must not be refused for what others did", i, err)
			}
			release()
		}
		if n := entries(a); n > most {
			t.Errorf("%d entries", n)
		}
		// Whoever is connected was not forgotten.
		refused(t, a, "192.0.2.1", lim, ReasonConnectionsPerIP)
	})
}

func TestRefusalDoesNotPrintTheAddress(t *testing.T) {
	a, lim := NewAdmission(), AdmissionLimits{ConnectionsPerIP: 1}
	admitted(t, a, "192.0.2.1", lim)
	_, err := a.Admit(ip("192.0.2.1"), lim)
	if got := fmt.Sprint(err); got != "over the limit: connections_per_ip" {
		t.Errorf("got %q", got)
	}
}

func BenchmarkAdmit(b *testing.B) {
	a, lim := NewAdmission(), AdmissionLimits{1 << 20, 64, Rate{MaxRateEvents, time.Second}}
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for i := 0; pb.Next(); i++ {
			if release, err := a.Admit(nth(i&0xffff), lim); err == nil {
				release()
			}
		}
	})
}
