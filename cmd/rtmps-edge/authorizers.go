package main

import (
	"reflect"
	"slices"

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

// retire revokes what a member that is no longer asked has granted.
func (m *member) retire() {
	if r, ok := m.it.(rereader); ok {
		r.Retire()
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

// buildAuthorizers makes those that are asked for anything.
func (p *parts) buildAuthorizers(old *parts, log *logrus.Logger) error {
	p.asked = map[string][]*member{}
	c := p.cfg.Authz
	if c.Uses(config.AuthorizerKeys) {
		cfg := authz.KeysConfig{File: c.KeysFile}
		err := p.member(config.AuthorizerKeys, cfg, old, func() (authz.Authorizer, error) {
			cfg.Warn, cfg.OnReload = warner(log), rereading(log, cfg.File)
			return authz.NewKeys(cfg)
		})
		if err != nil {
			return err
		}
	}
	if c.Uses(config.AuthorizerPassword) {
		cfg := c.Password
		err := p.member(config.AuthorizerPassword, cfg, old, func() (authz.Authorizer, error) {
			cfg.Warn, cfg.OnReload = warner(log), rereading(log, cfg.File)
			return authz.NewPassword(cfg)
		})
		if err != nil {
			return err
		}
	}
	if !c.Uses(config.AuthorizerSigned) {
		return nil
	}
	for _, cfg := range c.Signed {
		err := p.member(config.AuthorizerSigned, cfg, old, func() (authz.Authorizer, error) {
			cfg.Warn, cfg.OnReload = warner(log), rereading(log, cfg.SecretsFile)
			return authz.NewSigned(cfg)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// member takes over the authorizer of the same name and configuration, with its
// files read again, or makes one.
func (p *parts) member(name string, cfg any, old *parts, build func() (authz.Authorizer, error)) error {
	if m := old.find(name, cfg); m != nil {
		if r, ok := m.it.(rereader); ok {
			apply, err := r.Prepare()
			if err != nil {
				return err
			}
			p.apply = append(p.apply, apply)
		}
		p.asked[name] = append(p.asked[name], m)
		return nil
	}
	it, err := build()
	if err != nil {
		return err
	}
	p.asked[name] = append(p.asked[name], &member{newPart(it), cfg})
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

func warner(log *logrus.Logger) func(string) { return func(text string) { log.Warn(text) } }

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
	return authz.NewChain(authz.ChainConfig{Authorizers: list})
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
