package wire

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"slices"
	"testing"
	"time"
)

// cuts returns text in slices of these lengths, again and again.
func cuts(text []byte, lengths ...int) (bufs [][]byte) {
	for i := 0; len(text) > 0; i++ {
		n := min(lengths[i%len(lengths)], len(text))
		bufs = append(bufs, text[:n])
		text = text[n:]
	}
	return bufs
}

// writers are what implements Writer, with the peer that reads.
func writers(t *testing.T) map[string]func() (Writer, io.Reader, net.Conn) {
	return map[string]func() (Writer, io.Reader, net.Conn){
		"plain": func() (Writer, io.Reader, net.Conn) {
			s, c := tcp(t)
			return New(s), c, s
		},
		"without a descriptor": func() (Writer, io.Reader, net.Conn) {
			s, c := tcp(t)
			return New(dribble{s, 1 << 20}), c, s
		},
		"TLS": func() (Writer, io.Reader, net.Conn) {
			server, client, _ := secured(t)
			return server, client, server
		},
	}
}

// All slices arrive in their order, however many there are, also when the
// kernel has no room for them at once.
func TestWriteBufs(t *testing.T) {
	text := random(2_000_000)
	for name, open := range writers(t) {
		for _, lengths := range [][]int{{len(text)}, {1000}, {0, 1, 5, 0, 40_000}, {maxPlaintext}, {maxPlaintext + 1}, {300, 9}} {
			w, peer, s := open()
			failed := make(chan error, 1)
			go func() {
				err := w.WriteBufs(cuts(text, lengths...), true)
				if err == nil {
					err = w.WriteBufs([][]byte{[]byte("end")}, false)
				}
				failed <- err
				_ = s.Close()
			}()
			got, _ := io.ReadAll(peer)
			if err := <-failed; err != nil {
				t.Errorf("%s, %v: %v", name, lengths, err)
			}
			if !bytes.Equal(got, append(slices.Clone(text), "end"...)) {
				t.Errorf("%s, %v: %d bytes came", name, lengths, len(got))
			}
		}
	}
}

func TestWriteBufsOfNothing(t *testing.T) {
	for name, open := range writers(t) {
		w, peer, s := open()
		for _, bufs := range [][][]byte{nil, {}, {nil}, {{}, {}}} {
			if err := w.WriteBufs(bufs, false); err != nil {
				t.Errorf("%s, %v: %v", name, bufs, err)
			}
		}
		_ = s.Close()
		if got, _ := io.ReadAll(peer); len(got) != 0 {
			t.Errorf("%s: %d bytes came", name, len(got))
		}
	}
}

// counter has no descriptor and counts what is written, with its lengths.
type counter struct {
	net.Conn
	writes []int
}

func (c *counter) Write(p []byte) (int, error) {
	c.writes = append(c.writes, len(p))
	return c.Conn.Write(p)
}

// Short slices are put together to full records, long ones cut into them.
func TestWriteBufsMakesFullRecords(t *testing.T) {
	text := random(5*maxPlaintext + 100)
	full := config.Clone()
	full.DynamicRecordSizingDisabled = true
	for _, lengths := range [][]int{{100}, {4096}, {maxPlaintext}, {len(text)}, {2*maxPlaintext + 1}} {
		s, c := tcp(t)
		raw := &counter{Conn: s}
		server := Server(raw, full)
		got := make(chan []byte)
		go func() {
			b, _ := io.ReadAll(tls.Client(c, config))
			got <- b
		}()
		if err := server.Handshake(); err != nil {
			t.Fatal(err)
		}
		raw.writes = nil
		if err := server.WriteBufs(cuts(text, lengths...), false); err != nil {
			t.Fatal(err)
		}
		records := len(raw.writes)
		_ = server.Close()
		if !bytes.Equal(<-got, text) {
			t.Errorf("%v: other bytes came", lengths)
		}
		if records > 6 && lengths[0] <= maxPlaintext || records > 8 {
			t.Errorf("%v: %d records for %d bytes", lengths, records, len(text))
		}
	}
}

// What is told to wait is sent at the latest with what is not, and not more than
// holdAtMost is told to wait in a row.
func TestMoreIsBounded(t *testing.T) {
	s, c := tcp(t)
	w := New(s)
	piece := make([]byte, 1000)
	go func() { _, _ = io.Copy(io.Discard, c) }()
	for i := range 100 {
		if err := w.WriteBufs([][]byte{piece}, true); err != nil {
			t.Fatal(err)
		}
		if w.out.held >= holdAtMost || w.out.more == (w.out.held == 0) {
			t.Fatalf("after %d pieces: %d told to wait, more %v", i+1, w.out.held, w.out.more)
		}
	}
	if err := w.WriteBufs([][]byte{piece}, false); err != nil || w.out.held != 0 || w.out.more {
		t.Errorf("%d told to wait, %v", w.out.held, err)
	}
}

// blocked returns a Writer whose peer does not read, and the end of a WriteBufs
// that waits for it.
func blocked(t *testing.T, secure bool) (net.Conn, <-chan error) {
	t.Helper()
	s, _ := tcp(t)
	var w Writer = New(s)
	if secure {
		server, _, _ := secured(t)
		s, w = server, server
	}
	ended := make(chan error, 1)
	text := make([]byte, 1<<20)
	go func() {
		var err error
		for err == nil { // until the kernel takes no more, and then the end
			err = w.WriteBufs(cuts(text, 5000), false)
		}
		ended <- err
	}()
	return s, ended
}

func TestCloseEndsWriteBufs(t *testing.T) {
	for _, secure := range []bool{false, true} {
		s, ended := blocked(t, secure)
		_ = s.Close()
		if err := <-ended; !errors.Is(err, net.ErrClosed) {
			t.Errorf("TLS %v: %v", secure, err)
		}
	}
}

func TestDeadlineEndsWriteBufs(t *testing.T) {
	for _, secure := range []bool{false, true} {
		s, ended := blocked(t, secure)
		_ = s.SetWriteDeadline(time.Now().Add(50 * time.Millisecond))
		if err := <-ended; !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("TLS %v: %v", secure, err)
		}
	}
}

// A peer that is gone is an error, and no signal that ends the program.
func TestWriteBufsToNobody(t *testing.T) {
	for _, n := range []int{10, 1 << 20} {
		s, c := tcp(t)
		_ = c.(*net.TCPConn).SetLinger(0)
		_ = c.Close()
		w := New(s)
		var err error
		for range 100 {
			if err = w.WriteBufs([][]byte{make([]byte, n)}, false); err != nil {
				break
			}
		}
		var op *net.OpError
		if !errors.As(err, &op) {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
}

// Reading and writing allocate nothing, call by call.
func TestNoAllocations(t *testing.T) {
	s, c := tcp(t)
	near, far := New(s), New(c)
	var b Buf
	defer b.Release()
	one, three := [][]byte{make([]byte, 100)}, make([][]byte, 3)
	n := testing.AllocsPerRun(200, func() {
		three[0], three[1], three[2] = one[0], one[0], one[0]
		if near.WriteBufs(one, true) != nil || near.WriteBufs(three, false) != nil {
			t.Fatal("not written")
		}
		for got := 0; got < 400; {
			n, err := far.ReadBuf(&b)
			if err != nil {
				t.Fatal(err)
			}
			b.Consume(n)
			got += n
			one[0] = one[0][:100]
		}
		one = one[:1]
	})
	if n != 0 {
		t.Errorf("%v allocations", n)
	}
}
