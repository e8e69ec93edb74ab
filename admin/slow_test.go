package admin

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"rtmps-edge/proxy"
)

// pipes is a listener in memory, so that the time of tests runs by itself.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	select {
	case <-p.closed:
	default:
		close(p.closed)
	}
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipe", Net: "unix"} }

func (p *pipes) dial() net.Conn {
	here, there := net.Pipe()
	p.conns <- there
	return here
}

// slowly runs f against an Admin, in a time of its own.
func slowly(t *testing.T, f func(t *testing.T, a *Admin, p *pipes)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		a := New(Config{})
		a.Attach(proxy.NewServer(proxy.ServerConfig{Policy: &proxy.Policy{}}))
		p := &pipes{conns: make(chan net.Conn), closed: make(chan struct{})}
		ctx, cancel := context.WithCancel(context.Background())
		served := make(chan error)
		go func() { served <- a.Serve(ctx, p) }()
		f(t, a, p)
		cancel()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
}

// closedAfter waits until the other side has closed, and says how long it took.
func closedAfter(c net.Conn) time.Duration {
	begin := time.Now()
	_, _ = io.Copy(io.Discard, c)
	return time.Since(begin)
}

func TestSlowHeadersAreNotWaitedFor(t *testing.T) {
	slowly(t, func(t *testing.T, _ *Admin, p *pipes) {
		c := p.dial()
		_, _ = io.WriteString(c, "GET /healthz HTTP/1.1\r\nHost:")
		if d := closedAfter(c); d != headerTimeout {
			t.Errorf("closed after %s", d)
		}
	})
}

func TestIdleConnectionsAreClosed(t *testing.T) {
	slowly(t, func(t *testing.T, _ *Admin, p *pipes) {
		c := p.dial()
		_, _ = io.WriteString(c, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
		r, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil || r.StatusCode != 200 {
			t.Fatal(err)
		}
		if d := closedAfter(c); d != idleTimeout {
			t.Errorf("closed after %s", d)
		}
	})
}

// Who asks and does not read the answer holds a connection for so long, no longer.
func TestAnswersThatAreNotReadAreGivenUp(t *testing.T) {
	slowly(t, func(t *testing.T, _ *Admin, p *pipes) {
		c := p.dial()
		begin := time.Now()
		_, _ = io.WriteString(c, "GET /dashboard.js HTTP/1.1\r\nHost: x\r\n\r\n")
		time.Sleep(requestTimeout - time.Second)
		synctest.Wait()
		if n, err := c.Read(make([]byte, 1)); n != 1 {
			t.Errorf("given up too soon: %v", err)
		}
		time.Sleep(2 * time.Second)
		_ = closedAfter(c)
		if d := time.Since(begin); d > requestTimeout+time.Second+goodbye {
			t.Errorf("closed after %s", d)
		}
	})
}

func TestViewersThatDoNotReadAreLetGo(t *testing.T) {
	slowly(t, func(t *testing.T, a *Admin, p *pipes) {
		c := p.dial()
		_, _ = io.WriteString(c, "GET /api/v1/live HTTP/1.1\r\nHost: x\r\n\r\n")
		b := bufio.NewReader(c)
		for line := ""; !strings.HasPrefix(line, "data: "); {
			var err error
			if line, err = b.ReadString('\n'); err != nil {
				t.Fatal(err)
			}
		}
		if len(a.viewers) != 1 {
			t.Fatalf("%d viewers", len(a.viewers))
		}
		time.Sleep(sendTimeout) // the next state is written within a second of this
		if len(a.viewers) != 1 {
			t.Error("let go too soon")
		}
		time.Sleep(2 * stateEvery)
		synctest.Wait()
		if len(a.viewers) != 0 {
			t.Error("a viewer that does not read keeps its place")
		}
		_ = c.Close()
	})
}

// A viewer that reads stays, for longer than any request may take.
func TestViewersStay(t *testing.T) {
	slowly(t, func(t *testing.T, a *Admin, p *pipes) {
		c := p.dial()
		begin := time.Now()
		_, _ = io.WriteString(c, "GET /api/v1/live HTTP/1.1\r\nHost: x\r\n\r\n")
		states := 0
		b := bufio.NewReader(c)
		for time.Since(begin) < 10*idleTimeout {
			line, err := b.ReadString('\n')
			if err != nil {
				t.Fatalf("after %s: %v", time.Since(begin), err)
			}
			if line == "event: state\n" {
				states++
			}
		}
		if want := int(10 * idleTimeout / stateEvery); states < want-5 || states > want+5 {
			t.Errorf("%d states, want about %d", states, want)
		}
		_ = c.Close()
	})
}
