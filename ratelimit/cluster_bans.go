package ratelimit

import (
	"context"
	"encoding/json"
	"errors"
	"net/netip"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"
)

// maxLifted is how many bans can be lifted while Redis is gone, and stay so.
const maxLifted = 4096

// sharedBan is a Ban as the edges tell each other.
type sharedBan struct {
	From   string `json:"from"` // the edge's base
	MS     int64  `json:"ms"`   // left
	Why    string `json:"why"`
	Count  int    `json:"count"`
	ByHand bool   `json:"by_hand,omitempty"`
}

// shareBan tells the others of a ban.
func (c *Cluster) shareBan(b Ban) {
	c.tell(c.banOps(b)...)
}

func (c *Cluster) banOps(b Ban) []op {
	left := time.Until(b.Until)
	if left < time.Millisecond {
		return nil
	}
	text, _ := json.Marshal(sharedBan{c.base, left.Milliseconds(), b.Why, b.Count, b.ByHand}) // cannot fail
	peer := b.Network.String()
	return []op{
		command("SET", prefix+"ban:"+peer, text, "PX", left.Milliseconds()),
		command("ZADD", prefix+"bans", b.Until.UnixMilli(), peer),
		command("ZREMRANGEBYRANK", prefix+"bans", 0, -MaxBanEntries-1),
		event{T: "ban", Peer: peer, Text: string(text)}.op(),
	}
}

// shareLift tells the others that a ban is lifted, now or when Redis is back.
func (c *Cluster) shareLift(p peer) {
	if c.current.Load() == nil {
		c.mu.Lock()
		defer c.mu.Unlock()
		if len(c.lifted) < maxLifted {
			c.lifted[p] = true
		}
		return
	}
	c.tell(c.liftOps(p)...)
}

func (c *Cluster) liftOps(p peer) []op {
	peer := p.prefix().String()
	return []op{
		command("DEL", prefix+"ban:"+peer, prefix+"fail:"+peer),
		command("ZREM", prefix+"bans", peer),
		// Whoever was away must not bring it back.
		command("SET", prefix+"lifted:"+peer, time.Now().UnixMilli(), "PX", MaxBan.Milliseconds()),
		event{T: "lift", Peer: peer, Text: c.base}.op(),
	}
}

func (c *Cluster) heardBan(e event) {
	network, err := netip.ParsePrefix(e.Peer)
	if err != nil {
		return
	}
	p := peerOf(network.Addr())
	if e.T == "lift" {
		if e.Text != c.base {
			c.local.Bans.drop(p)
		}
		return
	}
	var b sharedBan
	if json.Unmarshal([]byte(e.Text), &b) == nil && b.From != c.base {
		c.local.Bans.put(p, time.Duration(b.MS)*time.Millisecond, b.Why, b.Count, b.ByHand)
	}
}

// failed counts a refused credential of addr over all edges.
func (c *Cluster) failed(addr netip.Addr, lim BanLimits) {
	r := lim.AuthFailures
	if c == nil || !addr.IsValid() || r.none() {
		return
	}
	c.tell(evaluation(failScript, func(answer string) {
		if answer == ReasonBanned {
			c.local.Bans.banNow(addr, lim)
		}
	}, peerText(addr), r.interval().Microseconds(), r.Events))
}

// syncBans makes the bans of this edge and those in Redis the same.
func (c *Cluster) syncBans(m *membership) error {
	c.mu.Lock()
	lifted := c.lifted
	c.lifted = map[peer]bool{}
	c.mu.Unlock()
	var ops []op
	for p := range lifted {
		ops = append(ops, c.liftOps(p)...)
	}
	if err := c.send(m.ctx, ops); err != nil {
		return err
	}
	if err := c.dropLifted(m); err != nil {
		return err
	}
	if err := c.fetchBans(m); err != nil {
		return err
	}
	ops = nil
	for _, b := range c.local.Bans.List() {
		ops = append(ops, c.banOps(b)...)
	}
	return c.send(m.ctx, ops)
}

// dropLifted lifts what other edges have lifted while this one was away.
func (c *Cluster) dropLifted(m *membership) error {
	var ops []op
	for _, b := range c.local.Bans.List() {
		o := command("GET", prefix+"lifted:"+b.Network.String())
		o.done = func(cmd redis.Cmder) {
			text, _ := cmd.(*redis.Cmd).Text()
			if at, err := strconv.ParseInt(text, 10, 64); err == nil && at > b.Since.UnixMilli() {
				c.local.Bans.drop(peerOf(b.Network.Addr()))
			}
		}
		ops = append(ops, o)
	}
	return c.send(m.ctx, ops)
}

// fetchBans takes over the bans in Redis.
func (c *Cluster) fetchBans(m *membership) error {
	ctx, cancel := context.WithTimeout(m.ctx, c.patience)
	defer cancel()
	old := time.Now().Add(-MaxBan).UnixMilli()
	if err := c.client.ZRemRangeByScore(ctx, prefix+"bans", "-inf", strconv.FormatInt(old, 10)).Err(); err != nil {
		return err
	}
	peers, err := c.client.ZRange(ctx, prefix+"bans", 0, MaxBanEntries).Result()
	if err != nil {
		return err
	}
	var ops []op
	for _, peer := range peers {
		ops = append(ops, c.fetchBan(peer)...)
	}
	return c.send(m.ctx, ops)
}

func (c *Cluster) fetchBan(peer string) []op {
	get, left := command("GET", prefix+"ban:"+peer), command("PTTL", prefix+"ban:"+peer)
	var b sharedBan
	get.done = func(cmd redis.Cmder) {
		text, _ := cmd.(*redis.Cmd).Text()
		_ = json.Unmarshal([]byte(text), &b) // what is unreadable lasts no time
	}
	left.done = func(cmd redis.Cmder) {
		ms, err := cmd.(*redis.Cmd).Int64()
		network, bad := netip.ParsePrefix(peer)
		if err == nil && bad == nil && ms > 0 && b.MS > 0 {
			c.local.Bans.put(peerOf(network.Addr()), time.Duration(ms)*time.Millisecond, b.Why, b.Count, b.ByHand)
		}
	}
	return []op{get, left}
}

// OnKick sets what ends the session id if it is this edge's, bans its address if
// ban is positive, and reports whether it was. It must return soon.
func (c *Cluster) OnKick(end func(id string, ban time.Duration) bool) {
	if c != nil {
		c.onKick.Store(&end)
	}
}

// kickWait is how long Kick waits for the edge that has the session: none says
// that it has it not.
const kickWait = 3 * time.Second

var errNoCluster = errors.New("the other edges cannot be reached")

// Kick ends the session id on whichever other edge has it, and bans its address
// there, and so everywhere, if ban is positive. It reports whether an edge has
// said that it did.
func (c *Cluster) Kick(ctx context.Context, id string, ban time.Duration) (bool, error) {
	if !c.Up() {
		return false, errNoCluster
	}
	done := make(chan struct{}, 1)
	c.mu.Lock()
	c.kicks[id] = append(c.kicks[id], done)
	c.mu.Unlock()
	defer c.endKick(id, done)
	c.tell(event{T: "kick", Lease: id, Ban: strconv.FormatInt(ban.Milliseconds(), 10), Text: c.base}.op())
	t := time.NewTimer(kickWait)
	defer t.Stop()
	select {
	case <-done:
		return true, nil
	case <-t.C:
		return false, nil
	case <-ctx.Done():
		return false, ctx.Err()
	}
}

func (c *Cluster) endKick(id string, done chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, d := range c.kicks[id] {
		if d == done {
			c.kicks[id] = append(c.kicks[id][:i:i], c.kicks[id][i+1:]...)
		}
	}
	if len(c.kicks[id]) == 0 {
		delete(c.kicks, id)
	}
}

func (c *Cluster) heardKick(e event) {
	ms, err := strconv.ParseInt(e.Ban, 10, 64)
	end := c.onKick.Load()
	if err != nil || e.Text == c.base || end == nil {
		return
	}
	if (*end)(e.Lease, time.Duration(ms)*time.Millisecond) {
		c.tell(event{T: "kicked", Lease: e.Lease}.op())
	}
}

func (c *Cluster) heardKicked(e event) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, done := range c.kicks[e.Lease] {
		select {
		case done <- struct{}{}:
		default:
		}
	}
}
