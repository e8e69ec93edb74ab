package proxy

import (
	"sync"
	"time"
)

const (
	// sampleEvery is how often a stream's counters are noted.
	sampleEvery = time.Second
	// samples is how many of them are kept: as many as 10 s need.
	samples = 11
)

// meter tells how fast counters grow. The zero value is ready.
type meter struct {
	mu    sync.Mutex
	ring  [samples]sample
	n     int       // samples so far
	moved time.Time // when bytes had grown
}

type sample struct {
	at     int64 // Unix nanoseconds
	bytes  int64
	frames uint64
}

// tick notes the counters, if it is time to.
func (m *meter) tick(now time.Time, count func() (bytes int64, frames uint64)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	last := m.ring[(m.n+samples-1)%samples]
	// Looks are as often as half a sample, and not quite even.
	if m.n > 0 && now.Sub(time.Unix(0, last.at)) < sampleEvery-watchEvery/2 {
		return
	}
	s := sample{at: now.UnixNano()}
	s.bytes, s.frames = count()
	if m.n == 0 || s.bytes != last.bytes {
		m.moved = now
	}
	m.ring[m.n%samples] = s
	m.n++
}

// read returns bits per second since the sample before the last and over all
// samples, frames per second over all, and how long bytes have not grown.
func (m *meter) read(now time.Time) (bits, bits10 int64, fps float64, silent time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.n > 0 {
		silent = max(0, now.Sub(m.moved))
	}
	if m.n < 2 {
		return 0, 0, 0, silent
	}
	last, before, first := m.ring[(m.n-1)%samples], m.ring[(m.n-2)%samples], m.ring[0]
	if m.n > samples {
		first = m.ring[m.n%samples]
	}
	bits10, fps = last.since(first)
	bits, _ = last.since(before)
	return bits, bits10, fps, silent
}

func (s sample) since(b sample) (bits int64, fps float64) {
	seconds := time.Duration(s.at - b.at).Seconds()
	if seconds <= 0 {
		return 0, 0
	}
	return int64(float64(s.bytes-b.bytes) * 8 / seconds), float64(s.frames-b.frames) / seconds
}
