package rtmptest_test

import (
	"reflect"
	"strings"
	"testing"

	. "rtmps-edge/rtmp/rtmptest"
)

func TestAMFRoundTrip(t *testing.T) {
	want := []any{
		"connect", 1.5, true, false, nil, Undefined{}, strings.Repeat("x", 70000),
		Object{{"app", "live"}, {"app", "again"}, {"in", Object{}}},
		ECMAArray{{"width", 320.0}}, []any{"avc1", 2.0}, Date(12345),
	}
	got, err := DecodeAMF(AMF(want...))
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%v %v", got, err)
	}
}

func TestAMFIsThatOfTheSpecification(t *testing.T) {
	got := string(AMF("ab", 1, true, nil, Object{{"k", "v"}}, []any{false}, Raw{0xfe}))
	want := "\x02\x00\x02ab\x00\x3f\xf0\x00\x00\x00\x00\x00\x00\x01\x01\x05" +
		"\x03\x00\x01k\x02\x00\x01v\x00\x00\x09\x0a\x00\x00\x00\x01\x01\x00\xfe"
	if got != want {
		t.Errorf("% x\n% x", got, want)
	}
}

func TestDecodeAMFRefuses(t *testing.T) {
	for _, bad := range []string{
		"\x02\x00\x05ab", "\x03\x00\x01k", "\x04", "\x11", "\x0a\xff\xff\xff\xff", "\x00\x00",
		"\x03\x00\x00\x01\x01", strings.Repeat("\x0a\x00\x00\x00\x01", 1000) + "\x05",
	} {
		if v, err := DecodeAMF([]byte(bad)); err == nil {
			t.Errorf("%.20q gives %v", bad, v)
		}
	}
}
