package rtmp

import (
	"bytes"
	"errors"
	"math"
	"testing"

	"rtmps-edge/internal/corpus"
	"rtmps-edge/internal/wire"
	"rtmps-edge/rtmp/rtmptest"
)

// heapLimit is what one connection may keep after whatever it was sent: two
// messages of the largest size that the fuzz targets allow, and its tables.
const heapLimit = 2*fuzzMessage + maxHeld + 64<<10

const fuzzMessage = 64 << 10

var fuzzLimits = Limits{MessageSize: fuzzMessage}

// seeds adds what real clients sent: without their media, which only slows the
// fuzzer down.
func seeds(f *testing.F, s2c bool) {
	for _, s := range corpus.Sessions(f) {
		b := s.C2S
		if s2c {
			b = s.S2C
		}
		f.Add(b[:min(len(b), 5000)])
	}
}

func FuzzAccept(f *testing.F) {
	seeds(f, false)
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := Accept(&script{Reader: bytes.NewReader(b)}, fuzzLimits)
		if err != nil {
			return
		}
		if a := p.Request.Action; a != Publish && a != Play {
			t.Fatalf("action %q", a)
		}
		for _, s := range []string{p.Request.App, p.Request.Name.Reveal()} {
			if !plain(s, maxNameAndQuery) {
				t.Fatalf("%q was let through", s)
			}
		}
	})
}

func FuzzOpen(f *testing.F) {
	seeds(f, true)
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, a := range []Action{Publish, Play} {
			rw := &script{Reader: bytes.NewReader(b)}
			c, err := Open(rw, Target{Action: a, App: "live", Name: "n", TcURL: "rtmp://o/live"}, fuzzLimits)
			if (c == nil) == (err == nil) {
				t.Fatal("a Conn or an error")
			}
			canonical(t, rw.out.Bytes(), true)
		}
	})
}

// FuzzRelay sends anything over a running stream. What comes out must be what
// an independent strict parser takes for the canonical form.
func FuzzRelay(f *testing.F) {
	for _, s := range corpus.Publishing(f) {
		if len(s.C2S) > rtmptest.HandshakeLen {
			b := s.C2S[rtmptest.HandshakeLen:]
			f.Add(b[:min(len(b), 5000)], false)
			f.Add(b[len(b)-min(len(b), 3000):], true)
		}
	}
	f.Fuzz(func(t *testing.T, b []byte, play bool) {
		out := &script{}
		src, dst := pair(bytes.NewReader(b), out, play, fuzzLimits)
		err := Relay(dst, src)
		var w *WriteError
		if err == nil || errors.As(err, &w) {
			t.Fatalf("Relay: %v", err)
		}
		if n := kept(src); n > heapLimit {
			t.Fatalf("%d bytes kept", n)
		}
		if dst.w.left == 0 {
			canonical(t, out.out.Bytes(), false)
		}
	})
}

func kept(c *Conn) (n int) {
	for _, cs := range c.rd.streams {
		n += cap(cs.held)
	}
	return n
}

// canonical parses with another program's eyes. Handshakes are skipped.
func canonical(t *testing.T, b []byte, handshake bool) {
	t.Helper()
	if handshake {
		b = b[min(len(b), rtmptest.HandshakeLen):]
	}
	if _, rest, err := rtmptest.Parse(b, rtmptest.Strict); err != nil || rest != 0 {
		t.Fatalf("not canonical: %v, %d bytes left over", err, rest)
	}
}

func FuzzAMF0(f *testing.F) {
	f.Add(appendAMF(nil, "connect", 1, Object{{"app", "live"}, {"list", []Value{"hvc1", true}}}, nil))
	f.Add(rtmptest.AMF("@setDataFrame", "onMetaData", rtmptest.ECMAArray{{Key: "width", Value: 320.0}}))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, lenient := range []bool{false, true} {
			v, err := newDecoder(b, lenient).all()
			if err != nil {
				continue
			}
			again, err := newDecoder(appendAMF(nil, v...), false).all()
			if err != nil || len(again) != len(v) {
				t.Fatalf("what was written cannot be read: %v", err)
			}
		}
	})
}

// FuzzChunks feeds the reader in pieces, cut as the first bytes say.
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
