package authz

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"sync"
	"time"

	"rtmps-edge/internal/secret"
)

const (
	// challengeLife is how long a client has between the challenge and its
	// response. Programs answer within a second.
	challengeLife = time.Minute
	// maxUsed is how many responses are remembered in one life, so that none is
	// good twice. Each cost its sender a challenge first. When it is full, nobody
	// logs in until it is not.
	maxUsed = 1 << 16
	// sizes of a token's parts, in bytes.
	expiryLen, nonceLen, macLen = 8, 8, 12
)

// sealer makes challenges that any edge with the same secret can judge, and that
// are good once.
type sealer struct {
	key  []byte
	used *usedNonces
}

func newSealer(s secret.Text) sealer {
	key := []byte(s.Reveal())
	if len(key) == 0 {
		key = make([]byte, 32)
		_, _ = rand.Read(key) // never fails
	}
	return sealer{key: key, used: &usedNonces{}}
}

func (s sealer) mac(parts ...string) []byte {
	m := hmac.New(sha256.New, s.key)
	for _, p := range parts {
		_, _ = m.Write(binary.BigEndian.AppendUint32(nil, uint32(len(p))))
		_, _ = m.Write([]byte(p))
	}
	return m.Sum(nil)
}

// salt is the same for a user each time, also for users that there are not.
func (s sealer) salt(user string) string { return hex.EncodeToString(s.mac("salt", user)[:6]) }

// seal makes a token of letters, digits, - and _, which no client escapes.
func (s sealer) seal(mod, user string, now time.Time) string {
	b := binary.BigEndian.AppendUint64(nil, uint64(now.Add(challengeLife).UnixNano()))
	b = append(b, make([]byte, nonceLen)...)
	_, _ = rand.Read(b[expiryLen:]) // never fails
	b = append(b, s.mac("challenge", mod, user, string(b))[:macLen]...)
	return base64.RawURLEncoding.EncodeToString(b)
}

// open reports whether token was made by seal for the same, is not too old, and
// was not opened before.
func (s sealer) open(mod, user, token string, now time.Time) bool {
	b, err := base64.RawURLEncoding.Strict().DecodeString(token)
	if err != nil || len(b) != expiryLen+nonceLen+macLen {
		return false
	}
	body, mac := b[:expiryLen+nonceLen], b[expiryLen+nonceLen:]
	if !hmac.Equal(mac, s.mac("challenge", mod, user, string(body))[:macLen]) {
		return false
	}
	expires := time.Unix(0, int64(binary.BigEndian.Uint64(body)))
	return now.Before(expires) && s.used.first([nonceLen]byte(body[expiryLen:]), now)
}

// usedNonces are those of this life and the one before: no token lives longer.
type usedNonces struct {
	mu           sync.Mutex
	since        time.Time
	now, earlier map[[nonceLen]byte]struct{}
}

// first notes a nonce, and reports whether it is new and could be noted.
func (u *usedNonces) first(n [nonceLen]byte, now time.Time) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.now == nil || now.Sub(u.since) >= challengeLife {
		u.now, u.earlier, u.since = map[[nonceLen]byte]struct{}{}, u.now, now
	}
	_, used := u.now[n]
	_, usedEarlier := u.earlier[n]
	if used || usedEarlier || len(u.now) >= maxUsed {
		return false
	}
	u.now[n] = struct{}{}
	return true
}
