package rtmp

import (
	"bytes"
	"errors"
	"io"
	"math"
	"reflect"
	"runtime/metrics"
	"slices"
	"testing"

	"rtmps-edge/internal/corpus"
	"rtmps-edge/internal/wire"
	"rtmps-edge/rtmp/rtmptest"
)

// The fuzz targets judge by what must hold for any bytes: no panic, no limit
// passed, nothing written that another program's strict parser does not read.

const fuzzMessage = 64 << 10

var fuzzLimits = Limits{MessageSize: fuzzMessage}

// Bounds of what n bytes of anything may make the edge allocate: buffers and
// tables, and then what the densest AMF0 unpacks to.
const (
	fuzzAllocBase  = 1 << 20
	fuzzAllocByte  = 128
	fuzzReplyBytes = 64 << 10 // all that the dialogues up to the stream say
)

// seeds adds what real clients sent, or were sent: without their handshakes, which
// are not worth changing, and without their media, which only slows the fuzzer
// down.
func seeds(f *testing.F, s2c bool) {
	for _, s := range corpus.Sessions(f) {
		b := s.C2S
		if s2c {
			b = s.S2C
		}
		b = b[min(len(b), rtmptest.HandshakeLen):]
		f.Add(b[:min(len(b), 2000)])
	}
}

// frugal runs f and fails the test if it allocates too much for n bytes.
func frugal(t *testing.T, n int, f func()) {
	t.Helper()
	sample := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(sample)
	before := sample[0].Value.Uint64()
	f()
	metrics.Read(sample)
	if got := sample[0].Value.Uint64() - before; got > fuzzAllocBase+fuzzAllocByte*uint64(n) {
		t.Errorf("%d bytes made it allocate %d", n, got)
	}
}

func FuzzHandshake(f *testing.F) {
	f.Add(greeting().Bytes())
	f.Add(built().C0C1(6).C2(nil).Bytes())
	f.Add([]byte("GET / HTTP/1.1\r\n\r\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		server := &script{Reader: bytes.NewReader(b)}
		c := newConn(server, fuzzLimits)
		err := c.acceptHandshake()
		if whole := len(b) >= rtmptest.HandshakeLen && b[0] == version; whole != (err == nil) {
			t.Errorf("a whole handshake is %v: %v", whole, err)
		}
		if n := server.out.Len(); n != 0 && (n != rtmptest.HandshakeLen || b[0] != version) {
			t.Errorf("answered with %d bytes", n)
		}
		if rest := len(b) - rtmptest.HandshakeLen; err == nil && c.in.Len() != min(rest, wire.BufSize-rtmptest.HandshakeLen) {
			t.Errorf("%d bytes are left for the chunks, of %d", c.in.Len(), rest)
		}
		client := &script{Reader: bytes.NewReader(b)}
		if err := newConn(client, fuzzLimits).openHandshake(nil); (err == nil) != (len(b) >= rtmptest.HandshakeLen && b[0] == version) {
			t.Errorf("as a client: %v", err)
		}
	})
}

func FuzzAccept(f *testing.F) {
	seeds(f, false)
	f.Fuzz(func(t *testing.T, b []byte) {
		rw := says(greeting().Raw(b...))
		var p *Pending
		var err error
		frugal(t, len(b), func() { p, err = Accept(rw, fuzzLimits) })
		if (p == nil) == (err == nil) {
			t.Fatal("a Pending or an error")
		}
		if n := rw.out.Len(); n > fuzzReplyBytes {
			t.Errorf("answered with %d bytes", n)
		}
		if rw.out.Len() > 0 {
			rw.heard(t, true)
		}
		if err != nil {
			return
		}
		judgeRequest(t, p)
		if c, err := p.Approve(); err != nil {
			t.Error(err)
		} else {
			runOn(t, c, len(b))
		}
	})
}

// runOn relays whatever the peer says once its stream has started.
func runOn(t *testing.T, src *Conn, n int) {
	t.Helper()
	out := &script{}
	_, dst := pair(nil, out, src.isOrigin, fuzzLimits)
	r := &fed{relay: relay{dst: dst, src: src}}
	err := r.adopt()
	for err == nil {
		if err = r.drain(); err == nil {
			err = src.fill()
		}
		accounted(t, r)
	}
	if got := out.out.Len(); got > 16*n+padAtMost {
		t.Errorf("%d bytes became %d", n, got)
	}
	judgeOutput(t, r, out)
}

func judgeRequest(t *testing.T, p *Pending) {
	r := p.Request
	if r.Action != Publish && r.Action != Play {
		t.Errorf("action %q", r.Action)
	}
	if !slices.Contains([]string{"live", "record", "append"}, r.Mode) {
		t.Errorf("mode %q", r.Mode)
	}
	for _, s := range []string{r.App, r.AppQuery.Reveal(), r.Name.Reveal(), r.TcURL.Reveal(), r.Encoder} {
		if !plain(s, maxNameAndQuery) {
			t.Errorf("%q was let through", s)
		}
	}
	if len(r.App) > maxApp || len(r.Encoder) > maxEncoder {
		t.Errorf("app of %d bytes, encoder of %d", len(r.App), len(r.Encoder))
	}
	if _, err := rtmptest.DecodeAMF(appendAMF(nil, r.Enhanced.properties())); err != nil {
		t.Errorf("the capabilities are written as %v", err)
	}
	bounded(t, p.c)
}

// bounded fails the test if a leg knows or keeps more than its limits allow.
func bounded(t *testing.T, c *Conn) {
	t.Helper()
	partial, held := 0, 0
	for _, cs := range c.rd.streams {
		held += len(cs.held)
		if cs.partial {
			partial++
		}
	}
	if n := len(c.rd.streams); n > maxChunkStreams || partial > maxPartial || partial != c.rd.partials {
		t.Fatalf("%d chunk streams, %d messages begun, %d counted", n, partial, c.rd.partials)
	}
	if held > c.lim.MessageSize+maxHeld {
		t.Fatalf("%d bytes of begun messages", held)
	}
}

func FuzzOpen(f *testing.F) {
	seeds(f, true)
	f.Add(half(creating(), 7, 1, typeVideo).Command(5, "onStatus", 0, nil, info("status", "NetStream.Play.Start")).Bytes()[rtmptest.HandshakeLen:])
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, a := range []Action{Publish, Play} {
			rw := says(greeting().Raw(b...))
			var c *Conn
			var err error
			target := Target{Action: a, App: "live", Name: "n", TcURL: "rtmp://o/live"}
			frugal(t, len(b), func() { c, err = Open(rw, target, fuzzLimits) })
			if (c == nil) == (err == nil) {
				t.Fatal("a Conn or an error")
			}
			if rw.out.Len() > fuzzReplyBytes {
				t.Errorf("said %d bytes", rw.out.Len())
			}
			if rw.out.Len() >= rtmptest.HandshakeLen {
				for _, err := range rtmptest.CanonicalContent(rw.heard(t, true), rtmptest.Target{OriginApp: "live", OriginName: "n"}) {
					t.Error(err)
				}
			}
			if c != nil {
				bounded(t, c)
				runOn(t, c, len(b))
			}
		}
	})
}

// FuzzRelay sends anything over a running stream.
func FuzzRelay(f *testing.F) {
	for _, s := range corpus.Publishing(f) {
		if len(s.C2S) > rtmptest.HandshakeLen {
			b := s.C2S[rtmptest.HandshakeLen:]
			f.Add(b[:min(len(b), 5000)], false)
			f.Add(b[len(b)-min(len(b), 3000):], true)
		}
	}
	for _, a := range rtmptest.Attacks() {
		if a.Phase == rtmptest.PhasePublished {
			b := built()
			a.Build(b, rtmptest.Target{Name: "key", MSID: 1})
			f.Add(b.Bytes()[:min(b.Len(), 5000)], false)
		}
	}
	f.Fuzz(func(t *testing.T, b []byte, play bool) {
		r, out := relaying(built(), play, fuzzLimits)
		r.src.KeepFacts()
		var err error
		frugal(t, len(b), func() {
			for rest := b; len(rest) > 0 && err == nil; {
				n := min(len(rest), 1+len(rest)/3)
				err = r.feed(built().Raw(rest[:n]...))
				rest = rest[n:]
				accounted(t, r)
			}
		})
		var w *WriteError
		if errors.As(err, &w) {
			t.Fatalf("Relay: %v", err)
		}
		// The worst that is passed on is a message of nothing: one byte becomes a
		// header with an extended timestamp.
		if n := out.out.Len(); n > 16*len(b)+padAtMost {
			t.Errorf("%d bytes became %d", len(b), n)
		}
		if n := r.reply.out.Len(); n > 18*(pongsAtOnce+5)+16*(1+len(b)/(16<<10)) {
			t.Errorf("%d bytes were answered with %d", len(b), n)
		}
		judgeOutput(t, r, out)
	})
}

// accounted holds what a direction says that it holds against what it holds.
func accounted(t *testing.T, r *fed) {
	t.Helper()
	bounded(t, r.src)
	held := 0
	for _, cs := range r.src.rd.streams {
		held += len(cs.held)
	}
	for _, q := range r.queue {
		held += len(q.payload)
	}
	if held != r.src.held || len(r.queue) > maxQueue {
		t.Fatalf("%d bytes are held, %d counted, in a queue of %d", held, r.src.held, len(r.queue))
	}
}

// judgeOutput reads what was passed on. A message may be unfinished at its end.
func judgeOutput(t *testing.T, r *fed, out *script) {
	t.Helper()
	if r.dst.w.left == 0 {
		out.heard(t, false)
		return
	}
	if _, _, err := rtmptest.Parse(out.out.Bytes(), rtmptest.Strict); err != nil {
		t.Fatalf("not canonical: %v", err)
	}
}

// FuzzRoundTrip makes messages from the bytes, cuts them in all ways that the
// protocol allows, and wants the same messages behind the relay, as another
// parser reads them.
func FuzzRoundTrip(f *testing.F) {
	f.Add([]byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 200, 201, 202})
	f.Add(long(300))
	for seed := range byte(8) {
		f.Add(bytes.Repeat([]byte{seed, 16*seed + 3, 255 - seed, 97, seed * 31}, 40))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		s := newSender(b)
		in, want := s.all()
		r, out := relaying(built(), false, Limits{})
		if err := r.feed(in); err != nil {
			t.Fatalf("a legal stream is refused: %v", err)
		}
		settled(t, r)
		got := rtmptest.MediaOf(out.heard(t, false))
		sortMedia(got)
		sortMedia(want)
		if !slices.Equal(got, want) {
			t.Fatalf("passed on %v\nwant %v", got, want)
		}
	})
}

// FuzzAMF0 holds the decoder against another one, and against its own encoder.
func FuzzAMF0(f *testing.F) {
	f.Add(appendAMF(nil, "connect", 1, Object{{"app", "live"}, {"list", []Value{"hvc1", true}}}, nil))
	f.Add(rtmptest.AMF("@setDataFrame", "onMetaData", rtmptest.ECMAArray{{Key: "width", Value: 320.0}}))
	f.Add(rtmptest.AMF(rtmptest.Date(5), rtmptest.Raw("\x10\x00\x01c\x00\x00\x09"), rtmptest.Raw("\x0f\x00\x00\x00\x01x")))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, lenient := range []bool{false, true} {
			frugal(t, len(b), func() { roundTripAMF(t, b, lenient) })
		}
	})
}

func roundTripAMF(t *testing.T, b []byte, lenient bool) {
	v, err := newDecoder(b, lenient).all()
	if err != nil {
		return
	}
	if !lenient {
		other, err := rtmptest.DecodeAMF(b)
		if err != nil || !sameAMF(v, other) {
			t.Fatalf("% x is %#v here and %#v there: %v", b, v, other, err)
		}
	}
	written := appendAMF(nil, v...)
	other, err := rtmptest.DecodeAMF(written)
	if err != nil || !sameAMF(v, other) {
		t.Fatalf("%#v was written as % x, which is %#v: %v", v, written, other, err)
	}
}

// sameAMF compares values of this package with those of rtmptest.
func sameAMF(a Value, b any) bool {
	switch b := b.(type) {
	case nil, rtmptest.Undefined:
		return a == nil
	case float64:
		f, ok := a.(float64)
		return ok && math.Float64bits(f) == math.Float64bits(b)
	case []any:
		list, ok := a.([]Value)
		return ok && slices.EqualFunc(list, b, sameAMF)
	case rtmptest.ECMAArray:
		return sameProperties(a, b)
	case rtmptest.Object:
		return sameProperties(a, b)
	}
	return reflect.DeepEqual(a, b)
}

func sameProperties(a Value, b []rtmptest.Property) bool {
	o, ok := a.(Object)
	return ok && slices.EqualFunc(o, b, func(p Property, q rtmptest.Property) bool {
		return p.Key == q.Key && sameAMF(p.Value, q.Value)
	})
}

// FuzzCommand is for what stands in commands, before and behind approval.
func FuzzCommand(f *testing.F) {
	for _, s := range corpus.Sessions(f) {
		for _, b := range [][]byte{s.C2S, s.S2C} {
			msgs, _, _ := rtmptest.Parse(b[min(len(b), rtmptest.HandshakeLen):], rtmptest.Lenient)
			for _, m := range msgs {
				if _, ok := m.Command(); ok {
					f.Add(m.Payload, m.Type == typeCommandAMF3)
				}
			}
		}
	}
	f.Fuzz(func(t *testing.T, payload []byte, amf3 bool) {
		m := message{typ: typeCommand, payload: payload}
		if amf3 {
			m.typ = typeCommandAMF3
		}
		c, err := parseCall(m)
		if err != nil {
			return
		}
		if c.name == "" || math.IsNaN(c.txn) || math.IsInf(c.txn, 0) {
			t.Errorf("%+v", c)
		}
		statusOf(c)
		for _, connected := range []bool{false, true} {
			rw := &script{}
			a := &acceptor{c: newConn(rw, fuzzLimits), connected: connected}
			_ = a.message(m)
			rw.heard(t, false)
		}
		for _, play := range []bool{false, true} {
			src, _ := pair(bytes.NewReader(nil), &script{}, play, fuzzLimits)
			if say, err := src.later(m); err == nil && say != nil && !play {
				t.Error("a client's command says something to the origin")
			}
		}
	})
}

// FuzzChunks feeds the reader in pieces, cut as the second argument says.
func FuzzChunks(f *testing.F) {
	for _, s := range corpus.Publishing(f) {
		if len(s.C2S) > rtmptest.HandshakeLen {
			b := s.C2S[rtmptest.HandshakeLen:]
			f.Add(b[:min(len(b), 3000)], uint8(1))
		}
	}
	f.Fuzz(func(t *testing.T, b []byte, step uint8) {
		whole, e1 := pieces(b, len(b))
		cut, e2 := pieces(b, int(step)+1)
		if (e1 == nil) != (e2 == nil) || whole != cut {
			t.Fatalf("the cut makes a difference: %d and %d bytes, %v and %v", whole, cut, e1, e2)
		}
	})
}

// pieces counts the payload bytes that the reader gives.
func pieces(b []byte, step int) (n int, err error) {
	c := newConn(&script{}, fuzzLimits)
	c.sendsData, c.setup = true, false
	c.any.left = math.Inf(1) // not by the clock
	var buf wire.Buf
	defer buf.Release()
	for {
		p, ok, err := c.rd.next(&buf)
		switch {
		case err != nil:
			return n, err
		case ok:
			n += len(p.data)
		case len(b) == 0:
			return n, nil
		default:
			k := copy(buf.Space(), b[:min(step, len(b))])
			buf.Extend(k)
			b = b[k:]
			if len(buf.Bytes()) < 24 {
				buf.Park()
			}
		}
	}
}

var _ io.Writer = (*script)(nil)
