package ratelimit

import (
	"context"
	"net/netip"
	"time"
)

// await waits for what the owner of a name says to h. What it returns is an
// answer of a script.
func (c *Cluster) await(ctx context.Context, m *membership, h *held) string {
	t := time.NewTimer(handover)
	defer t.Stop()
	select {
	case said := <-h.answer:
		if said == "yours" {
			return answerOK
		}
	case <-m.ctx.Done(): // whoever has it keeps it for now; the next membership tells
		return answerOK
	case <-t.C:
	case <-ctx.Done():
	}
	return ReasonDuplicate
}

// addressOf is the address that another edge has said; not valid without one.
func addressOf(s string) netip.Addr {
	a, _ := netip.ParseAddr(s)
	return a
}

// asked is called when another edge's publisher wants a name of this edge.
func (c *Cluster) asked(m *membership, e event) {
	h := c.mine(e.Lease)
	if h == nil {
		return // it is being released: that hands the name over
	}
	// Yield may end a stream, and that may wait for what is heard here.
	m.wg.Go(func() {
		if h.request.Yield == nil || !h.request.Yield(e.Rule, addressOf(e.Address)) {
			c.tell(event{T: "keep", Lease: e.By}.op())
		}
	})
}

// answered is called when the owner of a name has answered, or the name of a
// stream is another's.
func (c *Cluster) answered(e event) {
	h := c.mine(e.Lease)
	if h == nil {
		return
	}
	c.mu.Lock()
	asking := h.asking > 0
	c.mu.Unlock()
	switch {
	case asking:
		select {
		case h.answer <- e.T:
		default:
		}
	case e.T == "lost":
		c.lose(h)
	}
}

// registered is called with the answer to a registration.
func (c *Cluster) registered(m *membership, h *held, answer string) {
	switch answer {
	case answerGone:
		c.fail(m, errLapsed)
	case answerOK:
		c.mu.Lock()
		h.humble = false
		c.mu.Unlock()
	case answerLost:
		c.lose(h)
	case answerHeld:
		c.mu.Lock()
		h.asking++
		c.mu.Unlock()
		m.wg.Go(func() { c.argue(m, h) })
	}
}

// argue waits until it is clear whose name it is.
func (c *Cluster) argue(m *membership, h *held) {
	answer := c.await(m.ctx, m, h)
	c.mu.Lock()
	h.asking--
	if answer == answerOK {
		h.humble = false
	}
	c.mu.Unlock()
	if answer != answerOK && m.ctx.Err() == nil {
		c.lose(h)
	}
}

// lose ends a stream whose name is another edge's.
func (c *Cluster) lose(h *held) {
	c.config.Log.Warn("a stream was published through two edges while Redis could not be used: one is ended")
	if h.request.Lost != nil {
		h.request.Lost()
	}
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
