package proxy

import (
	"errors"
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
// ending the one that has it. It fails with a *refusal.
func (s *session) take(name streamName) error {
	for {
		holder := s.srv.claim(s, name)
		if holder == nil {
			return nil
		}
		if !s.mayTakeOver(holder) {
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
	switch s.policy.Duplicate {
	case DuplicateTakeover:
		return true
	case DuplicateSameIP:
		a, b := s.event.Client.Addr(), holder.event.Client.Addr()
		if a.IsValid() && a == b {
			return true
		}
	}
	r := holder.running.Load()
	return r != nil && r.silence(time.Now()) >= ghost && !r.held()
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
