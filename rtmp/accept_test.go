package rtmp

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"rtmps-edge/rtmp/rtmptest"
)

// text gives messages in the short form that tests compare.
func text(msgs []rtmptest.Message) (out []string) {
	for _, m := range msgs {
		switch c, ok := m.Command(); {
		case ok:
			out = append(out, strings.TrimSpace(fmt.Sprintf("%d: %s %v %v", m.StreamID, c.Name, c.Txn, c.Args)))
		case m.Type == typeUserControl:
			out = append(out, fmt.Sprintf("event % x", m.Payload))
		default:
			out = append(out, fmt.Sprintf("type %d % x", m.Type, m.Payload))
		}
	}
	return out
}

// connected is a script up to connect.
func connected() *rtmptest.Builder { return greeting().Connect("live", "rtmp://h/live") }

// welcomed is what is said to connect.
var welcomed = []string{
	"type 5 00 4c 4b 40", "type 6 00 4c 4b 40 02", "type 1 00 01 00 00",
	"0: _result 1 [[{fmsVer FMS/3,0,1,123} {capabilities 31}] " +
		"[{level status} {code NetConnection.Connect.Success} {description Connection succeeded.} {objectEncoding 0}]]",
}

func TestAcceptDialogue(t *testing.T) {
	const created = "0: _result 4 [<nil> 1]"
	for _, c := range []struct {
		name  string
		build func(b *rtmptest.Builder)
		said  []string // after connect
		want  Request
	}{
		{"as OBS and ffmpeg", func(b *rtmptest.Builder) {
			b.Command(0, "releaseStream", 2, nil, "key").Command(0, "FCPublish", 3, nil, "key").Command(0, "createStream", 4, nil)
			b.Command(1, "publish", 5, nil, "key", "live")
		}, []string{"0: _result 2 [<nil>]", "0: _result 3 [<nil>]", created}, Request{Action: Publish, Mode: "live"}},
		{"as GStreamer, which wants no answers", func(b *rtmptest.Builder) {
			b.Command(0, "releaseStream", 0, nil, "key").Command(0, "FCPublish", 0, nil, "key").Command(0, "createStream", 4, nil)
			b.Command(1, "publish", 0, nil, "key", "live")
		}, []string{created}, Request{Action: Publish, Mode: "live"}},
		{"as a player", func(b *rtmptest.Builder) {
			b.Control(typeWindowAckSize, 2500000).Command(0, "createStream", 4, nil).Command(0, "FCSubscribe", 5, nil, "key")
			b.Command(0, "getStreamLength", 6, nil, "key").Command(1, "play", 0, nil, "key", -2000)
		}, []string{created, "0: _result 5 [<nil>]", "0: _result 6 [<nil>]"}, Request{Action: Play, Mode: "live"}},
		{"unknown commands", func(b *rtmptest.Builder) {
			b.Command(0, "_checkbw", 7, nil).Command(0, "setPeerInfo", 0, nil).Command(0, "_result", 9, nil).Command(0, "onStatus", 9, nil)
			b.Command(1, "publish", 5, nil, "key")
		}, []string{"0: _error 7 [<nil> [{level error} {code NetConnection.Call.Failed} {description This command is not served.}]]"},
			Request{Action: Publish, Mode: "live"}},
		{"to record", func(b *rtmptest.Builder) { b.Command(1, "publish", 5, nil, "key", "record") }, nil, Request{Action: Publish, Mode: "record"}},
		{"to append", func(b *rtmptest.Builder) { b.Command(1, "publish", 5, nil, "key", "append") }, nil, Request{Action: Publish, Mode: "append"}},
		{"of no type", func(b *rtmptest.Builder) { b.Command(1, "publish", 5, nil, "key", "") }, nil, Request{Action: Publish, Mode: "live"}},
		{"metadata before it", func(b *rtmptest.Builder) {
			b.Data(1, 0, "@setDataFrame", "onMetaData", rtmptest.ECMAArray{}).Message(4, 0, typeDataAMF3, 1, nil)
			b.Command(1, "publish", 5, nil, "key", "live")
		}, nil, Request{Action: Publish, Mode: "live"}},
		{"a ping before it", func(b *rtmptest.Builder) {
			b.UserControl(eventPingRequest, 9).Command(1, "publish", 5, nil, "key", "live")
		}, []string{"event 00 07 00 00 00 09"}, Request{Action: Publish, Mode: "live"}},
		{"in type 17", func(b *rtmptest.Builder) {
			b.Message(3, 0, typeCommandAMF3, 1, append([]byte{0}, rtmptest.AMF("publish", 5, nil, "key", "live")...))
		}, nil, Request{Action: Publish, Mode: "live"}},
	} {
		b := connected()
		c.build(b)
		rw := says(b.Video(1, 0, []byte("early")))
		p, err := Accept(rw, Limits{})
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		r := p.Request
		if r.Action != c.want.Action || r.Mode != c.want.Mode || r.App != "live" || r.Name.Reveal() != "key" || r.TcURL.Reveal() != "rtmp://h/live" {
			t.Errorf("%s: %+v", c.name, r)
		}
		if got := text(rw.heard(t, true)); !slices.Equal(got, slices.Concat(welcomed, c.said)) {
			t.Errorf("%s: heard %q", c.name, got)
		}
		// One for the handshake, one for all that was asked for at once.
		if rw.writes != 2 {
			t.Errorf("%s: %d writes", c.name, rw.writes)
		}
	}
}

func TestAcceptRefuses(t *testing.T) {
	command := func(values ...any) func(*rtmptest.Builder) {
		return func(b *rtmptest.Builder) { b.Command(1, values...) }
	}
	for _, c := range []struct {
		name, breach string
		build        func(b *rtmptest.Builder)
	}{
		{"second connect", "second connect", func(b *rtmptest.Builder) { b.Connect("live", "rtmp://h/live") }},
		{"play2", "play2", command("play2", 3, nil, rtmptest.Object{})},
		{"publish without a name", "publish without a stream name", command("publish", 3, nil)},
		{"publish of a number", "publish without a stream name", command("publish", 3, nil, 5)},
		{"publish of undefined", "publish without a stream name", command("publish", 3, nil, rtmptest.Undefined{})},
		{"release without a name", "releaseStream without", command("releaseStream", 3, nil)},
		{"a type of publish that is none", "unknown type", command("publish", 3, nil, "key", "Live")},
		{"a type of publish that is a number", "not a string", command("publish", 3, nil, "key", 1)},
		{"two names", "play with another stream name", func(b *rtmptest.Builder) {
			b.Command(0, "getStreamLength", 2, nil, "key").Command(1, "play", 3, nil, "Key")
		}},
		{"a name after none", "publish with another stream name", func(b *rtmptest.Builder) {
			b.Command(0, "releaseStream", 2, nil, "").Command(1, "publish", 3, nil, "key")
		}},
		{"no name after one", "FCPublish with another stream name", func(b *rtmptest.Builder) {
			b.Command(0, "releaseStream", 2, nil, "key").Command(0, "FCPublish", 3, nil, "")
		}},
		{"NUL in a name", "control characters", command("publish", 3, nil, "k\x00ey")},
		{"C1 control in a name", "control characters", command("publish", 3, nil, "k\u009bey")},
		{"media before publish", "type 9 out of place", func(b *rtmptest.Builder) { b.Video(1, 0, []byte("x")) }},
		{"aggregate before publish", "type 22 out of place", func(b *rtmptest.Builder) { b.Message(5, 0, typeAggregate, 1, nil) }},
		{"shared object", "type 19", func(b *rtmptest.Builder) { b.Message(5, 0, 19, 1, nil) }},
	} {
		b := connected()
		c.build(b)
		_, err := Accept(says(b.Command(1, "publish", 9, nil, "key", "live")), Limits{})
		if err == nil {
			t.Errorf("%s is taken", c.name)
			continue
		}
		wantBreach(t, err, c.breach)
	}
	for _, name := range []string{"deleteStream", "closeStream"} {
		if _, err := Accept(says(connected().Command(0, name, 3, nil, 1)), Limits{}); err != ErrFinished {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestConnect(t *testing.T) {
	type ps = rtmptest.Object
	for _, c := range []struct {
		name   string
		object ps
		app    string
		query  string
		breach string
	}{
		{name: "plain", object: ps{{Key: "app", Value: "live"}}, app: "live"},
		{name: "two segments", object: ps{{Key: "app", Value: "a/b"}}, app: "a/b"},
		{name: "slash at the end", object: ps{{Key: "app", Value: "live/"}}, app: "live"},
		{name: "default instance", object: ps{{Key: "app", Value: "live/_definst_"}}, app: "live"},
		{name: "default instance and slash", object: ps{{Key: "app", Value: "live/_definst_/"}}, app: "live"},
		{name: "query", object: ps{{Key: "app", Value: "live?a=b?c"}}, app: "live", query: "a=b?c"},
		{name: "nothing", object: ps{{Key: "app", Value: ""}}, app: ""},
		{name: "tcUrl null", object: ps{{Key: "app", Value: "x"}, {Key: "tcUrl", Value: nil}}, app: "x"},
		{name: "objectEncoding 3", object: ps{{Key: "app", Value: "x"}, {Key: "objectEncoding", Value: 3}}, app: "x"},
		{name: "others twice", object: ps{{Key: "app", Value: "x"}, {Key: "y", Value: 1}, {Key: "y", Value: 2}}, app: "x"},
		{name: "longest app", object: ps{{Key: "app", Value: strings.Repeat("a", maxApp)}}, app: strings.Repeat("a", maxApp)},
		{name: "app too long", object: ps{{Key: "app", Value: strings.Repeat("a", maxApp+1)}}, breach: "an app of more than 255"},
		{name: "longest query", object: ps{{Key: "app", Value: "a?" + strings.Repeat("q", maxNameAndQuery-2)}}, app: "a", query: strings.Repeat("q", maxNameAndQuery-2)},
		{name: "query too long", object: ps{{Key: "app", Value: "a?" + strings.Repeat("q", maxNameAndQuery-1)}}, breach: "too long"},
		{name: "longest tcUrl", object: ps{{Key: "app", Value: "a"}, {Key: "tcUrl", Value: strings.Repeat("u", maxNameAndQuery)}}, app: "a"},
		{name: "tcUrl too long", object: ps{{Key: "app", Value: "a"}, {Key: "tcUrl", Value: strings.Repeat("u", maxNameAndQuery+1)}}, breach: "too long"},
		{name: "app with NUL", object: ps{{Key: "app", Value: "a\x00b"}}, breach: "control"},
		{name: "tcUrl with a newline", object: ps{{Key: "app", Value: "a"}, {Key: "tcUrl", Value: "a\nb"}}, breach: "control"},
		{name: "without app", object: ps{{Key: "tcUrl", Value: "a"}}, breach: "wrong type"},
		{name: "app null", object: ps{{Key: "app", Value: nil}}, breach: "wrong type"},
		{name: "app a number", object: ps{{Key: "app", Value: 1}}, breach: "wrong type"},
		{name: "tcUrl a number", object: ps{{Key: "app", Value: "a"}, {Key: "tcUrl", Value: 1}}, breach: "wrong type"},
		{name: "flashVer an object", object: ps{{Key: "app", Value: "a"}, {Key: "flashVer", Value: ps{}}}, breach: "wrong type"},
		{name: "type a number", object: ps{{Key: "app", Value: "a"}, {Key: "type", Value: 1}}, breach: "wrong type"},
		{name: "objectEncoding a string", object: ps{{Key: "app", Value: "a"}, {Key: "objectEncoding", Value: "0"}}, breach: "wrong type"},
		{name: "capsEx a string", object: ps{{Key: "app", Value: "a"}, {Key: "capsEx", Value: "0"}}, breach: "Enhanced"},
	} {
		b := greeting().Command(0, "connect", 1, c.object).Command(1, "publish", 2, nil, "key", "live")
		p, err := Accept(says(b), Limits{})
		if c.breach != "" {
			wantBreach(t, err, c.breach)
			continue
		}
		if err != nil || p.Request.App != c.app || p.Request.AppQuery.Reveal() != c.query {
			t.Errorf("%s: %v, %+v", c.name, err, p)
		}
	}
	for _, key := range []string{"app", "tcUrl", "type", "flashVer", "objectEncoding", "fourCcList", "videoFourCcInfoMap", "audioFourCcInfoMap", "capsEx"} {
		b := greeting().Command(0, "connect", 1, ps{{Key: "app", Value: "a"}, {Key: key, Value: nil}, {Key: key, Value: nil}})
		_, err := Accept(says(b), Limits{})
		wantBreach(t, err, "says "+key+" twice")
	}
	for _, values := range [][]any{{"connect"}, {"connect", 1}, {"connect", 1, nil}, {"connect", 1, "live"}} {
		_, err := Accept(says(greeting().Command(0, values...)), Limits{})
		wantBreach(t, err, "without a command object")
	}
}

// TestEncoderIsFitToBeShown: it stands in logs and on the dashboard.
func TestEncoderIsFitToBeShown(t *testing.T) {
	for in, want := range map[string]string{
		"FMLE/3.0 (compatible; FMSc/1.0)": "FMLE/3.0 (compatible; FMSc/1.0)",
		"\x1b[31mred\r\n\u009b":           "[31mred",
		"\xff\xfeok":                      "ok",
		strings.Repeat("x", 65):           strings.Repeat("x", maxEncoder),
		strings.Repeat("x", 63) + "é":     strings.Repeat("x", 63),
	} {
		b := greeting().Command(0, "connect", 1, rtmptest.Object{{Key: "app", Value: "a"}, {Key: "flashVer", Value: in}})
		p, err := Accept(says(b.Command(1, "publish", 2, nil, "key", "live")), Limits{})
		if err != nil || p.Request.Encoder != want {
			t.Errorf("%q: %v, %q", in, err, p.Request.Encoder)
		}
	}
}

func TestAcceptBounds(t *testing.T) {
	ask := func(b *rtmptest.Builder) *script { return says(b.Command(1, "publish", 9, nil, "key", "live")) }
	for _, more := range []int{0, 1} {
		check := func(what string, rw *script, breach string) {
			t.Helper()
			_, err := Accept(rw, Limits{})
			if more == 0 && err != nil {
				t.Errorf("%s at its limit: %v", what, err)
			}
			if more == 1 {
				wantBreach(t, err, breach)
			}
		}
		b := connected()
		for range maxSetupCommands - 2 + more { // connect and publish are two
			b.Command(0, "FCPublish", 0, nil, "key")
		}
		check("commands", ask(b), "more than 32 commands")

		b = connected()
		for i := range maxCreateStream + more {
			b.Command(0, "createStream", i+2, nil)
		}
		check("createStream", ask(b), "createStream more than 4 times")

		name := strings.Repeat("n", maxNameAndQuery+more)
		check("names", says(connected().Command(1, "publish", 2, nil, name, "live")), "too long")

		b = connected().SetChunkSize(65536)
		end := built().WithChunkSize(65536).Command(1, "publish", 9, nil, "key", "live")
		for left := maxSetupBytes + more - end.Len() - b.Len(); left > 0; {
			n := min(left-12, maxSetupMessage)
			if rest := left - 12 - n; rest > 0 && rest < 12 {
				n -= 12
			}
			b.Message(4, 0, typeData, 1, make([]byte, n))
			left -= 12 + n
		}
		b.Raw(end.Bytes()...)
		if b.Len() != maxSetupBytes+more {
			t.Fatalf("the script has %d bytes", b.Len())
		}
		check("bytes", says(b), "more than 131072 bytes before")
	}
}

// TestAdvertisedChunkSize: ffmpeg sets what it was told, so the edge may not
// tell more than it takes.
func TestAdvertisedChunkSize(t *testing.T) {
	for _, c := range []struct{ limit, want int }{{0, 65536}, {4096, 4096}, {65536, 65536}, {1 << 20, 65536}} {
		rw := says(connected().SetChunkSize(min(c.want, 65536)).Command(1, "publish", 2, nil, "key", "live"))
		p, err := Accept(rw, Limits{ChunkSize: c.limit})
		if err != nil {
			t.Errorf("limit %d: the client sets the edge's own size: %v", c.limit, err)
			continue
		}
		if got := text(rw.heard(t, true))[2]; got != fmt.Sprintf("type 1 00 %02x %02x 00", c.want>>16, c.want>>8&255) {
			t.Errorf("limit %d: %s", c.limit, got)
		}
		if _, err := p.Approve(); err != nil {
			t.Error(err)
		}
		rw.heard(t, true)
	}
}

// TestCapabilitiesAreAnswered only to those who ask.
func TestCapabilitiesAreAnswered(t *testing.T) {
	for _, c := range []struct {
		fourCC []string
		want   []any
	}{{nil, []any{"*"}}, {[]string{"avc1", "hvc1"}, []any{"avc1", "hvc1"}}} {
		rw := says(greeting().Connect("live", "", rtmptest.Property{Key: "capsEx", Value: 15}).Command(1, "publish", 2, nil, "key"))
		p, err := Accept(rw, Limits{FourCC: c.fourCC})
		if err != nil || p.Request.Enhanced.CapsEx != 15 {
			t.Fatalf("%v, %+v", err, p)
		}
		cmd, _ := rw.heard(t, true)[3].Command()
		if got := cmd.Info().Get("fourCcList"); !reflect.DeepEqual(got, c.want) {
			t.Errorf("fourCcList is %v", got)
		}
		if got := cmd.Info().Get("capsEx"); got != nil {
			t.Errorf("the edge says capsEx %v", got)
		}
	}
}

func TestApproveAndReject(t *testing.T) {
	play := func(b *rtmptest.Builder) *rtmptest.Builder { return b.Command(1, "play", 2, nil, "key") }
	publish := func(b *rtmptest.Builder) *rtmptest.Builder { return b.Command(1, "publish", 2, nil, "key") }
	for _, c := range []struct {
		name  string
		build func(*rtmptest.Builder) *rtmptest.Builder
		end   func(p *Pending) error
		want  []string
	}{
		{"publish", publish, func(p *Pending) error { _, err := p.Approve(); return err }, []string{"event 00 00 00 00 00 01",
			"1: onStatus 0 [<nil> [{level status} {code NetStream.Publish.Start} {description The stream is being published.}]]"}},
		{"play", play, func(p *Pending) error { _, err := p.Approve(); return err }, []string{"event 00 00 00 00 00 01",
			"1: onStatus 0 [<nil> [{level status} {code NetStream.Play.Reset} {description The stream is played from its start.}]]",
			"1: onStatus 0 [<nil> [{level status} {code NetStream.Play.Start} {description The stream plays.}]]"}},
		{"refused", publish, func(p *Pending) error { return p.Reject(&StatusError{"NetStream.Publish.Denied", "No."}) },
			[]string{"1: onStatus 0 [<nil> [{level error} {code NetStream.Publish.Denied} {description No.}]]"}},
	} {
		rw := says(c.build(connected()))
		p, err := Accept(rw, Limits{})
		if err != nil {
			t.Fatal(err)
		}
		before := rw.writes
		if err := c.end(p); err != nil {
			t.Error(err)
		}
		if got := text(rw.heard(t, true)[len(welcomed):]); !slices.Equal(got, c.want) || rw.writes != before+1 {
			t.Errorf("%s: heard %q in %d writes", c.name, got, rw.writes-before)
		}
	}
}

// TestApproveFails: a client that has gone is no stream.
func TestApproveFails(t *testing.T) {
	p, err := Accept(says(connected().Command(1, "publish", 2, nil, "key")), Limits{})
	if err != nil {
		t.Fatal(err)
	}
	p.c.w.wb, p.c.w.rw = nil, &broken{}
	if c, err := p.Approve(); c != nil || err == nil {
		t.Errorf("%v, %v", c, err)
	}
}

// TestOnlyPublishersSendMedia: what a player says after play is not a stream.
func TestOnlyPublishersSendMedia(t *testing.T) {
	for action, want := range map[string]bool{"publish": true, "play": false} {
		p, err := Accept(says(connected().Command(1, action, 2, nil, "key").Video(1, 0, []byte("x"))), Limits{})
		if err != nil {
			t.Fatal(err)
		}
		c, err := p.Approve()
		if err != nil {
			t.Fatal(err)
		}
		m, err := c.ReadMessage()
		if want != (err == nil && string(m.Payload) == "x") {
			t.Errorf("%s: %v, %v", action, m, err)
		}
	}
}

// TestLegsDoNotPrintSecrets: whoever logs a whole leg by mistake does no harm.
func TestLegsDoNotPrintSecrets(t *testing.T) {
	rw := says(greeting().Connect("live?pass=SecretApp", "rtmp://h/live?SecretURL").Command(1, "publish", 2, nil, "SecretKey?t=SecretQuery"))
	p, err := Accept(rw, Limits{})
	if err != nil {
		t.Fatal(err)
	}
	c, err := p.Approve()
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range []any{p, p.Request, &p.Request, c} {
		if s := fmt.Sprintf("%v %+v %#v", v, v, v); strings.Contains(s, "Secret") {
			t.Errorf("%T prints as %s", v, s)
		}
	}
}
