package ratelimit

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
)

// handover is how long a publisher waits for another edge to end the stream
// that has its name: the goodbye to the origin takes up to 2 s, and clients wait
// 5 s.
const handover = 4 * time.Second

// held is a connection or stream of this edge.
type held struct {
	n       uint64
	stream  bool
	peer    string
	subject string // hashed
	name    string // hashed; "" for who does not publish
	since   int64  // Unix milliseconds
	request StreamRequest
	// answer gets what the name's owner said, or that the name is another's
	// after all. It has room for one.
	answer chan string

	// Guarded by Cluster.mu.
	epoch  uint64    // of the membership that it was told in, or may have been
	former []uint64  // those before, which may still be believed
	told   time.Time // when it was told last
	humble bool      // does not win a name by itself
	asking int       // who wait for answer
}

// lease is the id of h in a membership.
func (c *Cluster) lease(h *held, epoch uint64) string {
	return c.edge(epoch) + "." + strconv.FormatUint(h.n, 36)
}

// add notes h, and returns the membership in which it is to be told; nil
// without one.
func (c *Cluster) add(h *held) *membership {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last++
	h.n = c.last
	m := c.current.Load()
	if m != nil {
		h.epoch, h.told = m.epoch, time.Now()
	}
	c.leases[h.n] = h
	return m
}

// forget drops h.
func (c *Cluster) forget(h *held) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.leases, h.n)
}

// join makes it a lease of m, which will tell of it. It needs Cluster.mu.
func (h *held) join(m *membership) {
	if h.epoch > 0 {
		h.former = append(h.former, h.epoch)
		h.former = h.former[max(0, len(h.former)-maxFormer):]
	}
	h.epoch, h.told = m.epoch, m.since
}

// formerLeases are the ids of h in memberships before this one.
func (c *Cluster) formerLeases(h *held) (leases []any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, epoch := range h.former {
		leases = append(leases, c.lease(h, epoch))
	}
	return leases
}

// allLeases are the ids under which Redis may know h.
func (c *Cluster) allLeases(h *held) (leases []any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, epoch := range slices.Concat(h.former, []uint64{h.epoch}) {
		if epoch > 0 {
			leases = append(leases, c.lease(h, epoch))
		}
	}
	return leases
}

// admit counts a connection among those of all edges. Without Redis it is
// admitted.
func (c *Cluster) admit(addr netip.Addr, lim AdmissionLimits) (*held, error) {
	h := &held{peer: peerText(addr)}
	m := c.add(h)
	if m == nil {
		return h, nil
	}
	interval := int64(0)
	if r := lim.ConnectRatePerIP; !r.none() {
		interval = r.interval().Microseconds()
	}
	answer, err := c.eval(m, admitScript, m.id, c.lease(h, m.epoch), h.peer, lim.ConnectionsPerIP,
		interval, burstFactor*lim.ConnectRatePerIP.Events, lim.Connections, edgeTTL.Milliseconds())
	if err != nil || answer == answerOK {
		return h, nil
	}
	c.refuse(m, h)
	return nil, refusalFor(answer)
}

// refuse forgets what was not admitted in m. If it was told all the same, by a
// membership that began meanwhile, it is taken back.
func (c *Cluster) refuse(m *membership, h *held) {
	c.forget(h)
	c.mu.Lock()
	told := h.epoch != m.epoch
	c.mu.Unlock()
	if told {
		c.takeBack(h)
	}
}

// release gives back what h has.
func (c *Cluster) release(h *held) {
	if c == nil || h == nil {
		return
	}
	c.forget(h)
	c.takeBack(h)
}

// takeBack gives back what h has, in whatever membership it was told of: now, or
// when Redis is back.
func (c *Cluster) takeBack(h *held) {
	var ops []op
	for _, lease := range c.allLeases(h) {
		if h.stream {
			ops = append(ops, evaluation(releaseScript, nil, lease, h.peer, h.subject, h.name))
			continue
		}
		ops = append(ops, command("SREM", prefix+"conns:"+edgeOf(lease.(string)), lease))
		if h.peer != "" {
			ops = append(ops, command("SREM", prefix+"conn:"+h.peer, lease))
		}
	}
	for i := range ops {
		ops[i].owed = true
	}
	if len(ops) > 0 {
		c.tell(ops...)
	}
}

// edgeOf is the edge of a lease, in its membership.
func edgeOf(lease string) string { return lease[:strings.LastIndexByte(lease, '.')] }

// take counts a stream among those of all edges, and takes its name. Without
// Redis it is admitted.
func (c *Cluster) take(ctx context.Context, r StreamRequest, lim StreamLimits) (*held, error) {
	h := &held{stream: true, peer: peerText(r.Addr), subject: hashed(r.Subject), name: hashed(r.Name),
		since: time.Now().UnixMilli(), request: r, answer: make(chan string, 1), asking: 1}
	m := c.add(h)
	defer c.stopAsking(h)
	if m == nil {
		return h, nil
	}
	c.catchUp(m)
	ctx, cancel := context.WithTimeout(ctx, c.handover)
	defer cancel()
	answer, err, told := answerAgain, error(nil), false
	for answer == answerAgain {
		answer, err = c.eval(m, streamScript, m.id, c.lease(h, m.epoch), h.peer, h.subject, h.name,
			lim.PerIP, lim.PerSubject, h.since, r.Rule, addressText(r.Addr))
		if err == nil && answer == answerHeld {
			told = true
			answer = c.await(ctx, m, h)
		}
	}
	if err != nil || answer == answerOK {
		return h, nil
	}
	if told {
		c.release(h) // it must neither count nor be handed the name
	} else {
		c.refuse(m, h)
	}
	return nil, refusalFor(answer)
}

// startAsking begins the waiting for an answer. One to an earlier question must
// not pass for it.
func (c *Cluster) startAsking(h *held) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if h.asking++; h.asking > 1 {
		return
	}
	select {
	case <-h.answer:
	default:
	}
}

// stopAsking ends it.
func (c *Cluster) stopAsking(h *held) {
	c.mu.Lock()
	defer c.mu.Unlock()
	h.asking--
}

// registrations tell of leases that were admitted without asking, or long ago.
func (c *Cluster) registrations(m *membership, leases []*held) []op {
	var ops []op
	for _, h := range leases {
		if h.stream {
			ops = append(ops, c.registration(m, h, func(answer string) { c.registered(m, h, answer) }))
			continue
		}
		args := append([]any{m.id, c.lease(h, m.epoch), h.peer, edgeTTL.Milliseconds()}, c.formerLeases(h)...)
		ops = append(ops, evaluation(connectedScript, func(answer string) {
			if !c.outlived(h) && answer == answerGone {
				c.fail(m, errLapsed)
			}
		}, args...))
	}
	return ops
}

func (c *Cluster) registration(m *membership, h *held, done func(answer string)) op {
	args := []any{m.id, c.lease(h, m.epoch), h.peer, h.subject, h.name, h.since, h.request.Rule, addressText(h.request.Addr), c.isHumble(h)}
	return evaluation(registerScript, done, append(args, c.formerLeases(h)...)...)
}

// outlived reports whether h was given back while it was being told of, and takes
// it back again: what came last may have been the telling.
func (c *Cluster) outlived(h *held) bool {
	c.mu.Lock()
	gone := c.leases[h.n] == nil
	c.mu.Unlock()
	if gone {
		c.takeBack(h)
	}
	return gone
}

// hashed bounds the length of a text that is a key, and keeps nothing.
func hashed(s string) string {
	if s == "" {
		return ""
	}
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:16])
}

func peerText(addr netip.Addr) string {
	if !addr.IsValid() {
		return ""
	}
	return peerOf(addr).prefix().String()
}

func addressText(addr netip.Addr) string {
	if !addr.IsValid() {
		return ""
	}
	return addr.Unmap().WithZone("").String()
}

// refusalFor finds the Refusal of a script's answer.
func refusalFor(answer string) *Refusal {
	for _, r := range refusals {
		if r.Reason == answer {
			return r
		}
	}
	return overDuplicate
}
