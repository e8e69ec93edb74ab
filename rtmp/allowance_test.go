package rtmp

import (
	"testing"
	"testing/synctest"
	"time"

	"rtmps-edge/rtmp/rtmptest"
)

func TestAllowance(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var a allowance
		spend := func() (n int) {
			for a.spend(10, 20) {
				n++
			}
			return n
		}
		for _, c := range []struct {
			after time.Duration
			want  int
		}{
			{0, 20}, {0, 0}, {99 * time.Millisecond, 0}, {time.Millisecond, 1}, {time.Second, 10}, {time.Minute, 20}, {0, 0},
		} {
			time.Sleep(c.after)
			if n := spend(); n != c.want {
				t.Errorf("after %v: %d, want %d", c.after, n, c.want)
			}
		}
	})
}

// times gives what a peer says n times.
func times(n int, say func(b *rtmptest.Builder)) *rtmptest.Builder {
	b := built()
	for range n {
		say(b)
	}
	return b
}

// TestRates holds each limit by time against both of its sides: what may come at
// once, and what a second makes good.
func TestRates(t *testing.T) {
	for _, c := range []struct {
		name         string
		atOnce, rate int
		say          func(b *rtmptest.Builder)
		breach       string
	}{
		{"control", chatterAtOnce, chatter, func(b *rtmptest.Builder) { b.Control(typeWindowAckSize, 5000000) }, "control messages"},
		{"user control", chatterAtOnce, chatter, func(b *rtmptest.Builder) { b.UserControl(eventSetBufferLength, 1, 2) }, "control messages"},
		{"commands", chatterAtOnce, chatter, func(b *rtmptest.Builder) { b.Command(0, "anything", 0, nil) }, "control messages"},
		{"data", dataAtOnce, dataRate, func(b *rtmptest.Builder) { b.Data(1, 0, "onFI", nil) }, "data messages"},
	} {
		synctest.Test(t, func(t *testing.T) {
			r, _ := relaying(built(), false, Limits{})
			feed := func(n int) error { return r.feed(times(n, c.say)) }
			if err := feed(c.atOnce); err != nil {
				t.Errorf("%s: %d at once: %v", c.name, c.atOnce, err)
			}
			time.Sleep(time.Second)
			if err := feed(c.rate); err != nil {
				t.Errorf("%s: %d in a second: %v", c.name, c.rate, err)
			}
			wantBreach(t, feed(1), c.breach)
		})
	}
}

// TestEmptyMessages: what costs the sender one byte may not cost the edge and
// the origin a header each without an end.
func TestEmptyMessages(t *testing.T) {
	empty := func(b *rtmptest.Builder) { b.Header3(6) }
	synctest.Test(t, func(t *testing.T) {
		r, out := relaying(built().Message(6, 0, typeAudio, 1, nil), false, Limits{})
		if err := r.feed(times(messagesAtOnce, empty)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if err := r.feed(times(messageRate, empty)); err != nil {
			t.Fatal(err)
		}
		wantBreach(t, r.feed(times(messagesAtOnce, empty)), "hardly longer than their headers")
		if n := len(out.heard(t, false)); n < messagesAtOnce+messageRate || n > messagesAtOnce+messageRate+200 {
			t.Errorf("%d messages went on", n)
		}
	})
}

// TestShortMessagesInAggregates are counted like others.
func TestShortMessagesInAggregates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		parts := make([]rtmptest.SubMessage, 3*messagesAtOnce)
		for i := range parts {
			parts[i].Type = typeAudio
		}
		r, _ := relaying(built().SetChunkSize(65536), false, Limits{})
		b := built().WithChunkSize(65536).Message(9, 0, typeAggregate, 1, rtmptest.Aggregate(parts...))
		wantBreach(t, r.feed(b), "hardly longer than their headers")
	})
}

// TestFastStreamsAreNotCounted: a file that is sent as fast as it can be read
// has many messages per second, but no lack of bytes.
func TestFastStreamsAreNotCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, _ := relaying(built().SetChunkSize(4096), false, Limits{})
		second := times(60, func(b *rtmptest.Builder) {
			b.WithChunkSize(4096).Video(1, 0, long(4000)).Audio(1, 0, []byte("silence")).Audio(1, 0, []byte("silence"))
		})
		for range 100 {
			if err := r.feed(second); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func TestPongs(t *testing.T) {
	ping := func(b *rtmptest.Builder) { b.UserControl(eventPingRequest, 0) } // 0 is a time, too
	synctest.Test(t, func(t *testing.T) {
		r, _ := relaying(built(), false, Limits{})
		answers := func(pings int) (n int) {
			for range pings {
				r.reply.out.Reset()
				if err := r.feed(times(1, ping)); err != nil {
					t.Fatal(err)
				}
				n += len(r.reply.heard(t, false))
			}
			return n
		}
		if n := answers(30); n != pongsAtOnce {
			t.Errorf("%d of 30 pings were answered at once", n)
		}
		time.Sleep(time.Second)
		if n := answers(30); n != pongRate {
			t.Errorf("%d of 30 pings were answered a second later", n)
		}
	})
}
