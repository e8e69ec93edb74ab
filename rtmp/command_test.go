package rtmp

import (
	"reflect"
	"strings"
	"testing"

	"rtmps-edge/rtmp/rtmptest"
)

func TestParseCall(t *testing.T) {
	amf := rtmptest.AMF
	with := func(prefix byte, b []byte) []byte { return append([]byte{prefix}, b...) }
	for _, c := range []struct {
		name    string
		typ     uint8
		payload []byte
		want    call
		breach  string
	}{
		{name: "whole", typ: typeCommand, payload: amf("f", 3, nil, "x"), want: call{"f", 3, []Value{nil, "x"}}},
		{name: "name alone", typ: typeCommand, payload: amf("f"), want: call{name: "f", args: []Value{}}},
		{name: "type 17", typ: typeCommandAMF3, payload: with(0, amf("f", 3)), want: call{"f", 3, []Value{}}},
		{name: "type 17 with a selector", typ: typeCommandAMF3, payload: with(3, amf("f", 3)), breach: "AMF3"},
		{name: "type 17 without one", typ: typeCommandAMF3, payload: amf("f", 3), breach: "AMF3"},
		{name: "type 17 of nothing", typ: typeCommandAMF3, breach: "AMF3"},
		{name: "type 17 of the selector", typ: typeCommandAMF3, payload: []byte{0}, breach: "empty"},
		{name: "AMF3 value", typ: typeCommand, payload: amf("f", 3, rtmptest.Raw{0x11, 1}), breach: "malformed"},
		{name: "nothing", typ: typeCommand, breach: "empty"},
		{name: "cut", typ: typeCommand, payload: amf("f", 3)[:9], breach: "malformed"},
		{name: "name a number", typ: typeCommand, payload: amf(3, 3), breach: "without a name"},
		{name: "name null", typ: typeCommand, payload: amf(nil, 3), breach: "without a name"},
		{name: "name empty", typ: typeCommand, payload: amf("", 3), breach: "without a name"},
		{name: "name a long string", typ: typeCommand, payload: amf(rtmptest.Raw("\x0c\x00\x00\x00\x01f"), 3), breach: "malformed"},
		{name: "transaction a string", typ: typeCommand, payload: amf("f", "3"), breach: "transaction"},
		{name: "transaction null", typ: typeCommand, payload: amf("f", nil), breach: "transaction"},
		{name: "transaction NaN", typ: typeCommand, payload: amf("f", rtmptest.Raw("\x00\x7f\xf8\x00\x00\x00\x00\x00\x01")), breach: "transaction"},
		{name: "transaction infinite", typ: typeCommand, payload: amf("f", rtmptest.Raw("\x00\x7f\xf0\x00\x00\x00\x00\x00\x00")), breach: "transaction"},
	} {
		got, err := parseCall(message{typ: c.typ, payload: c.payload})
		if c.breach != "" {
			wantBreach(t, err, c.breach)
		} else if err != nil || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %#v, %v", c.name, got, err)
		}
	}
}

func TestEnhanced(t *testing.T) {
	many := func(n int) (list []Value, o Object) {
		for i := range n {
			code := string([]byte{'a', 'b', '0' + byte(i/10), '0' + byte(i%10)})
			list, o = append(list, code), append(o, Property{code, 4.0})
		}
		return list, o
	}
	list64, object64 := many(maxFourCC)
	list65, object65 := many(maxFourCC + 1)
	for _, c := range []struct {
		name  string
		key   string
		value Value
		ok    bool
	}{
		{"list", "fourCcList", []Value{"hvc1", "*", "ac-3", ".mp3"}, true},
		{"empty list", "fourCcList", []Value{}, true},
		{"list of 64", "fourCcList", list64, true},
		{"list of 65", "fourCcList", list65, false},
		{"list with the last character", "fourCcList", []Value{"~~~~"}, true},
		{"list with a space", "fourCcList", []Value{"vp8 "}, true},
		{"list with a number", "fourCcList", []Value{"hvc1", 1.0}, false},
		{"list with a long code", "fourCcList", []Value{"hvc1x"}, false},
		{"list with a control byte", "fourCcList", []Value{"hv\x001"}, false},
		{"list with two characters in four bytes", "fourCcList", []Value{"éé"}, false},
		{"list a string", "fourCcList", "hvc1", false},
		{"list an object", "fourCcList", Object{}, false},
		{"video", "videoFourCcInfoMap", Object{{"*", 4.0}, {"avc1", 7.0}}, true},
		{"video of 64", "videoFourCcInfoMap", object64, true},
		{"video of 65", "videoFourCcInfoMap", object65, false},
		{"video an array", "videoFourCcInfoMap", []Value{"avc1"}, false},
		{"video with a string", "videoFourCcInfoMap", Object{{"avc1", "7"}}, false},
		{"video with a negative number", "videoFourCcInfoMap", Object{{"avc1", -1.0}}, false},
		{"video with 256", "videoFourCcInfoMap", Object{{"avc1", 256.0}}, false},
		{"video with a code twice", "videoFourCcInfoMap", Object{{"avc1", 1.0}, {"avc1", 4.0}}, false},
		{"audio", "audioFourCcInfoMap", Object{{"Opus", 1.0}}, true},
		{"audio a number", "audioFourCcInfoMap", 1.0, false},
		{"capsEx", "capsEx", 15.0, true},
		{"capsEx with a fraction", "capsEx", 1.5, true},
		{"capsEx of 2^32", "capsEx", float64(1 << 32), false},
		{"capsEx negative", "capsEx", -1.0, false},
		{"capsEx a string", "capsEx", "1", false},
	} {
		e, err := parseEnhanced(Object{{c.key, c.value}})
		if (err == nil) != c.ok {
			t.Errorf("%s: %v", c.name, err)
		}
		if err != nil {
			wantBreach(t, err, "Enhanced RTMP")
			continue
		}
		want := c.value
		if c.key == "capsEx" {
			want = float64(int(c.value.(float64)))
		}
		if got := e.properties(); len(got) != 1 || got[0].Key != c.key || !reflect.DeepEqual(got[0].Value, want) {
			t.Errorf("%s: what goes on is %#v", c.name, got)
		}
	}
	if e, err := parseEnhanced(Object{{"fourCcList", nil}, {"app", "x"}}); err != nil || !e.empty() || e.properties() != nil {
		t.Errorf("nothing said is %#v, %v", e, err)
	}
}

func TestForwards(t *testing.T) {
	want := Object{{"fourCcList", []Value{"avc1", "hvc1"}},
		{"videoFourCcInfoMap", Object{{"avc1", 4.0}, {"hvc1", 4.0}}}, {"audioFourCcInfoMap", Object{{"avc1", 4.0}, {"hvc1", 4.0}}}}
	if got := forwards([]string{"avc1", "hvc1"}).properties(); !reflect.DeepEqual(got, want) {
		t.Errorf("got %#v", got)
	}
}

func TestStatusOf(t *testing.T) {
	info := status("error", "Code", "Text")
	for _, args := range [][]Value{{nil, info}, {info}, {Object{{"fmsVer", "x"}}, info}, {nil, nil, "x", info}} {
		level, code, text := statusOf(call{args: args})
		if level != "error" || code != "Code" || text != "Text" {
			t.Errorf("%v: %q %q %q", args, level, code, text)
		}
	}
	for _, args := range [][]Value{nil, {nil}, {Object{}}, {Object{{"code", 5.0}}}, {"Code"}} {
		if _, code, _ := statusOf(call{args: args}); code != "" {
			t.Errorf("%v: %q", args, code)
		}
	}
}

// TestStatusHasADescription: OBS crashes on a refusal without one.
func TestStatusHasADescription(t *testing.T) {
	if d, _ := status("error", "NetStream.Failed", "").Get("description").(string); d == "" {
		t.Error("empty")
	}
}

// TestErrorsHoldNoText: nothing that a peer says stands in an error.
func TestErrorsHoldNoText(t *testing.T) {
	const mark = "SecretMark"
	obj := func(ps ...rtmptest.Property) rtmptest.Object {
		return append(rtmptest.Object{{Key: "app", Value: "live"}}, ps...)
	}
	connect := func(b *rtmptest.Builder) *rtmptest.Builder { return b.Connect("live", "rtmp://x/live") }
	for name, b := range map[string]*rtmptest.Builder{
		"command before connect": greeting().Command(0, mark, 1, nil),
		"app of a wrong type":    greeting().Command(0, "connect", 1, rtmptest.Object{{Key: "app", Value: []any{mark}}}),
		"tcUrl too long":         greeting().Command(0, "connect", 1, obj(rtmptest.Property{Key: "tcUrl", Value: strings.Repeat(mark, 200)})),
		"app too long":           greeting().Connect(strings.Repeat(mark, 50), ""),
		"app of control bytes":   greeting().Connect(mark+"\x00", ""),
		"names that differ":      connect(greeting()).Command(0, "releaseStream", 2, nil, mark).Command(1, "publish", 3, nil, mark+"2", "live"),
		"name of control bytes":  connect(greeting()).Command(1, "publish", 3, nil, mark+"\n", "live"),
		"type of publish":        connect(greeting()).Command(1, "publish", 3, nil, mark, mark),
		"malformed":              greeting().Message(3, 0, typeCommand, 0, []byte("\x02\xff\xff"+mark)),
		"fourCcList":             greeting().Connect("live", "", rtmptest.Property{Key: "fourCcList", Value: []any{mark}}),
	} {
		_, err := Accept(says(b), Limits{})
		if err == nil || strings.Contains(strings.ToLower(err.Error()), strings.ToLower(mark)) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
