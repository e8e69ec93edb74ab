package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"rtmps-edge/tlsconf"
)

// Every example runs as it is, but for its addresses, and publishes by key or
// certificate. The tests of whole programs have an authority for ACME; here it
// is another source.
func TestExamplesRun(t *testing.T) {
	t.Parallel()
	folders, err := filepath.Glob("../../examples/*/edge.toml")
	if err != nil || len(folders) < 3 {
		t.Fatalf("%d examples, %v", len(folders), err)
	}
	for _, file := range folders {
		t.Run(filepath.Base(filepath.Dir(file)), func(t *testing.T) {
			t.Parallel()
			if _, err := os.Stat(filepath.Join(filepath.Dir(file), "README.md")); err != nil {
				t.Error(err)
			}
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			runExample(t, filepath.Dir(file), string(text))
		})
	}
}

var (
	listenLine = regexp.MustCompile(`(?m)^address *= *".*"`)
	serverLine = regexp.MustCompile(`(?m)^servers *= *\[.*\]`)
	adminLine  = regexp.MustCompile(`(?m)^listen *= *".*"`)
	fromLine   = regexp.MustCompile(`(?m)^(publish_from|proxy_protocol) *= *\[`)
	acmeTable  = regexp.MustCompile(`(?ms)^source *= *"(certmagic|autocert)"(.*?)^\[tls\.acme\]\n.*?^\[`)
)

func runExample(t *testing.T, folder, text string) {
	text = acmeTable.ReplaceAllString(text, "source = \"self-signed\"$2[")
	text = listenLine.ReplaceAllString(text, `address = "127.0.0.1:0"`)
	text = adminLine.ReplaceAllString(text, `listen = "127.0.0.1:0"`)
	text = serverLine.ReplaceAllString(text, `servers = ["ORIGIN"]`)
	text = fromLine.ReplaceAllString(text, `$1 = ["127.0.0.1", `)
	var certificate tls.Certificate
	s := newSite(t, text, func(dir string) {
		if strings.Contains(text, "privkey.pem") {
			writePair(t, dir)
		}
		if strings.Contains(text, "token_file") {
			if err := os.WriteFile(filepath.Join(dir, "admin.token"), []byte("0123456789abcdef0123456789abcdef\n"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if strings.Contains(text, "client_ca") {
			certificate = writeAuthority(t, filepath.Join(dir, "encoders-ca.pem"))
			takeAlong(t, folder, dir, "certificates.toml")
		}
	})
	who, key := "alice", siteKey
	if strings.Contains(text, "client_ca") {
		who, key = "studio-1", "studio-1-main"
		if _, err := s.publish("127.0.0.1:0", true, key); err == nil {
			t.Error("published without a certificate")
		}
		s.certificates = []tls.Certificate{certificate}
		if _, err := s.publish("127.0.0.1:0", true, "studio-2"); err == nil {
			t.Error("published under another's name")
		}
	}
	client := "client=\"127.0.0.1:"
	if strings.Contains(text, "proxy_protocol") {
		if _, err := s.publish("127.0.0.1:0", true, siteKey); err == nil {
			t.Error("published without a PROXY header")
		}
		s.header, client = "PROXY TCP4 192.0.2.7 198.51.100.1 4096 1936\r\n", "client=\"192.0.2.7:4096\""
	}
	var told chan string
	if strings.Contains(text, "proxy-v1") {
		told = make(chan string, 1)
		s.write("edge.toml", strings.ReplaceAll(text, "ORIGIN", door(t, s.origin.Addr(), len(s.header), told)))
		s.hup <- os.Interrupt
		s.logs.wait(t, 1, "level=info", "msg=reloaded")
	}
	p, err := s.publish("127.0.0.1:0", true, key)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Stop(); err != nil {
		t.Fatal(err)
	}
	s.logs.wait(t, 1, "stream ended", "subject="+who, client)
	if told != nil {
		if got := <-told; got != s.header {
			t.Errorf("the origin is told %q", got)
		}
	}
}

// takeAlong copies a file that an example has beside its edge.toml.
func takeAlong(t *testing.T, folder, dir, name string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(folder, name))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
		t.Fatal(err)
	}
}

// door stands before an origin and takes the first size bytes of a stream's
// connection.
func door(t *testing.T, origin string, size int, first chan<- string) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var passing sync.WaitGroup
	t.Cleanup(func() { _ = ln.Close(); passing.Wait() })
	passing.Go(func() {
		for {
			edge, err := ln.Accept()
			if err != nil {
				return
			}
			passing.Go(func() {
				defer func() { _ = edge.Close() }()
				header := make([]byte, size)
				if _, err := io.ReadFull(edge, header); err != nil || strings.HasPrefix(string(header), "PROXY UNKNOWN") {
					return // a health check
				}
				first <- string(header)
				c, err := net.Dial("tcp", origin)
				if err != nil {
					return
				}
				defer func() { _ = c.Close() }()
				passing.Go(func() { _, _ = io.Copy(edge, c); _ = edge.Close() })
				_, _ = io.Copy(c, edge)
			})
		}
	})
	return ln.Addr().String()
}

// writeAuthority makes the authority of encoders' certificates, and one of them.
func writeAuthority(t *testing.T, file string) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ca := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "encoders"}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	encoder := &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "studio-1"}, NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	caDER, err1 := x509.CreateCertificate(rand.Reader, ca, ca, key.Public(), key)
	encoderDER, err2 := x509.CreateCertificate(rand.Reader, encoder, ca, key.Public(), key)
	err3 := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: caDER}), 0o600)
	if err := errors.Join(err1, err2, err3); err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{encoderDER}, PrivateKey: key}
}

// writePair makes fullchain.pem and privkey.pem in dir.
func writePair(t *testing.T, dir string) {
	t.Helper()
	certs := filepath.Join(dir, "made")
	if _, err := tlsconf.NewSelfSigned(tlsconf.SelfSignedConfig{Dir: certs, Names: []string{"edge.test"}}); err != nil {
		t.Fatal(err)
	}
	for from, to := range map[string]string{"leaf.pem": "fullchain.pem", "leaf-key.pem": "privkey.pem"} {
		if err := os.Rename(filepath.Join(certs, from), filepath.Join(dir, to)); err != nil {
			t.Fatal(err)
		}
	}
}
