package authz

import (
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"errors"
	"fmt"
	"hash"
	"io"
	"slices"
	"strings"
	"time"
)

// wowzaHashes are those that Wowza Streaming Engine has.
var wowzaHashes = map[string]func() hash.Hash{"": sha256.New, "sha256": sha256.New, "sha384": sha512.New384, "sha512": sha512.New}

// wowzaScheme is SecureToken version 2: PREFIXhash is the base64url hash of
// "app/name?" and the list of the secret, all other parameters with the prefix
// and, if it is so configured, the client's address, in alphabetical order and
// joined by '&'.
type wowzaScheme struct {
	prefix       string
	hash         func() hash.Hash
	bindsAddress bool
}

func newWowzaScheme(c SignedConfig, note func(key, value, problem string)) wowzaScheme {
	s := wowzaScheme{c.Prefix, wowzaHashes[c.Hash], c.BindsAddress}
	if s.prefix == "" {
		s.prefix = "wowzatoken"
	}
	if strings.ContainsAny(s.prefix, "=&?%") || strings.ContainsFunc(s.prefix, isControl) {
		note("prefix", s.prefix, "must be letters, digits and the like")
	}
	if s.hash == nil {
		note("hash", c.Hash, "must be sha256, sha384 or sha512")
	}
	return s
}

func (wowzaScheme) oneSegment() bool { return true }

func (s wowzaScheme) read(k reading) (c claim, err error) {
	v, ok, err := k.params.one(s.prefix + "hash")
	if !ok && err == nil {
		return c, notSigned(s.prefix + "hash")
	}
	if err != nil {
		return c, err
	}
	if c.given, err = base64Digest("hash", v, s.hash().Size()); err != nil {
		return c, err
	}
	var items []string
	for _, p := range k.params {
		if !strings.HasPrefix(p.name, s.prefix) || p.name == s.prefix+"hash" {
			continue
		}
		// One item must not look like two: it would hide the second.
		if _, _, err := k.params.one(p.name); err != nil || strings.ContainsAny(p.value, "&") {
			return c, &paramError{"with the prefix", errors.New("must stand there once and have no & in it")}
		}
		items = append(items, p.name+"="+p.value)
	}
	if c.begin, c.end, err = s.times(k); err != nil {
		return c, err
	}
	if s.bindsAddress {
		items = append(items, k.request.Client.Addr().Unmap().WithZone("").String())
	}
	c.sum = func(sec string) []byte { return s.sum(sec, k.app, k.name, items) }
	return c, nil
}

func (s wowzaScheme) sum(sec, app, name string, items []string) []byte {
	all := append(slices.Clone(items), sec)
	slices.Sort(all)
	h := s.hash()
	_, _ = io.WriteString(h, app+"/"+name+"?"+strings.Join(all, "&"))
	return h.Sum(nil)
}

func (s wowzaScheme) sign(q SignRequest, sec string) (string, error) {
	var items []string
	if !q.Expires.IsZero() {
		items = append(items, fmt.Sprintf("%sendtime=%d", s.prefix, q.Expires.Unix()))
	}
	if !q.NotBefore.IsZero() {
		items = append(items, fmt.Sprintf("%sstarttime=%d", s.prefix, q.NotBefore.Unix()))
	}
	for _, item := range items {
		if _, at, _ := strings.Cut(item, "="); len(at) != 10 {
			return "", errNeedsEnd
		}
	}
	covered := items
	switch {
	case s.bindsAddress && !q.Address.IsSingleIP():
		return "", errNeedsAddress
	case s.bindsAddress:
		covered = append(slices.Clone(items), q.Address.Addr().String())
	case q.Address.IsValid():
		return "", errNoAddress
	}
	sum := base64.URLEncoding.EncodeToString(s.sum(sec, q.App, q.Name, covered))
	return strings.Join(append(items, s.prefix+"hash="+sum), "&"), nil
}

// times reads the two parameters that have a meaning; each may be absent.
func (s wowzaScheme) times(k reading) (begin, end time.Time, err error) {
	for name, at := range map[string]*time.Time{"starttime": &begin, "endtime": &end} {
		v, ok, oneErr := k.params.one(s.prefix + name)
		if !ok || oneErr != nil {
			continue // was judged with the others
		}
		if *at, err = unixTime(name, v); err != nil {
			return begin, end, err
		}
	}
	return begin, end, nil
}
