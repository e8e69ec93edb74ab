package hello

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// certificates makes one that signs itself, for an ECDSA and an RSA key.
var certificates = sync.OnceValue(func() []tls.Certificate {
	ec, err1 := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	r, err2 := rsa.GenerateKey(rand.Reader, 2048)
	t := &x509.Certificate{DNSNames: []string{"a.test"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	one, err3 := x509.CreateCertificate(rand.Reader, t, t, ec.Public(), ec)
	two, err4 := x509.CreateCertificate(rand.Reader, t, t, r.Public(), r)
	if err := errors.Join(err1, err2, err3, err4); err != nil {
		panic(err)
	}
	return []tls.Certificate{{Certificate: [][]byte{one}, PrivateKey: ec}, {Certificate: [][]byte{two}, PrivateKey: r}}
})

func server() *tls.Config {
	return &tls.Config{
		Certificates: certificates()[:1],
		MinVersion:   tls.VersionTLS12,
		GetConfigForClient: func(chi *tls.ClientHelloInfo) (*tls.Config, error) {
			Record(chi)
			return nil, nil
		},
	}
}

func loopback(t *testing.T) (client, server net.Conn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	if client, err = net.Dial("tcp", ln.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if server, err = ln.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = client.Close(), server.Close() })
	return client, server
}

// failure runs a server's handshake against what client does and returns how
// it failed.
func failure(t *testing.T, config *tls.Config, client func(net.Conn)) (*Offer, error) {
	t.Helper()
	a, b := loopback(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	ctx, offer := Expect(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		client(a)
	}()
	err := tls.Server(b, config).HandshakeContext(ctx)
	_ = b.Close()
	<-done
	if err == nil {
		t.Fatal("the handshake did not fail")
	}
	return offer, err
}

func speaksTLS(config *tls.Config) func(net.Conn) {
	return func(c net.Conn) {
		_ = tls.Client(c, config).Handshake()
		_ = c.Close()
	}
}

func says(text string) func(net.Conn) {
	return func(c net.Conn) { _, _ = io.WriteString(c, text) }
}

func TestCauses(t *testing.T) {
	edge := func(change func(*tls.Config)) *tls.Config {
		c := server()
		change(c)
		return c
	}
	normal := edge(func(*tls.Config) {})
	tls12 := func(suites ...uint16) *tls.Config {
		return &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12, CipherSuites: suites}
	}
	judges := func(verdict error) *tls.Config {
		return &tls.Config{InsecureSkipVerify: true, VerifyConnection: func(tls.ConnectionState) error { return verdict }}
	}
	for name, test := range map[string]struct {
		server *tls.Config
		client func(net.Conn)
		want   Cause
	}{
		"RTMP":               {normal, says("\x03\x00\x00\x00\x00" + strings.Repeat("x", 1532)), PlainRTMP},
		"RTMP of ffmpeg":     {normal, says("\x03\x00\x00\x00\x00\x09\x00\x7c\x02"), PlainRTMP},
		"HTTP":               {normal, says("GET / HTTP/1.1\r\n\r\n"), PlainHTTP},
		"HTTP/2":             {normal, says("PRI * HTTP/2.0\r\n\r\n"), PlainHTTP},
		"long method":        {normal, says("OPTIONS * HTTP/1.1\r\n\r\n"), PlainHTTP},
		"PROXY v1":           {normal, says("PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n"), ProxyHeader},
		"PROXY v2":           {normal, says("\r\n\r\n\x00\r\nQUIT\n"), ProxyHeader},
		"SSH":                {normal, says("SSH-2.0-x\r\n"), NotTLS},
		"SSL 2":              {normal, says("\x80\x2e\x01\x00\x02\x00\x15"), NoVersion},
		"TLS 1.2 at modern":  {edge(func(c *tls.Config) { c.MinVersion = tls.VersionTLS13 }), speaksTLS(tls12()), NoVersion},
		"TLS 1.3 at older":   {edge(func(c *tls.Config) { c.MaxVersion = tls.VersionTLS12 }), speaksTLS(&tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS13}), NoVersion},
		"RSA only at ECDSA":  {normal, speaksTLS(tls12(tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256)), NoSuite},
		"RSA exchange":       {normal, speaksTLS(tls12(tls.TLS_RSA_WITH_AES_128_CBC_SHA)), NoSuite},
		"other group":        {edge(func(c *tls.Config) { c.CurvePreferences = []tls.CurveID{tls.X25519} }), speaksTLS(&tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS13, CurvePreferences: []tls.CurveID{tls.CurveP384}}), NoGroup},
		"untrusting":         {normal, speaksTLS(&tls.Config{ServerName: "a.test"}), Untrusted},
		"untrusting 1.2":     {normal, speaksTLS(&tls.Config{ServerName: "a.test", MaxVersion: tls.VersionTLS12}), Untrusted},
		"judging":            {normal, speaksTLS(judges(errors.New("no"))), Untrusted},
		"no certificate yet": {edge(func(c *tls.Config) { c.Certificates = nil; c.GetCertificate = none }), speaksTLS(tls12()), NoCertificate},
		"unknown challenge":  {edge(func(c *tls.Config) { c.Certificates = nil; c.GetCertificate = noChallenge }), speaksTLS(tls12()), Challenge},
		"no client cert":     {edge(func(c *tls.Config) { c.ClientAuth = tls.RequireAndVerifyClientCert }), speaksTLS(tls12()), ClientCertificate},
		"wrong client cert": {edge(func(c *tls.Config) { c.ClientAuth = tls.RequireAndVerifyClientCert }), speaksTLS(&tls.Config{
			InsecureSkipVerify: true, Certificates: certificates()[1:]}), ClientCertificate},
		"went away":           {normal, func(c net.Conn) { _ = c.Close() }, Closed},
		"went away in a word": {normal, func(c net.Conn) { _, _ = c.Write([]byte{22, 3, 1, 0, 200, 1}); _ = c.Close() }, Closed},
		"broke off":           {normal, breaksOff, Reset},
		"garbage":             {normal, says("\x16\x03\x01\x00\x04\x01\x00\x00\x00"), Malformed},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := failure(t, test.server, test.client)
			if got := CauseOf(err); got != test.want {
				t.Errorf("%q, want %q: %v (%T)", got, test.want, err, err)
			}
		})
	}
}

func none(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	return nil, fmt.Errorf("a.test: %w", ErrNoCertificate)
}

func noChallenge(*tls.ClientHelloInfo) (*tls.Certificate, error) { return nil, ErrNoChallenge }

// breaksOff makes the kernel send a reset: what was sent is not read.
func breaksOff(c net.Conn) {
	_ = c.(*net.TCPConn).SetLinger(0)
	_, _ = c.Write([]byte{22, 3, 1, 0, 200, 1})
	_ = c.Close()
}

func TestTimeouts(t *testing.T) {
	_, b := loopback(t)
	_ = b.SetDeadline(time.Unix(1, 0))
	if got := CauseOf(tls.Server(b, server()).Handshake()); got != Timeout {
		t.Error(got)
	}
	for _, test := range []struct {
		end  func() (context.Context, context.CancelFunc)
		want Cause
	}{
		{func() (context.Context, context.CancelFunc) {
			return context.WithDeadline(t.Context(), time.Unix(1, 0))
		}, Timeout},
		{func() (context.Context, context.CancelFunc) {
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			return ctx, cancel
		}, Shutdown},
	} {
		_, b := loopback(t)
		ctx, cancel := test.end()
		if got := CauseOf(tls.Server(b, server()).HandshakeContext(ctx)); got != test.want {
			t.Errorf("%q, want %q", got, test.want)
		}
		cancel()
	}
	_, b = loopback(t)
	_ = b.Close()
	if got := CauseOf(tls.Server(b, server()).Handshake()); got != Shutdown {
		t.Error(got)
	}
}

func TestAlerts(t *testing.T) {
	for alert, want := range map[byte]Cause{
		0: Closed, 40: ClientGaveUp, 42: Untrusted, 43: Untrusted, 44: Untrusted, 45: Outdated, 46: Untrusted, 48: Untrusted,
		47: ClientGaveUp, 51: ClientGaveUp, 70: NoVersion, 71: NoSuite, 80: ClientGaveUp, 113: Untrusted, 200: ClientGaveUp,
	} {
		// An alert before anything else is an alert all the same.
		_, err := failure(t, server(), func(c net.Conn) {
			_, _ = c.Write([]byte{21, 3, 1, 0, 2, 2, alert})
			_ = c.Close()
		})
		if got := CauseOf(err); got != want {
			t.Errorf("alert %d: %q, want %q: %v", alert, got, want, err)
		}
	}
}

func TestEachCauseHasItsCure(t *testing.T) {
	for _, c := range []Cause{
		PlainRTMP, PlainHTTP, ProxyHeader, NotTLS, NoVersion, NoSuite, NoGroup, NoCertificate, Untrusted, Outdated, ClientGaveUp,
		ClientCertificate, Challenge, Answered, Closed, Reset, Timeout, Shutdown, Malformed,
	} {
		if c.Cure() == "" || strings.HasSuffix(c.Cure(), ".") {
			t.Errorf("%s: %q", c, c.Cure())
		}
	}
	if len(cures) != 19 {
		t.Errorf("%d cures", len(cures))
	}
	page, err := os.ReadFile("../../docs/tls.md")
	if err != nil {
		t.Fatal(err)
	}
	for c := range cures {
		if !strings.Contains(string(page), "`"+string(c)+"`") {
			t.Errorf("%s is not in docs/tls.md", c)
		}
	}
}

func TestOffer(t *testing.T) {
	offer, _ := failure(t, server(), speaksTLS(&tls.Config{
		ServerName: "a.test", MinVersion: tls.VersionTLS11, MaxVersion: tls.VersionTLS12, NextProtos: []string{"h2"},
		CipherSuites:     []uint16{tls.TLS_RSA_WITH_AES_128_CBC_SHA, tls.TLS_ECDHE_RSA_WITH_RC4_128_SHA},
		CurvePreferences: []tls.CurveID{tls.X25519, tls.CurveP256},
	}))
	want := `server name "a.test"; versions 1.1, 1.2; suites ECDHE_RSA_WITH_RC4_128_SHA, RSA_WITH_AES_128_CBC_SHA; groups X25519, P256; protocols "h2"`
	got := offer.String()
	signatures := ""
	if _, rest, ok := strings.Cut(got, "; signatures "); ok { // a list of Go's own, which it changes
		signatures, _, _ = strings.Cut(rest, ";")
		got = strings.Replace(got, "; signatures "+signatures, "", 1)
	}
	if !strings.Contains(signatures, "ECDSAWithP256AndSHA256, ") {
		t.Errorf("signatures: %q", signatures)
	}
	if got != want && got != strings.Replace(want, "ECDHE_RSA_WITH_RC4_128_SHA, RSA_WITH_AES_128_CBC_SHA", "RSA_WITH_AES_128_CBC_SHA, ECDHE_RSA_WITH_RC4_128_SHA", 1) {
		t.Errorf("%s\nwant\n%s", got, want)
	}
}

func TestNoOffer(t *testing.T) {
	offer, _ := failure(t, server(), says("GET / HTTP/1.1\r\n\r\n"))
	if got := offer.String(); got != "" {
		t.Error(got)
	}
	if got := (*Offer)(nil).String(); got != "" {
		t.Error(got)
	}
	a, b := loopback(t)
	go speaksTLS(&tls.Config{InsecureSkipVerify: true})(a)
	if err := tls.Server(b, server()).Handshake(); err != nil { // nobody expects an offer
		t.Error(err)
	}
}

// A client chooses every byte of its offer, and how much there is of it.
func TestHostileOffer(t *testing.T) {
	o := Offer{ServerName: strings.Repeat("\x1b[2J\n", 1000), Versions: []uint16{0x0a0a, 0x0300, 0x0304, 0x9999}, Suites: []uint16{0x00ff, 0x5600, 0x1a1a, 0x1301}}
	for i := range 30000 {
		o.Suites = append(o.Suites, uint16(i))
		o.Groups = append(o.Groups, tls.CurveID(i))
		o.Signatures = append(o.Signatures, tls.SignatureScheme(i))
		o.Protocols = append(o.Protocols, strings.Repeat("\n", 255))
	}
	got := o.String()
	if len(got) > 16<<10 || strings.ContainsAny(got, "\n\x1b") {
		t.Errorf("%d bytes: %.200s", len(got), got)
	}
	if !strings.Contains(got, "versions SSLv3, 1.3, 0x9999; suites AES_128_GCM_SHA256, ") || !strings.Contains(got, " more; groups ") {
		t.Errorf("%.300s", got)
	}
}
