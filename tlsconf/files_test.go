package tlsconf

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"rtmps-edge/internal/fault"
	"rtmps-edge/internal/filewatch"
)

// issueEnding makes a certificate that ends at a given time.
func issueEnding(t *testing.T, end time.Time, names ...string) *tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{NotBefore: end.Add(-48 * time.Hour), NotAfter: end, KeyUsage: x509.KeyUsageDigitalSignature}
	setNames(c, names)
	cert, err := sign(c, testAuthority().Leaf, key, testAuthority().PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

// TestServerNames holds what clients ask for against what they get.
func TestServerNames(t *testing.T) {
	f, _ := served(t, Options{},
		issue(t, kindECDSA, "first.test"),
		issue(t, kindECDSA, "*.wild.test"),
		issue(t, kindECDSA, "exact.wild.test", "192.0.2.1", "2001:db8::1"),
		issue(t, kindECDSA, "UPPER.test"),
	)
	for server, want := range map[string]string{
		"":                   "first.test",
		"first.test":         "first.test",
		"unknown.test":       "first.test",
		"a.wild.test":        "*.wild.test",
		"A.Wild.Test":        "*.wild.test",
		"exact.wild.test":    "exact.wild.test",
		"a.b.wild.test":      "first.test",
		"wild.test":          "first.test",
		"upper.test":         "UPPER.test",
		"xn--bcher-kva.test": "first.test",
		"1":                  "first.test",
	} {
		c := &tls.Config{ServerName: server, InsecureSkipVerify: true}
		if got := shake(t, f.TLSConfig(), c).leaf(t).Subject.CommonName; got != want {
			t.Errorf("%q: %s, want %s", server, got, want)
		}
	}
	// Go's client sends no address as a server name; OBS does.
	for server, want := range map[string]string{
		"192.0.2.1": "exact.wild.test", "2001:db8::1": "exact.wild.test", "2001:0DB8:0:0::1": "exact.wild.test",
		"192.0.2.2": "first.test", ":": "first.test", ".": "first.test", "*.wild.test": "*.wild.test",
	} {
		got, err := f.certificate(&tls.ClientHelloInfo{ServerName: server})
		if err != nil || got.Leaf.Subject.CommonName != want {
			t.Errorf("%q: %s, want %s", server, got.Leaf.Subject.CommonName, want)
		}
	}
}

// kindOfClient is a client that can do with one kind of certificate only.
func kindOfClient(kind string, version uint16) *tls.Config {
	suite := tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256
	if kind == kindRSA {
		suite = tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256
	}
	c := trusting()
	c.MinVersion, c.MaxVersion, c.CipherSuites = version, version, []uint16{suite}
	return c
}

func TestBothKindsOfKey(t *testing.T) {
	for order, kinds := range map[string][]string{"RSA first": {kindRSA, kindECDSA}, "ECDSA first": {kindECDSA, kindRSA}} {
		f, _ := served(t, Options{},
			issue(t, kinds[0], "first.test"), issue(t, kinds[1], "first.test"),
			issue(t, kindECDSA, "second.test", "first.test"),
			issue(t, kindECDSA, "*.wild.test"), issue(t, kindRSA, "a.wild.test"),
			issue(t, kindECDSA, "b.wild.test"), issue(t, kindRSA, "*.wild.test"))
		for _, server := range []string{"first.test", "a.wild.test", "b.wild.test", "c.wild.test"} {
			for _, kind := range []string{kindECDSA, kindRSA} {
				t.Run(order+"/"+server+"/"+kind, func(t *testing.T) {
					c := kindOfClient(kind, tls.VersionTLS12)
					c.ServerName = server
					leaf := shake(t, f.TLSConfig(), c).leaf(t)
					if (leaf.PublicKeyAlgorithm == x509.ECDSA) != (kind == kindECDSA) {
						t.Error(leaf.PublicKeyAlgorithm)
					}
				})
			}
		}
		for _, server := range []string{"", "unknown.test"} {
			for _, kind := range []string{kindECDSA, kindRSA} {
				c := kindOfClient(kind, tls.VersionTLS12)
				c.ServerName, c.InsecureSkipVerify = server, true
				leaf := shake(t, f.TLSConfig(), c).leaf(t)
				if (leaf.PublicKeyAlgorithm == x509.ECDSA) != (kind == kindECDSA) || len(leaf.DNSNames) != 1 {
					t.Errorf("%s: %q, %s: %v, %v", order, server, kind, leaf.PublicKeyAlgorithm, leaf.DNSNames)
				}
			}
		}
		// Who can do both gets what costs the server least.
		c := trusting()
		c.ServerName = "first.test"
		if got := shake(t, f.TLSConfig(), c).leaf(t); got.PublicKeyAlgorithm != x509.ECDSA {
			t.Errorf("%s: %v", order, got.PublicKeyAlgorithm)
		}
	}
}

func TestPickAllocatesNothing(t *testing.T) {
	f, _ := served(t, Options{}, issue(t, kindECDSA, "a.test"), issue(t, kindECDSA, "*.b.test"))
	config := f.TLSConfig()
	for _, server := range []string{"", "a.test", "x.b.test", "unknown.test"} {
		hello := &tls.ClientHelloInfo{ServerName: server}
		if n := testing.AllocsPerRun(100, func() {
			_, _ = config.GetConfigForClient(hello)
			_, _ = config.GetCertificate(hello)
		}); n > 0 {
			t.Errorf("%q: %v allocations", server, n)
		}
	}
	if f.loaded[0].Leaf == nil {
		t.Error("the certificate is parsed in each handshake")
	}
}

// A certificate that is replaced reaches new connections; one that runs goes on.
func TestReload(t *testing.T) {
	f, pairs := served(t, Options{}, issue(t, kindECDSA, "a.test"))
	config := f.TLSConfig()
	c := trusting()
	c.ServerName = "a.test"
	running := shake(t, config, c)
	old := running.leaf(t)
	store(t, pairs[0], issue(t, kindECDSA, "a.test"))
	if err := f.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	if shake(t, config, c).leaf(t).Equal(old) {
		t.Error("the old certificate still serves")
	}
	running.works(t)
}

func TestReloadWithFaults(t *testing.T) {
	f, pairs := served(t, Options{}, issue(t, kindECDSA, "a.test"), issue(t, kindECDSA, "b.test"))
	config := f.TLSConfig()
	c := trusting()
	c.ServerName = "a.test"
	old := shake(t, config, c).leaf(t)
	store(t, pairs[0], issue(t, kindECDSA, "a.test")) // is well, and waits for the other
	put(t, pairs[1].Cert, []byte("half"))
	put(t, pairs[1].Key, nil)
	err := f.Reload(t.Context())
	var faults fault.List
	if !errors.As(err, &faults) || len(faults) != 2 || faults[0].File != pairs[1].Cert || faults[1].File != pairs[1].Key {
		t.Fatalf("%v", err)
	}
	if !shake(t, config, c).leaf(t).Equal(old) {
		t.Error("a reload that failed changed something")
	}
}

func TestExpiredDoesNotReplace(t *testing.T) {
	f, pairs := served(t, Options{}, issue(t, kindECDSA, "a.test"))
	store(t, pairs[0], issueEnding(t, time.Now().Add(-time.Hour), "a.test"))
	if err := f.Reload(t.Context()); err == nil || !strings.Contains(err.Error(), "has expired") {
		t.Error(err)
	}
	f.look()
	if time.Now().After(f.Certificates()[0].NotAfter) {
		t.Error("an expired certificate replaced one that is valid")
	}
	// Where there is nothing better, it serves: a client that does not look
	// can stream, and the others say why not.
	expired, pairs := served(t, Options{}, issueEnding(t, time.Now().Add(-time.Hour), "a.test"))
	store(t, pairs[0], issueEnding(t, time.Now().Add(-time.Minute), "a.test"))
	if err := expired.Reload(t.Context()); err != nil {
		t.Error(err)
	}
	c := &tls.Config{InsecureSkipVerify: true}
	shake(t, expired.TLSConfig(), c).works(t)
}

// A certificate that clients refuse does not replace one that they take.
func TestWorseDoesNotReplace(t *testing.T) {
	for want, change := range map[string]func(*x509.Certificate){
		"is not valid before":         func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Hour) },
		"is for no name":              func(c *x509.Certificate) { c.DNSNames = nil },
		"is not made for servers":     func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} },
		"has a key on the curve P-52": nil,
	} {
		t.Run(want, func(t *testing.T) {
			f, pairs := served(t, Options{}, issue(t, kindECDSA, "a.test"))
			old := f.Certificates()[0].Chain[0]
			bad := changed(t, change, "a.test")
			store(t, pairs[0], bad)
			if err := f.Reload(t.Context()); err == nil || !strings.Contains(err.Error(), pairs[0].Cert+": "+want) || !strings.Contains(err.Error(), "the one before it serves on") {
				t.Error(err)
			}
			f.look()
			if !f.Certificates()[0].Chain[0].Equal(old) {
				t.Error("it serves")
			}
			// Where there is nothing better, it does.
			served(t, Options{}, bad)
		})
	}
}

// changed makes a certificate that is not as it should be; nil: with a key on
// P-521.
func changed(t *testing.T, change func(*x509.Certificate), names ...string) *tls.Certificate {
	t.Helper()
	curve := elliptic.P256()
	if change == nil {
		curve, change = elliptic.P521(), func(*x509.Certificate) {}
	}
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour), DNSNames: names}
	change(c)
	cert, err := sign(c, testAuthority().Leaf, key, testAuthority().PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

// A leaf that has lost its chain does not replace one that clients can verify.
func TestLostChainDoesNotReplace(t *testing.T) {
	root := makeOne(t, nil, current(authorityNamed("root")))
	inner := makeOne(t, root, current(authorityNamed("inner")))
	leaf := makeOne(t, inner, current(func(c *x509.Certificate, _ *crypto.Signer) {
		c.IssuingCertificateURL = []string{"http://ca.test/inner"}
	}))
	roots := x509.NewCertPool()
	roots.AddCert(root.x)
	whole, alone := chainOf(leaf, inner), chainOf(leaf)
	if f, ok := worse(whole, alone, roots); !ok || !strings.Contains(f.Text, "incomplete chain") {
		t.Errorf("%v %v", f, ok)
	}
	for _, pair := range [][2]Certificate{{alone, whole}, {whole, whole}, {alone, alone}} {
		if f, ok := worse(pair[0], pair[1], roots); ok {
			t.Error(f)
		}
	}
	if f, ok := worse(whole, alone, x509.NewCertPool()); ok { // nobody here knows the authority anyway
		t.Error(f)
	}
}

// current has a certificate be valid now.
func current(change func(*x509.Certificate, *crypto.Signer)) func(*x509.Certificate, *crypto.Signer) {
	return func(c *x509.Certificate, key *crypto.Signer) {
		c.NotBefore, c.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
		change(c, key)
	}
}

func TestFaultsOfFiles(t *testing.T) {
	dir := t.TempDir()
	good := issue(t, kindECDSA, "a.test")
	goodCert, goodKey := pemOf(t, good)
	otherCert, otherKey := pemOf(t, issue(t, kindECDSA, "a.test"))
	rsaCert, _ := pemOf(t, issue(t, kindRSA, "a.test"))
	chain := append(encodePEM(typeCertificate, testAuthority().Certificate[0]), goodCert...)
	encrypted := encodePEM("ENCRYPTED PRIVATE KEY", []byte{0x30, 0})
	old := pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Headers: map[string]string{"Proc-Type": "4,ENCRYPTED", "DEK-Info": "AES-128-CBC,00"}, Bytes: []byte{1}})
	for name, test := range map[string]struct {
		cert, key []byte
		want      string // in the fault of the file whose name begins with it
	}{
		"none":                   {nil, nil, "cert must hold a certificate|key must hold a private key"},
		"text":                   {[]byte("hello"), []byte("hello"), "cert must hold a certificate|key must hold a private key"},
		"swapped":                {goodKey, goodCert, "cert must hold a certificate in PEM form (-----BEGIN CERTIFICATE-----); it holds PRIVATE KEY|key must hold a private key in PEM form (-----BEGIN PRIVATE KEY-----); it holds CERTIFICATE"},
		"another's key":          {goodCert, otherKey, "key is not the key of the certificate"},
		"key of another kind":    {rsaCert, goodKey, "key is not the key of the certificate"},
		"encrypted":              {goodCert, encrypted, "key must hold a key without a passphrase"},
		"encrypted as it was":    {goodCert, old, "key must hold a key without a passphrase"},
		"not the first":          {chain, goodKey, "key belongs to certificate 2 of"},
		"cut certificate":        {goodCert[:len(goodCert)/2], goodKey, "cert must hold a certificate"},
		"damaged certificate":    {encodePEM(typeCertificate, []byte{0x30, 1, 2}), goodKey, "cert certificate 1 cannot be read"},
		"damaged second":         {append(otherCert, encodePEM(typeCertificate, []byte{0x30})...), otherKey, "cert certificate 2 cannot be read"},
		"damaged key":            {goodCert, encodePEM(typeKey, []byte{0x30, 1, 2}), "key cannot be used"},
		"too large":              {make([]byte, MaxFile+1), goodKey, "cert is too large"},
		"another's certificates": {encodePEM(typeCertificate, testAuthority().Certificate[0]), goodKey, "key is not the key"},
	} {
		t.Run(name, func(t *testing.T) {
			p := Pair{Cert: dir + "/cert", Key: dir + "/key"}
			put(t, p.Cert, test.cert)
			put(t, p.Key, test.key)
			_, err := NewFiles(FilesConfig{Pairs: []Pair{p}})
			var faults fault.List
			if !errors.As(err, &faults) {
				t.Fatalf("%v", err)
			}
			want := strings.Split(test.want, "|")
			if len(faults) != len(want) {
				t.Fatalf("%d faults: %v", len(faults), err)
			}
			for i, w := range want {
				file, problem, _ := strings.Cut(w, " ")
				if faults[i].File != dir+"/"+file || !strings.HasPrefix(faults[i].Problem, problem) {
					t.Errorf("%v, want %s", faults[i], w)
				}
			}
		})
	}
	t.Run("no such file", func(t *testing.T) {
		_, err := NewFiles(FilesConfig{Pairs: []Pair{{Cert: dir + "/none", Key: dir}, {Cert: dir + "/none2", Key: dir + "/none3"}}})
		var faults fault.List
		if !errors.As(err, &faults) || len(faults) != 4 {
			t.Fatalf("%v", err)
		}
	})
	t.Run("no pair", func(t *testing.T) {
		_, err := NewFiles(FilesConfig{})
		var faults fault.List
		if !errors.As(err, &faults) || len(faults) != 1 {
			t.Fatalf("%v", err)
		}
	})
}

// One file may hold certificate and key.
func TestOneFile(t *testing.T) {
	cert, key := pemOf(t, issue(t, kindRSA, "a.test"))
	file := t.TempDir() + "/both.pem"
	put(t, file, append(key, cert...))
	f, err := NewFiles(FilesConfig{Pairs: []Pair{{Cert: file, Key: file}}})
	if err != nil {
		t.Fatal(err)
	}
	c := trusting()
	c.ServerName = "a.test"
	shake(t, f.TLSConfig(), c).works(t)
}

// watching runs f.Watch until the test ends.
func watching(t *testing.T, watch func(context.Context)) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		watch(ctx)
	}()
	t.Cleanup(func() { cancel(); <-done })
}

// until polls until well is true. It fails after so long that only a change
// that nobody noticed explains it, and before filewatch would poll.
func until(t *testing.T, what string, well func() bool) {
	t.Helper()
	for end := time.Now().Add(filewatch.DefaultPoll * 2 / 3); !well(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s was waited for in vain", what)
		}
	}
}

// TestWatch changes the files of a connection that runs.
func TestWatch(t *testing.T) {
	log, said := logger()
	f, pairs := served(t, Options{Log: log}, issue(t, kindECDSA, "a.test"), issue(t, kindECDSA, "b.test"))
	config := f.TLSConfig()
	c := trusting()
	c.ServerName = "a.test"
	running := shake(t, config, c)
	old := running.leaf(t)
	watching(t, f.Watch)

	next := issue(t, kindECDSA, "a.test")
	cert, key := pemOf(t, next)
	put(t, pairs[0].Cert, cert[:100])
	until(t, "a word about half a certificate", func() bool { return strings.Contains(said.String(), "cannot be used") })
	if !shake(t, config, c).leaf(t).Equal(old) {
		t.Error("half a certificate was used")
	}
	put(t, pairs[0].Cert, cert)
	until(t, "a word about a key that does not match", func() bool { return strings.Contains(said.String(), "is not the key") })
	if !shake(t, config, c).leaf(t).Equal(old) {
		t.Error("a certificate without its key was used")
	}
	put(t, pairs[0].Key, key)
	until(t, "the new certificate", func() bool { return shake(t, config, c).leaf(t).Equal(next.Leaf) })
	running.works(t)
	if strings.Contains(said.String(), string(key)) {
		t.Error("a key was logged")
	}
}

// A fault is told once, however often the files are looked at; a pair that is
// well is not kept waiting for one that is not.
func TestLook(t *testing.T) {
	log, said := logger()
	f, pairs := served(t, Options{Log: log}, issue(t, kindECDSA, "a.test"), issue(t, kindECDSA, "b.test"))
	first := f.table.Load()
	f.look()
	if said.String() != "" || f.table.Load() != first {
		t.Errorf("nothing has changed: %s", said)
	}
	put(t, pairs[0].Cert, []byte("half"))
	next := issue(t, kindECDSA, "b.test")
	store(t, pairs[1], next)
	f.look()
	f.look()
	if n := strings.Count(said.String(), "cannot be used"); n != 1 {
		t.Errorf("told %d times: %s", n, said)
	}
	if got := f.loaded[1].Leaf; !got.Equal(next.Leaf) || !strings.Contains(said.String(), "certificate=b.test") {
		t.Errorf("%v: %s", got.Subject, said)
	}
	store(t, pairs[0], issue(t, kindECDSA, "a.test"))
	f.look()
	put(t, pairs[0].Cert, []byte("half"))
	f.look()
	if n := strings.Count(said.String(), "cannot be used"); n != 2 {
		t.Errorf("told %d times, want twice: it was well meanwhile: %s", n, said)
	}
}

// A chain can change where the certificate does not.
func TestLookAtChain(t *testing.T) {
	f, pairs := served(t, Options{}, issue(t, kindECDSA, "a.test"))
	cert, _ := pemOf(t, f.loaded[0])
	put(t, pairs[0].Cert, append(cert, encodePEM(typeCertificate, testAuthority().Certificate[0])...))
	f.look()
	if got := f.Certificates()[0].Chain; len(got) != 2 {
		t.Errorf("%d certificates", len(got))
	}
}

func TestCertificates(t *testing.T) {
	end := time.Now().Add(time.Hour).Truncate(time.Second)
	f, _ := served(t, Options{}, issueEnding(t, end, "b.test", "a.test", "192.0.2.1"), issue(t, kindRSA, "B.test"), issueEnding(t, end, "192.0.2.1"))
	got := f.Certificates()
	var names []string
	for _, c := range got {
		names = append(names, c.Name)
	}
	if fmt.Sprint(names) != "[b.test b.test#2 192.0.2.1]" {
		t.Error(names)
	}
	if !got[0].NotAfter.Equal(end) || !got[0].NotBefore.Equal(end.Add(-48*time.Hour)) || fmt.Sprint(got[0].Names) != "[192.0.2.1 a.test b.test]" {
		t.Errorf("%+v", got[0])
	}
}

// clientWith shows a certificate for clients.
func clientWith(cert *tls.Certificate) *tls.Config {
	c := trusting()
	c.ServerName = "a.test"
	if cert != nil { // it is shown whatever the server asks for
		c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return cert, nil }
	}
	return c
}

// clientCertificate is one that ca signed.
func clientCertificate(t *testing.T, ca *tls.Certificate) *tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		DNSNames: []string{"encoder.test"},
	}
	cert, err := sign(c, ca.Leaf, key, ca.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

func TestClientAuth(t *testing.T) {
	ours, err := newAuthority(false)
	if err != nil {
		t.Fatal(err)
	}
	bundle := t.TempDir() + "/clients.pem"
	put(t, bundle, encodePEM(typeCertificate, ours.Certificate[0]))
	known, stranger := clientCertificate(t, ours), clientCertificate(t, testAuthority())
	for _, test := range []struct {
		auth ClientAuth
		cert *tls.Certificate
		well bool
	}{
		{Off, nil, true}, {Off, known, true}, {Off, stranger, true},
		{Optional, nil, true}, {Optional, known, true}, {Optional, stranger, false},
		{Required, nil, false}, {Required, known, true}, {Required, stranger, false},
	} {
		f, _ := served(t, Options{ClientAuth: test.auth, ClientCA: bundle}, issue(t, kindECDSA, "a.test"))
		for _, v := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			c := clientWith(test.cert)
			c.MinVersion, c.MaxVersion = v, v
			s := shake(t, f.TLSConfig(), c)
			if test.well != (s.serverErr == nil) {
				t.Errorf("%s, certificate of one known: %v, %s: %v", test.auth, test.cert == known, tls.VersionName(v), s.serverErr)
			}
			if test.well && test.auth != Off {
				if got := s.server.ConnectionState().VerifiedChains; (len(got) > 0) != (test.cert == known) {
					t.Errorf("%s: %d chains", test.auth, len(got))
				}
			}
		}
	}
}

// Other authorities of clients count for new handshakes, with a config that
// was given out before.
func TestClientAuthorityChanges(t *testing.T) {
	log, said := logger()
	next, err := newAuthority(false)
	if err != nil {
		t.Fatal(err)
	}
	bundle := t.TempDir() + "/clients.pem"
	put(t, bundle, encodePEM(typeCertificate, testAuthority().Certificate[0]))
	f, _ := served(t, Options{ClientAuth: Required, ClientCA: bundle, Log: log}, issue(t, kindECDSA, "a.test"))
	config := f.TLSConfig()
	old, now := clientWith(clientCertificate(t, testAuthority())), clientWith(clientCertificate(t, next))
	running := shake(t, config, old)
	running.works(t)
	put(t, bundle, []byte("half"))
	f.look()
	f.look()
	if err := f.Reload(t.Context()); err == nil || !strings.Contains(err.Error(), bundle) || strings.Count(said.String(), bundle) != 1 {
		t.Errorf("%v; %s", err, said)
	}
	shake(t, config, old).works(t)
	put(t, bundle, encodePEM(typeCertificate, next.Certificate[0]))
	if err := f.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	shake(t, config, now).works(t)
	if s := shake(t, config, old); s.serverErr == nil {
		t.Error("a client is believed whose authority is not any more")
	}
	running.works(t)
}

func TestClientAuthFaults(t *testing.T) {
	for _, o := range []Options{{ClientAuth: Required}, {ClientAuth: Optional, ClientCA: t.TempDir() + "/none"}, {ClientAuth: Required, ClientCA: t.TempDir()}} {
		_, err := NewSelfSigned(SelfSignedConfig{Options: o})
		var faults fault.List
		if !errors.As(err, &faults) || len(faults) != 1 {
			t.Errorf("%+v: %v", o, err)
		}
	}
}

// Handshakes go on while everything changes; for the race detector.
func TestReloadUnderLoad(t *testing.T) {
	f, pairs := served(t, Options{}, issue(t, kindECDSA, "a.test"))
	config := f.TLSConfig()
	stop := make(chan struct{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			default:
			}
			store(t, pairs[0], issue(t, kindECDSA, "a.test"))
			if err := f.Reload(context.Background()); err != nil {
				t.Error(err)
			}
			f.look()
			_ = f.Certificates()
		}
	}()
	for range 20 {
		c := trusting()
		c.ServerName = "a.test"
		shake(t, config, c).works(t)
	}
	close(stop)
	<-done
}
