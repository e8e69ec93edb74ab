package tidy

import (
	"context"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"testing"
	"time"
)

// A small heap grows to room, a large one to twice its size.
func TestPercent(t *testing.T) {
	const mb = 1 << 20
	for name, c := range map[string]struct {
		use  use
		want int
	}{
		"nothing known":       {use{}, usual},
		"hardly anything":     {use{live: mb / 2}, 200}, // at which the collector starts at room
		"a few sessions":      {use{live: 3 * mb}, 166},
		"stacks count":        {use{live: 2 * mb, more: 2 * mb}, 150},
		"half of it":          {use{live: 4 * mb}, usual},
		"more than half":      {use{live: 5 * mb}, usual},
		"all of it":           {use{live: room}, usual},
		"more than there was": {use{live: 100 * room}, usual},
	} {
		if got := c.use.percent(); got != c.want {
			t.Errorf("%s: %d, not %d", name, got, c.want)
		}
	}
}

// The percentage follows what is in use, cycle after cycle, until the end.
func TestRoom(t *testing.T) {
	t.Setenv("GOGC", "")
	defer debug.SetGCPercent(usual)
	ctx, cancel := context.WithCancel(t.Context())
	Room(ctx)
	if p := gcPercent(); p <= usual {
		t.Errorf("a small heap is collected at %d %%", p)
	}
	held := make([]byte, room)
	waitPercent(t, func(p int) bool { return p == usual })
	runtime.KeepAlive(held)
	waitPercent(t, func(p int) bool { return p > usual })
	cancel()
	waitPercent(t, func(p int) bool { return p == usual })
}

// Who sets a percentage has it.
func TestRoomOfTheEnvironment(t *testing.T) {
	t.Setenv("GOGC", "77")
	defer debug.SetGCPercent(debug.SetGCPercent(77))
	Room(t.Context())
	if p := gcPercent(); p != 77 {
		t.Errorf("%d %%", p)
	}
}

func gcPercent() int {
	s := []metrics.Sample{{Name: "/gc/gogc:percent"}}
	metrics.Read(s)
	return int(s[0].Value.Uint64())
}

// waitPercent collects until the percentage is as it should be: what follows a
// cycle may come a little after it.
func waitPercent(t *testing.T, good func(int) bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !good(gcPercent()); runtime.Gosched() {
		if time.Now().After(end) {
			t.Fatalf("%d %%", gcPercent())
		}
		runtime.GC()
	}
}
