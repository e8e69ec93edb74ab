package authz

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"sync/atomic"
	"time"

	"github.com/sony/gobreaker/v2"

	"rtmps-edge/internal/fault"
	"rtmps-edge/internal/hooksig"
	"rtmps-edge/internal/secret"
)

// Bounds of the HTTP client.
const (
	// maxAnswer is the longest body that is read, in bytes. Answers have a few
	// hundred.
	maxAnswer = 64 << 10
	// maxAnswerHeader bounds the header of an answer.
	maxAnswerHeader = 32 << 10
	// keepIdle is how long a connection is kept for the next question: less
	// than the 60 to 75 s of common servers, which close theirs then.
	keepIdle = 55 * time.Second
	// dialPatience bounds one attempt to connect; a second must have time.
	dialPatience = time.Second
	// retries is how often a question is repeated to which nothing was
	// answered, retryAfter the pause before the first; it doubles.
	retries    = 2
	retryAfter = 50 * time.Millisecond
	// breakAfter questions in a row without an answer, none is asked for
	// breakTime; then one is. It is more than one hiccup makes fail at once
	// with a quiet backend.
	breakAfter = 10
	breakTime  = 3 * time.Second
)

// message is what is sent.
type message struct {
	method, url string
	header      map[string]string
	body        []byte
}

// reply is what was heard.
type reply struct {
	status   int
	location string
	body     []byte
}

// backend sends messages, a bounded number at a time.
type backend struct {
	http    *http.Client
	secret  secret.Text   // signs what is sent; empty where the dialect has a signature of its own
	places  chan struct{} // one for each question that is being asked
	breaker *gobreaker.CircuitBreaker[reply]
}

// Faults of a backend. None holds a URL.
var (
	errNoAnswer = errors.New("the webhook does not answer")
	errTooBusy  = errors.New("the webhook has more questions than it answers in time")
	errBroken   = errors.New("the webhook has not answered lately, and is not asked for a moment")
	errGateway  = errors.New("a gateway says that the webhook is down")
)

func newBackend(cfg WebhookConfig, roots *x509.CertPool) *backend {
	transport := &http.Transport{
		Proxy:                  nil, // an environment variable must not see credentials
		DialContext:            (&net.Dialer{Timeout: dialPatience}).DialContext,
		TLSClientConfig:        &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout:    dialPatience,
		MaxConnsPerHost:        cfg.InFlight + closers,
		MaxIdleConns:           cfg.InFlight + closers,
		MaxIdleConnsPerHost:    cfg.InFlight + closers,
		IdleConnTimeout:        keepIdle,
		MaxResponseHeaderBytes: maxAnswerHeader,
		DisableCompression:     true, // an answer must not grow
	}
	b := &backend{
		http: &http.Client{
			Transport: transport,
			// A redirect is an answer: it must not lead this edge elsewhere.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		places: make(chan struct{}, cfg.InFlight),
		breaker: gobreaker.NewCircuitBreaker[reply](gobreaker.Settings{
			Timeout:     breakTime,
			ReadyToTrip: func(c gobreaker.Counts) bool { return c.ConsecutiveFailures >= breakAfter },
			IsExcluded:  func(err error) bool { return errors.Is(err, context.Canceled) }, // the client left
		}),
	}
	if cfg.Dialect != "ome" {
		b.secret = cfg.Secret
	}
	return b
}

// readRoots reads a PEM bundle; nil = the system's.
func readRoots(bundle []byte, key string, faults *fault.List) *x509.CertPool {
	if len(bundle) == 0 {
		return nil
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(bundle) {
		faults.Add(fault.Fault{Key: key, Problem: "must have certificates in PEM"})
	}
	return pool
}

// ask waits for a place and sends m, unless the backend is known to be down.
func (b *backend) ask(ctx context.Context, m message) (reply, error) {
	select {
	case b.places <- struct{}{}:
	case <-ctx.Done():
		return reply{}, errTooBusy
	}
	defer func() { <-b.places }()
	if ctx.Err() != nil { // the place came too late
		return reply{}, errTooBusy
	}
	a, err := b.breaker.Execute(func() (reply, error) { return b.send(ctx, m) })
	if errors.Is(err, gobreaker.ErrOpenState) || errors.Is(err, gobreaker.ErrTooManyRequests) {
		err = errBroken
	}
	return a, err
}

// send sends m, and again if nothing at all was answered.
func (b *backend) send(ctx context.Context, m message) (reply, error) {
	pause := retryAfter
	for try := 0; ; try++ {
		a, answered, err := b.once(ctx, m)
		if err == nil || answered || try == retries || ctx.Err() != nil {
			return a, err
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return reply{}, err
		}
		pause *= 2
	}
}

// once sends m. answered says that the backend did something with it, or that
// trying again is of no use.
func (b *backend) once(ctx context.Context, m message) (a reply, answered bool, err error) {
	var heard atomic.Bool
	traced := httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotFirstResponseByte: func() { heard.Store(true) }})
	req, err := http.NewRequestWithContext(traced, m.method, m.url, bytes.NewReader(m.body))
	if err != nil {
		return a, true, errors.New("the webhook's URL cannot be used")
	}
	for key, value := range m.header {
		req.Header.Set(key, value)
	}
	req.Header.Set("User-Agent", "rtmps-edge")
	hooksig.Set(req, m.body, b.secret, time.Now()) // now: the end of a stream may have waited for minutes
	resp, err := b.http.Do(req)
	if err != nil {
		var cert *tls.CertificateVerificationError
		return a, heard.Load() || errors.As(err, &cert), noAnswer(ctx, err)
	}
	defer resp.Body.Close()
	a = reply{status: resp.StatusCode, location: resp.Header.Get("Location")}
	a.body, err = io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	switch {
	case err != nil:
		return reply{}, true, noAnswer(ctx, err)
	case len(a.body) > maxAnswer:
		return reply{}, true, fmt.Errorf("%w with less than %d bytes", errNoAnswer, maxAnswer)
	case a.status == http.StatusBadGateway || a.status == http.StatusServiceUnavailable || a.status == http.StatusGatewayTimeout:
		return reply{}, true, fmt.Errorf("%w: status %d", errGateway, a.status)
	}
	return a, true, nil
}

// noAnswer says why there is no answer, without the URL: it may hold a
// password, and the client's query.
func noAnswer(ctx context.Context, err error) error {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return fmt.Errorf("%w in time", errNoAnswer)
	}
	if errors.Is(err, context.Canceled) {
		return context.Canceled
	}
	var network *net.OpError
	var cert *tls.CertificateVerificationError
	switch {
	case errors.As(err, &network):
		return fmt.Errorf("%w: %w", errNoAnswer, network)
	case errors.As(err, &cert):
		return fmt.Errorf("%w: its certificate is not trusted: %w", errNoAnswer, cert.Err)
	case errors.Is(err, io.EOF):
		return fmt.Errorf("%w, it hangs up", errNoAnswer)
	}
	return fmt.Errorf("%w with HTTP", errNoAnswer) // the error may repeat what it said
}

func (b *backend) close() { b.http.CloseIdleConnections() }
