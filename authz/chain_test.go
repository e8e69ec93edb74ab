package authz

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"rtmps-edge/internal/secret"
)

// answer is an Authorizer that always answers the same, and counts.
type answer struct {
	grant Grant
	err   error
	asked int
}

func (a *answer) Authorize(context.Context, Request) (Grant, error) {
	a.asked++
	return a.grant, a.err
}

// answerApps can tell which apps there are.
type answerApps struct {
	answer
	apps []string
}

func (a *answerApps) KnowsApp(app string) bool {
	return strings.Contains(strings.Join(a.apps, " "), app)
}

func chain(members ...Authorizer) *Chain {
	names := []string{"first", "second", "third"}
	var cfg ChainConfig
	for i, m := range members {
		cfg.Authorizers = append(cfg.Authorizers, Named{names[i], m})
	}
	return NewChain(cfg)
}

func TestFirstThatKnowsDecides(t *testing.T) {
	unknown, grants, never := &answer{err: ErrUnknown}, &answer{grant: Grant{Name: "n", By: "x"}}, &answer{}
	g, err := chain(unknown, grants, never).Authorize(t.Context(), Request{})
	if err != nil || g.Name != "n" || g.By != "second" {
		t.Errorf("got %+v, %v", g, err)
	}
	if never.asked != 0 {
		t.Error("the third was asked")
	}
}

func TestRefusalsAndFaults(t *testing.T) {
	broken := errors.New("backend is down")
	granting := Grant{Name: "n"}
	for _, c := range []struct {
		name  string
		first answer
		is    error
		fault bool
	}{
		{"denied", answer{err: ErrDenied}, ErrDenied, false},
		{"denied with a grant", answer{grant: granting, err: ErrDenied}, ErrDenied, false},
		{"fault", answer{err: broken}, broken, true},
		{"fault with a grant", answer{grant: granting, err: broken}, broken, true},
		{"no name", answer{}, errNoName, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			next := &answer{grant: granting}
			g, err := chain(&c.first, next).Authorize(t.Context(), Request{})
			if g != (Grant{}) || !errors.Is(err, c.is) || !strings.HasPrefix(err.Error(), "first: ") {
				t.Errorf("got %+v, %v", g, err)
			}
			if errors.Is(err, ErrDenied) == c.fault || errors.Is(err, ErrUnknown) {
				t.Errorf("%v is taken for something else", err)
			}
			if next.asked != 0 {
				t.Error("the next was asked: it may approve what is not known to be good")
			}
		})
	}
}

func TestNobodyKnows(t *testing.T) {
	for _, c := range []*Chain{chain(), chain(&answer{err: ErrUnknown}), chain(&answer{err: ErrUnknown}, &answer{err: ErrUnknown})} {
		_, err := c.Authorize(t.Context(), Request{})
		if !errors.Is(err, ErrDenied) || errors.Is(err, ErrUnknown) || errors.Is(err, ErrUnknownApp) {
			t.Errorf("got %v", err)
		}
	}
}

func TestUnknownApp(t *testing.T) {
	knows := func(err error, apps ...string) Authorizer { return &answerApps{answer{err: err}, apps} }
	for _, c := range []struct {
		name  string
		chain *Chain
		want  bool
	}{
		{"nobody has it", chain(knows(ErrUnknown, "a"), knows(ErrUnknown, "b")), true},
		{"denied, and nobody has it", chain(knows(ErrDenied, "a"), knows(ErrUnknown, "b")), true},
		{"the second has it", chain(knows(ErrDenied, "a"), knows(ErrUnknown, "live")), false},
		{"one cannot tell", chain(knows(ErrUnknown, "a"), &answer{err: ErrUnknown}), false},
		{"open", chain(knows(ErrDenied, "a"), Open{}), false},
		{"fault", chain(knows(errors.New("down"), "a")), false},
		{"chain in a chain", chain(chain(knows(ErrUnknown, "a"))), true},
	} {
		_, err := c.chain.Authorize(t.Context(), Request{App: "live", Key: secret.New("k")})
		if errors.Is(err, ErrUnknownApp) != c.want || err == nil {
			t.Errorf("%s: got %v", c.name, err)
		}
	}
}

func TestChainFailsClosed(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := chain(Open{}).Authorize(ctx, Request{Key: secret.New("k")}); !errors.Is(err, context.Canceled) || errors.Is(err, ErrDenied) {
		t.Errorf("too late: got %v", err)
	}
	if _, err := chain(nil).Authorize(t.Context(), Request{Key: secret.New("k")}); err == nil || errors.Is(err, ErrDenied) {
		t.Errorf("no authorizer: got %v", err)
	}
}

func TestOpen(t *testing.T) {
	g, err := Open{}.Authorize(t.Context(), Request{Key: secret.New("name"), Query: secret.New("a=b")})
	if err != nil || g != (Grant{Name: "name", By: ByOpen}) {
		t.Errorf("got %+v, %v", g, err)
	}
	if _, err := (Open{}).Authorize(t.Context(), Request{Query: secret.New("a=b")}); !errors.Is(err, ErrDenied) {
		t.Errorf("no name: got %v", err)
	}
}

func TestChainTells(t *testing.T) {
	broken := errors.New("backend is down")
	for _, c := range []struct {
		last answer
		want string
		by   string
	}{
		{answer{grant: Grant{Name: "n"}}, "first unknown, second granted", ""},
		{answer{err: ErrDenied}, "first unknown, second denied", "second"},
		{answer{err: broken}, "first unknown, second failed", "second"},
		{answer{err: ErrUnknown}, "first unknown, second unknown", ""},
	} {
		var told []string
		chain := NewChain(ChainConfig{
			Authorizers: []Named{{"first", &answer{err: ErrUnknown}}, {"second", &c.last}},
			Observe: func(by, result string, took time.Duration) {
				if told = append(told, by+" "+result); took < 0 {
					t.Errorf("took %v", took)
				}
			},
		})
		_, err := chain.Authorize(t.Context(), Request{})
		if got := strings.Join(told, ", "); got != c.want || DecidedBy(err) != c.by {
			t.Errorf("told %s, want %s; decided by %q in %v", got, c.want, DecidedBy(err), err)
		}
	}
}
