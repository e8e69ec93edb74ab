package config

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"slices"
	"strings"
	"time"

	"rtmps-edge/authz"
	"rtmps-edge/internal/fault"
	"rtmps-edge/internal/readfile"
	"rtmps-edge/internal/secret"
	"rtmps-edge/internal/tomlfile"
	"rtmps-edge/proxy"
	"rtmps-edge/tlsconf"
)

// Authz says who may do what.
type Authz struct {
	Publish, Play []string // names of authorizers, in the order they are asked
	// PublishFrom and PlayFrom are the networks that may do each; empty = any.
	PublishFrom, PlayFrom []netip.Prefix
	// DenyFrom are the networks that are refused before TLS.
	DenyFrom []netip.Prefix
	// Duplicate and Recheck are as in proxy.Policy.
	Duplicate proxy.Duplicate
	Recheck   time.Duration

	KeysFile string
	Signed   []authz.SignedConfig
	Password authz.PasswordConfig
	Webhook  authz.WebhookConfig
	JWT      authz.JWTConfig
	// Certificate names who may do what by client certificate.
	Certificate authz.CertificatesConfig
}

// Names of authorizers.
const (
	AuthorizerOpen     = "open"
	AuthorizerKeys     = authz.ByKeys
	AuthorizerSigned   = authz.BySigned
	AuthorizerPassword = authz.ByPassword
	AuthorizerCert     = authz.ByCertificate
	AuthorizerWebhook  = authz.ByWebhook
	AuthorizerJWT      = authz.ByJWT
)

// authorizers are those that there are.
var authorizers = []string{AuthorizerKeys, AuthorizerSigned, AuthorizerJWT, AuthorizerWebhook, AuthorizerPassword, AuthorizerCert, AuthorizerOpen}

func defaultAuthz() Authz {
	return Authz{Publish: []string{AuthorizerKeys}, Play: []string{}, KeysFile: "keys.toml",
		Password: authz.PasswordConfig{File: "users.toml"}, Certificate: authz.CertificatesConfig{File: "certificates.toml"}, Duplicate: proxy.DuplicateReject}
}

// Uses reports whether an authorizer is asked for anything.
func (a Authz) Uses(name string) bool {
	return slices.Contains(a.Publish, name) || slices.Contains(a.Play, name)
}

func (c *Config) readAuthz(t *tomlfile.Table) {
	tomlfile.List(t, "publish", &c.Authz.Publish, authorizer)
	tomlfile.List(t, "play", &c.Authz.Play, authorizer)
	tomlfile.List(t, "publish_from", &c.Authz.PublishFrom, authz.ParseNetwork)
	tomlfile.List(t, "play_from", &c.Authz.PlayFrom, authz.ParseNetwork)
	tomlfile.List(t, "deny_from", &c.Authz.DenyFrom, authz.ParseNetwork)
	tomlfile.OneOf(t, "duplicate", &c.Authz.Duplicate, proxy.DuplicateReject, proxy.DuplicateTakeover, proxy.DuplicateSameIP)
	t.Duration("recheck", &c.Authz.Recheck, 0, 24*time.Hour)
	c.readKeys(t.Table("keys"))
	for _, s := range t.Tables("signed") {
		c.readSigned(s)
	}
	c.readPassword(t.Table("password"))
	c.readCertificates(t.Table("certificate"))
	c.readWebhook(c.needed(t, AuthorizerWebhook))
	c.readJWT(c.needed(t, AuthorizerJWT))
	t.End()
	if c.Authz.Uses(AuthorizerSigned) && len(c.Authz.Signed) == 0 {
		t.Missing("signed", "is asked for in publish or play: needs at least one [[authz.signed]]")
	}
}

func authorizer(name string) (string, error) {
	quoted := "\"" + strings.Join(authorizers, "\", \"") + "\""
	if slices.Contains(authorizers, name) {
		return name, nil
	}
	return "", fmt.Errorf("must be one of %s", quoted)
}

func (c *Config) readKeys(t *tomlfile.Table) {
	t.String("file", &c.Authz.KeysFile)
	t.End()
	c.Authz.KeysFile = t.Path(c.Authz.KeysFile)
	if !c.Authz.Uses(AuthorizerKeys) {
		return
	}
	_, err := authz.ListKeys(c.Authz.KeysFile)
	entries(t, c.Authz.KeysFile, err, "rtmps-edge key add NAME")
}

// entries notes what is wrong with a file of entries, and how to make one.
func entries(t *tomlfile.Table, file string, err error, command string) {
	var list fault.List
	switch {
	case errors.As(err, &list):
		t.Add(list)
	case errors.Is(err, fs.ErrNotExist):
		hint := "write it by hand: see the documentation"
		if command != "" {
			hint = fmt.Sprintf("make it with %q", command)
		}
		t.Missing("file", fmt.Sprintf("there is no %s yet: %s", file, hint))
	case err != nil:
		t.Missing("file", "must be a file that can be read: "+readfile.Reason(err))
	}
}

func (c *Config) readPassword(t *tomlfile.Table) {
	p := &c.Authz.Password
	t.String("file", &p.File)
	t.Secret("secret", &p.Secret)
	t.End()
	p.File = t.Path(p.File)
	if c.Authz.Uses(AuthorizerPassword) {
		_, err := authz.ListUsers(p.File)
		entries(t, p.File, err, "rtmps-edge user add NAME")
	}
}

// readCertificates needs the tables that say whether clients show certificates.
func (c *Config) readCertificates(t *tomlfile.Table) {
	a := &c.Authz.Certificate
	t.String("file", &a.File)
	t.End()
	a.File = t.Path(a.File)
	if !c.Authz.Uses(AuthorizerCert) {
		return
	}
	_, err := authz.ListCertificates(a.File)
	entries(t, a.File, err, "")
	if c.TLS.ClientAuth == tlsconf.Off {
		t.Missing("file", "is asked for in publish or play: needs client_auth = \"optional\" or \"required\", and client_ca, in [tls]")
	}
}

func (c *Config) readWebhook(t *tomlfile.Table) {
	w := &c.Authz.Webhook
	t.String("url", &w.URL)
	t.String("play_url", &w.PlayURL)
	t.String("done_url", &w.DoneURL)
	t.String("play_done_url", &w.PlayDoneURL)
	tomlfile.OneOf(t, "dialect", &w.Dialect, authz.Dialects()...)
	tomlfile.OneOf(t, "method", &w.Method, "post", "get")
	t.Bool("raw", &w.Raw)
	t.Duration("timeout", &w.Timeout, 10*time.Millisecond, authz.MaxWebhookTimeout)
	t.Secret("secret", &w.Secret)
	readBundle(t, "ca", &w.CA)
	t.Duration("cache", &w.Cache, 0, time.Hour)
	tomlfile.OneOf(t, "on_failure", &w.OnFailure, authz.FailDeny, authz.FailAllow, authz.FailLast)
	t.Int("in_flight", &w.InFlight, 1, authz.MaxInFlight)
	t.String("server_id", &w.ServerID)
	t.End()
	if t.Present() && c.Authz.Uses(AuthorizerWebhook) {
		_, err := authz.NewWebhook(*w)
		t.Adopt(err)
	}
}

func (c *Config) readJWT(t *tomlfile.Table) {
	j := &c.Authz.JWT
	t.String("jwks_url", &j.JWKSURL)
	readBundle(t, "jwks_ca", &j.JWKSCA)
	t.File("key_file", &j.KeyFile)
	t.String("issuer", &j.Issuer)
	t.String("audience", &j.Audience)
	t.Duration("clock_skew", &j.ClockSkew, 0, time.Hour)
	t.End()
	if t.Present() && c.Authz.Uses(AuthorizerJWT) && (j.KeyFile == "" || readfile.Check(j.KeyFile) == nil) {
		_, err := authz.NewJWT(*j)
		t.Adopt(err)
	}
}

// needed returns the table of an authorizer that cannot do without.
func (c *Config) needed(t *tomlfile.Table, name string) *tomlfile.Table {
	sub := t.Table(name)
	if c.Authz.Uses(name) && !sub.Present() {
		t.Missing(name, fmt.Sprintf("is asked for in publish or play: needs [authz.%s]", name))
	}
	return sub
}

// maxBundle is the largest PEM bundle, in bytes: all authorities that systems
// trust have 300 KiB.
const maxBundle = 4 << 20

// readBundle reads a file of certificates. Its contents are part of the
// configuration: a reload with another bundle is another configuration.
func readBundle(t *tomlfile.Table, key string, dst *[]byte) {
	file := ""
	t.File(key, &file)
	if file == "" || readfile.Check(file) != nil { // that is told already
		return
	}
	data, err := readfile.Read(file, maxBundle)
	if err != nil {
		t.Fault(key, "must be a file that can be read: "+readfile.Reason(err))
	}
	*dst = data
}

func (c *Config) readSigned(t *tomlfile.Table) {
	s := authz.SignedConfig{Apps: []string{"*"}}
	t.String("scheme", &s.Scheme)
	t.Strings("apps", &s.Apps)
	tomlfile.List(t, "actions", &s.Actions, action)
	t.File("secrets_file", &s.SecretsFile)
	tomlfile.List(t, "secrets", &s.Secrets, func(text string) (secret.Text, error) { return secret.New(text), nil })
	t.Duration("window", &s.Window, 0, 365*24*time.Hour)
	t.Duration("clock_skew", &s.ClockSkew, 0, time.Hour)
	t.String("base_url", &s.BaseURL)
	t.String("template", &s.Template)
	t.String("signature_param", &s.SignatureParam)
	t.String("expires_param", &s.ExpiresParam)
	t.String("prefix", &s.Prefix)
	t.String("hash", &s.Hash)
	t.Bool("binds_address", &s.BindsAddress)
	t.End()
	if s.SecretsFile == "" || readfile.Check(s.SecretsFile) == nil { // else it is told already
		_, err := authz.NewSigned(s)
		t.Adopt(err)
	}
	c.Authz.Signed = append(c.Authz.Signed, s)
}

func action(s string) (authz.Action, error) {
	if a := authz.Action(s); a == authz.Publish || a == authz.Play {
		return a, nil
	}
	return "", errors.New("must be \"publish\" or \"play\"")
}

// KeysFile returns the path of the keys.toml that file names, whatever else is
// wrong with it: the default, beside it, if it cannot be read.
func KeysFile(file string) string { return entriesFile(file, "keys", defaultAuthz().KeysFile) }

// UsersFile returns the path of the users.toml, as KeysFile does.
func UsersFile(file string) string {
	return entriesFile(file, "password", defaultAuthz().Password.File)
}

func entriesFile(file, table, name string) string {
	data, err := readfile.Read(file, MaxFile)
	t, parseErr := tomlfile.Parse(file, data)
	if err != nil || parseErr != nil {
		t, _ = tomlfile.Parse(file, nil)
	}
	t.Table("authz").Table(table).String("file", &name)
	return t.Path(name)
}
