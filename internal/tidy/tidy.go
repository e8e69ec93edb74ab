// Package tidy gives memory back to the system when a rush is over. What the
// handshakes of many connections leave behind would else stay with the process
// as long as the connections are quiet: nothing is allocated then, so nothing
// makes the garbage collector run.
package tidy

import (
	"context"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

const (
	// every is the pause between two looks.
	every = time.Second
	// calm is how much may be allocated between two looks of a quiet process. A
	// hundred running streams stay below it, ten new connections do not.
	calm = 512 << 10
	// worthwhile is the part of what is in use that must be garbage, and least
	// how much it must be: collecting costs a millisecond per megabyte in use.
	worthwhile = 1.0 / 8
	least      = 1 << 20
)

// Run looks again and again until ctx is done.
func Run(ctx context.Context) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	last := read()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		now := read()
		if now.due(last) {
			debug.FreeOSMemory()
			now = read()
		}
		last = now
	}
}

// reading is what the runtime says of its heap, in bytes.
type reading struct {
	allocated uint64 // ever
	objects   uint64 // in use, or garbage that was not collected yet
	live      uint64 // in use when the garbage was collected the last time
}

func read() reading {
	s := []metrics.Sample{
		{Name: "/gc/heap/allocs:bytes"},
		{Name: "/memory/classes/heap/objects:bytes"},
		{Name: "/gc/heap/live:bytes"},
	}
	metrics.Read(s)
	return reading{s[0].Value.Uint64(), s[1].Value.Uint64(), s[2].Value.Uint64()}
}

// due reports whether the process has been quiet since last, and has garbage.
func (r reading) due(last reading) bool {
	if r.allocated-last.allocated > calm || r.objects < r.live {
		return false
	}
	garbage := r.objects - r.live
	return garbage >= least && float64(garbage) >= worthwhile*float64(r.objects)
}
