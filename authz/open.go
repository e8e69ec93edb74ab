package authz

import (
	"context"
	"fmt"
)

// Open grants everything to everybody, under the name that the client sent.
// It is for origins that decide themselves.
type Open struct{}

// Authorize returns a Grant, or ErrDenied if the client's name is not canonical:
// it is what the origin will see.
func (Open) Authorize(_ context.Context, r Request) (Grant, error) {
	if r.Key.Empty() {
		return Grant{}, fmt.Errorf("%w: no stream name", ErrDenied)
	}
	if !CanonicalName(r.Key.Reveal()) {
		return Grant{}, fmt.Errorf("%w: the name has characters that origins read differently", ErrDenied)
	}
	return Grant{Name: r.Key.Reveal(), By: ByOpen}, nil
}

// KnowsApp is true for every app.
func (Open) KnowsApp(string) bool { return true }
