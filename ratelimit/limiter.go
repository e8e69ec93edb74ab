package ratelimit

import (
	"context"
	"net/netip"
	"time"
)

// LimiterConfig configures a Limiter.
type LimiterConfig struct {
	// Cluster, if it has a URL, lets the limits hold across several edges.
	Cluster ClusterConfig
}

// Limiter is all that an edge counts and keeps out. It outlives reloads: limits
// are passed in with each call. Its fields are set by NewLimiter and are safe
// for concurrent use.
type Limiter struct {
	Admission  *Admission
	Bans       *Bans
	Streams    *Streams
	Handshakes *Gate
	Tarpit     *Tarpit
	Cluster    *Cluster // nil: this edge alone
}

// NewLimiter returns a Limiter that has counted nothing. It fails only if the
// Cluster's URL is none; that Redis cannot be reached is no error. Close must be
// called.
func NewLimiter(config LimiterConfig) (*Limiter, error) {
	l := &Limiter{Admission: NewAdmission(), Bans: NewBans(), Streams: NewStreams(), Handshakes: NewGate(0), Tarpit: NewTarpit()}
	if config.Cluster.URL.Empty() {
		return l, nil
	}
	c, err := newCluster(config.Cluster, l)
	if err != nil {
		return nil, err
	}
	l.Cluster, l.Bans.share, l.Bans.unshare = c, c.shareBan, c.shareLift
	c.run()
	return l, nil
}

// Close ends what is delayed, gives the other edges what this one held, and
// returns when that is done.
func (l *Limiter) Close() {
	l.Tarpit.Close()
	if l.Cluster != nil {
		l.Cluster.close()
	}
}

// Admit counts one connection of addr, or refuses it with a *Refusal: it is
// banned, or over a limit. The caller must call release when the connection has
// ended; calling it again does nothing.
func (l *Limiter) Admit(addr netip.Addr, lim AdmissionLimits) (release func(), err error) {
	if l.Bans.Banned(addr) {
		return nil, overBanned
	}
	here, err := l.Admission.Admit(addr, lim)
	if err != nil || l.Cluster == nil {
		return here, err
	}
	h, err := l.Cluster.admit(addr, lim)
	if err != nil {
		here()
		return nil, err
	}
	return func() {
		here()
		l.Cluster.release(h)
	}, nil
}

// StreamRequest is what Stream is asked for.
type StreamRequest struct {
	Addr    netip.Addr
	Subject string // "" is not counted by subject
	// Name is what two publishers may not both have, on whichever edges; "" for
	// a player.
	Name string
	// Rule is RuleReject, RuleTakeover or RuleSameIP.
	Rule string

	// Yield is called when a publisher of another edge wants the name: by its
	// rule and address, the stream is either ended, so that its Lease will be
	// released, or kept. It may be called from any goroutine; nil keeps.
	Yield func(rule string, addr netip.Addr) bool
	// Silent reports whether the publisher has sent nothing for so long that it
	// is likely gone; nil: it is not.
	Silent func() bool
	// Lost is called when the name turned out to be another's: the stream must
	// be ended. It may be called from any goroutine.
	Lost func()
}

// The duplicate rules.
const (
	RuleReject   = "reject"
	RuleTakeover = "takeover"
	RuleSameIP   = "same-ip"
)

// ReasonDuplicate is that of a Refusal of a publisher whose name another edge's
// publisher has.
const ReasonDuplicate = "duplicate"

var overDuplicate = &Refusal{ReasonDuplicate}

// refusals are all that another edge's streams can be the reason of.
var refusals = []*Refusal{overConnections, overConnectionsPerIP, overConnectRatePerIP, overStreamsPerIP, overStreamsPerSubject, overDuplicate}

// Stream counts one stream that was authorized, and takes its name, or refuses
// it with a *Refusal. The caller must call the Lease's Release when the stream
// has ended and its name is free.
func (l *Limiter) Stream(ctx context.Context, r StreamRequest, lim StreamLimits) (*Lease, error) {
	lease, err := l.Streams.Take(r.Addr, r.Subject, lim)
	if err != nil || l.Cluster == nil {
		return lease, err
	}
	h, err := l.Cluster.take(ctx, r, lim)
	if err != nil {
		lease.Release()
		return nil, err
	}
	lease.cluster, lease.held = l.Cluster, h
	return lease, nil
}

// Failed counts one refused credential of addr, which may ban it. It returns how
// long the refusal should be delayed.
func (l *Limiter) Failed(addr netip.Addr, lim BanLimits) (delay time.Duration) {
	n, _, _ := l.Bans.Failed(addr, lim)
	l.Cluster.failed(addr, lim)
	return TarpitDelay(n)
}
