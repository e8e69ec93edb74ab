package fault

import (
	"errors"
	"testing"
)

func TestString(t *testing.T) {
	for _, c := range []struct {
		f    Fault
		want string
	}{
		{Fault{}, ""},
		{Fault{File: "a.toml"}, "a.toml"},
		{Fault{File: "a.toml", Line: 3, Key: "k", Value: "v", Problem: "no"}, `a.toml:3: k = "v": no`},
		{Fault{Line: 3, Key: "k", Problem: "no"}, `line 3: k: no`},
		{Fault{File: "a.toml", Key: "k", Problem: "no"}, `a.toml: k: no`},
		{Fault{File: "a.toml", Value: "v", Problem: "no"}, `a.toml: "v": no`},
		{Fault{Key: "k", Value: "a\n\x1b", Problem: "no"}, `k = "a\n\x1b": no`},
	} {
		if got := c.f.String(); got != c.want {
			t.Errorf("got %q, want %q", got, c.want)
		}
	}
}

func TestList(t *testing.T) {
	var l List
	if err := l.Err(); err != nil {
		t.Fatalf("empty list is an error: %v", err)
	}
	l.Add(Fault{Key: "a", Problem: "1"})
	l.Add(Fault{Key: "b", Problem: "2"})
	err := l.Err()
	if err == nil || err.Error() != "a: 1\nb: 2" {
		t.Fatalf("got %v", err)
	}
	var got List
	if !errors.As(err, &got) || len(got) != 2 {
		t.Fatalf("the list is lost in the error: %v", got)
	}
}
