package ratelimit

import (
	"os"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"

	"rtmps-edge/internal/secret"
)

// redisVariable names the address of a Redis for the benchmarks, whose keys are
// theirs to change. Without it they speak to one in this process.
const redisVariable = "RATELIMIT_REDIS"

// clustered is a Limiter with a Redis that it has found.
func clustered(b *testing.B) *Limiter {
	b.Helper()
	addr := os.Getenv(redisVariable)
	if addr == "" {
		addr = miniredis.RunT(b).Addr()
	}
	l, err := NewLimiter(LimiterConfig{Cluster: ClusterConfig{URL: secret.New("redis://" + addr)}})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(l.Close)
	for end := time.Now().Add(patience); !l.Cluster.Up(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			b.Fatal("no Redis at " + addr)
		}
	}
	b.ReportAllocs()
	return l
}

func BenchmarkClusterAdmit(b *testing.B) {
	l := clustered(b)
	lim := AdmissionLimits{ConnectionsPerIP: 64, ConnectRatePerIP: Rate{MaxRateEvents, time.Second}}
	for i := 0; b.Loop(); i++ {
		release, err := l.Admit(nth(i&0xffff), lim)
		if err != nil {
			b.Fatal(err)
		}
		release()
	}
}

func BenchmarkClusterTake(b *testing.B) {
	l, lim := clustered(b), StreamLimits{PerIP: 16, PerSubject: 4}
	for i := 0; b.Loop(); i++ {
		lease, err := l.Stream(b.Context(), StreamRequest{Addr: nth(i & 0xffff), Subject: "alice", Name: "live", Rule: RuleReject}, lim)
		if err != nil {
			b.Fatal(err)
		}
		lease.Release()
	}
}

// A read of a stream that is held to its own bit rate and to its address's, which
// counts on all edges.
func BenchmarkClusterWait(b *testing.B) {
	l := clustered(b)
	lease, err := l.Stream(b.Context(), StreamRequest{Addr: nth(1), Subject: "alice"}, StreamLimits{BitratePerIP: int64(MaxBitrate)})
	if err != nil {
		b.Fatal(err)
	}
	defer lease.Release()
	both := Pacers{NewPacer(PacerConfig{Bitrate: int64(MaxBitrate)}), lease.Pacer()}
	for b.Loop() {
		_, _ = both.Wait(b.Context(), 1)
	}
}
