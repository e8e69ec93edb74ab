package authz

import (
	"crypto/md5"
	"encoding/base64"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// linkTemplate is the recipe for nginx-rtmp that is published most.
const linkTemplate = "{secret}{app}/{name}{expires}"

// linkScheme is nginx's secure_link_md5 on stream names: a base64url MD5 of
// whatever expression the operator has, and a time beside it.
type linkScheme struct {
	template           []linkPart
	signature, expires string // parameters
	hasEnd, hasAddress bool
}

// linkPart is a text, or the name of a variable.
type linkPart struct {
	text     string
	variable bool
}

func newLinkScheme(c SignedConfig, note func(key, value, problem string)) linkScheme {
	l := linkScheme{signature: c.SignatureParam, expires: c.ExpiresParam}
	if l.signature == "" {
		l.signature = "st"
	}
	if l.expires == "" {
		l.expires = "e"
	}
	if l.signature == l.expires {
		note("expires_param", l.expires, "must be another than signature_param")
	}
	template := c.Template
	if template == "" {
		template = linkTemplate
	}
	parts, err := parseTemplate(template)
	if err == nil {
		err = l.judgeTemplate(parts)
	}
	if err != nil {
		note("template", c.Template, err.Error())
	}
	l.template = parts
	return l
}

// parseTemplate splits text and {variables}.
func parseTemplate(s string) ([]linkPart, error) {
	var parts []linkPart
	for s != "" {
		text, rest, ok := strings.Cut(s, "{")
		if text != "" {
			parts = append(parts, linkPart{text, false})
		}
		if !ok {
			break
		}
		variable, rest, ok := strings.Cut(rest, "}")
		switch variable {
		case "secret", "app", "name", "expires", "ip":
		default:
			ok = false
		}
		if !ok {
			return nil, errors.New("must be text with {secret}, {app}, {name}, {expires} and {ip} in it")
		}
		parts, s = append(parts, linkPart{variable, true}), rest
	}
	return parts, nil
}

// judgeTemplate makes sure that two permissions never hash the same text:
// otherwise who was given the one has the other as well.
func (l *linkScheme) judgeTemplate(parts []linkPart) error {
	seen := map[string]int{}
	apart := true // what may be of any length begins behind a separator
	for _, p := range parts {
		switch {
		case !p.variable:
			apart = apart || strings.IndexFunc(p.text, notCanonical) >= 0
			continue
		case p.text == "app" || p.text == "name" || p.text == "ip":
			if !apart {
				return errors.New("must have a separator that no name contains, such as / or a blank, between {app}, {name} and {ip}")
			}
			apart = false
		}
		seen[p.text]++
	}
	if seen["secret"] == 0 || seen["name"] == 0 {
		return errors.New("must have {secret} and {name}: else anybody could sign, or one key would be good for every name")
	}
	l.hasEnd, l.hasAddress = seen["expires"] > 0, seen["ip"] > 0
	return nil
}

func (linkScheme) oneSegment() bool { return true }

func (l linkScheme) read(k reading) (c claim, err error) {
	if !k.params.has(l.signature) {
		return c, notSigned(l.signature)
	}
	v, err := k.required(l.signature)
	if err != nil {
		return c, err
	}
	if c.given, err = base64Digest("signature", v, md5.Size); err != nil {
		return c, err
	}
	var expires string
	if l.hasEnd {
		if expires, err = k.required(l.expires); err != nil {
			return c, err
		}
		if c.end, err = unixTime("expires", expires); err != nil {
			return c, err
		}
	}
	ip := k.request.Client.Addr().Unmap().WithZone("").String()
	c.sum = func(sec string) []byte { return l.sum(sec, k.app, k.name, expires, ip) }
	return c, nil
}

// base64Digest reads size bytes of base64url, with padding or without.
func base64Digest(name, v string, size int) ([]byte, error) {
	sum, err := base64.RawURLEncoding.Strict().DecodeString(strings.TrimRight(v, "="))
	if err != nil || len(sum) != size || strings.ContainsFunc(v, isControl) {
		return nil, &paramError{name, fmt.Errorf("must be %d bytes in base64url", size)}
	}
	return sum, nil
}

func (l linkScheme) sum(sec, app, name, expires, ip string) []byte {
	values := map[string]string{"secret": sec, "app": app, "name": name, "expires": expires, "ip": ip}
	var b strings.Builder
	for _, p := range l.template {
		if p.variable {
			b.WriteString(values[p.text])
		} else {
			b.WriteString(p.text)
		}
	}
	sum := md5.Sum([]byte(b.String()))
	return sum[:]
}

func (l linkScheme) sign(q SignRequest, sec string) (string, error) {
	ip, err := l.address(q.Address)
	if err != nil {
		return "", err
	}
	q.Address = netip.Prefix{}
	expires, query := "", ""
	if l.hasEnd {
		if err := q.plainEnd(); err != nil {
			return "", err
		}
		expires = strconv.FormatInt(q.Expires.Unix(), 10)
		query = "&" + l.expires + "=" + expires
	} else if err := q.noEnd(); err != nil {
		return "", err
	}
	return l.signature + "=" + base64.RawURLEncoding.EncodeToString(l.sum(sec, q.App, q.Name, expires, ip)) + query, nil
}

// address is what the template needs of it.
func (l linkScheme) address(p netip.Prefix) (string, error) {
	switch {
	case !l.hasAddress && p.IsValid():
		return "", errNoAddress
	case l.hasAddress && !p.IsSingleIP():
		return "", errNeedsAddress
	}
	return p.Addr().String(), nil
}
