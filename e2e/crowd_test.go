package e2e

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"rtmps-edge/rtmp/rtmptest"
)

const (
	crowdSize = 50
	// crowdEvery and crowdMessage make 160 kbit/s each: little, so that a slow
	// machine with the race detector keeps up with all of them.
	crowdEvery   = 100 * time.Millisecond
	crowdMessage = 2000
	// opensAtOnce bounds how many connections a test makes at the same time
	// where each has to be answered in time.
	opensAtOnce = 8
	// clockAt is where a timed message carries when it was sent, behind the
	// five bytes of the FLV tag's header.
	clockAt = 5
)

// crowd publishes many paced streams from as many addresses, and knows what
// became of each message.
type crowd struct {
	clock *clock
	list  []*paced
	leave chan struct{} // closed when they should stop
	wg    sync.WaitGroup
}

// paced is one of them.
type paced struct {
	key  streamKey
	pub  *rtmptest.Publisher
	sent []rtmptest.Media // read after the end only
	err  error            // the same
	n    atomic.Int64     // messages sent
}

// gather has all of them publish, and send until the crowd is dispersed.
func gather(t testing.TB, e *edge, clock *clock, keys []streamKey) *crowd {
	t.Helper()
	c := &crowd{clock: clock, leave: make(chan struct{})}
	for _, k := range keys {
		c.list = append(c.list, &paced{key: k})
	}
	inTurns(len(keys), opensAtOnce, func(i int) {
		p := c.list[i]
		p.pub = e.publishFrom(t, address(1, i), p.key.text)
	})
	for _, p := range c.list {
		t.Cleanup(p.pub.Abort)
	}
	if t.Failed() {
		t.FailNow()
	}
	for i, p := range c.list {
		c.wg.Go(func() { p.run(clock, time.Duration(i)*crowdEvery/crowdSize, c.leave) })
	}
	return c
}

// run sends messages when they are due, or at once if that is over.
func (p *paced) run(clock *clock, offset time.Duration, leave <-chan struct{}) {
	begin := time.Now().Add(offset)
	for i := 0; ; i++ {
		at := time.Duration(i) * crowdEvery
		select {
		case <-leave:
			return
		case <-time.After(time.Until(begin.Add(at))):
		}
		m := rtmptest.Message{Type: rtmptest.TypeVideo, Timestamp: uint32(at.Milliseconds()), Payload: frame(crowdMessage, i)}
		clock.stamp(m.Payload)
		if p.err = p.pub.WriteVideo(m.Timestamp, m.Payload); p.err != nil {
			return
		}
		p.sent = append(p.sent, m.Media())
		p.n.Add(1)
	}
}

// during has all messages that arrive while f runs counted under a name.
func (c *crowd) during(name string, f func()) {
	c.clock.enter(name)
	defer c.clock.enter("")
	f()
}

// send waits until each has sent n more messages.
func (c *crowd) send(t testing.TB, n int64) {
	t.Helper()
	var goals [crowdSize]int64
	for i, p := range c.list {
		goals[i] = p.n.Load() + n
	}
	for i, p := range c.list {
		eventually(t, "the messages of "+p.key.subject, func() error {
			if sent := p.n.Load(); sent < goals[i] && p.pub.Ended() == nil {
				return fmt.Errorf("%d are to go", goals[i]-sent)
			}
			return nil
		})
	}
}

// mustRun fails the test if any has been ended.
func (c *crowd) mustRun(t testing.TB) {
	t.Helper()
	for _, p := range c.list {
		if err := p.pub.Ended(); err != nil {
			t.Errorf("%s was ended: %v", p.key.subject, err)
		}
	}
}

// disperse ends all streams and holds what has arrived at the origin against
// what was sent.
func (c *crowd) disperse(t testing.TB, o *rtmptest.Origin) {
	t.Helper()
	close(c.leave)
	c.wg.Wait()
	at := arrivals(o)
	for _, p := range c.list {
		if p.err != nil {
			t.Errorf("%s could not send: %v", p.key.subject, p.err)
		}
		here := at[p.key.name]
		if here == nil {
			t.Errorf("%s is not at the origin", p.key.subject)
			continue
		}
		if _, err := here.WaitMedia(len(p.sent)); err != nil {
			t.Errorf("%s: %v", p.key.subject, err)
		} else if !slices.Equal(here.Media(), p.sent) {
			t.Errorf("the origin got other messages of %s than it sent, or in another order", p.key.subject)
		}
		_ = p.pub.Close()
	}
}

// arrivals are an origin's connections by the name of their stream.
func arrivals(o *rtmptest.Origin) map[string]*rtmptest.OriginConn {
	at := map[string]*rtmptest.OriginConn{}
	for _, c := range o.Conns() {
		if names := c.Names(); len(names) > 0 {
			at[names[0].Name] = c
		}
	}
	return at
}

// frame is the n-th message of so many bytes, none like another.
func frame(size, n int) []byte {
	p := make([]byte, size)
	p[0], p[1] = 0x27, 1
	for i := clockAt + 8; i+8 <= size; i += 8 {
		binary.BigEndian.PutUint64(p[i:], uint64(n)*0x9e3779b97f4a7c15+uint64(i))
	}
	return p
}

// clock measures how long messages are under way, from the write of the
// publisher to the whole message at the origin.
type clock struct {
	begin time.Time

	mu   sync.Mutex
	name string
	took map[string][]time.Duration
}

func newClock() *clock { return &clock{begin: time.Now(), took: map[string][]time.Duration{}} }

func (c *clock) enter(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.name = name
}

func (c *clock) stamp(payload []byte) {
	binary.BigEndian.PutUint64(payload[clockAt:], uint64(time.Since(c.begin)))
}

// hear is the origin's Judge. Messages without a stamp are not the crowd's.
func (c *clock) hear(_ *rtmptest.OriginConn, m rtmptest.Message) error {
	if m.Type != rtmptest.TypeVideo || len(m.Payload) != crowdMessage {
		return nil
	}
	took := time.Since(c.begin) - time.Duration(binary.BigEndian.Uint64(m.Payload[clockAt:]))
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.name != "" {
		c.took[c.name] = append(c.took[c.name], took)
	}
	return nil
}

// tell says how long messages took, beside another time.
func (c *clock) tell(t testing.TB, name, beside string) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	one, other := c.took[name], c.took[beside]
	if len(one) == 0 || len(other) == 0 {
		t.Errorf("no messages in %q or %q", name, beside)
		return
	}
	t.Logf("%s: %d messages, p50 %s, p99 %s; %s: p50 %s, p99 %s; added p50 %s, p99 %s", name, len(one), part(one, 50), part(one, 99),
		beside, part(other, 50), part(other, 99), part(one, 50)-part(other, 50), part(one, 99)-part(other, 99))
}

func part(list []time.Duration, percent int) time.Duration {
	sorted := slices.Sorted(slices.Values(list))
	return sorted[(len(sorted)-1)*percent/100].Round(time.Microsecond)
}

// address is the i-th of a block of loopback.
func address(block, i int) string { return fmt.Sprintf("127.0.%d.%d", block+i/250, 1+i%250) }

// connectFrom opens a connection to the edge from an address of loopback.
func (e *edge) connectFrom(from string) (*net.TCPConn, error) {
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}, Timeout: patience}
	c, err := d.Dial("tcp", "127.0.0.1:"+e.port)
	if err != nil {
		return nil, err
	}
	return c.(*net.TCPConn), c.SetDeadline(time.Now().Add(patience))
}

// secureFrom is connectFrom with a TLS handshake; with changes the socket first.
func (e *edge) secureFrom(from string, with ...func(*net.TCPConn)) (*tls.Conn, error) {
	raw, err := e.connectFrom(from)
	if err != nil {
		return nil, err
	}
	for _, change := range with {
		change(raw)
	}
	c := tls.Client(raw, &tls.Config{InsecureSkipVerify: true}) // others judge the certificate
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := c.HandshakeContext(ctx); err != nil {
		_ = raw.Close()
		return nil, err
	}
	return c, raw.SetDeadline(time.Time{})
}

// publishFrom publishes from an address. After a failure, which fails the test,
// there is a Publisher all the same.
func (e *edge) publishFrom(t testing.TB, from, key string, with ...func(*net.TCPConn)) *rtmptest.Publisher {
	p, err := e.tryFrom(from, key, with...)
	if err != nil {
		t.Errorf("publish from %s: %v", from, err)
	}
	return p
}

func (e *edge) tryFrom(from, key string, with ...func(*net.TCPConn)) (*rtmptest.Publisher, error) {
	c, err := e.secureFrom(from, with...)
	if err != nil {
		nobody, _ := net.Pipe()
		_ = nobody.Close()
		p, _ := rtmptest.Publish(nobody, rtmptest.PublishConfig{})
		return p, err
	}
	return rtmptest.Publish(c, rtmptest.PublishConfig{App: "live", TcURL: e.url(), Name: key, ChunkSize: 4096})
}

// inTurns calls f for 0 to n-1, some at the same time, and waits for all.
func inTurns(n, atOnce int, f func(int)) {
	var wg sync.WaitGroup
	at := make(chan int)
	for range atOnce {
		wg.Go(func() {
			for i := range at {
				f(i)
			}
		})
	}
	for i := range n {
		at <- i
	}
	close(at)
	wg.Wait()
}
