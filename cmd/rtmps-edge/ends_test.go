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
	"rtmps-edge/proxy"
	"rtmps-edge/rtmp/rtmptest"
)

// stream is one that runs, with all that can end it.
type stream struct {
	*site
	tcp *net.TCPConn
	tls *tls.Conn
	p   *rtmptest.Publisher
}

func (s *site) stream(address string) *stream {
	s.t.Helper()
	c, err := net.Dial("tcp", address)
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

// ending is one way in which a stream ends.
type ending struct {
	side, reason string
	detail       string
	config       string
	end          func(*stream) error
	// at, if set, makes the address where the stream comes in.
	at func(*site) string
	// deaf is an origin that reads how the stream begins and then no more.
	deaf bool
}

// Whoever ends a stream, and however, the log, the metrics and the API tell it
// apart from all other ends, in the same words.
func TestEveryEndIsToldInThreePlaces(t *testing.T) {
	t.Parallel()
	origin := func(f func(*rtmptest.OriginConn) error) func(*stream) error {
		return func(r *stream) error { return f(r.origin.Conn(r.t, 0)) }
	}
	for _, c := range append(endings(), []ending{
		{side: "client", reason: "finished", detail: "finished", end: func(r *stream) error { return r.p.Stop() }},
		{side: "client", reason: "closed", detail: "EOF", end: func(r *stream) error { return r.tls.CloseWrite() }},
		{side: "client", reason: "cut", detail: "without a TLS close", end: func(r *stream) error { return r.tcp.CloseWrite() }},
		{side: "client", reason: "reset", detail: "reset", end: func(r *stream) error { _ = r.tcp.SetLinger(0); return r.tcp.Close() }},
		{side: "client", reason: "idle", config: "[limits]\nidle_timeout = \"100ms\"\n", end: func(*stream) error { return nil }},
		{side: "client", reason: "tls", detail: "record", end: func(r *stream) error {
			_, err := r.tcp.Write([]byte("\x17\x03\x03\x00\x20 not what the key would make of it"))
			return err
		}},
		{side: "client", reason: "protocol", detail: "message of type 16, within", end: func(r *stream) error {
			return r.p.Send(new(rtmptest.Builder).Message(5, 0, 16, 1, []byte("x")))
		}},
		{side: "client", reason: "second stream", end: func(r *stream) error {
			return r.p.Send(new(rtmptest.Builder).Command(0, "createStream", 9, nil))
		}},
		{side: "origin", reason: "closed", detail: "EOF", end: origin(func(o *rtmptest.OriginConn) error { o.Close(); return nil })},
		{side: "origin", reason: "refused", detail: "NetStream.Publish.Rejected", end: origin(func(o *rtmptest.OriginConn) error {
			return o.Status(&rtmptest.StatusError{Level: "error", Code: "NetStream.Publish.Rejected", Description: "enough"})
		})},
		{side: "edge", reason: "max duration", config: "[limits]\nmax_duration = \"200ms\"\n", end: func(*stream) error { return nil }},
		{side: "edge", reason: "kick", end: func(r *stream) error {
			if status, body := r.ask("DELETE", "/api/v1/sessions/"+r.id(), ""); status != 200 {
				return fmt.Errorf("%d %s", status, body)
			}
			return nil
		}},
		{side: "edge", reason: "revoked", end: func(r *stream) error { r.write("keys.toml", ""); return nil }},
		{side: "edge", reason: "expired", config: "[authz.keys]\nfile = \"soon.toml\"\n", end: func(*stream) error { return nil }},
		{side: "edge", reason: "takeover", config: "[authz]\nduplicate = \"takeover\"\n", end: func(r *stream) error { r.mustPublish("127.0.0.1:0", true); return nil }},
		{side: "edge", reason: "drain", config: "[limits]\ndrain_timeout = \"1ms\"\n", end: func(r *stream) error { r.stop(); return nil }},
	}...) {
		t.Run(c.side+" "+c.reason, func(t *testing.T) {
			t.Parallel()
			text := steered + c.config
			if c.deaf {
				text = strings.ReplaceAll(text, "ORIGIN", rtmptest.NewOrigin(t, rtmptest.OriginConfig{StopReadingAfter: 12}).Addr())
			}
			s := newSite(t, text, soonExpired)
			told := s.ends()
			address := s.address("127.0.0.1:0")
			if c.at != nil {
				address = c.at(s)
			}
			r := s.stream(address)
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

// endings are those that take longer to cause, or more.
func endings() []ending {
	return append(endingsOfLinux(), []ending{
		{side: "origin", reason: "stalled", deaf: true, end: flood},
		{side: "edge", reason: "over bitrate", config: "[limits]\npublish_bitrate = \"200kbit\"\nover_bitrate = \"end\"\n", end: flood},
		{side: "edge", reason: "panic", at: panicking, end: func(r *stream) error { return r.p.WriteVideo(0, []byte{0x17, 1, 0, 0, 0}) }},
	}...)
}

// flood sends as fast as it can, until nobody takes it any more.
func flood(r *stream) error {
	over := make(chan struct{})
	go func() {
		defer close(over)
		frame := append([]byte{0x17, 1, 0, 0, 0}, make([]byte, 50_000)...)
		for at := uint32(0); r.p.WriteVideo(at, frame) == nil; at += 40 {
		}
	}()
	r.t.Cleanup(func() { _ = r.tcp.Close(); <-over })
	return nil
}

// panicking opens a listener whose connections panic when a stream runs: what a
// fault of this program would do.
func panicking(s *site) string {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		s.t.Fatal(err)
	}
	return s.serve(faulty{ln, s})
}

// serve lets streams come in at ln, too, until the edge ends.
func (s *site) serve(ln net.Listener) (address string) {
	served := make(chan error, 1)
	go func() { served <- s.e.srv.Serve(ln, proxy.ListenerConfig{Address: "127.0.0.1:0", TLS: true}) }()
	s.t.Cleanup(func() {
		s.stop()
		if err := <-served; err != nil {
			s.t.Error(err)
		}
	})
	return ln.Addr().String()
}

type faulty struct {
	net.Listener
	s *site
}

func (f faulty) Accept() (net.Conn, error) {
	c, err := f.Listener.Accept()
	return &faultyConn{c, f.s}, err
}

type faultyConn struct {
	net.Conn
	s *site
}

func (c *faultyConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if len(c.s.e.srv.List()) > 0 {
		panic("a fault of the test")
	}
	return n, err
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
