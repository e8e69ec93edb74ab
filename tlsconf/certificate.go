package tlsconf

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Certificate describes one that is served.
type Certificate struct {
	// Name is the first name that it is for. No two of one source have the
	// same: a second one is "NAME#2".
	Name                string
	Names               []string // all names and addresses, sorted
	NotBefore, NotAfter time.Time
	// Chain is the certificate and those behind it, as they are sent. It must
	// not be modified.
	Chain []*x509.Certificate
}

// describe lists what the table holds, the default first.
func (t *table) describe() []Certificate {
	var list []Certificate
	seen := map[string]int{}
	for _, c := range t.all {
		d := describe(c)
		seen[d.Name]++
		if n := seen[d.Name]; n > 1 {
			d.Name += "#" + strconv.Itoa(n)
		}
		list = append(list, d)
	}
	return list
}

func describe(c *tls.Certificate) Certificate {
	d := Certificate{
		Name:      nameOf(c.Leaf),
		Names:     namesOf(c.Leaf),
		NotBefore: c.Leaf.NotBefore,
		NotAfter:  c.Leaf.NotAfter,
		Chain:     []*x509.Certificate{c.Leaf},
	}
	for _, der := range c.Certificate[1:] {
		if parsed, err := x509.ParseCertificate(der); err == nil { // was parsed when it was read
			d.Chain = append(d.Chain, parsed)
		}
	}
	return d
}

// nameOf is the name by which people know a certificate.
func nameOf(leaf *x509.Certificate) string {
	switch {
	case len(leaf.DNSNames) > 0:
		return strings.ToLower(leaf.DNSNames[0])
	case len(leaf.IPAddresses) > 0:
		return leaf.IPAddresses[0].String()
	}
	return leaf.Subject.CommonName
}

// fingerprint is the SHA-256 of a certificate as tools print it.
func fingerprint(der []byte) string {
	sum := sha256.Sum256(der)
	parts := make([]string, len(sum))
	for i, b := range sum {
		parts[i] = fmt.Sprintf("%02X", b)
	}
	return strings.Join(parts, ":")
}
