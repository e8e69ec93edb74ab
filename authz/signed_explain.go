package authz

import (
	"crypto/subtle"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"
)

// Explanation says in words what became of a signed key. It holds no secret
// and no signature, neither the one given nor the one expected.
type Explanation struct {
	Good  bool
	Lines []string
}

// Explain judges a key as Authorize does, and says why it fails. r.Client may
// be left out: then the key's address is not judged.
func (s *Signed) Explain(r Request) Explanation {
	now := time.Now()
	e := Explanation{Lines: []string{fmt.Sprintf("scheme %s: %s of %q in app %q", s.cfg.Scheme, r.Action, unescape(r.Key.Reveal()), r.App)}}
	say := func(format string, args ...any) { e.Lines = append(e.Lines, fmt.Sprintf(format, args...)) }
	if !s.isFor(r) {
		say("refused: this scheme is not configured for %s in this app", r.Action)
		return e
	}
	v := s.judge(r, now)
	if v.unknown {
		say("refused: %s", s.whyUnknown(r))
		return e
	}
	if v.by != nil {
		say("signed with secret %d of %d", v.number, len(*s.secrets.Load()))
	}
	e.Lines = append(e.Lines, v.claim.explain(now)...)
	if v.why == "not from this address" && !r.Client.Addr().IsValid() {
		v.why = ""
		say("whether the client comes from there was not looked at")
	}
	if v.why != "" {
		say("refused: %s", v.why)
		e.Lines = append(e.Lines, s.hints(v)...)
		return e
	}
	e.Good = true
	say("good")
	return e
}

// whyUnknown says why none of the readings is the scheme's.
func (s *Signed) whyUnknown(r Request) string {
	if r.Key.Empty() {
		return "there is no stream name before the question mark"
	}
	for _, k := range readings(r) {
		if _, err := s.scheme.read(k); err != nil {
			return err.Error()
		}
	}
	return fmt.Sprintf("the query is longer than %d bytes", maxQuery)
}

// explain says what a key claims.
func (c claim) explain(now time.Time) []string {
	var lines []string
	at := func(what string, t time.Time) {
		if t.IsZero() {
			return
		}
		distance := t.Sub(now).Round(time.Second)
		when := "in " + distance.String()
		if distance <= 0 {
			when = (-distance).String() + " ago"
		}
		lines = append(lines, fmt.Sprintf("%s %s, %s", what, t.UTC().Format(time.RFC3339), when))
	}
	at("valid from", c.begin)
	at("expires", c.end)
	if c.end.IsZero() && c.sum != nil {
		lines = append(lines, "never expires")
	}
	if !c.ends.Equal(c.end) {
		at("the stream ends", c.ends)
	}
	if len(c.from) > 0 {
		lines = append(lines, "for clients in "+strings.Join(texts(c.from, netip.Prefix.String), ", "))
	}
	return lines
}

func texts[T any](items []T, text func(T) string) []string {
	all := make([]string, len(items))
	for i, item := range items {
		all[i] = text(item)
	}
	return all
}

// hints tries what goes wrong most when others sign.
func (s *Signed) hints(v verdict) []string {
	if v.by != nil || v.claim.sum == nil {
		return nil
	}
	var lines []string
	if other := v.claim.other; other != nil {
		for _, a := range []Action{Publish, Play} {
			if a != v.read.action && s.signed(other(a), "") {
				lines = append(lines, fmt.Sprintf("the key is good for %s", a))
			}
		}
	}
	for _, end := range []string{"\n", "\r\n", " "} {
		if s.signed(v.claim, end) {
			lines = append(lines, "it was signed with a line end or a blank behind the secret: sign with the secret alone")
			break
		}
	}
	if len(lines) == 0 {
		lines = append(lines, "another secret was used, or something that is signed was changed: name, app, time, or the order of the parts")
	}
	return lines
}

// signed reports whether a secret, with more behind it, gives the signature.
func (s *Signed) signed(c claim, behind string) bool {
	for _, sec := range *s.secrets.Load() {
		if subtle.ConstantTimeCompare(c.given, c.sum(sec.Reveal()+behind)) == 1 {
			return true
		}
	}
	return false
}

var errNoSchemes = errors.New("no signed scheme is configured")

// Explain explains the key by the scheme that finds it good, or else by the
// first that it is for, or else by the first.
func (set SignedSet) Explain(r Request) (Explanation, error) {
	if len(set) == 0 {
		return Explanation{}, errNoSchemes
	}
	best, chosen := set[0].Explain(r), false
	for _, s := range set {
		e := s.Explain(r)
		if e.Good {
			return e, nil
		}
		if !chosen && !s.judge(r, time.Now()).unknown {
			best, chosen = e, true
		}
	}
	return best, nil
}

// For returns the schemes of the given name, or all for "".
func (set SignedSet) For(scheme string) SignedSet {
	var some SignedSet
	for _, s := range set {
		if scheme == "" || s.cfg.Scheme == scheme {
			some = append(some, s)
		}
	}
	return some
}
