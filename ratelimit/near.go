package ratelimit

import (
	"cmp"
	"net/netip"
	"slices"
)

// NearPart is the part of a limit from which an address is near it.
const NearPart = 0.5

// NearLimits are what Near holds addresses against.
type NearLimits struct {
	Admission AdmissionLimits
	Streams   StreamLimits
	Bans      BanLimits
}

// Usage is how much of its limits an address takes now.
type Usage struct {
	Network     netip.Prefix // an IPv4 address, or the /64 of an IPv6 one
	Connections int
	Streams     int
	Failures    int  // refused credentials that are remembered
	Held        bool // its streams send more than its bit rate
	Part        float64
	Limit       string // that it takes the largest Part of, as a Reason; WhyAuthFailures of failures, LimitBitratePerIP when Held
}

// LimitBitratePerIP names the bit rate of an address.
const LimitBitratePerIP = "bitrate_per_ip"

// Near returns the addresses that take at least NearPart of a limit at this
// edge, the nearest first, at most so many. Who is banned is not among them.
func (l *Limiter) Near(lim NearLimits, most int) []Usage {
	near := map[peer]*Usage{}
	of := func(p peer, n, limit int, what string) {
		part := float64(n) / float64(limit)
		if limit <= 0 || part < NearPart {
			return
		}
		u := near[p]
		if u == nil {
			u = &Usage{Network: p.prefix()}
			near[p] = u
		}
		if part > u.Part {
			u.Part, u.Limit = part, what
		}
	}
	l.nearConnections(lim.Admission, of)
	l.nearStreams(lim.Streams, of)
	l.nearBans(lim.Bans, of)
	list := make([]Usage, 0, len(near))
	for _, u := range near {
		list = append(list, *u)
	}
	slices.SortFunc(list, func(a, b Usage) int {
		return cmp.Or(cmp.Compare(b.Part, a.Part), a.Network.Addr().Compare(b.Network.Addr()))
	})
	list = list[:min(len(list), most)]
	for i := range list {
		l.complete(&list[i], lim.Bans.AuthFailures)
	}
	return list
}

// judged notes that p takes n of a limit.
type judged func(p peer, n, limit int, what string)

func (l *Limiter) nearConnections(lim AdmissionLimits, of judged) {
	l.Admission.peers.each(func(p peer, e entry) { of(p, int(e.count), lim.ConnectionsPerIP, ReasonConnectionsPerIP) })
}

func (l *Limiter) nearStreams(lim StreamLimits, of judged) {
	l.Streams.mu.Lock()
	defer l.Streams.mu.Unlock()
	for p, a := range l.Streams.peers {
		of(p, a.streams, lim.PerIP, ReasonStreamsPerIP)
		if a.pacer.Over() > 0 {
			of(p, 1, 1, LimitBitratePerIP)
		}
	}
}

func (l *Limiter) nearBans(lim BanLimits, of judged) {
	now := l.Bans.table.now()
	l.Bans.table.each(func(p peer, o offender) {
		if !o.banned(now) {
			of(p, o.failures.taken(lim.AuthFailures, now), lim.AuthFailures.Events, WhyAuthFailures)
		}
	})
}

// complete fills in what an address has beside what it is near to.
func (l *Limiter) complete(u *Usage, failures Rate) {
	p := peerOf(u.Network.Addr())
	s := l.Admission.peers.of(p)
	s.mu.Lock()
	u.Connections = int(s.entries[p].count)
	s.mu.Unlock()
	l.Streams.mu.Lock()
	if a := l.Streams.peers[p]; a != nil {
		u.Streams, u.Held = a.streams, a.pacer.Over() > 0
	}
	l.Streams.mu.Unlock()
	b := l.Bans.table.of(p)
	b.mu.Lock()
	defer b.mu.Unlock()
	u.Failures = b.entries[p].failures.taken(failures, l.Bans.table.now())
}
