package authz

import (
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
)

// entryTable reads one entry of a file. Each method takes one value out of
// values, so that what is left in the end is not known.
type entryTable struct {
	file   string
	table  string // [[table]]
	values map[string]any
	at     place
	faults *fault.List
	known  []string // the keys that were asked for
}

// terms reads the keys that all entries have, but for name: what that means
// differs. The subject is owner if there is none; with "" there must be one.
func (t *entryTable) terms(owner string) Terms {
	terms := Terms{
		Subject:   t.subject(owner),
		Actions:   t.actions(),
		App:       t.glob("app"),
		Origin:    t.text("origin"),
		From:      t.networks(),
		NotBefore: t.time("not_before"),
		Expires:   t.time("expires"),
		Bitrate:   t.bitrate(),
		Disabled:  t.disabled(),
	}
	if !terms.Expires.IsZero() && !terms.NotBefore.Before(terms.Expires) {
		t.fault("expires", terms.Expires.Format(time.RFC3339), "must be after not_before")
	}
	return terms
}

// rest notes what nobody asked for.
func (t *entryTable) rest() {
	for name := range maps.Keys(t.values) {
		t.fault(name, nil, "is not known: must be one of "+strings.Join(t.known, ", "))
	}
}

// fault notes what is wrong with key. Its value is nil if it may be a secret.
func (t *entryTable) fault(key string, value any, problem string) {
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

func (t *entryTable) take(key string) (v any, ok bool) {
	v, ok = t.values[key]
	delete(t.values, key)
	t.known = append(t.known, key)
	return v, ok
}

// text reads a string that may be anything, as it is the owner's own. "" if it
// is missing.
func (t *entryTable) text(key string) string {
	v, ok := t.take(key)
	s, isText := v.(string)
	if ok && (!isText || len(s) > MaxKeyLength) {
		t.fault(key, v, fmt.Sprintf("must be a string of at most %d bytes", MaxKeyLength))
		return ""
	}
	return s
}

func (t *entryTable) subject(owner string) string {
	v := t.values["subject"]
	s := t.text("subject")
	if v == nil && owner != "" {
		return owner
	}
	if v == nil || v == "" {
		t.fault("subject", nil, "must say who owns the "+t.table)
	}
	if strings.ContainsFunc(s, unicode.IsControl) {
		t.fault("subject", s, "must be without control characters")
	}
	return s
}

func (t *entryTable) glob(key string) string {
	s := t.text(key)
	if err := glob.Valid(s); err != nil {
		t.fault(key, s, err.Error())
	}
	return s
}

func (t *entryTable) actions() []Action {
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

func (t *entryTable) networks() []netip.Prefix {
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

func (t *entryTable) time(key string) time.Time {
	v, ok := t.take(key)
	at, isTime := v.(time.Time)
	if ok && !isTime {
		t.fault(key, v, "must be a date and time with its offset, unquoted, such as 2027-01-01T00:00:00Z")
	}
	return at
}

func (t *entryTable) bitrate() int64 {
	v, ok := t.take("bitrate")
	if !ok {
		return 0
	}
	n, err := bitrateOf(v)
	if err != nil {
		t.fault("bitrate", v, err.Error())
	}
	return n
}

// bitrateOf reads a bit rate from a decoded value: "8Mbit", or a number.
func bitrateOf(v any) (int64, error) {
	switch v := v.(type) {
	case string:
		return bitrate.Parse(v)
	case int64:
		if v >= 0 && v <= bitrate.Max {
			return v, nil
		}
	}
	return 0, bitrate.ErrSyntax
}

func (t *entryTable) disabled() bool {
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
