package proxy

import (
	"cmp"
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"time"

	"rtmps-edge/authz"
	"rtmps-edge/ratelimit"
)

const (
	// overTime is how long a stream may be above its bit rate where that ends
	// it: an encoder that adapts does so within a few seconds.
	overTime = 10 * time.Second
	// lastDrain bounds the reading of what a detained client has sent, before
	// its connection is closed.
	lastDrain = time.Millisecond
	// mostNarrow is the largest receive buffer that is asked for, in bytes:
	// Linux grants 208 KiB by default.
	mostNarrow = 192 << 10
)

// Reasons of an end by a limit.
const (
	reasonBitrate  = "over bitrate"
	reasonDuration = "max duration"
	reasonKick     = "kick"
	// reasonDuplicate is of a stream that was published through two edges while
	// they could not know of each other.
	reasonDuplicate = "duplicate"
)

// Limiter returns what the Server counts and whom it keeps out.
func (s *Server) Limiter() *ratelimit.Limiter { return s.limits }

// KickAndBan bans the address of the session id, and ends the session. It is not
// ok if there is no such session, or its address is none that can be banned.
func (s *Server) KickAndBan(id string, d time.Duration) (ratelimit.Ban, bool) {
	for _, n := range s.all() {
		if n.event.Session == id {
			ban, ok := s.limits.Bans.Add(n.event.Client.Addr(), d, ratelimit.WhyKick)
			n.stop(SideEdge, reasonKick, nil)
			return ban, ok
		}
	}
	return ratelimit.Ban{}, false
}

// KickAnywhere ends the session id on whichever edge has it, and bans its address
// if ban is positive. It reports whether there is such a session.
func (s *Server) KickAnywhere(ctx context.Context, id string, ban time.Duration) (bool, error) {
	if s.kickFrom(id, ban) {
		return true, nil
	}
	if s.limits.Cluster == nil {
		return false, nil
	}
	return s.limits.Cluster.Kick(ctx, id, ban)
}

// kickFrom ends the session id if it is here.
func (s *Server) kickFrom(id string, ban time.Duration) bool {
	if ban > 0 {
		_, ok := s.KickAndBan(id, ban)
		return ok
	}
	return s.Kick(id, reasonKick)
}

// Near returns the addresses that take much of a limit, the nearest first, at
// most so many.
func (s *Server) Near(most int) []ratelimit.Usage {
	l := s.Policy().Limits
	return s.limits.Near(ratelimit.NearLimits{Admission: l.Admission, Streams: l.Streams, Bans: l.Bans}, most)
}

// banned tells the Observer.
func (s *Server) banned(b ratelimit.Ban) {
	if s.observer != nil {
		s.observer.Observe(Event{Kind: Banned, Time: b.Since, Client: netip.AddrPortFrom(b.Network.Addr(), 0), Reason: b.Why, Ban: b})
	}
}

// admit judges the client's address, before any byte of its own is read.
func (s *session) admit() error {
	addr := s.event.Client.Addr()
	if inAny(addr, s.policy.DenyFrom) {
		return &refusal{stage: StageAdmit, reason: "network", err: errors.New("the address is in deny_from")}
	}
	release, err := s.srv.limits.Admit(addr, s.policy.Limits.Admission)
	if err != nil {
		return over(StageAdmit, err)
	}
	s.release = release
	return nil
}

// count gives the stream that was granted its place, and its name on all edges.
func (s *session) count(g authz.Grant, name streamName) error {
	r := ratelimit.StreamRequest{Addr: s.event.Client.Addr(), Subject: g.Subject}
	if s.event.Action == authz.Publish {
		r.Name, r.Rule = strings.Join([]string{name.origin, name.app, name.name}, "\x00"), cmp.Or(string(s.policy.Duplicate), ratelimit.RuleReject)
		r.Yield, r.Silent = s.yieldTo, s.isGhost
		r.Lost = func() { s.stop(SideEdge, reasonDuplicate, nil) }
	}
	lease, err := s.srv.limits.Stream(s.ctx, r, s.srv.Policy().Limits.Streams)
	if err != nil {
		return over(StageAuthorize, err)
	}
	s.lease = lease
	return nil
}

// over makes a refusal of the Limiter the session's.
func over(stage Stage, err error) error {
	r := &refusal{stage: stage, reason: "limit", err: err}
	var limit *ratelimit.Refusal
	if errors.As(err, &limit) {
		r.reason = limit.Reason
	}
	if r.reason == reasonDuplicate {
		r.stage = StageOrigin // as on one edge
	}
	return r
}

// failed counts a credential that was refused, and says how long the client
// waits to hear of it.
func (s *session) failed(err error) time.Duration {
	var r *refusal
	if !errors.As(err, &r) || !r.guess {
		return 0
	}
	return s.srv.limits.Failed(s.event.Client.Addr(), s.srv.Policy().Limits.Bans)
}

// detain keeps the client waiting for its refusal. The session ends at once:
// only the socket, these bytes and a timer are held, and the connection counts
// until it is closed.
func (s *session) detain(delay time.Duration, words []byte) {
	sealed, socket, err := s.conn.Seal(words)
	if err != nil {
		return
	}
	d := &detained{socket: socket, words: sealed, release: s.release, tarpit: s.srv.limits.Tarpit}
	s.detained, s.release = true, nil
	if !d.tarpit.Hold(delay, d.speak) {
		d.speak()
	}
}

// detained is a refused client that does not know yet.
type detained struct {
	socket  net.Conn
	words   []byte
	release func()
	tarpit  *ratelimit.Tarpit
}

// speak says it, and gives the client time to take it.
func (d *detained) speak() {
	_ = d.socket.SetDeadline(time.Now().Add(farewell))
	_, err := d.socket.Write(d.words)
	if h, ok := d.socket.(interface{ CloseWrite() error }); ok {
		_ = h.CloseWrite()
	}
	if err != nil || !d.tarpit.Hold(farewell, d.leave) {
		d.leave()
	}
}

func (d *detained) leave() {
	// What is unread at the close would make it a reset, and that would
	// destroy what the client has not read.
	_ = d.socket.SetReadDeadline(time.Now().Add(lastDrain))
	_, _ = io.CopyN(io.Discard, d.socket, lingerBytes)
	_ = d.socket.Close()
	if d.release != nil {
		d.release()
	}
}

// limit puts the policy's bit rates in force.
func (r *running) limit(p *Policy) {
	r.pacer.SetBitrate(bitrate(r.action, r.grant, p))
	r.lease.SetBitratePerIP(p.Limits.Streams.BitratePerIP)
}

// narrow bounds what the kernel takes in of a paced publisher to about a burst, so
// that it feels the pacing before seconds of its stream are on their way. Where
// that is more than systems grant, the kernel's own measure has to do.
func narrow(c leg, bitrate int64) {
	burst := ratelimit.Burst(bitrate)
	if burst == 0 || burst > mostNarrow {
		return
	}
	if t, ok := c.Socket().(interface{ SetReadBuffer(int) error }); ok {
		_ = t.SetReadBuffer(burst)
	}
}

// held reports whether bytes of the stream wait for their time.
func (r *running) held() bool { return r.pacer.Over() > 0 || r.lease.Pacer().Over() > 0 }

// tooFast reports whether the stream is to be ended for its bit rate. Of several
// that share the rate of their address, it is the one with more than its share.
func (r *running) tooFast(p *Policy) bool {
	if !p.Limits.EndOverBitrate {
		return false
	}
	if r.pacer.Over() >= overTime {
		return true
	}
	shared := r.lease.Pacer()
	if shared.Over() < overTime || !r.greedy(shared.Bitrate()) {
		return false
	}
	shared.Forgive() // the others may keep to it now
	return true
}

// greedy reports whether the stream takes about its equal share of its address's
// bit rate, or more: of those that fill it, at least one does.
func (r *running) greedy(limit int64) bool {
	_, bits, _, _ := r.meter.read(time.Now())
	return bits*int64(r.lease.Neighbours()) >= limit/10*9
}
