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
	}{s, &s, []Text{s}}
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

func TestFingerprint(t *testing.T) {
	a, b := New("a"), New("b")
	if a.Fingerprint() != New("a").Fingerprint() || a.Fingerprint() == b.Fingerprint() {
		t.Error("fingerprints must be equal for equal texts and differ for others")
	}
	if len(a.Fingerprint()) != 8 {
		t.Errorf("got %q, want 8 hex digits", a.Fingerprint())
	}
}
