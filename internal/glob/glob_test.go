package glob

import (
	"path"
	"strings"
	"testing"
	"time"
)

func TestMatch(t *testing.T) {
	for _, c := range []struct {
		pattern, s string
		want       bool
	}{
		{"", "", true}, {"", "a", false}, {"a", "", false}, {"*", "", true}, {"*", "a/b", true},
		{"live*", "live", true}, {"live*", "live/x/y", true}, {"live*", "Live", false}, {"live*", "alive", false},
		{"*.example.com", "a.b.example.com", true}, {"*.example.com", "example.com", false},
		{"a*b*c", "a1b2b3c", true}, {"a*b*c", "a1b2b3", false}, {"**a**", "bab", true},
		{"?", "ä", true}, {"?", "", false}, {"??", "ä", false}, {"?", "\xff", true}, {"?", "/", true},
		{"[a-c]", "b", true}, {"[a-c]", "d", false}, {"[^a-c]", "d", true}, {"[^a-c]", "b", false}, {"[^a-c]", "", false},
		{"[xyz]*", "yes", true}, {"[ä-ü]", "ö", true}, {`[\]]`, "]", true}, {`[\-x]`, "-", true},
		{`\*`, "*", true}, {`\*`, "a", false}, {`\\`, `\`, true}, {`\ä*`, "äh", true},
		{"\xff", "\xff", true}, {"\xff", "\xfe", false}, {"*\xe4", "a\xe4", true}, {"*b", "a\x00b", true},
		{"[", "[", false}, {"[]", "]", false}, {"[a", "a", false}, {"[b-a]", "a", false}, {`\`, `\`, false}, {"[-]", "-", false}, {"[a-]", "a", false},
		{"ab[", "x", false},
	} {
		if got := Match(c.pattern, c.s); got != c.want {
			t.Errorf("Match(%q, %q) = %v", c.pattern, c.s, got)
		}
	}
}

func TestValid(t *testing.T) {
	for _, p := range []string{"", "*", "a?[b-c]", `\[`, "\xff", "]", "a-b", "^"} {
		if Valid(p) != nil {
			t.Errorf("%q is not valid", p)
		}
	}
	for _, p := range []string{"[", "[]", "[^]", "[a", "[a-", "[a-]", "[z-a]", `\`, `[\`, "*[", "[-a]"} {
		if Valid(p) != ErrPattern {
			t.Errorf("%q is valid", p)
		}
	}
}

// What a client sends must not keep the edge busy.
func TestNoBlowUp(t *testing.T) {
	s := strings.Repeat("a", 10_000)
	start := time.Now()
	for _, p := range []string{strings.Repeat("*a", 100) + "b", strings.Repeat("*", 200) + "b", strings.Repeat("*?", 100) + "[b]", "*" + strings.Repeat("a", 200) + "b"} {
		if Match(p, s) {
			t.Errorf("%q matches", p)
		}
	}
	if d := time.Since(start); d > 10*time.Second { // milliseconds; exponential would be for ever
		t.Errorf("took %v", d)
	}
}

// Without slashes it is path.Match.
func FuzzMatch(f *testing.F) {
	f.Add("a*[b-c]?", "axxby")
	f.Add(`\*[^a]`, "*b")
	f.Add("*\xff", "a\xff")
	f.Fuzz(func(t *testing.T, pattern, s string) {
		if len(pattern) > 100 || len(s) > 1000 {
			return
		}
		got := Match(pattern, s)
		if Valid(pattern) != nil {
			if got {
				t.Fatalf("%q is not valid and matches %q", pattern, s)
			}
			return
		}
		if strings.Contains(s, "/") || strings.ContainsRune(pattern+s, '\uFFFD') || strings.ToValidUTF8(pattern+s, "") != pattern+s {
			return // path.Match treats these in its own way
		}
		want, err := path.Match(pattern, s)
		if err != nil {
			t.Fatalf("%q is valid, but not for path.Match", pattern)
		}
		if got != want {
			t.Fatalf("Match(%q, %q) = %v", pattern, s, got)
		}
	})
}
