package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// floods is what 50 publishers feel of it when others do harm. The harm is done
// by the core that the publishers and the origin run on, and at a pace that
// leaves it time: what is told is the edge's doing, or nearly so.
var floods = scenario{
	name:   "floods",
	title:  "Floods: 50 publishers of 4 Mbit/s under a limit of 6, all other limits as they are by themselves, while others do harm; latency as with paced",
	rounds: 3,
	wants:  wants{keys: floodStreams + greedyTurns*floodGreedy, limits: true},
	own:    true,
	cold:   true,
	columns: []column{
		{name: "CPU %", verb: "%.1f"},
		{name: "p50 µs", verb: "%.0f"},
		{name: "p99 µs", verb: "%.0f"},
		{name: "added p50 µs", verb: "%.0f"},
		{name: "added p99 µs", verb: "%.0f"},
	},
	parts: []string{"quiet", "connects", "slow handshakes", "wrong keys", "10 × the limit"},
	once:  floodsOnce,
}

const (
	floodStreams = 50
	floodGreedy  = 10
	greedyTurns  = 10 // names take turns: what a publisher has sent too fast is still on its way when it has gone
	floodBitrate = 6_000_000
	floodBurst   = floodBitrate / 8 / 2 // half a second passes at once
	floodGuesses = 3
	// handshakeTime is what a client has by itself until it must have published.
	handshakeTime = 10 * time.Second
)

// floodLimits are the two that differ from what the edge has by itself.
var floodLimits = fmt.Sprintf("publish_bitrate = %d\nauth_failures = \"%d/h\"", floodBitrate, floodGuesses)

// siege is the publishers, and those who do harm.
type siege struct {
	b      *bench
	p      *peer
	number int // makes addresses that differ: some are banned in the end
	ear    ear
	over   atomic.Bool
	wg     sync.WaitGroup
	errs   chan error
}

func floodsOnce(b *bench, p *peer, _ int) ([]float64, error) {
	b.origin.setBuffer(32 << 10)
	defer b.origin.setBuffer(originBuffer)
	b.number++
	s := &siege{b: b, p: p, number: b.number, errs: make(chan error, floodStreams)}
	err := s.publish()
	var values []float64
	for _, flood := range []func() error{s.quiet, s.connects, s.slowHandshakes, s.wrongKeys, s.greedy} {
		if err == nil {
			err = s.part(&values, flood)
		}
	}
	s.over.Store(true)
	s.wg.Wait()
	close(s.errs)
	for e := range s.errs {
		err = errors.Join(err, e) // the streams have lost nothing
	}
	return values, err
}

// publish begins the streams.
func (s *siege) publish() error {
	begin := time.Now().Add(time.Second)
	for i := range floodStreams {
		at := place{from: s.address(0, i), addr: s.p.addr, config: s.b.tls, key: keyText(i), name: keyName(i), heard: s.ear.hear}
		l, err := newPacer(s.b, at, time.Duration(i)*time.Second/fps/floodStreams)
		if err != nil {
			return err
		}
		s.wg.Go(func() { s.errs <- l.run(begin, func(time.Time) bool { return s.over.Load() }) })
	}
	time.Sleep(time.Until(begin.Add(500 * time.Millisecond)))
	return nil
}

// address is the i-th of a block of loopback.
func (s *siege) address(block, i int) string {
	return fmt.Sprintf("127.%d.%d.%d", 1+s.number%250, block+i/250, 1+i%250)
}

// part measures while a flood comes.
func (s *siege) part(values *[]float64, flood func() error) error {
	row, err := s.ear.during(s.p, flood)
	*values = append(*values, row...)
	if err == nil { // beside the quiet part, which is the first
		*values = append(*values, row[1]-(*values)[1], row[2]-(*values)[2])
	}
	return err
}

// during returns what the proxy takes of the processor while f runs, in per
// cent, and two quantiles of how long messages are under way.
func (e *ear) during(p *peer, f func() error) ([]float64, error) {
	before, err := p.usage()
	if err != nil {
		return nil, err
	}
	begin := time.Now()
	e.listen(true)
	err = f()
	took, wall := e.listen(false), time.Since(begin)
	after, err2 := p.usage()
	cpu := 100 * after.minus(before).cpu.Seconds() / wall.Seconds()
	return []float64{cpu, quantile(took, 0.5), quantile(took, 0.99)}, errors.Join(err, err2)
}

func (s *siege) quiet() error {
	time.Sleep(time.Duration(s.b.pick(3000, 1500)) * time.Millisecond)
	return nil
}

// connects come from one address, a thousand a second, and speak no TLS.
func (s *siege) connects() error {
	return spread(s.b.pick(10_000, 2_000), 1000, 32, func(int) error {
		c, err := connectFrom(s.address(10, 0), s.p.addr)
		if err != nil {
			return err
		}
		_, _ = io.WriteString(c, "GET / HTTP/1.0\r\n\r\n") // it may be closed already
		return untilClosed(c)
	})
}

// untilClosed waits for the other side.
func untilClosed(c *net.TCPConn) error {
	defer c.Close()
	c.SetReadDeadline(time.Now().Add(patience))
	_, err := io.Copy(io.Discard, c)
	var late net.Error
	if errors.As(err, &late) && late.Timeout() {
		return fmt.Errorf("a refused connection stays open: %w", err)
	}
	return nil
}

// slowHandshakes come from a thousand addresses and send a byte a second.
func (s *siege) slowHandshakes() error {
	begin := time.Now()
	enough := make(chan struct{})
	var wg sync.WaitGroup
	var early atomic.Int64
	err := spread(s.b.pick(1000, 200), 500, 8, func(i int) error {
		c, err := connectFrom(s.address(20, i), s.p.addr)
		if err == nil {
			wg.Go(func() {
				if dawdle(c, enough) {
					early.Add(1)
				}
			})
		}
		return err
	})
	time.Sleep(time.Duration(s.b.pick(5000, 1500)) * time.Millisecond)
	took := time.Since(begin)
	close(enough)
	wg.Wait()
	if n := early.Load(); err == nil && n > 0 && took < handshakeTime {
		err = fmt.Errorf("%d slow handshakes were ended before their time", n)
	}
	return err
}

// dawdle begins a handshake and does not end it. It reports whether the other
// side has closed before it was enough.
func dawdle(c *net.TCPConn, enough <-chan struct{}) (early bool) {
	defer c.Close()
	next := []byte{22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3} // of a ClientHello of 512 bytes
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		if _, err := c.Write(next); err != nil {
			return true
		}
		next = []byte{0}
		select {
		case <-enough:
			return false
		case <-tick.C:
		}
	}
}

// wrongKeys come from a hundred addresses, each until it is banned.
func (s *siege) wrongKeys() error {
	n := s.b.pick(100, 25)
	return spread(n, 25, n, func(i int) error {
		from := s.address(40, i)
		for range floodGuesses + 1 {
			if err := s.guess(from); err != nil {
				return err
			}
		}
		if c, err := dialFrom(from, s.p.addr, s.b.tls); err == nil {
			c.raw.Close()
			return errors.New("a guesser is not banned")
		}
		return nil
	})
}

func (s *siege) guess(from string) error {
	c, err := dialFrom(from, s.p.addr, s.b.tls)
	if err != nil {
		return err
	}
	defer c.raw.Close()
	if err := c.publish("wrong"); err == nil || !strings.Contains(err.Error(), "NetStream.Publish.Denied") {
		return fmt.Errorf("a wrong key is not denied: %v", err)
	}
	return nil
}

// greedy publishers send as fast as they can, which is far above ten times
// their limit, and are held to it.
func (s *siege) greedy() error {
	window := time.Duration(s.b.pick(5000, 2000)) * time.Millisecond
	var wg sync.WaitGroup
	errs := make([]error, floodGreedy)
	for i := range floodGreedy {
		wg.Go(func() { errs[i] = s.greed(i, window) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

func (s *siege) greed(i int, window time.Duration) error {
	begin, key := time.Now(), floodStreams+s.number%greedyTurns*floodGreedy+i
	at := s.b.origin.expect(keyName(key), &stream{tally: newTally(0)})
	c, err := dialFrom(s.address(50, i), s.p.addr, s.b.tls)
	if err != nil {
		return err
	}
	defer c.raw.Close()
	if err := c.publish(keyText(key)); err != nil {
		return err
	}
	c.raw.SetWriteDeadline(begin.Add(window))
	f := newFeed(interSize)
	for err == nil {
		typ, time, payload := f.next()
		err = c.send(typ, time, payload)
	}
	var late net.Error
	if !errors.As(err, &late) || !late.Timeout() {
		return fmt.Errorf("a publisher above its limit was ended: %w", err)
	}
	got := at.tally.payload.Load()
	if most := floodBurst + floodBitrate/8*time.Since(begin).Seconds(); float64(got) > most {
		return fmt.Errorf("%d bytes have passed, and the limit allows %.0f", got, most)
	}
	return nil
}

// spread calls f for 0 to n-1, so many a second, and some at the same time.
func spread(n, perSecond, atOnce int, f func(int) error) error {
	var wg sync.WaitGroup
	at, errs := make(chan int), make(chan error, n)
	for range atOnce {
		wg.Go(func() {
			for i := range at {
				if err := f(i); err != nil {
					errs <- err
				}
			}
		})
	}
	begin := time.Now()
	for i := range n {
		time.Sleep(time.Until(begin.Add(time.Duration(i) * time.Second / time.Duration(perSecond))))
		at <- i
	}
	close(at)
	wg.Wait()
	select {
	case err := <-errs:
		return err // the first; the others are mostly the same
	default:
		return nil
	}
}
