package admin

import (
	"bufio"
	"encoding/json"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"rtmps-edge/rtmp/rtmptest"
)

// follower reads server-sent events.
type follower struct {
	t testing.TB
	r *http.Response
	s *bufio.Scanner
}

func (e *edge) follow() *follower {
	e.t.Helper()
	r, err := e.client.Get(e.url + "/api/v1/live")
	if err != nil {
		e.t.Fatal(err)
	}
	e.t.Cleanup(func() { _ = r.Body.Close() })
	if r.StatusCode != 200 || r.Header.Get("Content-Type") != "text/event-stream" {
		e.t.Fatalf("%s %v", r.Status, r.Header)
	}
	s := bufio.NewScanner(r.Body)
	s.Buffer(nil, 1<<20)
	return &follower{e.t, r, s}
}

// next returns the data of the next event of that name.
func (f *follower) next(name string, v any) {
	f.t.Helper()
	for f.s.Scan() {
		if f.s.Text() != "event: "+name {
			continue
		}
		if !f.s.Scan() {
			break
		}
		data, ok := strings.CutPrefix(f.s.Text(), "data: ")
		if !ok || json.Unmarshal([]byte(data), v) != nil {
			f.t.Fatalf("%q", f.s.Text())
		}
		if !f.s.Scan() || f.s.Text() != "" {
			f.t.Fatalf("an event of several lines: %q", f.s.Text())
		}
		return
	}
	f.t.Fatalf("no event %s: %v", name, f.s.Err())
}

func TestLiveTellsStateAndEvents(t *testing.T) {
	t.Parallel()
	e := newEdge(t, nil)
	e.refused()
	e.event("refused")
	f := e.follow()
	var s State
	f.next("state", &s)
	if len(s.Sessions) != 0 || s.Status.Version != "1.2.3" || len(s.Origins) != 1 || s.Bans == nil || s.Certificates == nil {
		t.Errorf("%+v", s)
	}
	var v Event
	if f.next("event", &v); v.Event != "refused" {
		t.Errorf("what was before is not told: %+v", v)
	}
	p := e.publish("hostile")
	if f.next("event", &v); v.Event != "stream_started" || v.Name != strings.ToValidUTF8(hostile, "\ufffd") || v.Number != 2 {
		t.Errorf("%+v", v)
	}
	f.next("state", &s)
	for len(s.Sessions) == 0 {
		f.next("state", &s)
	}
	_ = p.Close()
	if f.next("event", &v); v.Event != "stream_ended" || v.Reason != "finished" || v.Side != "client" || v.BytesIn == 0 {
		t.Errorf("%+v", v)
	}
}

func TestViewersAreBounded(t *testing.T) {
	t.Parallel()
	e := newEdge(t, nil)
	f := e.follow()
	var s State
	f.next("state", &s)
	for range maxViewers - 1 {
		e.a.viewers <- struct{}{}
	}
	if r, _ := e.do("GET", "/api/v1/live"); r.StatusCode != 503 {
		t.Error(r.Status)
	}
	_ = f.r.Body.Close() // a viewer that leaves makes room
	timeout := time.After(rtmptest.Patience)
	select {
	case e.a.viewers <- struct{}{}:
	case <-timeout:
		t.Error("a viewer that has left is still counted")
	}
}

// A viewer that does not read holds nobody up, and is let go.
func TestAViewerThatDoesNotRead(t *testing.T) {
	t.Parallel()
	e := newEdge(t, nil)
	c, err := net.Dial("tcp", strings.TrimPrefix(e.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	if _, err := c.Write([]byte("GET /api/v1/live HTTP/1.1\r\nHost: localhost\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
	for range 3 * hubSize {
		e.a.Observe(longEvent)
	}
	list, _ := e.a.hub.since(0, hubSize)
	if len(list) != hubSize || list[0].Number != 2*hubSize+1 || list[hubSize-1].Number != 3*hubSize {
		t.Errorf("%d events, from %d", len(list), list[0].Number)
	}
}
