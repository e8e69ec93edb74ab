package wire

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
)

// maxPlaintext is the most that one TLS record holds (RFC 8446 §5.1). A read
// with so much room always takes a record whole.
const maxPlaintext = 16 << 10

// TLSConn is a TLS connection that reads and writes by many records at once.
type TLSConn struct {
	*tls.Conn
	rec *records
	err error // found behind bytes that were given out; for the next ReadBuf
}

// Server makes c, which it then owns, the server's end of a TLS connection.
func Server(c net.Conn, config *tls.Config) *TLSConn {
	rec := &records{Conn: New(c)}
	return &TLSConn{Conn: tls.Server(rec, config), rec: rec}
}

// Client makes c, which it then owns, the client's end of a TLS connection.
func Client(c net.Conn, config *tls.Config) *TLSConn {
	rec := &records{Conn: New(c)}
	return &TLSConn{Conn: tls.Client(rec, config), rec: rec}
}

// Frugal is Conn.Frugal.
func (c *TLSConn) Frugal(yes bool) { c.rec.Conn.Frugal(yes) }

// ErrUnannounced is the end of a TCP connection whose peer did not say in TLS
// that it was done: it has crashed, or something on the way has cut the line, or
// it does not care. It is io.EOF, too.
var ErrUnannounced = fmt.Errorf("the connection was closed without a TLS close: %w", io.EOF)

// unannounced makes an end between records what it is.
func unannounced(err error) error {
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return ErrUnannounced
	}
	return err
}

// Gate is entered for work that keeps a core busy.
type Gate interface {
	Enter(context.Context) error
	Leave()
}

// gate remembers whether it was entered.
type gate struct {
	Gate
	ctx    context.Context
	inside bool
}

func (g *gate) enter() error {
	err := g.Enter(g.ctx)
	g.inside = err == nil
	return err
}

func (g *gate) leave() {
	if g.inside {
		g.inside = false
		g.Leave()
	}
}

// HandshakeThrough does the handshake with g entered whenever the peer's bytes
// are worked at, and left while they are waited for: a peer that is slow keeps
// nobody out. The error may be that of g's Enter.
func (c *TLSConn) HandshakeThrough(ctx context.Context, g Gate) error {
	c.rec.gate = &gate{Gate: g, ctx: ctx}
	defer func() {
		c.rec.gate.leave()
		c.rec.gate = nil
	}()
	return c.rec.explain(c.HandshakeContext(ctx))
}

// badMAC is what crypto/tls makes of a record that it cannot decrypt.
const badMAC = tls.AlertError(20)

// explain puts what the peer has said in place of the failure to decrypt it.
// mbedTLS, and with it OBS from 30 on, has no key yet in TLS 1.3 when it finds
// that it does not believe the certificate: it says so in plain text, which
// crypto/tls does not take. Nothing hangs on it but the words of the log.
func (r *records) explain(err error) error {
	var op *net.OpError
	if !r.bare || !errors.As(err, &op) || op.Op != "local error" || op.Err.Error() != badMAC.Error() {
		return err
	}
	return &net.OpError{Op: "remote error", Err: tls.AlertError(r.said)}
}

// Socket returns the connection below TLS.
func (c *TLSConn) Socket() net.Conn { return c.rec.Conn.Conn }

// Seal returns p and the end of the writing direction as they would be sent, and
// the socket, which the caller then owns: what is said later needs no more than
// them. Nothing can be written any more.
func (c *TLSConn) Seal(p []byte) (sealed []byte, socket net.Conn, err error) {
	c.rec.mu.Lock()
	c.rec.sealed = &sealed
	c.rec.mu.Unlock()
	if _, err := c.Write(p); err != nil {
		return nil, nil, err
	}
	_ = c.CloseWrite()
	c.rec.mu.Lock()
	defer c.rec.mu.Unlock()
	return sealed, c.rec.Conn.Conn, nil
}

// ReadBuf implements Reader: it opens record after record until none is there
// whole, or b is too full for another.
func (c *TLSConn) ReadBuf(b *Buf) (int, error) {
	if c.err != nil {
		return 0, c.err
	}
	b.Park()
	if err := c.rec.wait(); err != nil {
		return 0, unannounced(err)
	}
	total := 0
	for total == 0 || c.rec.whole() {
		space := b.Space()
		if total > 0 && len(space) < maxPlaintext {
			break
		}
		n, err := c.Conn.Read(space)
		b.Extend(n)
		total += n
		if err != nil {
			if total == 0 {
				return 0, err
			}
			c.err = err
			break
		}
	}
	c.rec.in.Park() // what was read may be long in being passed on
	return total, nil
}

type plaintext [maxPlaintext]byte

var plaintexts = sync.Pool{New: func() any { return new(plaintext) }}

// WriteBufs implements Writer. Slices are gathered into full records; the
// kernel hears that more follow until the last.
func (c *TLSConn) WriteBufs(bufs [][]byte, more bool) error {
	for len(bufs) > 0 && len(bufs[len(bufs)-1]) == 0 {
		bufs = bufs[:len(bufs)-1] // the last record is made of something
	}
	more = c.rec.out.goesOn(size(bufs), more)
	var p *plaintext // taken only for what has to be put together
	n := 0
	defer func() {
		if p != nil {
			plaintexts.Put(p)
		}
	}()
	for i, b := range bufs {
		last := i == len(bufs)-1
		for len(b) > 0 {
			if n == 0 && (last || len(b) >= maxPlaintext) { // whole where it lies
				m := min(len(b), maxPlaintext)
				if err := c.write(b[:m], more || !last || m < len(b)); err != nil {
					return err
				}
				b = b[m:]
				continue
			}
			if p == nil {
				p = plaintexts.Get().(*plaintext)
			}
			m := copy(p[n:], b)
			n, b = n+m, b[m:]
			if end := last && len(b) == 0; n == len(p) || end {
				if err := c.write(p[:n], more || !end); err != nil {
					return err
				}
				n = 0
			}
		}
	}
	return nil
}

// write makes a record of p.
func (c *TLSConn) write(p []byte, more bool) error {
	if more {
		c.rec.follow(true)
		defer c.rec.follow(false)
	}
	_, err := c.Conn.Write(p)
	return err
}
