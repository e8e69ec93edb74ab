package proxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"rtmps-edge/authz"
	"rtmps-edge/ratelimit"
	"rtmps-edge/rtmp"
)

const (
	// farewell bounds what is said and awaited when a session ends: enough for
	// a reply over a slow line, short enough for a flood of refusals.
	farewell = 2 * time.Second
	// lingerBytes is how much a peer may still send meanwhile.
	lingerBytes = 4 << 20
	// stalled is how long a peer may take none of what is written to it: it is
	// less than any idle timeout, so that the side at fault is named.
	stalled = 20 * time.Second
)

// end is why a stream ended.
type end struct {
	side   Side
	reason string
	err    error
}

// running is what look needs of a stream. It belongs to look but for the Conns.
type running struct {
	action         authz.Action
	grant          authz.Grant
	client, origin *rtmp.Conn
	pacer          *ratelimit.Pacer
	lease          *ratelimit.Lease
	since          time.Time

	received int64        // from the client, at the last look
	heard    atomic.Int64 // Unix nanoseconds of the look at which that had grown
	writes   [2]watched
	meter    meter
	counted  bool      // in Server.bytes; guarded by srv.mu
	asked    time.Time // the authorizer, the last time; by recheck
	asking   atomic.Bool
	question authz.Request
}

// silence is how long nothing was received from the client.
func (r *running) silence(now time.Time) time.Duration {
	return now.Sub(time.Unix(0, r.heard.Load()))
}

// watched is a leg whose writes are looked at.
type watched struct {
	number uint32
	since  time.Time
}

// started puts the stream under the watch. The deadline is cleared here only.
func (s *session) started(g authz.Grant, client, origin *rtmp.Conn) {
	s.deadline(0)
	s.conn.Frugal(false)
	ctx, cancel := context.WithCancel(context.Background())
	s.mu.Lock()
	endSetup := s.cancel
	s.ctx, s.cancel = ctx, cancel
	s.mu.Unlock()
	endSetup() // its contexts would be kept as long as the stream
	now := time.Now()
	r := &running{action: s.event.Action, grant: g, client: client, origin: origin, lease: s.lease, since: now, asked: now, question: s.asked}
	r.heard.Store(now.UnixNano())
	limit := bitrate(r.action, g, s.policy)
	r.pacer = ratelimit.NewPacer(ratelimit.PacerConfig{Bitrate: limit})
	if r.action == authz.Publish {
		narrow(s.conn, limit)
	}
	r.from().KeepFacts()
	pacers := ratelimit.Pacers{r.pacer, r.lease.Pacer()}
	r.from().Pace(func(n int) (int, error) { return pacers.Wait(ctx, n) })
	s.event.Took.Setup = now.Sub(s.begun)
	s.running.Store(r)
	s.observe(Started)
}

// bitrate is the grant's own, or else the policy's for the action.
func bitrate(a authz.Action, g authz.Grant, p *Policy) int64 {
	switch {
	case g.Bitrate > 0:
		return g.Bitrate
	case a == authz.Play:
		return p.Limits.PlayBitrate
	}
	return p.Limits.PublishBitrate
}

// relay runs both directions until one ends, and says goodbye to both peers.
func (s *session) relay(client, origin *rtmp.Conn) {
	if s.isEnded() { // stopped before the deadline was cleared
		s.hurry()
	}
	down := make(chan struct{})
	go s.downstream(client, origin, down)
	s.upstream(origin, client)
	<-down
	s.goodbye(client, origin)
	s.finished(client)
}

// upstream carries what the client sends.
func (s *session) upstream(origin, client *rtmp.Conn) {
	defer s.guard()
	s.over(SideClient, SideOrigin, rtmp.Relay(origin, client))
}

// downstream carries what the origin sends.
func (s *session) downstream(client, origin *rtmp.Conn, done chan<- struct{}) {
	defer close(done)
	defer s.guard()
	s.over(SideOrigin, SideClient, rtmp.Relay(client, origin))
}

// over blames an error of a direction on the side that it read from, or on the
// one that it could not write to.
func (s *session) over(from, to Side, err error) {
	side := from
	var w *rtmp.WriteError
	if errors.As(err, &w) {
		side = to
	}
	s.stop(side, causeOf(err), s.where(from, err))
}

// where adds to a breach of the protocol where in the peer's bytes it was.
func (s *session) where(from Side, err error) error {
	var p *rtmp.ProtocolError
	r := s.running.Load()
	if r == nil || !errors.As(err, &p) {
		return err
	}
	c := r.client
	if from == SideOrigin {
		c = r.origin
	}
	return fmt.Errorf("%w, within %d bytes from the %s", err, c.Received(), from)
}

// stop ends the stream, or the setup; the first call's reason stands. Reads
// return at once, so that the session's own goroutine does the rest.
func (s *session) stop(side Side, reason string, err error) {
	s.mu.Lock()
	first := s.ended == nil
	if first {
		s.ended = &end{side, reason, err}
	}
	cancel := s.cancel
	s.mu.Unlock()
	if first {
		cancel()
		s.hurry()
	}
}

func (s *session) isEnded() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ended != nil
}

// hurry makes reads of both legs return now, and writes soon.
func (s *session) hurry() {
	s.mu.Lock()
	conn, origin := s.conn, s.origin
	s.mu.Unlock()
	for _, c := range []leg{conn, origin} {
		if c != nil {
			_ = c.SetReadDeadline(time.Unix(1, 0))
			_ = c.SetWriteDeadline(time.Now().Add(farewell))
		}
	}
}

// stopSetup ends the session unless its stream has started. What the client is
// being told of counts as started.
func (s *session) stopSetup() {
	if !s.approved.Load() {
		s.stop(SideEdge, "drain", nil)
	}
}

// goodbye tells the peers, and gives them time to take what was sent. The name
// is free again as soon as the origin has let go of it: an encoder that lost its
// line comes back at once.
func (s *session) goodbye(client, origin *rtmp.Conn) {
	defer s.guard()
	until := time.Now().Add(farewell)
	_ = s.conn.SetDeadline(until)
	_ = s.origin.SetDeadline(until)
	_ = client.End(lastWords(s.ended, s.event.Action))
	_ = s.conn.CloseWrite()
	_ = origin.Finish()
	origin.Release()
	client.Release()
	linger(s.origin)
	s.lease.Release() // before the name: who takes it over needs the place
	s.srv.unclaim(s)
	drain(s.conn)
}

// lastWords is the status for a client whose stream the edge or the origin ended.
func lastWords(e *end, action authz.Action) *rtmp.StatusError {
	switch {
	case e.reason == "second stream" && action == authz.Play:
		return &rtmp.StatusError{Code: "NetStream.Play.Failed", Description: "One connection plays one stream."}
	case e.reason == "second stream":
		return &rtmp.StatusError{Code: "NetStream.Publish.Denied", Description: "One connection publishes one stream."}
	case e.reason == reasonDuplicate:
		return &rtmp.StatusError{Code: "NetStream.Publish.BadName", Description: "This stream is already being published by another encoder."}
	case e.reason == "takeover":
		return &rtmp.StatusError{Code: "NetStream.Publish.BadName", Description: "Another encoder has taken over this stream."}
	case e.reason == reasonKick && action == authz.Publish:
		return &rtmp.StatusError{Code: "NetStream.Publish.Rejected", Description: "The operator of this server ended the stream."}
	case e.reason == reasonBitrate:
		return overLimit(action, "The stream was above the bit rate that is allowed here for too long. Lower the bit rate of the encoder and start again.")
	case e.reason == reasonDuration:
		return overLimit(action, "The stream has lasted as long as is allowed here.")
	case e.reason == "revoked" || e.reason == "expired":
		return &rtmp.StatusError{Code: "NetStream.Publish.Denied", Description: "The stream key is no longer valid."}
	case e.side == SideOrigin && e.reason != "finished" && action == authz.Publish:
		return &rtmp.StatusError{Code: "NetStream.Failed", Description: "The streaming server behind this address ended the stream."}
	case e.side == SideClient && e.reason == "protocol":
		return &rtmp.StatusError{Code: "NetStream.Failed", Description: "The encoder sent something that is not valid RTMP."}
	}
	return nil
}

// linger ends the writing direction and takes what the peer still sends, so
// that closing does not destroy what it has not read. A deadline must be set.
func linger(c leg) {
	if c.CloseWrite() == nil {
		drain(c)
	}
}

// drain reads until the peer has closed, too, or the deadline.
func drain(c leg) { _, _ = io.CopyN(io.Discard, c, lingerBytes) }

// finished tells the Observer.
func (s *session) finished(client *rtmp.Conn) {
	r := s.running.Load()
	s.event.Side, s.event.Reason, s.event.Err = s.ended.side, s.ended.reason, s.ended.err
	s.srv.mu.Lock()
	s.srv.count(r)
	s.srv.mu.Unlock()
	s.event.BytesIn, s.event.BytesOut = client.Received(), client.Sent()
	s.event.Duration = time.Since(r.since)
	s.observe(Ended)
}

// look holds a stream against the time, its grant and the policy. Only the
// Server's watch goroutine calls it.
func (s *session) look(now time.Time, p *Policy) {
	r := s.running.Load()
	if r == nil || s.isEnded() {
		return
	}
	r.limit(p)
	if n := r.client.Received(); n != r.received {
		r.received = n
		r.heard.Store(now.UnixNano())
	}
	r.meter.tick(now, r.moved)
	s.recheck(now, r, p)
	idle := p.Limits.IdleTimeout
	switch {
	case closed(r.grant.Revoked):
		s.stop(SideEdge, "revoked", nil)
	case !r.grant.Expires.IsZero() && !now.Before(r.grant.Expires):
		s.stop(SideEdge, "expired", nil)
	case r.writes[0].stalled(now, r.origin):
		s.stop(SideOrigin, "stalled", nil)
	case r.writes[1].stalled(now, r.client):
		s.stop(SideClient, "stalled", nil)
	case r.tooFast(p):
		s.stop(SideEdge, reasonBitrate, nil)
	case p.Limits.MaxDuration > 0 && now.Sub(r.since) >= p.Limits.MaxDuration:
		s.stop(SideEdge, reasonDuration, nil)
	case idle > 0 && r.action == authz.Publish && r.silence(now) >= idle && r.writes[0].number%2 == 0 && !r.held():
		s.stop(SideClient, "idle", nil)
	}
}

// stalled reports whether one write has lasted too long.
func (w *watched) stalled(now time.Time, c *rtmp.Conn) bool {
	if n := c.Blocked(); n != w.number || n%2 == 0 {
		w.number, w.since = n, now
		return false
	}
	return now.Sub(w.since) >= stalled
}

func closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
