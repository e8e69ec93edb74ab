package authz

import (
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"rtmps-edge/internal/glob"
	"rtmps-edge/internal/secret"
)

// PasswordConfig configures Password.
type PasswordConfig struct {
	// File is the path of users.toml.
	File string
	// Secret seals challenges. Edges that share a name need the same: a client
	// comes three times, and may meet another edge each time. Empty: one of this
	// process.
	Secret secret.Text
	// Warn and OnReload are as those of KeysConfig.
	Warn     func(string)
	OnReload func(error)
}

// Password is the Authorizer of encoders that log in with a user and a password
// while they connect ("Use authentication" of OBS, authmod=adobe and
// authmod=llnw): Connect finds out who it is, Authorize what he may. It is safe
// for concurrent use. Keep one over reloads of the configuration.
type Password struct {
	reloader
	users  atomic.Pointer[map[string]*userEntry] // never modified once it is stored
	apps   atomic.Pointer[knownApps]
	seal   sealer
	nobody secret.Text // the password of users that there are not
}

type userEntry struct {
	granting
	password secret.Text
	names    []string
}

// NewPassword reads the file. The error is a fault.List if there are faults in
// it.
func NewPassword(cfg PasswordConfig) (*Password, error) {
	p := &Password{nobody: secret.New(rand.Text()), seal: newSealer(cfg.Secret)}
	p.reloader = reloader{file: cfg.File, limit: MaxEntriesFile, load: p.load, onReload: cfg.OnReload, warn: cfg.Warn}
	p.users.Store(&map[string]*userEntry{})
	p.apps.Store(&knownApps{})
	if err := p.begin(); err != nil {
		return nil, err
	}
	return p, nil
}

// Authorize grants what the entry of r.User says. Errors: ErrUnknown if nobody
// has logged in, else ErrDenied with who and why. It never faults.
func (p *Password) Authorize(_ context.Context, r Request) (Grant, error) {
	if r.User == "" {
		return Grant{}, ErrUnknown
	}
	e := (*p.users.Load())[r.User]
	if e == nil {
		return Grant{}, fmt.Errorf("%w: user %q is gone", ErrDenied, r.User)
	}
	if why := e.refusal(r, time.Now()); why != "" {
		return Grant{}, fmt.Errorf("%w: user %q: %s", ErrDenied, r.User, why)
	}
	name, ok := chosen(r, &e.Terms, e.names)
	if !ok {
		return Grant{}, fmt.Errorf("%w: user %q: not under this stream name", ErrDenied, r.User)
	}
	g := e.grant(name)
	g.By = ByPassword
	return g, nil
}

// chosen returns the stream name for an entry whose owner has shown who he is
// without it: the entry's; what the client sends, where that may be chosen; or
// the subject.
func chosen(r Request, t *Terms, names []string) (string, bool) {
	switch {
	case t.Name != "":
		return t.Name, true
	case len(names) == 0:
		return t.Subject, true
	}
	name := r.Key.Reveal()
	ok := CanonicalName(name) && slices.ContainsFunc(names, func(pattern string) bool { return glob.Match(pattern, name) })
	return name, ok
}

// KnowsApp reports whether the app of any user matches, be he valid or not.
func (p *Password) KnowsApp(app string) bool { return p.apps.Load().has(app) }

// Retire revokes all grants and forgets all users.
func (p *Password) Retire() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.apply(nil)
}

func (p *Password) load(data []byte) (apply func(), err error) {
	f, err := usersFormat.parse(p.file, data)
	if err != nil {
		return nil, err
	}
	return func() { p.apply(f.entries) }, nil
}

// apply stores the users before it revokes anything. A changed password revokes,
// too: whoever knew the old one may be the reason.
func (p *Password) apply(users []User) {
	next, apps := make(map[string]*userEntry, len(users)), &knownApps{}
	for _, u := range users {
		next[u.User] = &userEntry{granting: granting{Terms: u.Terms, live: newLive()}, password: u.Password, names: u.Names}
		apps.add(&u.Terms)
	}
	old := *p.users.Load()
	revoke := inherit(old, next, time.Now())
	for name, was := range old {
		if is := next[name]; is != nil && is.live == was.live && !is.password.Equal(was.password) {
			is.live = newLive()
			revoke = append(revoke, was.live)
		}
	}
	p.users.Store(&next)
	p.apps.Store(apps)
	revokeAll(revoke)
}
