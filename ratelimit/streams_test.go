package ratelimit

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"sync"
	"testing"
)

func taken(t *testing.T, s *Streams, addr, subject string, lim StreamLimits) *Lease {
	t.Helper()
	l, err := s.Take(ip(addr), subject, lim)
	if err != nil {
		t.Fatalf("%s of %s: %v", subject, addr, err)
	}
	return l
}

func notTaken(t *testing.T, s *Streams, addr, subject string, lim StreamLimits, reason string) {
	t.Helper()
	l, err := s.Take(ip(addr), subject, lim)
	var r *Refusal
	if l != nil || !errors.As(err, &r) || r.Reason != reason {
		t.Fatalf("%s of %s: got %v, want %s", subject, addr, err, reason)
	}
}

func TestStreamsPerIP(t *testing.T) {
	s, lim := NewStreams(), StreamLimits{PerIP: 2}
	l := taken(t, s, "2001:db8::1", "alice", lim)
	taken(t, s, "2001:db8::2", "bob", lim)
	notTaken(t, s, "2001:db8::3", "carol", lim, ReasonStreamsPerIP)
	taken(t, s, "2001:db8:0:1::1", "carol", lim)
	l.Release()
	l.Release()
	taken(t, s, "2001:db8::3", "carol", lim)
	notTaken(t, s, "2001:db8::3", "carol", lim, ReasonStreamsPerIP)
}

func TestStreamsPerSubject(t *testing.T) {
	s, lim := NewStreams(), StreamLimits{PerSubject: 2}
	l := taken(t, s, "192.0.2.1", "alice", lim)
	taken(t, s, "192.0.2.2", "alice", lim)
	notTaken(t, s, "192.0.2.3", "alice", lim, ReasonStreamsPerSubject)
	taken(t, s, "192.0.2.3", "bob", lim)
	l.Release()
	l.Release()
	taken(t, s, "192.0.2.3", "alice", lim)
	notTaken(t, s, "192.0.2.3", "alice", lim, ReasonStreamsPerSubject)
	for range 10 { // without a subject, nobody shares it
		taken(t, s, "192.0.2.4", "", lim)
	}
}

func TestRefusedStreamsAreNotCounted(t *testing.T) {
	s, lim := NewStreams(), StreamLimits{PerIP: 2, PerSubject: 1}
	taken(t, s, "192.0.2.1", "alice", lim)
	for range 5 {
		notTaken(t, s, "192.0.2.1", "alice", lim, ReasonStreamsPerSubject)
	}
	taken(t, s, "192.0.2.1", "bob", lim)
	if s.Len() != 2 {
		t.Errorf("%d streams", s.Len())
	}
}

func TestStreamsWithoutAddress(t *testing.T) {
	s, lim := NewStreams(), StreamLimits{PerIP: 1, PerSubject: 2, BitratePerIP: 1}
	for range 2 {
		l, err := s.Take(netip.Addr{}, "alice", lim)
		if err != nil || l.Pacer() != nil {
			t.Errorf("got %v, %v", l, err)
		}
		l.SetBitratePerIP(5)
	}
	if _, err := s.Take(netip.Addr{}, "alice", lim); err != overStreamsPerSubject {
		t.Errorf("got %v", err)
	}
}

func TestNilLease(t *testing.T) {
	var l *Lease
	l.Release()
	l.SetBitratePerIP(1)
	if l.Pacer() != nil {
		t.Error("a Pacer of nothing")
	}
}

func TestStreamsOfAnAddressShareAPacer(t *testing.T) {
	s, lim := NewStreams(), StreamLimits{BitratePerIP: 8_000_000}
	a, b, c := taken(t, s, "192.0.2.1", "", lim), taken(t, s, "192.0.2.1", "", lim), taken(t, s, "192.0.2.2", "", lim)
	if a.Pacer() == nil || a.Pacer() != b.Pacer() || a.Pacer() == c.Pacer() {
		t.Error("not one Pacer per address")
	}
	if a.Pacer().rate != 1_000_000 {
		t.Errorf("rate %v", a.Pacer().rate)
	}
	b.SetBitratePerIP(16_000_000)
	if a.Pacer().rate != 2_000_000 {
		t.Errorf("rate %v", a.Pacer().rate)
	}
}

// Whatever the interleaving, and however often a Lease is released: never more
// than allowed, and nothing left over in the end.
func TestNeverMoreStreamsThanAllowed(t *testing.T) {
	const keys, perIP, perSubject = 6, 5, 3
	s, lim := NewStreams(), StreamLimits{PerIP: perIP, PerSubject: perSubject}
	var mu sync.Mutex
	peers, subjects := map[int]int{}, map[string]int{}
	count := func(i int, subject string, d int) {
		mu.Lock()
		defer mu.Unlock()
		peers[i] += d
		subjects[subject] += d
		if peers[i] > perIP || subjects[subject] > perSubject {
			t.Errorf("%d at once of an address, %d of a subject", peers[i], subjects[subject])
		}
	}
	var wg sync.WaitGroup
	for w := range 12 {
		wg.Go(func() {
			random := rand.New(rand.NewPCG(uint64(w), 3))
			var held []func()
			for range 3000 {
				if n := len(held); n > 0 && random.IntN(2) == 0 {
					held[n-1]()
					held = held[:n-1]
					continue
				}
				i, subject := random.IntN(keys), fmt.Sprint(random.IntN(keys))
				l, err := s.Take(nth(i), subject, lim)
				if err != nil {
					continue
				}
				count(i, subject, 1)
				held = append(held, func() {
					count(i, subject, -1)
					l.Release()
					go l.Release()
				})
			}
			for _, release := range held {
				release()
			}
		})
	}
	wg.Wait()
	if s.Len() != 0 || len(s.peers) != 0 || len(s.subjects) != 0 {
		t.Errorf("left over: %d, %v, %v", s.Len(), s.peers, s.subjects)
	}
}

func BenchmarkTake(b *testing.B) {
	s, lim := NewStreams(), StreamLimits{PerIP: 16, PerSubject: 4}
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for i := 0; pb.Next(); i++ {
			if l, err := s.Take(nth(i&0xffff), "alice", lim); err == nil {
				l.Release()
			}
		}
	})
}
