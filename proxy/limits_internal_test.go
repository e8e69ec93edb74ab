package proxy

import (
	"context"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"rtmps-edge/authz"
	"rtmps-edge/ratelimit"
	"rtmps-edge/rtmp"
)

// stream is a running stream as look sees it, without its legs.
func stream(t *testing.T, all *ratelimit.Streams, p *Policy) *running {
	t.Helper()
	lease, err := all.Take(netip.MustParseAddr("192.0.2.1"), "", p.Limits.Streams)
	if err != nil {
		t.Fatal(err)
	}
	r := &running{action: authz.Publish, client: &rtmp.Conn{}, lease: lease, since: time.Now()}
	r.pacer = ratelimit.NewPacer(ratelimit.PacerConfig{Bitrate: bitrate(r.action, r.grant, p)})
	return r
}

// send passes bytes at up to bitrate until r is too fast or d is over, and
// returns how long that took.
func send(ctx context.Context, r *running, p *Policy, bits float64, d time.Duration) time.Duration {
	begin, pacers, n := time.Now(), ratelimit.Pacers{r.pacer, r.lease.Pacer()}, int64(0)
	for due := begin; time.Since(begin) < d; due = due.Add(100 * time.Millisecond) {
		if wait := time.Until(due); wait > 0 {
			time.Sleep(wait)
		}
		_, _ = pacers.Wait(ctx, int(bits/80))
		n += int64(bits / 80)
		r.meter.tick(time.Now(), func() (int64, uint64) { return n, 0 })
		if r.tooFast(p) {
			break
		}
	}
	return time.Since(begin)
}

func TestEndOverBitrate(t *testing.T) {
	const limit = 1_000_000
	for _, c := range []struct {
		name     string
		share    float64
		end      bool
		min, max time.Duration
	}{
		{"below", 0.9, true, time.Minute, time.Minute + time.Second},
		{"twice", 2, true, overTime, overTime + 2*time.Second},
		{"ten times", 10, true, overTime, overTime + 2*time.Second},
		{"ten times, shaped", 10, false, time.Minute, time.Minute + 2*time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := &Policy{Limits: Limits{PublishBitrate: limit, EndOverBitrate: c.end}}
				r := stream(t, ratelimit.NewStreams(), p)
				if d := send(t.Context(), r, p, c.share*limit, time.Minute); d < c.min || d > c.max {
					t.Errorf("ended after %v", d)
				}
			})
		})
	}
}

// Where the streams of an address are too fast together, the greedy one ends,
// and the others go on.
func TestTheGreedyStreamEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &Policy{Limits: Limits{EndOverBitrate: true, Streams: ratelimit.StreamLimits{BitratePerIP: 8_000_000}}}
		all := ratelimit.NewStreams()
		done := make(chan time.Duration)
		for range 3 {
			r := stream(t, all, p)
			go func() {
				defer r.lease.Release()
				done <- send(t.Context(), r, p, 1_000_000, time.Minute)
			}()
		}
		greedy := stream(t, all, p)
		d := send(t.Context(), greedy, p, 20_000_000, time.Minute)
		greedy.lease.Release()
		if d < overTime || d > overTime+3*time.Second {
			t.Errorf("the greedy stream ended after %v", d)
		}
		for range 3 {
			if d := <-done; d < time.Minute {
				t.Errorf("another ended after %v", d)
			}
		}
	})
}

func TestReloadChangesBitrates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &Policy{}
		r := stream(t, ratelimit.NewStreams(), p)
		took := func(n int) time.Duration {
			begin := time.Now()
			if _, err := (ratelimit.Pacers{r.pacer, r.lease.Pacer()}).Wait(t.Context(), n); err != nil {
				t.Fatal(err)
			}
			return time.Since(begin).Round(10 * time.Millisecond)
		}
		if d := took(100 << 20); d != 0 {
			t.Errorf("unlimited: %v", d)
		}
		p = &Policy{Limits: Limits{PublishBitrate: 8_000_000}}
		r.limit(p)
		if d := took(500_000 + 2_000_000); d != 2*time.Second {
			t.Errorf("by stream: %v", d)
		}
		p = &Policy{Limits: Limits{Streams: ratelimit.StreamLimits{BitratePerIP: 4_000_000}}}
		r.limit(p)
		if d := took(250_000 + 1_000_000); d != 2*time.Second {
			t.Errorf("by address: %v", d)
		}
		r.grant.Bitrate = 2_000_000
		r.limit(p)
		if d := took(125_000 + 500_000); d != 2*time.Second {
			t.Errorf("by grant: %v", d)
		}
	})
}
