package rtmp

import (
	"bytes"
	"errors"
	"io"
	"testing"
	"testing/iotest"

	"rtmps-edge/internal/corpus"
	"rtmps-edge/rtmp/rtmptest"
)

func TestHandshakeOfAServer(t *testing.T) {
	in := greeting()
	rw := says(in)
	c := newConn(rw, Limits{})
	if err := c.acceptHandshake(); err != nil {
		t.Fatal(err)
	}
	out := rw.out.Bytes()
	if len(out) != rtmptest.HandshakeLen || rw.writes != 1 {
		t.Fatalf("%d bytes in %d writes", len(out), rw.writes)
	}
	if !bytes.Equal(out[:9], []byte{3, 0, 0, 0, 0, 0, 0, 0, 0}) {
		t.Errorf("S0 and S1 begin with % x: ffmpeg would look for a digest", out[:9])
	}
	if !bytes.Equal(out[1+handshakeSize:], in.Bytes()[1:1+handshakeSize]) {
		t.Error("S2 does not echo C1")
	}
}

// TestHandshakesAreNotAlike: what is to be random is, to its last byte, on either leg.
func TestHandshakesAreNotAlike(t *testing.T) {
	for name, shake := range map[string]func(*Conn) error{
		"accept": (*Conn).acceptHandshake,
		"open":   func(c *Conn) error { return c.openHandshake(nil) },
	} {
		var said [2][]byte
		for i := range said {
			rw := says(greeting()) // S0, S1 and S2 are as long
			if err := shake(newConn(rw, Limits{})); err != nil {
				t.Fatal(name, err)
			}
			said[i] = rw.out.Bytes()[9 : 1+handshakeSize]
		}
		a, b := said[0], said[1]
		for at := 0; at < len(a); at += 8 {
			if bytes.Equal(a[at:at+8], b[at:at+8]) || bytes.Equal(a[at:at+8], make([]byte, 8)) {
				t.Errorf("%s: the filling repeats at %d", name, at)
			}
		}
	}
}

// TestHandshakesOfRealClients: some send digests, some garbage as C2.
func TestHandshakesOfRealClients(t *testing.T) {
	for _, s := range corpus.Sessions(t) {
		if len(s.C2S) < rtmptest.HandshakeLen {
			continue
		}
		c := newConn(&script{Reader: bytes.NewReader(s.C2S)}, Limits{})
		if err := c.acceptHandshake(); err != nil {
			t.Errorf("%s: %v", s.Name, err)
		}
	}
}

func TestHandshakeRefuses(t *testing.T) {
	for version, text := range map[byte]string{
		0: "version 0", 2: "version 2", 4: "version 4", 6: "RTMPE", 8: "RTMPE", 9: "RTMPE", 31: "version 31", 32: "version 32",
		'G': "HTTP", 'P': "HTTP", 'H': "HTTP", 0x16: "TLS", 0xF3: "version 243", 255: "version 255",
	} {
		rw := says(built().C0C1(version).C2(nil))
		_, err := Accept(rw, Limits{})
		wantBreach(t, err, text)
		if rw.out.Len() != 0 {
			t.Errorf("version %d was answered", version)
		}
	}
}

// TestHandshakeByTheByte also cuts it at every byte.
func TestHandshakeByTheByte(t *testing.T) {
	in := greeting().Bytes()
	c := newConn(&script{Reader: iotest.OneByteReader(bytes.NewReader(in))}, Limits{})
	if err := c.acceptHandshake(); err != nil {
		t.Error(err)
	}
	for n := 0; n < len(in); n += 511 {
		_, err := Accept(&script{Reader: bytes.NewReader(in[:n])}, Limits{})
		if !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("after %d bytes: %v", n, err)
		}
	}
}

func TestHandshakeOfAClient(t *testing.T) {
	s1 := built().C0C1(3)
	rw := says(s1.Raw(bytes.Repeat([]byte("no echo!"), handshakeSize/8)...))
	c := newConn(rw, Limits{})
	if err := c.openHandshake([]byte("and then this")); err != nil {
		t.Fatal(err)
	}
	out := rw.out.Bytes()
	if rw.writes != 2 || !bytes.Equal(out[:9], []byte{3, 0, 0, 0, 0, 0, 0, 0, 0}) {
		t.Errorf("%d writes, beginning with % x", rw.writes, out[:9])
	}
	if !bytes.Equal(out[1+handshakeSize:][:handshakeSize], s1.Bytes()[1:1+handshakeSize]) {
		t.Error("C2 does not echo S1")
	}
	if !bytes.HasSuffix(out, []byte("and then this")) || len(out) != rtmptest.HandshakeLen+13 {
		t.Error("what is to follow C2 does not")
	}
}

func TestHandshakeOfAClientRefuses(t *testing.T) {
	for _, b := range []*rtmptest.Builder{
		built().Text("HTTP/1.1 400 Bad Request\r\n\r\n"), built().C0C1(6).C2(nil), built().Raw(0x15, 3, 1, 0, 2, 2, 40),
	} {
		_, err := Open(says(b), Target{Action: Publish}, Limits{})
		wantBreach(t, err, "not an RTMP server?")
	}
	for n := 0; n < rtmptest.HandshakeLen; n += 511 {
		_, err := Open(&script{Reader: bytes.NewReader(greeting().Bytes()[:n])}, Target{Action: Publish}, Limits{})
		if !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("after %d bytes: %v", n, err)
		}
	}
}
