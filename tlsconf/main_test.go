package tlsconf

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/sirupsen/logrus"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if config := os.Getenv(secondEdge); config != "" {
		if err := runSecondEdge(config); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	// The library keeps a lock file fresh until up to five seconds after the
	// lock was given back, and counts what it asks of each account for ever.
	goleak.VerifyTestMain(m,
		goleak.IgnoreAnyFunction("github.com/caddyserver/certmagic.keepLockfileFresh"),
		goleak.IgnoreAnyFunction("github.com/caddyserver/certmagic.(*RingBufferRateLimiter).loop"))
}

// testAuthority is one for tests, made once: keys cost time.
var testAuthority = sync.OnceValue(func() *tls.Certificate {
	ca, err := newAuthority(false)
	if err != nil {
		panic(err)
	}
	return ca
})

func issue(t *testing.T, kind string, names ...string) *tls.Certificate {
	t.Helper()
	cert, err := newLeaf(testAuthority(), kind, names)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

// pemOf gives a certificate's two files.
func pemOf(t testing.TB, c *tls.Certificate) (cert, key []byte) {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	return encodePEM(typeCertificate, c.Certificate...), encodePEM(typeKey, der)
}

func pairIn(dir, name string) Pair {
	return Pair{Cert: filepath.Join(dir, name+".pem"), Key: filepath.Join(dir, name+"-key.pem")}
}

func store(t *testing.T, p Pair, c *tls.Certificate) {
	t.Helper()
	cert, key := pemOf(t, c)
	put(t, p.Key, key)
	put(t, p.Cert, cert)
}

func put(t *testing.T, file string, data []byte) {
	t.Helper()
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// served returns a Files that serves certs, each from files of its own.
func served(t *testing.T, o Options, certs ...*tls.Certificate) (*Files, []Pair) {
	t.Helper()
	dir := t.TempDir()
	var pairs []Pair
	for i, c := range certs {
		p := pairIn(dir, string(rune('a'+i)))
		store(t, p, c)
		pairs = append(pairs, p)
	}
	f, err := NewFiles(FilesConfig{Options: o, Pairs: pairs})
	if err != nil {
		t.Fatal(err)
	}
	return f, pairs
}

// trusting is a client's config that believes the authority for tests.
func trusting() *tls.Config {
	roots := x509.NewCertPool()
	roots.AddCert(testAuthority().Leaf)
	return &tls.Config{RootCAs: roots}
}

// shaken is the outcome of a handshake at both ends.
type shaken struct {
	client, server       *tls.Conn
	clientErr, serverErr error
}

// shake runs a handshake over loopback. Both ends are closed with the test.
func shake(t *testing.T, server, client *tls.Config) shaken {
	t.Helper()
	a, b := loopback(t)
	s := shaken{client: tls.Client(a, client), server: tls.Server(b, server)}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	done := make(chan struct{})
	go func() {
		defer close(done)
		if s.serverErr = s.server.HandshakeContext(ctx); s.serverErr != nil {
			_ = b.Close()
		}
	}()
	if s.clientErr = s.client.HandshakeContext(ctx); s.clientErr != nil {
		_ = a.Close()
	}
	<-done
	return s
}

func loopback(t *testing.T) (client, server net.Conn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	client, err = net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	server, err = ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = client.Close(), server.Close() })
	return client, server
}

// works fails the test unless the handshake came about and bytes pass.
func (s shaken) works(t *testing.T) {
	t.Helper()
	if s.clientErr != nil || s.serverErr != nil {
		t.Fatalf("client: %v; server: %v", s.clientErr, s.serverErr)
	}
	exchange(t, s.client, s.server)
	exchange(t, s.server, s.client)
}

func exchange(t *testing.T, from, to net.Conn) {
	t.Helper()
	if _, err := io.WriteString(from, "stream"); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len("stream"))
	if _, err := io.ReadFull(to, got); err != nil || string(got) != "stream" {
		t.Fatalf("%q, %v", got, err)
	}
}

// leaf is the certificate that the client saw.
func (s shaken) leaf(t *testing.T) *x509.Certificate {
	t.Helper()
	s.works(t)
	return s.client.ConnectionState().PeerCertificates[0]
}

// logs collects what is logged. Safe for concurrent use.
type logs struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func logger() (*logrus.Logger, *logs) {
	l := &logs{}
	log := logrus.New()
	log.SetOutput(l)
	log.SetLevel(logrus.TraceLevel)
	return log, l
}
