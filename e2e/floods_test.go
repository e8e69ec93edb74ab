package e2e

import (
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"rtmps-edge/ratelimit"
	"rtmps-edge/rtmp/rtmptest"
)

const (
	floodConnects = 10_000 // from one address
	slowClients   = 1_000  // from as many
	guessers      = 100    // the same
	greedy        = 20     // the same

	// The edge has the limits that it has by itself, but for these two. Wrong
	// keys are forgotten slowly, so that a slow machine's guessers are found.
	floodBitrate = 400_000 // bits a second; the crowd is well below it
	floodGuesses = 2       // an hour; the next is the ban, before anybody is kept waiting

	// connectsAtOnce is how many connections the flood from one address holds.
	connectsAtOnce = 64
	// slowByte is how often a slow client sends one more byte.
	slowByte = time.Second
	// greedyMessage and greedyEvery make ten times the limit.
	greedyMessage = 5000
	greedyEvery   = 8 * greedyMessage * time.Second / (10 * floodBitrate)
	greedyBuffer  = 32 << 10
	// Each of the crowd's streams sends so many messages while it is quiet,
	// and while others are greedy.
	quietMessages, greedyMessages = 30, 40
)

// siege is an edge with a crowd of good streams, while others flood it.
type siege struct {
	*edge
	*crowd
	origin *rtmptest.Origin
	admin  string
	greedy []streamKey
	new    streamKey // of one who comes during a flood
}

// flood is one kind of it. Its blocks of addresses are its own.
type flood struct {
	name string
	run  func(*siege, *testing.T)
}

var floods = []flood{
	{"10000 connects from one address", (*siege).connects},
	{"slow handshakes from 1000 addresses", (*siege).slowHandshakes},
	{"wrong keys from 100 addresses", (*siege).wrongKeys},
	{"publishers at 10 times their limit", (*siege).greedyPublishers},
}

// While the edge is flooded, 50 paced streams lose nothing, and none of them is
// ended; each flood hears what it should, is counted, and leaves nothing
// behind. What the streams' messages wait is told beside a quiet time, and not
// judged: it is the machine's. Nothing runs beside this test.
func TestFloods(t *testing.T) {
	clock := newClock()
	origin := rtmptest.NewOrigin(t, rtmptest.OriginConfig{Judge: clock.hear})
	good, greedy, other := newKeys("good", crowdSize), newKeys("greedy", greedy), newKey("newcomer")
	e := startEdge(t, settings{Origin: origin.Addr(), NoTee: true, Admin: "127.0.0.1:0", AtOrigin: `health_every = "0"`,
		Limits: fmt.Sprintf("publish_bitrate = %d\nauth_failures = \"%d/h\"", floodBitrate, floodGuesses)},
		slices.Concat(good, greedy, []streamKey{other})...)
	e.secrets = e.secrets[:2] // the log is long, and other tests look for all of them
	s := &siege{edge: e, crowd: gather(t, e, clock, good), origin: origin, admin: e.dashboard(t), greedy: greedy, new: other}
	s.during("quiet", func() { s.send(t, quietMessages) })
	rest := s.state(t)
	for _, f := range floods {
		t.Run(f.name, func(t *testing.T) {
			s.during(f.name, func() { f.run(s, t) })
			s.mustRun(t)
			s.atRest(t, rest)
			clock.tell(t, f.name, "quiet")
		})
	}
	if n := s.records(map[string]string{"msg": "stream ended"}); n != len(greedy)+1 {
		t.Errorf("%d streams have ended, and %d and the newcomer's should", n, len(greedy))
	}
	s.disperse(t, origin)
}

func newKeys(subject string, n int) (keys []streamKey) {
	for i := range n {
		keys = append(keys, newKey(fmt.Sprintf("%s-%d", subject, i)))
	}
	return keys
}

// connects is one address that connects again and again, as fast as it can, and
// speaks no TLS: whoever comes as far as that is refused there.
func (s *siege) connects(t *testing.T) {
	before, begin := s.state(t), time.Now()
	inTurns(floodConnects, connectsAtOnce, func(int) {
		c, err := s.connectFrom(address(10, 0))
		if err == nil {
			_, _ = io.WriteString(c, "GET / HTTP/1.0\r\n\r\n") // a refused one may be closed already
			err = closed(c)
		}
		if err != nil {
			t.Error(err)
		}
	})
	all := s.refusals(t, before, floodConnects)
	took := time.Since(begin)
	// By itself the rate is 10/s, and twice that at once.
	least, most := 20.0, 20+10*took.Seconds()+1
	if n := all.since(before, `rtmps_edge_refused_total{reason="plain HTTP"`); n < least || n > most {
		t.Errorf("%v connections were admitted, and the rate allows %v to %.0f", n, least, most)
	}
	t.Logf("%d connects in %s, %v of them over the rate", floodConnects, took.Round(time.Millisecond),
		all.since(before, `rtmps_edge_refused_total{reason="connect_rate_per_ip"`))
}

// slowHandshakes holds 1,000 connections that begin a handshake and send a byte
// of it now and then, until the edge has had enough.
func (s *siege) slowHandshakes(t *testing.T) {
	before := s.state(t)
	var clients sync.WaitGroup
	defer clients.Wait()
	inTurns(slowClients, opensAtOnce, func(i int) {
		c, err := s.connectFrom(address(20, i))
		if err != nil {
			t.Error(err)
			return
		}
		clients.Go(func() {
			if err := dawdle(c); err != nil {
				t.Error(err)
			}
		})
	})
	var now state
	eventually(t, "all of them to be accepted", func() error {
		now = s.state(t)
		if n := now.since(before, "rtmps_edge_connections_total"); n < slowClients {
			return fmt.Errorf("%v are", n)
		}
		return nil
	})
	t.Logf("%v connections, %v goroutines, %v MiB of heap", now["rtmps_edge_connections"], now["go_goroutines"], now[heap]/(1<<20))
	// Who comes meanwhile is served.
	p := s.publishFrom(t, address(30, 0), s.new.text)
	if err := p.WriteVideo(0, frame(100, 0)); err != nil {
		t.Error(err)
	}
	_ = p.Close()
	clients.Wait()
	if n := s.refusals(t, before, slowClients).since(before, `rtmps_edge_refused_total{reason="timeout",stage="tls"}`); n != slowClients {
		t.Errorf("%v were refused for being slow", n)
	}
}

// dawdle begins a ClientHello of 512 bytes and does not come to its end, until
// the connection is closed.
func dawdle(c *net.TCPConn) error {
	over := make(chan error, 1)
	go func() { over <- closed(c) }()
	next := []byte{22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3}
	tick := time.NewTicker(slowByte)
	defer tick.Stop()
	for {
		_, _ = c.Write(next) // its end is told by the reading side
		next = []byte{0}
		select {
		case err := <-over:
			return err
		case <-tick.C:
		}
	}
}

// wrongKeys are guessers who hear that they are wrong, until they are banned.
func (s *siege) wrongKeys(t *testing.T) {
	before := s.state(t)
	wrong := s.secret()
	inTurns(guessers, opensAtOnce, func(i int) {
		from := address(40, i)
		for range floodGuesses + 1 {
			if err := s.denied(from, fmt.Sprintf("%s-%d", wrong, i)); err != nil {
				t.Errorf("%s: %v", from, err)
			}
		}
		c, err := s.connectFrom(from)
		if err == nil {
			err = closed(c)
		}
		if err != nil {
			t.Errorf("%s is not kept out: %v", from, err)
		}
	})
	const guesses = guessers * (floodGuesses + 1)
	after := s.refusals(t, before, guesses+guessers)
	for series, want := range map[string]float64{ // labels stand in the order of the alphabet
		`rtmps_edge_refused_total{reason="denied",stage="authorize"}`: guesses,
		`rtmps_edge_refused_total{reason="banned",stage="admit"}`:     guessers,
		`rtmps_edge_banned_total`:                                     guessers,
	} {
		if n := after.since(before, series); n != want {
			t.Errorf("%s has grown by %v, not by %v", series, n, want)
		}
	}
}

// denied tries a key that is wrong, and must hear so.
func (s *siege) denied(from, key string) error {
	p, err := s.tryFrom(from, key)
	defer p.Abort()
	var said *rtmptest.StatusError
	if errors.As(err, &said) && said.Code == "NetStream.Publish.Denied" {
		return nil
	}
	return fmt.Errorf("it did not hear that its key is wrong: %w", err)
}

// greedyPublishers send ten times what they may. They are held to it, and lose
// nothing.
func (s *siege) greedyPublishers(t *testing.T) {
	list := make([]*greed, len(s.greedy))
	inTurns(len(list), opensAtOnce, func(i int) { list[i] = s.greed(t, address(50, i), s.greedy[i]) })
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for _, g := range list {
		wg.Go(func() { g.run(stop) })
	}
	s.send(t, greedyMessages)
	for _, g := range list {
		if err := g.pub.Ended(); err != nil {
			t.Errorf("%s was ended: %v", g.key.subject, err)
		}
	}
	close(stop)
	wg.Wait()
	at := arrivals(s.origin)
	for i, g := range list {
		g.judge(t, at[g.key.name], i == 0)
		g.pub.Abort()
	}
}

// greed is one of them.
type greed struct {
	key   streamKey
	begin time.Time
	pub   *rtmptest.Publisher
	tried []rtmptest.Media // all but the last have been written
	err   error
	bytes atomic.Int64
}

// greed publishes. Its socket holds little, so that what the edge does not read
// stays with the publisher, as it does far away.
func (s *siege) greed(t testing.TB, from string, key streamKey) *greed {
	g := &greed{key: key, begin: time.Now()}
	g.pub = s.publishFrom(t, from, key.text, func(c *net.TCPConn) { _ = c.SetWriteBuffer(greedyBuffer) })
	return g
}

func (g *greed) run(stop <-chan struct{}) {
	tick := time.NewTicker(greedyEvery)
	defer tick.Stop()
	for i := 0; g.err == nil; i++ {
		select {
		case <-stop:
			return
		case <-tick.C:
		}
		m := rtmptest.Message{Type: rtmptest.TypeVideo, Timestamp: uint32(i), Payload: frame(greedyMessage, i)}
		g.tried = append(g.tried, m.Media())
		g.err = g.pub.WriteVideo(m.Timestamp, m.Payload)
		g.bytes.Add(greedyMessage)
	}
}

// judge holds what has come to the origin against the limit, and against what
// was sent.
func (g *greed) judge(t testing.TB, at *rtmptest.OriginConn, tell bool) {
	t.Helper()
	if at == nil || g.err != nil {
		t.Errorf("%s: %v", g.key.subject, g.err)
		return
	}
	got := at.Media()
	took := time.Since(g.begin)
	n := len(got) * greedyMessage
	if most := float64(ratelimit.Burst(floodBitrate)) + floodBitrate/8*took.Seconds(); float64(n) > most {
		t.Errorf("%s: %d bytes have come in %s, and the limit allows %.0f", g.key.subject, n, took, most)
	}
	if len(got) == 0 || len(got) > len(g.tried) || !slices.Equal(got, g.tried[:len(got)]) {
		t.Errorf("%s: %d messages have come, and they are not the first of %d", g.key.subject, len(got), len(g.tried))
	}
	if tell {
		t.Logf("in %s, %d bytes were sent, and %d came: %.0f bit/s", took.Round(time.Millisecond), g.bytes.Load(), n, float64(n)*8/took.Seconds())
	}
}

// closed reads until the other side closes, without or with a reset. It is an
// error if it does not.
func closed(c *net.TCPConn) error {
	defer func() { _ = c.Close() }()
	_, err := io.Copy(io.Discard, c)
	var late net.Error
	if errors.As(err, &late) && late.Timeout() {
		return fmt.Errorf("the edge does not close a connection: %w", err)
	}
	return nil
}

// state is what the edge tells of itself: series by name, labels and all.
type state map[string]float64

func (s *siege) state(t testing.TB) state {
	t.Helper()
	text, err := get(s.admin + "metrics")
	if err != nil {
		t.Fatal(err)
	}
	all := state{}
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		at := strings.LastIndex(line, " ") // a label may have some, too
		if n, err := strconv.ParseFloat(line[at+1:], 64); err == nil && at > 0 {
			all[line[:at]] = n
		}
	}
	return all
}

// sum adds up all series that begin so.
func (s state) sum(begin string) (n float64) {
	for series, v := range s {
		if strings.HasPrefix(series, begin) {
			n += v
		}
	}
	return n
}

func (s state) since(before state, begin string) float64 { return s.sum(begin) - before.sum(begin) }

// refusals waits until just so many more are counted.
func (s *siege) refusals(t *testing.T, before state, want float64) (now state) {
	t.Helper()
	eventually(t, fmt.Sprintf("%v refusals", want), func() error {
		now = s.state(t)
		if n := now.since(before, "rtmps_edge_refused_total"); n != want {
			return fmt.Errorf("%v are counted", n)
		}
		return nil
	})
	return now
}

const heap = "go_memstats_heap_alloc_bytes"

// atRest waits until the edge holds no more than it did when all was quiet, but
// for what may be by chance.
func (s *siege) atRest(t *testing.T, quiet state) {
	t.Helper()
	for series, more := range map[string]float64{"rtmps_edge_connections": 0, `rtmps_edge_sessions{action="publish",origin="main"}`: 0,
		"go_goroutines": 10, "process_open_fds": 10, heap: 8 << 20} {
		eventually(t, "what was held to be given back", func() error {
			if now := s.state(t)[series]; now > quiet[series]+more {
				return fmt.Errorf("%s is %v, and was %v", series, now, quiet[series])
			}
			return nil
		})
	}
}
