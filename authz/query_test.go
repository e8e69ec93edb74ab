package authz

import (
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"rtmps-edge/internal/secret"
)

func TestUnescape(t *testing.T) {
	for s, want := range map[string]string{
		"": "", "a+b": "a+b", "%41": "A", "%2f%2F": "//", "%2541": "%41", "a%00b": "a\x00b",
		"%": "%", "%4": "%4", "%zz": "%zz", "%41%zz": "%41%zz", "100%": "100%",
	} {
		if got := unescape(s); got != want {
			t.Errorf("%q: got %q, want %q", s, got, want)
		}
	}
}

func TestParseQuery(t *testing.T) {
	got := parseQuery("a=1&&b=x=y&c&=d&%61=2&e=%26f%3D1", true)
	want := params{{"a", "1", "a=1"}, {"b", "x=y", "b=x=y"}, {"c", "", "c"}, {"", "d", "=d"}, {"%61", "2", "%61=2"}, {"e", "&f=1", "e=%26f%3D1"}}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(param{})); diff != "" {
		t.Error(diff)
	}
	if v, ok, err := got.one("b"); v != "x=y" || !ok || err != nil {
		t.Errorf("got %q, %v, %v", v, ok, err)
	}
	if v, ok, err := got.one("f"); v != "" || ok || err != nil {
		t.Errorf("an escaped separator separates: %q, %v, %v", v, ok, err)
	}
	if _, _, err := parseQuery("a=1&a=1", false).one("a"); err == nil || err.Error() != "the parameter a stands there twice" {
		t.Errorf("got %v", err)
	}
}

func TestReadings(t *testing.T) {
	read := func(key, query string) []reading {
		return readings(Request{Key: secret.New(key), Query: secret.New(query)})
	}
	if got := read("a", "b=c"); len(got) != 1 || !got[0].decoded || got[0].name != "a" {
		t.Errorf("got %+v", got)
	}
	if got := read("a%2541", "b=%2542"); len(got) != 2 || got[0].name != "a%41" || got[0].params[0].value != "%42" || got[1].name != "a%2541" || got[1].params[0].value != "%2542" {
		t.Errorf("got %+v", got)
	}
	if got := read("a", strings.Repeat("b", maxQuery+1)); got != nil {
		t.Error("a query without bound")
	}
}

// FuzzUnescape holds it against net/url, which differs in plus signs only.
func FuzzUnescape(f *testing.F) {
	f.Add("a%2Fb+c%zz")
	f.Fuzz(func(t *testing.T, s string) {
		want, err := url.PathUnescape(s)
		if err != nil {
			want = s
		}
		if got := unescape(s); got != want {
			t.Errorf("%q: got %q, want %q", s, got, want)
		}
	})
}
