package proxy

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Balance says in which order an origin's servers are tried.
type Balance string

// The orders. "" is BalanceFirst.
const (
	BalanceFirst      Balance = "first"       // as configured
	BalanceStream     Balance = "stream"      // by app and name: publisher and players of a stream meet
	BalanceLeast      Balance = "least"       // the server with the fewest streams first
	BalanceRoundRobin Balance = "round-robin" // each begins with the next
)

// avoid is how long a server that failed is tried last, unless a health check
// says otherwise sooner.
const avoid = 5 * time.Second

// ValidServer reports what is wrong with a server's address.
func ValidServer(server string) error {
	host, _ := splitServer(server)
	_, port, err := net.SplitHostPort(host)
	if err == nil {
		_, err = net.LookupPort("tcp", port)
	}
	if err != nil || strings.HasPrefix(host, ":") || strings.ContainsAny(host, "/ @") {
		return fmt.Errorf("must be host:port, rtmp://host:port or rtmps://host:port, without a path")
	}
	return nil
}

// splitServer returns a server's "host:port" and whether it speaks RTMPS. The
// ports are those that the schemes have by default.
func splitServer(server string) (host string, secure bool) {
	port := "1935"
	if rest, ok := strings.CutPrefix(server, "rtmps://"); ok {
		server, secure, port = rest, true, "443"
	}
	host = strings.TrimPrefix(server, "rtmp://")
	if _, _, err := net.SplitHostPort(host); err != nil && host != "" {
		host = net.JoinHostPort(strings.Trim(host, "[]"), port)
	}
	return host, secure
}

// server is what the edge knows of one server of an origin. It is kept over
// reloads.
type server struct {
	streams atomic.Int64 // that run there, or are being opened
	shunned atomic.Int64 // Unix nanoseconds until which it is tried last; 0 = it is well

	judged   atomic.Bool // by a health check, at least once
	checked  time.Time   // the last health check; belongs to the watch goroutine
	checking atomic.Bool
}

func (s *server) up() bool { return s.shunned.Load() <= time.Now().UnixNano() }

// well is whether nothing speaks against it. What a health check found stands
// until the next; what else was found, only for a while.
func (s *server) well(checks bool) bool { return s.up() && !checks || s.shunned.Load() == 0 }

// servers finds the state of each server, by address.
type servers struct {
	mu    sync.Mutex
	all   map[string]*server
	turns map[string]int // of round-robin, by origin
}

func (t *servers) of(address string) *server {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.all == nil {
		t.all = map[string]*server{}
	}
	s := t.all[address]
	if s == nil {
		s = &server{}
		t.all[address] = s
	}
	return s
}

// turn counts up for each stream of an origin.
func (t *servers) turn(origin string) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.turns == nil {
		t.turns = map[string]int{}
	}
	t.turns[origin]++
	return t.turns[origin] - 1
}

// order returns an origin's servers as they are to be tried for a stream:
// balanced, and those that failed lately last, for want of better ones.
func (t *servers) order(o *Origin, app, name string) []string {
	list := slices.Clone(o.Servers)
	switch o.Balance {
	case BalanceStream:
		slices.SortStableFunc(list, func(a, b string) int {
			x, y := weight(a, app, name), weight(b, app, name)
			return cmp.Compare(y, x)
		})
	case BalanceLeast:
		slices.SortStableFunc(list, func(a, b string) int {
			return cmp.Compare(t.of(a).streams.Load(), t.of(b).streams.Load())
		})
	case BalanceRoundRobin:
		n := t.turn(o.Name) % len(list)
		list = append(list[n:len(list):len(list)], list[:n]...)
	}
	slices.SortStableFunc(list, func(a, b string) int {
		return cmp.Compare(down(t.of(a)), down(t.of(b)))
	})
	return list
}

func down(s *server) int {
	if s.up() {
		return 0
	}
	return 1
}

// weight is a server's in rendezvous hashing: every edge gets the same, and
// taking a server away moves only its own streams.
func weight(server, app, name string) uint64 {
	sum := sha256.Sum256([]byte(server + "\x00" + app + "\x00" + name))
	return binary.BigEndian.Uint64(sum[:])
}
