package authz

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"rtmps-edge/internal/fault"
	"rtmps-edge/internal/secret"
)

// clientCertificate makes one with these names.
func clientCertificate(t *testing.T, cn string, dns ...string) *x509.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	uri, _ := url.Parse("spiffe://studio/Cam1")
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: cn}, NotAfter: time.Now().Add(time.Hour),
		DNSNames: dns, EmailAddresses: []string{"Cam@studio.example"}, IPAddresses: []net.IP{net.ParseIP("2001:db8::1")}, URIs: []*url.URL{uri}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

func newCertificates(t *testing.T, text string) *Certificates {
	t.Helper()
	file := filepath.Join(t.TempDir(), "certificates.toml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := NewCertificates(CertificatesConfig{File: file})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// shows is the request of a client with a verified certificate.
func shows(cert *x509.Certificate, app, key string) Request {
	return Request{Action: Publish, App: app, Key: secret.New(key),
		TLS: &tls.ConnectionState{PeerCertificates: []*x509.Certificate{cert}, VerifiedChains: [][]*x509.Certificate{{cert}}}}
}

func TestCertificates(t *testing.T) {
	cert := clientCertificate(t, "cam1", "cam1.studio.example")
	sum := sha256.Sum256(cert.Raw)
	print := strings.ToUpper(fmt.Sprintf("%x", sum))
	for id, want := range map[string]Grant{
		`cn = "cam1"`: {Subject: "cam1", Name: "cam1"},
		"cn = \"cam1\"\nname = \"studio\"\nsubject = \"bob\"\norigin = \"b\"": {Subject: "bob", Name: "studio", Origin: "b"},
		"cn = \"cam1\"\nnames = [\"cam1-*\"]":                                 {Subject: "cam1", Name: "cam1-main"},
		`san = "CAM1.studio.example"`:                                         {Subject: "CAM1.studio.example", Name: "CAM1.studio.example"},
		`san = "cam@studio.example"`:                                          {Subject: "cam@studio.example", Name: "cam@studio.example"},
		`san = "2001:db8::1"`:                                                 {Subject: "2001:db8::1", Name: "2001:db8::1"},
		`san = "spiffe://studio/Cam1"`:                                        {Subject: "spiffe://studio/Cam1", Name: "spiffe://studio/Cam1"},
		fmt.Sprintf("sha256 = %q\nsubject = \"x\"", print):                    {Subject: "x", Name: "x"},
	} {
		c := newCertificates(t, "[[certificate]]\n"+id+"\n")
		g, err := c.Authorize(context.Background(), shows(cert, "live", "cam1-main"))
		want.By, want.Revoked = ByCertificate, g.Revoked
		if err != nil || g != want {
			t.Errorf("%s: %+v, %v", id, g, err)
		}
	}
	// The most exact entry decides.
	c := newCertificates(t, "[[certificate]]\ncn = \"cam1\"\n[[certificate]]\nsubject = \"exact\"\nsha256 = \""+print+"\"\n")
	if g, err := c.Authorize(context.Background(), shows(cert, "live", "x")); err != nil || g.Subject != "exact" {
		t.Errorf("%+v, %v", g, err)
	}
}

func TestCertificatesRefuse(t *testing.T) {
	cert := clientCertificate(t, "cam1", "cam1.studio.example")
	c := newCertificates(t, "[[certificate]]\ncn = \"cam1\"\napp = \"live\"\nnames = [\"cam1-*\"]\n")
	unverified := shows(cert, "live", "cam1-a")
	unverified.TLS.VerifiedChains = nil
	play := shows(cert, "live", "cam1-a")
	play.Action = Play
	for name, q := range map[string]struct {
		r    Request
		want error
	}{
		"no TLS":         {Request{Action: Publish, App: "live", Key: secret.New("cam1-a")}, ErrUnknown},
		"no certificate": {Request{Action: Publish, App: "live", TLS: &tls.ConnectionState{}}, ErrUnknown},
		"not verified":   {unverified, ErrUnknown},
		"another's":      {shows(clientCertificate(t, "cam2"), "live", "cam1-a"), ErrUnknown},
		"no name":        {shows(clientCertificate(t, ""), "live", "cam1-a"), ErrUnknown},
		"another app":    {shows(cert, "other", "cam1-a"), ErrDenied},
		"play":           {play, ErrDenied},
		"another name":   {shows(cert, "live", "cam2-a"), ErrDenied},
		"odd name":       {shows(cert, "live", "cam1-..%2f"), ErrDenied},
	} {
		if _, err := c.Authorize(context.Background(), q.r); !errors.Is(err, q.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestRemovedCertificatesAreRevoked(t *testing.T) {
	cert := clientCertificate(t, "cam1")
	c := newCertificates(t, "[[certificate]]\ncn = \"cam1\"\n")
	g, err := c.Authorize(context.Background(), shows(cert, "live", "x"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(c.file, []byte("[[certificate]]\ncn = \"cam1\"\nbitrate = \"1Mbit\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := c.Reload(); err != nil || revoked(g) {
		t.Errorf("%v; revoked: %v", err, revoked(g))
	}
	c.Retire()
	if !revoked(g) {
		t.Error("it goes on")
	}
}

func TestCertificatesFaults(t *testing.T) {
	file := filepath.Join(t.TempDir(), "certificates.toml")
	text := "[[certificate]]\n[[certificate]]\ncn = \"a\"\nsan = \"b\"\n[[certificate]]\nsha256 = \"12\"\n[[certificate]]\ncn = \"c\"\n[[certificate]]\ncn = \"c\"\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := ListCertificates(file)
	var list fault.List
	if !errors.As(err, &list) || len(list) != 6 {
		t.Errorf("%d faults:\n%v", len(list), err)
	}
}
