package ratelimit

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"net/netip"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"
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
	told   time.Time // when it was told last
	humble bool      // does not win a name by itself
	asking int       // who wait for answer
}

// lease is the id of h in its membership.
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

// forget drops h, and returns the membership that it has to be taken back in.
func (c *Cluster) forget(h *held) *membership {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.leases, h.n)
	if m := c.current.Load(); m != nil && m.epoch == h.epoch {
		return m
	}
	return nil
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
	if now := c.forget(h); now != nil && now != m {
		c.takeBack(now, h)
	}
}

// release gives back what h has.
func (c *Cluster) release(h *held) {
	if c == nil || h == nil {
		return
	}
	if m := c.forget(h); m != nil {
		c.takeBack(m, h)
	}
}

func (c *Cluster) takeBack(m *membership, h *held) {
	lease := c.lease(h, m.epoch)
	if h.stream {
		c.tell(evaluation(releaseScript, nil, lease, h.peer, h.subject, h.name))
		return
	}
	ops := []op{command("SREM", prefix+"conns:"+m.id, lease)}
	if h.peer != "" {
		ops = append(ops, command("SREM", prefix+"conn:"+h.peer, lease))
	}
	c.tell(ops...)
}

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
		lease := c.lease(h, m.epoch)
		if h.peer != "" {
			ops = append(ops, command("SADD", prefix+"conn:"+h.peer, lease), command("PEXPIRE", prefix+"conn:"+h.peer, keyTTLms))
		}
		last := command("SADD", prefix+"conns:"+m.id, lease)
		last.done = func(redis.Cmder) { c.outlived(m, h) }
		ops = append(ops, last)
	}
	return ops
}

func (c *Cluster) registration(m *membership, h *held, done func(answer string)) op {
	return evaluation(registerScript, done, m.id, c.lease(h, m.epoch), h.peer, h.subject, h.name,
		h.since, h.request.Rule, addressText(h.request.Addr), c.isHumble(h))
}

// outlived reports whether h was given back while it was being told of, and takes
// it back again: what came last may have been the telling.
func (c *Cluster) outlived(m *membership, h *held) bool {
	c.mu.Lock()
	gone := c.leases[h.n] == nil
	c.mu.Unlock()
	if gone {
		c.takeBack(m, h)
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
