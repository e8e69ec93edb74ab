package proxy_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"flag"
	"io"
	"math/big"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/sirupsen/logrus"
	"go.uber.org/goleak"

	"rtmps-edge/authz"
	"rtmps-edge/proxy"
	"rtmps-edge/ratelimit"
	"rtmps-edge/rtmp/rtmptest"
)

func TestMain(m *testing.M) {
	logrus.SetOutput(io.Discard) // of go-rtmp, which has no other way to be quiet
	flag.Parse()
	_ = flag.Set("test.parallel", "16") // tests that run side by side mostly wait
	goleak.VerifyTestMain(m)
}

// edge is a Server on loopback with one listener.
type edge struct {
	*proxy.Server
	addr   string
	plain  bool // not TLS
	events *recorder
	policy *proxy.Policy
	log    *logs
	served chan error
	limits *ratelimit.Limiter // nil: the Server's own
}

// newEdge starts an edge in front of servers, with change applied to its policy.
func newEdge(t *testing.T, change func(*proxy.Policy), servers ...string) *edge {
	t.Helper()
	p := &proxy.Policy{
		TLS:     &tls.Config{Certificates: []tls.Certificate{certificate}, SessionTicketsDisabled: true},
		Publish: authz.Open{},
		Play:    authz.Open{},
		Origins: []*proxy.Origin{{Name: "main", Servers: servers}},
		Limits:  proxy.Limits{SetupTimeout: 10 * time.Second},
	}
	if change != nil {
		change(p)
	}
	e := &edge{policy: p}
	e.serve(t, listen(t))
	t.Cleanup(func() { e.end(t) })
	return e
}

// newPlainEdge starts an edge behind ln, without TLS. Its end is the test's.
func newPlainEdge(t *testing.T, ln net.Listener, change func(*proxy.Policy), servers ...string) *edge {
	t.Helper()
	p := &proxy.Policy{Publish: authz.Open{}, Play: authz.Open{},
		Origins: []*proxy.Origin{{Name: "main", Servers: servers}}, Limits: proxy.Limits{SetupTimeout: 10 * time.Second}}
	if change != nil {
		change(p)
	}
	e := &edge{policy: p, plain: true}
	e.serve(t, ln)
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

func (e *edge) serve(t *testing.T, ln net.Listener) {
	e.events, e.log, e.served = &recorder{}, &logs{}, make(chan error, 1)
	log := logrus.New()
	log.SetLevel(logrus.TraceLevel)
	log.SetOutput(e.log)
	e.Server = proxy.NewServer(proxy.ServerConfig{Policy: e.policy, Observer: e.events, Log: log, Limiter: e.limits})
	e.addr = ln.Addr().String()
	go func() { e.served <- e.Serve(ln, proxy.ListenerConfig{Address: e.addr, TLS: !e.plain}) }()
}

// end shuts the edge down without waiting for its streams.
func (e *edge) end(t *testing.T) {
	now, stop := context.WithCancel(context.Background())
	stop()
	_ = e.Shutdown(now)
	if err := <-e.served; err != nil {
		t.Errorf("Serve: %v", err)
	}
	e.events.check(t)
}

// hangsUp makes a client end its side when the edge has ended its own, as encoders
// do. Otherwise the edge waits for it a while.
func hangsUp(p *rtmptest.Publisher) {
	go func() {
		_, _ = p.WaitEnd()
		p.Abort()
	}()
}

// logs keeps what was logged.
type logs struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// dial connects to the edge and does TLS, if it does.
func (e *edge) dial(t testing.TB) net.Conn {
	t.Helper()
	var c net.Conn
	var err error
	if e.plain {
		c, err = net.Dial("tcp", e.addr)
	} else {
		c, err = tls.Dial("tcp", e.addr, &tls.Config{InsecureSkipVerify: true})
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if s, ok := c.(*tls.Conn); ok {
			_ = s.NetConn().Close() // no alert: nobody may be there to take it
			return
		}
		_ = c.Close()
	})
	return c
}

var certificate = func() tls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "edge.test"},
		NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"edge.test"}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		panic(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}()

// recorder is an Observer that holds the events against their contract.
type recorder struct {
	mu     sync.Mutex
	events []proxy.Event
	more   chan struct{} // closed at the next event
}

func (r *recorder) Observe(e proxy.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, e)
	if r.more != nil {
		close(r.more)
		r.more = nil
	}
}

// wait returns the first event of that kind that match takes.
func (r *recorder) wait(t *testing.T, k proxy.Kind, match func(proxy.Event) bool) proxy.Event {
	t.Helper()
	timeout := time.After(rtmptest.Patience)
	for {
		r.mu.Lock()
		for _, e := range r.events {
			if e.Kind == k && (match == nil || match(e)) {
				r.mu.Unlock()
				return e
			}
		}
		if r.more == nil {
			r.more = make(chan struct{})
		}
		more := r.more
		r.mu.Unlock()
		select {
		case <-more:
		case <-timeout:
			t.Fatalf("no event of kind %d; got %+v", k, r.events)
		}
	}
}

// count returns how many events of that kind there were.
func (r *recorder) count(k proxy.Kind) (n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range r.events {
		if e.Kind == k {
			n++
		}
	}
	return n
}

// all returns what was observed so far.
func (r *recorder) all() []proxy.Event {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.events)
}

// check needs the end of all sessions.
func (r *recorder) check(t *testing.T) {
	r.mu.Lock()
	defer r.mu.Unlock()
	state := map[string]proxy.Kind{}
	for _, e := range r.events {
		if e.Kind == proxy.Banned {
			continue
		}
		before := state[e.Session]
		want := map[proxy.Kind]proxy.Kind{proxy.Accepted: 0, proxy.Refused: proxy.Accepted, proxy.Started: proxy.Accepted, proxy.Ended: proxy.Started}[e.Kind]
		if before != want {
			t.Errorf("session %s: event %d after %d", e.Session, e.Kind, before)
		}
		state[e.Session] = e.Kind
	}
	for id, k := range state {
		if k != proxy.Refused && k != proxy.Ended {
			t.Errorf("session %s stays at event %d", id, k)
		}
	}
}

// grants is an Authorizer for tests.
type grants func(authz.Request) (authz.Grant, error)

func (g grants) Authorize(_ context.Context, r authz.Request) (authz.Grant, error) { return g(r) }

// onlyKey grants one credential in one app under one name.
func onlyKey(key, app, name string) grants {
	return func(r authz.Request) (authz.Grant, error) {
		if r.Key.Reveal() != key {
			return authz.Grant{}, authz.ErrUnknown
		}
		if r.App != app {
			return authz.Grant{}, authz.ErrDenied
		}
		return authz.Grant{Subject: "somebody", Name: name}, nil
	}
}

// statusCode returns the code of a refusal.
func statusCode(err error) string {
	var s *rtmptest.StatusError
	if errors.As(err, &s) {
		return s.Code
	}
	return ""
}

// errBackend is an authorizer's that cannot answer.
var errBackend = errors.New("the backend is down")
