package tlsconf

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/caddyserver/certmagic"
	"github.com/mholt/acmez/v3/acme"
)

// obtainPause is how long is waited after trouble that is not with the
// authority, as with the storage. For trouble with the authority the library
// has a schedule: a minute at first, six hours in the end.
const obtainPause = time.Minute

// certmagicSchedule is what people are told of that.
const certmagicSchedule = "in 1 minute at first, later less often; a reload tries at once"

// CertMagic is a Source of certificates that it gets by ACME and renews
// itself. Edges that share a storage share its certificates, and any of them
// may answer for any other.
type CertMagic struct {
	acmeSource
	again chan struct{} // asks Watch to look for what is to be renewed

	roundsMu sync.Mutex
	rounds   map[string]*round // by domain, while there is no certificate
}

// round is a row of attempts to get a first certificate.
type round struct {
	restart context.CancelFunc
	waiting bool // the last attempt has failed
}

// NewCertMagic checks the configuration and takes from the storage what is
// there. Nothing else happens before Watch. The error is a fault.List.
func NewCertMagic(c ACMEConfig) (*CertMagic, error) {
	m := &CertMagic{again: make(chan struct{}, 1), rounds: map[string]*round{}}
	if err := m.open(c); err != nil {
		return nil, err
	}
	for _, d := range m.cfg.Domains {
		m.expect(d, d)
	}
	m.loadStored()
	return m, nil
}

// Reload implements Source. Where the last attempt has failed, the next is made
// at once.
func (m *CertMagic) Reload(context.Context) error {
	if err := m.reloadClients(); err != nil {
		return err
	}
	m.roundsMu.Lock()
	for _, r := range m.rounds {
		if r.waiting {
			r.restart()
		}
	}
	m.roundsMu.Unlock()
	m.lookAgain()
	return nil
}

func (m *CertMagic) lookAgain() {
	select {
	case m.again <- struct{}{}:
	default: // Watch was asked already
	}
}

// Watch gets certificates that are missing and renews those that end, until
// ctx is done. Challenges are answered while it runs. Run it once.
func (m *CertMagic) Watch(ctx context.Context) {
	var cfg *certmagic.Config
	log := zapTo(m.opts.Log)
	cache := certmagic.NewCache(certmagic.CacheOptions{
		GetConfigForCert:   func(certmagic.Certificate) (*certmagic.Config, error) { return cfg, nil },
		RenewCheckInterval: m.cfg.pace.renewCheck,
		Logger:             log,
	})
	defer cache.Stop()
	cfg = certmagic.New(cache, certmagic.Config{Storage: m.storage(), KeySource: m.keys(), OnEvent: m.event, Logger: log})
	issuer := certmagic.NewACMEIssuer(cfg, m.issuer())
	cfg.Issuers = []certmagic.Issuer{issuer}

	answer := cfg.GetCertificate
	m.answer.Store(&answer)
	defer m.answer.Store(nil)
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() { m.watchClients(ctx) })
	wg.Go(func() { m.serveHTTP(ctx, issuer.HTTPChallengeHandler(http.NotFoundHandler())) })
	for _, d := range m.cfg.Domains {
		wg.Go(func() { m.obtain(ctx, cfg, d) })
	}
	m.follow(ctx, cache)
}

// follow takes over what the library has loaded and renewed.
func (m *CertMagic) follow(ctx context.Context, cache *certmagic.Cache) {
	tick := time.NewTicker(m.cfg.pace.refresh)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-m.again:
			_ = cache.RenewManagedCertificates(ctx) // tells by events
		case <-tick.C:
		}
		for _, d := range m.cfg.Domains {
			if c := newest(cache.AllMatchingCertificates(d)); c != nil {
				m.put(d, c)
			}
		}
	}
}

func newest(certs []certmagic.Certificate) *tls.Certificate {
	var best *tls.Certificate
	for _, c := range certs {
		if best == nil || c.Leaf.NotAfter.After(best.Leaf.NotAfter) {
			best = &c.Certificate
		}
	}
	return best
}

// obtain gets the first certificate of a domain: from the storage, where this
// edge or another may have put it, or from the authority.
func (m *CertMagic) obtain(ctx context.Context, cfg *certmagic.Config, domain string) {
	for ctx.Err() == nil {
		if m.attempt(ctx, cfg, domain) {
			m.lookAgain() // it may be old
			return
		}
	}
}

func (m *CertMagic) attempt(ctx context.Context, cfg *certmagic.Config, domain string) (well bool) {
	ctx, restart := context.WithCancel(ctx)
	defer restart()
	m.roundsMu.Lock()
	m.rounds[domain] = &round{restart: restart}
	m.roundsMu.Unlock()
	err := cfg.ObtainCertAsync(ctx, domain)
	if err == nil {
		_, err = cfg.CacheManagedCertificate(ctx, domain)
	}
	switch {
	case err == nil:
		m.roundsMu.Lock()
		delete(m.rounds, domain)
		m.roundsMu.Unlock()
		return true
	case ctx.Err() == nil:
		m.waits(domain, true)
		m.failed(domain, domain, err, "in "+obtainPause.String()+"; a reload tries at once")
		sleep(ctx, obtainPause)
	}
	return false
}

func (m *CertMagic) waits(domain string, yes bool) {
	m.roundsMu.Lock()
	defer m.roundsMu.Unlock()
	if r := m.rounds[domain]; r != nil {
		r.waiting = yes
	}
}

// event hears what the library does.
func (m *CertMagic) event(ctx context.Context, name string, data map[string]any) error {
	domain, _ := data["identifier"].(string)
	switch name {
	case "cert_obtaining":
		m.waits(domain, false)
	case "cert_failed":
		m.waits(domain, true)
		if err, ok := data["error"].(error); ok && ctx.Err() == nil && !errors.Is(err, context.Canceled) {
			m.failed(domain, domain, err, certmagicSchedule)
		}
	}
	return nil // another error would keep the library from what it does
}

func (m *CertMagic) storage() *certmagic.FileStorage {
	return &certmagic.FileStorage{Path: m.cfg.Storage}
}

// keys are RSA where clients may need the RSA key exchange.
func (m *CertMagic) keys() certmagic.KeyGenerator {
	if m.opts.Profile == Legacy {
		return certmagic.StandardKeyGenerator{KeyType: certmagic.RSA2048}
	}
	return certmagic.StandardKeyGenerator{KeyType: certmagic.P256}
}

// issuer is how the authority is spoken to. The library opens listeners of its
// own for challenges, on ports that the authority would have to be led to. Ours
// answer instead, and its own are sent where they disturb nobody.
func (m *CertMagic) issuer() certmagic.ACMEIssuer {
	i := certmagic.ACMEIssuer{
		CA:                   m.cfg.Directory,
		Email:                m.cfg.Email,
		Agreed:               true,
		TrustedRoots:         m.roots.pool,
		DisableHTTPChallenge: m.cfg.HTTPAddress == "",
		ListenHost:           "127.0.0.1",
		AltHTTPPort:          freePort(),
		AltTLSALPNPort:       freePort(),
		Logger:               zapTo(m.opts.Log),
	}
	if m.cfg.EABKeyID != "" {
		i.ExternalAccount = &acme.EAB{KeyID: m.cfg.EABKeyID, MACKey: m.macKey.Reveal()}
	}
	return i
}

// freePort finds a port on loopback. If somebody else takes it meanwhile, the
// library does without.
func freePort() int {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0
	}
	defer func() { _ = ln.Close() }()
	return ln.Addr().(*net.TCPAddr).Port
}

// loadStored puts in use what is in the storage, without asking anybody, so
// that clients that come first after a restart are served.
func (m *CertMagic) loadStored() {
	key := certmagic.NewACMEIssuer(&certmagic.Config{}, certmagic.ACMEIssuer{CA: m.cfg.Directory}).IssuerKey()
	s := m.storage()
	for _, d := range m.cfg.Domains {
		cert, err1 := s.Load(context.Background(), certmagic.StorageKeys.SiteCert(key, d))
		private, err2 := s.Load(context.Background(), certmagic.StorageKeys.SitePrivateKey(key, d))
		if err1 != nil || err2 != nil {
			continue // Watch gets one, or tells what is wrong
		}
		if pair, err := tls.X509KeyPair(cert, private); err == nil {
			m.put(d, &pair)
		}
	}
}
