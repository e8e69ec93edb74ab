package authz

import (
	"strings"
	"testing"
)

func TestCanonicalName(t *testing.T) {
	for s, want := range map[string]bool{
		"live": true, "live/room-1/a_b.c~d": true, strings.Repeat("a", 255): true,
		"": false, "/": false, "a/": false, "/a": false, "a//b": false, "..": false, "live...vhost...x": false, "a/../b": false, ".": false,
		"a b": false, "a%2e": false, "a?b": false, "a#b": false, "a\x00": false, "ü": false, "a'b": false,
		strings.Repeat("a", 256): false,
	} {
		if CanonicalName(s) != want {
			t.Errorf("CanonicalName(%.20q) = %v", s, !want)
		}
	}
}
