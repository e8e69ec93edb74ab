// Package polite lets long work share a processor with work that must not wait,
// as a look at a thousand streams with the relay of each of them.
package polite

import (
	"runtime"
	"time"
)

const (
	// slice is how long the work goes on at once. A packet that comes meanwhile
	// waits for so long at most; a line's own jitter is a multiple of it.
	slice = 300 * time.Microsecond
	// rest is how long the work then leaves the processor. It must be a true
	// wait: the runtime asks the kernel which connections are ready only when
	// it has nothing else to run, or once in 10 ms, and to a goroutine that
	// merely yields there is nothing else.
	rest = 100 * time.Microsecond
	// patience is for how long the work takes rests. On a machine that has no
	// time left whoever looks is answered, too.
	patience = 2 * time.Second
)

// Work is one such work. The zero value is ready; it is for one goroutine.
type Work struct {
	begun, slice time.Time
	rests        time.Duration
}

// Step is called between pieces of the work that take a few microseconds each.
// No lock may be held that others wait for.
func (w *Work) Step() {
	now := time.Now()
	switch {
	case w.begun.IsZero():
		w.begun, w.slice = now, now
	case now.Sub(w.slice) >= slice && now.Sub(w.begun) < patience:
		Rest()
		w.slice = time.Now()
		w.rests += w.slice.Sub(now)
	}
}

// Rest leaves the processor to others for a moment.
func Rest() {
	time.Sleep(rest)
	// Who wakes up runs before those who already stand in line.
	runtime.Gosched()
}

// Rested is how much of the time since the first Step was spent waiting.
func (w *Work) Rested() time.Duration { return w.rests }
