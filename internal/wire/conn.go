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
	// slices, not the bytes, and keeps neither. more says that the rest of
	// what they belong to is still to come: the kernel may wait for it, for
	// 200 ms at most, before it sends a packet that is not full.
	WriteBufs(bufs [][]byte, more bool) error
}

// Conn is a plain connection that reads into pooled buffers. Reading and
// writing may go on concurrently, each from one goroutine at a time.
type Conn struct {
	net.Conn
	ahead []byte          // read by Peek and by nobody else yet; nil but for a moment
	raw   syscall.RawConn // nil where the connection has none, as net.Pipe
	in    reading
	out   writing
}

// reading is what a call of ReadBuf hands to the callback of the raw connection.
type reading struct {
	dst    *Buf
	n      int
	err    error
	frugal bool                  // no storage is held for what is not whole
	ready  func(fd uintptr) bool // its method, bound once
}

// writing is the same for WriteBufs.
type writing struct {
	bufs  [][]byte
	more  bool
	held  int // what the kernel was told to wait with
	err   error
	ready func(fd uintptr) bool
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
			w.in.ready, w.out.ready = w.in.read, w.out.write
		}
	}
	return w
}

// Frugal says whether the connection holds as little as it can while it waits for
// the rest of something, also where that costs time. Nothing may read meanwhile.
func (c *Conn) Frugal(yes bool) { c.in.frugal = yes }

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
			return n, nil
		}
		b.Park()
		return 0, err
	}
	b.Park()
	c.in.dst, c.in.n, c.in.err = b, 0, nil
	err := c.raw.Read(c.in.ready)
	c.in.dst = nil
	switch {
	case err != nil: // deadline or closed
		return 0, err
	case c.in.err != nil:
		return 0, c.failed("read", c.in.err)
	case c.in.n == 0:
		return 0, io.EOF
	}
	return c.in.n, nil
}

// read reads once. It returns false to be called again when there is something
// to read; until then the storage is back in the pool.
func (r *reading) read(fd uintptr) bool {
	n, again, err := readRaw(fd, r.dst.Space())
	if again {
		if r.frugal {
			r.dst.Shrink()
		}
		r.dst.Park()
		return false
	}
	r.n, r.err = n, err
	r.dst.Extend(n)
	if n == 0 { // what is left of a connection that has ended holds nothing
		r.dst.Park()
	}
	return true
}

// WriteBufs implements Writer, by one system call as long as the kernel has room.
func (c *Conn) WriteBufs(bufs [][]byte, more bool) error {
	return c.write(bufs, c.out.goesOn(size(bufs), more))
}

// write does it. more is passed on as it is.
func (c *Conn) write(bufs [][]byte, more bool) error {
	if c.raw == nil || !canWriteRaw {
		b := net.Buffers(bufs)
		_, err := b.WriteTo(c.Conn)
		return err
	}
	c.out.bufs, c.out.more, c.out.err = bufs, more, nil
	err := c.raw.Write(c.out.ready)
	c.out.bufs = nil
	if err == nil && c.out.err != nil {
		err = c.failed("write", c.out.err)
	}
	return err
}

// holdAtMost is how much the kernel is told to wait with, in a row: the peer
// shall work on a long message while the rest of it comes in.
const holdAtMost = 16 << 10

// goesOn counts n bytes that are written, and says whether the kernel is to be
// told to wait for the rest of them.
func (w *writing) goesOn(n int, more bool) bool {
	if w.held += n; !more || w.held >= holdAtMost {
		w.held, more = 0, false
	}
	return more
}

// write writes what is left. It returns false to be called again when there is
// room for more.
func (w *writing) write(fd uintptr) bool {
	for len(w.bufs) > 0 {
		n, again, err := writeRaw(fd, w.bufs, w.more)
		if again {
			return false
		}
		if err != nil {
			w.err = err
			return true
		}
		w.bufs = consume(w.bufs, n)
	}
	return true
}

func size(bufs [][]byte) (n int) {
	for _, b := range bufs {
		n += len(b)
	}
	return n
}

// consume takes n bytes off the front.
func consume(bufs [][]byte, n int) [][]byte {
	for len(bufs) > 0 && n >= len(bufs[0]) {
		n -= len(bufs[0])
		bufs = bufs[1:]
	}
	if n > 0 {
		bufs[0] = bufs[0][n:]
	}
	return bufs
}

func (c *Conn) failed(op string, err error) error {
	return &net.OpError{Op: op, Net: "tcp", Source: c.LocalAddr(), Addr: c.RemoteAddr(), Err: err}
}

// CloseWrite ends the writing direction, where the connection can.
func (c *Conn) CloseWrite() error {
	if h, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return h.CloseWrite()
	}
	return c.Conn.Close()
}

// Socket returns the connection that c wraps.
func (c *Conn) Socket() net.Conn { return c.Conn }

// Seal returns p and the socket, which the caller then owns: what is said later
// needs no more than them.
func (c *Conn) Seal(p []byte) (sealed []byte, socket net.Conn, err error) { return p, c.Conn, nil }

const recordHeader = 5 // bytes before a TLS record's fragment (RFC 8446 §5.1)

// An alert is a level and a description (RFC 8446 §6). Encrypted it is longer.
const typeAlert, bareAlert = 21, 2

// records is the net.Conn below a tls.Conn. It reads ahead many records with
// one system call, gives them to crypto/tls one at a time, and so knows whether
// another whole one is there.
type records struct {
	*Conn
	in   Buf
	left int   // bytes of the current record that were not given out yet
	gate *gate // during a handshake that has one
	bare bool  // the current record is an alert that is not encrypted
	said byte  // what the last such alert said

	mu     sync.Mutex // guards what follows: Close may write an alert at any time
	sealed *[]byte    // takes what would be written, if not nil
	more   bool       // the rest of what is written is still to come
	one    [1][]byte  // what Write hands on
}

// Read gives at most the rest of one record.
func (r *records) Read(p []byte) (int, error) {
	if r.left == 0 {
		for r.in.Len() < recordHeader {
			if err := r.read(); err != nil {
				return 0, r.cut(err)
			}
		}
		head := r.in.Bytes()[:recordHeader]
		r.left = recordHeader + int(binary.BigEndian.Uint16(head[3:]))
		r.bare = head[0] == typeAlert && r.left == recordHeader+bareAlert
	}
	if r.in.Len() == 0 {
		if err := r.read(); err != nil {
			return 0, r.cut(err)
		}
	}
	n := copy(p[:min(len(p), r.left)], r.in.Bytes())
	r.in.Consume(n)
	r.left -= n
	if r.bare && n > 0 {
		r.said = p[n-1] // in the end, the alert's last byte
	}
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

// cut makes an end within a record what it is.
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

// Write writes a record, or several.
func (r *records) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.sealed != nil {
		*r.sealed = append(*r.sealed, p...)
		return len(p), nil
	}
	r.one[0] = p
	err := r.Conn.write(r.one[:], r.more)
	r.one[0] = nil
	if err != nil {
		return 0, err
	}
	return len(p), nil
}

// follow says whether more follows what is written from now on.
func (r *records) follow(more bool) {
	r.mu.Lock()
	r.more = more
	r.mu.Unlock()
}
