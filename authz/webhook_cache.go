package authz

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"hash"
	"io"
	"sync"
	"time"
)

// answers remembers what was answered, for some time and of some credentials,
// of which it holds digests only. The nil answers remember nothing.
type answers struct {
	keep time.Duration
	most int
	salt [16]byte // digests are worth nothing elsewhere

	mu         sync.Mutex
	young, old map[digest]remembered // old is forgotten when young is half of all
}

type digest [sha256.Size]byte

type remembered struct {
	grant Grant
	err   error
	until time.Time
}

func newAnswers(keep time.Duration, most int) *answers {
	a := &answers{keep: keep, most: most, young: map[digest]remembered{}}
	_, _ = rand.Read(a.salt[:]) // never fails
	return a
}

// get returns the answer to r. With place, it was one to a client at the same
// address, too.
func (a *answers) get(r Request, place bool) (v remembered, ok bool) {
	if a == nil {
		return v, false
	}
	d, now := a.digest(r, place), time.Now()
	a.mu.Lock()
	defer a.mu.Unlock()
	v, ok = a.young[d]
	if !ok {
		v, ok = a.old[d]
	}
	if !ok || !now.Before(v.until) || !v.grant.Expires.IsZero() && !now.Before(v.grant.Expires) {
		return remembered{}, false
	}
	return v, true
}

func (a *answers) put(r Request, place bool, g Grant, err error) {
	if a == nil {
		return
	}
	d := a.digest(r, place)
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.young) >= a.most/2 {
		a.young, a.old = map[digest]remembered{}, a.young
	}
	a.young[d] = remembered{g, err, time.Now().Add(a.keep)}
}

func (a *answers) digest(r Request, place bool) digest {
	h := sha256.New()
	_, _ = h.Write(a.salt[:])
	writeFields(h, string(r.Action), r.App, r.Key.Reveal(), r.Query.Reveal(), r.User)
	if place {
		writeFields(h, r.Client.Addr().String(), r.ServerName, r.TcURL.Reveal())
	}
	return digest(h.Sum(nil))
}

// writeFields writes each with its length, so that no two lists are alike.
func writeFields(h hash.Hash, fields ...string) {
	for _, f := range fields {
		_ = binary.Write(h, binary.BigEndian, uint32(len(f)))
		_, _ = io.WriteString(h, f)
	}
}
