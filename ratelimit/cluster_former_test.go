package ratelimit

import (
	"fmt"
	"slices"
	"testing"

	"github.com/alicebob/miniredis/v2"

	"rtmps-edge/internal/secret"
)

// byHand returns an edge that joins when the test says so, and tells nothing that
// the test does not send.
func byHand(t *testing.T, addr string) *Cluster {
	t.Helper()
	alone, err := NewLimiter(LimiterConfig{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(alone.Close)
	c, err := newCluster(ClusterConfig{URL: secret.New("redis://" + addr), AdmitTimeout: patience}, alone)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.close)
	return c
}

// joins begins a membership after the last one, which has failed.
func joins(t *testing.T, c *Cluster) *membership {
	t.Helper()
	if last := c.current.Swap(nil); last != nil {
		c.former = append(c.former, last.id)
	}
	m, err := c.join(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = m.events.Close() })
	return m
}

// counted wants that so many connections and streams count at Redis, of one
// address and subject, and in all.
func counted(t *testing.T, n *node, connections, of int) {
	t.Helper()
	connects(t, n, "192.0.2.1", AdmissionLimits{ConnectionsPerIP: connections}, ReasonConnectionsPerIP)
	connects(t, n, "192.0.2.2", AdmissionLimits{Connections: connections}, ReasonConnections)
	release := connects(t, n, "192.0.2.1", AdmissionLimits{ConnectionsPerIP: connections + 1, Connections: connections + 1}, "")
	r := StreamRequest{Addr: ip("192.0.2.1"), Subject: "s"}
	streams(t, n, r, StreamLimits{PerIP: of}, ReasonStreamsPerIP)
	streams(t, n, r, StreamLimits{PerSubject: of}, ReasonStreamsPerSubject)
	l := streams(t, n, r, StreamLimits{PerIP: of + 1, PerSubject: of + 1}, "")
	release()
	l.Release()
	soon(t, "both are given back", func() bool { return !n.Cluster.current.Load().queue.busy() })
}

// After an outage, and after another one in the middle of coming back, each lease
// counts once at any time: neither twice, nor not at all.
func TestLeasesCountOnceAfterAnOutage(t *testing.T) {
	m, n := cluster(t, 1)
	c := byHand(t, m.Addr())
	c.begin(joins(t, c))
	const each = 3
	for i := range each {
		if _, err := c.admit(ip("192.0.2.1"), AdmissionLimits{}); err != nil {
			t.Fatal(err)
		}
		if _, err := c.take(t.Context(), newPublisher("192.0.2.1", fmt.Sprint("live/", i), RuleReject, false).StreamRequest, StreamLimits{}); err != nil {
			t.Fatal(err)
		}
	}
	counted(t, n[0], each, each)
	for told := 2; told <= 2*each; told += 2 { // the first time not all, the last time all
		member := joins(t, c)
		leases, _ := c.begin(member)
		counted(t, n[0], each, each)
		for _, h := range leases[:told] {
			if err := c.send(member.ctx, c.registrations(member, []*held{h})); err != nil {
				t.Fatal(err)
			}
			counted(t, n[0], each, each)
		}
		if told < 2*each {
			continue
		}
		if err := c.settle(member, leases, nil); err != nil {
			t.Fatal(err)
		}
		counted(t, n[0], each, each)
		for _, h := range leases {
			if len(h.former) > 0 {
				t.Errorf("memberships that are given up are remembered: %v", h.former)
			}
		}
	}
}

// What an address wants is not what it wanted of this edge before, too.
func TestBitratesCountOnceAfterAnOutage(t *testing.T) {
	m, n := cluster(t, 1)
	c := byHand(t, m.Addr())
	before := joins(t, c)
	c.begin(before)
	wants := func(edge string) string {
		answer, err := c.eval(c.current.Load(), bitsScript, edge, bitsTTL.Milliseconds(), "192.0.2.1/32", 100)
		if err != nil {
			t.Fatal(err)
		}
		return answer
	}
	wants(before.id)
	after := joins(t, c)
	c.begin(after)
	if got := wants(after.id); got != "" {
		t.Errorf("others want %q", got)
	}
	if got := wants(n[0].Cluster.current.Load().id); got != "100" {
		t.Errorf("another edge hears %q", got)
	}
}

// What is given back while Redis is gone, or on its way there when it goes, is not
// left over: not where no limit makes anybody look, either.
func TestGivenBackInAnOutage(t *testing.T) {
	m := miniredis.RunT(t)
	g := newGateway(t, m.Addr())
	n := newNode(t, g.addr)
	up(t, n)
	var releases []func()
	for i := range 30 {
		releases = append(releases, connects(t, n, "192.0.2.1", AdmissionLimits{}, ""),
			streams(t, n, newPublisher("192.0.2.1", fmt.Sprint("live/", i), RuleReject, false).StreamRequest, StreamLimits{}, "").Release)
	}
	some := func() {
		for _, release := range releases[:20] {
			release()
		}
		releases = releases[20:]
	}
	g.stall()
	some()
	g.cut()
	state(t, n, false)
	some()
	g.open()
	state(t, n, true)
	for _, key := range []string{"conn:192.0.2.1/32", "stream:192.0.2.1/32", "subject:" + hashed("s"), "conns:" + n.Cluster.current.Load().id} {
		if list, _ := m.Members(prefix + key); len(list) != 10 {
			t.Errorf("%s has %d leases: %v", key, len(list), list)
		}
	}
	some()
	soon(t, "all is given back", func() bool { return !slices.ContainsFunc(m.Keys(), ofLease) })
	n.Cluster.mu.Lock()
	defer n.Cluster.mu.Unlock()
	if len(n.Cluster.owed) > 0 {
		t.Errorf("%d ops are owed still", len(n.Cluster.owed))
	}
}

// What is owed to Redis is bounded.
func TestOwedIsBounded(t *testing.T) {
	c := byHand(t, miniredis.RunT(t).Addr())
	for range maxOps + 10 {
		c.tell(op{owed: true}, op{})
	}
	if len(c.owed) != maxOps {
		t.Errorf("%d ops are owed", len(c.owed))
	}
	c.owed = nil // they say nothing
}

// A set that nobody counts, and that does not expire because its address goes on
// coming, does not keep what an edge held that died.
func TestBusyAddressForgetsDeadEdges(t *testing.T) {
	m, n := cluster(t, 2)
	const dead = 100
	for range dead {
		connects(t, n[0], "192.0.2.1", AdmissionLimits{}, "")
		streams(t, n[0], StreamRequest{Addr: ip("192.0.2.1"), Subject: "s"}, StreamLimits{}, "")
	}
	dies(t, m, n[0], n[1])
	kept := func(key string) int {
		list, _ := m.Members(prefix + key)
		return len(list)
	}
	for i := range 10 * dead {
		connects(t, n[1], "192.0.2.1", AdmissionLimits{}, "")()
		streams(t, n[1], StreamRequest{Addr: ip("192.0.2.1"), Subject: "s"}, StreamLimits{}, "").Release()
		if i == 0 && kept("conn:192.0.2.1/32") < dead/2 {
			t.Error("one admission looks at all")
		}
	}
	soon(t, "all is given back", func() bool { return !n[1].Cluster.current.Load().queue.busy() })
	for _, key := range []string{"conn:192.0.2.1/32", "stream:192.0.2.1/32", "subject:" + hashed("s")} {
		if got := kept(key); got > 0 {
			t.Errorf("%s has %d leases", key, got)
		}
	}
}
