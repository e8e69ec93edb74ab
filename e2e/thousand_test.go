package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"rtmps-edge/rtmp/rtmptest"
)

// thousand is how many streams an edge is looked at with.
const thousand = 1000

// Whoever looks at a thousand streams sees every one of them, wherever that is.
// What a look takes of the processor is told and not judged: make bench does.
func TestLooksAtAThousandStreams(t *testing.T) {
	t.Parallel()
	origin := rtmptest.NewOrigin(t, rtmptest.OriginConfig{})
	e := startEdge(t, settings{Origin: origin.Addr(), NoTee: true, Publish: `"open"`, Admin: "127.0.0.1:0", AtOrigin: `health_every = "0"`,
		Listener: `tls = "off"`, // handshakes are not what is looked at
		Limits:   "connections_per_ip = 0\nstreams_per_ip = 0\nconnect_rate_per_ip = \"0\"\nidle_timeout = \"0\"\nsetup_timeout = \"60s\""})
	e.publishMany(t, thousand)
	admin := e.dashboard(t)
	for path, count := range map[string]func(string) int{
		"metrics": func(text string) int {
			_, value, _ := strings.Cut(text, `rtmps_edge_sessions{action="publish",origin="main"} `)
			first, _, _ := strings.Cut(value, "\n")
			n, _ := strconv.Atoi(first)
			return n
		},
		"api/v1/sessions": func(text string) int { return different(text, `{"id":"`) },
		"stat":            func(text string) int { return strings.Count(text, "<stream>") },
		"api/v1/status": func(text string) int {
			var s struct{ Publishers int }
			_ = json.Unmarshal([]byte(text), &s)
			return s.Publishers
		},
	} {
		const looks = 10
		before := cpuTime(t, e.process)
		for range looks {
			text, err := get(admin + path)
			if err != nil {
				t.Fatal(err)
			}
			if n := count(string(text)); n != thousand {
				t.Fatalf("%s has %d of %d streams: %.200s", path, n, thousand, text)
			}
		}
		t.Logf("%s: %s of processor time each", path, (cpuTime(t, e.process)-before)/looks)
	}
}

// different counts the different words that follow a prefix.
func different(text, prefix string) int {
	words := map[string]bool{}
	for i, part := range strings.Split(text, prefix) {
		if end := strings.IndexAny(part, `"<`); i > 0 && end > 0 {
			words[part[:end]] = true
		}
	}
	return len(words)
}

// publishMany publishes n streams, which send a little and then nothing.
func (e *edge) publishMany(t testing.TB, n int) {
	t.Helper()
	inTurns(n, opensAtOnce, func(i int) {
		c, err := e.connectFrom("127.0.0.1")
		if err != nil {
			t.Error(err)
			return
		}
		_ = c.SetDeadline(time.Time{})
		p, err := rtmptest.Publish(c, rtmptest.PublishConfig{App: "live", Name: fmt.Sprintf("stream-%d", i)})
		t.Cleanup(p.Abort)
		if err == nil {
			err = p.WriteVideo(0, []byte{0x17, 1, 0, 0, 0})
		}
		if err != nil {
			t.Error(err)
		}
	})
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
