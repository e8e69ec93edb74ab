package authz

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"

	"github.com/golang-jwt/jwt/v5"

	"rtmps-edge/internal/glob"
)

// edgeClaims are the claims that are looked at.
type edgeClaims struct {
	jwt.RegisteredClaims
	Rtmp     []permission    `json:"rtmp"`
	MediaMTX json.RawMessage `json:"mediamtx_permissions"`
}

// permission is one member of the claim rtmp.
type permission struct {
	Action  Action          `json:"action"`
	App     string          `json:"app"`  // glob; "" = any
	Name    string          `json:"name"` // glob, or the name that the origin sees
	Origin  string          `json:"origin"`
	Bitrate json.RawMessage `json:"bitrate"` // "8Mbit", or a number
}

// mediaMTXPermission is one member of the claim mediamtx_permissions.
type mediaMTXPermission struct {
	Action string `json:"action"` // publish, read, …
	Path   string `json:"path"`   // "" = any; "~regexp"; else exact
}

// Bounds of what a token may say.
const (
	maxPermissions = 256
	maxPattern     = 512
)

// grant returns what the claims grant r, whose client sent name; "" if the
// token stands in the name's place. The claim rtmp decides, where there is one.
func (c *edgeClaims) grant(r Request, name string) (Grant, error) {
	var g Grant
	var err error
	switch {
	case c.Rtmp != nil:
		g, err = c.byRtmp(r, name)
		if c.ExpiresAt != nil {
			g.Expires = c.ExpiresAt.Time
		}
	case !absent(c.MediaMTX):
		g, err = c.byMediaMTX(r, name) // MediaMTX lets streams run on
	default:
		err = fmt.Errorf("%w: the token has neither the claim rtmp nor mediamtx_permissions", ErrDenied)
	}
	if err != nil {
		return Grant{}, err
	}
	g.By, g.Subject = ByJWT, c.Subject
	if g.Subject == "" || len(g.Subject) > MaxKeyLength || strings.ContainsFunc(g.Subject, isControl) {
		g.Subject = g.Name
	}
	return g, nil
}

// byRtmp prefers a permission for the name that the client sent to one that
// gives it another.
func (c *edgeClaims) byRtmp(r Request, name string) (Grant, error) {
	var other *permission
	for i := range c.Rtmp[:min(len(c.Rtmp), maxPermissions)] {
		p := &c.Rtmp[i]
		switch {
		case p.Action != r.Action || len(p.App) > maxPattern || len(p.Name) > maxPattern || p.App != "" && !glob.Match(p.App, r.App):
		case name != "" && p.Name != "" && glob.Match(p.Name, name):
			return p.grant(name)
		case other == nil && p.Name != "" && !isGlob(p.Name):
			other = p
		}
	}
	if other == nil {
		return Grant{}, fmt.Errorf("%w: the token does not permit this", ErrDenied)
	}
	return other.grant(other.Name)
}

func isGlob(s string) bool { return strings.ContainsAny(s, `*?[\`) }

func (p *permission) grant(name string) (Grant, error) {
	if !CanonicalName(name) {
		return Grant{}, fmt.Errorf("%w: the name has characters that origins read differently", ErrDenied)
	}
	rate, err := jsonBitrate(p.Bitrate)
	if err != nil {
		return Grant{}, fmt.Errorf("%w: the bitrate of the token %w", ErrDenied, err)
	}
	return Grant{Name: name, Origin: p.Origin, Bitrate: rate}, nil
}

// byMediaMTX reads the claim as MediaMTX does: a list, or the text of one.
func (c *edgeClaims) byMediaMTX(r Request, name string) (Grant, error) {
	raw := c.MediaMTX
	var text string
	if json.Unmarshal(raw, &text) == nil {
		raw = json.RawMessage(text)
	}
	var list []mediaMTXPermission
	if json.Unmarshal(raw, &list) != nil || len(list) > maxPermissions {
		return Grant{}, fmt.Errorf("%w: mediamtx_permissions must be a list of action and path, of %d at most", ErrDenied, maxPermissions)
	}
	if !CanonicalName(name) {
		return Grant{}, fmt.Errorf("%w: the name has characters that origins read differently, or the token stands in its place", ErrDenied)
	}
	action := map[Action]string{Publish: "publish", Play: "read"}[r.Action]
	for _, p := range list {
		if p.Action == action && p.matches(r.App+"/"+name) {
			return Grant{Name: name}, nil
		}
	}
	return Grant{}, fmt.Errorf("%w: the token does not permit this", ErrDenied)
}

func (p mediaMTXPermission) matches(path string) bool {
	pattern, ok := strings.CutPrefix(p.Path, "~")
	if !ok {
		return p.Path == "" || p.Path == path
	}
	if len(pattern) > maxPattern {
		return false
	}
	re, err := regexp.Compile(pattern)
	return err == nil && re.MatchString(path)
}
