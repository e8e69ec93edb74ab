package authz

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"fmt"
	"io"

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
// for.
func HashKey(key string) string { return HashOf(secret.New(key)).Reveal() }

// Hash is the SHA-256 of a stream key. Like the key, it does not print.
type Hash struct{ sum [sha256.Size]byte }

// HashOf returns the Hash of key.
func HashOf(key secret.Text) Hash { return Hash{sha256.Sum256([]byte(key.Reveal()))} }

// Reveal returns the hash as keys.toml has it. The caller must not print it,
// but to the owner of the file.
func (h Hash) Reveal() string { return sha256Prefix + hex.EncodeToString(h.sum[:]) }

// equal takes the same time whatever the difference.
func (h Hash) equal(o Hash) bool { return subtle.ConstantTimeCompare(h.sum[:], o.sum[:]) == 1 }

// Format writes a placeholder for every verb and flag of fmt.
func (h Hash) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, secret.Text{}.String()) }

// MarshalText gives encoders a placeholder.
func (h Hash) MarshalText() ([]byte, error) { return secret.Text{}.MarshalText() }
