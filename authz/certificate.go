package authz

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"rtmps-edge/internal/fault"
)

// CertificateEntry is one entry of certificates.toml: who may do what with a
// client certificate. Its Terms' Name "" means the subject, or what the client
// sends if that matches Names.
type CertificateEntry struct {
	Terms
	// One of these says which certificate is meant.
	CN     string // the subject's common name
	SAN    string // one of the alternative names: DNS name, mail address, IP address or URI
	SHA256 string // the fingerprint, 64 hex digits in lower case
	// Names are globs of stream names that the client may choose.
	Names []string

	Line int // where the entry begins, from 1; set by reading
}

var certificatesFormat = format[CertificateEntry]{table: "certificate", read: readCertificate, check: checkCertificates,
	write: func(CertificateEntry) (string, error) { return "", fmt.Errorf("certificates.toml is written by hand") }}

// ListCertificates returns the entries of file in their order. Errors: the file
// cannot be read, or a fault.List.
func ListCertificates(file string) ([]CertificateEntry, error) { return certificatesFormat.list(file) }

func readCertificate(t *entryTable) CertificateEntry {
	e := CertificateEntry{Line: t.at.line, CN: t.text("cn"), SAN: t.text("san")}
	e.SHA256 = t.fingerprint()
	given := 0
	for _, s := range []string{e.CN, e.SAN, e.SHA256} {
		if s != "" {
			given++
		}
	}
	if given != 1 {
		t.fault("cn", nil, "exactly one of cn, san and sha256 must say which certificate is meant")
	}
	owner := e.CN
	if owner == "" {
		owner = e.SAN
	}
	e.Terms = t.terms(owner)
	e.Name = t.text("name")
	e.Names = t.globs("names")
	return e
}

// fingerprint reads it as tools print it: with or without colons, in any case.
func (t *entryTable) fingerprint() string {
	s := t.text("sha256")
	if s == "" {
		return ""
	}
	digits := strings.ToLower(strings.ReplaceAll(s, ":", ""))
	if b, err := hex.DecodeString(digits); err != nil || len(b) != sha256.Size {
		t.fault("sha256", s, `must be 64 hex digits, as "openssl x509 -fingerprint -sha256" prints`)
	}
	return digits
}

func (e CertificateEntry) id() string {
	switch {
	case e.SHA256 != "":
		return "sha256 " + e.SHA256
	case e.SAN != "":
		return "san " + strings.ToLower(e.SAN)
	}
	return "cn " + e.CN
}

func checkCertificates(file string, entries []CertificateEntry, faults *fault.List) {
	first := make(map[string]int, len(entries))
	for _, e := range entries {
		if line, twice := first[e.id()]; twice {
			faults.Add(fault.Fault{File: file, Line: e.Line, Problem: fmt.Sprintf("means the same certificate as line %d", line)})
			continue
		}
		first[e.id()] = e.Line
	}
}

// CertificatesConfig configures Certificates.
type CertificatesConfig struct {
	// File is the path of certificates.toml.
	File string
	// Warn and OnReload are as those of KeysConfig.
	Warn     func(string)
	OnReload func(error)
}

// Certificates is the Authorizer of clients that show a certificate in the TLS
// handshake. Who may have signed it is decided there; what its owner may, here.
// It is safe for concurrent use. Keep one over reloads of the configuration.
type Certificates struct {
	reloader
	entries atomic.Pointer[map[string]*certificateEntry] // by id; never modified once it is stored
	apps    atomic.Pointer[knownApps]
}

type certificateEntry struct {
	granting
	names []string
}

// NewCertificates reads the file. The error is a fault.List if there are faults
// in it.
func NewCertificates(cfg CertificatesConfig) (*Certificates, error) {
	c := &Certificates{}
	c.reloader = reloader{file: cfg.File, limit: MaxEntriesFile, load: c.load, onReload: cfg.OnReload, warn: cfg.Warn}
	c.entries.Store(&map[string]*certificateEntry{})
	c.apps.Store(&knownApps{})
	if err := c.begin(); err != nil {
		return nil, err
	}
	return c, nil
}

// Authorize grants what the entry of the client's certificate says: that of its
// fingerprint, else of an alternative name, else of its common name. Errors:
// ErrUnknown without a verified certificate or an entry for it, else ErrDenied
// with who and why. It never faults.
func (c *Certificates) Authorize(_ context.Context, r Request) (Grant, error) {
	if r.TLS == nil || len(r.TLS.VerifiedChains) == 0 {
		return Grant{}, ErrUnknown // nobody has vouched for what it shows
	}
	e := c.find(r.TLS.PeerCertificates[0])
	if e == nil {
		return Grant{}, ErrUnknown
	}
	if why := e.refusal(r, time.Now()); why != "" {
		return Grant{}, fmt.Errorf("%w: certificate of %q: %s", ErrDenied, e.Subject, why)
	}
	name, ok := chosen(r, &e.Terms, e.names)
	if !ok {
		return Grant{}, fmt.Errorf("%w: certificate of %q: not under this stream name", ErrDenied, e.Subject)
	}
	g := e.grant(name)
	g.By = ByCertificate
	return g, nil
}

func (c *Certificates) find(cert *x509.Certificate) *certificateEntry {
	entries := *c.entries.Load()
	for _, id := range idsOf(cert) {
		if e := entries[id]; e != nil {
			return e
		}
	}
	return nil
}

// idsOf returns what an entry may call a certificate, the most exact first.
func idsOf(cert *x509.Certificate) []string {
	sum := sha256.Sum256(cert.Raw)
	ids := []string{"sha256 " + hex.EncodeToString(sum[:])}
	names := slices.Concat(cert.DNSNames, cert.EmailAddresses)
	for _, ip := range cert.IPAddresses {
		names = append(names, ip.String())
	}
	for _, u := range cert.URIs {
		names = append(names, u.String())
	}
	for _, n := range names {
		ids = append(ids, "san "+strings.ToLower(n))
	}
	return append(ids, "cn "+cert.Subject.CommonName)
}

// KnowsApp reports whether the app of any entry matches, be it valid or not.
func (c *Certificates) KnowsApp(app string) bool { return c.apps.Load().has(app) }

// Retire revokes all grants and forgets all entries.
func (c *Certificates) Retire() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.apply(nil)
}

func (c *Certificates) load(data []byte) (apply func(), err error) {
	f, err := certificatesFormat.parse(c.file, data)
	if err != nil {
		return nil, err
	}
	return func() { c.apply(f.entries) }, nil
}

// apply stores the entries before it revokes anything.
func (c *Certificates) apply(list []CertificateEntry) {
	next, apps := make(map[string]*certificateEntry, len(list)), &knownApps{}
	for _, e := range list {
		next[e.id()] = &certificateEntry{granting: granting{Terms: e.Terms, live: newLive()}, names: e.Names}
		apps.add(&e.Terms)
	}
	revoke := inherit(*c.entries.Load(), next, time.Now())
	c.entries.Store(&next)
	c.apps.Store(apps)
	revokeAll(revoke)
}
