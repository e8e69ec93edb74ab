package proxy_test

import (
	"crypto/tls"
	"errors"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"rtmps-edge/authz"
	"rtmps-edge/proxy"
	"rtmps-edge/ratelimit"
	"rtmps-edge/rtmp/rtmptest"
)

// byKey grants every key as its own stream, all of one subject, but "wrong".
func byKey(r authz.Request) (authz.Grant, error) {
	switch key := r.Key.Reveal(); key {
	case "wrong":
		return authz.Grant{}, authz.ErrUnknown
	case "broken":
		panic("an authorizer that panics")
	default:
		return authz.Grant{Subject: "somebody", Name: key}, nil
	}
}

// publish publishes name through e; the error is the refusal.
func publish(t *testing.T, e *edge, name string) (*rtmptest.Publisher, error) {
	t.Helper()
	p, err := rtmptest.Publish(e.dial(t), rtmptest.PublishConfig{App: "live", TcURL: "rtmps://edge.test/live", Name: name})
	if err != nil {
		p.Abort()
		return nil, err
	}
	t.Cleanup(p.Abort)
	hangsUp(p)
	return p, nil
}

// mustPublish publishes, and waits for the start.
func mustPublish(t *testing.T, e *edge, name string) *rtmptest.Publisher {
	t.Helper()
	p, err := publish(t, e, name)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// wantRefused publishes and wants a refusal with that code and reason.
func wantRefused(t *testing.T, e *edge, name, code, reason string) {
	t.Helper()
	_, err := publish(t, e, name)
	if got := statusCode(err); got != code {
		t.Fatalf("the client heard %q (%v), want %s", got, err, code)
	}
	e.events.wait(t, proxy.Refused, func(ev proxy.Event) bool { return ev.Reason == reason })
}

func TestStreamsAreLimited(t *testing.T) {
	t.Parallel()
	for reason, lim := range map[string]ratelimit.StreamLimits{
		ratelimit.ReasonStreamsPerIP:      {PerIP: 2},
		ratelimit.ReasonStreamsPerSubject: {PerSubject: 2},
	} {
		t.Run(reason, func(t *testing.T) {
			t.Parallel()
			origin := rtmptest.NewOrigin(t, rtmptest.OriginConfig{Mode: rtmptest.Strict})
			e := newEdge(t, func(p *proxy.Policy) {
				p.Publish = grants(byKey)
				p.Limits.Streams = lim
			}, origin.Addr())
			one := mustPublish(t, e, "one")
			mustPublish(t, e, "two")
			wantRefused(t, e, "three", "NetStream.Publish.Rejected", reason)
			if n := len(origin.Conns()); n != 2 {
				t.Errorf("the origin heard of a refused stream: %d connections", n)
			}
			if err := one.Stop(); err != nil {
				t.Fatal(err)
			}
			e.events.wait(t, proxy.Ended, nil)
			mustPublish(t, e, "three")
		})
	}
}

// However a stream or its setup ends, its place comes back.
func TestPlacesComeBack(t *testing.T) {
	t.Parallel()
	origin := rtmptest.NewOrigin(t, rtmptest.OriginConfig{Mode: rtmptest.Strict, Unchecked: true})
	down := rtmptest.NewOrigin(t, rtmptest.OriginConfig{RefusePublish: &rtmptest.StatusError{Code: "NetStream.Publish.BadName"}})
	e := newEdge(t, func(p *proxy.Policy) {
		p.Publish = grants(func(r authz.Request) (authz.Grant, error) {
			g, err := byKey(r)
			if g.Name == "refused" {
				g.Origin = "down"
			}
			return g, err
		})
		p.Origins = append(p.Origins, &proxy.Origin{Name: "down", Servers: []string{down.Addr()}})
		p.Limits.Streams = ratelimit.StreamLimits{PerIP: 100, PerSubject: 100}
	}, origin.Addr())
	stopped := mustPublish(t, e, "stopped")
	vanished := mustPublish(t, e, "vanished")
	kicked := mustPublish(t, e, "kicked")
	if n := e.Limiter().Streams.Len(); n != 3 {
		t.Errorf("%d streams are counted, 3 run", n)
	}
	if err := stopped.Stop(); err != nil {
		t.Fatal(err)
	}
	vanished.Abort()
	id := e.events.wait(t, proxy.Started, func(ev proxy.Event) bool { return ev.Name == "kicked" }).Session
	if !e.Kick(id, "kick") || e.Kick("no such", "kick") {
		t.Error("Kick says something else")
	}
	_ = kicked
	for _, name := range []string{"refused", "broken", "wrong"} {
		if _, err := publish(t, e, name); err == nil {
			t.Errorf("%s is published", name)
		}
	}
	ended := e.events.wait(t, proxy.Ended, func(ev proxy.Event) bool { return ev.Session == id })
	if ended.Side != proxy.SideEdge || ended.Reason != "kick" {
		t.Errorf("ended by %s: %s", ended.Side, ended.Reason)
	}
	for _, name := range []string{"stopped", "vanished"} {
		e.events.wait(t, proxy.Ended, func(ev proxy.Event) bool { return ev.Name == name })
	}
	eventually(t, "places are free", func() bool {
		return e.Limiter().Streams.Len() == 0 && e.Limiter().Admission.Connections() == 0
	})
}

// eventually waits for what is bound to happen.
func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(rtmptest.Patience); !f(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("never: %s", what)
		}
	}
}

func TestGuessingIsSlowedAndBanned(t *testing.T) {
	t.Parallel()
	origin := rtmptest.NewOrigin(t, rtmptest.OriginConfig{Mode: rtmptest.Strict})
	e := newEdge(t, func(p *proxy.Policy) {
		p.Publish = grants(byKey)
		p.Limits.Bans = ratelimit.BanLimits{AuthFailures: ratelimit.Rate{Events: 4, Per: time.Hour}, Ban: time.Hour}
	}, origin.Addr())
	running := mustPublish(t, e, "running")
	for i, want := range []time.Duration{0, 0, 0, time.Second, 2 * time.Second} {
		begin := time.Now()
		wantRefused(t, e, "wrong", "NetStream.Publish.Denied", "denied")
		if d := time.Since(begin); d < want {
			t.Errorf("guess %d was answered after %v, want %v", i+1, d, want)
		}
	}
	ban := e.events.wait(t, proxy.Banned, nil)
	if ban.Ban.Why != ratelimit.WhyAuthFailures || ban.Client.Addr().String() != "127.0.0.1" || ban.Ban.Count != 1 {
		t.Errorf("got %+v", ban)
	}
	wantClosed(t, e)
	e.events.wait(t, proxy.Refused, func(ev proxy.Event) bool {
		return ev.Stage == proxy.StageAdmit && ev.Reason == ratelimit.ReasonBanned
	})
	// Who is behind the same address and streams is left alone.
	if err := running.WriteAudio(1, []byte{0xAF, 1, 2}); err != nil {
		t.Error(err)
	}
	e.Limiter().Bans.Lift(ban.Client.Addr())
	mustPublish(t, e, "another")
	eventually(t, "the tarpit is empty", func() bool { return e.Limiter().Tarpit.Len() == 0 && e.Limiter().Admission.Connections() == 2 })
}

// wantClosed wants a connection to be closed before TLS.
func wantClosed(t *testing.T, e *edge) {
	t.Helper()
	c, err := net.Dial("tcp", e.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	_ = c.SetDeadline(time.Now().Add(rtmptest.Patience))
	if n, err := c.Read(make([]byte, 1)); n != 0 || errors.Is(err, os.ErrDeadlineExceeded) || err == nil {
		t.Errorf("read %d bytes, %v", n, err)
	}
}

// Shutdown does not wait for those in the tarpit, and they hear their refusal.
func TestShutdownEmptiesTheTarpit(t *testing.T) {
	var e *edge
	var begin time.Time
	var guessers sync.WaitGroup
	t.Cleanup(func() { // after the edge was shut down
		if d := time.Since(begin); d > 6*time.Second {
			t.Errorf("took %v", d)
		}
		if n := e.Limiter().Admission.Connections(); n != 0 {
			t.Errorf("%d connections are left", n)
		}
		guessers.Wait()
	})
	e = newEdge(t, func(p *proxy.Policy) { p.Publish = grants(byKey) }, "127.0.0.1:1")
	for range 3 {
		wantRefused(t, e, "wrong", "NetStream.Publish.Denied", "denied")
	}
	for range 8 { // of the last, the delay is 8 s
		c, err := tls.Dial("tcp", e.addr, &tls.Config{InsecureSkipVerify: true})
		if err != nil {
			t.Fatal(err)
		}
		guessers.Go(func() {
			p, err := rtmptest.Publish(c, rtmptest.PublishConfig{App: "live", TcURL: "rtmps://edge.test/live", Name: "wrong"})
			if statusCode(err) != "NetStream.Publish.Denied" {
				t.Errorf("got %v", err)
			}
			p.Abort()
		})
	}
	eventually(t, "all are refused", func() bool { return e.events.count(proxy.Refused) == 11 })
	begin = time.Now()
}

func TestKickBans(t *testing.T) {
	t.Parallel()
	origin := rtmptest.NewOrigin(t, rtmptest.OriginConfig{Mode: rtmptest.Strict})
	e := newEdge(t, nil, origin.Addr())
	mustPublish(t, e, "one")
	ban, ok := e.KickAndBan(e.events.wait(t, proxy.Started, nil).Session, time.Minute)
	if !ok || e.events.wait(t, proxy.Banned, nil).Ban != ban {
		t.Fatalf("got %+v, %v", ban, ok)
	}
	if ended := e.events.wait(t, proxy.Ended, nil); ended.Reason != "kick" {
		t.Errorf("ended by %s", ended.Reason)
	}
	if _, ok := e.KickAndBan("no such", time.Minute); ok {
		t.Error("no such session, and it is banned")
	}
	if ban.Why != ratelimit.WhyKick || !ban.ByHand || ban.Until.Sub(ban.Since) != time.Minute {
		t.Errorf("got %+v", ban)
	}
	wantClosed(t, e)
}

// Clients that begin a handshake and stop take nobody's place.
func TestSlowHandshakesTakeNoPlace(t *testing.T) {
	origin := rtmptest.NewOrigin(t, rtmptest.OriginConfig{Mode: rtmptest.Strict})
	e := newEdge(t, func(p *proxy.Policy) { p.Limits.Handshakes = 1 }, origin.Addr())
	for range 50 {
		c, err := net.Dial("tcp", e.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = c.Close() }()
		// The first bytes of a ClientHello of 512.
		if _, err := c.Write([]byte{22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3}); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "all are there", func() bool { return e.Sessions() == 50 })
	mustPublish(t, e, "one")
	if busy, waiting := e.Limiter().Handshakes.Busy(); busy != 0 || waiting != 0 {
		t.Errorf("%d busy, %d waiting", busy, waiting)
	}
}

// A reload reaches live streams.
func TestDurationOfALiveStream(t *testing.T) {
	t.Parallel()
	origin := rtmptest.NewOrigin(t, rtmptest.OriginConfig{Mode: rtmptest.Strict})
	e := newEdge(t, nil, origin.Addr())
	p := mustPublish(t, e, "one")
	changed := *e.policy
	changed.Limits.MaxDuration = time.Millisecond
	e.SetPolicy(&changed)
	ended := e.events.wait(t, proxy.Ended, nil)
	if ended.Side != proxy.SideEdge || ended.Reason != "max duration" {
		t.Errorf("ended by %s: %s", ended.Side, ended.Reason)
	}
	if err := p.WaitStatus(""); statusCode(err) != "NetStream.Publish.Rejected" {
		t.Errorf("the client heard %v", err)
	}
}

// A stream that is held to its rate loses nothing, and a reload frees it.
func TestPacedStreamLosesNothing(t *testing.T) {
	t.Parallel()
	origin := rtmptest.NewOrigin(t, rtmptest.OriginConfig{Mode: rtmptest.Strict})
	e := newEdge(t, func(p *proxy.Policy) { p.Limits.PublishBitrate = 80_000 }, origin.Addr())
	p := mustPublish(t, e, "one")
	payload := make([]byte, 8<<10)
	const messages = 60 // 480 KiB: the burst, and 42 s at the rate
	for i := range messages {
		if err := p.WriteVideo(uint32(i), payload); err != nil {
			t.Fatal(err)
		}
	}
	c := origin.Conn(t, 0)
	eventually(t, "the burst has passed", func() bool { return len(c.Media()) >= ratelimit.MinBurst/len(payload) })
	if n := len(c.Media()); n > messages/2 {
		t.Errorf("%d messages passed at once", n)
	}
	changed := *e.policy
	changed.Limits.PublishBitrate = 0
	e.SetPolicy(&changed)
	eventually(t, "all has passed", func() bool { return len(c.Media()) == messages })
	for i, m := range c.Media() {
		if m.Timestamp != uint32(i) || m.Len != len(payload) {
			t.Fatalf("message %d is %+v", i, m)
		}
	}
}

// A publisher that is too fast is slowed soon, not when the kernel's buffers are
// full of its stream.
func TestBackPressureComesEarly(t *testing.T) {
	origin := rtmptest.NewOrigin(t, rtmptest.OriginConfig{Mode: rtmptest.Strict})
	const bitrate = 800_000
	e := newEdge(t, func(p *proxy.Policy) { p.Limits.PublishBitrate = bitrate }, origin.Addr())
	tcp, err := net.Dial("tcp", e.addr)
	if err != nil {
		t.Fatal(err)
	}
	if err := tcp.(*net.TCPConn).SetWriteBuffer(16 << 10); err != nil { // the client's own buffer is not the edge's
		t.Fatal(err)
	}
	c := tls.Client(tcp, &tls.Config{InsecureSkipVerify: true})
	p, err := rtmptest.Publish(c, rtmptest.PublishConfig{App: "live", TcURL: "rtmps://edge.test/live", Name: "one"})
	defer p.Abort()
	if err != nil {
		t.Fatal(err)
	}
	begin, sent, payload := time.Now(), 0, make([]byte, 4<<10)
	for ; time.Since(begin) < 2*time.Second; sent += len(payload) {
		if err := p.WriteVideo(0, payload); err != nil {
			t.Fatal(err)
		}
	}
	// A burst, what the kernel and a read take in, and what the rate lets pass.
	passed := int(time.Since(begin).Seconds() * bitrate / 8)
	if most := ratelimit.MinBurst + 256<<10 + passed; sent > most {
		t.Errorf("%d KiB were taken, want at most %d", sent>>10, most>>10)
	}
}
