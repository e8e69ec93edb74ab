package ratelimit

import (
	"runtime"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestTarpitDelay(t *testing.T) {
	for n, want := range map[int]time.Duration{
		-1: 0, 0: 0, 1: 0, 3: 0, 4: time.Second, 5: 2 * time.Second, 6: 4 * time.Second, 7: 8 * time.Second, 8: 8 * time.Second, 1 << 30: 8 * time.Second,
	} {
		if got := TarpitDelay(n); got != want {
			t.Errorf("failure %d: %v, want %v", n, got, want)
		}
	}
}

func TestTarpitHolds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := NewTarpit()
		start := time.Now()
		var freed []time.Duration
		for _, d := range []time.Duration{2 * time.Second, time.Second} {
			if !p.Hold(d, func() { freed = append(freed, time.Since(start)) }) {
				t.Fatal("not held")
			}
		}
		if p.Len() != 2 {
			t.Errorf("%d held", p.Len())
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if len(freed) != 1 || freed[0] != time.Second || p.Len() != 1 {
			t.Errorf("freed %v", freed)
		}
		p.Close()
		if len(freed) != 2 || time.Since(start) != time.Second {
			t.Errorf("closed, and freed %v", freed)
		}
		if p.Hold(0, func() { t.Error("held after Close") }) {
			t.Error("held after Close")
		}
		p.Close()
	})
}

// Each function is called once, whatever comes first: its time or Close.
func TestTarpitCloseRaces(t *testing.T) {
	for range 50 {
		p := NewTarpit()
		var freed, held atomic.Int64
		for i := range 100 {
			if p.Hold(time.Duration(i)*10*time.Microsecond, func() { freed.Add(1) }) {
				held.Add(1)
			}
		}
		p.Close()
		if freed.Load() != held.Load() {
			t.Fatalf("%d held, %d freed", held.Load(), freed.Load())
		}
	}
}

// Full, it costs no goroutines and little memory, and takes no more.
func TestTarpitIsBoundedAndCheap(t *testing.T) {
	p := NewTarpit()
	defer p.Close()
	goroutines := runtime.NumGoroutine()
	before := heap()
	for range MaxTarpit {
		if !p.Hold(time.Hour, func() {}) {
			t.Fatal("not held")
		}
	}
	if p.Hold(time.Hour, func() {}) {
		t.Error("held one too many")
	}
	if each := (heap() - before) / MaxTarpit; each > 512 {
		t.Errorf("%d bytes each", each)
	}
	if n := runtime.NumGoroutine(); n > goroutines {
		t.Errorf("%d goroutines more", n-goroutines)
	}
}

func heap() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
