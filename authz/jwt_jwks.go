package authz

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/MicahParks/keyfunc/v3"
	"github.com/golang-jwt/jwt/v5"
	"golang.org/x/time/rate"
)

const (
	// maxJWKS is the largest set of keys that is read, in bytes.
	maxJWKS = 256 << 10
	// jwksTimeout bounds one fetch: a client may be waiting for it.
	jwksTimeout = 3 * time.Second
	// jwksFresh is how old keys may get: a key that the issuer has withdrawn is
	// good no longer than that.
	jwksFresh = 10 * time.Minute
	// jwksUnknown is how often, at most, keys are fetched because a token names
	// one that is unknown: anybody can make up such tokens. After a fetch, all
	// that the issuer has is known.
	jwksUnknown = 10 * time.Second
	// jwksRetry is the pause after the first fetch that failed at the start; it
	// doubles up to jwksRetryMost.
	jwksRetry, jwksRetryMost = time.Second, 30 * time.Second
)

// remoteKeys are the keys of a JWKS.
type remoteKeys struct {
	cfg    JWTConfig
	client *http.Client
	keys   atomic.Pointer[keyfunc.Keyfunc]
	ready  chan struct{} // closed when keys are there for the first time
	failed atomic.Bool   // the last fetch
}

func newRemoteKeys(cfg JWTConfig, roots *x509.CertPool) *remoteKeys {
	r := &remoteKeys{cfg: cfg, ready: make(chan struct{})}
	r.client = &http.Client{
		Transport: fetches{r, &http.Transport{
			DialContext:            (&net.Dialer{Timeout: dialPatience}).DialContext,
			TLSClientConfig:        &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
			TLSHandshakeTimeout:    dialPatience,
			MaxResponseHeaderBytes: maxAnswerHeader,
			DisableKeepAlives:      true, // once in minutes
		}},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Timeout:       jwksTimeout,
	}
	return r
}

// fetches bounds what is read, and notes how it went.
type fetches struct {
	r  *remoteKeys
	by http.RoundTripper
}

func (f fetches) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := f.by.RoundTrip(req)
	f.r.failed.Store(err != nil) // what is wrong with the body, the error handler hears
	if err == nil {
		resp.Body = bounded{io.LimitReader(resp.Body, maxJWKS), resp.Body}
	}
	return resp, err
}

type bounded struct {
	io.Reader
	io.Closer
}

// run fetches the keys until there are some, and then keeps them fresh.
func (r *remoteKeys) run(ctx context.Context) {
	defer r.client.CloseIdleConnections()
	for pause := jwksRetry; ; pause = min(2*pause, jwksRetryMost) {
		inner, cancel := context.WithCancel(ctx)
		if r.fetch(inner) {
			close(r.ready)
			<-ctx.Done()
		}
		cancel() // ends what fetch began, also if it failed
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return
		}
	}
}

// fetch begins: keys are fetched, and again from then on, until ctx is done.
func (r *remoteKeys) fetch(ctx context.Context) bool {
	mustWork := false
	k, err := keyfunc.NewDefaultOverrideCtx(ctx, []string{r.cfg.JWKSURL}, keyfunc.Override{
		Client:                    r.client,
		HTTPTimeout:               jwksTimeout,
		NoErrorReturnFirstHTTPReq: &mustWork,
		RefreshInterval:           jwksFresh,
		RefreshUnknownKID:         rate.NewLimiter(rate.Every(jwksUnknown), 1),
		RateLimitWaitMax:          jwksTimeout + 500*time.Millisecond,
		RefreshErrorHandlerFunc: func(string) func(context.Context, error) {
			return func(context.Context, error) { r.warn() }
		},
	})
	if err != nil {
		if ctx.Err() == nil {
			r.warn()
		}
		return false
	}
	r.keys.Store(&k)
	return true
}

// warn tells without the URL, and without what the library says, which quotes
// it.
func (r *remoteKeys) warn() {
	r.failed.Store(true)
	r.cfg.Warn("the keys of jwks_url could not be fetched; those that are known go on")
}

// Faults: nothing may be concluded about the token.
var (
	errNoKeys     = errors.New("the keys of jwks_url have not been fetched yet")
	errKeysFailed = errors.New("the token names a key that is not known, and the keys of jwks_url could not be fetched")
)

// verify waits for the first keys, if there are none.
func (r *remoteKeys) verify(ctx context.Context, p *jwt.Parser, token string, claims *edgeClaims) error {
	ctx, cancel := context.WithTimeout(ctx, jwksTimeout)
	defer cancel()
	select {
	case <-r.ready:
	case <-ctx.Done():
	}
	keys := r.keys.Load()
	if keys == nil {
		return errNoKeys
	}
	find := (*keys).KeyfuncCtx(ctx)
	unknown := false
	_, err := p.ParseWithClaims(token, claims, func(t *jwt.Token) (any, error) {
		if err := critical(t); err != nil {
			return nil, err
		}
		if _, secret := t.Method.(*jwt.SigningMethodHMAC); secret {
			return nil, jwt.ErrTokenSignatureInvalid // there are no secrets on the web
		}
		key, err := find(t)
		unknown = err != nil
		return key, err
	})
	if unknown && r.failed.Load() {
		return errKeysFailed
	}
	return err
}
