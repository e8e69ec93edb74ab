package authz

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"

	"github.com/MicahParks/jwkset"
	"github.com/golang-jwt/jwt/v5"

	"rtmps-edge/internal/fault"
)

const (
	// maxKeyFile is the largest file of keys, in bytes.
	maxKeyFile = 256 << 10
	// maxTokenKeys of one file or set may be tried for one token.
	maxTokenKeys = 64
	// shortHMAC is what an HMAC secret should have (RFC 7518, 3.2).
	shortHMAC = 32
)

// fileKeys are the keys of one reading of a file.
type fileKeys struct {
	keys []tokenKey
	live *live
}

// tokenKey is one key. Its kid, where it has one, picks it; without, it is
// tried.
type tokenKey struct {
	key crypto.PublicKey // *rsa.PublicKey, *ecdsa.PublicKey, ed25519.PublicKey, or []byte: a secret
	kid string
	alg string // "" = any that is for its type
}

// load reads the file. Faults hold nothing of it.
func (j *JWT) load(data []byte) (apply func(), err error) {
	keys, err := parseTokenKeys(j.cfg.KeyFile, data)
	if err == nil && (len(keys) == 0 || len(keys) > maxTokenKeys) {
		err = fmt.Errorf("must have 1 to %d keys", maxTokenKeys)
	}
	var faults fault.List
	if err != nil && !errors.As(err, &faults) {
		err = fault.List{{File: j.cfg.KeyFile, Problem: err.Error()}}
	}
	if err != nil {
		return nil, err
	}
	return func() {
		j.use(&fileKeys{keys: keys})
		for _, k := range keys {
			if s, ok := k.key.([]byte); ok && len(s) < shortHMAC {
				j.cfg.Warn(fmt.Sprintf("%s: a secret of less than %d bytes: whoever sees a token may find it by trying", j.cfg.KeyFile, shortHMAC))
			}
		}
	}, nil
}

// use takes keys into use. What was granted goes on if no key is gone.
func (j *JWT) use(next *fileKeys) {
	next.live = newLive()
	old := j.keys.Load()
	if old.live != nil && covers(next.keys, old.keys) {
		next.live = old.live
	}
	j.keys.Store(next)
	if old.live != nil && next.live != old.live {
		old.live.revoke()
	}
}

// covers reports whether all keys of old are in next.
func covers(next, old []tokenKey) bool {
	for _, k := range old {
		found := false
		for _, n := range next {
			found = found || n.kid == k.kid && n.alg == k.alg && sameKey(n.key, k.key)
		}
		if !found {
			return false
		}
	}
	return true
}

func sameKey(a, b crypto.PublicKey) bool {
	if s, ok := a.([]byte); ok {
		t, ok := b.([]byte)
		return ok && bytes.Equal(s, t)
	}
	e, ok := a.(interface{ Equal(crypto.PublicKey) bool })
	return ok && e.Equal(b)
}

// keyfunc picks the keys that are for the token's algorithm. A public key is
// never a secret, nor a secret a public key.
func (f *fileKeys) keyfunc(t *jwt.Token) (any, error) {
	if err := critical(t); err != nil {
		return nil, err
	}
	kid, _ := t.Header["kid"].(string)
	var set jwt.VerificationKeySet
	for _, k := range f.keys {
		if k.isFor(t.Method) && (k.kid == "" || kid == "" || k.kid == kid) {
			set.Keys = append(set.Keys, k.key)
		}
	}
	return set, nil
}

func (k tokenKey) isFor(m jwt.SigningMethod) bool {
	if k.alg != "" && k.alg != m.Alg() {
		return false
	}
	ok := false
	switch m.(type) {
	case *jwt.SigningMethodHMAC:
		_, ok = k.key.([]byte)
	case *jwt.SigningMethodRSA, *jwt.SigningMethodRSAPSS:
		_, ok = k.key.(*rsa.PublicKey)
	case *jwt.SigningMethodECDSA:
		_, ok = k.key.(*ecdsa.PublicKey)
	case *jwt.SigningMethodEd25519:
		_, ok = k.key.(ed25519.PublicKey)
	}
	return ok
}

var errPrivate = errors.New("must not hold a private key: the edge needs the public one only")

var errPEM = errors.New("must have public keys or certificates, RSA, ECDSA or Ed25519, in PEM; a JWK set; or secrets, one a line")

// parseTokenKeys tells by the looks of data what is in it. What looks like PEM
// or JSON is never taken for secrets.
func parseTokenKeys(file string, data []byte) ([]tokenKey, error) {
	text := bytes.TrimSpace(data)
	switch {
	case bytes.Contains(text, []byte("-----BEGIN")):
		return parsePEMKeys(text)
	case bytes.HasPrefix(text, []byte("{")):
		return parseJWKs(text)
	}
	secrets, err := parseSecrets(file, data)
	var keys []tokenKey
	for _, s := range secrets {
		keys = append(keys, tokenKey{key: []byte(s.Reveal())})
	}
	return keys, err
}

func parsePEMKeys(data []byte) (keys []tokenKey, err error) {
	for {
		block, rest := pem.Decode(data)
		if block == nil {
			if len(bytes.TrimSpace(data)) > 0 {
				return nil, errPEM
			}
			return keys, nil
		}
		if strings.Contains(block.Type, "PRIVATE") {
			return nil, errPrivate
		}
		key, err := publicKey(block)
		if err != nil {
			return nil, errPEM
		}
		keys, data = append(keys, tokenKey{key: key}), rest
	}
}

func publicKey(block *pem.Block) (key crypto.PublicKey, err error) {
	switch block.Type {
	case "PUBLIC KEY":
		key, err = x509.ParsePKIXPublicKey(block.Bytes)
	case "RSA PUBLIC KEY":
		key, err = x509.ParsePKCS1PublicKey(block.Bytes)
	case "CERTIFICATE":
		var c *x509.Certificate
		if c, err = x509.ParseCertificate(block.Bytes); err == nil {
			key = c.PublicKey
		}
	default:
		err = errPEM
	}
	return usable(key, err)
}

// usable lets keys of known types pass.
func usable(key crypto.PublicKey, err error) (crypto.PublicKey, error) {
	switch key.(type) {
	case *rsa.PublicKey, *ecdsa.PublicKey, ed25519.PublicKey, []byte:
		return key, err
	}
	return nil, errors.Join(err, errPEM)
}

// parseJWKs reads a JWK set, or a single JWK.
func parseJWKs(data []byte) (keys []tokenKey, err error) {
	var set jwkset.JWKSMarshal
	if json.Unmarshal(data, &set) != nil || set.Keys == nil {
		var one jwkset.JWKMarshal
		if json.Unmarshal(data, &one) != nil || one.KTY == "" {
			return nil, errPEM
		}
		set.Keys = []jwkset.JWKMarshal{one}
	}
	for _, m := range set.Keys {
		if m.D != "" {
			return nil, errPrivate
		}
		k, err := jwkset.NewJWKFromMarshal(m, jwkset.JWKMarshalOptions{Private: true}, jwkset.JWKValidateOptions{})
		if err != nil {
			return nil, errPEM // the error may quote the file
		}
		key, err := usable(k.Key(), nil)
		if err != nil {
			return nil, err
		}
		keys = append(keys, tokenKey{key: key, kid: m.KID, alg: string(m.ALG)})
	}
	return keys, nil
}
