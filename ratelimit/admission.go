package ratelimit

import (
	"net/netip"
	"sync"
	"sync/atomic"
)

const (
	// MaxAdmissionEntries bounds the table of addresses, so that somebody with
	// a whole IPv6 prefix cannot fill the memory: about 20 MiB when full. It
	// is far above the connections that one machine holds.
	MaxAdmissionEntries = 1 << 18
	// burstFactor times the connect rate may come at once: an encoder that
	// reconnects, or a group behind one address, is no flood.
	burstFactor = 2
)

// AdmissionLimits are judged for each new connection. For each, zero (or less)
// means no limit.
type AdmissionLimits struct {
	Connections      int // at once, in all
	ConnectionsPerIP int // at once; an IPv6 client is its /64
	// ConnectRatePerIP is for attempts, with a burst of 2 × the rate.
	ConnectRatePerIP Rate
}

// Reasons of a Refusal.
const (
	ReasonConnections      = "connections"
	ReasonConnectionsPerIP = "connections_per_ip"
	ReasonConnectRatePerIP = "connect_rate_per_ip"
)

// Refusal is the error of Admit.
type Refusal struct {
	Reason string // one of the Reason constants: safe as a label
}

// Error names the limit; it does not contain the address.
func (r *Refusal) Error() string { return "over the limit: " + r.Reason }

// The only Refusals: a flood must not allocate.
var (
	overConnections      = &Refusal{ReasonConnections}
	overConnectionsPerIP = &Refusal{ReasonConnectionsPerIP}
	overConnectRatePerIP = &Refusal{ReasonConnectRatePerIP}
)

// Admission counts connections, in all and by address, and how often each
// address connects. It is safe for concurrent use. It outlives reloads: limits
// are passed in with each call.
type Admission struct {
	total atomic.Int64
	peers *table[peer, entry]
}

// NewAdmission returns an Admission that has counted nothing.
func NewAdmission() *Admission { return newAdmission(MaxAdmissionEntries) }

func newAdmission(entries int) *Admission {
	return &Admission{peers: newTable[peer, entry](entries)}
}

// Connections returns how many are admitted and not released, in all.
func (a *Admission) Connections() int { return int(a.total.Load()) }

// Admit counts one connection of addr, or refuses it with a *Refusal. The
// caller must call release when the connection has ended; calling it again
// does nothing. release is nil with an error.
//
// An attempt counts against the connect rate even if another limit refuses it,
// but not if the rate itself does: who keeps to the rate gets in. An addr that
// is not valid, such as a Unix socket's, counts in the total only.
func (a *Admission) Admit(addr netip.Addr, lim AdmissionLimits) (release func(), err error) {
	if !addr.IsValid() {
		return a.admitAnonymous(lim)
	}
	p := peerOf(addr)
	s, now := a.peers.of(p), a.peers.now()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sweep(now)
	e, ok := s.find(p, now)
	if !ok {
		return nil, overConnections
	}
	r := e.judge(lim, now)
	if r == nil && !a.addTotal(lim.Connections) {
		r = overConnections
	}
	if r == nil {
		e.count++
	}
	s.put(p, e, now)
	if r != nil {
		return nil, r
	}
	return a.releaser(s, p), nil
}

func (a *Admission) admitAnonymous(lim AdmissionLimits) (func(), error) {
	if !a.addTotal(lim.Connections) {
		return nil, overConnections
	}
	var once sync.Once
	return func() { once.Do(func() { a.total.Add(-1) }) }, nil
}

// addTotal never lets the total pass limit, not even for a moment.
func (a *Admission) addTotal(limit int) bool {
	for {
		n := a.total.Load()
		if limit > 0 && n >= int64(limit) {
			return false
		}
		if a.total.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// releaser gives back one connection of p, once.
func (a *Admission) releaser(s *shard[peer, entry], p peer) func() {
	var once sync.Once
	return func() {
		once.Do(func() {
			a.total.Add(-1)
			s.mu.Lock()
			defer s.mu.Unlock()
			e := s.entries[p] // it is there: nothing drops an entry that counts
			e.count--
			s.put(p, e, a.peers.now())
		})
	}
}

// entry is what is remembered of a peer.
type entry struct {
	connects bucket
	count    int32 // connections now
}

func (e entry) forgettable(now int64) bool { return e.count == 0 && e.connects.full(now) }

// worth keeps who is connected; of the others, the one whose bucket is the
// fullest goes, so that the least is forgotten.
func (e entry) worth(int64) int64 {
	if e.count > 0 {
		return pinned
	}
	return e.connects.fullAt
}

// judge charges the rate, and says which of the peer's limits refuses.
func (e *entry) judge(lim AdmissionLimits, now int64) *Refusal {
	if r := lim.ConnectRatePerIP; !e.connects.charge(r, burstFactor*r.Events, now) {
		return overConnectRatePerIP
	}
	if lim.ConnectionsPerIP > 0 && int(e.count) >= lim.ConnectionsPerIP {
		return overConnectionsPerIP
	}
	return nil
}
