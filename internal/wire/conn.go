package wire

import (
	"encoding/binary"
	"io"
	"net"
	"sync"
	"syscall"
)

// Reader is implemented by connections that read into a Buf.
type Reader interface {
	// ReadBuf waits for bytes and adds at least one to b, and then all that
	// can be had without waiting. While it waits, b holds no storage unless
	// more than a few bytes are unread in it. It returns the number of bytes
	// added; with n > 0 the error is nil.
	ReadBuf(b *Buf) (n int, err error)
}

// Writer is implemented by connections that write several slices at once.
type Writer interface {
	// WriteBufs writes all of bufs or fails. It may modify the slice of
	// slices, not the bytes, and keeps neither.
	WriteBufs(bufs *net.Buffers) error
}

// Conn is a plain connection that reads into pooled buffers. Reading and
// writing may go on concurrently, each from one goroutine.
type Conn struct {
	net.Conn
	ahead  []byte          // read by Peek and by nobody else yet; nil but for a moment
	raw    syscall.RawConn // nil where the connection has none, as net.Pipe
	dst    *Buf            // where onReadable reads to, during ReadBuf
	n      int
	err    error
	onRead func(fd uintptr) bool // c.onReadable, bound once
}

// New wraps c, which it then owns: Close closes c. A Conn is returned as it is.
func New(c net.Conn) *Conn {
	if w, ok := c.(*Conn); ok {
		return w
	}
	w := &Conn{Conn: c}
	if sc, ok := c.(syscall.Conn); ok && canReadRaw {
		if raw, err := sc.SyscallConn(); err == nil {
			w.raw = raw
			w.onRead = w.onReadable
		}
	}
	return w
}

// Peek waits for the next byte and leaves it to be read. Nothing else may read
// meanwhile.
func (c *Conn) Peek() (byte, error) {
	if len(c.ahead) == 0 {
		first := make([]byte, 1)
		if _, err := io.ReadFull(c.Conn, first); err != nil {
			return 0, err
		}
		c.ahead = first
	}
	return c.ahead[0], nil
}

// Read reads what Peek has seen, or from the connection.
func (c *Conn) Read(p []byte) (int, error) {
	if len(c.ahead) > 0 {
		return c.takeAhead(p), nil
	}
	return c.Conn.Read(p)
}

// takeAhead moves what Peek has seen to p.
func (c *Conn) takeAhead(p []byte) int {
	n := copy(p, c.ahead)
	if c.ahead = c.ahead[n:]; len(c.ahead) == 0 {
		c.ahead = nil
	}
	return n
}

// ReadBuf implements Reader. It makes one read: what the kernel holds beyond
// the room in b is left for the next.
func (c *Conn) ReadBuf(b *Buf) (int, error) {
	if len(c.ahead) > 0 {
		n := c.takeAhead(b.Space())
		b.Extend(n)
		return n, nil
	}
	if c.raw == nil {
		n, err := c.Conn.Read(b.Space())
		b.Extend(n)
		if n > 0 {
			err = nil
		}
		return n, err
	}
	b.Park()
	c.dst, c.n, c.err = b, 0, nil
	err := c.raw.Read(c.onRead)
	c.dst = nil
	switch {
	case err != nil: // deadline or closed
		return 0, err
	case c.err != nil:
		return 0, &net.OpError{Op: "read", Net: "tcp", Addr: c.RemoteAddr(), Err: c.err}
	case c.n == 0:
		return 0, io.EOF
	}
	return c.n, nil
}

// onReadable reads once. It returns false to be called again when there is
// something to read; until then the storage is back in the pool.
func (c *Conn) onReadable(fd uintptr) bool {
	n, again, err := readRaw(fd, c.dst.Space())
	if again {
		c.dst.Park()
		return false
	}
	c.n, c.err = n, err
	c.dst.Extend(n)
	return true
}

// WriteBufs implements Writer by writev where the connection has it.
func (c *Conn) WriteBufs(bufs *net.Buffers) error {
	_, err := bufs.WriteTo(c.Conn)
	return err
}

// CloseWrite ends the writing direction, where the connection can.
func (c *Conn) CloseWrite() error {
	if h, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return h.CloseWrite()
	}
	return c.Conn.Close()
}

// Seal returns p and the socket, which the caller then owns: what is said later
// needs no more than them.
func (c *Conn) Seal(p []byte) (sealed []byte, socket net.Conn, err error) { return p, c.Conn, nil }

const recordHeader = 5 // bytes before a TLS record's fragment (RFC 8446 §5.1)

// records is the net.Conn below a tls.Conn. It reads ahead many records with
// one system call, gives them to crypto/tls one at a time, and so knows whether
// another whole one is there. Writes between cork and uncork go out as one.
type records struct {
	*Conn
	in   Buf
	left int   // bytes of the current record that were not given out yet
	gate *gate // during a handshake that has one

	mu     sync.Mutex // guards what follows: Close may write an alert at any time
	sealed *[]byte    // takes what would be written, if not nil
	corked bool
	out    []byte
	outBuf *outStorage
}

// outSize is BufSize and the overhead of the records it is cut into.
const outSize = BufSize + 4<<10

type outStorage [outSize]byte

var outPool = sync.Pool{New: func() any { return new(outStorage) }}

// Read gives at most the rest of one record.
func (r *records) Read(p []byte) (int, error) {
	if r.left == 0 {
		for r.in.Len() < recordHeader {
			if err := r.read(); err != nil {
				return 0, r.cut(err)
			}
		}
		r.left = recordHeader + int(binary.BigEndian.Uint16(r.in.Bytes()[3:]))
	}
	if r.in.Len() == 0 {
		if err := r.read(); err != nil {
			return 0, r.cut(err)
		}
	}
	n := copy(p[:min(len(p), r.left)], r.in.Bytes())
	r.in.Consume(n)
	r.left -= n
	if r.in.Len() == 0 {
		r.in.Park()
	}
	return n, nil
}

// read waits for bytes from the peer, outside the gate.
func (r *records) read() error {
	if r.gate != nil {
		r.gate.leave()
	}
	_, err := r.Conn.ReadBuf(&r.in)
	if err == nil && r.gate != nil {
		err = r.gate.enter()
	}
	return err
}

// cut makes an end within a record header what it is.
func (r *records) cut(err error) error {
	if err == io.EOF && (r.in.Len() > 0 || r.left > 0) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// maxFragment is the longest fragment of a record that any version of TLS
// allows (RFC 5246 §6.2.3).
const maxFragment = 16<<10 + 2048

// pending returns the length of the next record, 0 if that cannot be told yet.
func (r *records) pending() int {
	b := r.in.Bytes()
	if r.left > 0 || len(b) < recordHeader {
		return 0
	}
	return recordHeader + int(binary.BigEndian.Uint16(b[3:]))
}

// whole reports whether a whole record is there, so that reading it does not wait.
func (r *records) whole() bool {
	n := r.pending()
	return n > 0 && n <= r.in.Len()
}

// wait returns when a whole record can be read, or one that crypto/tls will
// refuse for its length. An empty in holds no storage meanwhile.
func (r *records) wait() error {
	for r.left == 0 && !r.whole() && r.pending() <= recordHeader+maxFragment {
		if _, err := r.Conn.ReadBuf(&r.in); err != nil {
			return r.cut(err)
		}
	}
	return nil
}

// Write writes p, or keeps it until uncork.
func (r *records) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.sealed != nil {
		*r.sealed = append(*r.sealed, p...)
		return len(p), nil
	}
	if !r.corked {
		return r.Conn.Write(p)
	}
	if len(r.out)+len(p) > outSize {
		if err := r.flush(); err != nil {
			return 0, err
		}
		if len(p) > outSize {
			return r.Conn.Write(p)
		}
	}
	if r.outBuf == nil {
		r.outBuf = outPool.Get().(*outStorage)
		r.out = r.outBuf[:0]
	}
	r.out = append(r.out, p...)
	return len(p), nil
}

func (r *records) cork() {
	r.mu.Lock()
	r.corked = true
	r.mu.Unlock()
}

func (r *records) uncork() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.corked = false
	return r.flush()
}

// flush needs r.mu.
func (r *records) flush() error {
	if r.outBuf == nil {
		return nil
	}
	_, err := r.Conn.Write(r.out)
	outPool.Put(r.outBuf)
	r.out, r.outBuf = nil, nil
	return err
}
