package proxy_test

import (
	"bytes"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"rtmps-edge/authz"
	"rtmps-edge/proxy"
	"rtmps-edge/rtmp/rtmptest"
)

// TestAPanicEndsOneSession: wherever it strikes, the Observer hears of an end,
// and the next client is served.
func TestAPanicEndsOneSession(t *testing.T) {
	for _, where := range []string{"authorizer", "read", "write"} {
		t.Run(where, func(t *testing.T) {
			t.Parallel()
			origin := rtmptest.NewOrigin(t, rtmptest.OriginConfig{Unchecked: true})
			bad := &faulty{Listener: listen(t)}
			e := newPlainEdge(t, bad, func(p *proxy.Policy) {
				p.Publish = grants(func(r authz.Request) (authz.Grant, error) {
					if where == "authorizer" && r.Key.Reveal() == "first" {
						panic("a fault of the test")
					}
					return authz.Open{}.Authorize(t.Context(), r)
				})
			}, origin.Addr())
			defer e.end(t)
			kind := proxy.Ended
			first, err := publishTo(t, e, "first")
			switch where {
			case "authorizer":
				kind = proxy.Refused
				if err == nil {
					t.Error("the client was served")
				}
			case "read":
				bad.conn(0).panicRead.Store(true)
				_ = first.WriteVideo(0, []byte("x"))
			case "write":
				bad.conn(0).panicWrite.Store(true)
				if err := first.Send(new(rtmptest.Builder).UserControl(rtmptest.EventPingRequest, 1)); err != nil {
					t.Error(err)
				}
			}
			end := e.events.wait(t, kind, nil)
			if end.Reason != "panic" {
				t.Errorf("the end's reason is %q", end.Reason)
			}
			first.Abort()
			if !strings.Contains(e.log.String(), "a fault of the test") {
				t.Error("the log tells nothing of it")
			}
			second, err := publishTo(t, e, "second")
			if err != nil {
				t.Fatalf("the next client: %v", err)
			}
			_ = second.Close()
		})
	}
}

// faulty is a listener whose connections can be told to panic.
type faulty struct {
	net.Listener
	mu    sync.Mutex
	conns []*faultyConn
}

func (l *faulty) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	f := &faultyConn{Conn: c}
	l.conns = append(l.conns, f)
	return f, nil
}

func (l *faulty) conn(i int) *faultyConn {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.conns[i]
}

type faultyConn struct {
	net.Conn
	panicRead, panicWrite atomic.Bool
}

func (c *faultyConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if c.panicRead.Load() {
		panic("a fault of the test")
	}
	return n, err
}

func (c *faultyConn) Write(p []byte) (int, error) {
	if c.panicWrite.Load() {
		panic("a fault of the test")
	}
	return c.Conn.Write(p)
}

// TestShutdownInTheMiddleOfSetups: clients that have not asked are not waited
// for, at whatever point of their setup they are.
func TestShutdownInTheMiddleOfSetups(t *testing.T) {
	const rounds, clients = 30, 8
	for range rounds {
		e := newPlainEdge(t, listen(t), func(p *proxy.Policy) { p.Limits.SetupTimeout = time.Hour })
		var wg sync.WaitGroup
		for range clients {
			wg.Go(func() {
				c, err := net.Dial("tcp", e.addr)
				if err != nil {
					return // the listener is closed by now
				}
				defer func() { _ = c.Close() }()
				_, _ = c.Write(bytes.Repeat([]byte{3}, 100)) // and then nothing
				_ = c.SetReadDeadline(time.Now().Add(rtmptest.Patience))
				if _, err := c.Read(make([]byte, 1)); isTimeout(err) {
					t.Error("a client is still connected")
				}
			})
		}
		e.events.wait(t, proxy.Accepted, nil)
		e.end(t)
		wg.Wait()
	}
}

func isTimeout(err error) bool {
	ne, ok := err.(net.Error)
	return ok && ne.Timeout()
}
