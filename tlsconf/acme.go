package tlsconf

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"net/http"
	"net/mail"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/idna"
	"golang.org/x/net/netutil"

	"rtmps-edge/internal/fault"
	"rtmps-edge/internal/hello"
	"rtmps-edge/internal/secret"
)

const (
	// LetsEncrypt is the directory that is used where none is configured.
	LetsEncrypt = "https://acme-v02.api.letsencrypt.org/directory"

	// refreshEvery is how often a source looks whether its certificates were
	// renewed: nobody waits for that, and looking costs nothing.
	refreshEvery = 10 * time.Second
	// rebindEvery is how often the HTTP listener is tried again when its
	// address is in use, as it is while a reload replaces another source.
	rebindEvery = 5 * time.Second
	// httpTimeout bounds a request at the HTTP listener, which only authorities
	// have business with, and httpConnections how many there are at once.
	httpTimeout     = 10 * time.Second
	httpConnections = 256
	// httpHeader is how large a request may be: a validator's has a few lines.
	httpHeader = 8 << 10
	// acmeTimeout bounds one request to the authority.
	acmeTimeout = 30 * time.Second
)

// ACMEConfig is what NewCertMagic and NewAutocert need.
type ACMEConfig struct {
	Options
	// Domains each get a certificate. The first is for clients that send no
	// server name.
	Domains []string
	Email   string // told to the authority; "" = none
	// Directory is the URL of the authority's directory; "" = LetsEncrypt.
	Directory string
	// DirectoryCA is a file, the PEM of the authority that signed the
	// directory's own certificate; "" = those of the system.
	DirectoryCA string
	// Storage is a directory that keeps accounts, keys and certificates. It is
	// made if it does not exist. Several edges may share it (CertMagic only).
	Storage string
	// HTTPAddress is where HTTP-01 challenges are answered; "" = nowhere.
	// TLS-ALPN-01 is answered by TLSConfig in any case.
	HTTPAddress string
	// EABKeyID and EABMACKeyFile bind the account to one that the authority
	// has of us already (CertMagic only).
	EABKeyID      string
	EABMACKeyFile string

	pace pace // the zero value is for everything but tests
}

// pace is how fast things go that take days otherwise.
type pace struct {
	renewCheck, refresh, rebind time.Duration
	retries                     []time.Duration
}

func (p pace) withDefaults() pace {
	if p.refresh == 0 {
		p.refresh = refreshEvery
	}
	if p.rebind == 0 {
		p.rebind = rebindEvery
	}
	if p.retries == nil {
		p.retries = autocertRetries
	}
	return p
}

// acmeSource is what both ACME sources share.
type acmeSource struct {
	endpoint
	cfg    ACMEConfig // with defaults, domains as they stand in certificates
	roots  *clientCAs // that directory's certificate is judged by; no pool: the system's
	macKey secret.Text

	// answer finds the certificate that answers a TLS-ALPN-01 challenge; nil
	// while the source does not run.
	answer atomic.Pointer[func(*tls.ClientHelloInfo) (*tls.Certificate, error)]

	// What follows has names of the source's own: one for each certificate.
	mu      sync.Mutex
	pending map[string]waiting
	certs   map[string]*tls.Certificate // what is served
}

// waiting is a domain without a certificate, or one whose renewal has failed.
type waiting struct{ domain, why string }

// open checks all of the configuration. It opens no socket and makes no
// directory.
func (a *acmeSource) open(c ACMEConfig) error {
	faults := faultsOf(a.endpoint.open(c.Options))
	if c.Directory == "" {
		c.Directory = LetsEncrypt
	}
	c.pace = c.pace.withDefaults()
	domains := c.Domains
	c.Domains = nil
	for _, d := range domains {
		name, problem := domainName(d)
		if problem == "" && !strings.Contains(name, ".") && c.Directory == LetsEncrypt {
			problem = notADomain + ": only private authorities know names without a dot"
		}
		if problem != "" {
			faults.Add(fault.Fault{Key: "domains", Value: d, Problem: problem})
		} else if !slices.Contains(c.Domains, name) {
			c.Domains = append(c.Domains, name)
		}
	}
	if len(domains) == 0 {
		faults.Add(fault.Fault{Key: "domains", Problem: "there must be at least one"})
	}
	a.cfg = c
	faults = append(faults, a.checkPlaces()...)
	faults = append(faults, a.checkAccount()...)
	a.pending, a.certs = map[string]waiting{}, map[string]*tls.Certificate{}
	a.challenge = &tls.Config{
		MinVersion:             tls.VersionTLS12,
		NextProtos:             []string{hello.ACMEProtocol},
		SessionTicketsDisabled: true,
		GetCertificate:         a.answerChallenge,
	}
	return faults.Err()
}

const notADomain = `must be a domain name, as "live.example.com"`

// domainName returns a name as it stands in certificates, or what is wrong.
func domainName(d string) (name, problem string) {
	if strings.HasPrefix(d, "*.") {
		return "", "must not have a wildcard: authorities want DNS-01 for those, which is not spoken here; source = \"files\" takes them from a client that speaks it"
	}
	name, err := idna.Lookup.ToASCII(strings.TrimSuffix(d, "."))
	if err != nil || !dnsName.MatchString(name) || net.ParseIP(name) != nil {
		return "", notADomain
	}
	return name, ""
}

// checkPlaces looks at what is an address, a file or a directory.
func (a *acmeSource) checkPlaces() fault.List {
	var faults fault.List
	c := a.cfg
	if u, err := url.Parse(c.Directory); err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil {
		faults.Add(fault.Fault{Key: "directory", Value: withoutUser(c.Directory), Problem: "must be an https:// URL"})
	}
	a.roots = &clientCAs{}
	if c.DirectoryCA != "" {
		roots, err := readClientCAs(c.DirectoryCA)
		faults = append(faults, faultsOf(err)...)
		a.roots = roots
	}
	if problem := storageProblem(c.Storage); problem != "" {
		faults.Add(fault.Fault{Key: "storage", Value: c.Storage, Problem: problem})
	}
	if c.HTTPAddress != "" {
		if _, _, err := net.SplitHostPort(c.HTTPAddress); err != nil {
			faults.Add(fault.Fault{Key: "http_address", Value: c.HTTPAddress, Problem: `must be host:port, as ":80"`})
		}
	}
	return faults
}

// withoutUser drops a URL that may hold a password.
func withoutUser(text string) string {
	if strings.Contains(text, "@") {
		return ""
	}
	return text
}

func storageProblem(dir string) string {
	if dir == "" {
		return "must be a directory: certificates that are lost with each restart soon meet the authority's limits"
	}
	info, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist): // is made when it is needed
		return ""
	case err != nil:
		return "cannot be looked at: " + err.Error()
	case !info.IsDir():
		return "must be a directory"
	}
	return ""
}

func (a *acmeSource) checkAccount() fault.List {
	var faults fault.List
	c := a.cfg
	if c.Email != "" {
		if m, err := mail.ParseAddress(c.Email); err != nil || m.Address != c.Email {
			faults.Add(fault.Fault{Key: "email", Value: c.Email, Problem: "must be a mail address, or empty"})
		}
	}
	if (c.EABKeyID == "") != (c.EABMACKeyFile == "") {
		faults.Add(fault.Fault{Key: "eab_key_id", Value: c.EABKeyID, Problem: "and eab_mac_key_file must be given together"})
	}
	if c.EABMACKeyFile != "" {
		key, err := readMACKey(c.EABMACKeyFile)
		faults = append(faults, faultsOf(err)...)
		a.macKey = key
	}
	return faults
}

// readMACKey reads what the authority gave out: base64url, whatever its
// padding. The key is in no error.
func readMACKey(file string) (secret.Text, error) {
	data, err := readFile(file)
	if err != nil {
		return secret.Text{}, err
	}
	text := strings.NewReplacer("+", "-", "/", "_", "=", "").Replace(strings.TrimSpace(string(data)))
	if key, err := base64.RawURLEncoding.DecodeString(text); err != nil || len(key) == 0 {
		return secret.Text{}, faulty(file, "must hold the MAC key of the external account, base64url as the authority gave it out")
	}
	return secret.New(text), nil
}

// reloadClients reads the authorities of clients again.
func (a *acmeSource) reloadClients() error {
	clients, err := a.readClients()
	if err != nil {
		return err
	}
	a.clients.Store(clients)
	return nil
}

// validates reports whether a client is a certificate authority that looks for
// the answer to a TLS-ALPN-01 challenge (RFC 8737 §3).
func validates(chi *tls.ClientHelloInfo) bool {
	return len(chi.SupportedProtos) == 1 && chi.SupportedProtos[0] == hello.ACMEProtocol
}

// answerChallenge has the signature of tls.Config.GetCertificate. Names that
// are not ours cost nothing: no storage is asked.
func (a *acmeSource) answerChallenge(chi *tls.ClientHelloInfo) (*tls.Certificate, error) {
	answer := a.answer.Load()
	if answer == nil || !slices.Contains(a.cfg.Domains, strings.ToLower(chi.ServerName)) {
		return nil, hello.ErrNoChallenge
	}
	cert, err := (*answer)(chi)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", hello.ErrNoChallenge, err)
	}
	return cert, nil
}

// expect says that a certificate for a domain is missing so far.
func (a *acmeSource) expect(name, domain string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.pending[name] = waiting{domain, "it was not asked for yet"}
}

// put has a certificate serve from now on, unless it does already.
func (a *acmeSource) put(name string, c *tls.Certificate) {
	a.mu.Lock()
	defer a.mu.Unlock()
	old := a.certs[name]
	if old != nil && sameCertificate(old, c) {
		return
	}
	a.certs[name] = c
	a.table.Store(newTable(a.inOrder()))
	if old == nil || !old.Leaf.Equal(c.Leaf) { // not only another staple or chain
		delete(a.pending, name)
		a.opts.Log.WithFields(map[string]any{"certificate": nameOf(c.Leaf), "until": stamp(c.Leaf.NotAfter)}).
			Info("a certificate serves new connections")
	}
}

// inOrder needs a.mu.
func (a *acmeSource) inOrder() []*tls.Certificate {
	var certs []*tls.Certificate
	for _, name := range slices.Sorted(maps.Keys(a.certs)) {
		certs = append(certs, a.certs[name])
	}
	slices.SortStableFunc(certs, func(x, y *tls.Certificate) int { return a.rank(x) - a.rank(y) })
	return certs
}

// rank is the place of a certificate's domain.
func (a *acmeSource) rank(c *tls.Certificate) int {
	return slices.IndexFunc(a.cfg.Domains, func(d string) bool { return covers(namesOf(c.Leaf), d) })
}

// Pending returns the domains that wait for a certificate, or for a newer one
// whose renewal failed, and why.
func (a *acmeSource) Pending() map[string]string {
	a.mu.Lock()
	defer a.mu.Unlock()
	why := map[string]string{}
	for _, w := range a.pending {
		why[w.domain] = w.why
	}
	return why
}

// failed remembers and logs why there is no certificate, and what to do.
func (a *acmeSource) failed(name, domain string, err error, next string) {
	t := explainACME(err)
	a.mu.Lock()
	a.pending[name] = waiting{domain, t.why}
	a.mu.Unlock()
	a.opts.Log.WithFields(map[string]any{"domain": domain, "reason": t.why, "cure": t.cure, "serves": a.serves(domain), "next": next}).
		Warn("no certificate from the authority; trying again")
}

// serves tells what clients get meanwhile.
func (a *acmeSource) serves(domain string) string {
	c := a.table.Load().find(domain)
	if c == nil {
		return "nothing: handshakes for it fail"
	}
	if end := c[0].Leaf.NotAfter; time.Now().After(end) {
		return "the old one, which has expired at " + stamp(end)
	}
	return "the old one, until " + stamp(c[0].Leaf.NotAfter)
}

// serveHTTP answers HTTP-01 challenges at HTTPAddress, if there is one, until
// ctx is done.
func (a *acmeSource) serveHTTP(ctx context.Context, answer http.Handler) {
	if a.cfg.HTTPAddress == "" {
		return
	}
	ln := a.bind(ctx)
	if ln == nil {
		return
	}
	s := &http.Server{
		Handler:           onlyChallenges(a.cfg.Domains, answer),
		ReadHeaderTimeout: httpTimeout,
		ReadTimeout:       httpTimeout,
		WriteTimeout:      httpTimeout,
		IdleTimeout:       httpTimeout,
		MaxHeaderBytes:    httpHeader,
		ErrorLog:          silent(),
	}
	stop := context.AfterFunc(ctx, func() { _ = s.Close() })
	defer stop()
	_ = s.Serve(netutil.LimitListener(ln, httpConnections))
}

// bind returns nil when ctx is done.
func (a *acmeSource) bind(ctx context.Context) net.Listener {
	told := false
	for {
		ln, err := new(net.ListenConfig).Listen(ctx, "tcp", a.cfg.HTTPAddress)
		if err == nil {
			a.opts.Log.WithField("address", ln.Addr().String()).Info("HTTP-01 challenges are answered")
			return ln
		}
		if !told && ctx.Err() == nil {
			told = true
			a.opts.Log.WithError(err).WithField("http_address", a.cfg.HTTPAddress).
				Error("HTTP-01 challenges cannot be answered, and are tried in vain; another program may have the address, or a right is missing")
		}
		if !sleep(ctx, a.cfg.pace.rebind) {
			return nil
		}
	}
}

// onlyChallenges lets nothing else through, and no other domain.
func onlyChallenges(domains []string, answer http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host := r.Host
		if h, _, err := net.SplitHostPort(host); err == nil {
			host = h
		}
		if r.Method != http.MethodGet || !strings.HasPrefix(r.URL.Path, "/.well-known/acme-challenge/") || !slices.Contains(domains, strings.ToLower(host)) {
			http.NotFound(w, r)
			return
		}
		r = r.Clone(r.Context())
		r.Host = host // the libraries know it without the port
		answer.ServeHTTP(w, r)
	})
}

// sleep reports whether the time has passed; else ctx is done.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
