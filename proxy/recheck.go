package proxy

import (
	"context"
	"errors"
	"time"

	"rtmps-edge/authz"
)

const (
	// recheckTimeout bounds one question about a running stream.
	recheckTimeout = 10 * time.Second
	// maxRechecks is how many are asked at once, so that thousands of streams
	// do not ask a backend all together; the others wait for a later look.
	maxRechecks = 64
)

// recheck asks the authorizer again when it is time. A refusal ends the stream; a
// fault is no answer, and it goes on.
func (s *session) recheck(now time.Time, r *running, p *Policy) {
	if p.Recheck <= 0 || now.Sub(r.asked) < p.Recheck || r.asking.Load() {
		return
	}
	by := p.authorizer(r.action)
	if by == nil {
		s.stop(SideEdge, "revoked", nil)
		return
	}
	select {
	case s.srv.rechecks <- struct{}{}:
	default:
		return
	}
	r.asked = now
	r.asking.Store(true)
	s.srv.checks.Go(func() {
		defer func() { <-s.srv.rechecks; r.asking.Store(false) }()
		defer s.guard()
		ctx, cancel := context.WithTimeout(s.srv.ctx, recheckTimeout)
		defer cancel()
		q := r.question
		q.Running = now.Sub(r.since)
		_, err := by.Authorize(ctx, q)
		switch {
		case errors.Is(err, authz.ErrDenied), errors.Is(err, authz.ErrUnknown):
			s.stop(SideEdge, "revoked", err)
		case err != nil && s.srv.ctx.Err() == nil:
			s.srv.log.WithField("session", s.event.Session).WithError(err).Warn("the authorizer did not answer when asked again; the stream goes on")
		}
	})
}
