package authz

import (
	"crypto/md5"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// nmsScheme is Node-Media-Server's: sign=TIME-MD5, where MD5 is that of
// "/app/name-TIME-SECRET" in hex digits.
type nmsScheme struct{}

func (nmsScheme) oneSegment() bool { return true }

func (nmsScheme) read(k reading) (c claim, err error) {
	if !k.params.has("sign") {
		return c, notSigned("sign")
	}
	v, err := k.required("sign")
	if err != nil {
		return c, err
	}
	at, digits, ok := strings.Cut(v, "-")
	if !ok {
		return c, &paramError{"sign", errors.New("must be a time, a hyphen and 32 hex digits")}
	}
	if c.end, err = unixTime("sign", at); err != nil {
		return c, err
	}
	c.given, err = hexDigest("sign", digits, md5.Size)
	c.sum = func(sec string) []byte { return pathSum(k.app, k.name, at, sec) }
	return c, err
}

func (nmsScheme) sign(q SignRequest, sec string) (string, error) {
	if err := q.plainEnd(); err != nil {
		return "", err
	}
	at := strconv.FormatInt(q.Expires.Unix(), 10)
	return fmt.Sprintf("sign=%s-%x", at, pathSum(q.App, q.Name, at, sec)), nil
}

// lalScheme is lal's: lal_secret is the MD5 of KEY and name in hex digits. It
// never expires, and the app is not signed. lal's master secret, which opens
// every name to who has it, is not served.
type lalScheme struct{}

func (lalScheme) oneSegment() bool { return true }

func (lalScheme) read(k reading) (c claim, err error) {
	if !k.params.has("lal_secret") {
		return c, notSigned("lal_secret")
	}
	c.given, err = k.digest("lal_secret", md5.Size)
	c.sum = func(sec string) []byte { return md5Sum(sec, k.name) }
	return c, err
}

func (lalScheme) sign(q SignRequest, sec string) (string, error) {
	if q.Address.IsValid() {
		return "", errNoAddress
	}
	if err := q.noEnd(); err != nil {
		return "", err
	}
	return "lal_secret=" + hex.EncodeToString(md5Sum(sec, q.Name)), nil
}

// noEnd checks a request of a scheme that knows no time.
func (q SignRequest) noEnd() error {
	switch {
	case !q.Expires.IsZero():
		return errNoEnd
	case !q.NotBefore.IsZero():
		return errNoBegin
	}
	return nil
}
