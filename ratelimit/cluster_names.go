package ratelimit

import (
	"context"
	"net/netip"
	"time"
)

// answerAgain says that it is time to ask again.
const answerAgain = "again"

// askEvery is how often somebody who waits for a name asks for it. An owner that
// lives answers at once; one that does not, loses it by and by.
const askEvery = time.Second

// waits is how long whoever has asked for a name is believed to wait for it: a
// few times of asking may be missed.
const waits = 5 * time.Second

// await waits for what the owner of a name says to h, and makes it the answer of
// a script. When ctx is done, the owner has not said that it lets go.
func (c *Cluster) await(ctx context.Context, m *membership, h *held) string {
	t := time.NewTimer(askEvery)
	defer t.Stop()
	select {
	case said := <-h.answer:
		switch said {
		case answerAgain:
			return answerAgain
		case "yours":
			return answerOK
		}
	case <-m.ctx.Done(): // whoever has it keeps it for now; the next membership tells
		return answerOK
	case <-t.C:
		return answerAgain
	case <-ctx.Done():
	}
	return ReasonDuplicate
}

// askAgain is called when an edge has left, and with it perhaps the owner of a
// name that is waited for.
func (c *Cluster) askAgain() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, h := range c.leases {
		if h.asking > 0 {
			h.say(answerAgain)
		}
	}
}

// say answers who waits, if nobody has.
func (h *held) say(answer string) {
	select {
	case h.answer <- answer:
	default:
	}
}

// addressOf is the address that another edge has said; not valid without one.
func addressOf(s string) netip.Addr {
	a, _ := netip.ParseAddr(s)
	return a
}

// asked is called when another edge's publisher wants a name of this edge. Redis
// may have been slow with the question, and a stream must not be ended for
// somebody who has left since, or was let in without it: so whoever asked is
// asked in turn.
func (c *Cluster) asked(e event) {
	if c.mine(e.Lease) == nil {
		return // it is being released: that hands the name over
	}
	c.tell(event{T: "sure", Lease: e.By, By: e.Lease, Rule: e.Rule, Address: e.Address, At: c.clock()}.op())
}

// sure is called when the owner of a name wants to know whether a lease of this
// edge still waits for it. One that was told in a membership before does not.
func (c *Cluster) sure(m *membership, e event) {
	if h := c.mine(e.Lease); h != nil && c.lease(h, m.epoch) == e.Lease {
		e.T, e.Lease, e.By = "yes", e.By, e.Lease
		c.tell(e.op())
	}
}

// believed is how long after it was asked for, a yes is believed: as long as a
// client waits for Redis. Who waits asks again after askEvery.
func (c *Cluster) believed() int64 {
	return max(c.config.AdmitTimeout, DefaultAdmitTimeout).Milliseconds()
}

// clock is the time in milliseconds since this process began with its cluster.
func (c *Cluster) clock() int64 { return time.Since(c.born).Milliseconds() }

// confirmed is called when who wants a name of this edge has said so again.
func (c *Cluster) confirmed(m *membership, e event) {
	h, age := c.mine(e.Lease), c.clock()-e.At
	if h == nil || age < 0 || age > c.believed() {
		return
	}
	// Yield may end a stream, and that may wait for what is sent here.
	m.wg.Go(func() { c.yield(h, e) })
}

// yield ends the stream of h for the publisher that e is from, or lets that one
// hear that it goes on.
func (c *Cluster) yield(h *held, e event) {
	if h.request.Yield == nil || !h.request.Yield(e.Rule, addressOf(e.Address)) {
		c.tell(event{T: "keep", Lease: e.By}.op())
	}
}

// answered is called when the owner of a name has answered, or the name of a
// stream is another's.
func (c *Cluster) answered(m *membership, e event) {
	h := c.mine(e.Lease)
	if h == nil {
		return
	}
	c.mu.Lock()
	asking := h.asking > 0
	c.mu.Unlock()
	switch {
	case asking:
		h.say(e.T)
	case e.T == "lost":
		c.robbed(m, h)
	}
}

// robbed is called when the name of a stream was given to another edge's. Redis
// may have been slow with that, too, and the other gone since: so the stream asks
// for its name, as a newcomer would, before it is ended.
func (c *Cluster) robbed(m *membership, h *held) {
	c.mu.Lock()
	h.humble = true
	c.mu.Unlock()
	c.startAsking(h)
	m.wg.Go(func() {
		if c.insist(m, h) {
			c.argue(m, h)
		} else {
			c.stopAsking(h)
		}
	})
}

// registered is called with the answer to a registration.
func (c *Cluster) registered(m *membership, h *held, answer string) {
	if c.outlived(h) {
		return
	}
	switch answer {
	case answerGone:
		c.fail(m, errLapsed)
	case answerOK:
		c.notHumble(h)
	case answerLost:
		c.lose(h)
	case answerHeld:
		c.startAsking(h)
		m.wg.Go(func() { c.argue(m, h) })
	}
}

// argue waits until it is clear whose name it is. The stream goes on meanwhile,
// and it does if the owner never answers: then it is gone, and the name with it.
func (c *Cluster) argue(m *membership, h *held) {
	defer c.stopAsking(h)
	for {
		switch answer := c.await(m.ctx, m, h); {
		case m.ctx.Err() != nil:
			return
		case answer == answerOK:
			c.notHumble(h)
			return
		case answer == ReasonDuplicate:
			c.lose(h)
			return
		}
		if !c.insist(m, h) {
			return
		}
	}
}

// insist asks again for a name, and reports whether it is still not clear.
func (c *Cluster) insist(m *membership, h *held) bool {
	answer := ""
	o := c.registration(m, h, func(s string) { answer = s })
	if err := c.send(m.ctx, []op{o}); err != nil {
		c.fail(m, err)
		return false
	}
	if answer == answerHeld {
		return !c.outlived(h)
	}
	c.registered(m, h, answer)
	return false
}

// lose ends a stream whose name is another edge's.
func (c *Cluster) lose(h *held) {
	c.config.Log.Warn("a stream was published through two edges while Redis could not be used: one is ended")
	if h.request.Lost != nil {
		h.request.Lost()
	}
}

// notHumble: the name of h is its own again.
func (c *Cluster) notHumble(h *held) {
	c.mu.Lock()
	defer c.mu.Unlock()
	h.humble = false
}

// isHumble is "1" if h may not win a name by itself: others had reason to think
// that it is over.
func (c *Cluster) isHumble(h *held) string {
	c.mu.Lock()
	humble := h.humble
	c.mu.Unlock()
	if humble || h.request.Silent != nil && h.request.Silent() {
		return "1"
	}
	return "0"
}
