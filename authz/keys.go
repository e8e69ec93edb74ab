package authz

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

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
//
// A key is compared byte by byte as the client sent it. Encoders that decode
// percent escapes and those that do not send the same only if there are none
// in it: GenerateKey's have none.
type Keys struct {
	reloader
	set  atomic.Pointer[keySet] // never modified once it is stored
	slow *turnstile             // before the argon2id hashes
}

// NewKeys reads the file. The error is a fault.List if there are faults in it.
func NewKeys(cfg KeysConfig) (*Keys, error) {
	k := &Keys{slow: newTurnstile(argonAtOnce, maxArgonWaiting)}
	k.reloader = reloader{file: cfg.File, limit: MaxEntriesFile, load: k.load, onReload: cfg.OnReload, warn: cfg.Warn}
	k.set.Store(newKeySet(nil))
	if err := k.begin(); err != nil {
		return nil, err
	}
	return k, nil
}

// Authorize grants what the entry of r.Key says, under its name. Errors:
// ErrUnknown if no entry is for this key, else ErrDenied with the subject and
// why. It faults only if the key can be none but one with an argon2id hash, and
// those could not be tried in time.
func (k *Keys) Authorize(ctx context.Context, r Request) (Grant, error) {
	now := time.Now()
	e, err := k.find(ctx, r, now)
	if err != nil {
		return Grant{}, err
	}
	if why := e.refusal(r, now); why != "" {
		return Grant{}, fmt.Errorf("%w: key of %q: %s", ErrDenied, e.Subject, why)
	}
	name := e.Name
	if name == "" {
		name = e.Subject
	}
	g := e.grant(name)
	g.By = ByKeys
	return g, nil
}

// KnowsApp reports whether the app of any key matches, be it valid or not.
func (k *Keys) KnowsApp(app string) bool { return k.set.Load().apps.has(app) }

// Retire revokes all grants and forgets all keys. It is for when k is not used
// any longer, and nobody would hear of a key that is removed.
func (k *Keys) Retire() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.apply(newKeySet(nil))
}

func (k *Keys) load(data []byte) (apply func(), err error) {
	f, err := keysFormat.parse(k.file, data)
	if err != nil {
		return nil, err
	}
	return func() {
		k.apply(newKeySet(f.entries))
		k.warnOf(f.entries)
	}, nil
}

// apply stores next before it revokes anything: who is ended by it and comes
// back at once must meet the new keys. k.mu must be held.
func (k *Keys) apply(next *keySet) {
	old := k.set.Load()
	revoke := inherit(old.byHash, next.byHash, time.Now())
	for h, e := range next.byHash {
		if was := old.byHash[h]; e.slow != nil && was != nil {
			e.slow = was.slow
		}
	}
	k.set.Store(next)
	revokeAll(revoke)
}

func (k *Keys) warnOf(keys []Key) {
	for _, key := range keys {
		if key.Plain {
			k.warn(fmt.Sprintf("%s:%d: the key of %q stands here in plain text: write what \"rtmps-edge key hash\" prints instead", k.file, key.Line, key.Subject))
		}
	}
}

// keySet is the contents of one reading.
type keySet struct {
	byHash map[Hash]*keyEntry
	slow   []*keyEntry // those with an argon2id hash
	apps   knownApps
}

type keyEntry struct {
	granting
	slow *slowKey // nil = SHA-256
}

// Format keeps the hashes, which fmt would find in the map, out of any output.
func (s keySet) Format(f fmt.State, _ rune) { fmt.Fprintf(f, "%d keys", len(s.byHash)) }

func newKeySet(keys []Key) *keySet {
	s := &keySet{byHash: make(map[Hash]*keyEntry, len(keys))}
	for _, k := range keys {
		e := &keyEntry{granting: granting{Terms: k.Terms, live: newLive()}}
		if k.Hash.slow != "" {
			argon, _ := parseArgon(k.Hash.slow) // was read before
			e.slow = &slowKey{argonHash: argon}
			s.slow = append(s.slow, e)
		}
		s.byHash[k.Hash] = e
		s.apps.add(&k.Terms)
	}
	return s
}

// find returns the entry of r.Key, or ErrUnknown. It looks up the hash of the
// key, not the key: how long it takes tells nothing that helps to guess one.
func (k *Keys) find(ctx context.Context, r Request, now time.Time) (*keyEntry, error) {
	if n := len(r.Key.Reveal()); n == 0 || n > MaxKeyLength {
		return nil, ErrUnknown
	}
	s, h := k.set.Load(), HashOf(r.Key)
	if e := s.byHash[h]; e != nil {
		return e, nil
	}
	var untried []*keyEntry
	for _, e := range s.slow {
		same, certain := e.slow.is(h)
		if same {
			return e, nil
		}
		if !certain && e.refusal(r, now) == "" {
			untried = append(untried, e)
		}
	}
	return k.tryAll(ctx, r.Key, untried)
}

// tryAll goes the slow way with entries that would grant, and no others.
func (k *Keys) tryAll(ctx context.Context, key secret.Text, entries []*keyEntry) (*keyEntry, error) {
	if len(entries) == 0 {
		return nil, ErrUnknown
	}
	leave, err := k.slow.enter(ctx)
	if err != nil {
		return nil, err
	}
	defer leave()
	for _, e := range entries {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if e.slow.try(key) {
			return e, nil
		}
	}
	return nil, ErrUnknown
}
