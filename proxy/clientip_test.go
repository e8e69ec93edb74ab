package proxy_test

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"rtmps-edge/authz"
	"rtmps-edge/internal/proxyheader"
	"rtmps-edge/proxy"
	"rtmps-edge/rtmp/rtmptest"
)

// door stands before an origin, ends TLS if told so, and keeps what comes
// before and after that and before C0.
type door struct {
	ln           net.Listener
	origin       string
	outer, inner int // how much comes first
	tls          *tls.Config
	wg           sync.WaitGroup
	firsts       chan string
}

func newDoor(t *testing.T, d *door) *door {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	d.ln, d.firsts = ln, make(chan string, 8)
	d.wg.Go(d.serve)
	t.Cleanup(func() { _ = ln.Close(); d.wg.Wait() })
	return d
}

func (d *door) addr() string { return d.ln.Addr().String() }

func (d *door) serve() {
	for {
		c, err := d.ln.Accept()
		if err != nil {
			return
		}
		d.wg.Go(func() { d.pass(c) })
	}
}

func (d *door) pass(edge net.Conn) {
	defer func() { _ = edge.Close() }()
	first := make([]byte, d.outer+d.inner)
	n, err := io.ReadFull(edge, first[:d.outer])
	if err == nil && d.tls != nil {
		edge = tls.Server(edge, d.tls)
	}
	if err == nil {
		var m int
		m, err = io.ReadFull(edge, first[d.outer:])
		n += m
	}
	d.firsts <- string(first[:n])
	if err != nil {
		return
	}
	origin, err := net.Dial("tcp", d.origin)
	if err != nil {
		return
	}
	defer func() { _ = origin.Close() }()
	d.wg.Go(func() {
		_, _ = io.Copy(edge, origin)
		_ = edge.Close()
	})
	_, _ = io.Copy(origin, edge)
}

func (d *door) first(t *testing.T) string {
	t.Helper()
	select {
	case s := <-d.firsts:
		return s
	case <-time.After(rtmptest.Patience):
		t.Fatal("nobody came to the origin")
		return ""
	}
}

const sigV2 = "\r\n\r\n\x00\r\nQUIT\n"

// What the origin is sent about a client, byte by byte, before the RTMP
// handshake, which follows at once.
func TestTheOriginIsToldTheClient(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		way    proxy.ClientIP
		client string // in the PROXY header that the edge gets; "" = on a unix socket
		want   string
	}{
		"v1":          {proxy.ClientIPProxyV1, header(1, viewer), "PROXY TCP4 192.0.2.7 198.51.100.1 4096 443\r\n"},
		"v1, IPv6":    {proxy.ClientIPProxyV1, header(1, viewer6), "PROXY TCP6 2001:db8::7 :: 4096 443\r\n"},
		"v1, unknown": {proxy.ClientIPProxyV1, "", "PROXY UNKNOWN\r\n"},
		"v2":          {proxy.ClientIPProxyV2, header(1, viewer), sigV2 + "\x21\x11\x00\x0c\xc0\x00\x02\x07\xc6\x33\x64\x01\x10\x00\x01\xbb"},
		"v2, unknown": {proxy.ClientIPProxyV2, "", sigV2 + "\x20\x00\x00\x00"},
		"SRS":         {proxy.ClientIPSRS, header(1, viewer), "\xf3\x00\x04\xc0\x00\x02\x07"},
		"SRS, IPv6":   {proxy.ClientIPSRS, header(1, viewer6), ""},
		"SRS unknown": {proxy.ClientIPSRS, "", ""},
		"off":         {proxy.ClientIPOff, header(1, viewer), ""},
		"query":       {"query:ip", header(1, viewer), ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			origin := rtmptest.NewOrigin(t, rtmptest.OriginConfig{Mode: rtmptest.Strict})
			door := newDoor(t, &door{origin: origin.Addr(), outer: len(test.want)})
			e := newEdge(t, func(p *proxy.Policy) { p.Origins[0].ClientIP = test.way }, door.addr())
			dial := e.listen(t, "unix", proxy.ListenerConfig{Balancers: proxy.Balancers{Unix: test.client != ""}})
			publishOnce(t, says(t, dial(), test.client), "x")
			if got := door.first(t); got != test.want {
				t.Errorf("the origin is told %q", got)
			}
		})
	}
}

// Without a balancer, the addresses are those of the client's connection.
func TestTheOriginIsToldBothEnds(t *testing.T) {
	t.Parallel()
	origin := rtmptest.NewOrigin(t, rtmptest.OriginConfig{})
	door := newDoor(t, &door{origin: origin.Addr(), outer: len(proxyheader.Format(2, viewer, front))})
	e := newEdge(t, func(p *proxy.Policy) { p.Origins[0].ClientIP = proxy.ClientIPProxyV2 }, door.addr())
	client := e.dial(t)
	publishOnce(t, client, "x")
	got, err := proxyheader.Read(strings.NewReader(door.first(t)))
	if err != nil || got.Source.String() != client.LocalAddr().String() || got.Destination.String() != client.RemoteAddr().String() {
		t.Errorf("%+v, %v", got, err)
	}
}

// A PROXY header comes before TLS, SRS's after it.
func TestTheOriginIsToldOverTLS(t *testing.T) {
	t.Parallel()
	server := &tls.Config{Certificates: []tls.Certificate{certificate}}
	for way, d := range map[proxy.ClientIP]*door{
		proxy.ClientIPProxyV1: {outer: len(header(1, viewer)), tls: server},
		proxy.ClientIPSRS:     {inner: 7, tls: server},
	} {
		d.origin = rtmptest.NewOrigin(t, rtmptest.OriginConfig{Mode: rtmptest.Strict}).Addr()
		newDoor(t, d)
		e := newEdge(t, func(p *proxy.Policy) {
			p.Origins[0].ClientIP, p.Origins[0].TLS = way, &tls.Config{InsecureSkipVerify: true}
		}, "rtmps://"+d.addr())
		dial := e.listen(t, "tcp", proxy.ListenerConfig{Balancers: loopback})
		publishOnce(t, says(t, dial(), header(1, viewer)), "x")
		want := header(1, viewer)
		if way == proxy.ClientIPSRS {
			want = "\xf3\x00\x04\xc0\x00\x02\x07"
		}
		if got := d.first(t); got != want {
			t.Errorf("%s: the origin is told %q", way, got)
		}
	}
}

// The name that the client's address is added to is the one that the origin
// sees, in all commands.
func TestTheOriginIsToldInTheName(t *testing.T) {
	t.Parallel()
	origin := rtmptest.NewOrigin(t, rtmptest.OriginConfig{Mode: rtmptest.Strict})
	e := newEdge(t, func(p *proxy.Policy) {
		p.Origins[0].ClientIP = "query:client_ip"
		p.Publish = grants(func(authz.Request) (authz.Grant, error) {
			return authz.Grant{Name: "alice?room=1&client_ip=203.0.113.1"}, nil
		})
	}, origin.Addr())
	dial := e.listen(t, "tcp", proxy.ListenerConfig{Balancers: loopback})
	publishOnce(t, says(t, dial(), header(1, viewer6)), "x")
	names := origin.Conn(t, 0).Names()
	if len(names) < 3 || slices.ContainsFunc(names, func(n rtmptest.NameSeen) bool { return n.Name != "alice?room=1&client_ip=2001:db8::7" }) {
		t.Errorf("the origin sees %v", names)
	}
}

// A health check is the edge's own connection, and says so.
func TestHealthChecksSpeakForTheEdge(t *testing.T) {
	t.Parallel()
	origin := rtmptest.NewOrigin(t, rtmptest.OriginConfig{})
	for way, want := range map[proxy.ClientIP]string{
		proxy.ClientIPProxyV1: "PROXY UNKNOWN\r\n", proxy.ClientIPProxyV2: sigV2 + "\x20\x00\x00\x00", proxy.ClientIPSRS: "", "query:ip": "", "": "",
	} {
		door := newDoor(t, &door{origin: origin.Addr(), outer: len(want)})
		o := &proxy.Origin{ClientIP: way}
		if err := o.Check(context.Background(), door.addr()); err != nil {
			t.Errorf("%s: %v", way, err)
		}
		if got := door.first(t); got != want {
			t.Errorf("%s: the origin is told %q", way, got)
		}
	}
}

func TestClientIPText(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]proxy.ClientIP{"off": "", "proxy-v1": "proxy-v1", "proxy-v2": "proxy-v2", "srs": "srs", "query:client_ip": "query:client_ip"} {
		got := proxy.ClientIP("x")
		if err := got.UnmarshalText([]byte(text)); err != nil || got != want {
			t.Errorf("%s: %q, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "on", "proxy-v3", "query", "query:", "query:a b", "query:a=b", "query:ä", "query:" + strings.Repeat("a", 33)} {
		if err := new(proxy.ClientIP).UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q is taken", text)
		}
	}
}
