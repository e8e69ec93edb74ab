package ratelimit

import (
	"net/netip"
	"sync"
	"time"
)

// Reasons of a Refusal by Streams.
const (
	ReasonStreamsPerIP      = "streams_per_ip"
	ReasonStreamsPerSubject = "streams_per_subject"
)

var (
	overStreamsPerIP      = &Refusal{ReasonStreamsPerIP}
	overStreamsPerSubject = &Refusal{ReasonStreamsPerSubject}
)

// StreamLimits are judged when a stream was authorized. For each, zero (or
// less) means no limit.
type StreamLimits struct {
	PerIP      int // at once; an IPv6 client is its /64
	PerSubject int // at once; a stream without a subject is not counted
	// BitratePerIP is in bits per second, for all streams of an address.
	BitratePerIP int64
}

// Streams counts streams by address and by subject. It is safe for concurrent
// use. It remembers only what runs, so what it holds is bounded by that. One
// lock does: a stream starts seldom.
type Streams struct {
	mu       sync.Mutex
	total    int
	peers    map[peer]*address
	subjects map[string]int
}

// address is what the streams of one peer share.
type address struct {
	streams int
	pacer   *Pacer
	limit   int64 // bits per second; 0 = none
	share   int64 // this edge's part of it; 0 = all
	passed  int64 // bytes, when demands looked last
}

// pace puts the limit, or the part of it, in force.
func (a *address) pace() {
	if a.limit > 0 && a.share > 0 {
		a.pacer.SetBitrate(min(a.share, a.limit))
		return
	}
	a.pacer.SetBitrate(a.limit)
}

// NewStreams returns Streams that has counted nothing.
func NewStreams() *Streams {
	return &Streams{peers: map[peer]*address{}, subjects: map[string]int{}}
}

// Lease is the place of one stream among those that are counted.
type Lease struct {
	cluster *Cluster // nil: this edge alone
	held    *held
	streams *Streams
	peer    peer
	address *address // nil if the client has none
	subject string
	ended   bool // guarded by streams.mu
}

// Take counts one stream of addr and subject, or refuses it with a *Refusal.
// The caller must call the Lease's Release when the stream has ended. An addr
// that is not valid, such as a Unix socket's, is not counted by address.
func (s *Streams) Take(addr netip.Addr, subject string, lim StreamLimits) (*Lease, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := &Lease{streams: s, subject: subject}
	if addr.IsValid() {
		l.peer = peerOf(addr)
		l.address = s.peers[l.peer]
		if l.address == nil {
			l.address = &address{pacer: NewPacer(PacerConfig{})}
		}
		if lim.PerIP > 0 && l.address.streams >= lim.PerIP {
			return nil, overStreamsPerIP
		}
	}
	if subject != "" && lim.PerSubject > 0 && s.subjects[subject] >= lim.PerSubject {
		return nil, overStreamsPerSubject
	}
	s.count(l)
	l.setLimit(lim.BitratePerIP)
	return l, nil
}

func (s *Streams) count(l *Lease) {
	s.total++
	if l.address != nil {
		l.address.streams++
		s.peers[l.peer] = l.address
	}
	if l.subject != "" {
		s.subjects[l.subject]++
	}
}

// Len returns how many streams are counted.
func (s *Streams) Len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.total
}

// Release gives the place back. Calling it again does nothing, and so does a
// nil Lease's.
func (l *Lease) Release() {
	if l != nil && l.end() {
		l.cluster.release(l.held)
	}
}

// end reports whether it was the first.
func (l *Lease) end() bool {
	s := l.streams
	s.mu.Lock()
	defer s.mu.Unlock()
	if l.ended {
		return false
	}
	l.ended = true
	s.total--
	if l.address != nil {
		if l.address.streams--; l.address.streams == 0 {
			delete(s.peers, l.peer)
		}
	}
	if l.subject != "" {
		if s.subjects[l.subject]--; s.subjects[l.subject] == 0 {
			delete(s.subjects, l.subject)
		}
	}
	return true
}

// Pacer is the one that all streams of the address share; nil, which never
// waits, if the client has no address.
func (l *Lease) Pacer() *Pacer {
	if l == nil || l.address == nil {
		return nil
	}
	return l.address.pacer
}

// Neighbours is how many streams share the Pacer, this one included.
func (l *Lease) Neighbours() int {
	if l == nil || l.address == nil {
		return 0
	}
	l.streams.mu.Lock()
	defer l.streams.mu.Unlock()
	return l.address.streams
}

// SetBitratePerIP changes the limit of the Lease's address, in bits per second;
// 0 or less = no limit.
func (l *Lease) SetBitratePerIP(bitrate int64) {
	if l == nil {
		return
	}
	l.streams.mu.Lock()
	defer l.streams.mu.Unlock()
	l.setLimit(bitrate)
}

// setLimit needs streams.mu.
func (l *Lease) setLimit(bitrate int64) {
	if a := l.address; a != nil {
		a.limit = max(bitrate, 0)
		a.pace()
	}
}

// demand is how much of its bit rate an address would take now.
type demand struct {
	peer        peer
	limit, want int64 // bits per second
}

// demands returns that of each address whose bit rate is limited. d is the time
// since it was called last.
func (s *Streams) demands(d time.Duration) []demand {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []demand
	for p, a := range s.peers {
		if a.limit <= 0 {
			continue
		}
		passed := a.pacer.Passed()
		want := int64(float64(passed-a.passed) * 8 / d.Seconds() * spare)
		a.passed = passed
		if a.pacer.Over() > 0 {
			want = a.limit
		}
		list = append(list, demand{p, a.limit, min(max(want, a.limit/startShare), a.limit)})
	}
	return list
}

const (
	// spare times what an address took is what it may want next.
	spare = 1.25
	// startShare is the least part of the limit that an address wants, so that
	// a stream that begins to flow is not throttled until the edges have spoken.
	startShare = 16
)

// share gives this edge its part of an address's bit rate.
func (s *Streams) share(p peer, bits int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if a := s.peers[p]; a != nil {
		a.share = bits
		a.pace()
	}
}

// unshare gives this edge the whole again.
func (s *Streams) unshare() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, a := range s.peers {
		a.share = 0
		a.pace()
	}
}
