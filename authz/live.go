package authz

import (
	"sync"
	"time"
)

// granting is one entry of a file in use: its terms, and what all its grants
// share.
type granting struct {
	Terms
	live *live
}

func (g *granting) entry() *granting { return g }

// grant returns the Grant for a stream that the origin shall see as name.
func (g *granting) grant(name string) Grant {
	return Grant{
		Subject: g.Subject,
		Origin:  g.Origin,
		Name:    name,
		Bitrate: g.Bitrate,
		Expires: g.Expires,
		Revoked: g.live.revoked,
	}
}

// inherit makes next take over from old the grants that go on, and returns
// those that do not. Entries are the same if they have the same K.
func inherit[K comparable, E interface{ entry() *granting }](old, next map[K]E, now time.Time) (revoke []*live) {
	for id, e := range old {
		was := e.entry()
		n, stays := next[id]
		if !stays || !was.covers(&n.entry().Terms, now) {
			revoke = append(revoke, was.live)
			continue
		}
		if was.live.ended() {
			continue
		}
		is := n.entry()
		is.live = was.live
		if !is.Expires.Equal(was.Expires) {
			is.live.endAt(is.Expires) // grants that were given know the old time
		}
	}
	return revoke
}

// live is what all grants of one entry share, over reloads.
type live struct {
	revoked chan struct{}
	once    sync.Once
	timer   *time.Timer // guarded by the mutex of the entry's reloader
}

func newLive() *live { return &live{revoked: make(chan struct{})} }

func (l *live) revoke() { l.once.Do(func() { close(l.revoked) }) }

func (l *live) ended() bool {
	select {
	case <-l.revoked:
		return true
	default:
		return false
	}
}

// endAt revokes at t, and not at the time that was set before; never, if t is
// zero.
func (l *live) endAt(t time.Time) {
	if l.timer != nil {
		l.timer.Stop()
	}
	if !t.IsZero() {
		l.timer = time.AfterFunc(time.Until(t), l.revoke)
	}
}

func revokeAll(list []*live) {
	for _, l := range list {
		l.revoke()
	}
}
