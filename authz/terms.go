package authz

import (
	"net/netip"
	"slices"
	"time"

	"rtmps-edge/internal/glob"
)

// Terms are what an entry of keys.toml, users.toml or certificates.toml grants
// to whom it names.
type Terms struct {
	Subject  string   // names the owner; 1 to MaxKeyLength bytes
	Actions  []Action // at least one
	App      string   // glob; "" = any
	Name     string   // what the origin sees; what "" means, the kind of entry says
	Origin   string   // "" = by route
	From     []netip.Prefix
	Bitrate  int64 // bits per second; 0 = the general limit
	Disabled bool
	// NotBefore is the first moment at which the entry is good, Expires the
	// first at which it is no longer. Zero: no such bound.
	NotBefore, Expires time.Time
}

// refusal says why the entry is not good for r at now; "" if it is.
func (t *Terms) refusal(r Request, now time.Time) string {
	switch {
	case t.Disabled:
		return "disabled"
	case now.Before(t.NotBefore):
		return "not yet valid"
	case t.expired(now):
		return "expired"
	case !slices.Contains(t.Actions, r.Action):
		return "not for this action"
	case !t.grantsApp(r.App):
		return "not for this app"
	case !t.grantsFrom(r.Client.Addr()):
		return "not from this network"
	}
	return ""
}

func (t *Terms) expired(now time.Time) bool {
	return !t.Expires.IsZero() && !now.Before(t.Expires)
}

func (t *Terms) anyApp() bool { return t.App == "" || t.App == "*" }

func (t *Terms) grantsApp(app string) bool { return t.anyApp() || glob.Match(t.App, app) }

func (t *Terms) grantsFrom(addr netip.Addr) bool { return len(t.From) == 0 || contains(t.From, addr) }

// contains reports whether addr is in one of networks.
func contains(networks []netip.Prefix, addr netip.Addr) bool {
	addr = addr.Unmap().WithZone("") // as a Prefix has neither
	return slices.ContainsFunc(networks, func(p netip.Prefix) bool { return p.Contains(addr) })
}

// covers reports whether next grants all that t granted until now, so that
// streams may go on. In doubt it says no: an encoder that connects again costs
// a second.
func (t *Terms) covers(next *Terms, now time.Time) bool {
	return !next.Disabled && !now.Before(next.NotBefore) && !next.expired(now) &&
		(next.anyApp() || next.App == t.App) &&
		!slices.ContainsFunc(t.Actions, func(a Action) bool { return !slices.Contains(next.Actions, a) }) &&
		networksCover(next.From, t.From)
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

// knownApps are the apps of many Terms, every glob once: entries are many,
// apps are few.
type knownApps struct {
	globs map[string]struct{}
	any   bool
}

func (k *knownApps) add(t *Terms) {
	if k.globs == nil {
		k.globs = make(map[string]struct{})
	}
	k.globs[t.App] = struct{}{}
	k.any = k.any || t.anyApp()
}

// has reports whether any of the Terms could grant a stream of app.
func (k *knownApps) has(app string) bool {
	if k.any {
		return true
	}
	for pattern := range k.globs {
		if glob.Match(pattern, app) {
			return true
		}
	}
	return false
}
