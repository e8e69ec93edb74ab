package authz

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"rtmps-edge/internal/fault"
	"rtmps-edge/internal/glob"
	"rtmps-edge/internal/secret"
)

const (
	// defaultWindow is how long a key is good after the time in it, where the
	// scheme has no end of its own: Alibaba's default.
	defaultWindow = 30 * time.Minute
	// maxWindow bounds it: a key that is good for years is no signed key.
	maxWindow = 366 * 24 * time.Hour
	// defaultClockSkew is what computers that set their clocks by NTP now and
	// then are apart at the most.
	defaultClockSkew = 30 * time.Second
)

// SignedConfig configures Signed. The zero value of each field but Scheme and
// the secrets is its default.
type SignedConfig struct {
	// Scheme is one of Schemes().
	Scheme string
	// Apps are the globs of the apps that it is for. Empty: all.
	Apps []string
	// Actions are what its keys are good for. Empty: both; that is safe with
	// hmac only, where the action is signed: see BindsAction.
	Actions []Action
	// SecretsFile has one secret a line, of which the first signs and all
	// verify. Instead of it, Secrets may be given.
	SecretsFile string
	Secrets     []secret.Text
	// Window is how long a key is good after the time in it: aliyun, huawei.
	// 0 = 30 minutes.
	Window time.Duration
	// BaseURL is the part of the URL before the app that the signature covers,
	// with its port: ome. Required there.
	BaseURL string
	// Template is what is hashed by secure-link, with {secret}, {app}, {name},
	// {expires} and {ip} filled in. "" = {secret}{app}/{name}{expires}.
	Template string
	// SignatureParam and ExpiresParam are the parameters that secure-link
	// looks at. "" = st and e.
	SignatureParam, ExpiresParam string
	// Prefix begins the names of wowza's parameters. "" = wowzatoken.
	Prefix string
	// Hash is wowza's: sha256, sha384 or sha512. "" = sha256.
	Hash string
	// BindsAddress says that wowza's hash covers the client's address.
	BindsAddress bool
	// ClockSkew is how far the signer's clock may be ahead of this one. It
	// lets a key begin earlier, never end later. 0 = 30 seconds.
	ClockSkew time.Duration

	// Warn hears, in one line, of what is accepted but should be changed, and
	// OnReload how each reading that Watch began has ended. nil: nobody hears.
	Warn     func(string)
	OnReload func(error)
}

// Signed is the Authorizer of stream keys that carry their own permission,
// signed with a secret that this edge shares with who gives out the keys. It is
// safe for concurrent use. Keep one over reloads of the configuration.
type Signed struct {
	cfg     SignedConfig
	scheme  scheme
	file    *reloader // nil = the secrets do not come from a file
	secrets atomic.Pointer[[]*signingSecret]
}

// NewSigned checks cfg and reads the secrets. The error is a fault.List: its
// keys are named as in edge.toml, or it is about the file of secrets.
func NewSigned(cfg SignedConfig) (*Signed, error) {
	scheme, faults := cfg.scheme()
	s := &Signed{cfg: cfg.withDefaults(), scheme: scheme}
	s.secrets.Store(&[]*signingSecret{})
	if err := s.readSecrets(&faults); err != nil {
		return nil, err
	}
	if err := faults.Err(); err != nil {
		return nil, err
	}
	return s, nil
}

func (c SignedConfig) withDefaults() SignedConfig {
	if c.ClockSkew == 0 {
		c.ClockSkew = defaultClockSkew
	}
	if c.Warn == nil {
		c.Warn = func(string) {}
	}
	return c
}

// readSecrets reads the file, or takes what was given.
func (s *Signed) readSecrets(faults *fault.List) error {
	if s.cfg.SecretsFile == "" {
		if len(s.cfg.Secrets) == 0 {
			faults.Add(fault.Fault{Key: "secrets_file", Problem: "must name a file with one secret a line, of which the first signs and all verify"})
		}
		s.use(s.cfg.Secrets)
		return nil
	}
	s.file = &reloader{file: s.cfg.SecretsFile, limit: maxSecretsFile, onReload: s.cfg.OnReload, warn: s.cfg.Warn,
		load: func(data []byte) (func(), error) {
			secrets, err := parseSecrets(s.cfg.SecretsFile, data)
			return func() { s.use(secrets) }, err
		}}
	return s.file.begin()
}

// use takes secrets into use before it revokes what the others granted.
func (s *Signed) use(secrets []secret.Text) {
	next, revoke := signingSecrets(secrets, *s.secrets.Load())
	s.secrets.Store(&next)
	revokeAll(revoke)
	for i, sec := range secrets {
		if len(sec.Reveal()) < shortSecret {
			s.cfg.Warn(fmt.Sprintf("secret %d of the signed scheme %s is shorter than %d bytes: a key that was seen once helps to find it", i+1, s.cfg.Scheme, shortSecret))
		}
	}
}

// Reload reads the secrets again. After an error nothing has changed. Else the
// grants by secrets that are gone are revoked.
func (s *Signed) Reload() error {
	if s.file == nil {
		return nil
	}
	return s.file.Reload()
}

// Prepare is the first half of Reload, as Keys.Prepare is.
func (s *Signed) Prepare() (apply func(), err error) {
	if s.file == nil {
		return func() {}, nil
	}
	return s.file.Prepare()
}

// Watch reads the secrets again whenever their file has changed, until ctx is
// done. Run it once.
func (s *Signed) Watch(ctx context.Context) {
	if s.file != nil {
		s.file.Watch(ctx)
	}
}

// Retire revokes all grants and forgets all secrets.
func (s *Signed) Retire() { s.use(nil) }

// Authorize grants what a key says that verifies, under the name that was
// signed. Errors: ErrUnknown if the app, the action or the parameters are none
// of this scheme's, else ErrDenied with why, but nothing that the client sent.
// It never faults.
func (s *Signed) Authorize(_ context.Context, r Request) (Grant, error) {
	v := s.judge(r, time.Now())
	switch {
	case v.unknown:
		return Grant{}, ErrUnknown
	case v.why != "":
		return Grant{}, fmt.Errorf("%w: %s key: %s", ErrDenied, s.cfg.Scheme, v.why)
	}
	g := Grant{Name: v.read.name, Expires: v.claim.ends, Revoked: v.by.live.revoked, By: BySigned}
	if r.Action == Publish {
		g.Subject = v.read.name // players of a name are many
	}
	return g, nil
}

// KnowsApp reports whether the scheme is for the app.
func (s *Signed) KnowsApp(app string) bool {
	return len(s.cfg.Apps) == 0 || slices.ContainsFunc(s.cfg.Apps, func(p string) bool { return glob.Match(p, app) })
}

// BindsAction reports whether a key for one action is worth nothing for the
// other. Where it is not so and both actions are asked here, whoever may play a
// stream may publish it: give each its own secrets, with Actions.
func (s *Signed) BindsAction() bool {
	_, binds := s.scheme.(hmacScheme)
	return binds || len(s.cfg.Actions) == 1
}

// isFor reports whether the scheme is for what is asked.
func (s *Signed) isFor(r Request) bool {
	return s.KnowsApp(r.App) && (len(s.cfg.Actions) == 0 || slices.Contains(s.cfg.Actions, r.Action))
}

// SignedSet are several schemes under one name. A key is good if any of them
// says so.
type SignedSet []*Signed

// Authorize returns the first Grant; else the first refusal; else ErrUnknown.
func (set SignedSet) Authorize(ctx context.Context, r Request) (Grant, error) {
	refused := ErrUnknown
	for _, s := range set {
		g, err := s.Authorize(ctx, r)
		if err == nil {
			return g, nil
		}
		if refused == ErrUnknown {
			refused = err
		}
	}
	return Grant{}, refused
}

// KnowsApp reports whether any scheme is for the app.
func (set SignedSet) KnowsApp(app string) bool {
	return slices.ContainsFunc(set, func(s *Signed) bool { return s.KnowsApp(app) })
}

// SignRequest says what a key shall permit.
type SignRequest struct {
	Action    Action
	App, Name string
	Expires   time.Time    // zero: never, where the scheme has that
	NotBefore time.Time    // zero: at once
	Address   netip.Prefix // the client's, where the scheme has that
}

// Sign returns a stream key: the name, and a query that permits it. The error
// says what is wrong with q, or what the scheme cannot say.
func (s *Signed) Sign(q SignRequest) (secret.Text, error) {
	if err := checkNames(q.App, q.Name, s.scheme.oneSegment()); err != "" {
		return secret.Text{}, fmt.Errorf("cannot be signed: %s", err)
	}
	if !s.isFor(Request{Action: q.Action, App: q.App}) {
		return secret.Text{}, fmt.Errorf("this %s scheme is not for %s in app %q", s.cfg.Scheme, q.Action, q.App)
	}
	secrets := *s.secrets.Load()
	if len(secrets) == 0 {
		return secret.Text{}, fmt.Errorf("there is no secret to sign with")
	}
	query, err := s.scheme.sign(q, secrets[0].Reveal())
	if err != nil {
		return secret.Text{}, fmt.Errorf("a %s key %w", s.cfg.Scheme, err)
	}
	return secret.New(q.Name + "?" + query), nil
}

// Schemes returns the names of all schemes.
func Schemes() []string {
	return []string{"hmac", "secure-link", "aliyun", "tencent", "huawei", "wowza", "ome", "nms", "lal"}
}

// scheme returns what cfg names, and what is wrong with cfg.
func (c SignedConfig) scheme() (scheme, fault.List) {
	var faults fault.List
	note := func(key, value, problem string) {
		faults.Add(fault.Fault{Key: key, Value: value, Problem: problem})
	}
	for _, app := range c.Apps {
		if err := glob.Valid(app); err != nil {
			note("apps", app, err.Error())
		}
	}
	for _, a := range c.Actions {
		if a != Publish && a != Play {
			note("actions", string(a), `must be "publish" or "play"`)
		}
	}
	if c.ClockSkew < 0 || c.ClockSkew > time.Hour {
		note("clock_skew", c.ClockSkew.String(), "must be from 0 to 1h")
	}
	window := c.Window
	if window == 0 {
		window = defaultWindow
	}
	if window < time.Second || window > maxWindow {
		note("window", window.String(), fmt.Sprintf("must be from 1s to %s", maxWindow))
	}
	switch c.Scheme {
	case "hmac":
		return hmacScheme{}, faults
	case "secure-link":
		return newLinkScheme(c, note), faults
	case "aliyun":
		return aliyunScheme{window}, faults
	case "tencent":
		return tencentScheme{}, faults
	case "huawei":
		return huaweiScheme{aliyunScheme{window}, window}, faults
	case "wowza":
		return newWowzaScheme(c, note), faults
	case "ome":
		return newOMEScheme(c, note), faults
	case "nms":
		return nmsScheme{}, faults
	case "lal":
		return lalScheme{}, faults
	}
	note("scheme", c.Scheme, "must be one of "+strings.Join(Schemes(), ", "))
	return nil, faults
}
