package ratelimit

import (
	"context"
	"math"
	"testing"
	"testing/synctest"
	"time"
)

// paced reads chunks as fast as the Pacer allows, and returns the bytes that
// passed in d.
func paced(t *testing.T, p *Pacer, chunk int, d time.Duration) int {
	t.Helper()
	n := 0
	for end := time.Now().Add(d); time.Now().Before(end); n += chunk {
		wait(t, p, chunk)
	}
	return n
}

func wait(t *testing.T, p *Pacer, n int) time.Duration {
	t.Helper()
	start := time.Now()
	if err := p.Wait(t.Context(), n); err != nil {
		t.Fatal(err)
	}
	return time.Since(start)
}

func TestMeanHolds(t *testing.T) {
	for _, bitrate := range []int64{500_000, 8_000_000, 50_000_000} {
		for _, chunk := range []int{1400, 4096, 65536, 1 << 20} {
			synctest.Test(t, func(t *testing.T) {
				p := NewPacer(PacerConfig{Bitrate: bitrate})
				wait(t, p, int(p.burst())) // the burst is extra, and once
				n := paced(t, p, chunk, 10*time.Second)
				want := float64(bitrate) / 8 * 10
				if off := math.Abs(float64(n)-want) / want; off > 0.02 && math.Abs(float64(n)-want) > float64(chunk) {
					t.Errorf("%d bit/s in chunks of %d: %d bytes in 10 s, off by %.1f %%", bitrate, chunk, n, 100*off)
				}
			})
		}
	}
}

func TestNoLatencyBelowTheLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := NewPacer(PacerConfig{Bitrate: 8_000_000})
		for i := range 600 { // 20 s at 30 frames/s, 95 % of the rate, keyframes of ten frames' size
			size := 8_000_000 / 8 * 95 / 100 / 30 * 50 / 59
			if i%50 == 0 {
				size *= 10
			}
			if d := wait(t, p, size); d != 0 {
				t.Fatalf("frame %d waited %v", i, d)
			}
			time.Sleep(time.Second / 30)
		}
	})
}

func TestBurst(t *testing.T) {
	for bitrate, want := range map[int64]int{
		500_000:    MinBurst,
		8_000_000:  500_000, // BurstTime at the rate
		80_000_000: 5_000_000,
	} {
		synctest.Test(t, func(t *testing.T) {
			p := NewPacer(PacerConfig{Bitrate: bitrate})
			time.Sleep(time.Hour) // time does not make it larger
			if d := wait(t, p, want); d != 0 {
				t.Errorf("%d bit/s: the burst waited %v", bitrate, d)
			}
			second := int(bitrate / 8)
			if d := wait(t, p, second); d < time.Second || d > time.Second+time.Microsecond {
				t.Errorf("%d bit/s: a second's worth waited %v", bitrate, d)
			}
		})
	}
}

func TestBurstSize(t *testing.T) {
	for bitrate, want := range map[int64]int{-1: 0, 0: 0, 1: MinBurst, 800_000: MinBurst, 8_000_000: 500_000} {
		if got := Burst(bitrate); got != want {
			t.Errorf("%d bit/s: got %d, want %d", bitrate, got, want)
		}
	}
}

func TestDebtIsCarried(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := NewPacer(PacerConfig{Bitrate: 8_000_000})
		if d := wait(t, p, 500_000+10_000_000).Round(time.Millisecond); d != 10*time.Second {
			t.Errorf("20 bursts waited %v", d)
		}
		// Debts that are too short for a sleep are slept together.
		var slept time.Duration
		for range 1000 {
			slept += wait(t, p, 100) // 0.1 ms each
		}
		if slept < 98*time.Millisecond || slept > 101*time.Millisecond {
			t.Errorf("100 ms in small pieces: %v", slept)
		}
	})
}

func TestSetBitrateReachesWhoWaits(t *testing.T) {
	for name, c := range map[string]struct {
		bitrate int64
		want    time.Duration
	}{
		"faster":    {80_000_000, time.Second + 900*time.Millisecond},
		"unlimited": {0, time.Second},
		"slower":    {4_000_000, time.Second + 18*time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := NewPacer(PacerConfig{Bitrate: 8_000_000})
				go func() {
					time.Sleep(time.Second)
					p.SetBitrate(c.bitrate)
				}()
				if d := wait(t, p, 500_000+10_000_000).Round(time.Millisecond); d != c.want {
					t.Errorf("waited %v, want %v", d, c.want)
				}
			})
		})
	}
}

func TestSetBitrateFromUnlimited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := NewPacer(PacerConfig{})
		wait(t, p, 1<<30)
		p.SetBitrate(8_000_000)
		if d := wait(t, p, 500_000); d != 0 {
			t.Errorf("what passed without a limit was charged: waited %v", d)
		}
		if d := wait(t, p, 1_000_000).Round(time.Millisecond); d != time.Second {
			t.Errorf("waited %v", d)
		}
	})
}

func TestNoLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, p := range []*Pacer{nil, NewPacer(PacerConfig{}), NewPacer(PacerConfig{Bitrate: -1})} {
			if d := wait(t, p, math.MaxInt); d != 0 {
				t.Errorf("waited %v", d)
			}
		}
	})
}

func TestExtremes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fastest := NewPacer(PacerConfig{Bitrate: int64(MaxBitrate)})
		if d := wait(t, fastest, 1<<30); d != 0 {
			t.Errorf("1 GiB at 1 Tbit/s waited %v", d)
		}
		slowest := NewPacer(PacerConfig{Bitrate: 1})
		if d := wait(t, slowest, -1); d != 0 {
			t.Errorf("a negative count waited %v", d)
		}
		want := 8 * 3600 * time.Second // longer than maxPause
		if d := wait(t, slowest, MinBurst+3600).Round(time.Second); d != want {
			t.Errorf("waited %v, want %v", d, want)
		}
	})
}

func TestWaitEndsWithContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := NewPacer(PacerConfig{Bitrate: 8_000_000})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start := time.Now()
		if err := p.Wait(ctx, 500_000+10_000_000); err != context.DeadlineExceeded {
			t.Errorf("got %v", err)
		}
		if d := time.Since(start); d != time.Second {
			t.Errorf("ended after %v", d)
		}
		if d := wait(t, p, 0).Round(time.Millisecond); d != 9*time.Second {
			t.Errorf("the bytes stay charged: waited %v", d)
		}
	})
}

// flow reads as fast as the Pacer allows in the pieces that it asks for, and
// calls passed with each one's size.
func flow(t *testing.T, p *Pacer, d time.Duration, passed func(n int)) {
	for end := time.Now().Add(d); time.Now().Before(end); {
		n := p.Piece()
		if n == 0 {
			n = anyPiece
		}
		_ = p.Wait(t.Context(), n)
		passed(n)
	}
}

// Once the burst is used up, every 10 s hold the rate within 2 %, and nothing
// comes in lumps, however low the rate is.
func TestPacedStreamsFlow(t *testing.T) {
	for _, bitrate := range []int64{250_000, 500_000, 2_500_000, 8_000_000, 50_000_000} {
		synctest.Test(t, func(t *testing.T) {
			p := NewPacer(PacerConfig{Bitrate: bitrate})
			wait(t, p, int(p.burst()))
			type sample struct {
				at time.Time
				n  int
			}
			var samples []sample
			flow(t, p, time.Minute, func(n int) { samples = append(samples, sample{time.Now(), n}) })
			rate := float64(bitrate) / 8
			for i, s := range samples {
				if i > 0 && s.at.Sub(samples[i-1].at) > PieceTime+2*time.Millisecond {
					t.Fatalf("%d bit/s: a gap of %v", bitrate, s.at.Sub(samples[i-1].at))
				}
				n := 0
				for _, later := range samples[i:] {
					if d := later.at.Sub(s.at); d >= 10*time.Second {
						if off := math.Abs(float64(n)/d.Seconds()/rate - 1); off > 0.02 {
							t.Fatalf("%d bit/s: off by %.1f %% over 10 s", bitrate, 100*off)
						}
						break
					}
					n += later.n
				}
			}
		})
	}
}

func TestPieces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := NewPacer(PacerConfig{Bitrate: 800_000})
		if p.Piece() != MinBurst && p.Piece() != 0 {
			t.Errorf("a whole burst may pass: got %d", p.Piece())
		}
		wait(t, p, MinBurst-20_000)
		if n := p.Piece(); n != 20_000 {
			t.Errorf("the rest of the burst: got %d", n)
		}
		wait(t, p, 20_000)
		if n := p.Piece(); n != 5000 { // PieceTime at 100,000 bytes/s
			t.Errorf("got %d", n)
		}
		p.SetBitrate(8000)
		if n := p.Piece(); n != minPiece {
			t.Errorf("got %d", n)
		}
		p.SetBitrate(0)
		if n := p.Piece(); n != 0 {
			t.Errorf("got %d", n)
		}
		fast := NewPacer(PacerConfig{Bitrate: 100_000_000})
		wait(t, fast, 10<<20)
		if n := fast.Piece(); n != 0 {
			t.Errorf("got %d", n)
		}
	})
}

// encoder sends frames at a share of the rate, with keyframes of ten frames'
// size every second, and reports the longest Over.
func encoder(t *testing.T, p *Pacer, share float64, d time.Duration) (longest time.Duration) {
	start := time.Now()
	for i := range int(d / (time.Second / 30)) {
		// What an encoder cannot send it queues: it does not slow down.
		if early := time.Until(start.Add(time.Duration(i) * time.Second / 30)); early > 0 {
			time.Sleep(early)
		}
		size := share * 1_000_000 / 39
		if i%30 == 0 {
			size *= 10
		}
		wait(t, p, int(size))
		longest = max(longest, p.Over())
	}
	return longest
}

func TestOver(t *testing.T) {
	for _, c := range []struct {
		share    float64
		min, max time.Duration
	}{
		{0.5, 0, 0},
		{0.95, 0, 0},
		{1, 0, time.Second},
		{1.05, 15 * time.Second, 32 * time.Second}, // it sends later and later
		{1.5, 43 * time.Second, 45 * time.Second},
		{10, 298 * time.Second, 301 * time.Second},
	} {
		synctest.Test(t, func(t *testing.T) {
			p := NewPacer(PacerConfig{Bitrate: 8_000_000})
			if got := encoder(t, p, c.share, 30*time.Second); got < c.min || got > c.max {
				t.Errorf("%v of the rate for 30 s: over for %v", c.share, got)
			}
		})
	}
}

func TestOverEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := NewPacer(PacerConfig{Bitrate: 8_000_000})
		wait(t, p, 2_500_000)
		if d := p.Over().Round(time.Millisecond); d != 2*time.Second {
			t.Errorf("over for %v", d)
		}
		p.Forgive()
		time.Sleep(100 * time.Millisecond)
		if d := p.Over(); d != 100*time.Millisecond {
			t.Errorf("forgiven, and over for %v", d)
		}
		time.Sleep(200 * time.Millisecond) // 0.3 s at the rate are saved up
		if d := p.Over(); d != 0 {
			t.Errorf("over for %v", d)
		}
		p.Forgive()
		if d := p.Over(); d != 0 {
			t.Errorf("over for %v", d)
		}
		wait(t, p, 2_500_000)
		p.SetBitrate(0)
		p.SetBitrate(8_000_000)
		if d := p.Over(); d != 0 {
			t.Errorf("over for %v after there was no limit", d)
		}
	})
}

// Of those who wait together, each goes on when its own bytes may.
func TestTurnsInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := NewPacer(PacerConfig{Bitrate: 8_000_000})
		wait(t, p, 500_000)
		start := time.Now()
		waited := make([]time.Duration, 4)
		done := make(chan bool)
		for i := range waited {
			go func() {
				_ = p.Wait(t.Context(), 100_000)
				waited[i] = time.Since(start)
				done <- true
			}()
			synctest.Wait()
		}
		for range waited {
			<-done
		}
		for i, d := range waited {
			if want := time.Duration(i+1) * 100 * time.Millisecond; d.Round(time.Millisecond) != want {
				t.Errorf("call %d waited %v, want %v", i, d, want)
			}
		}
	})
}

// A slow stream beside a greedy one at the same address still flows.
func TestGreedyNeighbour(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := NewPacer(PacerConfig{Bitrate: 8_000_000})
		go flow(t, p, 25*time.Second, func(int) {})
		time.Sleep(5 * time.Second)
		for range 300 { // 10 s of 1 Mbit/s
			if d := wait(t, p, 1_000_000/8/30); d > 2*PieceTime {
				t.Fatalf("waited %v", d)
			}
			time.Sleep(time.Second / 30)
		}
		time.Sleep(20 * time.Second)
	})
}

func TestPacersHoldBothRates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		own, shared := NewPacer(PacerConfig{Bitrate: 8_000_000}), NewPacer(PacerConfig{Bitrate: 4_000_000})
		pacers := Pacers{own, shared}
		wait(t, own, 500_000)
		wait(t, shared, 250_000)
		start := time.Now()
		next, err := pacers.Wait(t.Context(), 1_000_000)
		if d := time.Since(start).Round(time.Millisecond); err != nil || d != 2*time.Second {
			t.Errorf("waited %v: %v", d, err)
		}
		if next != 25_000 {
			t.Errorf("next piece %d", next)
		}
		if next, err = (Pacers{nil, NewPacer(PacerConfig{})}).Wait(t.Context(), 1); next != 0 || err != nil {
			t.Errorf("got %d, %v", next, err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := pacers.Wait(ctx, 10_000_000); err != context.Canceled {
			t.Errorf("got %v", err)
		}
	})
}

func TestSameBitrateWakesNobody(t *testing.T) {
	p := NewPacer(PacerConfig{Bitrate: 8_000_000})
	before := p.changed
	p.SetBitrate(8_000_000)
	if p.changed != before {
		t.Error("woken")
	}
	(*Pacer)(nil).SetBitrate(1)
	(*Pacer)(nil).Forgive()
	if (*Pacer)(nil).Piece() != 0 || (*Pacer)(nil).Over() != 0 {
		t.Error("nil paces")
	}
}

func TestTwoReadersShareTheRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := NewPacer(PacerConfig{Bitrate: 8_000_000})
		wait(t, p, 500_000)
		done := make(chan int)
		for range 2 {
			go func() {
				n := 0
				for end := time.Now().Add(10 * time.Second); time.Now().Before(end); n += 10_000 {
					_ = p.Wait(context.Background(), 10_000)
				}
				done <- n
			}()
		}
		if n := <-done + <-done; n < 9_800_000 || n > 10_200_000 {
			t.Errorf("%d bytes in 10 s", n)
		}
	})
}

func TestWaitDoesNotAllocate(t *testing.T) {
	p := NewPacer(PacerConfig{Bitrate: int64(MaxBitrate)})
	ctx := context.Background()
	if n := testing.AllocsPerRun(1000, func() { _ = p.Wait(ctx, 1) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkWait(b *testing.B) {
	p := NewPacer(PacerConfig{Bitrate: int64(MaxBitrate)})
	ctx := context.Background()
	b.ReportAllocs()
	for b.Loop() {
		_ = p.Wait(ctx, 1)
	}
}

func BenchmarkWaitShared(b *testing.B) {
	p := NewPacer(PacerConfig{Bitrate: int64(MaxBitrate)})
	ctx := context.Background()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			_ = p.Wait(ctx, 1)
		}
	})
}

func BenchmarkWaitUnlimited(b *testing.B) {
	p := NewPacer(PacerConfig{})
	ctx := context.Background()
	for b.Loop() {
		_ = p.Wait(ctx, 1)
	}
}
