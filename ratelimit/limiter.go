package ratelimit

import (
	"context"
	"net/netip"
	"time"
)

// Limiter is all that an edge counts and keeps out. It outlives reloads: limits
// are passed in with each call. Its fields are set by NewLimiter and are safe
// for concurrent use.
type Limiter struct {
	Admission  *Admission
	Bans       *Bans
	Streams    *Streams
	Handshakes *Gate
	Tarpit     *Tarpit
}

// NewLimiter returns a Limiter that has counted nothing.
func NewLimiter() *Limiter {
	return &Limiter{Admission: NewAdmission(), Bans: NewBans(), Streams: NewStreams(), Handshakes: NewGate(0), Tarpit: NewTarpit()}
}

// Close ends what is delayed, and returns when it has ended.
func (l *Limiter) Close() { l.Tarpit.Close() }

// Admit counts one connection of addr, or refuses it with a *Refusal: it is
// banned, or over a limit. The caller must call release when the connection has
// ended; calling it again does nothing.
func (l *Limiter) Admit(ctx context.Context, addr netip.Addr, lim AdmissionLimits) (release func(), err error) {
	if l.Bans.Banned(addr) {
		return nil, overBanned
	}
	return l.Admission.Admit(addr, lim)
}

// Stream counts one stream that was authorized, or refuses it with a *Refusal.
// The caller must call the Lease's Release when the stream has ended.
func (l *Limiter) Stream(ctx context.Context, addr netip.Addr, subject string, lim StreamLimits) (*Lease, error) {
	return l.Streams.Take(addr, subject, lim)
}

// Failed counts one refused credential of addr, which may ban it. It returns how
// long the refusal should be delayed.
func (l *Limiter) Failed(addr netip.Addr, lim BanLimits) (delay time.Duration) {
	n, _, _ := l.Bans.Failed(addr, lim)
	return TarpitDelay(n)
}
