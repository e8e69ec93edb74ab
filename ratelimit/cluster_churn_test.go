package ratelimit

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
)

// Streams come and go on one edge while Redis comes and goes: none is refused or
// ended, and no name is left over. The edge has one publisher of a name at a
// time, but a new one may begin while Redis has yet to hear of the last one's end.
func TestChurnWhileRedisComesAndGoes(t *testing.T) {
	m := miniredis.RunT(t)
	g := newGateway(t, m.Addr())
	n := newNode(t, g.addr)
	up(t, n)
	for i := range 3000 { // so that it takes a while to tell of all
		connects(t, n, fmt.Sprintf("10.0.%d.%d", i/256, i%256), AdmissionLimits{}, "")
	}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for _, name := range []string{"live/a", "live/b", "live/c", "live/d"} {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				p := newPublisher("192.0.2.1", name, RuleReject, false)
				l, err := n.Stream(t.Context(), p.StreamRequest, StreamLimits{})
				if err != nil {
					t.Errorf("%s: %v", name, err)
					return
				}
				time.Sleep(time.Millisecond)
				if len(p.lost) > 0 {
					t.Errorf("%s was ended", name)
				}
				l.Release()
			}
		})
	}
	for range 4 {
		g.cut()
		state(t, n, false)
		g.open()
		state(t, n, true)
	}
	close(stop)
	wg.Wait()
	soon(t, "all names are given back", func() bool {
		return !slices.ContainsFunc(m.Keys(), func(k string) bool { return strings.HasPrefix(k, prefix+"name:") })
	})
}
