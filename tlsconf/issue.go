package tlsconf

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"time"
)

// Kinds of keys, and the names of their files.
const (
	kindECDSA = "leaf"
	kindRSA   = "leaf-rsa"
)

// rsaBits is what every old box can do.
const rsaBits = 2048

func newKey(asRSA bool) (crypto.Signer, error) {
	if asRSA {
		return rsa.GenerateKey(rand.Reader, rsaBits)
	}
	return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
}

// newAuthority makes one that can sign servers' certificates and no further
// authorities. Its name ends in random digits: a machine that trusts several
// must be able to tell them apart.
func newAuthority(asRSA bool) (*tls.Certificate, error) {
	key, err := newKey(asRSA)
	if err != nil {
		return nil, err
	}
	var tag [4]byte
	_, _ = rand.Read(tag[:]) // never fails
	t := &x509.Certificate{
		Subject:               pkix.Name{CommonName: "rtmps-edge private authority " + hex.EncodeToString(tag[:])},
		NotBefore:             time.Now().Add(-backdate),
		NotAfter:              time.Now().Add(authorityLifetime),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLenZero:        true,
	}
	return sign(t, t, key, key)
}

// newLeaf makes a certificate for names that does not outlive ca.
func newLeaf(ca *tls.Certificate, kind string, names []string) (*tls.Certificate, error) {
	key, err := newKey(kind == kindRSA)
	if err != nil {
		return nil, err
	}
	t := &x509.Certificate{
		Subject:               pkix.Name{CommonName: names[0]},
		NotBefore:             time.Now().Add(-backdate),
		NotAfter:              earlier(time.Now().Add(leafLifetime-backdate), ca.Leaf.NotAfter),
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
	}
	if kind == kindRSA {
		t.KeyUsage |= x509.KeyUsageKeyEncipherment // the RSA key exchange
	}
	setNames(t, names)
	return sign(t, ca.Leaf, key, ca.PrivateKey)
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

func sign(t, parent *x509.Certificate, key crypto.Signer, by crypto.PrivateKey) (*tls.Certificate, error) {
	der, err := x509.CreateCertificate(rand.Reader, t, parent, key.Public(), by)
	if err != nil {
		return nil, err
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, nil
}
