package rtmp

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"testing"

	"rtmps-edge/internal/corpus"
	"rtmps-edge/internal/wire"
	"rtmps-edge/rtmp/rtmptest"
)

// What is paced in pieces arrives as it would otherwise.
func TestPacedInPieces(t *testing.T) {
	s := corpus.Publishing(t)[0]
	in := afterPublish(t, s.C2S)
	in = bytes.Repeat(in, 1+2*wire.BufSize/len(in)) // more than one read
	plain := relayed(t, in, nil)
	for _, next := range []int{0, 50, 1000, 1 << 20} {
		var asked []int
		total := 0
		got := relayed(t, in, func(n int) (int, error) {
			asked = append(asked, n)
			total += n
			return next, nil
		})
		if !bytes.Equal(got, plain) {
			t.Errorf("pieces of %d: %d bytes went out, %d without pacing", next, len(got), len(plain))
		}
		if total != len(in) {
			t.Errorf("pieces of %d: asked for %d bytes of %d", next, total, len(in))
		}
		for i, n := range asked {
			if i > 0 && next > 0 && n > next {
				t.Errorf("pieces of %d: asked for %d", next, n)
			}
		}
	}
}

func TestPaceEndsRelay(t *testing.T) {
	in := afterPublish(t, corpus.Publishing(t)[0].C2S)
	in = bytes.Repeat(in, 1+2*wire.BufSize/len(in)) // more than one read
	src, dst := pair(bytes.NewReader(in), &script{}, false, fuzzLimits)
	enough := errors.New("enough")
	calls := 0
	src.Pace(func(int) (int, error) {
		if calls++; calls == 3 {
			return 0, enough
		}
		return 100, nil
	})
	if err := Relay(dst, src); err != enough {
		t.Errorf("got %v", err)
	}
}

// relayed returns what Relay writes.
func relayed(t *testing.T, in []byte, pace func(int) (int, error)) []byte {
	t.Helper()
	out := &script{}
	src, dst := pair(bytes.NewReader(in), out, false, fuzzLimits)
	if pace != nil {
		src.Pace(pace)
	}
	if err := Relay(dst, src); !errors.Is(err, io.EOF) && !errors.Is(err, ErrFinished) {
		t.Fatal(err)
	}
	return out.out.Bytes()
}

// afterPublish returns media as a client would send it after publish, in the
// chunk size that a leg begins with.
func afterPublish(t *testing.T, c2s []byte) []byte {
	t.Helper()
	messages, _, err := rtmptest.Parse(c2s[rtmptest.HandshakeLen:], rtmptest.Lenient)
	if err != nil {
		t.Fatal(err)
	}
	out := &script{}
	c := newConn(out, fuzzLimits)
	for _, m := range messages {
		if isMedia(m.Type) {
			c.w.mu.Lock()
			c.w.message(m.Type, m.Timestamp, 1, slices.Clone(m.Payload))
			if err := c.w.flush(); err != nil {
				t.Fatal(err)
			}
			c.w.mu.Unlock()
		}
	}
	return out.out.Bytes()
}
