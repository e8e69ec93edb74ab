package authz

import (
	"context"
	"crypto/sha256"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"rtmps-edge/internal/glob"
	"rtmps-edge/internal/secret"
)

// KeysConfig configures Keys.
type KeysConfig struct {
	// File is the path of keys.toml.
	File string
	// Warn hears, in one line, of what is accepted but should be changed. It
	// is called after each reading of the file. nil: nobody hears.
	Warn func(string)
	// OnReload hears how each reading that Watch began has ended: nil, or the
	// error for which the keys stayed as they were. nil: nobody hears.
	OnReload func(error)
}

// Keys is the Authorizer of stream keys in keys.toml. It is safe for
// concurrent use. Keep one over reloads of the configuration: it knows which
// running streams a change concerns.
type Keys struct {
	cfg KeysConfig
	set atomic.Pointer[keySet] // never modified once it is stored

	mu   sync.Mutex // one reading at a time
	seen string     // what the last reading saw, good or bad: see fingerprint
}

// NewKeys reads the file. The error is a fault.List if there are faults in it.
func NewKeys(cfg KeysConfig) (*Keys, error) {
	if cfg.Warn == nil {
		cfg.Warn = func(string) {}
	}
	if cfg.OnReload == nil {
		cfg.OnReload = func(error) {}
	}
	k := &Keys{cfg: cfg}
	k.set.Store(newKeySet(nil))
	if err := k.Reload(); err != nil {
		return nil, err
	}
	return k, nil
}

// Authorize grants what the entry of r.Key says, under its name. Errors:
// ErrUnknown if no entry is for this key, else ErrDenied with the subject and
// why. It never faults.
func (k *Keys) Authorize(_ context.Context, r Request) (Grant, error) {
	e := k.set.Load().find(r.Key)
	if e == nil {
		return Grant{}, ErrUnknown
	}
	if why := e.refusal(r, time.Now()); why != "" {
		return Grant{}, fmt.Errorf("%w: key of %q: %s", ErrDenied, e.Subject, why)
	}
	return e.grant(), nil
}

// KnowsApp reports whether the app of any key matches, be it valid or not.
func (k *Keys) KnowsApp(app string) bool { return k.set.Load().knowsApp(app) }

// Reload reads the file again. After an error nothing has changed. Else the
// grants of keys that are gone, or would be refused now, are revoked; all
// others keep their Grant.Revoked.
func (k *Keys) Reload() error {
	apply, err := k.Prepare()
	if err != nil {
		return err
	}
	apply()
	return nil
}

// Prepare is the first half of Reload, for who has more to reload and must not
// change anything if the rest fails: it reads the file and finds its faults,
// apply does the rest and cannot fail.
func (k *Keys) Prepare() (apply func(), err error) {
	data, err := readKeysFile(k.cfg.File)
	if err != nil {
		return nil, err
	}
	return k.prepare(data)
}

func (k *Keys) prepare(data []byte) (apply func(), err error) {
	f, err := parseKeys(k.cfg.File, data)
	if err != nil {
		return nil, err
	}
	return func() {
		k.mu.Lock()
		k.seen = fingerprint(data, nil)
		k.apply(newKeySet(f.keys))
		k.mu.Unlock()
		k.warn(f.keys)
	}, nil
}

// Retire revokes all grants and forgets all keys. It is for when k is not used
// any longer, and nobody would hear of a key that is removed.
func (k *Keys) Retire() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.apply(newKeySet(nil))
}

// apply stores next before it revokes anything: who is ended by it and comes
// back at once must meet the new keys. k.mu must be held.
func (k *Keys) apply(next *keySet) {
	revoke := next.inherit(k.set.Load(), time.Now())
	k.set.Store(next)
	for _, l := range revoke {
		l.revoke()
	}
}

func (k *Keys) warn(keys []Key) {
	for _, key := range keys {
		if key.Plain {
			k.cfg.Warn(fmt.Sprintf("%s:%d: the key of %q stands here in plain text: write what \"rtmps-edge key hash\" prints instead", k.cfg.File, key.Line, key.Subject))
		}
	}
}

// fingerprint stands for what a reading saw. It is kept instead of the data,
// which may hold keys in plain text.
func fingerprint(data []byte, err error) string {
	if err != nil {
		return err.Error()
	}
	sum := sha256.Sum256(data)
	return string(sum[:])
}

// keySet is the contents of one reading.
type keySet struct {
	byHash map[Hash]*keyEntry
	apps   map[string]struct{} // every glob once: keys are many, apps are few
	anyApp bool
}

type keyEntry struct {
	Key
	live *live
}

// Format keeps the hashes, which fmt would find in the map, out of any output.
func (s keySet) Format(f fmt.State, _ rune) { fmt.Fprintf(f, "%d keys", len(s.byHash)) }

func newKeySet(keys []Key) *keySet {
	s := &keySet{byHash: make(map[Hash]*keyEntry, len(keys)), apps: make(map[string]struct{})}
	for _, k := range keys {
		s.byHash[k.Hash] = &keyEntry{Key: k, live: newLive()}
		s.apps[k.App] = struct{}{}
		s.anyApp = s.anyApp || k.anyApp()
	}
	return s
}

// find looks up the hash of key, not the key: how long it takes tells nothing
// that helps to guess one.
func (s *keySet) find(key secret.Text) *keyEntry {
	if n := len(key.Reveal()); n == 0 || n > MaxKeyLength {
		return nil
	}
	h := HashOf(key)
	e := s.byHash[h]
	if e == nil || !e.Hash.equal(h) {
		return nil
	}
	return e
}

func (s *keySet) knowsApp(app string) bool {
	if s.anyApp {
		return true
	}
	for pattern := range s.apps {
		if glob.Match(pattern, app) {
			return true
		}
	}
	return false
}

// inherit takes over from old the grants that go on, and returns those that do
// not.
func (s *keySet) inherit(old *keySet, now time.Time) (revoke []*live) {
	for h, was := range old.byHash {
		is := s.byHash[h]
		if is == nil || !was.covers(&is.Key, now) {
			revoke = append(revoke, was.live)
			continue
		}
		if was.live.ended() {
			continue
		}
		is.live = was.live
		if !is.Expires.Equal(was.Expires) {
			is.live.endAt(is.Expires) // grants that were given know the old time
		}
	}
	return revoke
}

func (e *keyEntry) grant() Grant {
	name := e.Name
	if name == "" {
		name = e.Subject
	}
	return Grant{
		Subject: e.Subject,
		Origin:  e.Origin,
		Name:    name,
		Bitrate: e.Bitrate,
		Expires: e.Expires,
		Revoked: e.live.revoked,
	}
}

// live is what all grants of one entry share, over reloads.
type live struct {
	revoked chan struct{}
	once    sync.Once
	timer   *time.Timer // guarded by Keys.mu
}

func newLive() *live { return &live{revoked: make(chan struct{})} }

func (l *live) revoke() { l.once.Do(func() { close(l.revoked) }) }

func (l *live) ended() bool {
	select {
	case <-l.revoked:
		return true
	default:
		return false
	}
}

// endAt revokes at t, and not at the time that was set before; never, if t is
// zero.
func (l *live) endAt(t time.Time) {
	if l.timer != nil {
		l.timer.Stop()
	}
	if !t.IsZero() {
		l.timer = time.AfterFunc(time.Until(t), l.revoke)
	}
}
