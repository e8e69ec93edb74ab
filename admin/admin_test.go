package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"rtmps-edge/authz"
	"rtmps-edge/internal/secret"
	"rtmps-edge/proxy"
	"rtmps-edge/rtmp/rtmptest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// hostile is a name that would do harm in HTML, XML, a terminal and a log.
const hostile = "<script>alert(1)</script>&\"'\x1b[31m\u202eevil]]>"

// grants gives everybody the name that it asked for, "hostile" the hostile one.
type grants struct{}

func (grants) Authorize(_ context.Context, r authz.Request) (authz.Grant, error) {
	switch key := r.Key.Reveal(); key {
	case "wrong":
		return authz.Grant{}, authz.ErrDenied
	case "a-secret-name":
		return authz.Grant{Name: key, By: "open"}, nil
	case "hostile":
		return authz.Grant{Subject: hostile, Name: hostile, By: "test"}, nil
	default:
		return authz.Grant{Subject: "of " + key, Name: key, By: "test"}, nil
	}
}

// edge is a running edge with its admin address.
type edge struct {
	*proxy.Server
	t      testing.TB
	a      *Admin
	rtmp   string // address of the listener, without TLS
	url    string
	client *http.Client
	origin *rtmptest.Origin
	stop   func() // ends all streams at once
}

// newEdge starts one; change may set what it is made of.
func newEdge(t testing.TB, change func(*Config)) *edge {
	t.Helper()
	e := &edge{t: t, origin: rtmptest.NewOrigin(t, rtmptest.OriginConfig{})}
	c := Config{Version: Version{"1.2.3", "abc"}, Reload: func(context.Context) error { return nil }, Drain: func() {}}
	if change != nil {
		change(&c)
	}
	e.a = New(c)
	e.Server = proxy.NewServer(proxy.ServerConfig{Observer: e.a, Policy: &proxy.Policy{
		Publish: grants{}, Play: grants{}, Origins: []*proxy.Origin{{Name: "main", Servers: []string{e.origin.Addr()}}},
		Limits: proxy.Limits{SetupTimeout: rtmptest.Patience},
	}})
	e.a.Attach(e.Server)
	ln := listen(t)
	e.rtmp = ln.Addr().String()
	served := make(chan error, 1)
	go func() { served <- e.Serve(ln, proxy.ListenerConfig{Address: "the listener"}) }()
	e.stop = sync.OnceFunc(func() {
		now, cancel := context.WithCancel(context.Background())
		cancel()
		_ = e.Shutdown(now)
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(e.stop)
	e.url, e.client = serve(t, e.a, listen(t))
	return e
}

func listen(t testing.TB) net.Listener {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return ln
}

// serve serves a on ln until the test ends.
func serve(t testing.TB, a *Admin, ln net.Listener) (url string, client *http.Client) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- a.Serve(ctx, ln) }()
	tr := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, ln.Addr().Network(), ln.Addr().String())
	}}
	t.Cleanup(func() {
		tr.CloseIdleConnections()
		cancel()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return "http://" + ln.Addr().String(), &http.Client{Transport: tr, Timeout: rtmptest.Patience}
}

// do sends one request. change may set headers and the Host.
func (e *edge) do(method, path string, change ...func(*http.Request)) (*http.Response, string) {
	e.t.Helper()
	q, err := http.NewRequest(method, e.url+path, nil)
	if err != nil {
		e.t.Fatal(err)
	}
	for _, f := range change {
		f(q)
	}
	r, err := e.client.Do(q)
	if err != nil {
		e.t.Fatal(err)
	}
	defer func() { _ = r.Body.Close() }()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		e.t.Fatal(err)
	}
	return r, string(b)
}

func header(key, value string) func(*http.Request) {
	return func(q *http.Request) { q.Header.Set(key, value) }
}

var own = header(OwnHeader, "1")

// get decodes the answer into v.
func (e *edge) get(path string, v any) {
	e.t.Helper()
	r, body := e.do("GET", path)
	if r.StatusCode != 200 || r.Header.Get("Content-Type") != "application/json" {
		e.t.Fatalf("%s: %s: %s", path, r.Status, body)
	}
	d := json.NewDecoder(strings.NewReader(body))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		e.t.Fatalf("%s: %v in %s", path, err, body)
	}
}

func (e *edge) dial() net.Conn {
	e.t.Helper()
	c, err := net.Dial("tcp", e.rtmp)
	if err != nil {
		e.t.Fatal(err)
	}
	e.t.Cleanup(func() { _ = c.Close() })
	return c
}

func (e *edge) publish(name string) *rtmptest.Publisher {
	e.t.Helper()
	p, err := rtmptest.Publish(e.dial(), rtmptest.PublishConfig{App: "live", Name: name})
	if err != nil {
		e.t.Fatal(err)
	}
	return p
}

func (e *edge) play(name string) *rtmptest.Player {
	e.t.Helper()
	before := len(e.events("stream_started", 0))
	defer func() { e.events("stream_started", before+1) }()
	p, err := rtmptest.Play(e.dial(), rtmptest.PlayConfig{App: "live", Name: name})
	if err != nil {
		e.t.Fatal(err)
	}
	return p
}

// refused tries to publish with a wrong key.
func (e *edge) refused() {
	e.t.Helper()
	if _, err := rtmptest.Publish(e.dial(), rtmptest.PublishConfig{App: "live", Name: "wrong"}); err == nil {
		e.t.Fatal("a wrong key publishes")
	}
}

// event returns the first event of that name, waiting for it.
func (e *edge) event(name string) Event {
	e.t.Helper()
	return e.events(name, 1)[0]
}

// events returns all events of that name, once there are n.
func (e *edge) events(name string, n int) (found []Event) {
	e.t.Helper()
	timeout := time.After(rtmptest.Patience)
	for {
		list, more := e.a.hub.since(0, hubSize)
		found = nil
		for _, v := range list {
			if v.Event == name {
				found = append(found, v)
			}
		}
		if len(found) >= n {
			return found
		}
		select {
		case <-more:
		case <-timeout:
			e.t.Fatalf("not %d events %s in %+v", n, name, list)
		}
	}
}

// Requests end when their address is closed, viewers too.
func TestServeEndsWithItsContext(t *testing.T) {
	t.Parallel()
	e := newEdge(t, nil)
	ln := listen(t)
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- e.a.Serve(ctx, ln) }()
	r, err := http.Get("http://" + ln.Addr().String() + "/api/v1/live")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = r.Body.Close() }()
	cancel()
	if err := <-served; err != nil {
		t.Error(err)
	}
	if _, err := io.Copy(io.Discard, r.Body); err != nil && !bytes.Contains([]byte(err.Error()), []byte("EOF")) {
		t.Error(err)
	}
	http.DefaultClient.CloseIdleConnections()
}

func TestConnectionsAreBounded(t *testing.T) {
	t.Parallel()
	e := newEdge(t, nil)
	host := strings.TrimPrefix(e.url, "http://")
	held := make([]net.Conn, maxConns)
	for i := range held {
		c, err := net.Dial("tcp", host)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = c.Close() }()
		held[i] = c
		if i < 2 { // they are served
			if _, err := io.WriteString(c, "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"); err != nil {
				t.Fatal(err)
			}
			if _, err := c.Read(make([]byte, 1)); err != nil {
				t.Fatal(err)
			}
		}
	}
	answered := make(chan error, 1)
	go func() {
		r, err := e.client.Get(e.url + "/healthz")
		if err == nil {
			_ = r.Body.Close()
		}
		answered <- err
	}()
	select {
	case <-answered:
		t.Error("one connection more than allowed is served")
	case <-time.After(100 * time.Millisecond):
	}
	for _, c := range held {
		_ = c.Close()
	}
	if err := <-answered; err != nil {
		t.Error(err)
	}
}

// A token that is set while the address is open counts at once.
func TestTheTokenCanChange(t *testing.T) {
	t.Parallel()
	e := newEdge(t, nil)
	if r, _ := e.do("GET", "/api/v1/status"); r.StatusCode != 200 {
		t.Error(r.Status)
	}
	e.a.SetToken(secret.New("0123456789abcdef"))
	if r, _ := e.do("GET", "/api/v1/status"); r.StatusCode != 401 {
		t.Error(r.Status)
	}
}
