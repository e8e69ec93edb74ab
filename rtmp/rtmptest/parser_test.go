package rtmptest_test

import (
	"fmt"
	"maps"
	"strings"
	"testing"

	"rtmps-edge/internal/corpus"
	. "rtmps-edge/rtmp/rtmptest"
)

func TestLenientReadsTheWholeCorpus(t *testing.T) {
	for _, s := range corpus.Sessions(t) {
		for i, c := range s.Conns() {
			name := fmt.Sprintf("%s connection %d", s.Name, i+1)
			checkCounts(t, name+" c2s", c.C2S, c.C2SCounts, c.C2SRest)
			checkCounts(t, name+" s2c", c.S2C, c.S2CCounts, 0)
		}
	}
}

func checkCounts(t *testing.T, name string, stream []byte, want map[uint8]int, wantRest int) {
	t.Helper()
	if len(stream) <= HandshakeLen {
		if len(want) != 0 {
			t.Errorf("%s: no chunks, want %v", name, want)
		}
		return
	}
	msgs, rest, err := Parse(stream[HandshakeLen:], Lenient)
	if err != nil {
		t.Errorf("%s: %v", name, err)
	}
	if got := CountTypes(msgs); !maps.Equal(got, want) {
		t.Errorf("%s: messages %v, want %v", name, got, want)
	}
	if rest != wantRest {
		t.Errorf("%s: %d bytes left over, want %d", name, rest, wantRest)
	}
}

func TestParserTakesBytesCutAnywhere(t *testing.T) {
	s := corpus.Get(t, "obs-publish-srs").C2S[HandshakeLen:]
	whole, _, err := Parse(s, Lenient)
	if err != nil {
		t.Fatal(err)
	}
	p, got := NewParser(Lenient), []Message{}
	for _, b := range s {
		p.Write([]byte{b})
		for {
			m, ok, err := p.Next()
			if err != nil {
				t.Fatal(err)
			}
			if !ok {
				break
			}
			got = append(got, m)
		}
	}
	if fmt.Sprint(got) != fmt.Sprint(whole) {
		t.Error("byte by byte gives other messages than at once")
	}
}

func TestLenientInterleavedAndExtended(t *testing.T) {
	a, v := []byte(strings.Repeat("a", 300)), []byte(strings.Repeat("v", 300))
	b := new(Builder).Interleave(
		Message{CSID: 4, Timestamp: 0x1000000, Type: TypeAudio, StreamID: 1, Payload: a},
		Message{CSID: 400, Timestamp: 5, Type: TypeVideo, StreamID: 1, Payload: v})
	msgs, rest, err := Parse(b.Bytes(), Lenient)
	if err != nil || rest != 0 || len(msgs) != 2 {
		t.Fatalf("%v, %d left, %v", msgs, rest, err)
	}
	if string(msgs[0].Payload) != string(a) || string(msgs[1].Payload) != string(v) {
		t.Error("payloads mixed up")
	}
	if msgs[0].Contiguous || msgs[1].Contiguous || msgs[0].Chunks != 3 || !msgs[0].ExtTS {
		t.Errorf("%v %v", msgs[0], msgs[1])
	}
	if msgs[0].Timestamp != 0x1000000 || msgs[1].Timestamp != 5 || msgs[1].CSID != 400 {
		t.Errorf("%v %v", msgs[0], msgs[1])
	}
}

func TestLenientWithoutRepeatedExtendedTime(t *testing.T) {
	p := []byte(strings.Repeat("payload ", 40))
	b := new(Builder).Header0(4, 0x2000000, len(p), TypeVideo, 1).Raw(p[:128]...)
	b.Raw(0xC4).Raw(p[128:256]...).Raw(0xC4).Raw(p[256:]...)
	msgs, _, err := Parse(b.Bytes(), Lenient)
	if err != nil || len(msgs) != 1 || string(msgs[0].Payload) != string(p) {
		t.Fatalf("%v %v", msgs, err)
	}
	if _, _, err := Parse(b.Bytes(), Strict); err == nil {
		t.Error("Strict says nothing")
	}
}

func TestLenientTimestamps(t *testing.T) {
	b := new(Builder).
		Header0(4, 100, 0, TypeAudio, 1).
		Header1(4, 20, 0, TypeAudio).
		Header2(4, 30).
		Header3(4).
		Header1(5, 7, 0, TypeAudio) // a fresh chunk stream, as librtmp does
	msgs, _, err := Parse(b.Bytes(), Lenient)
	if err != nil {
		t.Fatal(err)
	}
	var ts []uint32
	for _, m := range msgs {
		ts = append(ts, m.Timestamp)
	}
	if want := "[100 120 150 180 7]"; fmt.Sprint(ts) != want {
		t.Errorf("times %v, want %v", ts, want)
	}
}

func TestAbortDropsThePartialMessage(t *testing.T) {
	b := new(Builder).Header0(4, 0, 200, TypeVideo, 1).Raw(make([]byte, 128)...).
		Control(TypeAbort, 4).
		Message(4, 9, TypeVideo, 1, []byte("after"))
	msgs, rest, err := Parse(b.Bytes(), Lenient)
	if err != nil || rest != 0 || len(msgs) != 2 || string(msgs[1].Payload) != "after" {
		t.Errorf("%v, %d left, %v", msgs, rest, err)
	}
}

// canonical writes what the edge would write.
func canonical() *Builder {
	b := new(Builder).SetChunkSize(4096).
		Command(0, "connect", 1, Object{{"app", "live"}}).
		Command(0, "createStream", 2, nil).
		Command(1, "publish", 3, nil, "key", "live").
		Data(1, 0, "onMetaData", ECMAArray{{"width", 1}}).
		Audio(1, 0, []byte{0xaf, 0}).
		Video(1, 0x1000000, make([]byte, 10000))
	return b.UserControl(EventPingResponse, 7).Control(TypeAck, 12345)
}

func TestStrictTakesTheCanonicalForm(t *testing.T) {
	msgs, rest, err := Parse(canonical().Bytes(), Strict)
	if err != nil || rest != 0 {
		t.Fatalf("%d left, %v", rest, err)
	}
	if n := CountTypes(msgs); n[TypeCommand] != 3 || n[TypeVideo] != 1 || len(msgs) != 9 {
		t.Errorf("messages %v", n)
	}
}

func TestStrictReportsEachBreach(t *testing.T) {
	big := make([]byte, 300)
	for _, c := range []struct {
		want  string
		build func(b *Builder)
	}{
		{"chunk stream 5", func(b *Builder) { b.Message(5, 0, TypeAudio, 1, nil) }},
		{"chunk stream 64", func(b *Builder) { b.Message(64, 0, TypeAudio, 1, nil) }},
		{"type 9 on chunk stream 6, not 7", func(b *Builder) { b.Message(6, 0, TypeVideo, 1, nil) }},
		{"second Set Chunk Size", func(b *Builder) { b.SetChunkSize(4096).SetChunkSize(5000) }},
		{"after a message of more than 128", func(b *Builder) { b.Video(1, 0, big).SetChunkSize(4096) }},
		{"Set Chunk Size 100", func(b *Builder) { b.SetChunkSize(100) }},
		{"chunk size 0", func(b *Builder) { b.Control(TypeSetChunkSize, 0) }},
		{"chunk size 2147483648", func(b *Builder) { b.Control(TypeSetChunkSize, 1<<31) }},
		{"message type 2", func(b *Builder) { b.Control(TypeAbort, 7) }},
		{"message type 22", func(b *Builder) { b.Message(6, 0, TypeAggregate, 1, nil) }},
		{"type 5 with 3 bytes, not 4", func(b *Builder) { b.Message(2, 0, TypeWindowAckSize, 0, []byte{1, 2, 3}) }},
		{"type 4 with 6 bytes, not 0", func(b *Builder) { b.UserControl(31, 1) }},
		{"type 3 on message stream 1", func(b *Builder) { b.Message(2, 0, TypeAck, 1, []byte{0, 0, 0, 1}) }},
		{"type 20 is empty", func(b *Builder) { b.Message(3, 0, TypeCommand, 0, nil) }},
		{"middle of a value", func(b *Builder) { b.Message(4, 0, TypeData, 1, []byte{2, 0, 9}) }},
		{"does not begin with a string", func(b *Builder) { b.Data(1, 0, 5) }},
		{"without name and transaction id", func(b *Builder) { b.Command(0, "x") }},
		{"type 2 header on the fresh chunk stream 7", func(b *Builder) { b.Header2(7, 0) }},
		{"type 1 header on the fresh chunk stream 7", func(b *Builder) { b.Header1(7, 0, 0, TypeVideo) }},
		{"type 0 header in the middle", func(b *Builder) {
			b.Header0(7, 0, 300, TypeVideo, 1).Raw(big[:128]...).Header0(7, 0, 300, TypeVideo, 1)
		}},
		{"begins a message after a type 0 one", func(b *Builder) { b.Audio(1, 0, nil).Header3(6) }},
		{"extended delta in a type 1 header", func(b *Builder) {
			b.Audio(1, 0, nil).Header1(6, 0x1000000, 0, TypeAudio)
		}},
		{"extended timestamp for the time 5", func(b *Builder) {
			b.Raw(6, 0xff, 0xff, 0xff, 0, 0, 0, TypeAudio, 1, 0, 0, 0, 0, 0, 0, 5)
		}},
		{"was interrupted by chunk stream 6", func(b *Builder) {
			b.Interleave(Message{CSID: 7, Type: TypeVideo, StreamID: 1, Payload: big},
				Message{CSID: 6, Type: TypeAudio, StreamID: 1, Payload: big})
		}},
	} {
		b := new(Builder)
		c.build(b)
		_, _, err := Parse(b.Bytes(), Strict)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("got %v, want %q", err, c.want)
		}
	}
}

func TestBreachSaysWhere(t *testing.T) {
	b := canonical()
	at := b.Len()
	b.Message(9, 0, TypeAudio, 1, nil)
	p := NewParser(Strict)
	p.Write(b.Bytes())
	for {
		if _, ok, err := p.Next(); !ok || err != nil {
			break
		}
	}
	got := p.Breaches()
	if len(got) == 0 || got[0].(Breach).Offset != int64(at) {
		t.Errorf("%v, want it at %d", got, at)
	}
}
