package wire

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
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
	return total, nil
}

// WriteBufs implements Writer. The slices are gathered into one run of full
// records, and those into one system call.
func (c *TLSConn) WriteBufs(bufs *net.Buffers) error {
	s := pool.Get().(*storage)
	defer pool.Put(s)
	c.rec.cork()
	n := 0
	for _, p := range *bufs {
		for len(p) > 0 {
			m := copy(s[n:], p)
			n += m
			p = p[m:]
			if n == len(s) {
				if _, err := c.Conn.Write(s[:n]); err != nil {
					return err
				}
				n = 0
			}
		}
	}
	*bufs = (*bufs)[:0]
	if n > 0 {
		if _, err := c.Conn.Write(s[:n]); err != nil {
			return err
		}
	}
	return c.rec.uncork()
}
