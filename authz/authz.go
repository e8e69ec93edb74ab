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

	// ID names the session to backends, the same in all that is said of it.
	ID string
	// Encoder is the client's flashVer.
	Encoder string
	// TcURL is the client's own, and may hold a credential.
	TcURL secret.Text
	// User is who Password.Connect found the client to be; "" = nobody.
	User string
	// Running is how long the stream has been running about which is asked
	// again; 0 = it has not begun.
	Running time.Duration
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
	// OnEnd, unless it is nil, must hear once that what was granted is over,
	// also if the stream never started. Grants about a running stream have
	// none.
	OnEnd Ender
	// By names the authorizer that decided, for logs and metrics: one of the
	// names below, or what a Chain's configuration calls it.
	By string
}

// Ender hears that what was granted is over.
type Ender interface {
	// Ended returns at once.
	Ended()
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
