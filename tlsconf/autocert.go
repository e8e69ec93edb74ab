package tlsconf

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/acme"
	"golang.org/x/crypto/acme/autocert"

	"rtmps-edge/internal/fault"
)

// autocertRetries are the waits after failures in a row; the last goes on.
// Let's Encrypt allows five failures of a domain within an hour. The library
// remembers a failure for a minute.
var autocertRetries = []time.Duration{time.Minute, 10 * time.Minute, 30 * time.Minute, time.Hour}

const (
	// renewShare and renewMost say when the library renews a certificate: when
	// a third of its life is left, or 30 days. Of failures it says nothing.
	renewShare = 3
	renewMost  = 30 * 24 * time.Hour
	// overdueShare is how much of that time has to pass in vain until people
	// hear of it: a quarter.
	overdueShare = 4
	// overdueEvery is how often people hear of that.
	overdueEvery = 6 * time.Hour
	// requestTries and requestPause are for single requests that the authority
	// could not answer, or wants to have with another nonce.
	requestTries = 5
	requestPause = 200 * time.Millisecond
	// maxAnswer is how much of an authority's answer is looked at.
	maxAnswer = 1 << 20
)

// Autocert is a Source of certificates that it gets by ACME and renews itself:
// the small alternative to CertMagic. No other process may use its storage.
type Autocert struct {
	acmeSource
	cache autocert.Cache
	slots []*slot
	wake  chan struct{} // asks Watch to try at once what has failed
}

// slot is one certificate: of a domain, for one kind of key.
type slot struct {
	domain, kind string
	manager      *autocert.Manager // nil before the first attempt, and after one that failed
	failures     int
	next         time.Time // of the next attempt
	nagged       time.Time // when people last heard that it is overdue
}

func (s *slot) name() string { return s.domain + " " + s.kind }

// NewAutocert checks the configuration and takes from the storage what is
// there. Nothing else happens before Watch. The error is a fault.List.
func NewAutocert(c ACMEConfig) (*Autocert, error) {
	a := &Autocert{wake: make(chan struct{}, 1)}
	faults := faultsOf(a.open(c))
	if c.EABKeyID != "" {
		faults.Add(fault.Fault{Key: "eab_key_id", Value: c.EABKeyID, Problem: `needs source = "certmagic"`})
	}
	for _, d := range a.cfg.Domains {
		if !strings.Contains(d, ".") {
			faults.Add(fault.Fault{Key: "domains", Value: d, Problem: `must be a domain name, as "live.example.com"; names without a dot need source = "certmagic"`})
		}
	}
	if err := faults.Err(); err != nil {
		return nil, err
	}
	// Apart from what CertMagic may have in the same storage.
	a.cache = autocert.DirCache(filepath.Join(a.cfg.Storage, "autocert"))
	for _, d := range a.cfg.Domains {
		a.slots = append(a.slots, &slot{domain: d, kind: kindECDSA})
		if a.opts.Profile == Legacy {
			a.slots = append(a.slots, &slot{domain: d, kind: kindRSA})
		}
	}
	for _, s := range a.slots {
		a.expect(s.name(), s.domain)
	}
	a.loadStored()
	return a, nil
}

// Reload implements Source. Where the last attempt has failed, the next is made
// at once.
func (a *Autocert) Reload(context.Context) error {
	if err := a.reloadClients(); err != nil {
		return err
	}
	select {
	case a.wake <- struct{}{}:
	default: // Watch was asked already
	}
	return nil
}

// Watch gets certificates that are missing and renews those that end, until
// ctx is done. Challenges are answered while it runs. Run it once.
func (a *Autocert) Watch(ctx context.Context) {
	seen := &overheard{ctx: ctx, next: http.DefaultTransport}
	if a.roots.pool != nil {
		t := http.DefaultTransport.(*http.Transport).Clone()
		t.TLSClientConfig = &tls.Config{RootCAs: a.roots.pool}
		defer t.CloseIdleConnections()
		seen.next = t
	}
	// What one manager began, another can answer: they share the storage.
	answering := a.newManager(seen)
	answer := answering.GetCertificate
	a.answer.Store(&answer)
	defer a.answer.Store(nil)
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() { a.watchClients(ctx) })
	wg.Go(func() { a.serveHTTP(ctx, answering.HTTPHandler(http.NotFoundHandler())) })
	a.follow(ctx, seen)
}

func (a *Autocert) newManager(via http.RoundTripper) *autocert.Manager {
	m := &autocert.Manager{
		Prompt:     autocert.AcceptTOS,
		Cache:      a.cache,
		HostPolicy: autocert.HostWhitelist(a.cfg.Domains...),
		Email:      a.cfg.Email,
		Client: &acme.Client{
			DirectoryURL: a.cfg.Directory,
			HTTPClient:   &http.Client{Transport: via, Timeout: acmeTimeout},
			RetryBackoff: backoff,
		},
	}
	if a.cfg.HTTPAddress != "" {
		m.HTTPHandler(nil) // lets it try HTTP-01
	}
	return m
}

// backoff says how long to wait before one request is sent again. A limit is
// not waited out here, where it would keep everything else from going on.
func backoff(n int, _ *http.Request, res *http.Response) time.Duration {
	if n > requestTries || res != nil && res.StatusCode == http.StatusTooManyRequests {
		return -1
	}
	return time.Duration(n) * requestPause
}

// follow looks after all slots, one after the other.
func (a *Autocert) follow(ctx context.Context, seen *overheard) {
	tick := time.NewTicker(a.cfg.pace.refresh)
	defer tick.Stop()
	for {
		for _, s := range a.slots {
			if ctx.Err() == nil && !time.Now().Before(s.next) {
				a.look(ctx, s, seen)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-a.wake:
			for _, s := range a.slots {
				s.next = time.Time{}
			}
		case <-tick.C:
		}
	}
}

// look takes a slot's certificate from its manager, which has it, or gets it.
func (a *Autocert) look(ctx context.Context, s *slot, seen *overheard) {
	if s.manager == nil {
		seen.forget()
		s.manager = a.newManager(seen)
	}
	cert, err := s.manager.GetCertificate(asks(s))
	if err == nil {
		s.failures = 0
		a.put(s.name(), cert)
		a.nag(s, cert, seen)
		return
	}
	if ctx.Err() != nil {
		return
	}
	if p, ok := seen.last(); ok { // the library keeps it to itself
		err = errors.Join(p, err)
	}
	s.manager = nil // it remembers the failure, and has nothing else
	pause := a.cfg.pace.retries[min(s.failures, len(a.cfg.pace.retries)-1)]
	s.failures++
	s.next = time.Now().Add(pause)
	a.failed(s.name(), s.domain, err, "in "+pause.String()+"; a reload tries at once")
}

// asks is a client that can do with the slot's kind of key only.
func asks(s *slot) *tls.ClientHelloInfo {
	chi := &tls.ClientHelloInfo{ServerName: s.domain}
	if s.kind == kindECDSA {
		chi.CipherSuites = []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256}
	}
	return chi
}

// nag tells of a certificate that should have been renewed.
func (a *Autocert) nag(s *slot, cert *tls.Certificate, seen *overheard) {
	renewing := min(cert.Leaf.NotAfter.Sub(cert.Leaf.NotBefore)/renewShare, renewMost)
	if time.Until(cert.Leaf.NotAfter) > renewing-renewing/overdueShare || time.Since(s.nagged) < overdueEvery {
		return
	}
	s.nagged = time.Now()
	var err error = errors.New("the certificate should have been renewed; the authority was not reached, or did not answer")
	if p, ok := seen.last(); ok {
		err = p
	}
	a.failed(s.name(), s.domain, err, "within the hour")
}

// loadStored puts in use what is in the storage, without asking anybody, so
// that clients that come first after a restart are served.
func (a *Autocert) loadStored() {
	for _, s := range a.slots {
		data, err := a.cache.Get(context.Background(), s.cacheName())
		if err != nil {
			continue // Watch gets one, or tells what is wrong
		}
		if pair, err := tls.X509KeyPair(data, data); err == nil {
			a.put(s.name(), &pair)
		}
	}
}

// cacheName is what the library calls the file.
func (s *slot) cacheName() string {
	if s.kind == kindRSA {
		return s.domain + "+rsa"
	}
	return s.domain
}

// overheard passes requests on to the authority, until ctx is done, and keeps
// the last problem that it answered with: of a challenge that failed, the
// library's error does not say why.
type overheard struct {
	ctx  context.Context
	next http.RoundTripper

	mu   sync.Mutex
	kept *problem
}

// RoundTrip implements http.RoundTripper.
func (o *overheard) RoundTrip(r *http.Request) (*http.Response, error) {
	if err := o.ctx.Err(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(r.Context())
	stop := context.AfterFunc(o.ctx, cancel)
	res, err := o.next.RoundTrip(r.WithContext(ctx))
	if err != nil {
		stop()
		cancel()
		return nil, err
	}
	data, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	_ = res.Body.Close()
	stop()
	cancel()
	if err != nil {
		return nil, err
	}
	res.Body = io.NopCloser(bytes.NewReader(data))
	o.look(res, data)
	return res, nil
}

// look finds problems: as the answer itself, or in the challenges of an
// authorization.
func (o *overheard) look(res *http.Response, data []byte) {
	type document struct{ Type, Detail string }
	var answer struct {
		document
		Error      *document
		Challenges []struct{ Error *document }
	}
	if !strings.Contains(res.Header.Get("Content-Type"), "json") || json.Unmarshal(data, &answer) != nil {
		return
	}
	var found []*document
	if res.StatusCode >= http.StatusBadRequest {
		found = append(found, &answer.document)
	}
	found = append(found, answer.Error)
	for _, c := range answer.Challenges {
		found = append(found, c.Error)
	}
	i := slices.IndexFunc(found, func(d *document) bool { return d != nil && d.Type != "" })
	if i < 0 || found[i].Type == problemPrefix+"badNonce" { // is tried again
		return
	}
	p := newProblem(found[i].Type, found[i].Detail)
	o.mu.Lock()
	defer o.mu.Unlock()
	o.kept = &p
}

func (o *overheard) forget() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.kept = nil
}

func (o *overheard) last() (problemError, bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.kept == nil {
		return problemError{}, false
	}
	return problemError{*o.kept}, true
}
