package authz

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"
	"unicode"

	"rtmps-edge/internal/bitrate"
	"rtmps-edge/internal/fault"
	"rtmps-edge/internal/glob"
	"rtmps-edge/internal/secret"
)

// keyTable reads one [[key]]. Each method takes one value out of values, so
// that what is left in the end is not known.
type keyTable struct {
	file   string
	values map[string]any
	at     place
	faults *fault.List
}

func (t *keyTable) key() Key {
	k := Key{
		Line:      t.at.line,
		Subject:   t.subject(),
		Actions:   t.actions(),
		App:       t.app(),
		Name:      t.text("name"),
		Origin:    t.text("origin"),
		From:      t.networks(),
		NotBefore: t.time("not_before"),
		Expires:   t.time("expires"),
		Bitrate:   t.bitrate(),
	}
	k.Hash, k.Plain = t.hash()
	k.Disabled = t.disabled()
	if !k.Expires.IsZero() && !k.NotBefore.Before(k.Expires) {
		t.fault("expires", k.Expires.Format(time.RFC3339), "must be after not_before")
	}
	for name := range maps.Keys(t.values) {
		t.fault(name, nil, "is not known: must be one of subject, hash, actions, app, name, origin, from, not_before, expires, bitrate, disabled")
	}
	return k
}

// fault notes what is wrong with key. Its value is nil if it may be a secret.
func (t *keyTable) fault(key string, value any, problem string) {
	f := fault.Fault{File: t.file, Line: t.at.keys[key], Key: key, Problem: problem}
	if f.Line == 0 {
		f.Line = t.at.line // is missing
	}
	if value != nil {
		f.Value = shown(value)
	}
	t.faults.Add(f)
}

// shown gives the beginning of a value.
func shown(value any) string {
	s := fmt.Sprint(value)
	if len(s) > maxShown {
		s = strings.ToValidUTF8(s[:maxShown], "") + "…"
	}
	return s
}

func (t *keyTable) take(key string) (v any, ok bool) {
	v, ok = t.values[key]
	delete(t.values, key)
	return v, ok
}

// text reads a string that may be anything, as it is the owner's own. "" if it
// is missing.
func (t *keyTable) text(key string) string {
	v, ok := t.take(key)
	s, isText := v.(string)
	if ok && (!isText || len(s) > MaxKeyLength) {
		t.fault(key, v, fmt.Sprintf("must be a string of at most %d bytes", MaxKeyLength))
		return ""
	}
	return s
}

func (t *keyTable) subject() string {
	v := t.values["subject"]
	s := t.text("subject")
	if v == nil || v == "" {
		t.fault("subject", nil, "must say who owns the key")
	}
	if strings.ContainsFunc(s, unicode.IsControl) {
		t.fault("subject", s, "must be without control characters")
	}
	return s
}

func (t *keyTable) app() string {
	s := t.text("app")
	if err := glob.Valid(s); err != nil {
		t.fault("app", s, err.Error())
	}
	return s
}

// hash never tells what it has read.
func (t *keyTable) hash() (h Hash, plain bool) {
	v, _ := t.take("hash")
	s, _ := v.(string)
	if digits, ok := strings.CutPrefix(s, sha256Prefix); ok {
		sum, err := hex.DecodeString(digits)
		if err != nil || len(sum) != sha256.Size {
			t.fault("hash", nil, "must have 64 hex digits after sha256:")
			return Hash{}, false
		}
		return Hash{[sha256.Size]byte(sum)}, false
	}
	if key, ok := strings.CutPrefix(s, plainPrefix); ok {
		if key == "" || len(key) > MaxKeyLength || strings.Contains(key, "?") {
			t.fault("hash", nil, fmt.Sprintf("must have 1 to %d bytes without a question mark after plain:", MaxKeyLength))
			return Hash{}, true
		}
		return HashOf(secret.New(key)), true
	}
	problem := `must be "sha256:" and 64 hex digits, as "rtmps-edge key hash" prints`
	if strings.HasPrefix(s, argonPrefix) {
		problem = `must be "sha256:" and 64 hex digits: argon2id is not built yet`
	}
	t.fault("hash", nil, problem)
	return Hash{}, false
}

func (t *keyTable) actions() []Action {
	v, ok := t.take("actions")
	if !ok {
		return []Action{Publish}
	}
	list, isList := v.([]any)
	var actions []Action
	for _, item := range list {
		s, _ := item.(string)
		a := Action(s)
		if a != Publish && a != Play {
			isList = false
			break
		}
		if !slices.Contains(actions, a) {
			actions = append(actions, a)
		}
	}
	if !isList || len(actions) == 0 {
		t.fault("actions", v, `must be ["publish"], ["play"] or both`)
	}
	return actions
}

func (t *keyTable) networks() []netip.Prefix {
	v, ok := t.take("from")
	list, isList := v.([]any)
	if ok && !isList {
		t.fault("from", v, "must be a list of networks")
	}
	var networks []netip.Prefix
	for _, item := range list {
		s, _ := item.(string)
		p, err := ParseNetwork(s)
		if err != nil {
			t.fault("from", item, err.Error())
			continue
		}
		networks = append(networks, p)
	}
	return networks
}

func (t *keyTable) time(key string) time.Time {
	v, ok := t.take(key)
	at, isTime := v.(time.Time)
	if ok && !isTime {
		t.fault(key, v, "must be a date and time with its offset, unquoted, such as 2027-01-01T00:00:00Z")
	}
	return at
}

func (t *keyTable) bitrate() int64 {
	v, ok := t.take("bitrate")
	n, err := int64(0), error(nil)
	switch v := v.(type) {
	case string:
		n, err = bitrate.Parse(v)
	case int64:
		if n = v; n < 0 || n > bitrate.Max {
			err = bitrate.ErrSyntax
		}
	default:
		if ok {
			err = bitrate.ErrSyntax
		}
	}
	if err != nil {
		t.fault("bitrate", v, err.Error())
	}
	return n
}

func (t *keyTable) disabled() bool {
	v, ok := t.take("disabled")
	b, isBool := v.(bool)
	if ok && !isBool {
		t.fault("disabled", v, "must be true or false")
	}
	return b
}

// ParseNetwork reads a CIDR or a single address, IPv4 or IPv6, as the network
// that it is in: "10.1.2.3/8" is 10.0.0.0/8. IPv4-mapped IPv6 is IPv4. The
// error says what is allowed without repeating s.
func ParseNetwork(s string) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(s)
	if addr, addrErr := netip.ParseAddr(s); addrErr == nil {
		p, err = netip.PrefixFrom(addr.WithZone(""), addr.BitLen()), nil
		if addr.Zone() != "" {
			err = errNetwork
		}
	}
	if err == nil && p.Addr().Is4In6() {
		if p.Bits() < 96 {
			return netip.Prefix{}, errNetwork
		}
		p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	if err != nil {
		return netip.Prefix{}, errNetwork
	}
	return p.Masked(), nil
}

var errNetwork = fmt.Errorf("must be a network or an address, such as %q, %q or %q", "192.0.2.0/24", "2001:db8::/32", "192.0.2.1")
