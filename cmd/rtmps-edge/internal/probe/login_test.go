package probe

import "testing"

// With and without something opaque, which stands in the place of the challenge.
func TestResponse(t *testing.T) {
	target, err := ParseURL("rtmps://alice:pass-word-1@h/live/key")
	if err != nil {
		t.Fatal(err)
	}
	for query, want := range map[string]string{
		"reason=needauth&user=alice&salt=salt1&challenge=C4aLl3n6":                  "&challenge=0a1b2c3d&response=V+AaGeFaaZgVzpJnuFjDCA==&opaque=",
		"reason=needauth&user=alice&salt=salt1&challenge=C4aLl3n6&opaque=opaque== ": "&challenge=0a1b2c3d&response=6k2U5I+P9i5lW33V8gFDkQ==&opaque=opaque==",
	} {
		if got := response(target, fields(query), "0a1b2c3d"); got != want {
			t.Errorf("%s: %s, want %s", query, got, want)
		}
	}
}

func TestAppOfLogin(t *testing.T) {
	for url, want := range map[string]string{"rtmp://u:p@h/live": "live?authmod=adobe&user=u", "rtmp://u:p@h/live?x=1": "live?x=1&authmod=adobe&user=u"} {
		target, err := ParseServer(url, "key")
		if err != nil {
			t.Fatal(err)
		}
		if got := (login{1, "authmod=adobe&user=u"}).app(target); got != want {
			t.Errorf("%s: %s", url, got)
		}
		if got := (login{}).app(target); got != target.app.Reveal() {
			t.Errorf("%s: %s before the login", url, got)
		}
	}
}
