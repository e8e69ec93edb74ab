package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"rtmps-edge/internal/fault"
	"rtmps-edge/proxy"
	"rtmps-edge/rtmp/rtmptest"
)

// live publishes one stream with media that its origin has got.
func (e *edge) live(name string) *rtmptest.Publisher {
	e.t.Helper()
	p := e.publish(name)
	for _, err := range []error{
		p.WriteData(0, "@setDataFrame", "onMetaData", rtmptest.ECMAArray{{Key: "width", Value: 1280.0}, {Key: "height", Value: 720.0},
			{Key: "framerate", Value: 30.0}, {Key: "encoder", Value: hostile}}),
		p.WriteVideo(0, []byte{0x17, 0, 0, 0, 0, 1, 100, 0, 31}),
		p.WriteVideo(0, []byte{0x17, 1, 0, 0, 0}),
		p.WriteAudio(20, []byte{0xAF, 0, 0x11, 0x90}),
		p.WriteAudio(20, []byte{0xAF, 1}),
		p.WriteVideo(2000, []byte{0x17, 1, 0, 0, 0}),
	} {
		if err != nil {
			e.t.Fatal(err)
		}
	}
	if _, err := e.origin.Conn(e.t, len(e.origin.Conns())-1).WaitMedia(5); err != nil {
		e.t.Fatal(err)
	}
	return p
}

func TestSessions(t *testing.T) {
	t.Parallel()
	e := newEdge(t, nil)
	var list []Session
	if e.get("/api/v1/sessions", &list); list == nil || len(list) != 0 {
		t.Errorf("no stream gives %+v", list)
	}
	p := e.live("one")
	player := e.play("one")
	e.get("/api/v1/sessions", &list)
	if len(list) != 2 || list[1].Action != "play" || list[1].Name != "one" {
		t.Fatalf("%+v", list)
	}
	s := list[0]
	switch {
	case s.ID == "", s.Action != "publish", s.Subject != "of one", s.App != "live", s.Name != "one", !strings.HasPrefix(s.Client, "127.0.0.1:"),
		s.Listener != "the listener", s.Authorizer != "test", s.Origin != "main", s.Server != e.origin.Addr(), time.Since(s.Since) > rtmptest.Patience,
		s.BytesIn < 3000, s.Video != "H.264", s.VideoProfile != "High 3.1", s.Width != 1280, s.Height != 720, s.FrameRate != 30, s.KeyframeSeconds != 2,
		s.Audio != "AAC", s.SampleRate != 48000, s.Channels != 2, !strings.HasPrefix(s.Encoder, "<script>"), strings.Contains(s.Encoder, "\x1b"),
		!strings.HasPrefix(s.FlashVer, "FMLE"), s.VideoTracks != 1, s.SyncSeconds != 1.98, s.Health != "poor":
		t.Errorf("%+v", s)
	}
	var one Session
	if e.get("/api/v1/sessions/"+s.ID, &one); one.ID != s.ID {
		t.Errorf("%+v", one)
	}
	if r, _ := e.do("GET", "/api/v1/sessions/none"); r.StatusCode != 404 {
		t.Error(r.Status)
	}
	_, _ = p.Close(), player.Close()
}

// A name that may be a credential is told nowhere; what stands for it, is.
func TestANameThatIsAKeyIsNotTold(t *testing.T) {
	t.Parallel()
	e := newEdge(t, nil)
	p := e.live("a-secret-name")
	key := e.List()[0].Fingerprint
	f := e.follow()
	for f.s.Scan() && !strings.Contains(f.s.Text(), "stream_started") {
		if strings.Contains(f.s.Text(), "a-secret-name") {
			t.Error(f.s.Text())
		}
	}
	if _, body := e.do("GET", "/control/drop/publisher?app=live&name=a-secret-name"); body != "0" {
		t.Errorf("%s dropped", body)
	}
	for _, path := range []string{"/api/v1/sessions", "/api/v1/sessions/" + e.List()[0].ID, "/api/v1/events", "/stat"} {
		if _, body := e.do("GET", path); strings.Contains(body, "a-secret-name") || !strings.Contains(body, key) || len(key) != 8 {
			t.Errorf("%s: %s", path, body)
		}
	}
	if _, body := e.do("GET", "/control/drop/publisher?app=live&name=key-"+key); body != "1" {
		t.Errorf("%s dropped", body)
	}
	if v := e.event("stream_ended"); v.Name != "" || v.Key != key {
		t.Errorf("%+v", v)
	}
	_ = p.Close()
}

func TestKickAndBan(t *testing.T) {
	t.Parallel()
	e := newEdge(t, nil)
	e.live("one")
	id := e.List()[0].ID
	if r, body := e.do("DELETE", "/api/v1/sessions/"+id+"?ban=soon", own); r.StatusCode != 400 || !strings.Contains(body, "10m") {
		t.Errorf("%s %s", r.Status, body)
	}
	if r, body := e.do("DELETE", "/api/v1/sessions/"+id+"?ban=1h", own); r.StatusCode != 200 || !strings.Contains(body, "127.0.0.1") {
		t.Errorf("%s %s", r.Status, body)
	}
	if v := e.event("stream_ended"); v.Reason != "kick" || v.Side != "edge" || v.Session != id {
		t.Errorf("%+v", v)
	}
	if v := e.event("banned"); v.Client != "127.0.0.1" || v.Reason != "kick" {
		t.Errorf("%+v", v)
	}
	var bans []Ban
	e.get("/api/v1/bans", &bans)
	if len(bans) != 1 || bans[0].Network != "127.0.0.1" || !bans[0].ByHand || time.Until(bans[0].Until) < 59*time.Minute {
		t.Errorf("%+v", bans)
	}
	if _, err := rtmptest.Publish(e.dial(), rtmptest.PublishConfig{App: "live", Name: "two"}); err == nil {
		t.Error("a banned address publishes")
	}
	if v := e.event("refused"); v.Stage != "admit" || v.Reason != "banned" {
		t.Errorf("%+v", v)
	}
	for _, want := range []int{200, 404} {
		if r, _ := e.do("DELETE", "/api/v1/bans/127.0.0.1", own); r.StatusCode != want {
			t.Errorf("%s, want %d", r.Status, want)
		}
	}
	p := e.live("three")
	if r, _ := e.do("DELETE", "/api/v1/sessions/"+e.List()[0].ID, own); r.StatusCode != 200 {
		t.Error(r.Status)
	}
	if err := p.WaitStatus("NetStream.Publish.Rejected"); err == nil || !strings.Contains(err.Error(), "operator") {
		t.Error(err)
	}
	if n := e.Limiter().Bans.Len(); n != 0 {
		t.Errorf("%d bans", n)
	}
}

func TestBansByHand(t *testing.T) {
	t.Parallel()
	e := newEdge(t, nil)
	for path, want := range map[string]int{
		"192.0.2.1?for=2h&why=" + strings.Repeat("x", 500): 200, "2001:db8::7/64": 200, "::ffff:192.0.2.9": 200,
		"nobody": 400, "192.0.2.1?for=-1s": 400, "192.0.2.1?for=x": 400, "": 400,
	} {
		if r, body := e.do("POST", "/api/v1/bans/"+path, own); r.StatusCode != want {
			t.Errorf("%s: %s %s", path, r.Status, body)
		}
	}
	for _, addr := range []string{"192.0.2.1", "2001:db8::1234", "192.0.2.9"} {
		if !e.Limiter().Bans.Banned(netip.MustParseAddr(addr)) {
			t.Errorf("%s is not banned", addr)
		}
	}
	var list []Ban
	e.get("/api/v1/bans", &list)
	for _, b := range list { // what is listed can be lifted
		if r, body := e.do("DELETE", "/api/v1/bans/"+b.Network, own); r.StatusCode != 200 {
			t.Errorf("%s: %s %s", b.Network, r.Status, body)
		}
	}
	if n := e.Limiter().Bans.Len(); n != 0 || len(list) != 3 {
		t.Errorf("%d of %d bans are left", n, len(list))
	}
}

func TestReloadTellsEveryFault(t *testing.T) {
	t.Parallel()
	var err error
	e := newEdge(t, func(c *Config) { c.Reload = func(context.Context) error { return err } })
	if r, body := e.do("POST", "/api/v1/reload", own); r.StatusCode != 200 {
		t.Errorf("%s %s", r.Status, body)
	}
	err = fault.List{{File: "edge.toml", Line: 3, Key: "a", Problem: "one"}, {File: "edge.toml", Line: 4, Key: "b", Problem: "two"}}
	if r, body := e.do("POST", "/api/v1/reload", own); r.StatusCode != 422 || !strings.Contains(body, "edge.toml:3: a: one") || !strings.Contains(body, "edge.toml:4: b: two") {
		t.Errorf("%s %s", r.Status, body)
	}
	err = errors.New("another")
	if r, body := e.do("POST", "/api/v1/reload", own); r.StatusCode != 422 || !strings.Contains(body, "another") {
		t.Errorf("%s %s", r.Status, body)
	}
}

func TestDrain(t *testing.T) {
	t.Parallel()
	asked := make(chan struct{}, 1)
	e := newEdge(t, func(c *Config) { c.Drain = func() { asked <- struct{}{} } })
	if r, _ := e.do("POST", "/api/v1/drain", own); r.StatusCode != 202 || len(asked) != 1 {
		t.Error(r.Status)
	}
}

func TestStatusCountsRefusals(t *testing.T) {
	t.Parallel()
	e := newEdge(t, nil)
	e.refused()
	e.event("refused")
	p := e.live("one")
	var s Status
	e.get("/api/v1/status", &s)
	if s.Version != "1.2.3" || s.Publishers != 1 || s.Players != 0 || s.Connections < 1 || s.BytesIn < 3000 || !s.Ready || s.Draining || len(s.Refused) != 1 ||
		s.Refused[0].Stage != "authorize" || s.Refused[0].Reason != "denied" || s.Refused[0].Count != 1 {
		t.Errorf("%+v", s)
	}
	var events []Event
	e.get("/api/v1/events", &events)
	if len(events) != 2 || events[0].Event != "refused" || events[0].Key == "" || events[1].Event != "stream_started" || events[1].Key != "" || events[1].Number != 2 {
		t.Errorf("%+v", events)
	}
	_ = p.Close()
}

func TestReadiness(t *testing.T) {
	t.Parallel()
	var certs []Certificate
	var pending []string
	e := newEdge(t, func(c *Config) {
		c.Certificates = func() []Certificate { return certs }
		c.Pending = func() []string { return pending }
	})
	ready := func(want int, reasons ...string) {
		t.Helper()
		r, body := e.do("GET", "/readyz")
		var short bytes.Buffer
		if err := json.Compact(&short, []byte(body)); err != nil {
			t.Fatal(err)
		}
		body = short.String()
		if r.StatusCode != want {
			t.Errorf("%s %s", r.Status, body)
		}
		for _, reason := range reasons {
			if !strings.Contains(body, reason) {
				t.Errorf("%s is not in %s", reason, body)
			}
		}
		if r, body := e.do("GET", "/healthz"); r.StatusCode != 200 {
			t.Errorf("health: %s %s", r.Status, body)
		}
	}
	ready(200)
	old := Certificate{Name: "old.example", NotAfter: time.Now().Add(-time.Hour)}
	certs = []Certificate{old}
	ready(503, "certificate expired: old.example")
	certs = append(certs, Certificate{Name: "new.example", NotAfter: time.Now().Add(time.Hour)})
	ready(200)

	// An authority that has not answered.
	certs, pending = nil, []string{"a.example", "b.example"}
	ready(503, `"reasons":["no certificate yet: a.example","no certificate yet: b.example"]`, `"warnings":[]`)
	certs = []Certificate{{Name: "a.example", Names: []string{"a.example"}, NotAfter: time.Now().Add(time.Hour)}}
	ready(200, `"reasons":[]`, `"warnings":["no certificate yet: b.example","certificate not renewed so far: a.example, which ends on `)
	certs[0].NotAfter = time.Now().Add(-time.Hour)
	ready(503, `"reasons":["certificate expired: a.example, on `, `"no certificate yet: b.example"]`, `"warnings":[]`)
	pending, certs = nil, []Certificate{old}

	// Servers that are down, as health checks find: one dead one, then one that
	// is well, too.
	dead := listen(t)
	_ = dead.Close()
	e.SetPolicy(&proxy.Policy{Origins: []*proxy.Origin{{Name: "main", Servers: []string{dead.Addr().String()}, HealthEvery: time.Millisecond}}})
	e.untilUp(false)
	ready(503, "no origin healthy", "certificate expired")
	e.SetPolicy(&proxy.Policy{Origins: []*proxy.Origin{{Name: "main", Servers: []string{dead.Addr().String(), e.origin.Addr()}, HealthEvery: time.Millisecond}}})
	certs = nil
	ready(200)
	e.stop()
	ready(503, "draining")
}

// untilUp waits for health checks to find the first server so.
func (e *edge) untilUp(up bool) {
	e.t.Helper()
	for end := time.Now().Add(rtmptest.Patience); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if s := e.Origins()[0].Servers[0]; s.Checked && s.Up == up {
			return
		}
	}
	e.t.Fatal("no health check")
}
