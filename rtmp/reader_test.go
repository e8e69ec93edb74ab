package rtmp

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"rtmps-edge/rtmp/rtmptest"
)

// was is a message as the reader gave it.
type was struct {
	typ  uint8
	time uint32
	text string
}

// readAll reads what a publisher says on a running stream: all messages that
// are not control, and why it ended.
func readAll(b *rtmptest.Builder, lim Limits, change ...func(*Conn)) (c *Conn, got []was, err error) {
	c = newConn(says(b), lim)
	c.setup, c.sendsData = false, true
	for _, f := range change {
		f(c)
	}
	for {
		m, err := c.nextMessage()
		if err != nil {
			return c, got, err
		}
		got = append(got, was{m.typ, m.time, string(m.payload)})
	}
}

func long(n int) []byte { return bytes.Repeat([]byte("0123456789"), n/10+1)[:n] }

func TestReaderTakes(t *testing.T) {
	a, v := string(long(300)), string(long(400))
	for _, c := range []struct {
		name  string
		build func(b *rtmptest.Builder)
		want  []was
	}{
		{"one chunk", func(b *rtmptest.Builder) { b.Video(1, 5, []byte("x")) }, []was{{Video, 5, "x"}}},
		{"many chunks", func(b *rtmptest.Builder) { b.Video(1, 5, []byte(v)) }, []was{{Video, 5, v}}},
		{"nothing in it", func(b *rtmptest.Builder) { b.Video(1, 5, nil).Audio(1, 6, nil) }, []was{{Video, 5, ""}, {Audio, 6, ""}}},
		{"interleaved, in the order of their ends", func(b *rtmptest.Builder) {
			b.Interleave(rtmptest.Message{CSID: 7, Type: Video, Timestamp: 1, Payload: []byte(v)}, rtmptest.Message{CSID: 6, Type: Audio, Timestamp: 2, Payload: []byte(a)})
		}, []was{{Audio, 2, a}, {Video, 1, v}}},
		{"headers of all formats", func(b *rtmptest.Builder) {
			b.Message(7, 100, Video, 1, []byte("one")).Header1(7, 20, 3, Video).Text("two").Header2(7, 5).Text("six").Header3(7).Text("ten")
		}, []was{{Video, 100, "one"}, {Video, 120, "two"}, {Video, 125, "six"}, {Video, 130, "ten"}}},
		{"format 3 after format 0 adds nothing", func(b *rtmptest.Builder) {
			b.Message(7, 100, Video, 1, []byte("one")).Header3(7).Text("two")
		}, []was{{Video, 100, "one"}, {Video, 100, "two"}}},
		{"format 1 first, as librtmp's acknowledgements", func(b *rtmptest.Builder) { b.Header1(9, 4, 1, Video).Text("x") }, []was{{Video, 4, "x"}}},
		{"format 2 keeps length and type", func(b *rtmptest.Builder) {
			b.Message(7, 0, Audio, 1, []byte("abc")).Header2(7, 9).Text("def")
		}, []was{{Audio, 0, "abc"}, {Audio, 9, "def"}}},
		{"chunk streams in all lengths", func(b *rtmptest.Builder) {
			for _, id := range []uint32{3, 63, 64, 319, 320, 65599} {
				b.Message(id, id, Video, 1, []byte("x"))
			}
		}, []was{{Video, 3, "x"}, {Video, 63, "x"}, {Video, 64, "x"}, {Video, 319, "x"}, {Video, 320, "x"}, {Video, 65599, "x"}}},
		{"one chunk stream in two lengths", func(b *rtmptest.Builder) {
			b.Message(67, 1, Video, 1, []byte("x")).Raw(2<<6|1, 3, 0).Raw(0, 0, 4).Text("y")
		}, []was{{Video, 1, "x"}, {Video, 5, "y"}}},
		{"chunk size grows within a message", func(b *rtmptest.Builder) {
			b.Header0(7, 0, 400, Video, 1).Text(v[:128]).SetChunkSize(200).Header3(7).Text(v[128:328]).Header3(7).Text(v[328:])
		}, []was{{Video, 0, v}}},
		{"chunk size shrinks within a message", func(b *rtmptest.Builder) {
			b.SetChunkSize(200).Header0(7, 0, 400, Video, 1).Text(v[:200]).SetChunkSize(128).Header3(7).Text(v[200:328]).Header3(7).Text(v[328:])
		}, []was{{Video, 0, v}}},
		{"abort discards", func(b *rtmptest.Builder) {
			b.Header0(7, 0, 400, Video, 1).Text(v[:128]).Control(typeAbort, 7).Message(7, 9, Audio, 1, []byte("new"))
		}, []was{{Audio, 9, "new"}}},
		{"abort of nothing", func(b *rtmptest.Builder) {
			b.Control(typeAbort, 7).Control(typeAbort, 0xFFFFFFFF).Video(1, 1, []byte("x")).Control(typeAbort, 7).Video(1, 2, []byte("y"))
		}, []was{{Video, 1, "x"}, {Video, 2, "y"}}},
		{"abort on the chunk stream that it names", func(b *rtmptest.Builder) {
			b.Message(7, 0, typeAbort, 0, []byte{0, 0, 0, 7}).Video(1, 2, []byte("y"))
		}, []was{{Video, 2, "y"}}},
		{"control on any chunk stream, on any message stream", func(b *rtmptest.Builder) {
			b.Message(33, 0, typeSetChunkSize, 5, []byte{0, 0, 1, 0}).WithChunkSize(256).Video(1, 2, []byte(v))
		}, []was{{Video, 2, v}}},
		{"time wraps", func(b *rtmptest.Builder) {
			b.Message(7, 0xFFFFFFF0, Video, 1, []byte("x")).Header1(7, 0x20, 1, Video).Text("y")
		}, []was{{Video, 0xFFFFFFF0, "x"}, {Video, 0x10, "y"}}},
		{"time goes back", func(b *rtmptest.Builder) { b.Video(1, 500, []byte("x")).Video(1, 0, []byte("y")) }, []was{{Video, 500, "x"}, {Video, 0, "y"}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := built()
			c.build(b)
			_, got, err := readAll(b, Limits{})
			wantEnd(t, err)
			if !slices.Equal(got, c.want) {
				t.Errorf("got %v\nwant %v", got, c.want)
			}
		})
	}
}

func TestReaderRefuses(t *testing.T) {
	half := func(b *rtmptest.Builder) *rtmptest.Builder { return b.Header0(7, 0, 400, Video, 1).Raw(long(128)...) }
	for _, c := range []struct {
		name, breach string
		build        func(b *rtmptest.Builder)
	}{
		{"format 0 within a message", "format 0 within", func(b *rtmptest.Builder) { half(b).Header0(7, 0, 5, typeCommand, 1) }},
		{"format 1 within a message", "format 1 within", func(b *rtmptest.Builder) { half(b).Header1(7, 0, 5, typeCommand) }},
		{"format 2 within a message", "format 2 within", func(b *rtmptest.Builder) { half(b).Header2(7, 0) }},
		{"format 2 first", "begins with a header of format 2", func(b *rtmptest.Builder) { b.Header2(7, 0) }},
		{"format 3 first", "begins with a header of format 3", func(b *rtmptest.Builder) { b.Header3(7) }},
		{"chunk size 0", "chunk size 0", func(b *rtmptest.Builder) { b.Control(typeSetChunkSize, 0) }},
		{"chunk size 1", "chunk size 1,", func(b *rtmptest.Builder) { b.Control(typeSetChunkSize, 1) }},
		{"chunk size with the top bit", "chunk size 2147483776", func(b *rtmptest.Builder) { b.Control(typeSetChunkSize, 1<<31|128) }},
		{"abort of control", "abort of the control", func(b *rtmptest.Builder) { b.Control(typeAbort, 2) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := built()
			c.build(b)
			_, got, err := readAll(b.Video(1, 9, []byte("behind it")), Limits{})
			wantBreach(t, err, c.breach)
			if len(got) != 0 {
				t.Errorf("gave %v before", got)
			}
		})
	}
}

func TestControlMessagesHaveTheirSizes(t *testing.T) {
	sizes := map[uint8][]int{typeSetChunkSize: {4}, typeAbort: {4}, typeAck: {4}, typeUserControl: {2, 3, 6, 10, maxControlMessage},
		typeWindowAckSize: {4}, typeSetPeerBandwidth: {5}}
	for typ, right := range sizes {
		for n := range maxControlMessage + 2 {
			p := append([]byte{0, 0, 16, 0}, make([]byte, 70)...)[:n]
			_, got, err := readAll(built().Message(2, 0, typ, 0, p).Video(1, 1, []byte("x")), Limits{})
			ok := slices.Contains(right, n) || typ == typeUserControl && n >= 2 && n <= maxControlMessage
			if ok {
				wantEnd(t, err)
			} else {
				wantBreach(t, err, fmt.Sprintf("%d", n))
			}
			if ok != (len(got) == 1) {
				t.Errorf("type %d of %d bytes: then %v", typ, n, got)
			}
		}
	}
}

// TestMessageTypes: what may come when.
func TestMessageTypes(t *testing.T) {
	inSetup := func(c *Conn) { c.setup, c.sendsData = true, false }
	fromPlayer := func(c *Conn) { c.sendsData = false }
	for typ := range 256 {
		typ := uint8(typ)
		if isControl(typ) && typ > 0 {
			continue
		}
		always := slices.Contains([]uint8{typeDataAMF3, typeCommandAMF3, typeData, typeCommand}, typ)
		media := slices.Contains([]uint8{typeAudio, typeVideo, typeAggregate}, typ)
		for _, state := range []struct {
			name   string
			change func(*Conn)
			want   bool
		}{
			{"publishing", func(*Conn) {}, always || media},
			{"before that", inSetup, always},
			{"playing", fromPlayer, always},
		} {
			_, got, err := readAll(built().Message(9, 0, typ, 1, []byte("x")), Limits{}, state.change)
			if state.want {
				wantEnd(t, err)
			} else {
				wantBreach(t, err, fmt.Sprintf("type %d", typ))
			}
			if state.want != (len(got) == 1) {
				t.Errorf("type %d, %s: %v", typ, state.name, got)
			}
		}
	}
}

// TestLengths holds each longest message against both sides of its limit.
func TestLengths(t *testing.T) {
	const messages = 300000
	setup := func(c *Conn) { c.setup = true }
	none := func(*Conn) {}
	for _, c := range []struct {
		typ   uint8
		limit int
		state func(*Conn)
	}{
		{Video, messages, none}, {Audio, messages, none}, {typeAggregate, messages, none},
		{Data, maxDataMessage, none}, {typeDataAMF3, maxDataMessage, none},
		{Data, maxSetupMessage, setup}, {typeDataAMF3, maxSetupMessage, setup},
		{typeCommand, maxCommandMessage, none}, {typeCommandAMF3, maxCommandMessage, setup},
	} {
		for _, more := range []int{0, 1} {
			b := built().SetChunkSize(65536).Message(9, 0, c.typ, 1, long(c.limit+more))
			_, got, err := readAll(b, Limits{MessageSize: messages}, c.state)
			if more == 0 {
				wantEnd(t, err)
			} else {
				wantBreach(t, err, fmt.Sprintf("message of type %d is %d bytes long, more than %d", c.typ, c.limit+1, c.limit))
			}
			if len(got) != 1-more {
				t.Errorf("type %d of %d bytes: %d messages", c.typ, c.limit+more, len(got))
			}
		}
	}
	if got := (Limits{}).withDefaults().MessageSize; got != 16<<20 {
		t.Errorf("the longest message by default is %d", got)
	}
}

func TestChunkSizes(t *testing.T) {
	for _, c := range []struct {
		limit, size int
		ok          bool
	}{
		{0, minChunkSize - 1, false}, {0, minChunkSize, true}, {0, 65536, true}, {0, 65537, false},
		{4096, 4096, true}, {4096, 4097, false},
	} {
		_, _, err := readAll(built().Control(typeSetChunkSize, uint32(c.size)), Limits{ChunkSize: c.limit})
		if c.ok {
			wantEnd(t, err)
		} else {
			wantBreach(t, err, fmt.Sprintf("chunk size %d", c.size))
		}
	}
}

func TestChunkStreams(t *testing.T) {
	for _, n := range []uint32{maxChunkStreams, maxChunkStreams + 1} {
		b := built()
		for i := range n {
			b.Message(3+i, 0, Video, 1, []byte("x"))
		}
		c, got, err := readAll(b, Limits{})
		if n > maxChunkStreams {
			wantBreach(t, err, "more than 64 chunk streams")
		} else {
			wantEnd(t, err)
		}
		if len(got) != maxChunkStreams || len(c.rd.streams) != maxChunkStreams {
			t.Errorf("%d messages on %d chunk streams", len(got), len(c.rd.streams))
		}
	}
}

func TestPartialMessages(t *testing.T) {
	for _, n := range []uint32{maxPartial, maxPartial + 1} {
		b := built()
		for i := range n {
			b.Header0(3+i, 0, 200, Video, 1).Raw(long(128)...)
		}
		c, _, err := readAll(b, Limits{})
		if n > maxPartial {
			wantBreach(t, err, "more than 8 messages begun")
		} else {
			wantEnd(t, err)
		}
		if c.rd.partials != maxPartial {
			t.Errorf("%d messages are begun", c.rd.partials)
		}
	}
}

// TestPartialMessagesEnd: what was finished or aborted counts no more.
func TestPartialMessagesEnd(t *testing.T) {
	b := built()
	for i := range uint32(3 * maxPartial) {
		b.Header0(3, i, 200, Video, 1).Raw(long(128)...).Header3(3).Raw(long(72)...)
		b.Header0(4, i, 200, Video, 1).Raw(long(128)...).Control(typeAbort, 4)
	}
	c, got, err := readAll(b, Limits{})
	wantEnd(t, err)
	if len(got) != 3*maxPartial || c.rd.partials != 0 || c.held != 0 {
		t.Errorf("%d messages, %d begun, %d bytes held", len(got), c.rd.partials, c.held)
	}
}

// TestHeldBytes fills the budget of unfinished messages to the last byte.
func TestHeldBytes(t *testing.T) {
	const messages = 1 << 20
	for _, c := range []struct {
		budget, chunk, each int
		typ                 uint8
		state               func(*Conn)
	}{
		{messages + maxHeld, 65536, messages, typeVideo, func(*Conn) {}},
		{maxSetupHeld, 4096, maxSetupMessage, typeCommand, func(c *Conn) { c.setup = true }},
	} {
		for _, more := range []int{0, 1} {
			b := built().SetChunkSize(c.chunk)
			unfinished(b, c.typ, c.each, c.chunk, c.budget+more)
			conn, _, err := readAll(b, Limits{MessageSize: messages}, c.state)
			if more == 0 {
				wantEnd(t, err)
			} else {
				wantBreach(t, err, fmt.Sprintf("more than %d bytes of unfinished messages", c.budget))
			}
			if conn.held != c.budget+more {
				t.Errorf("held %d of %d bytes", conn.held, c.budget)
			}
		}
	}
}

// unfinished begins messages of length each that hold total bytes in all, and
// ends none.
func unfinished(b *rtmptest.Builder, typ uint8, each, chunk, total int) {
	for id := uint32(3); total > 0; id++ {
		b.Header0(id, 0, each, typ, 1)
		for most := each - chunk; most > 0 && total > 0; {
			n := min(chunk, total)
			b.Raw(make([]byte, n)...)
			total, most = total-n, most-n
			if most > 0 && total > 0 {
				b.Header3(id)
			}
		}
	}
}

// TestExtendedTime: every kind of sender, behind every kind of first header,
// over the numbers where it matters.
func TestExtendedTime(t *testing.T) {
	payload := long(300)
	for _, repeat := range []string{"field", "time", "zero", "never"} {
		for format := range uint32(3) {
			for _, time := range []uint32{0xFFFFFE, 0xFFFFFF, 0x1000000, 0x7FFFFFFF, 0xFFFFFFFE, 0xFFFFFFFF} {
				base := uint32(0)
				b := built()
				switch format {
				case 0:
					b.Header0(7, time, 300, Video, 1)
				case 1:
					base = 7
					b.Message(7, base, Video, 1, []byte("first")).Header1(7, time, 300, Video)
				case 2:
					base = 7
					b.Message(7, base, Video, 1, payload).Header2(7, time)
				}
				again := map[string]uint32{"field": time, "time": base + time, "zero": 0}[repeat]
				cont := func() *rtmptest.Builder {
					b.Header3(7)
					if time >= 0xFFFFFF && repeat != "never" {
						b.Raw(byte(again>>24), byte(again>>16), byte(again>>8), byte(again))
					}
					return b
				}
				b.Raw(payload[:128]...)
				cont().Raw(payload[128:256]...)
				cont().Raw(payload[256:]...)
				b.Audio(1, 5, []byte("behind it"))
				_, got, err := readAll(b, Limits{})
				wantEnd(t, err)
				want := []was{{Video, base + time, string(payload)}, {Audio, 5, "behind it"}}
				if !slices.Equal(got[max(0, len(got)-2):], want) {
					t.Errorf("%s, format %d, time %x: got %v", repeat, format, time, got)
				}
			}
		}
	}
}

func TestExtendedTimeIsLearnedOnce(t *testing.T) {
	const time = 0x1234567
	field := []byte{1, 0x23, 0x45, 0x67}
	begin := func(b *rtmptest.Builder) *rtmptest.Builder {
		return b.Header0(7, time, 300, Video, 1).Raw(long(128)...)
	}
	present := func(b *rtmptest.Builder) *rtmptest.Builder {
		return begin(b).Header3(7).Raw(field...).Raw(long(128)...).Header3(7).Raw(field...).Raw(long(44)...)
	}
	absent := func(b *rtmptest.Builder) *rtmptest.Builder {
		return begin(b).Header3(7).Raw(long(128)...).Header3(7).Raw(long(44)...)
	}
	t.Run("present, then not", func(t *testing.T) {
		_, got, err := readAll(absent(present(built())), Limits{})
		wantBreach(t, err, "not repeated as before")
		if len(got) != 1 {
			t.Errorf("got %v", got)
		}
	})
	t.Run("absent, then the same bytes as payload", func(t *testing.T) {
		b := begin(absent(built())).Header3(7).Raw(field...).Raw(long(124)...).Header3(7).Raw(long(44)...)
		_, got, err := readAll(b, Limits{})
		wantEnd(t, err)
		if len(got) != 2 || !strings.HasPrefix(got[1].text[128:], string(field)) {
			t.Errorf("got %v", got)
		}
	})
	t.Run("of one chunk stream for all", func(t *testing.T) {
		b := present(built()).Header0(6, time, 300, Audio, 1).Raw(long(128)...).Header3(6).Raw(long(128)...)
		_, _, err := readAll(b, Limits{})
		wantBreach(t, err, "not repeated as before")
	})
	t.Run("in a message of format 3", func(t *testing.T) {
		b := built().Message(7, time, Video, 1, []byte("one")).Header3(7).Raw(field...).Text("two").Video(1, 5, []byte("end"))
		_, got, err := readAll(b, Limits{})
		wantEnd(t, err)
		if want := []was{{Video, time, "one"}, {Video, time, "two"}, {Video, 5, "end"}}; !slices.Equal(got, want) {
			t.Errorf("got %v", got)
		}
	})
	t.Run("absent, with less than four bytes to come", func(t *testing.T) {
		b := built().Header0(7, time, 129, typeVideo, 1).Raw(long(128)...).Header3(7).Raw(0xA5)
		_, got, err := readAll(b, Limits{})
		wantEnd(t, err)
		if len(got) != 1 {
			t.Errorf("got %v: it waits for bytes that do not come", got)
		}
	})
	t.Run("of a number that needs none", func(t *testing.T) {
		b := built().Raw(7, 0xFF, 0xFF, 0xFF, 0, 0, 4, Video, 1, 0, 0, 0, 0, 0, 0, 5).Text("five").Video(1, 6, []byte("six"))
		_, got, err := readAll(b, Limits{})
		wantEnd(t, err)
		if want := []was{{Video, 5, "five"}, {Video, 6, "six"}}; !slices.Equal(got, want) {
			t.Errorf("got %v", got)
		}
	})
}

// TestReaderByTheByte: nothing depends on how the bytes arrive.
func TestReaderByTheByte(t *testing.T) {
	b := built().Message(65599, 0x1234567, Video, 1, long(1000))
	b.Interleave(rtmptest.Message{CSID: 7, Type: Video, Payload: long(700)}, rtmptest.Message{CSID: 300, Type: Audio, Timestamp: 0xFFFFFF, Payload: long(900)})
	_, want, _ := readAll(b, Limits{})
	if len(want) != 3 {
		t.Fatalf("%d messages", len(want))
	}
	for step := 1; step < 30; step++ {
		total, err := pieces(b.Bytes(), step)
		if err != nil || total < 2600 {
			t.Errorf("in steps of %d: %d bytes, %v", step, total, err)
		}
	}
}
