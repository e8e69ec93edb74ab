package ratelimit

import (
	"context"
	"math"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// MinBurst, in bytes, always passes at once: less than a keyframe's first
	// packets would only add latency.
	MinBurst = 64 << 10
	// BurstTime is the time whose worth of bytes passes at once: a keyframe of
	// an encoder that keeps to the rate is well below it.
	BurstTime = 500 * time.Millisecond
	// PieceTime is the time whose worth of bytes should go on in one piece once
	// the burst is used up, so that a slow stream flows instead of arriving in
	// lumps of a whole read buffer.
	PieceTime = 50 * time.Millisecond
	// minPiece, in bytes, is about a packet: smaller pieces would only be work.
	minPiece = 1400
	// anyPiece, in bytes, is as much as a read buffer holds: with so much to
	// spare, pieces do not matter.
	anyPiece = 64 << 10
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

// Pacer holds a stream, or several together, to a bit rate by making the reader
// wait: the sender feels the back-pressure, and nothing is dropped. Up to a
// burst of max(MinBurst, BurstTime at the rate) passes without waiting; then
// the mean is the rate. Who waits goes on in the order of the calls, so that
// streams that share a Pacer each get their turn. It is safe for concurrent
// use; a nil Pacer never waits.
type Pacer struct {
	limited atomic.Bool // rate > 0

	mu     sync.Mutex
	rate   float64 // bytes per second; 0 = no limit
	level  float64 // bytes that may pass now; negative: owed
	filled time.Time
	// charged counts all bytes: what was charged after a call is not its debt.
	charged int64
	// over is since when bytes had to wait without half a burst being saved up
	// again; zero when they do not.
	over time.Time
	// changed is closed, and replaced, when the rate changes: who sleeps then
	// reckons anew.
	changed chan struct{}
}

// NewPacer returns a Pacer whose burst is unused.
func NewPacer(cfg PacerConfig) *Pacer {
	p := &Pacer{rate: bytesPerSecond(cfg.Bitrate), changed: make(chan struct{}), filled: time.Now()}
	p.limited.Store(p.rate > 0)
	p.level = p.burst()
	return p
}

// SetBitrate changes the rate, in bits per second; 0 or less = no limit. What
// is owed stays owed; who waits now goes on at the new rate.
func (p *Pacer) SetBitrate(bitrate int64) {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	rate := bytesPerSecond(bitrate)
	if rate == p.rate {
		return
	}
	p.fill(time.Now())
	unlimited := p.rate == 0
	p.rate = rate
	p.limited.Store(rate > 0)
	if unlimited || rate == 0 {
		p.level, p.over = p.burst(), time.Time{}
	}
	p.level = min(p.level, p.burst())
	close(p.changed)
	p.changed = make(chan struct{})
}

// Wait charges n bytes that were read, and returns when they may go on. n may
// be more than a burst: the rest is owed and slept off. The error is that of
// ctx, if it ends while Wait sleeps; the bytes stay charged.
func (p *Pacer) Wait(ctx context.Context, n int) error {
	return p.await(ctx, p.charge(n))
}

// Piece returns how many bytes should be handed to the next Wait at most, so
// that they flow; 0 = any number.
func (p *Pacer) Piece() int {
	if p == nil || !p.limited.Load() {
		return 0
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	n := max(p.level, p.rate*PieceTime.Seconds(), minPiece)
	if p.rate == 0 || n >= anyPiece {
		return 0
	}
	return int(n)
}

// Over returns for how long more has been coming than the rate lets pass. A
// pause in which half a burst is saved up ends it.
func (p *Pacer) Over() time.Duration {
	if p == nil || !p.limited.Load() {
		return 0
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	p.fill(now)
	if p.over.IsZero() {
		return 0
	}
	return now.Sub(p.over)
}

// Passed returns how many bytes were charged, while there was a rate.
func (p *Pacer) Passed() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.charged
}

// Bitrate returns the rate in bits per second; 0 = no limit.
func (p *Pacer) Bitrate() int64 {
	if p == nil {
		return 0
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return int64(p.rate * 8)
}

// Forgive makes Over count from now: one of several streams was ended, and the
// others may keep to the rate now.
func (p *Pacer) Forgive() {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.over.IsZero() {
		p.over = time.Now()
	}
}

// Pacers hold a stream to several rates at once: its own, and its address's.
type Pacers [2]*Pacer

// Wait is Pacer.Wait of each. It also returns what Piece says for what comes
// next.
func (ps Pacers) Wait(ctx context.Context, n int) (next int, err error) {
	var tickets [len(ps)]int64
	for i, p := range ps {
		tickets[i] = p.charge(n) // all before any sleep: they fill at the same time
	}
	for i, p := range ps {
		if err := p.await(ctx, tickets[i]); err != nil {
			return 0, err
		}
	}
	for _, p := range ps {
		if m := p.Piece(); next == 0 || m > 0 && m < next {
			next = m
		}
	}
	return next, nil
}

// charge takes n bytes. The ticket says when they may go on: see await.
func (p *Pacer) charge(n int) (ticket int64) {
	if p == nil || !p.limited.Load() {
		return 0
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	n = max(n, 0)
	p.charged += int64(n)
	if p.rate > 0 {
		now := time.Now()
		p.fill(now)
		p.level -= float64(n)
		if p.level < 0 && p.over.IsZero() {
			p.over = now
		}
	}
	return p.charged
}

// await sleeps until all that was charged up to ticket may go on.
func (p *Pacer) await(ctx context.Context, ticket int64) error {
	if ticket == 0 {
		return nil
	}
	for {
		pause, changed := p.owed(ticket)
		if pause == 0 {
			return nil
		}
		if err := sleep(ctx, pause, changed); err != nil {
			return err
		}
	}
}

// owed says how long to sleep for what was charged up to ticket.
func (p *Pacer) owed(ticket int64) (time.Duration, <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fill(time.Now())
	return p.debt(ticket)
}

// debt is what remains to sleep for all up to ticket. It needs mu.
func (p *Pacer) debt(ticket int64) (time.Duration, <-chan struct{}) {
	if p.rate == 0 {
		return 0, nil
	}
	level := p.level + float64(p.charged-ticket)
	owed := math.Ceil(-level / p.rate * float64(time.Second))
	if owed < float64(minPause) {
		return 0, nil
	}
	return time.Duration(min(owed, float64(maxPause))), p.changed
}

// fill adds what the time since the last call allows. It needs mu.
func (p *Pacer) fill(now time.Time) {
	p.level = min(p.level+now.Sub(p.filled).Seconds()*p.rate, p.burst())
	p.filled = now
	if p.level >= p.burst()/2 {
		p.over = time.Time{}
	}
}

func (p *Pacer) burst() float64 { return burstAt(p.rate) }

func burstAt(bytesPerSecond float64) float64 {
	return max(MinBurst, bytesPerSecond*BurstTime.Seconds())
}

// Burst is how many bytes pass at once at a bit rate; 0 = any number.
func Burst(bitrate int64) int {
	if bitrate <= 0 {
		return 0
	}
	return int(burstAt(bytesPerSecond(bitrate)))
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
