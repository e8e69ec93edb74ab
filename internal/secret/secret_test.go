package secret

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
)

func TestTextNeverPrints(t *testing.T) {
	const text = "hunter2-distinctive"
	s := New(text)
	holder := struct {
		Key  Text
		Ptr  *Text
		List []Text

		hidden  Text // fmt calls no methods here
		hiddens []Text
		hash    map[string]Text
	}{s, &s, []Text{s}, s, []Text{s}, map[string]Text{"a": s}}
	js, err := json.Marshal(holder)
	if err != nil {
		t.Fatal(err)
	}
	outputs := []string{string(js), fmt.Sprint(errors.New("x " + s.String()))}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d", "%10.3s"} {
		outputs = append(outputs, fmt.Sprintf(verb, s), fmt.Sprintf(verb, holder))
	}
	for _, out := range outputs {
		if strings.Contains(out, text) || strings.Contains(out, fmt.Sprintf("%x", text)) {
			t.Errorf("printed: %s", out)
		}
	}
}

func TestTextIsAValue(t *testing.T) {
	for _, text := range []string{"", "a", "hunter2"} {
		s := New(text)
		if s.Reveal() != text || s.Empty() != (text == "") || !s.Equal(New(text)) || s.Equal(New(text+"x")) {
			t.Errorf("%q: got %q, empty %v", text, s.Reveal(), s.Empty())
		}
	}
	if zero := (Text{}); !zero.Equal(New("")) || !zero.Empty() || zero.Reveal() != "" {
		t.Error("the zero value is not the empty text")
	}
}

func TestFingerprint(t *testing.T) {
	a, b := New("a"), New("b")
	if a.Fingerprint() != New("a").Fingerprint() || a.Fingerprint() == b.Fingerprint() {
		t.Error("fingerprints must be equal for equal texts and differ for others")
	}
	if len(a.Fingerprint()) != 8 {
		t.Errorf("got %q, want 8 hex digits", a.Fingerprint())
	}
}
