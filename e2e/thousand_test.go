package e2e

import (
	"crypto/tls"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"rtmps-edge/rtmp/rtmptest"
)

// thousand is how many streams an edge is looked at with.
const thousand = 1000

// lookBudget is how much processor time one look at all of them may take.
const lookBudget = 50 * time.Millisecond

// A scrape, a listing, and what else shows all streams cost next to nothing.
func TestLooksAtAThousandStreams(t *testing.T) {
	t.Parallel()
	origin := rtmptest.NewOrigin(t, rtmptest.OriginConfig{})
	e := startEdge(t, settings{Origin: origin.Addr(), NoTee: true, Publish: `"open"`, Admin: "127.0.0.1:0", AtOrigin: `health_every = "0"`,
		Limits: "connections_per_ip = 0\nstreams_per_ip = 0\nstreams_per_subject = 0\nconnect_rate_per_ip = \"0\"\nidle_timeout = \"0\"\nsetup_timeout = \"60s\""})
	publishMany(t, e, thousand)
	budget := lookBudget
	if len(raceFlags) > 0 {
		budget *= 10 // the race detector's own work
	}
	url := strings.TrimSuffix(e.dashboard(t), "/")
	for _, path := range []string{"/metrics", "/api/v1/sessions", "/stat", "/api/v1/status"} {
		const looks = 20
		before, begin := cpuTime(t, e.process), time.Now()
		for range looks {
			body, err := get(url + path)
			if err != nil {
				t.Fatal(err)
			}
			if path == "/api/v1/sessions" && strings.Count(string(body), `"id"`) != thousand {
				t.Fatalf("not all streams are listed: %.200s", body)
			}
		}
		each := (cpuTime(t, e.process) - before) / looks
		t.Logf("%s: %s of processor time each, %s in all", path, each, time.Since(begin)/looks)
		if each > budget {
			t.Errorf("%s takes %s of processor time, more than %s", path, each, budget)
		}
	}
}

// publishMany publishes n streams, which send a little and then nothing.
func publishMany(t testing.TB, e *edge, n int) {
	t.Helper()
	var wg sync.WaitGroup
	at := make(chan int)
	for range 16 {
		wg.Go(func() {
			for i := range at {
				c, err := tls.Dial("tcp", "127.0.0.1:"+e.port, &tls.Config{InsecureSkipVerify: true})
				if err != nil {
					t.Error(err)
					continue
				}
				p, err := rtmptest.Publish(c, rtmptest.PublishConfig{App: "live", Name: fmt.Sprintf("stream-%d", i)})
				t.Cleanup(p.Abort)
				if err == nil {
					err = p.WriteVideo(0, []byte{0x17, 1, 0, 0, 0})
				}
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	for i := range n {
		at <- i
	}
	close(at)
	wg.Wait()
	if t.Failed() {
		t.FailNow()
	}
}

// cpuTime is how much processor time a process has used (proc(5), stat).
func cpuTime(t testing.TB, p *process) time.Duration {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), ") ")
	fields, ticks := strings.Fields(rest), 0
	for _, i := range []int{11, 12} { // utime and stime
		n, err := strconv.Atoi(fields[i])
		if err != nil {
			t.Fatal(err)
		}
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond // 100 a second, on every Linux of today
}
