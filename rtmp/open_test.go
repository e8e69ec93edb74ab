package rtmp

import (
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"rtmps-edge/rtmp/rtmptest"
)

// greeted is an origin's script up to its answer to connect.
func greeted() *rtmptest.Builder {
	return greeting().Control(typeWindowAckSize, 2500000).SetPeerBandwidth(2500000).SetChunkSize(4096).
		Command(0, "_result", txnConnect, rtmptest.Object{{Key: "fmsVer", Value: "x"}}, info("status", "NetConnection.Connect.Success"))
}

func info(level, code string) rtmptest.Object {
	return rtmptest.Object{{Key: "level", Value: level}, {Key: "code", Value: code}, {Key: "description", Value: "d"}}
}

// creating is an origin's script up to its answer to createStream.
func creating() *rtmptest.Builder { return greeted().Command(0, "_result", txnCreate, nil, 5) }

var asked = Target{Action: Publish, App: "live", Name: "name", TcURL: "rtmp://o/live"}

func playing(t Target) Target { t.Action = Play; return t }

func TestOpenAsks(t *testing.T) {
	enhanced, err := parseEnhanced(Object{{"fourCcList", []Value{"hvc1"}}, {"capsEx", 1.0}})
	if err != nil {
		t.Fatal(err)
	}
	const connect = "0: connect 1 [[{app live} {type nonprivate} {flashVer FMLE/3.0 (compatible; rtmps-edge)} {tcUrl rtmp://o/live}"
	for _, c := range []struct {
		name   string
		target Target
		start  string
		want   []string
		finish []string
	}{
		{"publish", asked, "NetStream.Publish.Start",
			[]string{"type 1 00 01 00 00", connect + "]]", "0: releaseStream 2 [<nil> name]", "0: FCPublish 3 [<nil> name]", "0: createStream 4 [<nil>]",
				"5: publish 5 [<nil> name live]"},
			[]string{"0: FCUnpublish 0 [<nil> name]", "0: deleteStream 0 [<nil> 5]"}},
		{"play", playing(asked), "NetStream.Play.Start",
			[]string{"type 1 00 01 00 00", connect + "]]", "type 5 00 4c 4b 40", "0: createStream 4 [<nil>]",
				"5: play 0 [<nil> name -2000]", "event 00 03 00 00 00 05 00 00 0b b8"},
			[]string{"0: deleteStream 0 [<nil> 5]"}},
		{"publish with all options", Target{Action: Publish, App: "live", Name: "name", TcURL: "rtmp://o/live", Mode: "append", Enhanced: enhanced, ChunkSize: 4096},
			"NetStream.Publish.Start",
			[]string{"type 1 00 00 10 00", connect + " {fourCcList [hvc1]} {capsEx 1}]]", "0: releaseStream 2 [<nil> name]", "0: FCPublish 3 [<nil> name]",
				"0: createStream 4 [<nil>]", "5: publish 5 [<nil> name append]"},
			[]string{"0: FCUnpublish 0 [<nil> name]", "0: deleteStream 0 [<nil> 5]"}},
	} {
		rw := says(creating().Command(5, "onStatus", 0, nil, info("status", c.start)))
		conn, err := Open(rw, c.target, Limits{})
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if got := text(rw.heard(t, true)); !slices.Equal(got, c.want) {
			t.Errorf("%s: asked %q\nwant %q", c.name, got, c.want)
		}
		if rw.writes != 4 { // handshake, C2 and connect, createStream, publish
			t.Errorf("%s: %d writes", c.name, rw.writes)
		}
		if err := conn.Finish(); err != nil {
			t.Error(err)
		}
		if got := text(rw.heard(t, true))[len(c.want):]; !slices.Equal(got, c.finish) {
			t.Errorf("%s: finished with %q", c.name, got)
		}
	}
}

// TestOpenAnswers: each thing that an origin may say, and what is made of it.
func TestOpenAnswers(t *testing.T) {
	started := func(b *rtmptest.Builder) *rtmptest.Builder {
		return b.Command(5, "onStatus", 0, nil, info("status", "NetStream.Publish.Start"))
	}
	many := func(n int) *rtmptest.Builder {
		b := creating()
		for range n {
			b.Command(0, "onBWDone", 0, nil)
		}
		return started(b)
	}
	type17 := func(values ...any) []byte { return append([]byte{0}, rtmptest.AMF(values...)...) }
	for _, c := range []struct {
		name   string
		says   *rtmptest.Builder
		code   string // of a refusal
		breach string
		end    bool
	}{
		{name: "all well", says: started(creating())},
		{name: "with pings and notices between", says: started(greeting().UserControl(eventPingRequest, 1).
			Command(0, "onBWDone", 0, nil).Command(0, "_result", 1, nil, info("status", "NetConnection.Connect.Success")).
			Command(0, "_result", 2, nil).Command(0, "onFCPublish", 0, nil, info("status", "NetStream.Publish.Start")).
			Command(0, "_result", 3, nil).Command(0, "_result", 4, nil, 5).UserControl(eventStreamBegin, 5).
			Command(5, "onStatus", 0, nil, info("status", "NetStream.Publish.Reset")))},
		{name: "refusing releaseStream and FCPublish only", says: started(greeted().
			Command(0, "_error", 2, nil, info("error", "NetStream.Failed")).Command(0, "_error", 3, nil, info("error", "x")).
			Command(0, "_result", 4, nil, 5))},
		{name: "in type 17", says: greeted().Message(3, 0, typeCommandAMF3, 0, type17("_result", 4, nil, 5)).
			Message(3, 0, typeCommandAMF3, 5, type17("onStatus", 0, nil, info("status", "NetStream.Publish.Start")))},
		{name: "with large chunks", says: started(creating().SetChunkSize(1 << 20))},
		{name: "with the largest chunks", says: started(creating().SetChunkSize(maxOriginChunk))},
		{name: "with chunks too large", says: started(creating().Control(typeSetChunkSize, maxOriginChunk+1)), breach: "chunk size 16777216"},
		{name: "refusing connect", says: greeting().Command(0, "_error", 1, nil, info("error", "NetConnection.Connect.Rejected")), code: "NetConnection.Connect.Rejected"},
		{name: "refusing connect without a reason", says: greeting().Command(0, "_error", 1, nil), code: ""},
		{name: "closing", says: greeted().Command(0, "close", 0, nil), code: ""},
		{name: "refusing createStream", says: greeted().Command(0, "_error", 4, nil, info("error", "NetStream.Failed")), code: "NetStream.Failed"},
		{name: "refusing publish", says: creating().Command(5, "onStatus", 0, nil, info("error", "NetStream.Publish.BadName")), code: "NetStream.Publish.BadName"},
		{name: "refusing publish by its number", says: creating().Command(0, "_error", 5, nil, info("error", "NetStream.Publish.Denied")), code: "NetStream.Publish.Denied"},
		{name: "refusing publish early", says: greeted().Command(0, "onStatus", 0, nil, info("error", "NetStream.Publish.Denied")), code: "NetStream.Publish.Denied"},
		{name: "starting before createStream's answer", says: started(greeted()), end: true},
		{name: "silent behind the handshake", says: greeting(), end: true},
		{name: "silent behind connect", says: greeted(), end: true},
		{name: "silent behind createStream", says: creating(), end: true},
		{name: "answering others", says: greeting().Command(0, "_result", 7, nil), end: true},
		{name: "createStream without an id", says: greeted().Command(0, "_result", 4, nil), breach: "without a stream id"},
		{name: "createStream with a text", says: greeted().Command(0, "_result", 4, nil, "5"), breach: "without a stream id"},
		{name: "createStream with a negative id", says: greeted().Command(0, "_result", 4, nil, -1), breach: "without a stream id"},
		{name: "createStream with 2^32", says: greeted().Command(0, "_result", 4, nil, 1<<32), breach: "without a stream id"},
		{name: "createStream with NaN", says: greeted().Command(0, "_result", 4, nil, rtmptest.Raw("\x00\x7f\xf8\x00\x00\x00\x00\x00\x01")), breach: "without a stream id"},
		{name: "talking without an answer, just", says: many(maxSetupCommands - 1)},
		{name: "talking without an answer", says: many(maxSetupCommands), breach: "more than 32 messages without an answer"},
		{name: "sending media", says: greeted().Video(1, 0, []byte("x")), breach: "type 9 out of place"},
		{name: "malformed", says: greeted().Message(3, 0, typeCommand, 0, []byte{2, 0xFF}), breach: "malformed"},
		{name: "garbage", says: greeted().Raw(0xFF, 0xFF, 0xFF), breach: "begins with a header"},
		{name: "a flood", says: greeted().Message(3, 0, typeCommand, 0, make([]byte, maxCommandMessage+1)), breach: "bytes long"},
	} {
		conn, err := Open(says(c.says), asked, Limits{})
		var said *StatusError
		switch {
		case c.breach != "":
			wantBreach(t, err, c.breach)
		case c.end:
			if !errors.Is(err, io.EOF) {
				t.Errorf("%s: %v", c.name, err)
			}
		case errors.As(err, &said):
			if said.Code != c.code || strings.HasPrefix(c.name, "all") {
				t.Errorf("%s: refused with %q", c.name, said.Code)
			}
		case err != nil:
			t.Errorf("%s: %v", c.name, err)
		case c.code != "" || conn == nil || conn.msid != 5:
			t.Errorf("%s: %+v", c.name, conn)
		}
	}
}

// TestOpenBounds: an origin may say no more than a client before it answers.
func TestOpenBounds(t *testing.T) {
	for _, more := range []int{0, 1} {
		end := built().WithChunkSize(65536).Command(5, "onStatus", 0, nil, info("status", "NetStream.Publish.Start"))
		b := creating().SetChunkSize(65536)
		for left := maxSetupBytes + more - b.Len() - end.Len(); left > 0; {
			n := min(left-12, maxSetupMessage)
			if rest := left - 12 - n; rest > 0 && rest < 12 {
				n -= 12
			}
			b.Message(4, 0, typeData, 5, make([]byte, n))
			left -= 12 + n
		}
		_, err := Open(says(b.Raw(end.Bytes()...)), asked, Limits{})
		if more == 0 && err != nil {
			t.Error(err)
		} else if more == 1 {
			wantBreach(t, err, "more than 131072 bytes")
		}
	}
}

func TestProbe(t *testing.T) {
	for name, c := range map[string]struct {
		says *rtmptest.Builder
		ok   bool
	}{
		"answering":              {greeted(), true},
		"with large chunks":      {greeting().SetChunkSize(1<<20).Command(0, "_result", 1, nil), true},
		"refusing":               {greeting().Command(0, "_error", 1, nil, info("error", "x")), true},
		"closing":                {greeting(), true},
		"closing in mid-message": {greeting().Header0(3, 0, 50, typeCommand, 0), true},
		"no server":              {built().Text("SSH-2.0-OpenSSH_9.9\r\n"), false},
		"garbage":                {greeting().Raw(0xFF, 0xFF), false},
	} {
		if err := Probe(says(c.says), "live", "rtmp://o/live"); (err == nil) != c.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, n := range []int{0, 1, 1000, rtmptest.HandshakeLen - 1} {
		if err := Probe(says(built().Raw(greeting().Bytes()[:n]...)), "live", ""); err == nil {
			t.Errorf("%d bytes of a handshake pass", n)
		}
	}
}

// TestFinishWithinAMessage: nothing can be said then; the close must do.
func TestFinishWithinAMessage(t *testing.T) {
	f, out := relaying(built().Header0(7, 0, 100, typeVideo, 1).Raw(1, 2, 3), false, Limits{})
	if err := f.dst.Finish(); err == nil {
		t.Error("an origin was told in the middle of a message")
	}
	f2, out2 := relaying(built().Header0(7, 0, 100, typeVideo, 1).Raw(1, 2, 3), true, Limits{})
	if err := f2.dst.End(nil); err != nil {
		t.Error(err)
	}
	if out.out.Len() != 12+3 || out2.out.Len() != 12+3 {
		t.Errorf("%d and %d bytes were written", out.out.Len(), out2.out.Len())
	}
}

func TestEnd(t *testing.T) {
	for _, c := range []struct {
		play bool
		e    *StatusError
		want []string
	}{
		{false, nil, []string{"1: onStatus 0 [<nil> [{level status} {code NetStream.Unpublish.Success} {description The stream is no longer published.}]]"}},
		{true, nil, []string{"1: onStatus 0 [<nil> [{level status} {code NetStream.Play.Stop} {description The stream has ended.}]]", "event 00 01 00 00 00 01"}},
		{false, &StatusError{"NetStream.Failed", "Gone."}, []string{"1: onStatus 0 [<nil> [{level error} {code NetStream.Failed} {description Gone.}]]"}},
	} {
		f, out := relaying(built(), c.play, Limits{})
		client, heard := f.src, f.reply
		if c.play {
			client, heard = f.dst, out
		}
		if err := client.End(c.e); err != nil {
			t.Error(err)
		}
		if got := text(heard.heard(t, false)); !slices.Equal(got, c.want) {
			t.Errorf("heard %q", got)
		}
	}
}
