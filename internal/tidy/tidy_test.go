package tidy

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

func TestDue(t *testing.T) {
	const mb = 1 << 20
	last := reading{allocated: 100 * mb, objects: 20 * mb, live: 10 * mb}
	for name, c := range map[string]struct {
		now  reading
		want bool
	}{
		"quiet, with garbage":         {reading{100 * mb, 20 * mb, 10 * mb}, true},
		"a little was allocated":      {reading{100*mb + calm, 21 * mb, 10 * mb}, true},
		"busy":                        {reading{100*mb + calm + 1, 21 * mb, 10 * mb}, false},
		"collected already":           {reading{100 * mb, 10 * mb, 10 * mb}, false},
		"freed behind the collection": {reading{100 * mb, 9 * mb, 10 * mb}, false},
		"little garbage of much":      {reading{100 * mb, 100 * mb, 98 * mb}, false},
		"little garbage at all":       {reading{100 * mb, mb, mb / 2}, false},
	} {
		if got := c.now.due(last); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// The names of the metrics are known, and make sense together.
func TestRead(t *testing.T) {
	r := read()
	if r.allocated == 0 || r.objects == 0 || r.objects > r.allocated {
		t.Errorf("%+v", r)
	}
}

var garbage []byte

// A quiet process collects its garbage once.
func TestRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		for range 64 {
			garbage = make([]byte, least/8)
		}
		garbage = nil
		ended := make(chan struct{})
		go func() { Run(ctx); close(ended) }()
		time.Sleep(2*every + every/2)
		if now := read(); now.due(now) {
			t.Errorf("garbage is left: %+v", now)
		}
		cancel()
		<-ended
	})
}
