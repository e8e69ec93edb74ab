package authz

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// AppKnower is an Authorizer that can tell which apps it could ever grant a
// stream of. One that cannot tell does not implement it.
type AppKnower interface {
	// KnowsApp reports whether any credential could be granted any stream of
	// app, now or later, as far as the configuration says.
	KnowsApp(app string) bool
}

// Named is an Authorizer and the name by which the configuration calls it.
type Named struct {
	Name       string
	Authorizer Authorizer
}

// Results of an Authorizer, as metrics call them.
const (
	Granted = "granted"
	Denied  = "denied"
	Unknown = "unknown" // not mine
	Failed  = "failed"  // could not answer
)

// ChainConfig configures a Chain.
type ChainConfig struct {
	// Authorizers are asked in this order. Empty: everybody is refused.
	Authorizers []Named
	// Observe hears what each one that was asked answered, and how long it
	// took. nil: nobody hears.
	Observe func(by, result string, took time.Duration)
}

// Chain asks several Authorizers, of whom the first that knows the credential
// decides. It fails closed: a fault is never an approval, and never a reason
// to ask somebody who might approve.
type Chain struct {
	members []Named
	observe func(by, result string, took time.Duration)
}

// NewChain returns a Chain. It keeps a copy of the list.
func NewChain(cfg ChainConfig) *Chain {
	c := &Chain{members: append([]Named(nil), cfg.Authorizers...), observe: cfg.Observe}
	if c.observe == nil {
		c.observe = func(string, string, time.Duration) {}
	}
	return c
}

// Authorize returns the first Grant or refusal. Errors, for errors.Is:
// ErrUnknownApp and ErrDenied, when somebody refused or nobody knows the
// credential; any other is the fault of the member it names. It never returns
// ErrUnknown. DecidedBy tells from an error who decided.
func (c *Chain) Authorize(ctx context.Context, r Request) (Grant, error) {
	for _, m := range c.members {
		begin := time.Now()
		g, err := m.ask(ctx, r)
		result := resultOf(err)
		c.observe(m.Name, result, time.Since(begin))
		switch result {
		case Granted:
			g.By = m.Name
			return g, nil
		case Denied:
			return Grant{}, c.refuse(r.App, &decision{m.Name, err})
		case Failed:
			return Grant{}, &decision{m.Name, err}
		}
	}
	return Grant{}, c.refuse(r.App, fmt.Errorf("%w: nobody knows the credential", ErrDenied))
}

func resultOf(err error) string {
	switch {
	case err == nil:
		return Granted
	case errors.Is(err, ErrDenied):
		return Denied
	case errors.Is(err, ErrUnknown):
		return Unknown
	}
	return Failed
}

// decision is an error of the member by.
type decision struct {
	by  string
	err error
}

func (d *decision) Error() string { return d.by + ": " + d.err.Error() }
func (d *decision) Unwrap() error { return d.err }

// DecidedBy names the member of a Chain whose refusal or fault err is; "" if it
// is nobody's.
func DecidedBy(err error) string {
	var d *decision
	if !errors.As(err, &d) {
		return ""
	}
	return d.by
}

// KnowsApp reports whether any member knows app or cannot tell.
func (c *Chain) KnowsApp(app string) bool {
	for _, m := range c.members {
		k, tells := m.Authorizer.(AppKnower)
		if !tells || k.KnowsApp(app) {
			return true
		}
	}
	return false
}

// refuse says that the app is unknown, if it is. With no member at all nothing
// is known about apps.
func (c *Chain) refuse(app string, denied error) error {
	if len(c.members) == 0 || c.KnowsApp(app) {
		return denied
	}
	if by := DecidedBy(denied); by != "" {
		return &decision{by, ErrUnknownApp}
	}
	return ErrUnknownApp
}

// errNoName is a fault: the stream would be published under no name.
var errNoName = errors.New("granted without a stream name")

// ask makes sure that only a usable Grant, given in time, is an approval.
func (m Named) ask(ctx context.Context, r Request) (Grant, error) {
	if m.Authorizer == nil {
		return Grant{}, errors.New("there is no such authorizer")
	}
	if err := ctx.Err(); err != nil {
		return Grant{}, err
	}
	g, err := m.Authorizer.Authorize(ctx, r)
	if err == nil && g.Name == "" {
		return Grant{}, errNoName
	}
	return g, err
}
