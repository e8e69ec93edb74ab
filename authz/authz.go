// Package authz decides who may publish or play what. It knows nothing of
// RTMP: it gets a Request, and answers with a Grant, a refusal, or a fault.
package authz

import (
	"context"
	"crypto/tls"
	"errors"
	"net/netip"
	"time"

	"rtmps-edge/internal/secret"
)

// Action is what a client asks to do.
type Action string

// The two actions of the contract.
const (
	Publish Action = "publish"
	Play    Action = "play"
)

// Request is one client's question. The credential may stand in Key, in Query
// or in both; which it is, only an Authorizer knows.
type Request struct {
	Action     Action
	App        string
	Key        secret.Text // stream name up to the first '?'
	Query      secret.Text // stream name after the first '?'
	Client     netip.AddrPort
	ServerName string               // TLS server name that the client sent; "" without one
	TLS        *tls.ConnectionState // nil on a plain listener
	// User is who Password.Connect found the client to be; "" = nobody.
	User string
}

// Grant says what an authorized client may do, and under which names the
// origin sees it. The zero Grant grants nothing useful: Name must be set.
type Grant struct {
	Subject string // who it is, for logs and limits; never a credential
	Origin  string // name of the origin; "" = by route
	App     string // app that the origin sees; "" = the client's
	Name    string // stream name that the origin sees
	Bitrate int64  // bits per second; 0 = the general limit
	Expires time.Time
	// Revoked is closed when the grant is withdrawn while its stream runs.
	// nil means that it cannot be.
	Revoked <-chan struct{}
	// By names the authorizer that decided, for logs and metrics: one of the
	// names below, or what a Chain's configuration calls it.
	By string
}

// Names of the authorizers of this package, as the configuration calls them.
const (
	ByKeys        = "keys"
	BySigned      = "signed"
	ByJWT         = "jwt"
	ByWebhook     = "webhook"
	ByPassword    = "password"
	ByCertificate = "certificate"
	ByOpen        = "open"
)

// Answers of an Authorizer other than a Grant. Any other error is a fault: it
// could not answer, and nothing may be concluded about the credential.
var (
	// ErrDenied refuses: the credential is known and not good for this.
	ErrDenied = errors.New("denied")
	// ErrUnknown passes the question on: the credential is not this
	// authorizer's.
	ErrUnknown = errors.New("credential unknown")
	// ErrUnknownApp refuses and says that no stream of the app could ever be
	// granted. It wraps ErrDenied.
	ErrUnknownApp error = unknownApp{}
)

type unknownApp struct{}

func (unknownApp) Error() string { return "unknown app" }
func (unknownApp) Unwrap() error { return ErrDenied }

// Authorizer answers Requests. It must be safe for concurrent use and must
// return soon after ctx is done.
type Authorizer interface {
	Authorize(ctx context.Context, r Request) (Grant, error)
}
