package wire

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"math/big"
	"net"
	"sync"
	"testing"
	"time"
)

var config = func() *tls.Config {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		panic(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, InsecureSkipVerify: true}
}()

// tcp returns the two ends of a connection on loopback.
func tcp(t *testing.T) (server, client net.Conn) {
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
	return server, client
}

// turnstile is a Gate that counts.
type turnstile struct {
	mu              sync.Mutex
	inside, entered int
	refuse          error
	left            chan struct{} // one for each Leave, if it has room
}

func (g *turnstile) Enter(context.Context) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.refuse != nil {
		return g.refuse
	}
	g.inside++
	g.entered++
	return nil
}

func (g *turnstile) Leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.inside--
	select {
	case g.left <- struct{}{}:
	default:
	}
}

func (g *turnstile) now() (inside, entered int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.inside, g.entered
}

// A peer that says hello and then nothing is not inside.
func TestSlowPeerIsOutsideTheGate(t *testing.T) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		server, client := tcp(t)
		g := &turnstile{left: make(chan struct{}, 1)}
		done := make(chan error, 1)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go func() { done <- Server(server, config).HandshakeThrough(ctx, g) }()
		hello := &helloOnly{Conn: client}
		go func() { _ = tls.Client(hello, limited(version)).Handshake() }()
		<-g.left // it was inside for the hello
		if inside, entered := g.now(); inside != 0 || entered != 1 {
			t.Errorf("%s: %d inside, entered %d times", tls.VersionName(version), inside, entered)
		}
		cancel()
		if err := <-done; err == nil {
			t.Error("the handshake succeeded")
		}
		if inside, _ := g.now(); inside != 0 {
			t.Errorf("%d left inside", inside)
		}
		_ = client.Close()
	}
}

// helloOnly swallows all but the first write.
type helloOnly struct {
	net.Conn
	said bool
}

func (c *helloOnly) Write(p []byte) (int, error) {
	if c.said {
		return len(p), nil
	}
	c.said = true
	return c.Conn.Write(p)
}

func limited(version uint16) *tls.Config {
	c := config.Clone()
	c.MaxVersion = version
	return c
}

func TestGateIsLeftAfterTheHandshake(t *testing.T) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		server, client := tcp(t)
		g := &turnstile{}
		go func() { _ = tls.Client(client, limited(version)).Handshake() }()
		c := Server(server, config)
		if err := c.HandshakeThrough(t.Context(), g); err != nil {
			t.Fatal(err)
		}
		if inside, entered := g.now(); inside != 0 || entered < 2 || c.rec.gate != nil {
			t.Errorf("%s: %d inside, entered %d times", tls.VersionName(version), inside, entered)
		}
	}
}

func TestGateRefuses(t *testing.T) {
	server, client := tcp(t)
	full := errors.New("full")
	g := &turnstile{refuse: full}
	go func() { _ = tls.Client(client, config).Handshake() }()
	if err := Server(server, config).HandshakeThrough(t.Context(), g); !errors.Is(err, full) {
		t.Errorf("got %v", err)
	}
	if inside, _ := g.now(); inside != 0 {
		t.Errorf("%d inside", inside)
	}
}

// lastWords says hello, and then something else than what it should.
type lastWords struct {
	net.Conn
	words []byte
	hello bool
}

func (c *lastWords) Write(p []byte) (int, error) {
	if !c.hello {
		c.hello = true
		return c.Conn.Write(p)
	}
	_, err := c.Conn.Write(c.words)
	c.words = nil
	return len(p), err
}

// A client whose alert is not encrypted, where it should be, is heard all the
// same. Anything else that cannot be decrypted is no alert.
func TestBareAlert(t *testing.T) {
	ccs := []byte{20, 3, 3, 0, 1, 1} // before everything else, for the boxes on the way
	bad := &net.OpError{Op: "local error", Err: badMAC}
	for name, test := range map[string]struct {
		words []byte
		want  error
	}{
		"unknown_ca":              {[]byte{21, 3, 3, 0, 2, 2, 48}, &net.OpError{Op: "remote error", Err: tls.AlertError(48)}},
		"bad_certificate":         {[]byte{21, 3, 3, 0, 2, 2, 42}, &net.OpError{Op: "remote error", Err: tls.AlertError(42)}},
		"damaged alert":           {[]byte{21, 3, 3, 0, 3, 2, 42, 0}, bad},
		"damaged":                 {append([]byte{23, 3, 3, 0, 20}, make([]byte, 20)...), bad},
		"alert behind the damage": {append([]byte{23, 3, 3, 0, 20}, append(make([]byte, 20), 21, 3, 3, 0, 2, 2, 48)...), bad},
	} {
		t.Run(name, func(t *testing.T) {
			server, client := tcp(t)
			go func() {
				_ = tls.Client(&lastWords{Conn: client, words: bytes.Join([][]byte{ccs, test.words}, nil)}, config).Handshake()
			}()
			err := Server(server, config).HandshakeThrough(t.Context(), &turnstile{})
			if err == nil || err.Error() != test.want.Error() {
				t.Errorf("%v, want %v", err, test.want)
			}
			_ = client.Close()
		})
	}
}

// What was sealed is what the peer reads, whoever writes it to the socket.
func TestSeal(t *testing.T) {
	for name, wrap := range map[string]func(net.Conn) interface {
		Seal([]byte) ([]byte, net.Conn, error)
	}{
		"TLS": func(c net.Conn) interface {
			Seal([]byte) ([]byte, net.Conn, error)
		} {
			s := Server(c, config)
			if err := s.Handshake(); err != nil {
				t.Fatal(err)
			}
			return s
		},
		"plain": func(c net.Conn) interface {
			Seal([]byte) ([]byte, net.Conn, error)
		} {
			return New(c)
		},
	} {
		server, client := tcp(t)
		var peer io.Reader = client
		if name == "TLS" {
			peer = tls.Client(client, config)
		}
		got := make(chan []byte)
		go func() {
			b, err := io.ReadAll(peer)
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			got <- b
		}()
		words := bytes.Repeat([]byte("not today. "), 3000) // more than a record
		sealed, socket, err := wrap(server).Seal(words)
		if err != nil || socket != server {
			t.Fatalf("%s: %v", name, err)
		}
		_ = socket.SetDeadline(time.Time{})
		if _, err := socket.Write(sealed); err != nil {
			t.Fatal(err)
		}
		_ = socket.(*net.TCPConn).CloseWrite()
		if b := <-got; !bytes.Equal(b, words) {
			t.Errorf("%s: the peer read %d bytes of %d", name, len(b), len(words))
		}
	}
}
