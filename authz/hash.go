package authz

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"

	"rtmps-edge/internal/secret"
)

// Prefixes of a hash in keys.toml.
const (
	sha256Prefix = "sha256:"
	plainPrefix  = "plain:"
	argonPrefix  = "argon2id:"
)

// MaxKeyLength is the longest stream key, in bytes. A longer one is nobody's;
// it is what origins and encoders take as a name at the most.
const MaxKeyLength = 255

// GenerateKey returns a new stream key of 130 random bits: 26 letters and
// digits, which no URL, shell or encoder's input field changes.
func GenerateKey() secret.Text { return secret.New(rand.Text()) }

// HashKey returns what stands for key in keys.toml: "sha256:" and 64 hex
// digits. Keys are random and long, so there is nothing to slow down a guess
// for; for one that a human chose, there is SlowHashOf.
func HashKey(key string) string { return HashOf(secret.New(key)).Reveal() }

// Hash is a hash of a stream key. Like the key, it does not print.
type Hash struct {
	sum  [sha256.Size]byte // SHA-256, or zero and
	slow string            // an argon2id hash as the file has it after its prefix
}

// HashOf returns the SHA-256 of key.
func HashOf(key secret.Text) Hash { return Hash{sum: sha256.Sum256([]byte(key.Reveal()))} }

// Reveal returns the hash as keys.toml has it. The caller must not print it,
// but to the owner of the file.
func (h Hash) Reveal() string {
	if h.slow != "" {
		return argonPrefix + h.slow
	}
	return sha256Prefix + hex.EncodeToString(h.sum[:])
}

// equal takes the same time whatever the difference. It is for SHA-256 only.
func (h Hash) equal(o Hash) bool { return subtle.ConstantTimeCompare(h.sum[:], o.sum[:]) == 1 }

// Format writes a placeholder for every verb and flag of fmt.
func (h Hash) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, secret.Text{}.String()) }

// MarshalText gives encoders a placeholder.
func (h Hash) MarshalText() ([]byte, error) { return secret.Text{}.MarshalText() }

// parseHash reads the text of a hash. The error says what is allowed, and
// nothing of s.
func parseHash(s string) (h Hash, plain bool, err error) {
	if digits, ok := strings.CutPrefix(s, sha256Prefix); ok {
		sum, err := hex.DecodeString(digits)
		if err != nil || len(sum) != sha256.Size {
			return Hash{}, false, errors.New("must have 64 hex digits after the prefix sha256")
		}
		return Hash{sum: [sha256.Size]byte(sum)}, false, nil
	}
	if key, ok := strings.CutPrefix(s, plainPrefix); ok {
		if key == "" || len(key) > MaxKeyLength || strings.Contains(key, "?") {
			return Hash{}, true, fmt.Errorf("must have 1 to %d bytes without a question mark after the prefix plain", MaxKeyLength)
		}
		return HashOf(secret.New(key)), true, nil
	}
	if text, ok := strings.CutPrefix(s, argonPrefix); ok {
		if _, err := parseArgon(text); err != nil {
			return Hash{}, false, err
		}
		return Hash{slow: text}, false, nil
	}
	return Hash{}, false, errors.New(`must be "sha256:" and 64 hex digits, as "rtmps-edge key hash" prints`)
}
