package tlsconf

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"net/netip"
	"slices"
	"strings"

	"rtmps-edge/internal/hello"
)

// table finds the certificate for a handshake. It is never modified once it is
// in use.
type table struct {
	all   []*tls.Certificate // in the order they were configured
	names map[string]choice  // lower-case names and addresses
	wild  map[string]choice  // what follows "*." in a wildcard name
	first choice             // for clients that name no server, or an unknown one
}

// choice are certificates for one name, the preferred one first. The client
// decides: not all can do with each kind of key.
type choice []*tls.Certificate

// newTable prefers certs in their order, and of those for one name the kind of
// key that costs least. Each must have its Leaf set.
func newTable(certs []*tls.Certificate) *table {
	t := &table{all: certs, names: map[string]choice{}, wild: map[string]choice{}}
	for _, c := range byCost(certs) {
		for _, name := range namesOf(c.Leaf) {
			if parent, ok := strings.CutPrefix(name, "*."); ok {
				t.wild[parent] = append(t.wild[parent], c)
			} else {
				t.names[name] = append(t.names[name], c)
			}
		}
	}
	for name, c := range t.names {
		t.names[name] = slices.Concat(c, t.wild[parentOf(name)])
	}
	t.first = byCost(twins(certs))
	return t
}

// byCost puts elliptic curves before RSA, whose signatures cost the server
// many times as much.
func byCost(certs []*tls.Certificate) []*tls.Certificate {
	return slices.SortedStableFunc(slices.Values(certs), func(a, b *tls.Certificate) int { return cost(a) - cost(b) })
}

func cost(c *tls.Certificate) int {
	switch publicKey(c).(type) {
	case *ecdsa.PublicKey:
		return 0
	case *rsa.PublicKey:
		return 2
	}
	return 1
}

func publicKey(c *tls.Certificate) crypto.PublicKey { return c.Leaf.PublicKey }

// twins are the first certificate and those for exactly the same names.
func twins(certs []*tls.Certificate) []*tls.Certificate {
	var same []*tls.Certificate
	for _, c := range certs {
		if slices.Equal(namesOf(c.Leaf), namesOf(certs[0].Leaf)) {
			same = append(same, c)
		}
	}
	return same
}

// namesOf are the names and addresses that a certificate is for, sorted.
func namesOf(leaf *x509.Certificate) []string {
	var names []string
	for _, n := range leaf.DNSNames {
		names = append(names, strings.ToLower(n))
	}
	for _, ip := range leaf.IPAddresses {
		names = append(names, ip.String())
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// parentOf takes the first label away.
func parentOf(name string) string {
	_, parent, _ := strings.Cut(name, ".")
	return parent
}

// pick returns the certificate for a client.
func (t *table) pick(chi *tls.ClientHelloInfo) (*tls.Certificate, error) {
	if len(t.all) == 0 {
		return nil, hello.ErrNoCertificate
	}
	if c := t.find(chi.ServerName); c != nil {
		return c.pick(chi), nil
	}
	return t.first.pick(chi), nil
}

// find returns nil for a name that no certificate is for.
func (t *table) find(server string) choice {
	if server == "" {
		return nil
	}
	name := strings.ToLower(server)
	if strings.Contains(name, ":") { // an IPv6 address can be written in many ways
		if a, err := netip.ParseAddr(name); err == nil {
			name = a.String()
		}
	}
	if c := t.names[name]; c != nil {
		return c
	}
	return t.wild[parentOf(name)]
}

// pick returns the first certificate that the client can do with, else the
// first, with which the handshake fails and says why.
func (c choice) pick(chi *tls.ClientHelloInfo) *tls.Certificate {
	if len(c) == 1 {
		return c[0]
	}
	nameless := *chi // the name was looked at, and may be one that no certificate is for
	nameless.ServerName = ""
	for _, cert := range c {
		if nameless.SupportsCertificate(cert) == nil {
			return cert
		}
	}
	return c[0]
}
