package rtmp

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"rtmps-edge/rtmp/rtmptest"
)

// brief gives messages in the form that these tests compare.
func brief(msgs []rtmptest.Message) (out []string) {
	for _, m := range msgs {
		out = append(out, fmt.Sprintf("%d@%d %s", m.Type, m.Timestamp, m.Payload))
	}
	return out
}

// half is the first chunk of a message of 200 bytes, rest the other.
func half(b *rtmptest.Builder, id, time uint32, typ uint8) *rtmptest.Builder {
	return b.Header0(id, time, 200, typ, 1).Raw(long(200)[:128]...)
}

func rest(b *rtmptest.Builder, id uint32) *rtmptest.Builder {
	return b.Header3(id).Raw(long(200)[128:]...)
}

func TestRelayOrder(t *testing.T) {
	whole := string(long(200))
	for _, c := range []struct {
		name  string
		build func(b *rtmptest.Builder)
		want  []string
	}{
		{"one after the other", func(b *rtmptest.Builder) { b.Audio(1, 1, []byte("a")).Video(1, 2, []byte("v")) }, []string{"8@1 a", "9@2 v"}},
		{"short within long", func(b *rtmptest.Builder) {
			half(b, 7, 1, typeVideo).Audio(1, 2, []byte("a")).Audio(1, 3, []byte("b"))
			rest(b, 7).Audio(1, 4, []byte("c"))
		}, []string{"9@1 " + whole, "8@2 a", "8@3 b", "8@4 c"}},
		{"two at once", func(b *rtmptest.Builder) {
			half(half(b, 7, 1, typeVideo), 6, 2, typeAudio)
			rest(rest(b, 6), 7)
		}, []string{"9@1 " + whole, "8@2 " + whole}},
		{"two at once, the first ends first", func(b *rtmptest.Builder) {
			half(half(b, 7, 1, typeVideo), 6, 2, typeAudio)
			rest(rest(b, 7), 6)
		}, []string{"9@1 " + whole, "8@2 " + whole}},
		{"three at once, the last one whole", func(b *rtmptest.Builder) {
			half(half(b, 7, 1, typeVideo), 6, 2, typeAudio).Message(20, 3, typeVideo, 1, []byte("v"))
			rest(rest(b, 7), 6)
		}, []string{"9@1 " + whole, "9@3 v", "8@2 " + whole}},
		{"a queue of its own behind the second", func(b *rtmptest.Builder) {
			half(half(b, 7, 1, typeVideo), 6, 2, typeAudio)
			rest(b, 7).Message(20, 3, typeVideo, 1, []byte("v"))
			half(b, 7, 4, typeVideo)
			rest(rest(b, 6), 7)
		}, []string{"9@1 " + whole, "8@2 " + whole, "9@3 v", "9@4 " + whole}},
		{"empty within long", func(b *rtmptest.Builder) {
			rest(half(b, 7, 1, typeVideo).Audio(1, 2, nil), 7)
		}, []string{"9@1 " + whole, "8@2 "}},
		{"data within long", func(b *rtmptest.Builder) {
			rest(half(b, 7, 1, typeVideo).Message(4, 2, typeData, 1, rtmptest.AMF("onFI")), 7)
		}, []string{"9@1 " + whole, "18@2 " + string(rtmptest.AMF("onFI"))}},
		{"control within long", func(b *rtmptest.Builder) {
			half(b, 7, 1, typeVideo).Control(typeAck, 5).UserControl(eventPingRequest, 5).Control(typeWindowAckSize, 5)
			rest(b, 7)
		}, []string{"9@1 " + whole}},
		{"data in two chunks", func(b *rtmptest.Builder) {
			b.Data(1, 9, "onTextData", strings.Repeat("x", 150))
		}, []string{"18@9 " + string(rtmptest.AMF("onTextData", strings.Repeat("x", 150)))}},
		{"all message streams are one", func(b *rtmptest.Builder) { b.Audio(0, 1, []byte("a")).Audio(77, 2, []byte("b")) }, []string{"8@1 a", "8@2 b"}},
		{"aborted before its turn", func(b *rtmptest.Builder) {
			half(half(b, 7, 1, typeVideo), 6, 2, typeAudio).Control(typeAbort, 6)
			rest(b, 7).Audio(1, 3, []byte("a"))
		}, []string{"9@1 " + whole, "8@3 a"}},
		{"aborted on its way", func(b *rtmptest.Builder) {
			half(b, 7, 1, typeVideo).Audio(1, 2, []byte("a")).Control(typeAbort, 7).Video(1, 3, []byte("v"))
		}, []string{"9@1 " + whole[:128] + strings.Repeat("\x00", 72), "8@2 a", "9@3 v"}},
		{"aborted data", func(b *rtmptest.Builder) {
			half(b, 4, 1, typeData).Control(typeAbort, 4).Audio(1, 3, []byte("a"))
		}, []string{"8@3 a"}},
	} {
		f, out := relaying(built(), false, Limits{})
		b := built()
		c.build(b)
		if err := f.feed(b); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		if got := brief(out.heard(t, false)); !slices.Equal(got, c.want) {
			t.Errorf("%s: passed on %q\nwant %q", c.name, got, c.want)
		}
		settled(t, f)
	}
}

// settled fails the test unless a direction holds nothing.
func settled(t testing.TB, f *fed) {
	t.Helper()
	if f.src.held != 0 || len(f.queue) != 0 || f.flowing != nil || f.src.rd.partials != 0 || f.dst.w.left != 0 {
		t.Errorf("held %d bytes in %d messages, %d begun", f.src.held, len(f.queue), f.src.rd.partials)
	}
}

// TestCutThrough: media leaves before it is whole, and is not kept.
func TestCutThrough(t *testing.T) {
	f, out := relaying(built().SetChunkSize(65536), false, Limits{})
	const size = 5 << 20
	b := built().Header0(7, 0, size, typeVideo, 1)
	for i := range size / 65536 {
		if i > 0 {
			b.Header3(7)
		}
		b.Raw(make([]byte, 65536)...)
		if err := f.feed(b); err != nil {
			t.Fatal(err)
		}
		if n := out.out.Len(); n < (i+1)*65536 || f.src.held != 0 {
			t.Fatalf("after %d chunks %d bytes went on, %d are held", i+1, n, f.src.held)
		}
		b = built()
	}
	settled(t, f)
}

func TestRelayQueueBounds(t *testing.T) {
	for _, more := range []int{0, 1} {
		f, _ := relaying(half(built(), 7, 0, typeVideo), false, Limits{})
		err := f.feed(times(maxQueue+more, func(b *rtmptest.Builder) { b.Audio(1, 0, []byte("a")) }))
		if more == 0 && err != nil {
			t.Error(err)
		} else if more == 1 {
			wantBreach(t, err, "more than 1024 messages within another")
		}
	}
	const messages = 1 << 20
	for _, more := range []int{0, 1} {
		// Two media messages and data behind one that does not end.
		b := half(built(), 7, 0, typeVideo).SetChunkSize(65536)
		b.Message(20, 0, typeVideo, 1, make([]byte, messages))
		data := rtmptest.AMF("onTextData", strings.Repeat("x", 10000))
		b.Message(4, 0, typeData, 1, data)
		b.Message(21, 0, typeAudio, 1, make([]byte, maxHeld-len(data)+more))
		f, _ := relaying(built(), false, Limits{MessageSize: messages})
		err := f.feed(b)
		if more == 0 && err != nil {
			t.Error(err)
		} else if more == 1 {
			wantBreach(t, err, "bytes of unfinished messages")
		}
		if want := messages + maxHeld + more; f.src.held != want {
			t.Errorf("%d bytes are held, want %d", f.src.held, want)
		}
		if more == 0 {
			if err := f.feed(rest(built(), 7)); err != nil {
				t.Error(err)
			}
			settled(t, f)
		}
	}
}

// TestAbortIsNoPump: a few bytes of aborted messages may not make many.
func TestAbortIsNoPump(t *testing.T) {
	f, out := relaying(built(), false, Limits{})
	pump := func(b *rtmptest.Builder) {
		b.Header0(7, 0, 128+30000, typeVideo, 1).Raw(make([]byte, 128)...).Control(typeAbort, 7)
	}
	if err := f.feed(times(padAtMost/30000, pump)); err != nil {
		t.Error(err)
	}
	wantBreach(t, f.feed(times(1, pump)), "abort of a long message")
	if n := out.out.Len(); n > padAtMost+1000 {
		t.Errorf("%d bytes were made", n)
	}
	exactly, _ := relaying(built(), false, Limits{})
	if err := exactly.feed(built().Header0(7, 0, 128+padAtMost, typeVideo, 1).Raw(make([]byte, 128)...).Control(typeAbort, 7)); err != nil {
		t.Error(err)
	}
	over, _ := relaying(built(), false, Limits{})
	err := over.feed(built().Header0(7, 0, 129+padAtMost, typeVideo, 1).Raw(make([]byte, 128)...).Control(typeAbort, 7))
	wantBreach(t, err, "abort of a long message")
}

// TestOriginLimits: what one origin does not take must not reach it.
func TestOriginLimits(t *testing.T) {
	for _, c := range []struct {
		name string
		b    *rtmptest.Builder
		ok   bool
	}{
		{"largest", built().Video(1, 0, long(1000)), true},
		{"larger", built().Video(1, 0, long(1001)), false},
		{"larger within another", half(built(), 7, 0, typeVideo).Audio(1, 0, long(1001)), false},
		{"larger data", built().Data(1, 0, "onTextData", string(long(1000))), false},
		{"larger in an aggregate", built().Message(9, 0, typeAggregate, 1,
			rtmptest.Aggregate(rtmptest.SubMessage{Type: typeVideo, Payload: long(1001)})), false},
		{"a large aggregate of small ones", built().Message(9, 0, typeAggregate, 1,
			rtmptest.Aggregate(rtmptest.SubMessage{Type: typeVideo, Payload: long(900)}, rtmptest.SubMessage{Type: typeAudio, Payload: long(900)})), true},
	} {
		f, _ := relaying(built(), false, Limits{})
		f.dst.messages = 1000
		err := f.feed(c.b)
		if c.ok && err != nil {
			t.Errorf("%s: %v", c.name, err)
		} else if !c.ok {
			wantBreach(t, err, "the origin takes 1000")
		}
	}
}

func TestDropEmpty(t *testing.T) {
	for _, drop := range []bool{false, true} {
		f, out := relaying(built(), false, Limits{})
		f.dst.dropEmpty = drop
		b := half(built(), 7, 0, typeVideo).Audio(1, 0, nil)
		rest(b, 7).Audio(1, 0, nil).Video(1, 0, nil)
		b.Message(9, 0, typeAggregate, 1, rtmptest.Aggregate(rtmptest.SubMessage{Type: typeAudio}))
		if err := f.feed(b); err != nil {
			t.Fatal(err)
		}
		want := map[bool]int{false: 5, true: 1}[drop]
		if n := len(out.heard(t, false)); n != want {
			t.Errorf("drop %v: %d messages", drop, n)
		}
		settled(t, f)
	}
}

func TestData(t *testing.T) {
	amf := rtmptest.AMF
	meta := rtmptest.ECMAArray{{Key: "width", Value: 1}}
	for _, c := range []struct {
		name string
		typ  uint8
		in   []byte
		want []byte // nil: dropped
	}{
		{"metadata", typeData, amf("@setDataFrame", "onMetaData", meta), amf("@setDataFrame", "onMetaData", meta)},
		{"without the frame", typeData, amf("onMetaData", meta), amf("onMetaData", meta)},
		{"with a count that lies", typeData, amf("onMetaData", rtmptest.Raw("\x08\xff\xff\xff\xff\x00\x01a\x05\x00\x00\x09")),
			amf("onMetaData", rtmptest.Raw("\x08\xff\xff\xff\xff\x00\x01a\x05\x00\x00\x09"))},
		{"text", typeData, amf("onTextData", rtmptest.Object{{Key: "text", Value: "x"}}), amf("onTextData", rtmptest.Object{{Key: "text", Value: "x"}})},
		{"cue point", typeData, amf("onCuePoint", nil), amf("onCuePoint", nil)},
		{"time code", typeData, amf("onFI", nil), amf("onFI", nil)},
		{"sample access", typeData, amf("|RtmpSampleAccess", true, true), amf("|RtmpSampleAccess", true, true)},
		{"name alone", typeData, amf("onMetaData"), amf("onMetaData")},
		{"type 15", typeDataAMF3, append([]byte{0}, amf("onMetaData", meta)...), amf("onMetaData", meta)},
		{"date and XML and class", typeData, amf("onMetaData", rtmptest.Object{{Key: "d", Value: rtmptest.Date(5)},
			{Key: "x", Value: rtmptest.Raw("\x0f\x00\x00\x00\x01x")}, {Key: "t", Value: rtmptest.Raw("\x10\x00\x01c\x00\x00\x09")}}),
			amf("onMetaData", rtmptest.Object{{Key: "d", Value: 5}, {Key: "x", Value: "x"}, {Key: "t", Value: rtmptest.Object{}}})},
		{"without its end", typeData, amf("onMetaData", rtmptest.Raw("\x08\x00\x00\x00\x01\x00\x01a\x05")), amf("onMetaData", rtmptest.Object{{Key: "a", Value: nil}})},
		{"type 15 in AMF3", typeDataAMF3, append([]byte{3}, amf("onMetaData", meta)...), nil},
		{"type 15 of nothing", typeDataAMF3, nil, nil},
		{"nothing", typeData, nil, nil},
		{"number", typeData, amf(5), nil},
		{"name as a long string", typeData, amf(rtmptest.Raw("\x0c\x00\x00\x00\x0aonMetaData")), nil},
		{"unknown", typeData, amf("onStatus", meta), nil},
		{"command", typeData, amf("publish", 1, nil, "evil"), nil},
		{"other case", typeData, amf("onmetadata", meta), nil},
		{"NUL", typeData, amf("onMetaData\x00"), nil},
		{"frame of a command", typeData, amf("@setDataFrame", "closeStream", nil), nil},
		{"frame of a frame", typeData, amf("@setDataFrame", "@setDataFrame", "closeStream"), nil},
		{"frame of an object", typeData, amf("@setDataFrame", meta), nil},
		{"frame of nothing", typeData, amf("@setDataFrame"), nil},
		{"cleared frame", typeData, amf("@clearDataFrame", "onMetaData"), nil},
		{"malformed", typeData, amf("onMetaData", rtmptest.Raw{0x0d}), nil},
		{"AMF3 value", typeData, amf("onMetaData", rtmptest.Raw{0x11, 1}), nil},
		{"cut", typeData, amf("onMetaData", "x")[:15], nil},
	} {
		for _, play := range []bool{false, true} {
			f, out := relaying(built(), play, Limits{})
			if err := f.feed(built().Message(40, 7, c.typ, 9, c.in)); err != nil {
				t.Errorf("%s: %v", c.name, err)
			}
			msgs := out.heard(t, false)
			if c.want == nil {
				if len(msgs) != 0 || f.src.Dropped() != 1 {
					t.Errorf("%s: passed on %v, counted %d", c.name, msgs, f.src.Dropped())
				}
				continue
			}
			if len(msgs) != 1 || msgs[0].Type != typeData || msgs[0].Timestamp != 7 || msgs[0].StreamID != 1 || !bytes.Equal(msgs[0].Payload, c.want) || f.src.Dropped() != 0 {
				t.Errorf("%s: passed on %v", c.name, msgs)
			}
		}
	}
}

func TestAggregate(t *testing.T) {
	sub := func(typ uint8, time uint32, text string) rtmptest.SubMessage {
		return rtmptest.SubMessage{Type: typ, Timestamp: time, Payload: []byte(text)}
	}
	of := rtmptest.Aggregate
	meta := string(rtmptest.AMF("onMetaData"))
	for _, c := range []struct {
		name   string
		in     []byte
		want   []string
		breach string
	}{
		{name: "of nothing"},
		{name: "of media", in: of(sub(typeVideo, 1000, "v"), sub(typeAudio, 1020, "a"), sub(typeData, 1030, meta)), want: []string{"9@50 v", "8@70 a", "18@80 " + meta}},
		{name: "of large times", in: of(sub(typeVideo, 0xFFFFFFFF, "v"), sub(typeAudio, 1, "a")), want: []string{"9@50 v", "8@52 a"}},
		{name: "of unknown data", in: of(sub(typeData, 0, string(rtmptest.AMF("publish"))), sub(typeAudio, 1, "a")), want: []string{"8@51 a"}},
		{name: "of empty media", in: of(sub(typeAudio, 0, "")), want: []string{"8@50 "}},
		{name: "of a header alone", in: of(sub(typeAudio, 0, ""))[:11], want: []string{"8@50 "}},
		{name: "without the last pointer", in: of(sub(typeAudio, 0, "a"))[:12], want: []string{"8@50 a"}},
		{name: "with half a pointer", in: of(sub(typeAudio, 0, "a"))[:14], want: []string{"8@50 a"}},
		{name: "with a pointer that lies", in: append(of(sub(typeAudio, 0, "a"))[:12], 0xFF, 0xFF, 0xFF, 0xFF), want: []string{"8@50 a"}},
		{name: "of half a header", in: of(sub(typeAudio, 0, "a"))[:10], breach: "malformed"},
		{name: "with a size that lies", in: of(sub(typeAudio, 0, "abc"))[:13], breach: "malformed"},
		{name: "of a command", in: of(sub(typeAudio, 0, "a"), sub(typeCommand, 0, "x")), want: []string{"8@50 a"}, breach: "type 20"},
		{name: "of an aggregate", in: of(sub(typeAggregate, 0, string(of(sub(typeCommand, 0, "x"))))), breach: "type 22"},
		{name: "of control", in: of(sub(typeSetChunkSize, 0, "\x00\x00\x00\x01")), breach: "type 1 "},
		{name: "of data in AMF3", in: of(sub(typeDataAMF3, 0, "\x00"+meta)), breach: "type 15"},
		{name: "of the longest data", in: of(sub(typeData, 0, string(make([]byte, maxDataMessage))))},
		{name: "of data too long", in: of(sub(typeData, 0, string(make([]byte, maxDataMessage+1)))), breach: "type 18"},
	} {
		f, out := relaying(built().SetChunkSize(65536), false, Limits{})
		err := f.feed(built().WithChunkSize(65536).Message(40, 50, typeAggregate, 1, c.in))
		if c.breach == "" && err != nil {
			t.Errorf("%s: %v", c.name, err)
		} else if c.breach != "" {
			wantBreach(t, err, c.breach)
		}
		if got := brief(out.heard(t, false)); !slices.Equal(got, c.want) {
			t.Errorf("%s: passed on %q", c.name, got)
		}
	}
}

// TestAggregateWithinAnother: its parts wait like other messages, and are their
// own by then.
func TestAggregateWithinAnother(t *testing.T) {
	f, out := relaying(half(built(), 7, 0, typeVideo), false, Limits{})
	in := rtmptest.Aggregate(rtmptest.SubMessage{Type: typeAudio, Payload: []byte("one")}, rtmptest.SubMessage{Type: typeAudio, Payload: []byte("two")})
	if err := f.feed(built().Message(9, 5, typeAggregate, 1, in)); err != nil {
		t.Fatal(err)
	}
	if f.src.held != 6 {
		t.Errorf("%d bytes held", f.src.held)
	}
	if err := f.feed(rest(built(), 7)); err != nil {
		t.Fatal(err)
	}
	want := []string{"9@0 " + string(long(200)), "8@5 one", "8@5 two"}
	if got := brief(out.heard(t, false)); !slices.Equal(got, want) {
		t.Errorf("passed on %q", got)
	}
	settled(t, f)
}

func TestCommandsOfARunningClient(t *testing.T) {
	for name, want := range map[string]error{
		"connect": ErrSecondStream, "publish": ErrSecondStream, "play": ErrSecondStream, "play2": ErrSecondStream, "createStream": ErrSecondStream,
		"deleteStream": ErrFinished, "closeStream": ErrFinished, "FCUnpublish": ErrFinished,
		"releaseStream": nil, "FCPublish": nil, "FCSubscribe": nil, "getStreamLength": nil,
		"pause": nil, "seek": nil, "_checkbw": nil, "_result": nil, "_error": nil, "onStatus": nil, "PUBLISH": nil, "publish\x00": nil,
	} {
		f, out := relaying(built(), false, Limits{})
		if err := f.feed(built().Command(1, name, 9, nil, "key")); !errors.Is(err, want) {
			t.Errorf("%s: %v", name, err)
		}
		if out.out.Len() != 0 || f.reply.out.Len() != 0 {
			t.Errorf("%s: made the edge speak", name)
		}
	}
	for _, name := range []string{"releaseStream", "FCPublish", "FCUnpublish", "FCSubscribe", "getStreamLength"} {
		f, _ := relaying(built(), false, Limits{})
		wantBreach(t, f.feed(built().Command(1, name, 9, nil, "evil")), "another stream name")
	}
}

func TestCommandsOfARunningOrigin(t *testing.T) {
	for _, c := range []struct {
		name string
		play bool
		b    *rtmptest.Builder
		want error
		said []string
	}{
		{"close", false, built().Command(0, "close", 0, nil), ErrFinished, nil},
		{"failure", false, built().Command(1, "onStatus", 0, nil, info("error", "NetStream.Failed")), &StatusError{}, nil},
		{"unpublished", true, built().Command(1, "onStatus", 0, nil, info("status", "NetStream.Play.UnpublishNotify")), nil,
			[]string{"1: onStatus 0 [<nil> [{level status} {code NetStream.Play.UnpublishNotify} {description The publisher has stopped.}]]"}},
		{"unpublished, to a publisher", false, built().Command(1, "onStatus", 0, nil, info("status", "NetStream.Play.UnpublishNotify")), nil, nil},
		{"reconnect", true, built().Command(0, "onStatus", 0, nil, append(info("status", "NetConnection.Connect.ReconnectRequest"), rtmptest.Property{Key: "tcUrl", Value: "rtmp://evil"})), nil, nil},
		{"commands of a client", true, built().Command(0, "publish", 0, nil, "x").Command(0, "connect", 0, rtmptest.Object{}), nil, nil},
	} {
		f, out := relaying(built(), true, Limits{})
		if !c.play {
			f.src.action, f.dst.action = Publish, Publish
		}
		err := f.feed(c.b)
		var said *StatusError
		if !errors.Is(err, c.want) && (!errors.As(c.want, &said) || !errors.As(err, &said)) {
			t.Errorf("%s: %v", c.name, err)
		}
		if got := text(out.heard(t, false)); !slices.Equal(got, c.said) {
			t.Errorf("%s: the client heard %q", c.name, got)
		}
	}
}

// TestNewsWaitForAMessage: what the origin tells while a message is on its way
// is said after it, not lost.
func TestNewsWaitForAMessage(t *testing.T) {
	f, out := relaying(half(built(), 7, 0, typeVideo), true, Limits{})
	if err := f.feed(built().Command(1, "onStatus", 0, nil, info("status", "NetStream.Play.UnpublishNotify"))); err != nil {
		t.Fatal(err)
	}
	if err := f.feed(rest(built(), 7)); err != nil {
		t.Fatal(err)
	}
	msgs := out.heard(t, false)
	if len(msgs) != 2 || msgs[0].Type != typeVideo || !strings.Contains(text(msgs)[1], "UnpublishNotify") {
		t.Errorf("heard %v", msgs)
	}
	settled(t, f)
}

// TestReadMessage is for programs that take a stream themselves, from either
// side.
func TestReadMessage(t *testing.T) {
	for _, play := range []bool{false, true} {
		b := built().Video(1, 5, []byte("v")).UserControl(eventPingRequest, 1)
		if play {
			b.Command(1, "onStatus", 0, nil, info("status", "NetStream.Play.UnpublishNotify"))
		}
		b.Data(1, 6, "x").Command(1, "closeStream", 0, nil).Command(0, "close", 0, nil)
		src, _ := pair(bytes.NewReader(b.Bytes()), &script{}, play, Limits{})
		var got []string
		for {
			m, err := src.ReadMessage()
			if err != nil {
				if !errors.Is(err, ErrFinished) {
					t.Errorf("play %v: %v", play, err)
				}
				break
			}
			got = append(got, fmt.Sprintf("%d@%d %s", m.Type, m.Time, m.Payload))
		}
		if want := []string{"9@5 v", "18@6 " + string(rtmptest.AMF("x"))}; !slices.Equal(got, want) {
			t.Errorf("play %v: got %q", play, got)
		}
	}
}

// TestWhatCameBeforeAnErrorIsPassedOn in both senses.
func TestWhatCameBeforeAnErrorIsPassedOn(t *testing.T) {
	f, out := relaying(built(), false, Limits{})
	if err := f.feed(built().Video(1, 0, []byte("last")).Command(0, "deleteStream", 0, nil, 1)); !errors.Is(err, ErrFinished) {
		t.Error(err)
	}
	if got := brief(out.heard(t, false)); !slices.Equal(got, []string{"9@0 last"}) {
		t.Errorf("passed on %q", got)
	}
	f.dst.w.wb, f.dst.w.rw = nil, &broken{}
	err := f.feed(built().Video(1, 0, []byte("x")))
	var w *WriteError
	if !errors.As(err, &w) || !errors.Is(err, errBroken) {
		t.Errorf("a failed write is %v", err)
	}
}

// TestAcknowledgements: at half of the window, and never for less than 16 KiB.
func TestAcknowledgements(t *testing.T) {
	for _, c := range []struct{ window, every int }{{0, 0}, {1, 16 << 10}, {32 << 10, 16 << 10}, {100000, 50000}} {
		f, _ := relaying(built().SetChunkSize(1024), false, Limits{})
		b := built()
		if c.window > 0 {
			b.Control(typeWindowAckSize, uint32(c.window))
		}
		if err := f.feed(b); err != nil {
			t.Fatal(err)
		}
		for range 200 {
			if err := f.feed(built().WithChunkSize(1024).Video(1, 0, make([]byte, 1012))); err != nil {
				t.Fatal(err)
			}
		}
		msgs := f.reply.heard(t, false)
		last := uint32(0)
		for _, m := range msgs {
			v := binary.BigEndian.Uint32(m.Payload)
			if m.Type != typeAck || int(v-last) < c.every || int(v-last) > c.every+2048 {
				t.Errorf("window %d: %v after %d", c.window, m, last)
			}
			last = v
		}
		if want := c.every > 0; want != (len(msgs) > 0) {
			t.Errorf("window %d: %d acknowledgements", c.window, len(msgs))
		}
	}
}

// TestStreamEventsReachPlayers: what the origin says of the stream is said again
// on the client's leg, with the client's stream id, after the message under way.
// Other events end at the edge, and so do all of a publisher's origin.
func TestStreamEventsReachPlayers(t *testing.T) {
	f, out := relaying(half(built(), 7, 0, typeVideo), true, Limits{})
	if err := f.feed(built().UserControl(eventStreamEOF, 9).UserControl(eventStreamBegin, 9).UserControl(31, 9).UserControl(eventSetBufferLength, 9, 1)); err != nil {
		t.Fatal(err)
	}
	if err := f.feed(rest(built(), 7)); err != nil {
		t.Fatal(err)
	}
	msgs := out.heard(t, false)
	if len(msgs) != 3 || msgs[0].Type != typeVideo {
		t.Fatalf("heard %v", msgs)
	}
	for i, want := range []uint16{eventStreamEOF, eventStreamBegin} {
		event, id, ok := msgs[i+1].Event()
		if !ok || event != want || id != f.dst.msid || msgs[i+1].StreamID != 0 || msgs[i+1].CSID != csidControl {
			t.Errorf("heard %v, want event %d of stream %d", msgs[i+1], want, f.dst.msid)
		}
	}
	settled(t, f)

	f, out = relaying(built(), true, Limits{})
	f.src.action, f.dst.action = Publish, Publish
	if err := f.feed(built().UserControl(eventStreamEOF, 9)); err != nil {
		t.Fatal(err)
	}
	if got := out.heard(t, false); len(got) != 0 {
		t.Errorf("a publisher heard %v", got)
	}
}

// TestMediaThatBeganBeforeTheStart: an origin may begin a message, say that the
// stream has started, and go on with it.
func TestMediaThatBeganBeforeTheStart(t *testing.T) {
	start := func(b *rtmptest.Builder) { b.Command(5, "onStatus", 0, nil, info("status", "NetStream.Play.Start")) }
	whole := string(long(200))
	for _, c := range []struct {
		name  string
		build func(b *rtmptest.Builder)
		want  []string
	}{
		{"one", func(b *rtmptest.Builder) {
			half(b, 7, 1, typeVideo)
			start(b)
			rest(b, 7).Video(5, 2, []byte("v"))
		}, []string{"9@1 " + whole, "9@2 v"}},
		{"two", func(b *rtmptest.Builder) {
			half(half(b, 7, 1, typeVideo), 6, 2, typeAudio)
			start(b)
			rest(rest(b, 6), 7).Video(5, 3, []byte("v"))
		}, []string{"9@1 " + whole, "8@2 " + whole, "9@3 v"}},
		{"and another behind it", func(b *rtmptest.Builder) {
			half(b, 7, 1, typeVideo)
			start(b)
			half(rest(b, 7), 6, 2, typeAudio)
			rest(rest(half(b, 7, 3, typeVideo), 7), 6)
		}, []string{"9@1 " + whole, "8@2 " + whole, "9@3 " + whole}},
	} {
		b := greeting().Command(0, "_result", 1, nil, nil).Command(0, "_result", 4, nil, 5)
		c.build(b)
		src, err := Open(says(b), playing(asked), Limits{})
		if err != nil {
			t.Fatal(err)
		}
		out := &script{}
		_, dst := pair(nil, out, true, Limits{})
		_ = Relay(dst, src)
		if got := brief(out.heard(t, false)); !slices.Equal(got, c.want) {
			t.Errorf("%s: passed on %q\nwant %q", c.name, got, c.want)
		}
	}
}
