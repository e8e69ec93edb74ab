package probe

import (
	"strings"
	"testing"
)

func TestParseURL(t *testing.T) {
	for url, want := range map[string]Target{
		"rtmps://edge.test/live/key":                 {Secure: true, Host: "edge.test", Port: "443"},
		"rtmp://edge.test/live/key":                  {Host: "edge.test", Port: "1935"},
		"RTMPS://edge.test:1936/live/key":            {Secure: true, Host: "edge.test", Port: "1936"},
		"rtmp://[2001:db8::1]:1936/live/key":         {Host: "2001:db8::1", Port: "1936"},
		"rtmp://edge.test/live/key?a=b/c&d=http://e": {Host: "edge.test", Port: "1935"},
		"rtmp://edge.test/a/b/key#part":              {Host: "edge.test", Port: "1935"},
		"rtmp://edge.test//key":                      {Host: "edge.test", Port: "1935"},
	} {
		got, err := ParseURL(url)
		if err != nil || got.Secure != want.Secure || got.Host != want.Host || got.Port != want.Port {
			t.Errorf("%s: %+v, %v", url, got, err)
		}
	}
	for url, want := range map[string][2]string{
		"rtmp://h/live/key":           {"live", "key"},
		"rtmp://h/live/sub/key?t=a/b": {"live/sub", "key?t=a/b"},
		"rtmp://h/live/key#x%20y":     {"live", "key#x%20y"},
		"rtmp://h//key":               {"", "key"},
		"rtmp://h/live/key/":          {"live", "key/"},
	} {
		got, err := ParseURL(url)
		if err != nil || got.app.Reveal() != want[0] || got.name.Reveal() != want[1] {
			t.Errorf("%s: %q %q, %v", url, got.app.Reveal(), got.name.Reveal(), err)
		}
	}
}

// What is refused is not repeated: there is a key in it.
func TestBadURLs(t *testing.T) {
	for _, url := range []string{
		"", "SECRET", "http://h/live/SECRET", "rtmp://", "rtmp:///live/SECRET", "rtmp://h/SECRET", "rtmp://h", "rtmp://h/live/", "rtmp://h/live",
		"rtmp://h:port/live/SECRET", "rtmp://SECRET@h/live/SECRET", "rtmp://:SECRET@h/live/SECRET", "rtmp://h?SECRET/live/x", "rtmp://h h/live/SECRET", "rtmp://%zz/live/SECRET",
	} {
		got, err := ParseURL(url)
		if err == nil || strings.Contains(err.Error(), "SECRET") {
			t.Errorf("%q: %+v, %v", url, got, err)
		}
	}
}

func TestParseServer(t *testing.T) {
	got, err := ParseServer("rtmps://h/live?token=app-token/", "key?x=1")
	if err != nil || got.app.Reveal() != "live?token=app-token" || got.name.Reveal() != "key?x=1" || got.tcURL(got.app.Reveal()) != "rtmps://h:443/live?token=app-token" {
		t.Errorf("%+v, %v", got, err)
	}
	if got, err := ParseServer("rtmps://h/live", ""); err == nil {
		t.Errorf("%+v without a key", got)
	}
}

func TestUserInURL(t *testing.T) {
	got, err := ParseURL("rtmps://alice:pass%20word@h:1936/live/key")
	if err != nil || got.user != "alice" || got.password.Reveal() != "pass word" || got.Host != "h" || got.tcURL("live") != "rtmps://h:1936/live" {
		t.Errorf("%+v, %v", got, err)
	}
	if said := got.quote("no pass word, no PASS WORD"); said != `"no [key], no [key]"` {
		t.Error(said)
	}
}

func TestQuote(t *testing.T) {
	target, err := ParseServer("rtmps://h/live?a=app-token", "KEY%20one?sig=abc%2Bdef&n=1")
	if err != nil {
		t.Fatal(err)
	}
	for said, want := range map[string]string{
		"":                                     `""`,
		"KEY%20one is bad":                     `"[key] is bad"`,
		"key one, KEY%20ONE?sig=abc%2Bdef&n=1": `"[key], [key]"`,
		"ABC+DEF app-token abc%2Bdef":          `"[key] [key] [key]"`,
		"1 stays":                              `"1 stays"`,
		"\x1b[0m\nFAIL":                        `"\x1b[0m\nFAIL"`,
		strings.Repeat("long", 200):            `"` + strings.Repeat("long", 75) + `…"`,
	} {
		if got := target.quote(said); got != want {
			t.Errorf("%q: %s, want %s", said, got, want)
		}
	}
}

func FuzzParseURL(f *testing.F) {
	for _, s := range []string{"rtmps://h/live/key", "rtmp://[::1]:1/a/b?c", "rtmp://u@h/a/b", "://", "rtmp://h%25/a/b"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		target, err := ParseURL(s)
		if err == nil && (target.Host == "" || target.Port == "" || target.name.Empty()) {
			t.Errorf("%q: %+v", s, target)
		}
		if err == nil {
			_ = target.quote(s)
		}
	})
}
