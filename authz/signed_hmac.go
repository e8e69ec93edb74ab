package authz

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"net/netip"
	"strconv"
	"strings"
)

// hmacScheme is the edge's own: NAME?exp=UNIX[&nbf=UNIX][&ip=ADDR]&sig=HEX,
// where sig is the HMAC-SHA256 of ACTION, APP, NAME, EXP, NBF and IP, joined by
// line ends; what is absent is empty. As none of these has a line end, no two
// permissions have the same text. Unlike the other schemes, it ends the stream
// when it expires.
type hmacScheme struct{}

func (hmacScheme) oneSegment() bool { return false }

func (hmacScheme) read(k reading) (c claim, err error) {
	if !k.params.has("sig") {
		return c, notSigned("sig")
	}
	exp, err := k.required("exp")
	if err != nil {
		return c, err
	}
	if c.end, err = unixTime("exp", exp); err != nil {
		return c, err
	}
	c.ends = c.end
	nbf, ok, err := k.params.one("nbf")
	if ok && err == nil {
		c.begin, err = unixTime("nbf", nbf)
	}
	if err != nil {
		return c, err
	}
	ip, ok, err := k.params.one("ip")
	if ok && err == nil {
		c.from, err = oneNetwork("ip", ip)
	}
	if err != nil {
		return c, err
	}
	c.given, err = k.digest("sig", sha256.Size)
	c.sum = func(sec string) []byte { return hmacSum(sec, k.action, k.app, k.name, exp, nbf, ip) }
	c.other = func(a Action) claim {
		other := c
		other.sum = func(sec string) []byte { return hmacSum(sec, a, k.app, k.name, exp, nbf, ip) }
		return other
	}
	return c, err
}

// oneNetwork reads an address or a network.
func oneNetwork(name, v string) ([]netip.Prefix, error) {
	p, err := ParseNetwork(v)
	if err != nil {
		return nil, &paramError{name, err}
	}
	return []netip.Prefix{p}, nil
}

func hmacSum(sec string, a Action, app, name, exp, nbf, ip string) []byte {
	m := hmac.New(sha256.New, []byte(sec))
	_, _ = io.WriteString(m, strings.Join([]string{string(a), app, name, exp, nbf, ip}, "\n"))
	return m.Sum(nil)
}

func (hmacScheme) sign(q SignRequest, sec string) (string, error) {
	if q.Expires.Unix() < 1e9 || q.Expires.Unix() > lastUnix {
		return "", errNeedsEnd
	}
	exp, nbf, ip := strconv.FormatInt(q.Expires.Unix(), 10), "", ""
	query := "exp=" + exp
	if !q.NotBefore.IsZero() {
		if q.NotBefore.Unix() < 1e9 || !q.NotBefore.Before(q.Expires) {
			return "", errors.New("must begin before it expires")
		}
		nbf = strconv.FormatInt(q.NotBefore.Unix(), 10)
		query += "&nbf=" + nbf
	}
	if q.Address.IsValid() {
		if ip = q.Address.String(); q.Address.IsSingleIP() {
			ip = q.Address.Addr().String()
		}
		query += "&ip=" + ip // needs no escapes
	}
	return query + "&sig=" + hex.EncodeToString(hmacSum(sec, q.Action, q.App, q.Name, exp, nbf, ip)), nil
}
