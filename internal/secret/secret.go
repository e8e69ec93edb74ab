// Package secret holds text that must never be printed: stream keys, tokens,
// query strings. No verb of fmt, no encoder and no logger gets the text out;
// only Reveal does, and each call of it can be found by name.
package secret

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
)

// shown stands for every secret that somebody tries to print.
const shown = "[secret]"

// Text is a string that does not print. The zero value is the empty text.
// Compare with Equal: == tells only whether two were copied from one.
type Text struct {
	// A pointer, because fmt calls no method of what stands in an unexported
	// field of a struct: it would print a string there, and prints an address.
	s *string
}

// New wraps s.
func New(s string) Text {
	if s == "" {
		return Text{}
	}
	return Text{&s}
}

// Reveal returns the text itself. The caller must not print it.
func (t Text) Reveal() string {
	if t.s == nil {
		return ""
	}
	return *t.s
}

// Equal compares in constant time, but for the length.
func (t Text) Equal(u Text) bool {
	return subtle.ConstantTimeCompare([]byte(t.Reveal()), []byte(u.Reveal())) == 1
}

// Empty reports whether there is no text.
func (t Text) Empty() bool { return t.s == nil }

// String returns a placeholder, never the text.
func (t Text) String() string { return shown }

// GoString returns a placeholder, never the text.
func (t Text) GoString() string { return shown }

// Format writes a placeholder for every verb and flag of fmt.
func (t Text) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, shown) }

// MarshalText gives encoders (JSON, TOML) a placeholder.
func (t Text) MarshalText() ([]byte, error) { return []byte(shown), nil }

// LogValue gives log/slog a placeholder.
func (t Text) LogValue() slog.Value { return slog.StringValue(shown) }

// perProcess keys the fingerprints, so that one taken from a log cannot be
// tried against a list of guesses by anyone else.
var perProcess = func() []byte {
	k := make([]byte, 32)
	_, _ = rand.Read(k) // never fails: crypto/rand ends the process instead
	return k
}()

// Fingerprint returns 8 hex digits that stand for the text in logs of this
// process: the same text gives the same digits until the process ends.
func (t Text) Fingerprint() string {
	m := hmac.New(sha256.New, perProcess)
	_, _ = io.WriteString(m, t.Reveal())
	return hex.EncodeToString(m.Sum(nil)[:4])
}
