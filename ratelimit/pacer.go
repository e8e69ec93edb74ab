package ratelimit

import (
	"context"
	"math"
	"sync"
	"time"
)

const (
	// MinBurst, in bytes, always passes at once: less than a keyframe's first
	// packets would only add latency.
	MinBurst = 64 << 10
	// BurstTime is the time whose worth of bytes passes at once: a keyframe of
	// an encoder that keeps to the rate is well below it.
	BurstTime = 500 * time.Millisecond
	// minPause is the shortest sleep: below it, the timer's own error would be
	// most of it. What is not slept is owed and slept later.
	minPause = time.Millisecond
	// maxPause is the longest sleep in one piece: it keeps the arithmetic in
	// range at 1 bit per second. Wait sleeps again until nothing is owed.
	maxPause = time.Hour
)

// PacerConfig configures a Pacer.
type PacerConfig struct {
	Bitrate int64 // bits per second; 0 or less = no limit
}

// Pacer holds a stream to a bit rate by making its reader wait: the sender
// feels the back-pressure, and nothing is dropped. Up to a burst of
// max(MinBurst, BurstTime at the rate) passes without waiting; then the mean
// is the rate. It is safe for concurrent use; a nil Pacer never waits.
type Pacer struct {
	mu     sync.Mutex
	rate   float64 // bytes per second; 0 = no limit
	level  float64 // bytes that may pass now; negative: owed
	filled time.Time
	// changed is closed, and replaced, when the rate changes: who sleeps then
	// reckons anew.
	changed chan struct{}
}

// NewPacer returns a Pacer whose burst is unused.
func NewPacer(cfg PacerConfig) *Pacer {
	p := &Pacer{rate: bytesPerSecond(cfg.Bitrate), changed: make(chan struct{}), filled: time.Now()}
	p.level = p.burst()
	return p
}

// SetBitrate changes the rate, in bits per second; 0 or less = no limit. What
// is owed stays owed; who waits now goes on at the new rate.
func (p *Pacer) SetBitrate(bitrate int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fill(time.Now())
	unlimited := p.rate == 0
	p.rate = bytesPerSecond(bitrate)
	if unlimited {
		p.level = p.burst()
	}
	p.level = min(p.level, p.burst())
	close(p.changed)
	p.changed = make(chan struct{})
}

// Wait charges n bytes that were read, and returns when they may go on. n may
// be more than a burst: the rest is owed and slept off. The error is that of
// ctx, if it ends while Wait sleeps; the bytes stay charged.
func (p *Pacer) Wait(ctx context.Context, n int) error {
	if p == nil {
		return nil
	}
	for {
		pause, changed := p.charge(n)
		if pause == 0 {
			return nil
		}
		if err := sleep(ctx, pause, changed); err != nil {
			return err
		}
		n = 0 // charged
	}
}

// charge takes n bytes and says how long to sleep.
func (p *Pacer) charge(n int) (time.Duration, <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.rate == 0 {
		return 0, nil
	}
	p.fill(time.Now())
	p.level -= float64(max(n, 0))
	owed := math.Ceil(-p.level / p.rate * float64(time.Second))
	if owed < float64(minPause) {
		return 0, nil
	}
	return time.Duration(min(owed, float64(maxPause))), p.changed
}

// fill adds what the time since the last call allows.
func (p *Pacer) fill(now time.Time) {
	p.level = min(p.level+now.Sub(p.filled).Seconds()*p.rate, p.burst())
	p.filled = now
}

func (p *Pacer) burst() float64 {
	return max(MinBurst, p.rate*BurstTime.Seconds())
}

func bytesPerSecond(bitrate int64) float64 { return float64(max(bitrate, 0)) / 8 }

func sleep(ctx context.Context, d time.Duration, changed <-chan struct{}) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-changed:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
