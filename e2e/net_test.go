package e2e

import (
	"bytes"
	"io"
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
	"testing"
)

// Ports that are given to programs which cannot choose one themselves. They
// are below those that the kernel hands out, so nothing but another run of
// these tests competes for them.
const firstPort, lastPort = 20000, 32000

var taken sync.Map // ports that were handed out in this run

// freePort returns a port that nobody listens on, on any address.
func freePort(t testing.TB) int {
	t.Helper()
	for range 1000 {
		port := firstPort + rand.IntN(lastPort-firstPort)
		if _, used := taken.LoadOrStore(port, true); used {
			continue
		}
		ln, err := net.Listen("tcp", ":"+strconv.Itoa(port))
		if err != nil {
			continue
		}
		_ = ln.Close()
		return port
	}
	t.Fatal("no free port")
	return 0
}

// freeAddress is a free port on loopback.
func freeAddress(t testing.TB) string {
	t.Helper()
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(freePort(t)))
}

// tee stands between the edge and an origin and keeps what the edge sends.
type tee struct {
	ln     net.Listener
	origin string
	wg     sync.WaitGroup

	mu    sync.Mutex
	sent  bytes.Buffer // of all connections, one after the other
	conns map[net.Conn]bool
}

func newTee(t testing.TB, origin string) *tee {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	e := &tee{ln: ln, origin: origin, conns: make(map[net.Conn]bool)}
	e.wg.Add(1)
	go e.serve()
	t.Cleanup(e.close)
	return e
}

func (e *tee) address() string { return e.ln.Addr().String() }

// bytes returns what the edge has sent so far.
func (e *tee) bytes() []byte {
	e.mu.Lock()
	defer e.mu.Unlock()
	return bytes.Clone(e.sent.Bytes())
}

// size is how much that is.
func (e *tee) size() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.sent.Len()
}

// Write keeps what the edge sends.
func (e *tee) Write(p []byte) (int, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.sent.Write(p)
}

func (e *tee) close() {
	_ = e.ln.Close()
	e.mu.Lock()
	for c := range e.conns {
		_ = c.Close()
	}
	e.mu.Unlock()
	e.wg.Wait()
}

// hold has close end c too.
func (e *tee) hold(c net.Conn, on bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if on {
		e.conns[c] = true
	} else {
		delete(e.conns, c)
	}
}

func (e *tee) serve() {
	defer e.wg.Done()
	for {
		c, err := e.ln.Accept()
		if err != nil {
			return
		}
		e.wg.Add(1)
		go e.relay(c)
	}
}

func (e *tee) relay(edge net.Conn) {
	defer e.wg.Done()
	defer func() { _ = edge.Close() }()
	origin, err := net.Dial("tcp", e.origin)
	if err != nil {
		return
	}
	defer func() { _ = origin.Close() }()
	for _, c := range []net.Conn{edge, origin} {
		e.hold(c, true)
		defer e.hold(c, false)
	}
	back := make(chan struct{})
	go func() {
		defer close(back)
		pass(edge, origin)
	}()
	pass(origin, io.TeeReader(edge, e))
	<-back
}

// pass copies until src ends, and says so to dst.
func pass(dst net.Conn, src io.Reader) {
	_, _ = io.Copy(dst, src)
	_ = dst.(*net.TCPConn).CloseWrite()
}
