package tidy

import (
	"context"
	"runtime/metrics"
	"testing"
	"testing/synctest"
	"time"
)

func TestDue(t *testing.T) {
	const mb = 1 << 20
	last := reading{allocated: 100 * mb, objects: 20 * mb, live: 10 * mb, kept: mb / 2}
	for name, c := range map[string]struct {
		now  reading
		want bool
	}{
		"quiet, with garbage":         {reading{allocated: 100 * mb, objects: 20 * mb, live: 10 * mb, free: 0}, true},
		"a little was allocated":      {reading{allocated: 100*mb + calm, objects: 21 * mb, live: 10 * mb, free: 0}, true},
		"busy":                        {reading{allocated: 100*mb + calm + 1, objects: 21 * mb, live: 10 * mb, free: 0}, false},
		"collected, not given back":   {reading{allocated: 100 * mb, objects: 10 * mb, live: 10 * mb, free: 8 * mb}, true},
		"no more than could be kept":  {reading{allocated: 100 * mb, objects: 10 * mb, live: 10 * mb, free: mb}, false},
		"less than was kept":          {reading{allocated: 100 * mb, objects: 10 * mb, live: 10 * mb, free: mb / 4}, false},
		"collected and given back":    {reading{allocated: 100 * mb, objects: 10 * mb, live: 10 * mb, free: 0}, false},
		"freed behind the collection": {reading{allocated: 100 * mb, objects: 9 * mb, live: 10 * mb, free: 0}, false},
		"a little of both":            {reading{allocated: 100 * mb, objects: 11 * mb, live: 10 * mb, free: mb}, true},
		"little garbage of much":      {reading{allocated: 100 * mb, objects: 100 * mb, live: 98 * mb, free: 2 * mb}, false},
		"little garbage at all":       {reading{allocated: 100 * mb, objects: mb, live: mb / 2, free: mb / 4}, false},
	} {
		if got := c.now.due(last); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// The names of the metrics are known, and make sense together.
func TestRead(t *testing.T) {
	r := read()
	if r.allocated == 0 || r.objects == 0 || r.objects > r.allocated || r.free > 1<<40 {
		t.Errorf("%+v", r)
	}
}

var garbage []byte

// A quiet process gives back once what it can.
func TestRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first := read()
		for range 64 {
			garbage = make([]byte, least/8)
		}
		garbage = nil
		if now := read(); !now.due(reading{allocated: now.allocated}) {
			t.Fatalf("there is nothing to do: %+v", now)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { Run(ctx); close(ended) }()
		time.Sleep(2*every + every/2)
		cycles := collections()
		time.Sleep(10 * every)
		if n := collections(); n != cycles {
			t.Errorf("%d more collections with nothing to do", n-cycles)
		}
		if now := read(); now.objects > first.objects+least {
			t.Errorf("garbage is left: %+v", now)
		}
		cancel()
		<-ended
	})
}

func collections() uint64 {
	s := []metrics.Sample{{Name: "/gc/cycles/total:gc-cycles"}}
	metrics.Read(s)
	return s[0].Value.Uint64()
}
