package ratelimit

import (
	"context"
	"errors"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/go-redis/v9"

	"rtmps-edge/internal/secret"
)

// A Redis that is gone is asked for soon, and then ever more rarely, but at least
// as often as mostBackoff says.
func TestClusterBacksOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, err := newCluster(ClusterConfig{URL: secret.New("redis://192.0.2.1")}, &Limiter{})
		if err != nil {
			t.Fatal(err)
		}
		options := *c.client.Options()
		_ = c.client.Close()
		options.DialerRetries = 1
		options.Dialer = func(context.Context, string, string) (net.Conn, error) { return nil, errors.New("nobody there") }
		c.client = redis.NewClient(&options)
		defer func() { _ = c.client.Close() }()

		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); c.keepJoined(ctx) }()
		synctest.Wait()
		var pauses []time.Duration
		const step = 10 * time.Millisecond
		for last, at := uint64(1), time.Now(); len(pauses) < 9; {
			time.Sleep(step)
			synctest.Wait()
			c.mu.Lock()
			epoch := c.epoch
			c.mu.Unlock()
			if epoch != last {
				pauses = append(pauses, time.Since(at).Round(step))
				last, at = epoch, time.Now()
			}
		}
		cancel()
		<-done

		want := firstBackoff
		for i, pause := range pauses {
			if pause < want-step || pause > want+step {
				t.Errorf("pause %d is %v, not %v", i, pause, want)
			}
			want = min(2*want, mostBackoff)
		}
		if c.Up() {
			t.Error("up")
		}
	})
}
