package main

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"time"

	"github.com/sirupsen/logrus"

	"rtmps-edge/authz"
	"rtmps-edge/config"
)

// member is one live authorizer. It is kept over reloads as long as its
// configuration stays the same: it knows which running streams it granted.
type member struct {
	*part[authz.Authorizer]
	cfg any
}

// rereader is an authorizer that is made of files.
type rereader interface {
	Prepare() (apply func(), err error)
	Retire()
}

// retire is for a member that is no longer asked: what it granted is revoked,
// where it can say so.
func (m *member) retire() {
	switch it := m.it.(type) {
	case rereader:
		it.Retire()
	case *authz.Webhook:
		it.Close()
	}
}

// flushTimeout is how long the end of the program waits until backends have
// heard of the streams that ended with it.
const flushTimeout = 3 * time.Second

// flush lets members tell what they still have to tell.
func (m *member) flush() {
	if w, ok := m.it.(*authz.Webhook); ok {
		ctx, cancel := context.WithTimeout(context.Background(), flushTimeout)
		defer cancel()
		_ = w.Flush(ctx) // it has warned of what it could not say
		w.Close()
	}
}

// members returns all authorizers.
func (p *parts) members() (all []*member) {
	if p == nil {
		return nil
	}
	for _, list := range p.asked {
		all = append(all, list...)
	}
	return all
}

// plan is one authorizer as a configuration wants it. cfg holds all that makes
// it what it is.
type plan struct {
	name  string
	cfg   any
	build func() (authz.Authorizer, error)
}

// plans returns those that are asked for anything.
func plans(c config.Authz, log *logrus.Logger) (list []plan) {
	add := func(name string, cfg any, build func() (authz.Authorizer, error)) {
		if c.Uses(name) {
			list = append(list, plan{name, cfg, build})
		}
	}
	warn := func(text string) { log.Warn(text) }
	add(config.AuthorizerKeys, authz.KeysConfig{File: c.KeysFile}, func() (authz.Authorizer, error) {
		return authz.NewKeys(authz.KeysConfig{File: c.KeysFile, Warn: warn, OnReload: rereading(log, c.KeysFile)})
	})
	add(config.AuthorizerPassword, c.Password, func() (authz.Authorizer, error) {
		cfg := c.Password
		cfg.Warn, cfg.OnReload = warn, rereading(log, cfg.File)
		return authz.NewPassword(cfg)
	})
	add(config.AuthorizerCert, c.Certificate, func() (authz.Authorizer, error) {
		cfg := c.Certificate
		cfg.Warn, cfg.OnReload = warn, rereading(log, cfg.File)
		return authz.NewCertificates(cfg)
	})
	add(config.AuthorizerWebhook, c.Webhook, func() (authz.Authorizer, error) {
		cfg := c.Webhook
		cfg.Warn = warn
		return authz.NewWebhook(cfg)
	})
	add(config.AuthorizerJWT, c.JWT, func() (authz.Authorizer, error) {
		cfg := c.JWT
		cfg.Warn, cfg.OnReload = warn, rereading(log, cfg.KeyFile)
		return authz.NewJWT(cfg)
	})
	for _, s := range c.Signed {
		add(config.AuthorizerSigned, s, func() (authz.Authorizer, error) {
			cfg := s
			cfg.Warn, cfg.OnReload = warn, rereading(log, cfg.SecretsFile)
			return authz.NewSigned(cfg)
		})
	}
	return list
}

// buildAuthorizers makes those that are asked for anything.
func (p *parts) buildAuthorizers(old *parts, log *logrus.Logger) error {
	p.asked = map[string][]*member{}
	for _, plan := range plans(p.cfg.Authz, log) {
		if err := p.member(plan, old); err != nil {
			return err
		}
	}
	for _, text := range p.tooMuch() {
		log.Warn(text)
	}
	return nil
}

// tooMuch names the schemes whose keys for playing would also publish: those that
// do not sign the action and are asked for both.
func (p *parts) tooMuch() (list []string) {
	c := p.cfg.Authz
	both := slices.Contains(c.Publish, config.AuthorizerSigned) && slices.Contains(c.Play, config.AuthorizerSigned)
	for _, m := range p.asked[config.AuthorizerSigned] {
		s := m.it.(*authz.Signed)
		if cfg := m.cfg.(authz.SignedConfig); both && len(cfg.Actions) != 1 && !s.BindsAction() {
			list = append(list, fmt.Sprintf("a key of the scheme %q that was given to a player can also publish: give each action its own [[authz.signed]], with actions and other secrets", cfg.Scheme))
		}
	}
	return list
}

// member takes over the authorizer of the same name and configuration, with its
// files read again, or makes one.
func (p *parts) member(plan plan, old *parts) error {
	if m := old.find(plan.name, plan.cfg); m != nil {
		if r, ok := m.it.(rereader); ok {
			apply, err := r.Prepare()
			if err != nil {
				return err
			}
			p.apply = append(p.apply, apply)
		}
		p.asked[plan.name] = append(p.asked[plan.name], m)
		return nil
	}
	it, err := plan.build()
	if err != nil {
		return err
	}
	p.asked[plan.name] = append(p.asked[plan.name], &member{newPart(it), plan.cfg})
	return nil
}

func (p *parts) find(name string, cfg any) *member {
	if p == nil {
		return nil
	}
	for _, m := range p.asked[name] {
		if reflect.DeepEqual(m.cfg, cfg) {
			return m
		}
	}
	return nil
}

// rereading logs how a changed file was read.
func rereading(log *logrus.Logger, file string) func(error) {
	return func(err error) {
		if err == nil {
			log.WithField("file", file).Info("read again")
			return
		}
		for _, text := range lines(err) {
			log.Error("not read again, what was in force stays: " + text)
		}
	}
}

// chain returns nil for an empty list: that action is refused altogether.
func (p *parts) chain(names []string) authz.Authorizer {
	var list []authz.Named
	for _, name := range names {
		if name == config.AuthorizerOpen {
			list = append(list, authz.Named{Name: name, Authorizer: authz.Open{}})
			continue
		}
		list = append(list, authz.Named{Name: name, Authorizer: p.authorizer(name)})
	}
	if len(list) == 0 {
		return nil
	}
	return authz.NewChain(authz.ChainConfig{Authorizers: list, Observe: p.answered})
}

// authorizer returns what is asked under a name.
func (p *parts) authorizer(name string) authz.Authorizer {
	members := p.asked[name]
	if name != config.AuthorizerSigned {
		return members[0].it
	}
	var set authz.SignedSet
	for _, m := range members {
		set = append(set, m.it.(*authz.Signed))
	}
	return set
}

// password returns who judges logins, and whether nobody gets in without one.
func (p *parts) password() (judge *authz.Password, only bool) {
	members := p.asked[config.AuthorizerPassword]
	if len(members) == 0 {
		return nil, false
	}
	asked := slices.Concat(p.cfg.Authz.Publish, p.cfg.Authz.Play)
	only = !slices.ContainsFunc(asked, func(name string) bool { return name != config.AuthorizerPassword })
	return members[0].it.(*authz.Password), only
}
