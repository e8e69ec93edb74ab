package ratelimit

import (
	"net/netip"
	"sync"
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
}

// NewStreams returns Streams that has counted nothing.
func NewStreams() *Streams {
	return &Streams{peers: map[peer]*address{}, subjects: map[string]int{}}
}

// Lease is the place of one stream among those that are counted.
type Lease struct {
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
	l.SetBitratePerIP(lim.BitratePerIP)
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
	if l == nil {
		return
	}
	s := l.streams
	s.mu.Lock()
	defer s.mu.Unlock()
	if l.ended {
		return
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
func (l *Lease) SetBitratePerIP(bitrate int64) { l.Pacer().SetBitrate(bitrate) }
