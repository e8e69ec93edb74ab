package rtmp

import (
	"bytes"
	"errors"
	"io"
	"runtime"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"rtmps-edge/internal/secret"
	"rtmps-edge/rtmp/rtmptest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// script is a peer that says all it has to say at once and takes everything.
type script struct {
	io.Reader
	out    bytes.Buffer
	writes int
	held   bool // the last write said that more follows
}

func (s *script) Write(p []byte) (int, error) {
	s.writes++
	return s.out.Write(p)
}

// WriteBufs makes a script a peer that takes many slices at once.
func (s *script) WriteBufs(bufs [][]byte, more bool) error {
	s.writes++
	s.held = more
	for _, p := range bufs {
		s.out.Write(p)
	}
	return nil
}

// says makes a peer that says what b holds.
func says(b *rtmptest.Builder) *script { return &script{Reader: bytes.NewReader(b.Bytes())} }

// heard gives the messages that were written to a peer, in the canonical form
// or the test fails. With handshake it begins with S0 or C0.
func (s *script) heard(t testing.TB, handshake bool) []rtmptest.Message {
	t.Helper()
	b := s.out.Bytes()
	if handshake {
		if len(b) < rtmptest.HandshakeLen {
			t.Fatalf("%d bytes are no handshake", len(b))
		}
		b = b[rtmptest.HandshakeLen:]
	}
	msgs, rest, err := rtmptest.Parse(b, rtmptest.Strict)
	if err != nil || rest != 0 {
		t.Fatalf("not canonical: %v, %d bytes left over", err, rest)
	}
	return msgs
}

// built is an empty script.
func built() *rtmptest.Builder { return new(rtmptest.Builder) }

// greeting is a script that begins with a client's handshake.
func greeting() *rtmptest.Builder { return built().C0C1(3).C2(nil) }

// pair makes two legs of a running stream: in is what the sending side says.
func pair(in io.Reader, out io.ReadWriter, play bool, lim Limits) (src, dst *Conn) {
	src = newConn(&script{Reader: in}, lim)
	src.action, src.setup, src.sendsData, src.msid = Publish, false, true, 1
	src.name, src.named = secret.New("key"), true
	dst = newConn(out, lim)
	dst.action, dst.setup, dst.isOrigin, dst.msid, dst.name = Publish, false, true, 1, secret.New("name")
	if play {
		src.action, dst.action = Play, Play
		src.isOrigin, dst.isOrigin = true, false
	}
	return src, dst
}

// wantBreach fails the test unless err is a *ProtocolError that has text.
func wantBreach(t testing.TB, err error, text string) {
	t.Helper()
	var p *ProtocolError
	if !errors.As(err, &p) || !strings.Contains(p.Text, text) {
		t.Errorf("got %v, want a protocol error with %q", err, text)
	}
}

// wantEnd fails the test unless err says that the script was over.
func wantEnd(t testing.TB, err error) {
	t.Helper()
	if !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("got %v, want the script's end", err)
	}
}

// fed is one direction of a running stream, to which the test gives the bytes.
type fed struct {
	relay
	in    *bytes.Buffer
	reply *script // what the sending side hears
}

// relaying returns a direction that has taken first, and what is written to
// its other end.
func relaying(first *rtmptest.Builder, play bool, lim Limits) (f *fed, out *script) {
	in, out := new(bytes.Buffer), &script{}
	src, dst := pair(in, out, play, lim)
	f = &fed{relay{dst: dst, src: src}, in, src.rw.(*script)}
	if err := f.feed(first); err != nil {
		panic(err)
	}
	return f, out
}

// feed passes on what b holds.
func (f *fed) feed(b *rtmptest.Builder) error {
	f.in.Write(b.Bytes())
	for f.in.Len() > 0 {
		if err := f.src.fill(); err != nil {
			return err
		}
		if err := f.drain(); err != nil {
			return err
		}
	}
	return nil
}

// allocated returns how many bytes f allocates in all.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}
