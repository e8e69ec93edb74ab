package rtmp

import (
	"encoding/binary"
	"io"
	"math/rand/v2"
	"sync"
)

// SPEC §5.2: C0 and S0 are one byte, the other parts 1536.
const (
	version       = 3
	handshakeSize = 1536
)

// acceptHandshake is the server's side. S1 is in the simple form, bytes 4–7
// zero: with anything else ffmpeg players verify a digest. C2 is not compared:
// real clients send garbage.
func (c *Conn) acceptHandshake() error {
	c0, err := c.peekByte()
	if err != nil {
		return err
	}
	if c0 != version {
		return refuseVersion(c0)
	}
	if err := c.echo(); err != nil {
		return err
	}
	return c.skip(handshakeSize)
}

// echo reads C0 and C1 and answers with S0, S1 and S2. Its buffer is back before
// C2 is waited for.
func (c *Conn) echo() error {
	b := handshakes.Get().(*handshake)
	defer handshakes.Put(b)
	if err := c.readFull(b[handshakeSize:]); err != nil { // C1 lies where S2 echoes it
		return err
	}
	b.greet()
	_, err := c.rw.Write(b[:])
	return err
}

// handshake has room for all that one side says at once.
type handshake [1 + 2*handshakeSize]byte

var handshakes = sync.Pool{New: func() any { return new(handshake) }}

// greet makes b begin with the version, and C1 or S1 in the simple form: time and
// version zero, the rest random. No secret hangs on that: it need only differ.
func (b *handshake) greet() {
	b[0] = version
	clear(b[1:9])
	for p := b[9 : 1+handshakeSize]; len(p) > 0; p = p[8:] {
		binary.NativeEndian.PutUint64(p, rand.Uint64())
	}
}

// refuseVersion says what was taken for C0.
func refuseVersion(c0 byte) error {
	switch c0 {
	case 6, 8, 9:
		return breach("encrypted RTMP (RTMPE, version %d) is not served; use rtmps://", c0)
	case 'G', 'P', 'H', 'C', 'O', 'D':
		return breach("HTTP or RTMPT was sent to an RTMP port")
	case 0x16:
		return breach("TLS was sent to a plain RTMP port, or twice")
	}
	return breach("handshake version %d instead of 3", c0)
}

// openHandshake is the client's side, in the simple form that every origin
// takes. first is sent together with C2.
func (c *Conn) openHandshake(first []byte) error {
	b := handshakes.Get().(*handshake)
	defer handshakes.Put(b)
	b.greet()
	if _, err := c.rw.Write(b[:1+handshakeSize]); err != nil {
		return err
	}
	s0, err := c.peekByte()
	if err != nil {
		return err
	}
	if s0 != version {
		return breach("the origin answers with handshake version %d instead of 3: not an RTMP server?", s0)
	}
	s0s1 := b[:1+handshakeSize]
	if err := c.readFull(s0s1); err != nil {
		return err
	}
	if err := c.skip(handshakeSize); err != nil { // S2, not compared
		return err
	}
	_, err = c.rw.Write(append(s0s1[1:], first...)) // C2 echoes S1
	return err
}

// peekByte waits for the first byte.
func (c *Conn) peekByte() (byte, error) {
	for c.in.Len() == 0 {
		if err := c.fill(); err != nil {
			return 0, err
		}
	}
	return c.in.Bytes()[0], nil
}

// readFull fills p. The bytes leave the buffer as they come, so that a peer that
// sends half of them and waits does not hold one.
func (c *Conn) readFull(p []byte) error {
	return c.take(len(p), func(b []byte) { p = p[copy(p, b):] })
}

// skip reads n bytes.
func (c *Conn) skip(n int) error { return c.take(n, func([]byte) {}) }

// take gives the next n bytes to f, in pieces.
func (c *Conn) take(n int, f func([]byte)) error {
	for got := 0; got < n; {
		if c.in.Len() == 0 {
			err := c.fill()
			if err == io.EOF && got > 0 {
				err = io.ErrUnexpectedEOF
			}
			if err != nil {
				return err
			}
		}
		p := c.in.Bytes()[:min(n-got, c.in.Len())]
		f(p)
		c.in.Consume(len(p))
		got += len(p)
	}
	return nil
}
