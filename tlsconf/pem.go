package tlsconf

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"

	"rtmps-edge/internal/fault"
	"rtmps-edge/internal/readfile"
)

// MaxFile is the largest PEM file that is read, in bytes: a bundle of all
// authorities that browsers believe has a quarter of it.
const MaxFile = 1 << 20

const (
	typeCertificate = "CERTIFICATE"
	typeKey         = "PRIVATE KEY"
)

// readFile returns a file's contents, or a fault that names it.
func readFile(file string) ([]byte, error) {
	data, err := readfile.Read(file, MaxFile)
	if err != nil {
		return nil, faulty(file, readfile.Reason(err))
	}
	return data, nil
}

func faulty(file, problem string) error { return fault.List{{File: file, Problem: problem}} }

// faultsOf gives err as faults; nil has none.
func faultsOf(err error) fault.List {
	var list fault.List
	switch {
	case err == nil:
		return nil
	case errors.As(err, &list):
		return list
	}
	return fault.List{{Problem: err.Error()}}
}

// parseCertificates reads all certificates of a PEM file, of which there must
// be one. Other things in it are passed over.
func parseCertificates(file string, data []byte) ([]*x509.Certificate, error) {
	var certs []*x509.Certificate
	var others []string
	for rest := data; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if block.Type != typeCertificate {
			others = append(others, block.Type)
			continue
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, faulty(file, fmt.Sprintf("certificate %d cannot be read: %v", len(certs)+1, err))
		}
		certs = append(certs, cert)
	}
	if len(certs) == 0 {
		return nil, faulty(file, "must hold a certificate in PEM form (-----BEGIN CERTIFICATE-----)"+has(others))
	}
	return certs, nil
}

// has tells what was found instead.
func has(types []string) string {
	if len(types) == 0 {
		return ""
	}
	return "; it holds " + strings.Join(types, ", ")
}

// pairOf reads a certificate, with its chain, and its key. All that is wrong
// with the two files is told at once.
func pairOf(p Pair) (*tls.Certificate, error) {
	var faults fault.List
	certPEM, err := readFile(p.Cert)
	faults = append(faults, faultsOf(err)...)
	keyPEM, err := readFile(p.Key)
	faults = append(faults, faultsOf(err)...)
	if err := faults.Err(); err != nil {
		return nil, err
	}
	return parsePair(p, certPEM, keyPEM)
}

func parsePair(p Pair, certPEM, keyPEM []byte) (*tls.Certificate, error) {
	var faults fault.List
	chain, err := parseCertificates(p.Cert, certPEM)
	faults = append(faults, faultsOf(err)...)
	faults = append(faults, faultsOf(checkKey(p.Key, keyPEM))...)
	if err := faults.Err(); err != nil {
		return nil, err
	}
	cert, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		return nil, faulty(p.Key, mismatch(p, chain, keyPEM, err))
	}
	return &cert, nil
}

// checkKey finds a key file that holds no key, or one that needs a passphrase.
// What is wrong within a key, crypto/tls tells.
func checkKey(file string, data []byte) error {
	var others []string
	for {
		var block *pem.Block
		if block, data = pem.Decode(data); block == nil {
			break
		}
		switch {
		case strings.HasPrefix(block.Type, "ENCRYPTED") || block.Headers["DEK-Info"] != "":
			return faulty(file, "must hold a key without a passphrase: openssl pkey -in OLD -out NEW writes one")
		case strings.HasSuffix(block.Type, typeKey):
			return nil
		}
		others = append(others, block.Type)
	}
	return faulty(file, "must hold a private key in PEM form (-----BEGIN PRIVATE KEY-----)"+has(others))
}

// mismatch says why a certificate and a key, each readable, do not go together.
func mismatch(p Pair, chain []*x509.Certificate, keyPEM []byte, err error) string {
	if !strings.Contains(err.Error(), "does not match") {
		return "cannot be used: " + strings.TrimPrefix(err.Error(), "tls: ")
	}
	for i, c := range chain[1:] {
		one := pem.EncodeToMemory(&pem.Block{Type: typeCertificate, Bytes: c.Raw})
		if _, err := tls.X509KeyPair(one, keyPEM); err == nil {
			return fmt.Sprintf("belongs to certificate %d of %s, which must be the first there", i+2, p.Cert)
		}
	}
	return "is not the key of the certificate in " + p.Cert
}

// encodePEM gives any number of DER blocks of one type.
func encodePEM(kind string, ders ...[]byte) []byte {
	var b bytes.Buffer
	for _, der := range ders {
		_ = pem.Encode(&b, &pem.Block{Type: kind, Bytes: der})
	}
	return b.Bytes()
}
