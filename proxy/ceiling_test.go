package proxy_test

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"rtmps-edge/authz"
	"rtmps-edge/proxy"
	"rtmps-edge/rtmp"
	"rtmps-edge/rtmp/rtmptest"
)

// The tests in this file hold the edge against ceilings: what a client or an
// origin can make it keep, in bytes and in goroutines, through a real Server.
// They must not run beside others, who have memory of their own.

// heap returns the bytes that are in use after a collection, stacks included.
func heap() int64 {
	runtime.GC()
	runtime.GC() // what was in a pool goes with the second
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc + m.StackInuse)
}

// sessions returns how many goroutines the sessions of all edges have.
func sessionGoroutines() int {
	b := make([]byte, 4<<20)
	b = b[:runtime.Stack(b, true)]
	n := 0
	for g := range strings.SplitSeq(string(b), "\n\n") {
		if strings.Contains(g, "proxy.(*session).") || strings.Contains(g, "proxy.(*Server).start.") {
			n++
		}
	}
	return n
}

// ceiling says what n clients together may cost the edge.
type ceiling struct {
	bytes      int64 // for each client
	goroutines int   // for each client
}

// hold fails the test if n clients cost more than the ceiling allows. They are
// started by load, which returns when the edge has all that they have to say.
func (c ceiling) hold(t *testing.T, n int, load func()) {
	t.Helper()
	before, goroutines := heap(), sessionGoroutines()
	load()
	waitFor(t, func() bool { return stands(heap, 64<<10) })
	if got := (heap() - before) / int64(n); got > c.bytes {
		t.Errorf("%d KiB for each of %d clients, allowed are %d", got>>10, n, c.bytes>>10)
	} else {
		t.Logf("%d KiB for each of %d clients", got>>10, n)
	}
	got := 0
	for range 100 { // those of setups may just be ending
		if got = sessionGoroutines() - goroutines; got <= c.goroutines*n {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Errorf("%d goroutines for %d clients", got, n)
}

// sink is an origin that accepts whatever is asked, all answers at once, and
// records nothing. With each connection it then does what serve says.
func sink(t *testing.T, start string, serve func(net.Conn)) string {
	t.Helper()
	ln := listen(t)
	answers := new(rtmptest.Builder).C0C1(3).C2(nil).SetChunkSize(65536).Command(0, "_result", 1, nil, nil).Command(0, "_result", 4, nil, 5).
		Command(5, "onStatus", 0, nil, rtmptest.Object{{Key: "level", Value: "status"}, {Key: "code", Value: start}}).Bytes()
	var wg sync.WaitGroup
	var mu sync.Mutex
	var conns []net.Conn
	wg.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			conns = append(conns, c)
			mu.Unlock()
			wg.Go(func() {
				if _, err := c.Write(answers); err == nil {
					serve(c)
				}
				_ = c.Close()
			})
		}
	})
	t.Cleanup(func() {
		_ = ln.Close()
		mu.Lock()
		for _, c := range conns {
			_ = c.Close()
		}
		mu.Unlock()
		wg.Wait()
	})
	return ln.Addr().String()
}

// discard reads all, with little memory of its own.
func discard(c net.Conn) {
	for b := make([]byte, 512); ; {
		if _, err := c.Read(b); err != nil {
			return
		}
	}
}

// forget is an origin that stops reading until the test is over.
func forget(t *testing.T) func(net.Conn) { return func(net.Conn) { <-t.Context().Done() } }

// publishing returns a connection that publishes, for raw bytes in chunks of
// 65,536 bytes. Nobody reads from it any more.
func publishing(t *testing.T, e *edge) net.Conn {
	return asking(t, e, "publish", "NetStream.Publish.Start")
}

// asking says all that a client has to say at once, and reads up to the answer.
func asking(t *testing.T, e *edge, action, start string) net.Conn {
	t.Helper()
	c := e.dial(t)
	mustWrite(t, c, new(rtmptest.Builder).C0C1(3).C2(nil).SetChunkSize(65536).Connect("live", "").
		Command(0, "createStream", 2, nil).Command(1, action, 0, nil, "key").Bytes())
	_ = c.SetReadDeadline(time.Now().Add(rtmptest.Patience))
	var heard []byte
	for b := make([]byte, 512); !bytes.Contains(heard, []byte(start)); {
		n, err := c.Read(b)
		if err != nil {
			t.Fatalf("waiting for %s: %v", start, err)
		}
		heard = append(heard, b[:n]...)
	}
	return c
}

func chunks() *rtmptest.Builder { return new(rtmptest.Builder).WithChunkSize(65536) }

// pour writes p again and again until the other side takes no more for a while.
func pour(t *testing.T, c net.Conn, p []byte) {
	for {
		_ = c.SetWriteDeadline(time.Now().Add(300 * time.Millisecond))
		_, err := c.Write(p)
		if isTimeout(err) {
			return
		}
		if err != nil {
			t.Errorf("the edge ended a session that only had to wait: %v", err)
			return
		}
	}
}

// each grants every client a name of its own.
func each(p *proxy.Policy) {
	var n atomic.Int64
	all := grants(func(authz.Request) (authz.Grant, error) {
		return authz.Grant{Subject: "any", Name: fmt.Sprint("s", n.Add(1))}, nil
	})
	p.Publish, p.Play = all, all
}

// received and sent are what the clients of all running streams have said and
// heard, in bytes.
func received(e *edge) (n int64) {
	for _, i := range e.List() {
		n += i.BytesIn
	}
	return n
}

func sent(e *edge) (n int64) {
	for _, i := range e.List() {
		n += i.BytesOut
	}
	return n
}

func TestIdlePublishersCost(t *testing.T) {
	const n = 50
	e := newEdge(t, each, sink(t, "NetStream.Publish.Start", discard))
	ceiling{bytes: 64 << 10, goroutines: 2}.hold(t, n, func() { // the test's own end is in it
		for range n {
			publishing(t, e)
		}
	})
}

// TestSlowClients: unfinished beginnings are many and small.
func TestSlowClients(t *testing.T) {
	hello := clientHello(t)
	for _, c := range []struct {
		name string
		tls  bool
		say  []byte
		cost int64
	}{
		{"saying nothing", false, nil, 40 << 10},
		{"half a ClientHello", false, hello[:len(hello)/2], 40 << 10},
		{"C0 alone", true, []byte{3}, 56 << 10},
		{"half of C1", true, make([]byte, 700), 56 << 10},
		{"half a connect", true, append(new(rtmptest.Builder).C0C1(3).C2(nil).Bytes(), new(rtmptest.Builder).Connect("live", "").Bytes()[:60]...), 56 << 10},
	} {
		t.Run(c.name, func(t *testing.T) {
			const n = 50
			if len(c.say) == 700 {
				c.say[0] = 3
			}
			e := newEdge(t, nil, sink(t, "", discard))
			ceiling{bytes: c.cost, goroutines: 2}.hold(t, n, func() {
				for range n {
					var conn net.Conn
					if c.tls {
						conn = e.dial(t)
					} else {
						raw, err := net.Dial("tcp", e.addr)
						if err != nil {
							t.Fatal(err)
						}
						t.Cleanup(func() { _ = raw.Close() })
						conn = raw
					}
					if _, err := conn.Write(c.say); err != nil {
						t.Fatal(err)
					}
				}
				waitFor(t, func() bool { return e.Sessions() == n })
			})
		})
	}
}

// TestHalfARecord: TLS hands nothing on of a record that is not whole, and it may
// be of 16 KiB.
func TestHalfARecord(t *testing.T) {
	const n = 50
	e := newEdge(t, nil, sink(t, "", discard))
	ceiling{bytes: 64 << 10, goroutines: 2}.hold(t, n, func() {
		for range n {
			raw, err := net.Dial("tcp", e.addr)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = raw.Close() })
			cut := &cutting{Conn: raw}
			c := tls.Client(cut, &tls.Config{InsecureSkipVerify: true, DynamicRecordSizingDisabled: true})
			if err := c.Handshake(); err != nil {
				t.Fatal(err)
			}
			cut.half = true
			_, _ = c.Write(make([]byte, 16000))
		}
		waitFor(t, func() bool { return e.Sessions() == n })
	})
}

// cutting sends half of a write, and nothing more.
type cutting struct {
	net.Conn
	half bool
}

func (c *cutting) Write(p []byte) (int, error) {
	if c.half {
		_, err := c.Conn.Write(p[:len(p)/2])
		c.Conn = nil
		return len(p), err
	}
	return c.Conn.Write(p)
}

// TestSlowClientsAreNotWaitedFor: one byte after the other does not help. The
// deadline is one for all that a setup takes.
func TestSlowClientsAreNotWaitedFor(t *testing.T) {
	script := new(rtmptest.Builder).C0C1(3).C2(nil).Connect("live", "").Bytes()
	for _, c := range []struct {
		name string
		tls  bool
		say  []byte
	}{{"TLS", false, clientHello(t)}, {"RTMP", true, script}} {
		t.Run(c.name, func(t *testing.T) {
			const deadline = 700 * time.Millisecond
			e := newEdge(t, func(p *proxy.Policy) { p.Limits.SetupTimeout = deadline }, sink(t, "", discard))
			var conn net.Conn
			var err error
			begin := time.Now()
			if c.tls {
				conn = e.dial(t)
			} else if conn, err = net.Dial("tcp", e.addr); err != nil {
				t.Fatal(err)
			}
			defer func() { _ = conn.Close() }()
			ended := make(chan struct{})
			go func() { defer close(ended); _, _ = io.Copy(io.Discard, conn) }()
			tick := time.NewTicker(5 * time.Millisecond)
			defer tick.Stop()
			for i := 0; ; i++ {
				select {
				case <-ended:
					if d := time.Since(begin); d < deadline/2 {
						t.Errorf("ended after %v", d)
					}
					if r := e.events.wait(t, proxy.Refused, nil); r.Reason != "timeout" {
						t.Errorf("refused for %q", r.Reason)
					}
					return
				case <-tick.C:
					if i < len(c.say)-1 {
						_, _ = conn.Write(c.say[i : i+1])
					}
					if time.Since(begin) > rtmptest.Patience {
						t.Fatal("it is waited for")
					}
				}
			}
		})
	}
}

// TestGiantMessages: what is declared costs nothing, what is sent out of turn is
// bounded.
func TestGiantMessages(t *testing.T) {
	const mega = 1 << 20
	t.Run("declared", func(t *testing.T) {
		const n = 20
		e := newEdge(t, func(p *proxy.Policy) { each(p); p.Limits.RTMP = rtmp.Limits{MessageSize: 0xFFFFFF} }, sink(t, "NetStream.Publish.Start", discard))
		ceiling{bytes: 64 << 10, goroutines: 2}.hold(t, n, func() {
			for range n {
				c := publishing(t, e)
				for id := range uint32(8) {
					mustWrite(t, c, chunks().Header0(10+id, 0, 0xFFFFFF, rtmptest.TypeVideo, 1).Bytes())
				}
			}
		})
	})
	t.Run("sent on eight chunk streams", func(t *testing.T) {
		e := newEdge(t, each, sink(t, "NetStream.Publish.Start", discard))
		c := publishing(t, e)
		// The first one flows; seven of 2 MiB wait for it.
		ceiling{bytes: 24 * mega, goroutines: 2}.hold(t, 1, func() {
			for i := range 32 {
				for id := range uint32(8) {
					b := chunks()
					if i == 0 {
						b.Header0(10+id, 0, 16*mega-1, rtmptest.TypeVideo, 1)
					} else {
						b.Header3(10 + id)
					}
					mustWrite(t, c, b.Raw(make([]byte, 65536)...).Bytes())
				}
			}
			waitFor(t, func() bool { return received(e) > 16*mega })
		})
		// And no more than that.
		var err error
		for i := 0; i < 64 && err == nil; i++ {
			_, err = c.Write(chunks().Header3(11).Raw(make([]byte, 65536)...).Bytes())
		}
		if end := e.events.wait(t, proxy.Ended, nil); end.Side != proxy.SideClient || end.Reason != "protocol" {
			t.Errorf("ended by %s: %s", end.Side, end.Reason)
		}
	})
	t.Run("forgotten at the end", func(t *testing.T) {
		before := heap()
		e := newEdge(t, each, sink(t, "NetStream.Publish.Start", discard))
		c := publishing(t, e)
		mustWrite(t, c, chunks().Header0(10, 0, 200, rtmptest.TypeVideo, 1).Raw(1).Bytes())
		b := new(bytes.Buffer)
		for range 100 {
			b.Write(chunks().Video(1, 0, make([]byte, 100000)).Bytes())
		}
		_, _ = c.Write(b.Bytes()) // nothing of it is legal within a chunk; the session ends
		_ = c.Close()
		e.events.wait(t, proxy.Ended, nil)
		waitFor(t, func() bool { return e.Sessions() == 0 })
		b = nil
		if grown := heap() - before; grown > 2*mega {
			t.Errorf("%d KiB are kept", grown>>10)
		}
	})
}

// TestManyChunkStreams: as many as are allowed cost what a table costs.
func TestManyChunkStreams(t *testing.T) {
	const n = 50
	e := newEdge(t, each, sink(t, "NetStream.Publish.Start", discard))
	ceiling{bytes: 64 << 10, goroutines: 2}.hold(t, n, func() {
		for range n {
			c := publishing(t, e)
			b := chunks()
			for id := range uint32(60) {
				b.Message(100+id, 0, rtmptest.TypeVideo, 1, []byte("x"))
			}
			mustWrite(t, c, b.Bytes())
		}
	})
}

// TestDeepValuesCostLittle: commands that are all nesting, or all properties.
func TestDeepValuesCostLittle(t *testing.T) {
	e := newPlainEdge(t, listen(t), nil, sink(t, "", discard))
	defer e.end(t)
	deep := strings.Repeat("\x03\x00\x01a", 4000)
	wide := "\x03" + strings.Repeat("\x00\x01a\x05", 4000)
	arrays := strings.Repeat("\x0a\x00\x00\x0f\xff", 3000)
	for name, value := range map[string]string{"deep": deep, "wide": wide, "arrays": arrays} {
		b := new(rtmptest.Builder).C0C1(3).C2(nil).SetChunkSize(65536).Command(0, "connect", 1, rtmptest.Raw(value))
		const n = 50
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for range n {
			c, err := net.Dial("tcp", e.addr)
			if err != nil {
				t.Fatal(err)
			}
			_, _ = c.Write(b.Bytes())
			_, _ = io.Copy(io.Discard, c)
			_ = c.Close()
		}
		runtime.ReadMemStats(&after)
		if got := int64(after.TotalAlloc-before.TotalAlloc) / n; got > 512<<10 {
			t.Errorf("%s: each allocated %d KiB", name, got>>10)
		}
	}
}

// TestStorms: what peers can make the edge say is bounded.
func TestStorms(t *testing.T) {
	t.Run("acknowledgements", func(t *testing.T) {
		e := newEdge(t, each, sink(t, "NetStream.Publish.Start", discard))
		c := e.dial(t)
		p, err := rtmptest.Publish(c, rtmptest.PublishConfig{App: "live", Name: "key", ChunkSize: 65536})
		if err != nil {
			t.Fatal(err)
		}
		defer p.Abort()
		mustWrite(t, c, chunks().Control(rtmptest.TypeWindowAckSize, 1).Bytes())
		const size, count = 1000, 4000
		frame := chunks().Video(1, 0, make([]byte, size)).Bytes()
		for range count {
			mustWrite(t, c, frame)
		}
		waitFor(t, func() bool { return received(e) >= size*count })
		mustWrite(t, c, chunks().Command(1, "deleteStream", 0, nil, 1).Bytes())
		if _, err := p.WaitEnd(); err != nil {
			t.Fatal(err)
		}
		acks := rtmptest.CountTypes(p.Messages())[rtmptest.TypeAck]
		if most := count * (size + 12) / (16 << 10); acks == 0 || acks > most+1 {
			t.Errorf("%d acknowledgements, at most %d were due", acks, most)
		}
	})
	t.Run("pings", func(t *testing.T) {
		e := newEdge(t, each, sink(t, "NetStream.Publish.Start", discard))
		c := e.dial(t)
		p, err := rtmptest.Publish(c, rtmptest.PublishConfig{App: "live", Name: "key", ChunkSize: 65536})
		if err != nil {
			t.Fatal(err)
		}
		defer p.Abort()
		ping := chunks()
		for range 10 {
			ping.UserControl(rtmptest.EventPingRequest, 1)
		}
		begin := time.Now()
		var rounds int
		for rounds = 0; err == nil && rounds < 1000; rounds++ {
			_, err = c.Write(ping.Bytes())
		}
		if _, err := p.WaitEnd(); err != nil {
			t.Fatal(err)
		}
		p.Abort()
		if end := e.events.wait(t, proxy.Ended, nil); end.Reason != "protocol" {
			t.Errorf("a flood of pings ended by %s", end.Reason)
		}
		pongs := 0
		for _, m := range p.Messages() {
			if event, _, ok := m.Event(); ok && event == rtmptest.EventPingResponse {
				pongs++
			}
		}
		if most := 6 + int(5*time.Since(begin).Seconds()); pongs > most {
			t.Errorf("%d pongs in %v", pongs, time.Since(begin))
		}
	})
}

// TestPlayersThatDoNotRead cost what is under way, and no more.
func TestPlayersThatDoNotRead(t *testing.T) {
	const n = 10
	frame := chunks().Video(5, 0, make([]byte, 100000)).Bytes()
	e := newEdge(t, each, sink(t, "NetStream.Play.Start", func(c net.Conn) {
		for {
			if _, err := c.Write(frame); err != nil {
				return
			}
		}
	}))
	ceiling{bytes: 512 << 10, goroutines: 2}.hold(t, n, func() {
		for range n {
			asking(t, e, "play", "NetStream.Play.Start")
		}
		// The edge has taken all that it takes when what it sends stands still.
		waitFor(t, func() bool { return stands(func() int64 { return sent(e) }, 0) })
	})
}

// TestOriginsThatDoNotRead: the publisher has to wait, and the edge holds no
// more than what is under way.
func TestOriginsThatDoNotRead(t *testing.T) {
	const n = 10
	e := newEdge(t, each, sink(t, "NetStream.Publish.Start", forget(t)))
	frame := chunks().Video(1, 0, make([]byte, 100000)).Bytes()
	ceiling{bytes: 512 << 10, goroutines: 2}.hold(t, n, func() {
		var wg sync.WaitGroup
		for range n {
			c := publishing(t, e)
			wg.Go(func() { pour(t, c, frame) })
		}
		wg.Wait()
	})
}

func mustWrite(t *testing.T, c net.Conn, p []byte) {
	t.Helper()
	if _, err := c.Write(p); err != nil {
		t.Fatal(err)
	}
}

func waitFor(t *testing.T, ok func() bool) {
	t.Helper()
	for begin := time.Now(); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Since(begin) > rtmptest.Patience {
			t.Fatal("it does not come to that")
		}
	}
}

// stands reports whether a number stays as it is for a while, about.
func stands(f func() int64, about int64) bool {
	before := f()
	time.Sleep(150 * time.Millisecond)
	d := f() - before
	return max(d, -d) <= about
}

// clientHello returns the first record of a TLS client.
func clientHello(t *testing.T) []byte {
	t.Helper()
	a, b := net.Pipe()
	defer func() { _ = a.Close() }()
	go func() { _ = tls.Client(b, &tls.Config{ServerName: "edge.test"}).Handshake(); _ = b.Close() }()
	p := make([]byte, 4096)
	n, err := a.Read(p)
	if err != nil {
		t.Fatal(err)
	}
	return p[:n]
}
