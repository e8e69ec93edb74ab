package ratelimit

import (
	"sync"
	"time"
)

const (
	// freeFailures are answered at once: people mistype.
	freeFailures = 3
	// tarpitStep is the delay of the next refusal; each further one's is twice
	// as long, up to tarpitMost. A guesser on 64 connections gets some eight
	// guesses a second until it is banned; a person hardly notices.
	tarpitStep = time.Second
	tarpitMost = 8 * time.Second
	// MaxTarpit is how many refusals are delayed at once; more are made at once,
	// for each holds a connection. It is well below the descriptors that a
	// process has.
	MaxTarpit = 4096
)

// TarpitDelay is how long the refusal of a client's n-th failure is delayed.
func TarpitDelay(n int) time.Duration {
	d := time.Duration(0)
	for n -= freeFailures; n > 0 && d < tarpitMost; n-- {
		d = max(2*d, tarpitStep)
	}
	return min(d, tarpitMost)
}

// Tarpit keeps refused clients waiting. It holds a timer and a function for
// each, and no goroutine. It is safe for concurrent use.
type Tarpit struct {
	mu     sync.Mutex
	held   map[*detained]bool
	closed bool
	wg     sync.WaitGroup // functions that run or will
}

// NewTarpit returns an empty Tarpit.
func NewTarpit() *Tarpit { return &Tarpit{held: map[*detained]bool{}} }

type detained struct {
	timer *time.Timer
	f     func()
}

// Hold calls f after d, in a goroutine of its own, or earlier if the Tarpit is
// closed. It returns false, and f is never called, if that is not possible now.
func (t *Tarpit) Hold(d time.Duration, f func()) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed || len(t.held) >= MaxTarpit {
		return false
	}
	t.wg.Add(1)
	one := &detained{f: f}
	one.timer = time.AfterFunc(d, func() { t.free(one) })
	t.held[one] = true
	return true
}

// free calls the function of one whose time has come, unless Close does.
func (t *Tarpit) free(one *detained) {
	t.mu.Lock()
	mine := t.held[one]
	delete(t.held, one)
	t.mu.Unlock()
	if mine {
		defer t.wg.Done()
		one.f()
	}
}

// Len returns how many are held.
func (t *Tarpit) Len() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.held)
}

// Close calls all functions now and returns when they have. Later Holds fail.
func (t *Tarpit) Close() {
	t.mu.Lock()
	t.closed = true
	held := t.held
	t.held = nil
	t.mu.Unlock()
	for one := range held {
		one.timer.Stop()
		go func() {
			defer t.wg.Done()
			one.f()
		}()
	}
	t.wg.Wait()
}
