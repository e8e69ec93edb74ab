package ratelimit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
	"github.com/sirupsen/logrus"

	"rtmps-edge/internal/secret"
)

// patience bounds every wait of these tests; it only runs out when they fail.
const patience = 20 * time.Second

// node is one edge of a cluster, as a test sees it.
type node struct {
	*Limiter
	log    *logText
	states chan bool
	trips  *trips
	kicked chan string
}

type logText struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logText) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

// count returns how many lines contain s.
func (l *logText) count(s string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.b.String(), s)
}

// trips counts round trips that go-redis makes.
type trips struct{ one, many atomic.Int64 }

func (n *trips) DialHook(next redis.DialHook) redis.DialHook { return next }
func (n *trips) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		n.one.Add(1)
		return next(ctx, cmd)
	}
}
func (n *trips) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		n.many.Add(1)
		return next(ctx, cmds)
	}
}

// newNode starts an edge that finds Redis at addr.
func newNode(t *testing.T, addr string) *node {
	t.Helper()
	// A slow machine is not what is tested.
	return impatientNode(t, addr, patience)
}

func impatientNode(t *testing.T, addr string, wait time.Duration) *node {
	t.Helper()
	n := &node{log: &logText{}, states: make(chan bool, 100), trips: &trips{}, kicked: make(chan string, 10)}
	log := logrus.New()
	log.SetOutput(n.log)
	l, err := NewLimiter(LimiterConfig{Cluster: ClusterConfig{URL: secret.New("redis://" + addr), Log: log, AdmitTimeout: wait,
		OnState: func(up bool) { n.states <- up }}})
	if err != nil {
		t.Fatal(err)
	}
	n.Limiter, l.Cluster.handover = l, wait
	l.Cluster.OnKick(func(id string, ban time.Duration) bool {
		if id != "here-"+addr {
			return false
		}
		n.kicked <- fmt.Sprint(id, " ", ban)
		return true
	})
	l.Cluster.client.AddHook(n.trips)
	t.Cleanup(l.Close)
	return n
}

// cluster starts Redis and edges that have joined.
func cluster(t *testing.T, size int) (*miniredis.Miniredis, []*node) {
	t.Helper()
	m := miniredis.RunT(t)
	nodes := make([]*node, size)
	for i := range nodes {
		nodes[i] = newNode(t, m.Addr())
	}
	up(t, nodes...)
	return m, nodes
}

// up waits until all have joined.
func up(t *testing.T, nodes ...*node) {
	t.Helper()
	for _, n := range nodes {
		state(t, n, true)
	}
}

// state waits for the next news of Redis.
func state(t *testing.T, n *node, want bool) {
	t.Helper()
	select {
	case got := <-n.states:
		if got != want {
			t.Fatalf("up = %v, want %v", got, want)
		}
	case <-time.After(patience):
		t.Fatalf("never up = %v", want)
	}
}

// soon waits for what is bound to happen.
func soon(t *testing.T, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !f(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("never: %s", what)
		}
	}
}

// crash makes an edge vanish without a word.
func (n *node) crash() { _ = n.Cluster.client.Close() }

// beat says that an edge lives, now.
func (n *node) beat(t *testing.T) {
	t.Helper()
	if m := n.Cluster.current.Load(); m != nil {
		if err := n.Cluster.send(m.ctx, n.Cluster.beatOps(m, time.Now())); err != nil {
			t.Fatal(err)
		}
	}
}

func reason(err error) string {
	var r *Refusal
	if errors.As(err, &r) {
		return r.Reason
	}
	return fmt.Sprint(err)
}

func connects(t *testing.T, n *node, addr string, lim AdmissionLimits, want string) func() {
	t.Helper()
	release, err := n.Admit(ip(addr), lim)
	if got := reason(err); err == nil && want != "" || err != nil && got != want {
		t.Fatalf("%s: got %v, want %q", addr, err, want)
	}
	return release
}

func streams(t *testing.T, n *node, r StreamRequest, lim StreamLimits, want string) *Lease {
	t.Helper()
	l, err := n.Stream(t.Context(), r, lim)
	if got := reason(err); err == nil && want != "" || err != nil && got != want {
		t.Fatalf("got %v, want %q", err, want)
	}
	return l
}

func TestClusterConnections(t *testing.T) {
	_, n := cluster(t, 3)
	lim := AdmissionLimits{ConnectionsPerIP: 2, Connections: 4}
	release := connects(t, n[0], "2001:db8::1", lim, "")
	connects(t, n[1], "2001:db8::2", lim, "")
	connects(t, n[2], "2001:db8::3", lim, ReasonConnectionsPerIP)
	connects(t, n[2], "192.0.2.1", lim, "")
	connects(t, n[1], "192.0.2.2", lim, "")
	connects(t, n[0], "192.0.2.3", lim, ReasonConnections)
	release()
	release()
	soon(t, "the place is free", func() bool {
		release, err := n[2].Admit(ip("2001:db8::3"), lim)
		if err == nil {
			t.Cleanup(release)
		}
		return err == nil
	})
	connects(t, n[0], "2001:db8::1", lim, ReasonConnectionsPerIP)
	if c := n[0].Admission.Connections(); c != 0 {
		t.Errorf("what another edge refused counts here: %d", c)
	}
}

func TestClusterConnectRate(t *testing.T) {
	_, n := cluster(t, 3)
	lim := AdmissionLimits{ConnectRatePerIP: Rate{10, time.Hour}}
	for i := range 20 {
		connects(t, n[i%3], "192.0.2.1", lim, "")()
	}
	for _, edge := range n {
		connects(t, edge, "192.0.2.1", lim, ReasonConnectRatePerIP)
	}
	connects(t, n[0], "192.0.2.2", lim, "")
}

// Over three edges and whatever the interleaving: never more than allowed, and
// nothing left over in the end.
func TestClusterNeverMoreThanAllowed(t *testing.T) {
	const perIP, total, perSubject, keys = 3, 10, 2, 5
	m, n := cluster(t, 3)
	lim, slim := AdmissionLimits{Connections: total, ConnectionsPerIP: perIP}, StreamLimits{PerIP: perIP, PerSubject: perSubject}
	var mu sync.Mutex
	counts := map[string]int{}
	count := func(d, most int, key string) {
		mu.Lock()
		defer mu.Unlock()
		if counts[key] += d; counts[key] > most {
			t.Errorf("%s: %d at once", key, counts[key])
		}
	}
	var wg sync.WaitGroup
	for w := range 9 {
		wg.Go(func() {
			random := rand.New(rand.NewPCG(uint64(w), 4))
			var held []func()
			for range 150 {
				if k := len(held); k > 0 && random.IntN(2) == 0 {
					held[k-1]()
					held = held[:k-1]
					continue
				}
				i, j := random.IntN(keys), random.IntN(keys)
				if w%2 == 0 {
					if release, err := n[w%3].Admit(nth(i), lim); err == nil {
						count(1, total, "all")
						count(1, perIP, fmt.Sprint("connections of ", i))
						held = append(held, func() {
							count(-1, total, "all")
							count(-1, perIP, fmt.Sprint("connections of ", i))
							release()
						})
					}
					continue
				}
				r := StreamRequest{Addr: nth(i), Subject: fmt.Sprint(j), Name: fmt.Sprint("name", random.IntN(keys)), Rule: RuleReject}
				if l, err := n[w%3].Stream(t.Context(), r, slim); err == nil {
					count(1, perIP, fmt.Sprint("streams of ", i))
					count(1, perSubject, fmt.Sprint("streams of subject ", j))
					count(1, 1, "publishers of "+r.Name)
					held = append(held, func() {
						count(-1, perIP, fmt.Sprint("streams of ", i))
						count(-1, perSubject, fmt.Sprint("streams of subject ", j))
						count(-1, 1, "publishers of "+r.Name)
						l.Release()
						l.Release()
					})
				}
			}
			for _, release := range held {
				release()
			}
		})
	}
	wg.Wait()
	defer func() {
		if t.Failed() {
			t.Logf("in Redis:\n%s", m.Dump())
		}
	}()
	soon(t, "all is given back", func() bool { return !slices.ContainsFunc(m.Keys(), ofLease) })
	for i, edge := range n {
		if c := edge.Admission.Connections() + edge.Streams.Len() + len(edge.Cluster.leases); c != 0 {
			t.Errorf("edge %d: %d left over", i, c)
		}
	}
}

// One round trip for each admission, whatever is limited.
func TestOneRoundTripPerAdmission(t *testing.T) {
	_, n := cluster(t, 2)
	lim := AdmissionLimits{Connections: 100, ConnectionsPerIP: 10, ConnectRatePerIP: Rate{100, time.Second}}
	slim := StreamLimits{PerIP: 10, PerSubject: 5, BitratePerIP: 1_000_000}
	before := n[0].trips.one.Load()
	for i := range 5 {
		connects(t, n[0], "192.0.2.1", lim, "")
		streams(t, n[0], StreamRequest{Addr: ip("192.0.2.1"), Subject: "alice", Name: fmt.Sprint(i), Rule: RuleReject}, slim, "")
	}
	if got := n[0].trips.one.Load() - before; got != 10 {
		t.Errorf("%d round trips for 10 admissions", got)
	}
	n[0].trips.many.Store(0)
	begin := time.Now()
	soon(t, "three seconds are over", func() bool { return time.Since(begin) > 3*time.Second })
	if got, most := n[0].trips.many.Load(), int64(time.Since(begin)/tickEvery)+1; got > most {
		t.Errorf("%d round trips in %v for all streams together", got, time.Since(begin))
	}
}

// publisher is a stream whose owner decides what becomes of its name.
type publisher struct {
	StreamRequest
	asked chan string
	lost  chan bool
}

func newPublisher(addr, name, rule string, yields bool) *publisher {
	p := &publisher{asked: make(chan string, 10), lost: make(chan bool, 10)}
	p.StreamRequest = StreamRequest{Addr: ip(addr), Subject: "s", Name: name, Rule: rule,
		Yield: func(rule string, a netip.Addr) bool {
			p.asked <- rule + " " + a.String()
			return yields
		},
		Lost: func() { p.lost <- true }}
	return p
}

func TestClusterDuplicate(t *testing.T) {
	_, n := cluster(t, 2)
	first := newPublisher("192.0.2.1", "live/x", RuleReject, false)
	l := streams(t, n[0], first.StreamRequest, StreamLimits{}, "")
	streams(t, n[1], newPublisher("192.0.2.2", "live/x", RuleReject, false).StreamRequest, StreamLimits{}, ReasonDuplicate)
	if got := <-first.asked; got != "reject 192.0.2.2" {
		t.Errorf("the owner was asked %q", got)
	}
	if n[1].Streams.Len() != 0 {
		t.Error("a refused stream counts")
	}
	streams(t, n[1], newPublisher("192.0.2.2", "live/y", RuleReject, false).StreamRequest, StreamLimits{}, "")
	l.Release()
	soon(t, "the name is free", func() bool {
		l, err := n[1].Stream(t.Context(), newPublisher("192.0.2.2", "live/x", RuleReject, false).StreamRequest, StreamLimits{})
		if err == nil {
			t.Cleanup(l.Release)
		}
		return err == nil
	})
}

// A publisher that takes over gets the name when the first one's origin has let
// go of it, and not before; both may be the only stream of their subject.
func TestClusterTakeover(t *testing.T) {
	_, n := cluster(t, 2)
	lim := StreamLimits{PerSubject: 1, PerIP: 1}
	first := newPublisher("192.0.2.1", "live/x", RuleTakeover, true)
	l := streams(t, n[0], first.StreamRequest, lim, "")
	var released atomic.Bool
	go func() {
		<-first.asked
		time.Sleep(50 * time.Millisecond) // the goodbye to the origin
		released.Store(true)
		l.Release()
	}()
	second := newPublisher("192.0.2.1", "live/x", RuleTakeover, true)
	before := n[1].trips.one.Load()
	m := streams(t, n[1], second.StreamRequest, lim, "")
	if !released.Load() {
		t.Error("the name was given to two")
	}
	if got := n[1].trips.one.Load() - before; got != 1 {
		t.Errorf("%d round trips", got)
	}
	// It owns the name now.
	third := newPublisher("192.0.2.3", "live/x", RuleReject, true)
	go func() { <-second.asked; m.Release() }()
	streams(t, n[0], third.StreamRequest, StreamLimits{}, "")
}

// What was given back just before is not in the way.
func TestPlacesAreTakenAgainAtOnce(t *testing.T) {
	_, n := cluster(t, 1)
	for i := range 200 {
		p := newPublisher("192.0.2.1", fmt.Sprint("live/", i%2), RuleReject, false)
		streams(t, n[0], p.StreamRequest, StreamLimits{PerIP: 1, PerSubject: 1}, "").Release()
	}
}

// One who gives up waiting is not handed the name.
func TestWhoGaveUpGetsNoName(t *testing.T) {
	m, n := cluster(t, 2)
	first := newPublisher("192.0.2.1", "live/x", RuleTakeover, true)
	l := streams(t, n[0], first.StreamRequest, StreamLimits{}, "")
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-first.asked; cancel() }()
	if _, err := n[1].Stream(ctx, newPublisher("192.0.2.2", "live/x", RuleTakeover, true).StreamRequest, StreamLimits{}); reason(err) != ReasonDuplicate {
		t.Fatalf("got %v", err)
	}
	soon(t, "it has withdrawn", func() bool { return m.HGet(prefix+"name:"+hashed("live/x"), "next") == "" })
	l.Release()
	soon(t, "the name is free", func() bool { return !m.Exists(prefix + "name:" + hashed("live/x")) })
}

// The names and places of an edge that died are free when it was silent for
// edgeTTL, and not before.
func TestDeadEdge(t *testing.T) {
	m, n := cluster(t, 2)
	lim := AdmissionLimits{ConnectionsPerIP: 1, Connections: 1}
	connects(t, n[0], "192.0.2.1", lim, "")
	streams(t, n[0], newPublisher("192.0.2.1", "live/x", RuleReject, false).StreamRequest, StreamLimits{}, "")
	n[0].crash()
	for range 3 {
		m.FastForward(beatEvery)
		n[1].beat(t)
	}
	connects(t, n[1], "192.0.2.1", lim, ReasonConnectionsPerIP)
	connects(t, n[1], "192.0.2.2", lim, ReasonConnections)
	m.FastForward(beatEvery)
	n[1].beat(t)
	connects(t, n[1], "192.0.2.1", lim, "")
	streams(t, n[1], newPublisher("192.0.2.2", "live/x", RuleReject, false).StreamRequest, StreamLimits{PerSubject: 1}, "")
	if edgeTTL > 15*time.Second-beatEvery {
		t.Error("a dead edge must free its names within 15 s")
	}
}

// An edge that is shut down frees all at once.
func TestEdgeThatLeaves(t *testing.T) {
	_, n := cluster(t, 2)
	streams(t, n[0], newPublisher("192.0.2.1", "live/x", RuleReject, false).StreamRequest, StreamLimits{}, "")
	connects(t, n[0], "192.0.2.1", AdmissionLimits{}, "")
	n[0].Close()
	connects(t, n[1], "192.0.2.1", AdmissionLimits{ConnectionsPerIP: 1, Connections: 1}, "")
	streams(t, n[1], newPublisher("192.0.2.2", "live/x", RuleReject, false).StreamRequest, StreamLimits{PerSubject: 1}, "")
	if n[0].log.count("cannot be used") != 0 {
		t.Error("a good end is told as a bad one")
	}
}

func TestRedisGone(t *testing.T) {
	m, n := cluster(t, 2)
	lim := AdmissionLimits{ConnectionsPerIP: 2}
	connects(t, n[0], "192.0.2.1", lim, "")
	connects(t, n[1], "192.0.2.1", lim, "")
	connects(t, n[0], "192.0.2.1", lim, ReasonConnectionsPerIP)
	m.Close()
	// This edge's own limits hold, at once.
	begin := time.Now()
	connects(t, n[0], "192.0.2.1", lim, "")
	connects(t, n[0], "192.0.2.1", lim, ReasonConnectionsPerIP)
	if d := time.Since(begin); d >= patience {
		t.Errorf("waited %v for who has hung up", d)
	}
	state(t, n[0], false)
	state(t, n[1], false)
	if n[0].Cluster.Up() {
		t.Error("up")
	}
	if err := m.Restart(); err != nil {
		t.Fatal(err)
	}
	up(t, n...)
	// What was admitted meanwhile counts again: 2 here and 1 there.
	connects(t, n[1], "192.0.2.1", lim, ReasonConnectionsPerIP)
	lim.ConnectionsPerIP = 4
	connects(t, n[1], "192.0.2.1", lim, "")
	connects(t, n[1], "192.0.2.1", lim, ReasonConnectionsPerIP)
	for i, edge := range n {
		if down, again := edge.log.count("cannot be used"), edge.log.count("Redis can be used"); down != 1 || again != 2 {
			t.Errorf("edge %d said %d times that it is gone, and %d times that it is there", i, down, again)
		}
	}
}

// Redis comes back empty, and nobody has noticed that it was gone.
func TestRedisForgets(t *testing.T) {
	m, n := cluster(t, 2)
	first := newPublisher("192.0.2.1", "live/x", RuleReject, false)
	l := streams(t, n[0], first.StreamRequest, StreamLimits{}, "")
	connects(t, n[0], "192.0.2.1", AdmissionLimits{}, "")
	m.FlushAll()
	n[0].beat(t)
	n[1].beat(t)
	state(t, n[0], false)
	state(t, n[1], false)
	up(t, n...)
	connects(t, n[1], "192.0.2.1", AdmissionLimits{ConnectionsPerIP: 1}, ReasonConnectionsPerIP)
	streams(t, n[1], newPublisher("192.0.2.2", "live/x", RuleReject, false).StreamRequest, StreamLimits{}, ReasonDuplicate)
	select {
	case <-first.lost:
		t.Error("the only publisher lost its name")
	default:
	}
	l.Release()
}

// What was published twice while Redis was gone is resolved by the rule when it
// is back, and only that.
func TestDuplicatesOfAnOutageAreResolved(t *testing.T) {
	for _, c := range []struct {
		name, rule, second string
		silent             bool // the first one
		loser              int
	}{
		{"reject", RuleReject, "192.0.2.2", false, 1},
		{"takeover", RuleTakeover, "192.0.2.2", false, 0},
		{"same-ip from there", RuleSameIP, "192.0.2.1", false, 0},
		{"same-ip from elsewhere", RuleSameIP, "192.0.2.2", false, 1},
		{"reject, and the first is a ghost", RuleReject, "192.0.2.2", true, 0},
	} {
		for _, order := range []string{"the first returns first", "the second returns first"} {
			t.Run(c.name+", "+order, func(t *testing.T) {
				t.Parallel()
				m := miniredis.RunT(t)
				gates := []*gateway{newGateway(t, m.Addr()), newGateway(t, m.Addr())}
				n := []*node{newNode(t, gates[0].addr), newNode(t, gates[1].addr)}
				up(t, n...)
				for i := range n {
					gates[i].cut()
					state(t, n[i], false)
				}
				first := newPublisher("192.0.2.1", "live/x", c.rule, c.silent)
				first.Silent = func() bool { return c.silent }
				second := newPublisher(c.second, "live/x", c.rule, false)
				both := []*publisher{first, second}
				leases := []*Lease{streams(t, n[0], first.StreamRequest, StreamLimits{}, "")}
				soon(t, "the clock has moved on", func() bool { return time.Now().UnixMilli() > leases[0].held.since })
				leases = append(leases, streams(t, n[1], second.StreamRequest, StreamLimits{}, ""))
				alone := streams(t, n[1], newPublisher("192.0.2.3", "live/y", c.rule, false).StreamRequest, StreamLimits{}, "")
				for i, p := range both { // an owner that yields ends its stream
					go func() {
						select {
						case <-p.asked:
							if p.Yield("", netip.Addr{}) {
								leases[i].Release()
								p.lost <- true
							}
						case <-t.Context().Done():
						}
					}()
				}
				indices := []int{0, 1}
				if order == "the second returns first" {
					indices = []int{1, 0}
				}
				for _, i := range indices {
					gates[i].open()
					state(t, n[i], true)
				}
				select {
				case <-both[c.loser].lost:
				case <-time.After(patience):
					t.Fatal("both go on")
				}
				leases[c.loser].Release()
				soon(t, "the winner has the name", func() bool {
					owner := m.HGet(prefix+"name:"+hashed("live/x"), "lease")
					return strings.HasPrefix(owner, n[1-c.loser].Cluster.base)
				})
				select {
				case <-both[1-c.loser].lost:
					t.Error("both were ended")
				default:
				}
				if owner := m.HGet(prefix+"name:"+hashed("live/y"), "lease"); !strings.HasPrefix(owner, n[1].Cluster.base) {
					t.Errorf("another name is of %q", owner)
				}
				alone.Release()
			})
		}
	}
}

// gateway is a way to Redis that can be cut, or stop without a word.
type gateway struct {
	addr, to string
	ln       net.Listener
	mu       sync.Mutex
	isCut    bool
	stalled  chan struct{} // closed when nothing is held back
	conns    map[net.Conn]bool
	wg       sync.WaitGroup
}

func newGateway(t *testing.T, to string) *gateway {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g := &gateway{addr: ln.Addr().String(), to: to, ln: ln, conns: map[net.Conn]bool{}, stalled: make(chan struct{})}
	close(g.stalled)
	g.wg.Go(g.accept)
	t.Cleanup(func() {
		_ = ln.Close()
		g.cut()
		g.wg.Wait()
	})
	return g
}

func (g *gateway) accept() {
	for {
		c, err := g.ln.Accept()
		if err != nil {
			return
		}
		d, err := net.Dial("tcp", g.to)
		g.mu.Lock()
		if err != nil || g.isCut {
			_ = c.Close()
			if err == nil {
				_ = d.Close()
			}
			g.mu.Unlock()
			continue
		}
		g.conns[c], g.conns[d] = true, true
		g.mu.Unlock()
		g.wg.Go(func() { g.carry(c, d) })
		g.wg.Go(func() { g.carry(d, c) })
	}
}

func (g *gateway) carry(to, from net.Conn) {
	defer func() { _, _ = to.Close(), from.Close() }()
	b := make([]byte, 4096)
	for {
		n, err := from.Read(b)
		g.mu.Lock()
		stalled := g.stalled
		g.mu.Unlock()
		<-stalled
		g.mu.Lock()
		lost := g.isCut
		g.mu.Unlock()
		if lost {
			return
		}
		if _, e := to.Write(b[:n]); err != nil || e != nil {
			return
		}
	}
}

// cut ends all connections. What is held back is lost.
func (g *gateway) cut() {
	g.mu.Lock()
	g.isCut = true
	for c := range g.conns {
		_ = c.Close()
	}
	clear(g.conns)
	g.mu.Unlock()
	g.flow()
}

func (g *gateway) open() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.isCut = false
}

// stall holds everything back until flow.
func (g *gateway) stall() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.stalled = make(chan struct{})
}

func (g *gateway) flow() {
	g.mu.Lock()
	defer g.mu.Unlock()
	select {
	case <-g.stalled:
	default:
		close(g.stalled)
	}
}

// Redis stops without a word, as under SIGSTOP: the first admission waits a
// moment, the others do not.
func TestRedisStops(t *testing.T) {
	m := miniredis.RunT(t)
	g := newGateway(t, m.Addr())
	n, other := impatientNode(t, g.addr, DefaultAdmitTimeout), newNode(t, m.Addr())
	up(t, n, other)
	g.stall()
	begin := time.Now()
	release := connects(t, n, "192.0.2.1", AdmissionLimits{ConnectionsPerIP: 1000}, "")
	first := time.Since(begin)
	state(t, n, false)
	before := n.trips.one.Load()
	for range 500 {
		connects(t, n, "192.0.2.1", AdmissionLimits{ConnectionsPerIP: 1000}, "")
	}
	if asked := n.trips.one.Load() - before; first < DefaultAdmitTimeout || first >= patience || asked > 0 {
		t.Errorf("the first waited %v, and of 500 others %d asked", first, asked)
	}
	release()
	g.flow()
	state(t, n, true)
	// What was held back was said in the old membership, and counts nowhere.
	connects(t, other, "192.0.2.1", AdmissionLimits{ConnectionsPerIP: 501}, "")
	connects(t, other, "192.0.2.1", AdmissionLimits{ConnectionsPerIP: 501}, ReasonConnectionsPerIP)
}

// An edge that stood still for so long that it was thought dead does not take
// back the name that another was given.
func TestEdgeThatStoodStill(t *testing.T) {
	m, n := cluster(t, 2)
	first := newPublisher("192.0.2.1", "live/x", RuleReject, false)
	l := streams(t, n[0], first.StreamRequest, StreamLimits{}, "")
	kept := newPublisher("192.0.2.1", "live/y", RuleReject, false)
	streams(t, n[0], kept.StreamRequest, StreamLimits{}, "")
	m.Del(prefix + "edge:" + n[0].Cluster.current.Load().id) // as if it had expired
	second := newPublisher("192.0.2.2", "live/x", RuleReject, false)
	streams(t, n[1], second.StreamRequest, StreamLimits{}, "")
	// It is noticed by whoever is first: here, by one who reads events.
	n[0].Cluster.failAt(n[0].Cluster.current.Load(), io.EOF, time.Now().Add(edgeTTL/2))
	state(t, n[0], false)
	state(t, n[0], true)
	select {
	case <-first.lost:
	case <-time.After(patience):
		t.Fatal("both go on")
	}
	l.Release()
	select {
	case <-second.lost:
		t.Error("the rightful owner was ended")
	case <-kept.lost:
		t.Error("a name that nobody else wanted is lost")
	default:
	}
	if owner := m.HGet(prefix+"name:"+hashed("live/y"), "lease"); !strings.HasPrefix(owner, n[0].Cluster.base) {
		t.Errorf("the other name is of %q", owner)
	}
}

// Who waits for a name hears when the edge that had it has come back without it.
func TestNameOfAnEdgeThatWasAway(t *testing.T) {
	m := miniredis.RunT(t)
	g := newGateway(t, m.Addr())
	away, there := newNode(t, g.addr), newNode(t, m.Addr())
	up(t, away, there)
	l := streams(t, away, newPublisher("192.0.2.1", "live/x", RuleReject, false).StreamRequest, StreamLimits{}, "")
	g.cut()
	state(t, away, false)
	l.Release() // nobody hears it
	go func() {
		name := prefix + "name:" + hashed("live/x")
		for m.HGet(name, "next") == "" && t.Context().Err() == nil {
			time.Sleep(time.Millisecond)
		}
		g.open()
	}()
	streams(t, there, newPublisher("192.0.2.2", "live/x", RuleReject, false).StreamRequest, StreamLimits{}, "")
}

// A stream whose name is still that of an edge which died in the outage goes on
// until the name is free, and has it then.
func TestNameOfAnEdgeThatDiedInTheOutage(t *testing.T) {
	m := miniredis.RunT(t)
	g := newGateway(t, m.Addr())
	dead, there := newNode(t, m.Addr()), newNode(t, g.addr)
	up(t, dead, there)
	streams(t, dead, newPublisher("192.0.2.1", "live/x", RuleReject, false).StreamRequest, StreamLimits{}, "")
	g.cut()
	state(t, there, false)
	dead.crash()
	p := newPublisher("192.0.2.1", "live/x", RuleReject, false)
	streams(t, there, p.StreamRequest, StreamLimits{}, "")
	g.open()
	state(t, there, true)
	name := prefix + "name:" + hashed("live/x")
	soon(t, "the owner is asked", func() bool { return m.HGet(name, "next") != "" })
	for range 4 {
		m.FastForward(beatEvery)
		there.beat(t)
	}
	soon(t, "the name is its own", func() bool { return strings.HasPrefix(m.HGet(name, "lease"), there.Cluster.base) })
	select {
	case <-p.lost:
		t.Error("the only stream was ended")
	default:
	}
}

// What is given back while it is being told of is not left over.
func TestGivenBackWhileTold(t *testing.T) {
	m, n := cluster(t, 1)
	c := n[0].Cluster
	member := c.current.Load()
	release := connects(t, n[0], "192.0.2.1", AdmissionLimits{}, "")
	l := streams(t, n[0], newPublisher("192.0.2.1", "live/x", RuleReject, false).StreamRequest, StreamLimits{}, "")
	c.mu.Lock()
	all := slices.Collect(maps.Values(c.leases))
	c.mu.Unlock()
	ops := c.registrations(member, all)
	release()
	l.Release()
	soon(t, "both are given back", func() bool { return !member.queue.busy() })
	if err := c.send(member.ctx, ops); err != nil {
		t.Fatal(err)
	}
	soon(t, "both are given back again", func() bool { return !slices.ContainsFunc(m.Keys(), ofLease) })
}

// ofLease reports whether a key in Redis exists for a lease.
func ofLease(key string) bool {
	for _, kind := range []string{"conn:", "conns:", "stream:", "subject:", "name:"} {
		if strings.HasPrefix(key, prefix+kind) {
			return true
		}
	}
	return false
}

func TestClusterBans(t *testing.T) {
	m, n := cluster(t, 2)
	n[0].Bans.Add(ip("192.0.2.1"), time.Hour, "by hand")
	soon(t, "the other edge knows", func() bool { return n[1].Bans.Banned(ip("192.0.2.1")) })
	ban := n[1].Bans.List()[0]
	if left := time.Until(ban.Until); ban.Why != "by hand" || !ban.ByHand || ban.Count != 1 || left > time.Hour || left < time.Hour-time.Minute {
		t.Errorf("got %+v", ban)
	}
	late := newNode(t, m.Addr())
	up(t, late)
	if !late.Bans.Banned(ip("192.0.2.1")) {
		t.Error("who comes later does not know")
	}
	n[1].Bans.Lift(ip("192.0.2.1"))
	soon(t, "all have lifted it", func() bool { return n[0].Bans.Len() == 0 && late.Bans.Len() == 0 })
}

func TestClusterCountsFailures(t *testing.T) {
	_, n := cluster(t, 3)
	lim := BanLimits{AuthFailures: Rate{6, time.Hour}, Ban: time.Minute}
	banned := make(chan Ban, 10)
	for _, edge := range n {
		edge.Bans.OnBan(func(b Ban) { banned <- b })
	}
	for i := range 6 {
		n[i%3].Failed(ip("192.0.2.1"), lim)
	}
	for _, edge := range n {
		if edge.Bans.Len() != 0 {
			t.Fatal("banned too soon")
		}
	}
	soon(t, "all were counted", func() bool {
		return !slices.ContainsFunc(n, func(edge *node) bool { return edge.Cluster.current.Load().queue.busy() })
	})
	n[0].Failed(ip("192.0.2.1"), lim) // its third, the seventh in all
	b := <-banned
	if b.Why != WhyAuthFailures || b.Count != 1 {
		t.Errorf("got %+v", b)
	}
	for _, edge := range n {
		soon(t, "all have banned it", func() bool { return edge.Bans.Banned(ip("192.0.2.1")) })
	}
	if len(banned) != 0 {
		t.Errorf("%d edges told of one ban", 1+len(banned))
	}
}

// Bans that were set and lifted while Redis was gone.
func TestBansOfAnOutage(t *testing.T) {
	m := miniredis.RunT(t)
	g := newGateway(t, m.Addr())
	away, there := newNode(t, g.addr), newNode(t, m.Addr())
	up(t, away, there)
	for i := range 3 {
		away.Bans.Add(nth(i), time.Hour, "")
		soon(t, "both know", func() bool { return there.Bans.Banned(nth(i)) })
	}
	g.cut()
	state(t, away, false)
	time.Sleep(2 * time.Millisecond) // ban and lift must not be of the same millisecond
	away.Bans.Lift(nth(0))
	there.Bans.Lift(nth(1))
	away.Bans.Add(nth(3), time.Hour, "")
	there.Bans.Add(nth(4), time.Hour, "")
	g.open()
	state(t, away, true)
	for name, edge := range map[string]*node{"away": away, "there": there} {
		for i, want := range []bool{false, false, true, true, true} {
			soon(t, fmt.Sprintf("%s: address %d banned = %v", name, i, want), func() bool { return edge.Bans.Banned(nth(i)) == want })
		}
	}
}

func TestClusterKick(t *testing.T) {
	m := miniredis.RunT(t)
	g := newGateway(t, m.Addr())
	a, b := newNode(t, m.Addr()), newNode(t, g.addr)
	up(t, a, b)
	if ok, err := a.Cluster.Kick(t.Context(), "here-"+g.addr, time.Minute); !ok || err != nil {
		t.Errorf("got %v, %v", ok, err)
	}
	if got := <-b.kicked; got != "here-"+g.addr+" 1m0s" {
		t.Errorf("kicked %q", got)
	}
	if ok, err := a.Cluster.Kick(t.Context(), "nowhere", 0); ok || err != nil {
		t.Errorf("got %v, %v", ok, err)
	}
	if len(a.Cluster.kicks) != 0 {
		t.Errorf("left over: %v", a.Cluster.kicks)
	}
	g.cut()
	state(t, b, false)
	if _, err := b.Cluster.Kick(t.Context(), "x", 0); err == nil {
		t.Error("kicked without Redis")
	}
	if _, err := (*Cluster)(nil).Kick(t.Context(), "x", 0); err == nil {
		t.Error("kicked without a cluster")
	}
}

// Two edges hold one address to its bit rate together.
func TestClusterBitrate(t *testing.T) {
	_, n := cluster(t, 2)
	const limit = 8_000_000
	lim := StreamLimits{BitratePerIP: limit}
	greedy := streams(t, n[0], StreamRequest{Addr: ip("192.0.2.1")}, lim, "")
	quiet := streams(t, n[1], StreamRequest{Addr: ip("192.0.2.1")}, lim, "")
	greedy.Pacer().charge(100 << 20) // it is over for long
	soon(t, "the greedy one gets all but what the quiet one may need", func() bool {
		a, b := greedy.Pacer().Bitrate(), quiet.Pacer().Bitrate()
		return a+b <= limit && a >= limit*9/10 && b >= 1
	})
	quiet.Pacer().charge(100 << 20)
	soon(t, "both get half", func() bool {
		return greedy.Pacer().Bitrate() == limit/2 && quiet.Pacer().Bitrate() == limit/2
	})
	greedy.SetBitratePerIP(limit / 2) // a reload, here first
	if got := greedy.Pacer().Bitrate(); got > limit/2 {
		t.Errorf("got %d", got)
	}
	greedy.SetBitratePerIP(limit)
	greedy.Release()
	soon(t, "the other gets the whole", func() bool { return quiet.Pacer().Bitrate() == limit })
	n[1].Cluster.fail(n[1].Cluster.current.Load(), io.EOF)
	soon(t, "alone, too", func() bool { return quiet.Pacer().Bitrate() == limit })
}

func TestPartOf(t *testing.T) {
	for _, c := range []struct {
		limit, mine int64
		others      []int64
		want        int64
	}{
		{100, 30, nil, 100},
		{100, 0, nil, 100},
		{100, 10, []int64{50}, 30},
		{100, 100, []int64{10}, 90},
		{100, 10, []int64{100}, 10},
		{100, 100, []int64{100}, 50},
		{100, 100, []int64{100, 20}, 40},
		{100, 60, []int64{60, 60}, 33},
		{0, 0, nil, 1},
	} {
		if got := partOf(c.limit, c.mine, c.others); got != c.want {
			t.Errorf("%d of %d beside %v: got %d, want %d", c.mine, c.limit, c.others, got, c.want)
		}
	}
}

// The parts of all never exceed the limit, and are nearly all of it.
func TestPartsMakeUpTheLimit(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 5))
	for range 20_000 {
		limit := 1000 + random.Int64N(1_000_000_000)
		wants := make([]int64, 1+random.IntN(8))
		for i := range wants {
			wants[i] = random.Int64N(limit + 1)
		}
		sum := int64(0)
		for i, mine := range wants {
			others := append(append([]int64{}, wants[:i]...), wants[i+1:]...)
			part := partOf(limit, mine, others)
			if part < 1 || part > limit {
				t.Fatalf("part %d of %d", part, limit)
			}
			sum += part
		}
		if n := int64(len(wants)); sum > limit+n || sum < limit-n {
			t.Fatalf("%v of %d: %d in all", wants, limit, sum)
		}
	}
}

func TestRedisURL(t *testing.T) {
	for _, good := range []string{"redis://127.0.0.1:6379", "redis://user:pw@redis.example/2", "rediss://:pw@[::1]:6380"} {
		if err := CheckRedis(secret.New(good)); err != nil {
			t.Errorf("%s: %v", good, err)
		}
	}
	for _, bad := range []string{"", "127.0.0.1:6379", "http://hunter2@x", "redis://x:hunter2@:y:z", "redis://h/hunter2"} {
		err := CheckRedis(secret.New(bad))
		if err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", bad, err)
		}
	}
	if _, err := NewLimiter(LimiterConfig{Cluster: ClusterConfig{URL: secret.New("redis://h/hunter2")}}); err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("got %v", err)
	}
}

// Redis need not be there at the start, and its password is not in the log.
func TestRedisComesLater(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := ln.Addr().String()
	_ = ln.Close()
	n := newNode(t, "user:hunter2@"+addr)
	state(t, n, false)
	connects(t, n, "192.0.2.1", AdmissionLimits{ConnectionsPerIP: 1}, "")
	connects(t, n, "192.0.2.1", AdmissionLimits{ConnectionsPerIP: 1}, ReasonConnectionsPerIP)
	m := miniredis.NewMiniRedis()
	m.RequireUserAuth("user", "hunter2")
	if err := m.StartAddr(addr); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Close)
	state(t, n, true)
	if err := PingRedis(t.Context(), secret.New("redis://user:hunter2@"+addr)); err != nil {
		t.Error(err)
	}
	if err := PingRedis(t.Context(), secret.New("redis://user:hunter3@"+addr)); err == nil || strings.Contains(err.Error(), "hunter3") {
		t.Errorf("got %v", err)
	}
	if n.log.count("hunter2") != 0 || n.log.count("cannot be used") != 1 {
		t.Errorf("the log:\n%s", n.log.b.String())
	}
}

// What other edges say is not trusted to be sensible.
func TestNonsenseIsNotHeard(t *testing.T) {
	m, n := cluster(t, 1)
	base := n[0].Cluster.base
	for _, text := range []string{"", "{", "null", `{"t":"ask"}`, `{"t":"ask","lease":"` + base + `"}`, `{"t":"ask","lease":"` + base + `.1.zzzzzzzzzzzzzzzz"}`,
		`{"t":"lost","lease":"` + base + `.1.1"}`, `{"t":"ban","peer":"x","text":"{}"}`, `{"t":"ban","peer":"192.0.2.0/24","text":"{"}`,
		`{"t":"ban","peer":"192.0.2.7/32","text":"{\"ms\":-5}"}`, `{"t":"ban","peer":"192.0.2.7/32","text":"{\"ms\":9000000000000000}"}`,
		`{"t":"lift","peer":"x"}`, `{"t":"sure"}`, `{"t":"yes","lease":"` + base + `.1.1"}`, `{"t":"yes","at":"x"}`, `{"t":"kick","ban":"x"}`, `{"t":"kicked","lease":"x"}`, `{"t":"unknown"}`} {
		m.Publish(channel, text)
	}
	n[0].Bans.Add(ip("192.0.2.1"), time.Minute, "")
	soon(t, "all was heard", func() bool { return m.Exists(prefix + "ban:192.0.2.1/32") })
	if !n[0].Cluster.Up() {
		t.Error("down")
	}
	for _, b := range n[0].Bans.List() {
		if b.Until.Sub(b.Since) > MaxHandBan {
			t.Errorf("got %+v", b)
		}
	}
}
