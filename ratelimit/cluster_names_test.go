package ratelimit

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"rtmps-edge/internal/secret"
)

// dies makes an edge expire, while the others go on.
func dies(t *testing.T, m *miniredis.Miniredis, dead *node, others ...*node) {
	t.Helper()
	dead.crash()
	for left := edgeTTL; left > 0; left -= beatEvery {
		m.FastForward(beatEvery)
		for _, n := range others {
			n.beat(t)
		}
	}
}

// field waits until a field of the record of a name is there, and returns it.
func field(t *testing.T, m *miniredis.Miniredis, name, key string) (value string) {
	t.Helper()
	soon(t, name+" has "+key, func() bool {
		value = m.HGet(prefix+"name:"+hashed(name), key)
		return value != ""
	})
	return value
}

// asks publishes in the background, and returns what becomes of it.
func asks(t *testing.T, n *node, p *publisher, lim StreamLimits) chan error {
	t.Helper()
	done := make(chan error, 1)
	go func() {
		_, err := n.Stream(t.Context(), p.StreamRequest, lim)
		done <- err
	}()
	return done
}

// result is what becomes of one that asks.
func result(t *testing.T, done chan error) error {
	t.Helper()
	select {
	case err := <-done:
		return err
	case <-time.After(patience):
		t.Fatal("no answer")
		return nil
	}
}

// goOn wants none of these streams to have been ended.
func goOn(t *testing.T, publishers ...*publisher) {
	t.Helper()
	for _, p := range publishers {
		if len(p.lost) > 0 {
			t.Errorf("the stream of %s was ended", p.Addr)
		}
	}
}

// Who waits for the name of an edge that died has it when that one has expired,
// with nobody to tell of it. It is not in its own way, though it counts while it
// waits.
func TestWhoWaitsAsksAgain(t *testing.T) {
	m, n := cluster(t, 2)
	streams(t, n[0], newPublisher("192.0.2.1", "live/x", RuleReject, false).StreamRequest, StreamLimits{}, "")
	n[0].crash()
	waits := asks(t, n[1], newPublisher("192.0.2.1", "live/x", RuleReject, false), StreamLimits{PerIP: 1, PerSubject: 1})
	field(t, m, "live/x", "next")
	dies(t, m, n[0], n[1])
	if err := result(t, waits); err != nil {
		t.Error(err)
	}
	if owner := field(t, m, "live/x", "lease"); !strings.HasPrefix(owner, n[1].Cluster.base) {
		t.Errorf("the name is of %s", owner)
	}
}

// Who is refused when it asks again has waited, and counted: it does not any
// more.
func TestWhoIsRefusedLaterCountsNoMore(t *testing.T) {
	m, n := cluster(t, 2)
	streams(t, n[0], newPublisher("192.0.2.1", "live/x", RuleReject, false).StreamRequest, StreamLimits{}, "")
	n[0].crash()
	waits := asks(t, n[1], newPublisher("192.0.2.2", "live/x", RuleReject, false), StreamLimits{PerSubject: 1})
	next := field(t, m, "live/x", "next")
	streams(t, n[1], newPublisher("192.0.2.3", "live/y", RuleReject, false).StreamRequest, StreamLimits{}, "") // of the same subject
	if err := result(t, waits); reason(err) != ReasonStreamsPerSubject {
		t.Errorf("got %v", err)
	}
	soon(t, "it is given back", func() bool {
		list, _ := m.Members(prefix + "subject:" + hashed("s"))
		return !slices.Contains(list, next) && m.HGet(prefix+"name:"+hashed("live/x"), "next") == ""
	})
	if n := n[1].Streams.Len(); n != 1 {
		t.Errorf("%d streams count here", n)
	}
}

// A question that is heard when nobody waits any more ends nobody.
func TestLateQuestionEndsNobody(t *testing.T) {
	m, n := cluster(t, 2)
	first := newPublisher("192.0.2.1", "live/x", RuleTakeover, true)
	l := streams(t, n[0], first.StreamRequest, StreamLimits{}, "")
	gone := n[1].Cluster.current.Load().id + ".zz"
	ask := func() {
		m.Publish(channel, `{"t":"ask","lease":"`+l.held.leaseOf(n[0])+`","by":"`+gone+`","rule":"takeover"}`)
	}
	ask() // by one that never was next
	name := prefix + "name:" + hashed("live/x")
	m.HSet(name, "next", gone, "nextat", "1") // and by one that asked long ago
	ask()
	m.Publish(channel, `{"t":"ban","peer":"192.0.2.7/32","text":"{\"ms\":60000}"}`)
	soon(t, "the questions were heard", func() bool { return n[0].Bans.Banned(ip("192.0.2.7")) && !n[0].Cluster.current.Load().queue.busy() })
	m.HDel(name, "next")
	m.HDel(name, "nextat")
	first.StreamRequest.Yield = nil
	second := newPublisher("192.0.2.2", "live/x", RuleReject, false)
	waits := asks(t, n[1], second, StreamLimits{})
	if got := <-first.asked; got != "reject 192.0.2.2" {
		t.Errorf("the owner was asked %q", got)
	}
	l.Release()
	if err := result(t, waits); err != nil {
		t.Error(err)
	}
}

// heardAll waits until an edge has heard what was said before, and answered.
func heardAll(t *testing.T, m *miniredis.Miniredis, n *node, marker string) {
	t.Helper()
	m.Publish(channel, `{"t":"ban","peer":"`+marker+`/32","text":"{\"ms\":60000}"}`)
	soon(t, "what was said is heard", func() bool { return n.Bans.Banned(ip(marker)) && !n.Cluster.current.Load().queue.busy() })
}

// A question that Redis executes late, when whoever asked has been let in without
// it and is gone, ends nobody: not while that edge is away, and not when it is
// back.
func TestQuestionExecutedLateEndsNobody(t *testing.T) {
	m := miniredis.RunT(t)
	g := newGateway(t, m.Addr())
	there, away := newNode(t, m.Addr()), impatientNode(t, g.addr, DefaultAdmitTimeout)
	up(t, there, away)
	first := newPublisher("192.0.2.1", "live/x", RuleTakeover, true)
	streams(t, there, first.StreamRequest, StreamLimits{}, "")
	member := away.Cluster.current.Load()
	g.stall()
	second := newPublisher("192.0.2.2", "live/x", RuleTakeover, true)
	l := streams(t, away, second.StreamRequest, StreamLimits{}, "") // nobody answers, and it goes on alone
	state(t, away, false)
	l.Release() // its origin has refused it, for the first is there
	// What it has asked is executed now, as it was sent.
	h := l.held
	late := evaluation(streamScript, nil, member.id, away.Cluster.lease(h, member.epoch), h.peer, h.subject, h.name, 0, 0, h.since, RuleTakeover, "192.0.2.2")
	other := redis.NewClient(&redis.Options{Addr: m.Addr()})
	t.Cleanup(func() { _ = other.Close() })
	pipe := other.Pipeline()
	cmd := late.add(t.Context(), pipe)
	_, _ = pipe.Exec(t.Context())
	if got, err := cmd.(*redis.Cmd).Text(); got != answerHeld || err != nil {
		t.Fatalf("got %q, %v", got, err)
	}
	heardAll(t, m, there, "192.0.2.7")
	g.flow()
	state(t, away, true)
	heardAll(t, m, away, "192.0.2.8")
	heardAll(t, m, there, "192.0.2.9")
	if len(first.asked) > 0 {
		t.Errorf("the first publisher was asked to go: %q", <-first.asked)
	}
	// Who waits is heard all the same.
	if err := result(t, asksUntil(t, away, newPublisher("192.0.2.3", "live/x", RuleTakeover, true), first)); reason(err) != ReasonDuplicate {
		t.Errorf("got %v", err)
	}
}

// asksUntil publishes in the background, until the owner of the name is asked.
func asksUntil(t *testing.T, n *node, p, owner *publisher) chan error {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		_, err := n.Stream(ctx, p.StreamRequest, StreamLimits{})
		done <- err
	}()
	select {
	case got := <-owner.asked:
		if got != p.Rule+" "+p.Addr.String() {
			t.Errorf("the owner was asked %q", got)
		}
	case <-time.After(patience):
		t.Error("the owner was not asked")
	}
	cancel()
	return done
}

// A yes that comes late, or is none to a question of this process, ends nobody.
func TestLateYesEndsNobody(t *testing.T) {
	m, n := cluster(t, 1)
	first := newPublisher("192.0.2.1", "live/x", RuleTakeover, true)
	l := streams(t, n[0], first.StreamRequest, StreamLimits{}, "")
	yes := func(age time.Duration) {
		text, err := json.Marshal(event{T: "yes", Lease: l.held.leaseOf(n[0]), By: "x.1.1", Rule: RuleTakeover, Address: "192.0.2.2", At: n[0].Cluster.clock() - age.Milliseconds()})
		if err != nil {
			t.Fatal(err)
		}
		m.Publish(channel, string(text))
	}
	yes(-time.Minute)
	yes(patience + time.Millisecond) // as long as a client waits for Redis, here
	yes(time.Hour)
	heardAll(t, m, n[0], "192.0.2.7")
	if len(first.asked) > 0 {
		t.Error("the stream would have been ended")
	}
	yes(0)
	select {
	case <-first.asked:
	case <-time.After(patience):
		t.Error("nobody was asked")
	}
}

// Only who waits in this membership says that it does.
func TestWhoSaysYes(t *testing.T) {
	m, n := cluster(t, 1)
	c := n[0].Cluster
	l := streams(t, n[0], newPublisher("192.0.2.1", "live/x", RuleTakeover, true).StreamRequest, StreamLimits{}, "")
	id := l.held.leaseOf(n[0])
	other := redis.NewClient(&redis.Options{Addr: m.Addr()})
	t.Cleanup(func() { _ = other.Close() })
	heard := other.Subscribe(t.Context(), channel)
	t.Cleanup(func() { _ = heard.Close() })
	if _, err := heard.Receive(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, lease := range []string{c.lease(l.held, c.current.Load().epoch+1), id + "x", "x" + id, id} {
		m.Publish(channel, `{"t":"sure","lease":"`+lease+`","by":"`+lease+`","rule":"takeover","at":7}`)
	}
	for {
		got, err := heard.ReceiveTimeout(t.Context(), patience)
		if err != nil {
			t.Fatal(err)
		}
		var e event
		if err := json.Unmarshal([]byte(got.(*redis.Message).Payload), &e); err != nil {
			t.Fatal(err)
		}
		switch e.T {
		case "sure":
			continue
		case "yes":
			if (e != event{T: "yes", Lease: id, By: id, Rule: RuleTakeover, At: 7}) {
				t.Errorf("got %+v", e)
			}
			return
		}
	}
}

// A name that an edge takes for a stream which is over, because Redis executes late
// what it has told, is its publisher's again, and the publisher is not ended.
func TestNameTakenLateIsGivenBack(t *testing.T) {
	m, n := cluster(t, 2)
	first := newPublisher("192.0.2.1", "live/x", RuleTakeover, false)
	l := streams(t, n[0], first.StreamRequest, StreamLimits{}, "")
	c := n[1].Cluster
	member := c.current.Load()
	h := &held{stream: true, name: hashed("live/x"), since: l.held.since + 1, request: newPublisher("192.0.2.2", "live/x", RuleTakeover, false).StreamRequest}
	c.add(h)
	late := c.registration(member, h, nil)
	c.forget(h) // and nothing is told of that yet
	if err := c.send(member.ctx, []op{late}); err != nil {
		t.Fatal(err)
	}
	soon(t, "the first asks for its name", func() bool { return field(t, m, "live/x", "next") == l.held.leaseOf(n[0]) })
	if owner := field(t, m, "live/x", "lease"); owner != h.leaseOf(n[1]) {
		t.Errorf("the name is of %s", owner)
	}
	c.takeBack(h)
	soon(t, "it is the first one's again", func() bool { return field(t, m, "live/x", "lease") == l.held.leaseOf(n[0]) })
	soon(t, "it knows", func() bool {
		n[0].Cluster.mu.Lock()
		defer n[0].Cluster.mu.Unlock()
		return !l.held.humble && l.held.asking == 0
	})
	goOn(t, first)
}

// leaseOf is the id of h.
func (h *held) leaseOf(n *node) string {
	n.Cluster.mu.Lock()
	defer n.Cluster.mu.Unlock()
	return n.Cluster.lease(h, h.epoch)
}

// What an owner has said to an earlier question is no answer to a later one.
func TestLateAnswerIsNone(t *testing.T) {
	for _, late := range []string{"keep", "yours"} {
		t.Run(late, func(t *testing.T) {
			_, n := cluster(t, 2)
			first := newPublisher("192.0.2.1", "live/x", RuleReject, false)
			streams(t, n[0], first.StreamRequest, StreamLimits{}, "")
			p := newPublisher("192.0.2.1", "live/y", RuleReject, false)
			l := streams(t, n[1], p.StreamRequest, StreamLimits{}, "")
			l.held.answer <- late
			c := n[1].Cluster
			c.registered(c.current.Load(), l.held, answerHeld)
			soon(t, "it is clear", func() bool {
				c.mu.Lock()
				defer c.mu.Unlock()
				return l.held.asking == 0
			})
			goOn(t, p, first)
			if late == "yours" { // it has asked
				l.held.answer <- late
				l.held.name = hashed("live/x") // which is another's
				c.registered(c.current.Load(), l.held, answerHeld)
				select {
				case <-p.lost:
				case <-time.After(patience):
					t.Error("two have the name")
				}
			}
		})
	}
}

// All that an edge said in memberships before counts no more, however late it
// comes; what it holds counts until it has told of it anew.
func TestFormerMembershipIsNotHeard(t *testing.T) {
	m, n := cluster(t, 1)
	c, err := newCluster(ClusterConfig{URL: secret.New("redis://" + m.Addr()), AdmitTimeout: patience}, nil) // joins when the test says so
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.close)
	join := func() *membership {
		member, err := c.join(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = member.events.Close() })
		return member
	}
	before := join()
	c.begin(before)
	held, err := c.take(t.Context(), newPublisher("192.0.2.1", "live/x", RuleReject, false).StreamRequest, StreamLimits{})
	if err != nil {
		t.Fatal(err)
	}
	c.former = []string{before.id}
	join()
	other := redis.NewClient(&redis.Options{Addr: m.Addr()})
	t.Cleanup(func() { _ = other.Close() })
	for name, late := range map[string]op{
		"beat":     evaluation(beatScript, nil, before.id, edgeTTL.Milliseconds()),
		"admit":    evaluation(admitScript, nil, before.id, before.id+".zz", "192.0.2.9/32", 0, 0, 0, 0, edgeTTL.Milliseconds()),
		"stream":   evaluation(streamScript, nil, before.id, before.id+".zz", "192.0.2.9/32", "", hashed("live/y"), 0, 0, 1, RuleReject, ""),
		"register": c.registration(before, held, nil),
	} {
		pipe := other.Pipeline()
		cmd := late.add(t.Context(), pipe)
		_, _ = pipe.Exec(t.Context())
		if got, err := cmd.(*redis.Cmd).Text(); got != answerGone || err != nil {
			t.Errorf("%s: got %q, %v", name, got, err)
		}
	}
	if m.Exists(prefix+"name:"+hashed("live/y")) || m.Exists(prefix+"conn:192.0.2.9/32") {
		t.Error("something late counts")
	}
	if owner := field(t, m, "live/x", "lease"); owner != c.lease(held, before.epoch) {
		t.Errorf("the name is of %s", owner)
	}
	refused := newPublisher("192.0.2.2", "live/x", RuleReject, false)
	n[0].Cluster.handover = handover
	if err := result(t, asks(t, n[0], refused, StreamLimits{})); reason(err) != ReasonDuplicate {
		t.Errorf("got %v", err)
	}
}

// However often an edge has tried to come back: what ended meanwhile is free as
// soon as it is back, and not when the others would think it dead.
func TestNamesOfALongOutage(t *testing.T) {
	m := miniredis.RunT(t)
	g := newGateway(t, m.Addr())
	away, there := newNode(t, g.addr), newNode(t, m.Addr())
	up(t, away, there)
	l := streams(t, away, newPublisher("192.0.2.1", "live/x", RuleReject, false).StreamRequest, StreamLimits{}, "")
	old := away.Cluster.current.Load().id
	g.cut()
	state(t, away, false)
	l.Release() // nobody hears it
	soon(t, "it has tried to come back, in vain", func() bool {
		away.Cluster.mu.Lock()
		defer away.Cluster.mu.Unlock()
		return away.Cluster.epoch > 3
	})
	g.open()
	state(t, away, true)
	if m.Exists(prefix + "edge:" + old) {
		t.Error("the membership before the outage counts still")
	}
	streams(t, there, newPublisher("192.0.2.2", "live/x", RuleReject, false).StreamRequest, StreamLimits{PerSubject: 1}, "")
}

// A newcomer that waits for the name of an edge which died does not end a stream
// that is older, and has been going on through an edge that was away.
func TestNewcomerEndsNoStream(t *testing.T) {
	m := miniredis.RunT(t)
	g := newGateway(t, m.Addr())
	dead, away, there := newNode(t, m.Addr()), newNode(t, g.addr), newNode(t, m.Addr())
	up(t, dead, away, there)
	streams(t, dead, newPublisher("192.0.2.1", "live/x", RuleReject, false).StreamRequest, StreamLimits{}, "")
	dead.crash()
	g.cut()
	state(t, away, false)
	older := newPublisher("192.0.2.1", "live/x", RuleReject, false)
	l := streams(t, away, older.StreamRequest, StreamLimits{}, "")
	soon(t, "the clock has moved on", func() bool { return time.Now().UnixMilli() > l.held.since })
	newcomer := &held{stream: true, name: hashed("live/x"), since: time.Now().UnixMilli(), peer: "192.0.2.3/32"}
	member := there.Cluster.current.Load()
	there.Cluster.add(newcomer)
	lease := there.Cluster.lease(newcomer, member.epoch)
	ask := func() string {
		answer, err := there.Cluster.eval(member, streamScript, member.id, lease, newcomer.peer, "", newcomer.name, 0, 0, newcomer.since, RuleReject, "")
		if err != nil {
			t.Fatal(err)
		}
		return answer
	}
	if got := ask(); got != answerHeld {
		t.Fatalf("the newcomer hears %q", got)
	}
	g.open()
	state(t, away, true)
	soon(t, "the older one waits", func() bool { return strings.HasPrefix(field(t, m, "live/x", "next"), away.Cluster.base) })
	if got := ask(); got != ReasonDuplicate {
		t.Errorf("the newcomer hears %q", got)
	}
	dies(t, m, dead, away, there)
	soon(t, "the older one has the name", func() bool { return strings.HasPrefix(field(t, m, "live/x", "lease"), away.Cluster.base) })
	goOn(t, older)
}

// On one edge, a stream that begins is not refused for one that waited for the
// name and is on its way out.
func TestOneEdgeIsNotInItsOwnWay(t *testing.T) {
	m, n := cluster(t, 2)
	streams(t, n[0], newPublisher("192.0.2.1", "live/x", RuleReject, false).StreamRequest, StreamLimits{}, "")
	n[0].crash()
	member := n[1].Cluster.current.Load()
	m.HSet(prefix+"name:"+hashed("live/x"), "next", member.id+".zz", "nextat", "99999999999999999")
	waits := asks(t, n[1], newPublisher("192.0.2.1", "live/x", RuleReject, false), StreamLimits{})
	soon(t, "it waits", func() bool { return field(t, m, "live/x", "next") != member.id+".zz" })
	dies(t, m, n[0], n[1])
	if err := result(t, waits); err != nil {
		t.Error(err)
	}
}

// Whoever argues for a name asks once a second, not more.
func TestAskingIsSeldom(t *testing.T) {
	_, n := cluster(t, 2)
	streams(t, n[0], newPublisher("192.0.2.1", "live/x", RuleReject, false).StreamRequest, StreamLimits{}, "")
	n[0].crash()
	n[1].Cluster.handover = handover
	before, begin := n[1].trips.one.Load(), time.Now()
	_ = result(t, asks(t, n[1], newPublisher("192.0.2.1", "live/x", RuleReject, false), StreamLimits{}))
	if got, most := n[1].trips.one.Load()-before, int64(time.Since(begin)/askEvery)+1; got > most {
		t.Errorf("%d round trips in %v", got, time.Since(begin))
	}
}
