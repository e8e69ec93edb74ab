package ratelimit

import (
	"context"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestGateInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewGate(2)
		var order []int
		var mu sync.Mutex
		for i := range 6 {
			go func() {
				if err := g.Enter(t.Context()); err != nil {
					t.Error(err)
				}
				mu.Lock()
				order = append(order, i)
				mu.Unlock()
				time.Sleep(time.Second)
				g.Leave()
			}()
			synctest.Wait()
		}
		if busy, waiting := g.Busy(); busy != 2 || waiting != 4 {
			t.Errorf("%d busy, %d waiting", busy, waiting)
		}
		time.Sleep(3*time.Second + 1)
		synctest.Wait()
		for i, got := range order {
			if got/2 != i/2 {
				t.Errorf("order %v", order)
				break
			}
		}
		if busy, waiting := g.Busy(); busy != 0 || waiting != 0 || len(order) != 6 {
			t.Errorf("%d busy, %d waiting, served %v", busy, waiting, order)
		}
	})
}

func TestGateQueueIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewGate(1)
		if err := g.Enter(t.Context()); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		results := make(chan error, queuePerPlace)
		for range queuePerPlace {
			go func() { results <- g.Enter(ctx) }()
		}
		synctest.Wait()
		start := time.Now()
		if err := g.Enter(ctx); err != overHandshakes || time.Since(start) != 0 {
			t.Errorf("one too many: %v after %v", err, time.Since(start))
		}
		for range queuePerPlace {
			if err := <-results; err != context.DeadlineExceeded {
				t.Errorf("waited for nothing: %v", err)
			}
		}
		g.Leave()
		if busy, waiting := g.Busy(); busy != 0 || waiting != 0 {
			t.Errorf("%d busy, %d waiting", busy, waiting)
		}
	})
}

func TestGateLimitChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewGate(1)
		for range 5 {
			go func() { _ = g.Enter(t.Context()) }()
		}
		synctest.Wait()
		g.SetLimit(3)
		synctest.Wait()
		if busy, waiting := g.Busy(); busy != 3 || waiting != 2 {
			t.Errorf("%d busy, %d waiting", busy, waiting)
		}
		g.SetLimit(1)
		g.Leave()
		g.Leave()
		synctest.Wait()
		if busy, waiting := g.Busy(); busy != 1 || waiting != 2 {
			t.Errorf("%d busy, %d waiting", busy, waiting)
		}
		g.SetLimit(0)
		synctest.Wait()
		if busy, waiting := g.Busy(); busy != 3 || waiting != 0 || g.limit != 32*runtime.GOMAXPROCS(0) {
			t.Errorf("%d busy, %d waiting of %d", busy, waiting, g.limit)
		}
	})
}

// Whatever the interleaving, who gives up included: never more than allowed,
// and every place comes back.
func TestGateNeverLetsInMore(t *testing.T) {
	const limit = 3
	g := NewGate(limit)
	var inside atomic.Int64
	var wg sync.WaitGroup
	for w := range 16 {
		wg.Go(func() {
			for i := range 2000 {
				ctx, cancel := context.WithCancel(t.Context())
				if i%3 == 0 {
					go cancel()
				}
				if g.Enter(ctx) == nil {
					if n := inside.Add(1); n > limit {
						t.Errorf("%d inside", n)
					}
					if (i+w)%5 == 0 {
						runtime.Gosched()
					}
					inside.Add(-1)
					g.Leave()
				}
				cancel()
			}
		})
	}
	wg.Wait()
	if busy, waiting := g.Busy(); busy != 0 || waiting != 0 {
		t.Errorf("%d busy, %d waiting", busy, waiting)
	}
}

func BenchmarkGate(b *testing.B) {
	g := NewGate(0)
	ctx := context.Background()
	b.ReportAllocs()
	for b.Loop() {
		_ = g.Enter(ctx)
		g.Leave()
	}
}
