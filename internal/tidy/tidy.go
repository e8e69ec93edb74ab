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
	// worthwhile is the part of the memory that must be garbage or free, and least
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
		last = look(last)
	}
}

// look gives memory back if that is due, and returns what the next look is
// compared with.
func look(last reading) reading {
	now := read()
	if !now.due(last) {
		now.kept = min(last.kept, now.spare())
		return now
	}
	debug.FreeOSMemory()
	now = read()
	now.kept = now.spare()
	return now
}

// reading is what the runtime says of its heap, in bytes.
type reading struct {
	allocated uint64 // ever
	objects   uint64 // in use, or garbage that was not collected yet
	live      uint64 // in use when the garbage was collected the last time
	free      uint64 // not in use, and not given back
	kept      uint64 // of what was to spare, what could not be given back
}

func read() reading {
	s := []metrics.Sample{
		{Name: "/gc/heap/allocs:bytes"},
		{Name: "/memory/classes/heap/objects:bytes"},
		{Name: "/gc/heap/live:bytes"},
		{Name: "/memory/classes/heap/free:bytes"},
	}
	metrics.Read(s)
	return reading{allocated: s[0].Value.Uint64(), objects: s[1].Value.Uint64(), live: s[2].Value.Uint64(), free: s[3].Value.Uint64()}
}

// spare is memory that the process does not need: garbage, and what is free. It
// may all be free, when the rush ended with a collection.
func (r reading) spare() uint64 {
	if r.objects > r.live {
		return r.free + r.objects - r.live
	}
	return r.free
}

// due reports whether the process has been quiet since last, and has memory to
// spare that it had not when it gave memory back the last time.
func (r reading) due(last reading) bool {
	if r.allocated-last.allocated > calm || r.spare() < last.kept {
		return false
	}
	gain := r.spare() - last.kept
	return gain >= least && float64(gain) >= worthwhile*float64(r.objects+r.free)
}
