package corpus_test

import (
	"testing"

	"rtmps-edge/internal/corpus"
)

func TestSessionsAreWhole(t *testing.T) {
	names := map[string]bool{}
	for _, s := range corpus.Sessions(t) {
		if names[s.Name] {
			t.Errorf("%s stands twice in the index", s.Name)
		}
		names[s.Name] = true
		if s.Client == "" || s.Origin == "" || (s.Action != "publish" && s.Action != "play") {
			t.Errorf("%s: incomplete entry %q %q %q", s.Name, s.Client, s.Origin, s.Action)
		}
		if len(s.C2S) < 1537 || s.C2S[0] != 3 {
			t.Errorf("%s: the first connection does not begin with a handshake", s.Name)
		}
	}
	if n := len(corpus.Publishing(t)) + len(corpus.Playing(t)); n < 80 {
		t.Errorf("%d usable sessions, want at least 80", n)
	}
}

func TestGetFindsByName(t *testing.T) {
	if s := corpus.Get(t, "obs-publish-nginx"); s.Stream != "okey?token=abc&exp=1" {
		t.Errorf("stream %q", s.Stream)
	}
}
