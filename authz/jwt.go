package authz

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"rtmps-edge/internal/fault"
)

// JWTConfig configures JWT. One of JWKSURL and KeyFile is required.
type JWTConfig struct {
	// JWKSURL is where the keys are fetched, by http or https.
	JWKSURL string
	// JWKSCA is a PEM bundle that https is verified with. Empty = the system's.
	JWKSCA []byte
	// KeyFile holds public keys or certificates in PEM, a JWK or a set of
	// them, or else secrets for the HS algorithms, one a line. It is read again
	// when it changes; what was granted by a key that is gone is revoked.
	KeyFile string
	// Issuer and Audience must stand in iss and aud. "" = are not looked at.
	Issuer, Audience string
	// ClockSkew is how far the issuer's clock may be ahead of this one. It lets
	// a token begin earlier, never end later. 0 = 30 seconds.
	ClockSkew time.Duration

	// Warn hears, in one line, of what should be changed, and OnReload how each
	// reading of the file that Watch began has ended. nil: nobody hears.
	Warn     func(string)
	OnReload func(error)
}

// JWT is the Authorizer of JSON Web Tokens (RFC 7519). The token stands in the
// query, as token or jwt, or it is the stream key. It is safe for concurrent
// use. Keep one over reloads that do not change its configuration.
type JWT struct {
	cfg    JWTConfig
	parser *jwt.Parser
	file   *reloader // nil = keys are fetched
	keys   atomic.Pointer[fileKeys]
	remote *remoteKeys // nil = keys are in the file
}

// algorithms are those that are taken at all. Which of them a key is good for
// follows from its type: neither "none" nor a public key as an HMAC secret.
var algorithms = []string{
	"HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA",
}

// NewJWT checks cfg and reads KeyFile. The error is a fault.List: its keys are
// named as in edge.toml, or it is about the file of keys. What is behind
// JWKSURL is not fetched before Watch.
func NewJWT(cfg JWTConfig) (*JWT, error) {
	cfg = cfg.withDefaults()
	faults := cfg.faults()
	j := &JWT{cfg: cfg, parser: cfg.parser()}
	if cfg.JWKSURL != "" && len(faults) == 0 {
		j.remote = newRemoteKeys(cfg, readRoots(cfg.JWKSCA, "jwks_ca", &faults))
	}
	if err := faults.Err(); err != nil {
		return nil, err
	}
	j.keys.Store(&fileKeys{})
	if cfg.KeyFile == "" {
		return j, nil
	}
	j.file = &reloader{file: cfg.KeyFile, limit: maxKeyFile, load: j.load, onReload: cfg.OnReload, warn: cfg.Warn}
	return j, j.file.begin()
}

func (c JWTConfig) withDefaults() JWTConfig {
	if c.ClockSkew == 0 {
		c.ClockSkew = defaultClockSkew
	}
	if c.Warn == nil {
		c.Warn = func(string) {}
	}
	return c
}

func (c JWTConfig) faults() fault.List {
	var faults fault.List
	note := func(key, value, problem string) {
		faults.Add(fault.Fault{Key: key, Value: value, Problem: problem})
	}
	switch {
	case c.JWKSURL == "" && c.KeyFile == "":
		note("jwks_url", "", "is missing: needs it or key_file")
	case c.JWKSURL != "" && c.KeyFile != "":
		note("key_file", c.KeyFile, "must be left out where there is a jwks_url")
	}
	if u, err := url.Parse(c.JWKSURL); c.JWKSURL != "" && (err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "") {
		note("jwks_url", "", "must be an http or https URL") // it may hold a password
	}
	if c.ClockSkew < 0 || c.ClockSkew > time.Hour {
		note("clock_skew", c.ClockSkew.String(), "must be from 0 to 1h")
	}
	return faults
}

func (c JWTConfig) parser() *jwt.Parser {
	options := []jwt.ParserOption{jwt.WithValidMethods(algorithms), jwt.WithLeeway(c.ClockSkew), jwt.WithStrictDecoding()}
	if c.Issuer != "" {
		options = append(options, jwt.WithIssuer(c.Issuer))
	}
	if c.Audience != "" {
		options = append(options, jwt.WithAudience(c.Audience))
	}
	return jwt.NewParser(options...)
}

// Reload reads the file of keys again. After an error nothing has changed.
func (j *JWT) Reload() error {
	if j.file == nil {
		return nil
	}
	return j.file.Reload()
}

// Prepare is the first half of Reload, as Keys.Prepare is.
func (j *JWT) Prepare() (apply func(), err error) {
	if j.file == nil {
		return func() {}, nil
	}
	return j.file.Prepare()
}

// Watch follows the file of keys, or fetches them and keeps them fresh, until
// ctx is done. Run it once.
func (j *JWT) Watch(ctx context.Context) {
	if j.file != nil {
		j.file.Watch(ctx)
		return
	}
	j.remote.run(ctx)
}

// Retire revokes all grants and forgets the keys of the file.
func (j *JWT) Retire() { j.use(&fileKeys{}) }

// Authorize grants what the token says. Errors: ErrUnknown if there is none,
// ErrDenied with why, but nothing that the client sent, or a fault if the keys
// could not be fetched.
func (j *JWT) Authorize(ctx context.Context, r Request) (Grant, error) {
	token, name, err := findToken(r)
	if err != nil {
		return Grant{}, err
	}
	var claims edgeClaims
	by, err := j.verify(ctx, token, &claims)
	runsOn := r.Running > 0 && claims.Rtmp == nil // as MediaMTX lets streams
	switch {
	case onlyExpired(err) && runsOn:
	case err != nil:
		return Grant{}, refused(err)
	case claims.ExpiresAt != nil && !time.Now().Before(claims.ExpiresAt.Time) && !runsOn: // no leeway here
		return Grant{}, refused(jwt.ErrTokenExpired)
	}
	g, err := claims.grant(r, name)
	if err == nil && by != nil {
		g.Revoked = by.live.revoked
	}
	return g, err
}

// verify returns the keys of the file that token was verified with, or nil if
// keys are fetched. The error is the parser's, or a fault.
func (j *JWT) verify(ctx context.Context, token string, claims *edgeClaims) (by *fileKeys, err error) {
	if j.remote != nil {
		return nil, j.remote.verify(ctx, j.parser, token, claims)
	}
	by = j.keys.Load()
	_, err = j.parser.ParseWithClaims(token, claims, by.keyfunc)
	return by, err
}

// errCritical refuses a token with extensions that must be understood.
var errCritical = errors.New("crit")

// critical reports a header that nobody here understands (RFC 7515, 4.1.11).
func critical(t *jwt.Token) error {
	if _, ok := t.Header["crit"]; ok {
		return errCritical
	}
	return nil
}

// onlyExpired reports whether nothing else is wrong: the parser looks at claims
// when it has verified the signature.
func onlyExpired(err error) bool {
	for _, other := range []error{jwt.ErrTokenNotValidYet, jwt.ErrTokenInvalidIssuer, jwt.ErrTokenInvalidAudience, jwt.ErrTokenRequiredClaimMissing} {
		if errors.Is(err, other) {
			return false
		}
	}
	return errors.Is(err, jwt.ErrTokenExpired)
}

// refused turns an error of the parser into ErrDenied with why. The parser's
// own text repeats the client's. Faults stay what they are.
func refused(err error) error {
	if errors.Is(err, errNoKeys) || errors.Is(err, errKeysFailed) {
		return err
	}
	why := "cannot be verified with any key here"
	for _, c := range []struct {
		is  error
		why string
	}{
		{errCritical, "demands extensions that are not known here"},
		{jwt.ErrTokenMalformed, "is malformed, or a claim has a wrong type"},
		{jwt.ErrTokenExpired, "is expired"},
		{jwt.ErrTokenNotValidYet, "is not valid yet"},
		{jwt.ErrTokenInvalidIssuer, "is from another issuer"},
		{jwt.ErrTokenInvalidAudience, "is for another audience"},
		{jwt.ErrTokenRequiredClaimMissing, "has no issuer or audience"},
		{jwt.ErrTokenInvalidClaims, "has claims that are not valid"},
		{jwt.ErrTokenSignatureInvalid, "has a wrong signature, or an algorithm that is not for the key"},
	} {
		if errors.Is(err, c.is) {
			why = c.why
			break
		}
	}
	return fmt.Errorf("%w: the token %s", ErrDenied, why)
}

// findToken returns the one token of r, and the name that the client sent
// beside it; "" if the token stands in its place.
func findToken(r Request) (token, name string, err error) {
	all := readings(r)
	if len(all) == 0 {
		return "", "", ErrUnknown
	}
	k := all[0]
	var tokens []string
	for _, p := range k.params {
		if (p.name == "token" || p.name == "jwt") && isToken(p.value) && !slices.Contains(tokens, p.value) {
			tokens = append(tokens, p.value)
		}
	}
	name = k.name
	if isToken(name) {
		if !slices.Contains(tokens, name) {
			tokens = append(tokens, name)
		}
		name = ""
	}
	switch len(tokens) {
	case 0:
		return "", "", ErrUnknown
	case 1:
		return tokens[0], name, nil
	}
	return "", "", fmt.Errorf("%w: more than one token", ErrDenied)
}

// isToken reports whether s looks like a signed token: a name with two dots in
// it is none.
func isToken(s string) bool {
	if strings.Count(s, ".") != 2 || strings.ContainsFunc(s, notToken) {
		return false
	}
	header, _, _ := strings.Cut(s, ".")
	data, err := base64.RawURLEncoding.DecodeString(header)
	var fields struct {
		Alg string `json:"alg"`
	}
	return err == nil && json.Unmarshal(data, &fields) == nil && fields.Alg != ""
}

func notToken(r rune) bool { return notCanonical(r) || r == '~' }
