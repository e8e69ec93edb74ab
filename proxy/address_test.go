package proxy_test

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"rtmps-edge/authz"
	"rtmps-edge/internal/proxyheader"
	"rtmps-edge/proxy"
	"rtmps-edge/ratelimit"
	"rtmps-edge/rtmp/rtmptest"
)

// listen opens another listener, on loopback or as a unix socket, and returns
// what dials it.
func (e *edge) listen(t *testing.T, network string, lc proxy.ListenerConfig) func() net.Conn {
	t.Helper()
	address := "127.0.0.1:0"
	if network == "unix" {
		address = filepath.Join(t.TempDir(), "edge.sock")
	}
	ln, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	lc.Address = ln.Addr().String()
	served := make(chan error, 1)
	go func() { served <- e.Serve(ln, lc) }()
	t.Cleanup(func() {
		_ = ln.Close()
		if err := <-served; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	return func() net.Conn {
		c, err := net.Dial(network, lc.Address)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		return c
	}
}

func secured(c net.Conn) net.Conn { return tls.Client(c, &tls.Config{InsecureSkipVerify: true}) }

// says sends text before all else.
func says(t *testing.T, c net.Conn, text string) net.Conn {
	t.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
	return c
}

// publishOnce starts a stream and stops it again.
func publishOnce(t *testing.T, c net.Conn, name string) {
	t.Helper()
	p, err := rtmptest.Publish(c, rtmptest.PublishConfig{App: "live", Name: name})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Stop(); err != nil {
		t.Fatal(err)
	}
}

func named(name string) func(proxy.Event) bool {
	return func(e proxy.Event) bool { return e.Name == name }
}

func TestRTMPSAndRTMPOnOnePort(t *testing.T) {
	t.Parallel()
	e := newEdge(t, nil, rtmptest.NewOrigin(t, rtmptest.OriginConfig{}).Addr())
	dial := e.listen(t, "tcp", proxy.ListenerConfig{TLS: true, Optional: true})
	publishOnce(t, dial(), "plain")
	publishOnce(t, secured(dial()), "encrypted")
	if got := e.events.wait(t, proxy.Started, named("plain")).TLS; got != "" {
		t.Errorf("RTMP is told to be %q", got)
	}
	if got := e.events.wait(t, proxy.Started, named("encrypted")).TLS; got != "TLS 1.3" {
		t.Errorf("RTMPS is told to be %q", got)
	}
	says(t, dial(), "GET / HTTP/1.1\r\n\r\n"+strings.Repeat("x", 2000))
	e.events.wait(t, proxy.Refused, func(e proxy.Event) bool { return e.Stage == proxy.StageRTMP && e.Reason == "protocol" })
	_ = dial().Close()
	e.events.wait(t, proxy.Refused, func(e proxy.Event) bool { return e.Stage == proxy.StageTLS && e.Reason == "closed" })
}

// Who says nothing has only so much time, whatever it is that it has to say.
func TestTheFirstByteHasADeadline(t *testing.T) {
	t.Parallel()
	e := newEdge(t, func(p *proxy.Policy) { p.Limits.SetupTimeout = 50 * time.Millisecond }, "127.0.0.1:1")
	for stage, lc := range map[proxy.Stage]proxy.ListenerConfig{
		proxy.StageTLS:   {TLS: true, Optional: true},
		proxy.StageAdmit: {TLS: true, Balancers: loopback},
	} {
		e.listen(t, "tcp", lc)()
		e.events.wait(t, proxy.Refused, func(e proxy.Event) bool { return e.Stage == stage && e.Reason == "timeout" })
	}
}

// A handshake that fails is told with its cause and what the client offered.
func TestHandshakeFailures(t *testing.T) {
	t.Parallel()
	e := newEdge(t, func(p *proxy.Policy) { p.TLS.MinVersion = tls.VersionTLS13 }, "127.0.0.1:1")
	dial := e.listen(t, "tcp", proxy.ListenerConfig{TLS: true})
	says(t, dial(), "\x03"+strings.Repeat("\x00", 1536))
	_ = tls.Client(dial(), &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12}).Handshake()
	_ = tls.Client(dial(), &tls.Config{ServerName: "edge.test"}).Handshake()
	for _, reason := range []string{"plain RTMP", "no shared version", "client rejected certificate"} {
		e.events.wait(t, proxy.Refused, func(e proxy.Event) bool { return e.Stage == proxy.StageTLS && e.Reason == reason })
	}
}

var (
	loopback = proxy.Balancers{Networks: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}
	viewer   = netip.MustParseAddrPort("192.0.2.7:4096")
	viewer6  = netip.MustParseAddrPort("[2001:db8::7]:4096")
	front    = netip.MustParseAddrPort("198.51.100.1:443")
)

func header(version byte, from netip.AddrPort) string {
	return string(proxyheader.Format(version, from, front))
}

// asked is an Authorizer that grants, and tells what it was asked.
type asked chan authz.Request

func (a asked) authorizer() grants {
	return func(r authz.Request) (authz.Grant, error) {
		a <- r
		return authz.Grant{Subject: "somebody", Name: r.Key.Reveal()}, nil
	}
}

// For whom a balancer speaks is the client, to everybody who asks.
func TestABalancersClientIsTheClient(t *testing.T) {
	t.Parallel()
	questions := make(asked, 1)
	origin := rtmptest.NewOrigin(t, rtmptest.OriginConfig{})
	e := newEdge(t, func(p *proxy.Policy) {
		p.Publish = questions.authorizer()
		p.PublishFrom = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("2001:db8::/32")}
	}, origin.Addr())
	dial := e.listen(t, "tcp", proxy.ListenerConfig{TLS: true, Balancers: loopback})
	for i, from := range []netip.AddrPort{viewer, viewer6} {
		for _, version := range []byte{1, 2} {
			name := fmt.Sprintf("stream-%d-%d", i, version)
			publishOnce(t, secured(says(t, dial(), header(version, from))), name)
			if got := (<-questions).Client; got != from {
				t.Errorf("version %d: the authorizer is asked about %v", version, got)
			}
			if got := e.events.wait(t, proxy.Started, named(name)).Client; got != from {
				t.Errorf("version %d: the event is about %v", version, got)
			}
		}
	}
}

// Limits and deny_from are for the client, not for the balancer.
func TestABalancerIsNotLimited(t *testing.T) {
	t.Parallel()
	origin := rtmptest.NewOrigin(t, rtmptest.OriginConfig{})
	e := newEdge(t, func(p *proxy.Policy) {
		p.Limits.Admission = ratelimit.AdmissionLimits{ConnectionsPerIP: 1}
		p.DenyFrom = []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24")}
	}, origin.Addr())
	dial := e.listen(t, "tcp", proxy.ListenerConfig{Balancers: loopback})
	for i := range 3 {
		from := netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}), 4096)
		if _, err := rtmptest.Publish(says(t, dial(), header(2, from)), rtmptest.PublishConfig{App: "live", Name: from.Addr().String()}); err != nil {
			t.Fatalf("client %d: %v", i, err)
		}
	}
	says(t, dial(), header(1, netip.MustParseAddrPort("192.0.2.0:4097")))
	e.events.wait(t, proxy.Refused, func(e proxy.Event) bool {
		return e.Reason == ratelimit.ReasonConnectionsPerIP && e.Client == netip.MustParseAddrPort("192.0.2.0:4097")
	})
	says(t, dial(), header(1, netip.MustParseAddrPort("203.0.113.9:1")))
	e.events.wait(t, proxy.Refused, func(e proxy.Event) bool { return e.Stage == proxy.StageAdmit && e.Reason == "network" })
}

// What a balancer says of itself is about itself.
func TestABalancerThatSpeaksForItself(t *testing.T) {
	t.Parallel()
	e := newEdge(t, nil, rtmptest.NewOrigin(t, rtmptest.OriginConfig{}).Addr())
	dial := e.listen(t, "tcp", proxy.ListenerConfig{TLS: true, Balancers: loopback})
	for _, version := range []byte{1, 2} {
		c := dial()
		name := fmt.Sprintf("local-%d", version)
		publishOnce(t, secured(says(t, c, header(version, netip.AddrPort{}))), name)
		if got := e.events.wait(t, proxy.Started, named(name)).Client.String(); got != c.LocalAddr().String() {
			t.Errorf("version %d: the client is %v, not the peer %v", version, got, c.LocalAddr())
		}
	}
}

// A balancer must say for whom it speaks.
func TestABalancersHeaderIsRequired(t *testing.T) {
	t.Parallel()
	e := newEdge(t, nil, "127.0.0.1:1")
	dial := e.listen(t, "tcp", proxy.ListenerConfig{TLS: true, Balancers: loopback})
	if err := secured(dial()).(*tls.Conn).Handshake(); err == nil {
		t.Error("TLS without a header")
	}
	e.events.wait(t, proxy.Refused, func(e proxy.Event) bool { return e.Stage == proxy.StageAdmit && e.Reason == "proxy header" })
	_ = dial().Close() // how balancers ask whether somebody listens
	e.events.wait(t, proxy.Refused, func(e proxy.Event) bool { return e.Stage == proxy.StageAdmit && e.Reason == "closed" })
}

// Nobody else can say who it is: to those the header is what it is, no TLS and
// no RTMP.
func TestAHeaderFromAnybodyElseIsNotBelieved(t *testing.T) {
	t.Parallel()
	e := newEdge(t, nil, "127.0.0.1:1")
	others := proxy.Balancers{Networks: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("::/0")}, Unix: true}
	for _, lc := range []proxy.ListenerConfig{{TLS: true, Balancers: others}, {TLS: true}, {TLS: true, Optional: true, Balancers: others}, {Balancers: others}, {}} {
		dial := e.listen(t, "tcp", lc)
		for _, version := range []byte{1, 2} {
			c := dial()
			// RTMP behind it, so that nothing is waited for.
			says(t, c, header(version, viewer)+"\x03"+strings.Repeat("\x00", 1536))
			refused := e.events.wait(t, proxy.Refused, func(e proxy.Event) bool { return e.Client.String() == c.LocalAddr().String() })
			wanted := proxy.StageTLS
			if !lc.TLS || lc.Optional {
				wanted = proxy.StageRTMP
			}
			if refused.Stage != wanted {
				t.Errorf("%+v, version %d: refused at %s, %s", lc, version, refused.Stage, refused.Reason)
			}
		}
	}
	for _, event := range e.events.all() {
		if event.Client.Addr() == viewer.Addr() {
			t.Errorf("a header was believed: %+v", event)
		}
	}
}

// Where a balancer has ended TLS, it tells the server name.
func TestABalancersServerNameRoutes(t *testing.T) {
	t.Parallel()
	first, second := rtmptest.NewOrigin(t, rtmptest.OriginConfig{}), rtmptest.NewOrigin(t, rtmptest.OriginConfig{})
	e := newEdge(t, func(p *proxy.Policy) {
		p.Origins = append(p.Origins, &proxy.Origin{Name: "second", Servers: []string{second.Addr()}})
		p.Routes = []proxy.Route{{Server: "*.example.com", Origin: "second"}}
	}, first.Addr())
	dial := e.listen(t, "tcp", proxy.ListenerConfig{Balancers: loopback})
	h := "\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x1f\xc0\x00\x02\x07\xc6\x33\x64\x01\x10\x00\x01\xbb\x02\x00\x10LIVE.example.com"
	publishOnce(t, says(t, dial(), h), "x")
	if got := e.events.wait(t, proxy.Started, nil); got.Origin != "second" || got.Client != viewer {
		t.Errorf("%+v", got)
	}
}

// Clients on a unix socket have no address: no limit of one applies to them.
func TestUnixSocket(t *testing.T) {
	t.Parallel()
	origin := rtmptest.NewOrigin(t, rtmptest.OriginConfig{})
	e := newEdge(t, func(p *proxy.Policy) { p.Limits.Admission.ConnectionsPerIP = 1 }, origin.Addr())
	plain := e.listen(t, "unix", proxy.ListenerConfig{})
	for i := range 3 {
		if _, err := rtmptest.Publish(plain(), rtmptest.PublishConfig{App: "live", Name: fmt.Sprint(i)}); err != nil {
			t.Fatal(err)
		}
	}
	if got := e.events.wait(t, proxy.Started, nil).Client; got.IsValid() {
		t.Errorf("the client is %v", got)
	}
	balanced := e.listen(t, "unix", proxy.ListenerConfig{TLS: true, Balancers: proxy.Balancers{Unix: true}})
	publishOnce(t, secured(says(t, balanced(), header(1, viewer))), "told")
	if got := e.events.wait(t, proxy.Started, named("told")).Client; got != viewer {
		t.Errorf("the client is %v", got)
	}
}
