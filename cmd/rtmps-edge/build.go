package main

import (
	"context"
	"crypto/tls"
	"reflect"
	"slices"
	"sync"
	"time"

	"github.com/sirupsen/logrus"

	"rtmps-edge/config"
	"rtmps-edge/proxy"
	"rtmps-edge/tlsconf"
)

// watcher follows files until ctx is done.
type watcher interface{ Watch(ctx context.Context) }

// parts are what a configuration is built into. What did not change is taken
// over from the parts before.
type parts struct {
	cfg    *config.Config
	policy *proxy.Policy
	// answered hears what each authorizer has said; nil: nobody hears.
	answered func(by, result string, took time.Duration)
	source   *part[tlsconf.Source] // nil: no listener needs TLS
	reread   bool                  // source was taken over
	asked    map[string][]*member  // the authorizers that are, by name
	apply    []func()              // what a reload does once nothing can fail any more
}

// part is one live part with its watcher.
type part[T any] struct {
	it   T
	stop context.CancelFunc // nil until it runs
	done sync.WaitGroup
}

func newPart[T any](it T) *part[T] { return &part[T]{it: it} }

// start runs the part's watcher, if it has one and it does not run.
func (p *part[T]) start() {
	if p == nil {
		return
	}
	w, ok := any(p.it).(watcher)
	if !ok || p.stop != nil {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	p.stop = cancel
	p.done.Go(func() { w.Watch(ctx) })
}

func (p *part[T]) end() {
	if p != nil && p.stop != nil {
		p.stop()
		p.done.Wait()
	}
}

// build makes the parts of cfg. It changes nothing of what old does; the parts
// run nothing before start, and can be forgotten until then.
func build(cfg *config.Config, old *parts, log *logrus.Logger, answered func(by, result string, took time.Duration)) (*parts, error) {
	p := &parts{cfg: cfg, answered: answered}
	if err := p.buildTLS(old, log); err != nil {
		return nil, err
	}
	if err := p.buildAuthorizers(old, log); err != nil {
		return nil, err
	}
	p.buildPolicy()
	return p, nil
}

func (p *parts) buildTLS(old *parts, log *logrus.Logger) error {
	if !p.cfg.NeedsTLS() {
		return nil
	}
	if old != nil && old.source != nil && reflect.DeepEqual(p.cfg.TLS, old.cfg.TLS) {
		p.source, p.reread = old.source, true
		return nil
	}
	source, err := newSource(p.cfg.TLS, log)
	if err != nil {
		return err
	}
	p.source = newPart(source)
	return nil
}

func (p *parts) buildPolicy() {
	c := p.cfg
	p.policy = &proxy.Policy{
		TLS:         p.tlsConfig(),
		Publish:     p.chain(c.Authz.Publish),
		Play:        p.chain(c.Authz.Play),
		PublishFrom: c.Authz.PublishFrom,
		PlayFrom:    c.Authz.PlayFrom,
		DenyFrom:    c.Authz.DenyFrom,
		Duplicate:   c.Authz.Duplicate,
		Recheck:     c.Authz.Recheck,
		Origins:     c.Origins,
		Routes:      c.Routes,
		Limits:      c.Limits,
	}
	p.policy.Password, p.policy.PasswordOnly = p.password()
}

func (p *parts) tlsConfig() *tls.Config {
	if p.source == nil {
		return nil
	}
	return p.source.it.TLSConfig()
}

// reload makes a source that was taken over read its files again. It is the last
// step of a reload that can fail: it changes at once what is in force.
func (p *parts) reload() error {
	if !p.reread {
		return nil
	}
	return p.source.it.Reload(context.Background())
}

// start runs the watchers that do not run yet.
func (p *parts) start() {
	p.source.start()
	for _, m := range p.members() {
		m.start()
	}
}

// replace takes over from old: nothing of it can fail.
func (p *parts) replace(old *parts) {
	for _, f := range p.apply {
		f()
	}
	if old.source != p.source {
		old.source.end() // running sessions keep their certificate
	}
	for _, m := range old.members() {
		if !slices.Contains(p.members(), m) {
			m.end()
			m.retire()
		}
	}
}

// stop ends the watchers.
func (p *parts) stop() {
	p.source.end()
	for _, m := range p.members() {
		m.end()
		m.flush()
	}
}
