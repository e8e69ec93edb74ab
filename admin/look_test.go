package admin

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"rtmps-edge/rtmp/rtmptest"
)

// A stream that ends while others look at it is there, whole, or it is not; and
// so is what is told of all of them together.
func TestAStreamThatEndsMeanwhileIsWholeOrNotThere(t *testing.T) {
	t.Parallel()
	e := newEdge(t, nil)
	const n = 40
	for i := range n {
		e.live(fmt.Sprint("stream ", i))
	}
	var list []Session
	e.get("/api/v1/sessions", &list)
	all := map[string]Session{}
	for _, s := range list {
		all[s.ID] = s
	}
	if len(all) != n {
		t.Fatalf("%d streams", len(all))
	}
	var ending sync.WaitGroup
	ending.Go(func() {
		for id := range all {
			e.Kick(id, kick)
			time.Sleep(time.Millisecond)
		}
	})
	for before := n; before > 0; before = len(list) {
		e.get("/api/v1/sessions", &list)
		if len(list) > before {
			t.Errorf("%d streams after %d", len(list), before)
		}
		seen := map[string]bool{}
		for _, s := range list {
			was := all[s.ID]
			if seen[s.ID] || s.Name == "" || s.Name != was.Name || s.Subject != "of "+was.Name || s.Client != was.Client || !s.Since.Equal(was.Since) ||
				s.BytesIn < was.BytesIn || s.Video != "H.264" || s.Width != 1280 || s.Audio != "AAC" {
				t.Fatalf("%+v, was %+v", s, was)
			}
			seen[s.ID] = true
		}
		e.sums(n)
	}
	ending.Wait()
}

// sums holds what /stat says of a stream and an app against its clients.
func (e *edge) sums(most int) {
	e.t.Helper()
	page := e.stat()
	for _, app := range page.find("server/application") {
		streams, clients := app.find("live/stream"), app.find("live/stream/client")
		if n, _ := strconv.Atoi(app.find("live/nclients")[0].Text); n != len(clients) || n != len(streams) || n == 0 || n > most {
			e.t.Fatalf("%d clients of %d streams, %d are said", len(clients), len(streams), n)
		}
		for _, s := range streams {
			if len(s.find("meta/video")) != 1 || len(s.find("publishing")) != 1 || len(s.find("client/publishing")) != 1 || s.find("nclients")[0].Text != "1" {
				e.t.Fatalf("%+v", s)
			}
		}
	}
}

// ask sends a request and returns the status and the body.
func ask(t *testing.T, c net.Conn, path string) (int, string) {
	t.Helper()
	if _, err := io.WriteString(c, "GET "+path+" HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	r, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return r.StatusCode, string(b)
}

// Who looks at all streams waits for the others who do, and not without end.
// What looks at none of them does not wait.
func TestLooksTakeTurns(t *testing.T) {
	slowly(t, func(t *testing.T, a *Admin, p *pipes) {
		if !a.gate.enter(context.Background()) {
			t.Fatal("nobody else looks")
		}
		for _, path := range []string{"/api/v1/status", "/api/v1/sessions", "/api/v1/bans", "/stat"} {
			c, begin := p.dial(), time.Now()
			status, body := ask(t, c, path)
			var f Failure
			if status != http.StatusServiceUnavailable || json.Unmarshal([]byte(body), &f) != nil || f.Error == "" || time.Since(begin) != lookWait {
				t.Errorf("%s: %d after %s: %s", path, status, time.Since(begin), body)
			}
			_ = c.Close()
		}
		c, begin := p.dial(), time.Now()
		if status, _ := ask(t, c, "/healthz"); status != 200 || time.Since(begin) != 0 {
			t.Errorf("%d after %s", status, time.Since(begin))
		}
		go func() {
			time.Sleep(lookWait / 2)
			a.gate.leave()
		}()
		if status, body := ask(t, c, "/api/v1/sessions"); status != 200 || body != "[]\n" || time.Since(begin) != lookWait/2 {
			t.Errorf("%d after %s: %q", status, time.Since(begin), body)
		}
		_ = c.Close()
	})
}

// Who does not read what was asked for holds up nobody else who looks.
func TestASlowReaderOfALookHoldsUpNobody(t *testing.T) {
	slowly(t, func(t *testing.T, a *Admin, p *pipes) {
		slow := p.dial()
		if _, err := io.WriteString(slow, "GET /api/v1/sessions HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		c, begin := p.dial(), time.Now()
		if status, _ := ask(t, c, "/api/v1/sessions"); status != 200 || time.Since(begin) != 0 {
			t.Errorf("%d after %s", status, time.Since(begin))
		}
		_, _ = slow.Close(), c.Close()
	})
}

// Viewers share a state as long as it is new, and the last one takes it along.
func TestViewersShareAState(t *testing.T) {
	slowly(t, func(t *testing.T, a *Admin, p *pipes) {
		ctx := context.Background()
		first := a.frame(ctx)
		time.Sleep(stateEvery/2 - time.Nanosecond)
		if a.frame(ctx) != first {
			t.Error("a state that is new is made again")
		}
		time.Sleep(time.Nanosecond)
		second := a.frame(ctx)
		if second == first {
			t.Error("an old state is shown")
		}
		a.viewers <- struct{}{}
		a.viewers <- struct{}{}
		if a.left(); a.frames.get() != second {
			t.Error("it is gone while somebody looks")
		}
		if a.left(); a.frames.get() != nil {
			t.Error("it is kept when nobody looks")
		}
		_ = a.gate.enter(ctx)
		begin := time.Now()
		if a.frame(ctx) != nil || time.Since(begin) != lookWait {
			t.Error("a viewer waits without end")
		}
	})
}

// The list is one stream a line, and what makes it is used again: nothing of an
// answer is in the next one.
func TestSessionsAreOneALine(t *testing.T) {
	t.Parallel()
	e := newEdge(t, nil)
	e.live("hostile")
	e.play("hostile")
	_, body := e.do("GET", "/api/v1/sessions")
	lines := strings.Split(body, "\n")
	if len(lines) != 5 || lines[0] != "[" || lines[3] != "]" || lines[4] != "" {
		t.Fatalf("%q", lines)
	}
	for i, line := range lines[1:3] {
		var s Session
		if err := json.Unmarshal([]byte(strings.TrimSuffix(line, ",")), &s); err != nil || s.Action != []string{"publish", "play"}[i] {
			t.Errorf("%v: %s", err, line)
		}
	}
	e.stop()
	end := time.Now().Add(rtmptest.Patience)
	for body != "[]\n" {
		if _, body = e.do("GET", "/api/v1/sessions"); time.Now().After(end) {
			t.Fatal(body)
		}
	}
	if _, body = e.do("GET", "/stat"); strings.Contains(body, "<server>") {
		t.Error(body)
	}
}

// Viewers are not sent what a flood has left behind, but how much that is.
func TestVeryManyBans(t *testing.T) {
	t.Parallel()
	e := newEdge(t, nil)
	const n = 3 * maxStateBans
	for i := range n {
		if _, ok := e.Limiter().Bans.Add(netip.AddrFrom4([4]byte{192, 0, byte(i >> 8), byte(i)}), time.Hour+time.Duration(i)*time.Second, "x"); !ok {
			t.Fatalf("%d bans", i)
		}
	}
	var s State
	e.follow().next("state", &s)
	if len(s.Bans) != maxStateBans || s.Status.Banned != n || s.Bans[0].Network != "192.0.5.219" {
		t.Errorf("%d of %d bans, the first %+v", len(s.Bans), s.Status.Banned, s.Bans[0])
	}
	var list []Ban
	if e.get("/api/v1/bans", &list); len(list) != n {
		t.Errorf("%d bans", len(list))
	}
}
