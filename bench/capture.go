package main

import (
	"net"
	"time"
)

// captureConn stands between crypto/tls and the socket. While capturing it
// keeps what TLS writes, so that the load is encrypted before the clock runs
// and only has to be copied into the socket while it does. What arrives is
// kept likewise, and decrypted when the clock has stopped.
type captureConn struct {
	net.Conn
	capturing bool
	kept      []byte
	arrived   []byte // to be read before anything else
}

func (c *captureConn) Write(p []byte) (int, error) {
	if !c.capturing {
		return c.Conn.Write(p)
	}
	c.kept = append(c.kept, p...)
	return len(p), nil
}

func (c *captureConn) Read(p []byte) (int, error) {
	if len(c.arrived) == 0 {
		return c.Conn.Read(p)
	}
	n := copy(p, c.arrived)
	c.arrived = c.arrived[n:]
	return n, nil
}

// prepare encrypts at least size bytes of media into buf and returns the
// records.
func (c *client) prepare(buf []byte, size int64) (records []byte, err error) {
	c.capture.kept, c.capture.capturing = buf[:0], true
	f := newFeed(interSize)
	for payload := int64(0); payload < size && err == nil; {
		typ, time, p := f.next()
		err = c.send(typ, time, p)
		payload += int64(len(p))
	}
	c.capture.capturing = false
	return c.capture.kept, err
}

// blast writes records that prepare made.
func (c *client) blast(records []byte) error {
	const step = 1 << 20 // one system call fills the socket's buffer
	for len(records) > 0 {
		n := min(step, len(records))
		if _, err := c.raw.Write(records[:n]); err != nil {
			return err
		}
		records = records[n:]
	}
	return nil
}

// collect reads at least size bytes as they are, and then until a moment
// passes without any. It returns when the last ones came.
func (c *client) collect(buf []byte, size int64) (all []byte, last time.Time, err error) {
	const moment = 200 * time.Millisecond
	buf = buf[:0]
	c.raw.SetReadDeadline(time.Now().Add(patience))
	defer func() { c.raw.SetReadDeadline(time.Time{}) }()
	for {
		if len(buf) == cap(buf) {
			buf = append(buf, 0)[:len(buf)]
		}
		n, err := c.raw.Read(buf[len(buf):min(cap(buf), len(buf)+1<<20)])
		buf = buf[:len(buf)+n]
		if n > 0 {
			last = time.Now()
		}
		enough := int64(len(buf)) >= size
		if err != nil && enough {
			return buf, last, nil
		}
		if err != nil {
			return buf, last, err
		}
		if enough {
			c.raw.SetReadDeadline(time.Now().Add(moment))
		}
	}
}
