package tlsconf

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net/netip"
	"os"
	"regexp"
	"strings"
	"sync"
	"time"

	"rtmps-edge/internal/fault"
)

const (
	// authorityLifetime is long: each encoder has to be told of a new one.
	authorityLifetime = 10 * 365 * 24 * time.Hour
	// leafLifetime is what clients take at most (some stop at 398 days).
	leafLifetime = 397 * 24 * time.Hour
	// renewBefore is how long before its end a certificate is made anew: people
	// have so long to notice when that fails.
	renewBefore = 30 * 24 * time.Hour
	// backdate is how far the clock of a client may be behind.
	backdate = 24 * time.Hour
	// renewEvery is how often Watch looks at the clock. It is not one long
	// timer, as those stand still while a machine sleeps.
	renewEvery = time.Hour
)

// SelfSignedConfig is what NewSelfSigned needs.
type SelfSignedConfig struct {
	Options
	// Dir keeps the authority and the certificate over restarts. "": they live
	// as long as the process.
	Dir string
	// Names are DNS names (with a wildcard, if need be) and IP addresses. None:
	// localhost, 127.0.0.1, ::1 and the name of this machine.
	Names []string
}

// SelfSigned is a Source with an authority of its own. Clients that are told
// to trust that authority verify the edge like any other server.
type SelfSigned struct {
	endpoint
	dir   string
	names []string

	mu        sync.Mutex // guards what follows, and is held while keys are made
	authority *tls.Certificate
}

// NewSelfSigned makes an authority and a certificate, or reads those in Dir.
func NewSelfSigned(c SelfSignedConfig) (*SelfSigned, error) {
	s := &SelfSigned{dir: c.Dir, names: c.Names}
	if len(s.names) == 0 {
		s.names = localNames()
	}
	faults := faultsOf(s.open(c.Options))
	faults = append(faults, checkNames(s.names)...)
	if err := faults.Err(); err != nil {
		return nil, err
	}
	if err := s.renew(); err != nil {
		return nil, err
	}
	return s, nil
}

func localNames() []string {
	names := []string{"localhost", "127.0.0.1", "::1"}
	if host, err := os.Hostname(); err == nil && dnsName.MatchString(host) && !strings.EqualFold(host, "localhost") {
		names = append(names, strings.ToLower(host))
	}
	return names
}

var dnsName = regexp.MustCompile(`^(\*\.)?([A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?\.)*[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?$`)

func checkNames(names []string) fault.List {
	var faults fault.List
	for _, n := range names {
		if a, err := netip.ParseAddr(n); (err != nil || a.Zone() != "") && !dnsName.MatchString(n) {
			faults.Add(fault.Fault{Key: "names", Value: n, Problem: `must be a DNS name ("live.example.com", "*.example.com") or an IP address`})
		}
	}
	return faults
}

// Reload implements Source: it makes anew what is about to end and reads the
// authorities of clients again.
func (s *SelfSigned) Reload(context.Context) error {
	clients, err := s.readClients()
	if err != nil {
		return err
	}
	if err := s.renew(); err != nil {
		return err
	}
	s.clients.Store(clients)
	return nil
}

// Watch makes the certificate anew before it ends, until ctx is done. Run it
// once.
func (s *SelfSigned) Watch(ctx context.Context) {
	var clients sync.WaitGroup
	clients.Go(func() { s.watchClients(ctx) })
	defer clients.Wait()
	tick := time.NewTicker(renewEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if err := s.renew(); err != nil {
			s.opts.Log.WithError(err).Error("the self-signed certificate cannot be made anew; trying again")
		}
	}
}

// CACertificate returns the authority's certificate in PEM form: what clients
// have to trust.
func (s *SelfSigned) CACertificate() []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return encodePEM(typeCertificate, s.authority.Certificate[0])
}

// Fingerprint returns the SHA-256 of the authority's certificate, as tools
// show it to people.
func (s *SelfSigned) Fingerprint() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return fingerprint(s.authority.Certificate[0])
}

// renew makes what is missing, unfit or about to end. An error changes nothing.
func (s *SelfSigned) renew() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	keep := keeper{dir: s.dir, log: s.opts.Log}
	ca, err := s.currentAuthority(keep)
	if err != nil {
		return err
	}
	certs, err := s.currentLeaves(keep, ca)
	if err != nil {
		return err
	}
	s.authority = ca
	s.table.Store(newTable(certs))
	return nil
}

// currentAuthority returns the one in use, else the one on disk, else a new one.
func (s *SelfSigned) currentAuthority(keep keeper) (*tls.Certificate, error) {
	ca := s.authority
	if ca == nil {
		var err error
		if ca, err = keep.authority(); err != nil {
			return nil, err
		}
	}
	if ca != nil && !endsSoon(ca.Leaf) {
		return ca, nil
	}
	if ca != nil {
		s.opts.Log.WithField("until", stamp(ca.Leaf.NotAfter)).Warn("the private authority ends; clients have to trust the new one")
	}
	ca, err := newAuthority(s.opts.Profile == Legacy)
	if err != nil {
		return nil, err
	}
	return ca, keep.save("ca", ca)
}

// kinds are the keys for which there is a certificate. The RSA key exchange
// needs an RSA key.
func (s *SelfSigned) kinds() []string {
	if s.opts.Profile == Legacy {
		return []string{kindECDSA, kindRSA}
	}
	return []string{kindECDSA}
}

func (s *SelfSigned) currentLeaves(keep keeper, ca *tls.Certificate) ([]*tls.Certificate, error) {
	var certs []*tls.Certificate
	for i, kind := range s.kinds() {
		var cert *tls.Certificate
		if used := s.table.Load().all; i < len(used) {
			cert = used[i]
		} else {
			cert = keep.leaf(kind)
		}
		if !s.fit(cert, ca) {
			var err error
			if cert, err = newLeaf(ca, kind, s.names); err != nil {
				return nil, err
			}
			if err := keep.save(kind, cert); err != nil {
				return nil, err
			}
			s.opts.Log.WithField("until", stamp(cert.Leaf.NotAfter)).Info("a self-signed certificate was made")
		}
		certs = append(certs, cert)
	}
	return certs, nil
}

// fit reports whether cert can go on serving.
func (s *SelfSigned) fit(cert, ca *tls.Certificate) bool {
	return cert != nil && !endsSoon(cert.Leaf) && cert.Leaf.CheckSignatureFrom(ca.Leaf) == nil &&
		sameNames(cert.Leaf, s.names)
}

func endsSoon(leaf *x509.Certificate) bool { return time.Until(leaf.NotAfter) < renewBefore }

func sameNames(leaf *x509.Certificate, names []string) bool {
	want := &x509.Certificate{}
	setNames(want, names)
	a, b := namesOf(leaf), namesOf(want)
	return strings.Join(a, " ") == strings.Join(b, " ")
}

func setNames(c *x509.Certificate, names []string) {
	for _, n := range names {
		if a, err := netip.ParseAddr(n); err == nil {
			c.IPAddresses = append(c.IPAddresses, a.AsSlice())
		} else {
			c.DNSNames = append(c.DNSNames, strings.ToLower(n))
		}
	}
}
