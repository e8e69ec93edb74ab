package main

import (
	"bufio"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"rtmps-edge/admin"
	"rtmps-edge/authz"
	"rtmps-edge/internal/secret"
	"rtmps-edge/rtmp/rtmptest"
)

// stream is one that runs, with all that can end it.
type stream struct {
	*site
	tcp *net.TCPConn
	tls *tls.Conn
	p   *rtmptest.Publisher
}

func (s *site) stream() *stream {
	s.t.Helper()
	c, err := net.Dial("tcp", s.address("127.0.0.1:0"))
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = c.Close() })
	r := &stream{site: s, tcp: c.(*net.TCPConn), tls: tls.Client(c, &tls.Config{InsecureSkipVerify: true})}
	if r.p, err = rtmptest.Publish(r.tls, rtmptest.PublishConfig{App: "live", Name: siteKey}); err != nil {
		s.t.Fatal(err)
	}
	return r
}

// ends follows the API, and returns what waits for the end of a stream.
func (s *site) ends() func() admin.Event {
	s.t.Helper()
	r, err := http.Get("http://" + s.steering() + "/api/v1/live")
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = r.Body.Close() })
	lines := bufio.NewScanner(r.Body)
	lines.Buffer(nil, 1<<20)
	return func() (e admin.Event) {
		s.t.Helper()
		for lines.Scan() {
			data, ok := strings.CutPrefix(lines.Text(), "data: ")
			if ok && json.Unmarshal([]byte(data), &e) == nil && e.Event == "stream_ended" {
				return e
			}
		}
		s.t.Fatalf("the API tells of no end: %v", lines.Err())
		return e
	}
}

// counted finds the series of ends that have been counted.
var counted = regexp.MustCompile(`(?m)^rtmps_edge_session_end_total.* [1-9][0-9]*$`)

// Whoever ends a stream, and however, the log, the metrics and the API tell it
// apart from all other ends, in the same words.
func TestEveryEndIsToldInThreePlaces(t *testing.T) {
	t.Parallel()
	origin := func(f func(*rtmptest.OriginConn) error) func(*stream) error {
		return func(r *stream) error { return f(r.origin.Conn(r.t, 0)) }
	}
	for _, c := range []struct {
		side, reason string
		detail       string
		config       string
		end          func(*stream) error
	}{
		{"client", "finished", "finished", "", func(r *stream) error { return r.p.Stop() }},
		{"client", "closed", "EOF", "", func(r *stream) error { return r.tls.CloseWrite() }},
		{"client", "cut", "without a TLS close", "", func(r *stream) error { return r.tcp.CloseWrite() }},
		{"client", "reset", "reset", "", func(r *stream) error { _ = r.tcp.SetLinger(0); return r.tcp.Close() }},
		{"client", "idle", "", "[limits]\nidle_timeout = \"100ms\"\n", func(*stream) error { return nil }},
		{"client", "tls", "record", "", func(r *stream) error {
			_, err := r.tcp.Write([]byte("\x17\x03\x03\x00\x20 not what the key would make of it"))
			return err
		}},
		{"client", "protocol", "message of type 16, within", "", func(r *stream) error {
			return r.p.Send(new(rtmptest.Builder).Message(5, 0, 16, 1, []byte("x")))
		}},
		{"client", "second stream", "", "", func(r *stream) error {
			return r.p.Send(new(rtmptest.Builder).Command(0, "createStream", 9, nil))
		}},
		{"origin", "closed", "EOF", "", origin(func(o *rtmptest.OriginConn) error { o.Close(); return nil })},
		{"origin", "refused", "NetStream.Publish.Rejected", "", origin(func(o *rtmptest.OriginConn) error {
			return o.Status(&rtmptest.StatusError{Level: "error", Code: "NetStream.Publish.Rejected", Description: "enough"})
		})},
		{"edge", "max duration", "", "[limits]\nmax_duration = \"200ms\"\n", func(*stream) error { return nil }},
		{"edge", "kick", "", "", func(r *stream) error {
			if status, body := r.ask("DELETE", "/api/v1/sessions/"+r.id(), ""); status != 200 {
				return fmt.Errorf("%d %s", status, body)
			}
			return nil
		}},
		{"edge", "revoked", "", "", func(r *stream) error { r.write("keys.toml", ""); return nil }},
		{"edge", "expired", "", "[authz.keys]\nfile = \"soon.toml\"\n", func(*stream) error { return nil }},
		{"edge", "takeover", "", "[authz]\nduplicate = \"takeover\"\n", func(r *stream) error { r.mustPublish("127.0.0.1:0", true); return nil }},
		{"edge", "drain", "", "[limits]\ndrain_timeout = \"1ms\"\n", func(r *stream) error { r.stop(); return nil }},
	} {
		t.Run(c.side+" "+c.reason, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, steered+c.config, soonExpired)
			told := s.ends()
			r := s.stream()
			s.logs.wait(t, 1, "stream started")
			if err := c.end(r); err != nil {
				t.Fatal(err)
			}
			e := told()
			if e.Side != c.side || e.Reason != c.reason || !strings.Contains(e.Detail, c.detail) {
				t.Errorf("the API says %q, %q: %s", e.Side, e.Reason, e.Detail)
			}
			reason := "reason=" + c.reason
			if strings.Contains(c.reason, " ") {
				reason = fmt.Sprintf("reason=%q", c.reason)
			}
			s.logs.wait(t, 1, "stream ended", "session="+e.Session, "side="+c.side, reason, c.detail)
			w := httptest.NewRecorder()
			s.e.steer.metrics.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
			if want := fmt.Sprintf("\nrtmps_edge_session_end_total{reason=%q,side=%q} 1\n", c.reason, c.side); len(counted.FindAllString(w.Body.String(), -1)) != 1 || !strings.Contains(w.Body.String(), want) {
				t.Errorf("there is no %s in %s", want, w.Body)
			}
		})
	}
}

// soonExpired adds a file with a key that is good long enough to start a stream.
func soonExpired(dir string) {
	text := fmt.Sprintf("[[key]]\nsubject = \"alice\"\nhash = %q\nexpires = %s\n", authz.HashOf(secret.New(siteKey)).Reveal(), time.Now().Add(5*time.Second).UTC().Format(time.RFC3339))
	if err := os.WriteFile(filepath.Join(dir, "soon.toml"), []byte(text), 0o600); err != nil {
		panic(err)
	}
}

// id is that of the only stream.
func (r *stream) id() string {
	r.t.Helper()
	_, body := r.ask("GET", "/api/v1/sessions", "")
	var list []admin.Session
	if err := json.Unmarshal([]byte(body), &list); err != nil || len(list) != 1 {
		r.t.Fatalf("%v: %s", err, body)
	}
	return list[0].ID
}
