package ratelimit

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"time"
)

const (
	// MaxBan is where the doubling ends: an address changes hands sooner or
	// later, and who is still at it is banned again.
	MaxBan = 24 * time.Hour
	// MaxHandBan is the longest ban that an operator can set.
	MaxHandBan = 365 * 24 * time.Hour
	// BanMemory is how long after a ban its number is remembered: the next one
	// within it is twice as long.
	BanMemory = 24 * time.Hour
	// MaxBanEntries bounds the table of failures and bans: about 24 MiB when
	// full. When it is, mere failures are forgotten first, then bans that are
	// over, then the ban that ends soonest; never one that was set by hand.
	MaxBanEntries = 1 << 17
	// maxCount is where the number of an address's bans ends.
	maxCount = 1 << 20
	// maxWhy bounds a reason that is given by hand.
	maxWhy = 100
)

// tarpitRate counts failures where AuthFailures does not, for the Tarpit.
var tarpitRate = Rate{Events: 10, Per: time.Minute}

// Reasons of a Ban, beside those that are given by hand.
const (
	WhyAuthFailures = "auth_failures"
	WhyKick         = "kick"
)

// ReasonBanned is that of a Refusal of a banned address.
const ReasonBanned = "banned"

var overBanned = &Refusal{ReasonBanned}

// BanLimits say when an address is banned.
type BanLimits struct {
	// AuthFailures is how many refused credentials an address may send; one
	// more, and it is banned. Zero: it never is.
	AuthFailures Rate
	// Ban is how long the first ban lasts; each further one lasts twice as
	// long, up to MaxBan. Zero: there are none.
	Ban time.Duration
}

// Ban keeps an address out until some time.
type Ban struct {
	Network netip.Prefix // an IPv4 address, or the /64 of an IPv6 one
	Since   time.Time
	Until   time.Time
	Why     string
	Count   int  // which ban this is since the address last behaved for BanMemory
	ByHand  bool // an operator set it
}

// Bans counts the refused credentials of each address and keeps addresses out.
// It is safe for concurrent use, and outlives reloads: limits are passed in
// with each call.
type Bans struct {
	onBan atomic.Pointer[func(Ban)]
	// share and unshare tell the other edges; nil: there are none.
	share   func(Ban)
	unshare func(peer)

	table *table[peer, offender]
	last  atomic.Int64 // no ban ends later: after it, nobody needs to look
}

// NewBans returns Bans without any.
func NewBans() *Bans { return newBans(MaxBanEntries) }

func newBans(entries int) *Bans { return &Bans{table: newTable[peer, offender](entries)} }

// OnBan sets who hears of each new ban of this edge. It must return soon.
func (b *Bans) OnBan(hear func(Ban)) { b.onBan.Store(&hear) }

// Banned reports whether addr is banned now.
func (b *Bans) Banned(addr netip.Addr) bool {
	now := b.table.now()
	if now >= b.last.Load() || !addr.IsValid() {
		return false
	}
	p := peerOf(addr)
	s := b.table.of(p)
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.entries[p].banned(now)
}

// Failed counts one refused credential of addr. It returns how many of them
// are remembered, this one included, and whether it was the one too many: then
// with the ban that this caused.
func (b *Bans) Failed(addr netip.Addr, lim BanLimits) (failures int, ban Ban, banned bool) {
	if !addr.IsValid() {
		return 0, Ban{}, false
	}
	if failures, ban, banned = b.failed(addr, lim); banned {
		b.tell(ban)
	}
	return failures, ban, banned
}

func (b *Bans) failed(addr netip.Addr, lim BanLimits) (failures int, ban Ban, banned bool) {
	p, now := peerOf(addr), b.table.now()
	s := b.table.of(p)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sweep(now)
	o, ok := s.find(p, now)
	if !ok {
		return 0, Ban{}, false
	}
	o.lapse(now)
	failures, tooMany := o.fail(lim.AuthFailures, now)
	// Who was let in before the ban may fail on: that is no further ban.
	if tooMany && lim.Ban > 0 && !o.banned(now) {
		b.ban(&o, doubled(lim.Ban, o.count), WhyAuthFailures, now)
		ban, banned = b.describe(p, o), true
	}
	s.put(p, o, now)
	return failures, ban, banned
}

// Add bans addr by hand for d, at most MaxHandBan, and returns the ban. One
// that lasts longer stays as it is: it can be lifted. It is not ok if addr is
// not valid, d is not positive, or the table is full of bans set by hand.
func (b *Bans) Add(addr netip.Addr, d time.Duration, why string) (Ban, bool) {
	ban, ok := b.add(addr, d, why, true)
	if ok {
		b.tell(ban)
	}
	return ban, ok
}

func (b *Bans) tell(ban Ban) {
	if hear := b.onBan.Load(); hear != nil {
		(*hear)(ban)
	}
	if b.share != nil {
		b.share(ban)
	}
}

// put notes a ban of another edge, unless one that lasts longer is known.
func (b *Bans) put(p peer, d time.Duration, why string, count int, byHand bool) {
	now := b.table.now()
	s := b.table.of(p)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sweep(now)
	o, ok := s.find(p, now)
	if d = min(d, MaxHandBan); !ok || d <= 0 || o.until >= now+int64(d) {
		return
	}
	b.ban(&o, d, short(why), now)
	o.count, o.byHand = int32(min(max(count, 1), maxCount)), byHand
	s.put(p, o, now)
}

// banNow bans addr for too many failures, counted over all edges, unless it is.
func (b *Bans) banNow(addr netip.Addr, lim BanLimits) {
	if lim.Ban <= 0 {
		return
	}
	p, now := peerOf(addr), b.table.now()
	s := b.table.of(p)
	s.mu.Lock()
	o, ok := s.find(p, now)
	if !ok || o.banned(now) {
		s.mu.Unlock()
		return
	}
	o.lapse(now)
	b.ban(&o, doubled(lim.Ban, o.count), WhyAuthFailures, now)
	s.put(p, o, now)
	s.mu.Unlock()
	b.tell(b.describe(p, o))
}

func (b *Bans) add(addr netip.Addr, d time.Duration, why string, byHand bool) (Ban, bool) {
	if !addr.IsValid() || d <= 0 {
		return Ban{}, false
	}
	p, now := peerOf(addr), b.table.now()
	s := b.table.of(p)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sweep(now)
	o, ok := s.find(p, now)
	if !ok {
		return Ban{}, false
	}
	d = min(d, MaxHandBan)
	o.lapse(now)
	if o.until < now+int64(d) {
		b.ban(&o, d, short(why), now)
	}
	o.byHand = o.byHand || byHand
	s.put(p, o, now)
	return b.describe(p, o), true
}

// Lift ends the ban of addr and forgets its failures and how often it was
// banned. It reports whether it was banned.
func (b *Bans) Lift(addr netip.Addr) bool {
	if !addr.IsValid() {
		return false
	}
	p := peerOf(addr)
	was := b.drop(p)
	if b.unshare != nil {
		b.unshare(p)
	}
	return was
}

// drop forgets p, and reports whether it was banned.
func (b *Bans) drop(p peer) bool {
	s, now := b.table.of(p), b.table.now()
	s.mu.Lock()
	defer s.mu.Unlock()
	o := s.entries[p]
	delete(s.entries, p)
	return o.banned(now)
}

// List returns the bans in force, those that end last first.
func (b *Bans) List() []Ban {
	now := b.table.now()
	var list []Ban
	b.table.each(func(p peer, o offender) {
		if o.banned(now) {
			list = append(list, b.describe(p, o))
		}
	})
	slices.SortFunc(list, func(x, y Ban) int {
		return cmp.Or(y.Until.Compare(x.Until), x.Network.Addr().Compare(y.Network.Addr()))
	})
	return list
}

// Len returns how many bans are in force.
func (b *Bans) Len() int {
	now, n := b.table.now(), 0
	if now >= b.last.Load() {
		return 0
	}
	b.table.each(func(_ peer, o offender) {
		if o.banned(now) {
			n++
		}
	})
	return n
}

func (b *Bans) describe(p peer, o offender) Ban {
	return Ban{Network: p.prefix(), Since: b.table.when(o.since), Until: b.table.when(o.until), Why: o.why, Count: int(o.count), ByHand: o.byHand}
}

// ban puts a new ban on o.
func (b *Bans) ban(o *offender, d time.Duration, why string, now int64) {
	o.since, o.until, o.why, o.byHand = now, now+int64(d), why, false
	o.count = min(o.count+1, maxCount)
	for {
		last := b.last.Load()
		if last >= o.until || b.last.CompareAndSwap(last, o.until) {
			return
		}
	}
}

// doubled is the length of a ban after so many earlier ones. The first may be
// longer than MaxBan if that was configured.
func doubled(first time.Duration, earlier int32) time.Duration {
	d := first
	for ; earlier > 0 && d < MaxBan; earlier-- {
		d = min(2*d, MaxBan)
	}
	return d
}

func short(why string) string { return strings.ToValidUTF8(why[:min(len(why), maxWhy)], "") }

// offender is what is remembered of a peer.
type offender struct {
	failures     bucket
	since, until int64 // of the latest ban
	why          string
	count        int32 // bans so far
	byHand       bool
}

func (o offender) banned(now int64) bool { return now < o.until }

// remembered says that the next ban is longer for those before.
func (o offender) remembered(now int64) bool {
	return o.count > 0 && now < o.until+int64(BanMemory)
}

func (o offender) forgettable(now int64) bool { return o.failures.full(now) && !o.remembered(now) }

// worth puts bans above what is left of them, and that above failures.
func (o offender) worth(now int64) int64 {
	switch {
	case o.banned(now) && o.byHand:
		return pinned
	case o.banned(now):
		return pinned/2 + o.until/2
	case o.remembered(now):
		return pinned/4 + o.until/4
	}
	return o.failures.fullAt / 4
}

// fail counts a failure. It returns how many are remembered and whether they
// are too many.
func (o *offender) fail(r Rate, now int64) (n int, tooMany bool) {
	never := r.none()
	if never {
		r = tarpitRate
	}
	if !o.failures.charge(r, r.Events, now) {
		return r.Events + 1, !never
	}
	return o.failures.taken(r, now), false
}

// lapse forgets earlier bans when their time has come.
func (o *offender) lapse(now int64) {
	if !o.remembered(now) {
		o.count = 0
	}
}
