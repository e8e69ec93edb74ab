package rtmp

import (
	"bytes"
	"math"
	"reflect"
	"strings"
	"testing"

	"rtmps-edge/rtmp/rtmptest"
)

func TestAMF0Values(t *testing.T) {
	raw := func(s string) rtmptest.Raw { return rtmptest.Raw(s) }
	for _, c := range []struct {
		name    string
		in      any
		want    Value
		strict  bool // commands take it, too
		lenient bool // data messages take it
		rare    bool // and it is written anew
	}{
		{"number", 1.5, 1.5, true, true, false},
		{"true", true, true, true, true, false},
		{"false", false, false, true, true, false},
		{"boolean of 7", raw("\x01\x07"), true, true, true, false},
		{"string", "text", "text", true, true, false},
		{"empty string", "", "", true, true, false},
		{"null", nil, nil, true, true, false},
		{"undefined", rtmptest.Undefined{}, nil, true, true, false},
		{"object", rtmptest.Object{{Key: "a", Value: 1}, {Key: "b", Value: rtmptest.Object{}}}, Object{{"a", 1.0}, {"b", Object{}}}, true, true, false},
		{"object with a key twice", rtmptest.Object{{Key: "a", Value: 1}, {Key: "a", Value: 2}}, Object{{"a", 1.0}, {"a", 2.0}}, true, true, false},
		{"ECMA array", rtmptest.ECMAArray{{Key: "a", Value: "x"}}, Object{{"a", "x"}}, true, true, false},
		{"ECMA array whose count lies", raw("\x08\xff\xff\xff\xff\x00\x01a\x05\x00\x00\x09"), Object{{"a", nil}}, true, true, false},
		{"ECMA array that counts none", raw("\x08\x00\x00\x00\x00\x00\x01a\x05\x00\x00\x09"), Object{{"a", nil}}, true, true, false},
		{"strict array", []any{"a", 1, nil}, []Value{"a", 1.0, nil}, true, true, false},
		{"empty strict array", []any{}, []Value{}, true, true, false},
		{"date", rtmptest.Date(5), 5.0, false, true, true},
		{"long string", raw("\x0c\x00\x00\x00\x01x"), "x", false, true, true},
		{"XML", raw("\x0f\x00\x00\x00\x01x"), "x", false, true, true},
		{"reference", raw("\x07\x00\x01"), nil, false, true, true},
		{"typed object", raw("\x10\x00\x01c\x00\x01a\x05\x00\x00\x09"), Object{{"a", nil}}, false, true, true},
		{"object without its end", raw("\x03\x00\x01a\x05"), Object{{"a", nil}}, false, true, true},
		{"movie clip", raw("\x04"), nil, false, false, false},
		{"unsupported", raw("\x0d"), nil, false, false, false},
		{"recordset", raw("\x0e"), nil, false, false, false},
		{"AMF3", raw("\x11\x06\x03a"), nil, false, false, false},
		{"object's end alone", raw("\x09"), nil, false, false, false},
		{"marker 42", raw("\x42"), nil, false, false, false},
		{"number cut", raw("\x00\x00"), nil, false, false, false},
		{"boolean cut", raw("\x01"), nil, false, false, false},
		{"string cut", raw("\x02\x00\x05abc"), nil, false, false, false},
		{"string's length cut", raw("\x02\x00"), nil, false, false, false},
		{"date cut", raw("\x0b\x00\x00\x00\x00\x00\x00\x00\x00\x00"), nil, false, false, false},
		{"reference cut", raw("\x07\x00"), nil, false, false, false},
		{"long string's length lies", raw("\x0c\xff\xff\xff\xffx"), nil, false, false, false},
		{"ECMA array cut in its count", raw("\x08\x00\x00"), nil, false, false, false},
		{"array whose count lies", raw("\x0a\xff\xff\xff\xff\x05"), nil, false, false, false},
		{"array whose count is one too many", raw("\x0a\x00\x00\x00\x02\x05"), nil, false, false, false},
		{"array cut in its count", raw("\x0a\x00"), nil, false, false, false},
		{"empty key", raw("\x03\x00\x00\x05\x00\x00\x09"), nil, false, false, false},
		{"end marker cut", raw("\x03\x00\x00"), nil, false, false, false},
		{"class name cut", raw("\x10\x00\x05c"), nil, false, false, false},
		{"property without a value", raw("\x03\x00\x01a"), nil, false, false, false},
	} {
		b := rtmptest.AMF(c.in)
		for _, lenient := range []bool{false, true} {
			d := newDecoder(b, lenient)
			got, err := d.all()
			ok := lenient && c.lenient || !lenient && c.strict
			switch {
			case ok != (err == nil):
				t.Errorf("%s, lenient %v: %v", c.name, lenient, err)
			case ok && !reflect.DeepEqual(got, []Value{c.want}):
				t.Errorf("%s, lenient %v: got %#v", c.name, lenient, got)
			case ok && d.rare != c.rare:
				t.Errorf("%s: rare is %v", c.name, d.rare)
			}
		}
	}
}

// TestAMF0Bounds holds each bound against both of its sides.
func TestAMF0Bounds(t *testing.T) {
	deep := func(open, end string) func(n int) []byte {
		return func(n int) []byte { return []byte(strings.Repeat(open, n) + "\x05" + strings.Repeat(end, n)) }
	}
	properties := func(n int) []byte {
		return []byte("\x03" + strings.Repeat("\x00\x01a\x05", n) + "\x00\x00\x09")
	}
	for _, c := range []struct {
		name string
		most int
		of   func(n int) []byte
	}{
		// The innermost value lies one level deeper than its containers.
		{"depth of objects", maxAMFDepth - 1, deep("\x03\x00\x01a", "\x00\x00\x09")},
		{"depth of arrays", maxAMFDepth - 1, deep("\x0a\x00\x00\x00\x01", "")},
		{"depth of ECMA arrays", maxAMFDepth - 1, deep("\x08\x00\x00\x00\x01\x00\x01a", "\x00\x00\x09")},
		{"properties", maxAMFProperties - 1, properties}, // the object is one more
		{"values", maxAMFProperties, func(n int) []byte { return bytes.Repeat([]byte{amfNull}, n) }},
		{"elements", maxAMFProperties - 1, func(n int) []byte { return rtmptest.AMF(make([]any, n)) }},
		{"key", maxAMFKey, func(n int) []byte { return rtmptest.AMF(rtmptest.Object{{Key: strings.Repeat("k", n), Value: nil}}) }},
		{"string", maxAMFString, func(n int) []byte { return rtmptest.AMF(strings.Repeat("s", n)) }},
	} {
		for _, lenient := range []bool{false, true} {
			if _, err := newDecoder(c.of(c.most), lenient).all(); err != nil {
				t.Errorf("%s of %d: %v", c.name, c.most, err)
			}
			if _, err := newDecoder(c.of(c.most+1), lenient).all(); err == nil {
				t.Errorf("%s of %d is taken", c.name, c.most+1)
			}
		}
	}
	long := func(n int) []byte {
		return append([]byte{amfLongString, 0, 0, byte(n >> 8), byte(n)}, make([]byte, n)...)
	}
	if _, err := newDecoder(long(maxAMFString), true).all(); err != nil {
		t.Error(err)
	}
	if _, err := newDecoder(long(maxAMFString+1), true).all(); err == nil {
		t.Error("a long string above the limit is taken")
	}
}

// TestAMF0AllocatesByWhatIsThere: counts and lengths are only claims.
func TestAMF0AllocatesByWhatIsThere(t *testing.T) {
	for _, b := range [][]byte{
		[]byte("\x0a\x7f\xff\xff\xff\x05"), []byte("\x08\x7f\xff\xff\xff"), []byte("\x02\xff\xff"), []byte("\x0c\x7f\xff\xff\xff"),
	} {
		const runs = 1000
		n := allocated(func() {
			for range runs {
				_, _ = newDecoder(b, true).all()
			}
		})
		if n > 256*runs {
			t.Errorf("% x makes %d bytes", b, n/runs)
		}
	}
}

func TestAMF0IsWrittenAsOthersReadIt(t *testing.T) {
	in := []Value{"name", 2, 3.5, true, false, nil, Object{{"k", "v"}, {"o", Object{{"n", 1}}}}, []Value{"a", nil}}
	want := []any{"name", 2.0, 3.5, true, false, nil,
		rtmptest.Object{{Key: "k", Value: "v"}, {Key: "o", Value: rtmptest.Object{{Key: "n", Value: 1.0}}}}, []any{"a", nil}}
	got, err := rtmptest.DecodeAMF(appendAMF(nil, in...))
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %#v, %v", got, err)
	}
	cut, err := rtmptest.DecodeAMF(appendAMF(nil, strings.Repeat("x", math.MaxUint16+9), "next"))
	if err != nil || len(cut) != 2 || len(cut[0].(string)) != math.MaxUint16 {
		t.Errorf("a string that is too long: %v", err)
	}
	defer func() {
		if recover() == nil {
			t.Error("a type without an AMF0 form was written")
		}
	}()
	appendAMF(nil, struct{}{})
}
