package ratelimit

import (
	"encoding/binary"
	"hash/maphash"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// MaxAdmissionEntries bounds the table of addresses, so that somebody with
	// a whole IPv6 prefix cannot fill the memory: about 12 MiB when full. It
	// is far above the connections that one machine holds.
	MaxAdmissionEntries = 1 << 18
	// admissionShards part the table, so that cores seldom wait for each other.
	admissionShards = 64
	// maxShardEntries is each shard's part of MaxAdmissionEntries.
	maxShardEntries = MaxAdmissionEntries / admissionShards
	// burstFactor times the connect rate may come at once: an encoder that
	// reconnects, or a group behind one address, is no flood.
	burstFactor = 2
	// sweepPerAdmit entries are looked at on each call and dropped if nothing
	// is left to remember: more than one a call, so the table shrinks faster
	// than it grows, and needs no goroutine.
	sweepPerAdmit = 4
	// evictScan entries are looked at for the best one to forget when the
	// table is full; the search goes on only while none is idle.
	evictScan = 64
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
	total  atomic.Int64
	start  time.Time // entries count nanoseconds from here
	seed   maphash.Seed
	shards [admissionShards]shard
}

// NewAdmission returns an Admission that has counted nothing.
func NewAdmission() *Admission {
	a := &Admission{start: time.Now(), seed: maphash.MakeSeed()}
	for i := range a.shards {
		a.shards[i].entries = make(map[peer]entry)
	}
	return a
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
	s := &a.shards[maphash.Comparable(a.seed, p)%admissionShards]
	now := int64(time.Since(a.start))
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
func (a *Admission) releaser(s *shard, p peer) func() {
	var once sync.Once
	return func() {
		once.Do(func() {
			a.total.Add(-1)
			s.mu.Lock()
			defer s.mu.Unlock()
			e := s.entries[p] // it is there: nothing drops an entry that counts
			e.count--
			s.put(p, e, int64(time.Since(a.start)))
		})
	}
}

// peer is what counts as one client: an IPv4 address, or the /64 of an IPv6
// one, of which a single customer usually has 2^64 addresses.
type peer struct {
	net uint64
	v6  bool
}

func peerOf(addr netip.Addr) peer {
	if addr = addr.Unmap(); addr.Is4() {
		b := addr.As4()
		return peer{net: uint64(binary.BigEndian.Uint32(b[:]))}
	}
	b := addr.As16()
	return peer{net: binary.BigEndian.Uint64(b[:8]), v6: true}
}

// entry is what is remembered of a peer. The bucket of connects is one number:
// full at any time after fullAt, and one event emptier for each interval that
// fullAt lies ahead.
type entry struct {
	fullAt int64 // nanoseconds since Admission.start
	count  int32 // connections now
}

// forgettable says that a new entry would be no different.
func (e entry) forgettable(now int64) bool { return e.count == 0 && e.fullAt <= now }

// judge charges the rate, and says which of the peer's limits refuses.
func (e *entry) judge(lim AdmissionLimits, now int64) *Refusal {
	if !e.charge(lim.ConnectRatePerIP, now) {
		return overConnectRatePerIP
	}
	if lim.ConnectionsPerIP > 0 && int(e.count) >= lim.ConnectionsPerIP {
		return overConnectionsPerIP
	}
	return nil
}

// charge takes one event out of the bucket, if one is in it.
func (e *entry) charge(r Rate, now int64) bool {
	if r.none() {
		return true
	}
	interval := int64(r.interval())
	size := burstFactor * int64(r.Events) * interval
	// A bucket is at most empty, also after a reload to a higher rate.
	e.fullAt = min(max(e.fullAt, now), now+size)
	if e.fullAt+interval > now+size {
		return false
	}
	e.fullAt += interval
	return true
}

type shard struct {
	mu      sync.Mutex
	entries map[peer]entry
}

// find returns the entry of p, or a new one. It is not ok when the table is
// full of peers that are connected.
func (s *shard) find(p peer, now int64) (entry, bool) {
	e, ok := s.entries[p]
	if ok || len(s.entries) < maxShardEntries {
		return e, true
	}
	return entry{}, s.evict(now)
}

// put stores e, unless there is nothing to remember.
func (s *shard) put(p peer, e entry, now int64) {
	if e.forgettable(now) {
		delete(s.entries, p)
		return
	}
	s.entries[p] = e
}

// sweep drops a few entries that hold nothing. Maps are walked from a random
// place, so all get their turn.
func (s *shard) sweep(now int64) {
	n := 0
	for p, e := range s.entries {
		if e.forgettable(now) {
			delete(s.entries, p)
		}
		if n++; n >= sweepPerAdmit {
			return
		}
	}
}

// evict drops one entry of a peer that is not connected: of those it looks at,
// the one whose bucket is the fullest, so that the least is forgotten.
func (s *shard) evict(now int64) bool {
	var victim peer
	found, n := false, 0
	best := int64(0)
	for p, e := range s.entries {
		if e.count == 0 && (!found || e.fullAt < best) {
			victim, best, found = p, e.fullAt, true
		}
		if n++; found && (n >= evictScan || best <= now) {
			break
		}
	}
	if found {
		delete(s.entries, victim)
	}
	return found
}
