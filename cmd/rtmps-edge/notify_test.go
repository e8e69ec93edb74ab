package main

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"rtmps-edge/internal/hooksig"
	"rtmps-edge/rtmp/rtmptest"
)

// listener is a backend that is told of events.
type listener struct {
	*httptest.Server
	t     *testing.T
	heard chan map[string]any
}

func newListener(t *testing.T) *listener {
	l := &listener{t: t, heard: make(chan map[string]any, 100)}
	l.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		var v map[string]any
		if err := json.NewDecoder(q.Body).Decode(&v); err != nil {
			t.Error(err)
		}
		v["signed"] = q.Header.Get(hooksig.Header) != ""
		l.heard <- v
	}))
	t.Cleanup(l.Close)
	return l
}

// event waits for the next one, which must be of that name.
func (l *listener) event(name string) map[string]any {
	l.t.Helper()
	select {
	case v := <-l.heard:
		if v["event"] != name {
			l.t.Fatalf("%v, want %s", v, name)
		}
		return v
	case <-time.After(rtmptest.Patience):
		l.t.Fatalf("nobody was told of %s", name)
		return nil
	}
}

func TestBackendsAreToldOfStreams(t *testing.T) {
	t.Parallel()
	one, other := newListener(t), newListener(t)
	table := func(url string) string {
		return "[[notify]]\nurl = \"" + url + "\"\nevents = [\"stream_started\", \"stream_ended\", \"refused\"]\nsecret = \"s\"\n"
	}
	s := newSite(t, basic+table(one.URL))
	if _, err := s.publish("127.0.0.1:0", true, "a-wrong-key"); err == nil {
		t.Fatal("published")
	}
	if v := one.event("refused"); v["reason"] != "denied" || v["signed"] != true {
		t.Errorf("%v", v)
	}
	p := s.mustPublish("127.0.0.1:0", true)
	if v := one.event("stream_started"); v["subject"] != "alice" || v["name"] != "alice" || v["origin"] != "main" {
		t.Errorf("%v", v)
	}
	// From now on another is told, of streams too that began before.
	s.write("edge.toml", basic+table(other.URL))
	s.hup <- nil
	s.logs.wait(t, 1, "level=info", "msg=reloaded")
	if err := p.Stop(); err != nil {
		t.Fatal(err)
	}
	if v := other.event("stream_ended"); v["reason"] != "finished" || v["side"] != "client" {
		t.Errorf("%v", v)
	}
	// What the end of the edge ends is told, too.
	s.mustPublish("127.0.0.1:0", true)
	other.event("stream_started")
	s.write("edge.toml", basic+table(other.URL)+"[limits]\ndrain_timeout = \"1ms\"\n")
	s.hup <- nil
	s.logs.wait(t, 2, "level=info", "msg=reloaded")
	s.stop()
	if v := other.event("stream_ended"); v["reason"] != "drain" {
		t.Errorf("%v", v)
	}
	if len(one.heard)+len(other.heard) != 0 {
		t.Error("somebody was told too much")
	}
	if strings.Contains(s.logs.String(), one.URL) {
		t.Error("a URL, which may hold a password, is in the log")
	}
}
