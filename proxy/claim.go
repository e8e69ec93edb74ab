package proxy

import (
	"errors"
	"net/netip"
	"time"
)

// Duplicate says what becomes of a second publisher of one name.
type Duplicate string

// The rules. "" is DuplicateReject.
const (
	DuplicateReject   Duplicate = "reject"
	DuplicateTakeover Duplicate = "takeover" // the second ends the first
	DuplicateSameIP   Duplicate = "same-ip"  // takeover from the first one's address only
)

// ghost is how long a publisher may send nothing before another one under its
// name takes over, whatever the rule: encoders always send, so its line is dead,
// and it must not lock its owner out until idle_timeout.
const ghost = 10 * time.Second

// streamName is what two publishers may not both have.
type streamName struct{ origin, app, name string }

// take claims a name for this publisher, if need be and the rule allows it by
// ending the one that has it. One that is ending is waited for: an encoder that
// comes back at once is no second publisher. It fails with a *refusal.
func (s *session) take(name streamName) error {
	for {
		holder := s.srv.claim(s, name)
		if holder == nil {
			return nil
		}
		if !holder.isEnded() && !s.mayTakeOver(holder) {
			return &refusal{stage: StageOrigin, reason: "duplicate", err: errors.New("the name is being published")}
		}
		holder.stop(SideEdge, "takeover", nil)
		select {
		case <-holder.freed: // the origin has let go of the name
		case <-s.ctx.Done():
			return &refusal{stage: StageOrigin, reason: "duplicate", err: s.ctx.Err()}
		}
	}
}

func (s *session) mayTakeOver(holder *session) bool {
	return holder.yields(s.policy.Duplicate, s.event.Client.Addr())
}

// yields says whether a second publisher, by its rule and address, may have the
// name of s.
func (s *session) yields(rule Duplicate, to netip.Addr) bool {
	switch rule {
	case DuplicateTakeover:
		return true
	case DuplicateSameIP:
		if to.IsValid() && to == s.event.Client.Addr() {
			return true
		}
	}
	return s.isEnded() || s.isGhost() // the first is on its way out already
}

// isGhost reports whether the client is likely gone: it has sent nothing for
// long, and that is not for bytes of it that wait here.
func (s *session) isGhost() bool {
	r := s.running.Load()
	return r != nil && r.silence(time.Now()) >= ghost && !r.held()
}

// yieldTo ends the stream if a publisher of another edge may have its name.
func (s *session) yieldTo(rule string, to netip.Addr) bool {
	if !s.yields(Duplicate(rule), to) {
		return false
	}
	s.stop(SideEdge, "takeover", nil)
	return true
}

// claim takes a name for a publisher, or returns the session that has it.
func (s *Server) claim(n *session, name streamName) (holder *session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if holder := s.names[name]; holder != nil {
		return holder
	}
	s.names[name] = n
	n.stream, n.freed = name, make(chan struct{})
	return nil
}

// unclaim gives the name of n back.
func (s *Server) unclaim(n *session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.free(n)
}

// free needs s.mu.
func (s *Server) free(n *session) {
	if s.names[n.stream] == n {
		delete(s.names, n.stream)
		close(n.freed)
	}
}
