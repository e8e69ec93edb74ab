package wire

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"testing"
	"time"
)

// dribble gives at most n bytes to a Read, and has no descriptor.
type dribble struct {
	net.Conn
	n int
}

func (d dribble) Read(p []byte) (int, error) { return d.Conn.Read(p[:min(len(p), d.n)]) }

// random returns n bytes, the same each time.
func random(n int) []byte {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{})
	_, _ = r.Read(b)
	return b
}

// readAll reads by ReadBuf until it ends, and always leaves a few bytes unread.
func readAll(r Reader) (all []byte, err error) {
	var b Buf
	defer b.Release()
	for {
		n, err := r.ReadBuf(&b)
		if err != nil {
			return append(all, b.Bytes()...), err
		}
		if n <= 0 {
			return all, errors.New("ReadBuf added nothing")
		}
		take := max(0, b.Len()-len(all)%30) // sometimes more than what is kept without storage
		all = append(all, b.Bytes()[:take]...)
		b.Consume(take)
	}
}

func TestReadBufOfEveryFragmentation(t *testing.T) {
	all := random(200_000)
	for _, secure := range []bool{false, true} {
		for _, n := range []int{1, 4, 5, 6, 7, 1000, 20_000, 1 << 20} {
			text := all[:min(len(all), 20_000*n)]
			server, client := tcp(t)
			var from Reader = New(dribble{server, n})
			var to io.WriteCloser = client
			if secure {
				from = Server(dribble{server, n}, config)
				to = tls.Client(client, config)
			}
			go func() {
				for p := text; len(p) > 0; { // records of many sizes
					m := min(len(p), 1+len(p)%17_000)
					_, _ = to.Write(p[:m])
					p = p[m:]
				}
				_ = to.Close()
			}()
			got, err := readAll(from)
			if !errors.Is(err, io.EOF) || !bytes.Equal(got, text) {
				t.Errorf("TLS %v, pieces of %d: %d bytes, %v", secure, n, len(got), err)
			}
		}
	}
}

// recorder keeps what a TLS client writes, as long as it is on.
type recorder struct {
	net.Conn
	on    bool
	bytes []byte
}

func (r *recorder) Write(p []byte) (int, error) {
	if !r.on {
		return r.Conn.Write(p)
	}
	r.bytes = append(r.bytes, p...)
	return len(p), nil
}

// secured returns both ends of a TLS connection whose handshake is done. What
// the client writes from then on is recorded, and not sent.
func secured(t *testing.T) (server *TLSConn, client *tls.Conn, raw *recorder) {
	t.Helper()
	s, c := tcp(t)
	raw = &recorder{Conn: c}
	client = tls.Client(raw, config)
	done := make(chan error, 1)
	go func() { done <- client.Handshake() }()
	server = Server(s, config)
	if err := server.Handshake(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	raw.on = true
	return server, client, raw
}

// put sends bytes as they are, and waits until all of them are in the server's
// socket: they were written by then.
func put(t *testing.T, c net.Conn, p []byte) {
	t.Helper()
	_ = c.SetWriteDeadline(time.Time{}) // crypto/tls sets one with its close_notify
	if _, err := c.Write(p); err != nil {
		t.Fatal(err)
	}
}

// One call opens all records that are there whole, and does not wait for the
// rest of the last.
func TestReadBufTakesAllWholeRecords(t *testing.T) {
	server, client, raw := secured(t)
	for range 5 {
		_, _ = client.Write(bytes.Repeat([]byte("a"), 1000))
	}
	whole := len(raw.bytes)
	_, _ = client.Write([]byte("last"))
	var b Buf
	defer b.Release()
	put(t, raw.Conn, raw.bytes[:whole+3]) // three bytes of the sixth record's header
	for b.Len() < 5000 {
		if _, err := server.ReadBuf(&b); err != nil {
			t.Fatal(err)
		}
	}
	if b.Len() != 5000 || server.rec.in.Len() != 3 || server.rec.in.s != nil {
		t.Errorf("%d bytes, and %d ahead", b.Len(), server.rec.in.Len())
	}
	b.Consume(5000)
	_ = server.SetReadDeadline(time.Unix(1, 0))
	if n, err := server.ReadBuf(&b); !errors.Is(err, os.ErrDeadlineExceeded) || n != 0 {
		t.Errorf("of a part: %d, %v", n, err)
	}
	_ = server.SetReadDeadline(time.Time{})
	put(t, raw.Conn, raw.bytes[whole+3:])
	if _, err := server.ReadBuf(&b); err != nil || string(b.Bytes()) != "last" {
		t.Errorf("%q, %v", b.Bytes(), err)
	}
}

// A Buf that has no room for another record keeps it for the next call.
func TestReadBufLeavesWhatHasNoRoom(t *testing.T) {
	server, client, raw := secured(t)
	text := random(BufSize + 3*maxPlaintext)
	_, _ = client.Write(text)
	go func() { _, _ = raw.Conn.Write(raw.bytes) }()
	var b Buf
	defer b.Release()
	var got []byte
	for len(got) < len(text) {
		if _, err := server.ReadBuf(&b); err != nil {
			t.Fatal(err)
		}
		if b.Len() < BufSize/2 && len(got)+b.Len() < len(text) {
			continue // let it fill
		}
		got = append(got, b.Bytes()...)
		b.Consume(b.Len())
	}
	if !bytes.Equal(got, text) {
		t.Error("other bytes came out")
	}
}

// A record that is longer than TLS allows is refused by its header: nobody waits
// for the rest, which would not fit.
func TestOversizeRecord(t *testing.T) {
	for _, n := range []int{maxFragment + 1, 0xFFFF} {
		server, _, raw := secured(t)
		put(t, raw.Conn, []byte{23, 3, 3, byte(n >> 8), byte(n)})
		var b Buf
		_, err := server.ReadBuf(&b)
		var header tls.RecordHeaderError
		if err == nil || errors.Is(err, io.EOF) || !errors.As(err, &header) && !bytes.Contains([]byte(err.Error()), []byte("oversized")) {
			t.Errorf("%d bytes: %v", n, err)
		}
		b.Release()
	}
}

// An end within a record, or without a close_notify, is not the end of the stream.
func TestCutRecords(t *testing.T) {
	for _, cut := range []int{1, recordHeader - 1, recordHeader, recordHeader + 1, 500} {
		server, client, raw := secured(t)
		_, _ = client.Write(random(900))
		put(t, raw.Conn, raw.bytes[:cut])
		_ = raw.Conn.Close()
		var b Buf
		if n, err := server.ReadBuf(&b); n != 0 || err != ErrUnannounced {
			t.Errorf("after %d bytes: %d, %v", cut, n, err)
		}
		if server.rec.in.s != nil && cut <= keepSize {
			t.Errorf("after %d bytes: storage is held", cut)
		}
		b.Release()
		server.rec.in.Release()
	}
}

// What came before an error is given out first.
func TestErrorBehindBytes(t *testing.T) {
	server, client, raw := secured(t)
	_, _ = client.Write([]byte("all of it"))
	_ = client.CloseWrite()
	put(t, raw.Conn, raw.bytes)
	var b Buf
	defer b.Release()
	for b.Len() < len("all of it") {
		if _, err := server.ReadBuf(&b); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		if n, err := server.ReadBuf(&b); n != 0 || err != io.EOF {
			t.Errorf("%d, %v", n, err)
		}
	}
	if string(b.Bytes()) != "all of it" {
		t.Errorf("%q", b.Bytes())
	}
}

// A connection that waits, or has ended, holds nothing of the pool.
func TestWaitingHoldsNoStorage(t *testing.T) {
	for _, secure := range []bool{false, true} {
		s, c := tcp(t)
		var from Reader = New(s)
		if secure {
			server, _, raw := secured(t)
			s, c, from = server, raw.Conn, server
		}
		var b Buf
		b.Extend(copy(b.Space(), "rest"))
		_ = s.SetReadDeadline(time.Unix(1, 0))
		if _, err := from.ReadBuf(&b); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("TLS %v: %v", secure, err)
		}
		_ = s.SetReadDeadline(time.Time{})
		_ = c.Close()
		if _, err := from.ReadBuf(&b); !errors.Is(err, io.EOF) {
			t.Errorf("TLS %v: %v", secure, err)
		}
		if b.s != nil || string(b.Bytes()) != "rest" {
			t.Errorf("TLS %v: storage is held, or %q is not the rest", secure, b.Bytes())
		}
		if x, ok := from.(*TLSConn); ok && x.rec.in.s != nil {
			t.Error("the records hold storage")
		}
	}
}

func TestCloseEndsReadBuf(t *testing.T) {
	for _, secure := range []bool{false, true} {
		s, _ := tcp(t)
		var from Reader = New(s)
		if secure {
			server, _, _ := secured(t)
			s, from = server, server
		}
		ended := make(chan error, 1)
		go func() {
			var b Buf
			defer b.Release()
			_, err := from.ReadBuf(&b)
			ended <- err
		}()
		_ = s.Close()
		if err := <-ended; !errors.Is(err, net.ErrClosed) {
			t.Errorf("TLS %v: %v", secure, err)
		}
	}
}
