package tidy

import (
	"context"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
)

// room is what the heap may grow to before garbage is collected, however little
// of it is in use. By itself the collector lets a heap of 2 MiB grow to 4 and
// starts again with every fifty connections, which is a twentieth of all that
// accepting them costs. From half of room on the collector does as it always
// does, so that nothing of this is paid for by what many connections hold. Twice
// this room saves no more time, and leaves two KiB more to each of five hundred
// connections, in places that lie scattered between what is in use.
const room = 8 << 20

const (
	// usual is the collector's percentage by itself: it starts when the heap is
	// twice what is in use.
	usual = 100
	// smallest is the heap below which it never starts at that percentage; at
	// another, in proportion.
	smallest = 4 << 20
)

// Room gives the heap its room from now on, until ctx is done. A percentage that
// the environment sets (GOGC) is left alone.
func Room(ctx context.Context) {
	if os.Getenv("GOGC") == "" {
		adjust(ctx)
	}
}

// cycle is there only to be found unused by the collector's next cycle. It has
// the size of an object that shares its place with no other.
type cycle [32]byte

// adjust sets the percentage for what is in use now, and again after each cycle
// of the collector.
func adjust(ctx context.Context) {
	if ctx.Err() != nil {
		debug.SetGCPercent(usual)
		return
	}
	debug.SetGCPercent(readUse().percent())
	runtime.AddCleanup(new(cycle), adjust, ctx)
}

// use is what the last cycle of the collector found, in bytes.
type use struct {
	live uint64 // the heap that is in use
	more uint64 // stacks and globals, which count when the next cycle is planned
}

func readUse() use {
	s := []metrics.Sample{{Name: "/gc/heap/live:bytes"}, {Name: "/gc/scan/stack:bytes"}, {Name: "/gc/scan/globals:bytes"}}
	metrics.Read(s)
	return use{live: s[0].Value.Uint64(), more: s[1].Value.Uint64() + s[2].Value.Uint64()}
}

// percent is what lets the heap grow to room, and not further.
func (u use) percent() int {
	const most = usual * room / smallest
	if u.live >= room || u.live+u.more == 0 {
		return usual
	}
	return int(min(max(usual, (room-u.live)*100/(u.live+u.more)), most))
}
