package authz

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"

	"golang.org/x/crypto/argon2"

	"rtmps-edge/internal/secret"
)

// Bounds of argon2id hashes: each key that is unknown so far costs as much as
// all of them together.
const (
	// MaxSlowKeys is how many of them a keys.toml may have.
	MaxSlowKeys = 16
	// maxArgonMemory, in KiB, is what one may use, four times of what is
	// commonly advised.
	maxArgonMemory = 64 << 10
	// maxArgonWork, in KiB, is memory × passes of one: 0.1 to 0.3 s of a core.
	maxArgonWork = 256 << 10
	// maxArgonThreads is how many threads one may use.
	maxArgonThreads = 4
	// argonAtOnce are computed at a time: they must leave cores and memory to
	// the media.
	argonAtOnce = 2
	// maxArgonWaiting questions wait for their turn. More are faults: the edge
	// is flooded with unknown keys.
	maxArgonWaiting = 64
)

// Parameters of new hashes: 19 MiB and two passes (OWASP's advice), 30 to 60
// ms of a core.
const (
	argonTime, argonMemory, argonThreads = 2, 19 << 10, 1
	argonSalt, argonSum                  = 16, 32
)

// argonHash is an argon2id hash that was read. It holds no key, but does not
// print either: it is only used here.
type argonHash struct {
	time, memory uint32
	threads      uint8
	salt, sum    []byte
}

var errArgon = fmt.Errorf("must have after argon2id: what argon2 prints, $argon2id$v=19$m=…,t=…,p=…$SALT$HASH, with m at most %d, p at most %d, m × t at most %d, "+
	"a salt of 8 to 64 bytes and a hash of 16 to 64", maxArgonMemory, maxArgonThreads, maxArgonWork)

// SlowHashOf returns an argon2id hash of key with a random salt, for a key that
// a human chose and that might be guessed from a stolen file.
func SlowHashOf(key secret.Text) Hash {
	salt := make([]byte, argonSalt)
	_, _ = rand.Read(salt) // never fails
	a := argonHash{time: argonTime, memory: argonMemory, threads: argonThreads, salt: salt}
	a.sum = a.of(key, argonSum)
	b64 := base64.RawStdEncoding.EncodeToString
	return Hash{slow: fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, a.memory, a.time, a.threads, b64(a.salt), b64(a.sum))}
}

// parseArgon reads the common text form of a hash, within bounds.
func parseArgon(s string) (argonHash, error) {
	parts := strings.Split(s, "$")
	if len(parts) != 6 || parts[0] != "" || parts[1] != "argon2id" || parts[2] != "v="+strconv.Itoa(argon2.Version) {
		return argonHash{}, errArgon
	}
	cost := strings.Split(parts[3], ",")
	if len(cost) != 3 {
		return argonHash{}, errArgon
	}
	m, err1 := argonNumber(cost[0], "m=", maxArgonMemory)
	t, err2 := argonNumber(cost[1], "t=", maxArgonWork)
	p, err3 := argonNumber(cost[2], "p=", maxArgonThreads)
	salt, err4 := base64.RawStdEncoding.Strict().DecodeString(parts[4])
	sum, err5 := base64.RawStdEncoding.Strict().DecodeString(parts[5])
	if errors.Join(err1, err2, err3, err4, err5) != nil || uint64(m)*uint64(t) > maxArgonWork ||
		len(salt) < 8 || len(salt) > 64 || len(sum) < 16 || len(sum) > 64 {
		return argonHash{}, errArgon
	}
	return argonHash{time: t, memory: m, threads: uint8(p), salt: salt, sum: sum}, nil
}

func argonNumber(s, prefix string, most uint64) (uint32, error) {
	digits, ok := strings.CutPrefix(s, prefix)
	n, err := strconv.ParseUint(digits, 10, 32)
	if !ok || err != nil || n == 0 || n > most {
		return 0, errArgon
	}
	return uint32(n), nil
}

func (a *argonHash) of(key secret.Text, length int) []byte {
	return argon2.IDKey([]byte(key.Reveal()), a.salt, a.time, a.memory, a.threads, uint32(length))
}

// slowKey is an entry's argon2id hash in use. Once its key was seen, the key's
// SHA-256 is remembered: nobody pays for it again, neither who has the key nor
// who guesses.
type slowKey struct {
	argonHash
	known atomic.Pointer[Hash]
}

// is reports whether the key that has the SHA-256 h is known to be the one;
// certain is false if only the slow way can tell.
func (s *slowKey) is(h Hash) (same, certain bool) {
	known := s.known.Load()
	if known == nil {
		return false, false
	}
	return known.equal(h), true
}

// try goes the slow way.
func (s *slowKey) try(key secret.Text) bool {
	if subtle.ConstantTimeCompare(s.of(key, len(s.sum)), s.sum) != 1 {
		return false
	}
	h := Hash{sum: sha256.Sum256([]byte(key.Reveal()))}
	s.known.Store(&h)
	return true
}

// errBusy is a fault: too many unknown keys at once.
var errBusy = errors.New("too many unknown keys are being checked against argon2id hashes")

// turnstile lets a few in at a time, and a bounded number wait.
type turnstile struct {
	inside  chan struct{}
	waiting atomic.Int32
	most    int32
}

func newTurnstile(inside, waiting int) *turnstile {
	return &turnstile{inside: make(chan struct{}, inside), most: int32(waiting)}
}

// enter waits until there is room. leave must be called if there is no error.
func (t *turnstile) enter(ctx context.Context) (leave func(), err error) {
	if t.waiting.Add(1) > t.most {
		t.waiting.Add(-1)
		return nil, errBusy
	}
	defer t.waiting.Add(-1)
	select {
	case t.inside <- struct{}{}:
		return func() { <-t.inside }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
