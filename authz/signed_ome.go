package authz

import (
	"crypto/hmac"
	"crypto/sha1"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net/netip"
	"net/url"
	"strings"
	"time"
)

// omeScheme is OvenMediaEngine's SignedPolicy: policy is a JSON object in
// base64url, signature the HMAC-SHA1 in base64url of the whole URL without the
// signature. The URL is the one that its maker saw, so it must be configured:
// encoders come to the edge by another.
type omeScheme struct{ base string }

func newOMEScheme(c SignedConfig, note func(key, value, problem string)) omeScheme {
	u, err := url.Parse(c.BaseURL)
	if err != nil || u.Scheme == "" || u.Hostname() == "" || u.Port() == "" || u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
		note("base_url", c.BaseURL, `must be what the signature covers before the app, with its port, such as "rtmps://live.example.com:443"`)
	}
	return omeScheme{strings.TrimSuffix(c.BaseURL, "/")}
}

// maxPolicy is the longest policy, in bytes: its five keys have 200.
const maxPolicy = 1024

// omePolicy is the JSON; times are in milliseconds since 1970.
type omePolicy struct {
	URLExpire    *int64 `json:"url_expire"`
	URLActivate  *int64 `json:"url_activate,omitempty"`
	StreamExpire *int64 `json:"stream_expire,omitempty"`
	AllowIP      string `json:"allow_ip,omitempty"`
	RealIP       string `json:"real_ip,omitempty"`
}

func (omeScheme) oneSegment() bool { return true }

func (s omeScheme) read(k reading) (c claim, err error) {
	if !k.params.has("policy", "signature") {
		return c, notSigned("policy")
	}
	text, err := k.required("policy")
	if err != nil {
		return c, err
	}
	signature, err := k.required("signature")
	if err != nil {
		return c, err
	}
	if c.given, err = base64Digest("signature", signature, sha1.Size); err != nil {
		return c, err
	}
	var rest []string
	for _, p := range k.params {
		if p.name != "signature" {
			rest = append(rest, p.raw)
		}
	}
	c.sum = func(sec string) []byte { return s.sum(sec, k.app, k.name, strings.Join(rest, "&")) }
	return c, readPolicy(text, &c)
}

func (s omeScheme) sum(sec, app, name, query string) []byte {
	m := hmac.New(sha1.New, []byte(sec))
	_, _ = io.WriteString(m, s.base+"/"+app+"/"+name+"?"+query)
	return m.Sum(nil)
}

var errPolicy = &paramError{"policy", errors.New("must be a JSON object in base64url with url_expire, in milliseconds, and what else OvenMediaEngine knows")}

// readPolicy reads what the policy says into c. Both addresses are the
// client's here: nobody stands between it and the edge.
func readPolicy(text string, c *claim) error {
	data, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(text, "="))
	var p omePolicy
	if err != nil || len(text) > maxPolicy || json.Unmarshal(data, &p) != nil || p.URLExpire == nil {
		return errPolicy
	}
	c.end = time.UnixMilli(*p.URLExpire)
	if p.URLActivate != nil {
		c.begin = time.UnixMilli(*p.URLActivate)
	}
	if p.StreamExpire != nil {
		c.ends = time.UnixMilli(*p.StreamExpire)
	}
	for _, v := range []string{p.AllowIP, p.RealIP} {
		if v == "" {
			continue
		}
		network, err := ParseNetwork(v)
		if err != nil {
			return errPolicy
		}
		if c.from, err = both(c.from, network); err != nil {
			return err
		}
	}
	return nil
}

// both returns the networks that are in have, if there are any, and in n.
func both(have []netip.Prefix, n netip.Prefix) ([]netip.Prefix, error) {
	if len(have) == 0 || networksCover(have, []netip.Prefix{n}) {
		return []netip.Prefix{n}, nil
	}
	if networksCover([]netip.Prefix{n}, have) {
		return have, nil
	}
	return nil, &paramError{"policy", errors.New("allows no address at all")}
}

func (s omeScheme) sign(q SignRequest, sec string) (string, error) {
	if q.Expires.Unix() < 1e9 || q.Expires.Unix() > lastUnix {
		return "", errNeedsEnd
	}
	expire := q.Expires.UnixMilli()
	p := omePolicy{URLExpire: &expire}
	if !q.NotBefore.IsZero() {
		activate := q.NotBefore.UnixMilli()
		p.URLActivate = &activate
	}
	if q.Address.IsValid() {
		p.AllowIP = q.Address.String()
	}
	data, err := json.Marshal(p)
	if err != nil {
		return "", err
	}
	query := "policy=" + base64.RawURLEncoding.EncodeToString(data)
	return query + "&signature=" + base64.RawURLEncoding.EncodeToString(s.sum(sec, q.App, q.Name, query)), nil
}
