package rtmp

import (
	"bytes"
	"encoding/binary"
	"errors"
	"slices"
	"sync"
	"testing"

	"rtmps-edge/rtmp/rtmptest"
)

// TestCanonicalForm holds what is written against bytes that are written out
// here.
func TestCanonicalForm(t *testing.T) {
	for _, c := range []struct {
		name  string
		write func(c *Conn)
		want  []byte
	}{
		{"audio", func(c *Conn) { c.w.message(typeAudio, 0x010203, 0x05060708, []byte("ab")) },
			[]byte{6, 1, 2, 3, 0, 0, 2, 8, 8, 7, 6, 5, 'a', 'b'}},
		{"video of nothing", func(c *Conn) { c.w.message(typeVideo, 0, 1, nil) },
			[]byte{7, 0, 0, 0, 0, 0, 0, 9, 1, 0, 0, 0}},
		{"data", func(c *Conn) { c.w.message(typeData, 0, 1, []byte("x")) },
			[]byte{4, 0, 0, 0, 0, 0, 1, 18, 1, 0, 0, 0, 'x'}},
		{"command", func(c *Conn) { c.w.message(typeCommand, 0, 0, []byte("x")) },
			[]byte{3, 0, 0, 0, 0, 0, 1, 20, 0, 0, 0, 0, 'x'}},
		{"control", func(c *Conn) { c.w.message(typeAck, 0, 0, []byte{1, 2, 3, 4}) },
			[]byte{2, 0, 0, 0, 0, 0, 4, 3, 0, 0, 0, 0, 1, 2, 3, 4}},
		{"the last time without an extension", func(c *Conn) { c.w.message(typeAudio, 0xFFFFFE, 1, nil) },
			[]byte{6, 0xFF, 0xFF, 0xFE, 0, 0, 0, 8, 1, 0, 0, 0}},
		{"the first time with one", func(c *Conn) { c.w.message(typeAudio, 0xFFFFFF, 1, nil) },
			[]byte{6, 0xFF, 0xFF, 0xFF, 0, 0, 0, 8, 1, 0, 0, 0, 0, 0xFF, 0xFF, 0xFF}},
		{"chunks", func(c *Conn) { c.w.message(typeVideo, 5, 1, make([]byte, 300)) },
			slices.Concat([]byte{7, 0, 0, 5, 0, 1, 44, 9, 1, 0, 0, 0}, make([]byte, 128), []byte{0xC7}, make([]byte, 128), []byte{0xC7}, make([]byte, 44))},
		{"a message of exactly two chunks", func(c *Conn) { c.w.message(typeVideo, 5, 1, make([]byte, 256)) },
			slices.Concat([]byte{7, 0, 0, 5, 0, 1, 0, 9, 1, 0, 0, 0}, make([]byte, 128), []byte{0xC7}, make([]byte, 128))},
		{"chunks with an extended time", func(c *Conn) { c.w.message(typeVideo, 0x81020304, 1, make([]byte, 129)) },
			slices.Concat([]byte{7, 0xFF, 0xFF, 0xFF, 0, 0, 129, 9, 1, 0, 0, 0, 0x81, 2, 3, 4}, make([]byte, 128), []byte{0xC7, 0x81, 2, 3, 4, 0})},
	} {
		out := &script{}
		conn := newConn(out, Limits{})
		c.write(conn)
		if err := conn.w.flush(); err != nil {
			t.Error(err)
		}
		if !bytes.Equal(out.out.Bytes(), c.want) {
			t.Errorf("%s: wrote % x\nwant % x", c.name, out.out.Bytes(), c.want)
		}
	}
}

// TestBodyInPieces: it makes no difference in which pieces a body comes.
func TestBodyInPieces(t *testing.T) {
	payload := long(70000)
	write := func(step int) []byte {
		out := &script{}
		c := newConn(out, Limits{})
		c.w.begin(typeVideo, 0x1000000, 1, uint32(len(payload)))
		for p := payload; len(p) > 0; p = p[min(step, len(p)):] {
			c.w.body(p[:min(step, len(p))])
			if len(p)%3 == 0 {
				_ = c.w.flush()
			}
		}
		_ = c.w.flush()
		return out.out.Bytes()
	}
	want := write(len(payload))
	for _, step := range []int{1, 7, 127, 128, 129, 511, 512, 513, 4096, 65536} {
		if !bytes.Equal(write(step), want) {
			t.Errorf("in steps of %d it is different", step)
		}
	}
	msgs, rest, err := rtmptest.Parse(want, rtmptest.Strict)
	if err != nil || rest != 0 || len(msgs) != 1 || !bytes.Equal(msgs[0].Payload, payload) {
		t.Errorf("%d messages, %d left, %v", len(msgs), rest, err)
	}
}

// TestBodyIsNoLongerThanItsMessage: a fault elsewhere must not become another
// message.
func TestBodyIsNoLongerThanItsMessage(t *testing.T) {
	out := &script{}
	c := newConn(out, Limits{})
	c.w.begin(typeVideo, 0, 1, 3)
	c.w.body([]byte("ab"))
	c.w.body([]byte("cde"))
	c.w.body([]byte("f"))
	_ = c.w.flush()
	if got := brief(out.heard(t, false)); !slices.Equal(got, []string{"9@0 abc"}) {
		t.Errorf("wrote %q", got)
	}
}

// TestScratchIsBounded writes more than one flush gathers, in slices of all
// kinds.
func TestScratchIsBounded(t *testing.T) {
	out := &script{}
	c := newConn(out, Limits{})
	if err := c.send(controlMessage(typeSetChunkSize, outChunkSize)); err != nil {
		t.Fatal(err)
	}
	var want []rtmptest.Media
	for i := range 2000 {
		p := long(i % 1500)
		want = append(want, rtmptest.Message{Type: typeAudio, Timestamp: uint32(i), Payload: p}.Media())
		c.w.message(typeAudio, uint32(i), 1, p)
		if c.w.s != nil && (c.w.s.n > scratchBytes || len(c.w.s.out) > scratchSlices) {
			t.Fatalf("gathered %d bytes and %d slices", c.w.s.n, len(c.w.s.out))
		}
	}
	if err := c.w.flush(); err != nil {
		t.Fatal(err)
	}
	if got := rtmptest.MediaOf(out.heard(t, false)); !slices.Equal(got, want) {
		t.Errorf("%d of %d messages, or they differ", len(got), len(want))
	}
	if int64(out.out.Len()) != c.Sent() {
		t.Errorf("Sent is %d, %d were written", c.Sent(), out.out.Len())
	}
}

// TestControlWaitsForABoundary: within a message nothing else can be said.
func TestControlWaitsForABoundary(t *testing.T) {
	out := &script{}
	c := newConn(out, Limits{})
	c.w.mu.Lock()
	c.w.begin(typeVideo, 0, 1, 200)
	c.w.body(make([]byte, 100))
	_ = c.w.flush()
	set(&c.w.ack, 5)
	set(&c.w.pong, 6)
	c.w.poke() // somebody holds the lock
	c.w.unlock()
	c.w.poke() // nobody does, but the message is not over
	if n := out.out.Len(); n != 12+100 {
		t.Fatalf("%d bytes were written within the message", n)
	}
	c.w.mu.Lock()
	c.w.body(make([]byte, 100))
	_ = c.w.flush()
	c.w.unlock()
	msgs := out.heard(t, false)
	if len(msgs) != 3 || msgs[0].Type != typeVideo || msgs[1].Type != typeAck || binary.BigEndian.Uint32(msgs[1].Payload) != 5 {
		t.Fatalf("heard %v", msgs)
	}
	if event, v, _ := msgs[2].Event(); event != eventPingResponse || v != 6 {
		t.Errorf("heard %v", msgs[2])
	}
}

// TestPokeIsNotLost: a control message that is set while another goroutine is
// writing is written by that one.
func TestPokeIsNotLost(t *testing.T) {
	for range 200 {
		out := &script{}
		c := newConn(out, Limits{})
		var wg sync.WaitGroup
		wg.Go(func() {
			for range 10 {
				c.w.mu.Lock()
				c.w.message(typeAudio, 0, 1, nil)
				_ = c.w.flush()
				c.w.unlock()
			}
		})
		wg.Go(func() {
			set(&c.w.ack, 1)
			c.w.poke()
		})
		wg.Wait()
		c.w.mu.Lock()
		n := rtmptest.CountTypes(out.heard(t, false))[typeAck]
		c.w.mu.Unlock()
		if n != 1 {
			t.Fatalf("%d acknowledgements", n)
		}
	}
}

// broken fails after some writes.
type broken struct{ left int }

var errBroken = errors.New("broken")

func (b *broken) Read([]byte) (int, error) { return 0, errBroken }

func (b *broken) Write(p []byte) (int, error) {
	if b.left--; b.left < 0 {
		return len(p) / 2, errBroken
	}
	return len(p), nil
}

func (b *broken) WriteBufs(bufs [][]byte, _ bool) error {
	_, err := b.Write(slices.Concat(bufs...))
	return err
}

// TestNothingAfterAFailedWrite: what was written half may not be followed by
// anything.
func TestNothingAfterAFailedWrite(t *testing.T) {
	rw := &broken{left: 1}
	c := newConn(rw, Limits{})
	if err := c.send(command("one")); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if err := c.send(command("more")); !errors.Is(err, errBroken) {
			t.Errorf("got %v", err)
		}
	}
	if rw.left != -1 {
		t.Errorf("%d writes after the failed one", -1-rw.left)
	}
	if c.Blocked()%2 != 0 {
		t.Error("a write seems to be under way")
	}
}

func TestEncodeIsWhatIsSent(t *testing.T) {
	out := &script{}
	a, b := newConn(out, Limits{}), newConn(&script{}, Limits{})
	list := []message{controlMessage(typeSetChunkSize, 4096), command("connect", 1, Object{{"app", string(long(300))}})}
	if err := a.send(list...); err != nil {
		t.Fatal(err)
	}
	if got := b.encode(list...); !bytes.Equal(got, out.out.Bytes()) || b.w.chunk != 4096 {
		t.Errorf("% x\nand not % x", got, out.out.Bytes())
	}
	out.heard(t, false)
}

// The end leaves with the last words, and nothing else waits for what follows it.
func TestLastWordsWaitForTheEnd(t *testing.T) {
	for name, say := range map[string]func(*Conn) error{
		"to the origin": (*Conn).Finish,
		"to the client": func(c *Conn) error { return c.End(nil) },
	} {
		out := &script{}
		c := newConn(out, Limits{})
		if err := c.send(command("before", 0)); err != nil || out.held {
			t.Errorf("%s: what is not the last waits: %v, %v", name, out.held, err)
		}
		if err := say(c); err != nil || !out.held {
			t.Errorf("%s: the last words leave alone: %v, %v", name, out.held, err)
		}
		out.heard(t, false)
	}
}
