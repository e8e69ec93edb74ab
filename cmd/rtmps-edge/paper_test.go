package main

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"flag"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// paper is what a test wants of a certificate. The zero value is what a public
// authority gives out for live.example.com.
type paper struct {
	names       string        // parted by commas; "" = live.example.com
	from, until time.Duration // from now; until 0 = 30 days
	rsa         int           // bits of its key; 0 = ECDSA
	sha1        bool          // how it is signed
	alone       bool          // without the intermediate certificate
	otherKey    bool          // the key file has another's key
}

// flags reads a paper as testscripts write it.
func (p *paper) flags(args []string) error {
	f := flag.NewFlagSet("certificate", flag.ContinueOnError)
	f.StringVar(&p.names, "names", "", "")
	f.DurationVar(&p.from, "from", 0, "")
	f.DurationVar(&p.until, "until", 0, "")
	f.IntVar(&p.rsa, "rsa", 0, "")
	f.BoolVar(&p.sha1, "sha1", false, "")
	f.BoolVar(&p.alone, "alone", false, "")
	f.BoolVar(&p.otherKey, "other-key", false, "")
	return f.Parse(args)
}

// write puts fullchain.pem, privkey.pem and the authority's root.pem into dir.
func (p paper) write(dir string) error {
	root, err1 := certify(authorityPaper("root"), nil, 0)
	inner, err2 := certify(authorityPaper("intermediate"), root, 0)
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	leaf, err := certify(p.template(), inner, p.rsa)
	if err != nil {
		return err
	}
	chain := leaf.pem
	if !p.alone {
		chain += inner.pem
	}
	key := leaf.key
	if p.otherKey {
		key = inner.key
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	private := string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	for name, text := range map[string]string{"root.pem": root.pem, "fullchain.pem": chain, "privkey.pem": private} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			return err
		}
	}
	return nil
}

func (p paper) template() *x509.Certificate {
	if p.names == "" {
		p.names = "live.example.com"
	}
	if p.until == 0 {
		p.until = 30 * 24 * time.Hour
	}
	t := &x509.Certificate{
		Subject:               pkix.Name{CommonName: "leaf"},
		DNSNames:              strings.Split(p.names, ","),
		NotBefore:             time.Now().Add(min(p.from, p.until) - time.Hour),
		NotAfter:              time.Now().Add(p.until),
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		IssuingCertificateURL: []string{"http://authority.example/intermediate"},
	}
	if p.from > 0 {
		t.NotBefore = time.Now().Add(p.from)
	}
	if p.sha1 {
		t.SignatureAlgorithm = x509.ECDSAWithSHA1
	}
	return t
}

func authorityPaper(name string) *x509.Certificate {
	return &x509.Certificate{
		Subject:   pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-365 * 24 * time.Hour),
		NotAfter:  time.Now().Add(365 * 24 * time.Hour),
		IsCA:      true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
}

// signed is a certificate with its key.
type signed struct {
	x   *x509.Certificate
	pem string
	key crypto.Signer
}

// certify makes a certificate with a key of its own. by nil: it signs itself.
func certify(t *x509.Certificate, by *signed, bits int) (*signed, error) {
	var key crypto.Signer
	var err error
	if bits > 0 {
		key, err = rsa.GenerateKey(rand.Reader, bits)
	} else {
		key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	}
	if err != nil {
		return nil, err
	}
	t.SerialNumber = big.NewInt(time.Now().UnixNano())
	if by == nil {
		by = &signed{x: t, key: key}
	}
	der, err := x509.CreateCertificate(rand.Reader, t, by.x, key.Public(), by.key)
	if err != nil {
		return nil, err
	}
	x, err := x509.ParseCertificate(der)
	return &signed{x, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), key}, err
}
