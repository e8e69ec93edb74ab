package authz

import (
	"net/netip"
	"slices"
	"time"

	"rtmps-edge/internal/glob"
)

// Key is one entry of keys.toml: who may do what with one stream key. It holds
// the key's hash only, and does not print that.
type Key struct {
	Subject  string // names the owner; 1 to MaxKeyLength bytes
	Hash     Hash
	Actions  []Action // at least one
	App      string   // glob; "" = any
	Name     string   // what the origin sees; "" = Subject
	Origin   string   // "" = by route
	From     []netip.Prefix
	Bitrate  int64 // bits per second; 0 = the general limit
	Disabled bool
	// NotBefore is the first moment at which the key is good, Expires the
	// first at which it is no longer. Zero: no such bound.
	NotBefore, Expires time.Time

	// Plain says that the file holds the key itself. Line is where the entry
	// begins, from 1. Both are set by reading, and ignored by AddKey.
	Plain bool
	Line  int
}

// refusal says why the key is not good for r at now; "" if it is.
func (k *Key) refusal(r Request, now time.Time) string {
	switch {
	case k.Disabled:
		return "disabled"
	case now.Before(k.NotBefore):
		return "not yet valid"
	case k.expired(now):
		return "expired"
	case !slices.Contains(k.Actions, r.Action):
		return "not for this action"
	case !k.grantsApp(r.App):
		return "not for this app"
	case !k.grantsFrom(r.Client.Addr()):
		return "not from this network"
	}
	return ""
}

func (k *Key) expired(now time.Time) bool {
	return !k.Expires.IsZero() && !now.Before(k.Expires)
}

func (k *Key) anyApp() bool { return k.App == "" || k.App == "*" }

func (k *Key) grantsApp(app string) bool { return k.anyApp() || glob.Match(k.App, app) }

func (k *Key) grantsFrom(addr netip.Addr) bool {
	addr = addr.Unmap().WithZone("") // as a Prefix has neither
	return len(k.From) == 0 || slices.ContainsFunc(k.From, func(p netip.Prefix) bool { return p.Contains(addr) })
}

// covers reports whether next grants all that k granted until now, so that
// streams may go on. In doubt it says no: an encoder that connects again costs
// a second.
func (k *Key) covers(next *Key, now time.Time) bool {
	return !next.Disabled && !now.Before(next.NotBefore) && !next.expired(now) &&
		(next.anyApp() || next.App == k.App) &&
		!slices.ContainsFunc(k.Actions, func(a Action) bool { return !slices.Contains(next.Actions, a) }) &&
		networksCover(next.From, k.From)
}

// networksCover reports whether every network of narrow lies in one of wide.
// None means any, in both.
func networksCover(wide, narrow []netip.Prefix) bool {
	if len(wide) == 0 {
		return true
	}
	covered := func(n netip.Prefix) bool {
		return slices.ContainsFunc(wide, func(w netip.Prefix) bool { return w.Bits() <= n.Bits() && w.Contains(n.Addr()) })
	}
	return len(narrow) > 0 && !slices.ContainsFunc(narrow, func(n netip.Prefix) bool { return !covered(n) })
}
