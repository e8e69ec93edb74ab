package ratelimit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	// refreshEvery is how often each lease is told anew: it keeps sets from
	// expiring, and heals what nobody noticed.
	refreshEvery = 5 * time.Minute
	// refreshMost is how many leases one beat tells anew.
	refreshMost = 2000
	// maxFormer is how many memberships can end before one settles, and be given
	// up by it: those before them have expired, for all the pauses between.
	maxFormer = 16
	// deaf is how long no event, and no answer to a ping, may come.
	deaf = 10 * time.Second
)

// join begins a membership: the others know this edge and all that it holds when
// it returns.
func (c *Cluster) join(ctx context.Context) (*membership, error) {
	c.mu.Lock()
	c.epoch++
	m := &membership{epoch: c.epoch, id: c.edge(c.epoch), since: time.Now()}
	c.mu.Unlock()
	m.queue.more = make(chan struct{}, 1)
	m.ctx, m.cancel = context.WithCancel(ctx)
	if err := c.enter(m); err != nil {
		m.cancel()
		if m.events != nil {
			_ = m.events.Close()
		}
		return nil, err
	}
	return m, nil
}

// edge is the id of this edge in one membership.
func (c *Cluster) edge(epoch uint64) string { return c.base + "." + strconv.FormatUint(epoch, 36) }

func (c *Cluster) enter(m *membership) error {
	if err := c.listen(m); err != nil {
		return err
	}
	var ops []op
	for _, edge := range c.former { // what it holds counts until settle; what it says, no more
		ops = append(ops, command("SET", prefix+"edge:"+edge, "0", "PX", edgeTTL.Milliseconds(), "XX"))
	}
	ops = append(ops, command("SET", prefix+"edge:"+m.id, "1", "PX", edgeTTL.Milliseconds()), command("SADD", prefix+"edges", m.id))
	for _, s := range scripts {
		ops = append(ops, command("SCRIPT", "LOAD", s.text))
	}
	return c.send(m.ctx, ops)
}

// listen subscribes, and waits until that is sure.
func (c *Cluster) listen(m *membership) error {
	ctx, cancel := context.WithTimeout(m.ctx, c.patience)
	defer cancel()
	m.events = c.client.Subscribe(ctx, channel)
	_, err := m.events.Receive(ctx)
	return err
}

// serve keeps a membership until it fails or ctx is done.
func (c *Cluster) serve(ctx context.Context, m *membership) {
	told, owed := c.begin(m)
	m.wg.Go(func() { c.hear(m) })
	m.wg.Go(func() { c.flush(m) })
	if err := c.settle(m, told, owed); err != nil {
		c.fail(m, err)
		c.owe(owed)
	} else if c.current.Load() == m {
		c.report(stateUp, nil)
	}
	c.tick(m)
	c.current.CompareAndSwap(m, nil)
	c.local.Streams.unshare()
	m.cancel()
	_ = m.events.Close()
	m.wg.Wait()
	waiting, flying := m.queue.close()
	c.owe(flying)
	if ctx.Err() != nil {
		c.leave(m, waiting)
		return
	}
	c.owe(waiting)
	c.former = append(c.former, m.id)
	c.former = c.former[max(0, len(c.former)-maxFormer):]
}

// begin puts m in force, and returns the leases that it has to tell of, and what
// it owes to the memberships before.
func (c *Cluster) begin(m *membership) (all []*held, owed []op) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.current.Store(m)
	all = make([]*held, 0, len(c.leases))
	for _, h := range c.leases {
		h.join(m)
		all = append(all, h)
	}
	owed, c.owed = c.owed, nil
	return all, owed
}

// settle tells of all leases and bans, and then gives up the memberships before.
// Each lease is moved out of them, so that it counts once; what was given back
// comes after that, for a name may have been taken again on this edge.
func (c *Cluster) settle(m *membership, leases []*held, owed []op) error {
	if err := c.send(m.ctx, c.registrations(m, leases)); err != nil {
		return err
	}
	if err := c.send(m.ctx, owed); err != nil {
		return err
	}
	if err := c.syncBans(m); err != nil {
		return err
	}
	if err := c.send(m.ctx, c.farewells(c.former)); err != nil {
		return err
	}
	c.former = nil
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, h := range leases {
		h.former = nil
	}
	return nil
}

// farewells make edges unknown, and tell those who wait for one of their names.
func (c *Cluster) farewells(edges []string) []op {
	var ops []op
	for _, edge := range edges {
		ops = append(ops, command("DEL", prefix+"edge:"+edge, prefix+"conns:"+edge), command("SREM", prefix+"edges", edge))
	}
	if len(ops) > 0 {
		ops = append(ops, event{T: "left"}.op())
	}
	return ops
}

// leave tells what waits to be told, and lets the others have what this edge held.
func (c *Cluster) leave(m *membership, waiting []op) {
	ctx, cancel := context.WithTimeout(context.Background(), c.patience)
	defer cancel()
	c.mu.Lock()
	owed := c.owed
	c.mu.Unlock()
	_ = c.send(ctx, slices.Concat(owed, waiting, c.farewells(append(c.former, m.id)))) // or it expires
}

// tick tells that this edge lives, and what it wants, until the membership ends.
func (c *Cluster) tick(m *membership) {
	ticker := time.NewTicker(tickEvery)
	defer ticker.Stop()
	last, beat := time.Now(), m.since
	m.stir(last)
	for {
		select {
		case <-ticker.C:
		case <-m.ctx.Done():
			return
		}
		now := time.Now()
		if m.stoodStill(now) {
			c.fail(m, errPaused)
			return
		}
		m.stir(now)
		ops := c.bitOps(m, now.Sub(last))
		last = now
		if now.Sub(beat) >= beatEvery {
			beat = now
			ops = append(ops, c.beatOps(m, now)...)
		}
		if err := c.send(m.ctx, ops); err != nil {
			c.fail(m, err)
			return
		}
		m.stir(time.Now())
	}
}

func (c *Cluster) beatOps(m *membership, now time.Time) []op {
	_ = m.events.Ping(m.ctx) // an error is heard
	beat := evaluation(beatScript, func(answer string) {
		if answer == answerGone {
			c.fail(m, errLapsed)
		}
	}, m.id, edgeTTL.Milliseconds())
	return append([]op{beat}, c.registrations(m, c.stale(now))...)
}

// stale returns leases that were not told of for long.
func (c *Cluster) stale(now time.Time) []*held {
	c.mu.Lock()
	defer c.mu.Unlock()
	var list []*held
	for _, h := range c.leases {
		if now.Sub(h.told) >= refreshEvery && len(list) < refreshMost {
			h.told = now
			list = append(list, h)
		}
	}
	return list
}

// humble makes the names of this edge give way: it stood still, or was forgotten,
// so that the others may have had reason to take them.
func (c *Cluster) humble() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, h := range c.leases {
		h.humble = true
	}
}

// event is what edges say to each other. Unknown ones are not heard.
type event struct {
	T       string `json:"t"`
	Lease   string `json:"lease,omitempty"`
	By      string `json:"by,omitempty"`
	Rule    string `json:"rule,omitempty"`
	Address string `json:"address,omitempty"`
	At      int64  `json:"at,omitempty"`  // of the clock of who asked
	Ban     string `json:"ban,omitempty"` // milliseconds, of a kick
	Peer    string `json:"peer,omitempty"`
	Text    string `json:"text,omitempty"`
}

func (e event) op() op {
	b, _ := json.Marshal(e) // strings and a number
	return command("PUBLISH", channel, b)
}

// hear receives events until the membership ends. One that is lost with its
// connection ends it.
func (c *Cluster) hear(m *membership) {
	for {
		got, err := m.events.ReceiveTimeout(m.ctx, deaf)
		if err != nil {
			c.fail(m, fmt.Errorf("events: %w", err))
			return
		}
		switch got := got.(type) {
		case *redis.Message:
			var e event
			if json.Unmarshal([]byte(got.Payload), &e) == nil {
				c.heard(m, e)
			}
		case *redis.Subscription: // it had to connect anew
			c.fail(m, errors.New("events were missed"))
			return
		}
	}
}

func (c *Cluster) heard(m *membership, e event) {
	switch e.T {
	case "ask":
		c.asked(e)
	case "sure":
		c.sure(m, e)
	case "yes":
		c.confirmed(m, e)
	case "keep", "yours", "lost":
		c.answered(m, e)
	case "left":
		c.askAgain()
	case "ban", "lift":
		c.heardBan(e)
	case "kick":
		c.heardKick(e)
	case "kicked":
		c.heardKicked(e)
	}
}

// mine returns the lease of this edge that an event is about, whatever
// membership it was told of in.
func (c *Cluster) mine(lease string) *held {
	rest, ok := strings.CutPrefix(lease, c.base+".")
	if !ok {
		return nil
	}
	_, number, _ := strings.Cut(rest, ".")
	n, err := strconv.ParseUint(number, 36, 64)
	if err != nil {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.leases[n]
}
