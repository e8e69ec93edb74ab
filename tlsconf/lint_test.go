package tlsconf

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"strings"
	"testing"
	"time"
)

// lintNow is when all this happens.
var lintNow = time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)

// made is a certificate and who signed it.
type made struct {
	key crypto.Signer
	x   *x509.Certificate
}

func makeOne(t *testing.T, by *made, change func(*x509.Certificate, *crypto.Signer)) *made {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	m := &made{key: key}
	m.x = &x509.Certificate{
		Subject: pkix.Name{CommonName: "leaf"}, DNSNames: []string{"live.test"},
		NotBefore: lintNow.AddDate(0, 0, -30), NotAfter: lintNow.AddDate(0, 0, 60), BasicConstraintsValid: true,
	}
	if change != nil {
		change(m.x, &m.key)
	}
	parent, parentKey := m.x, m.key
	if by != nil {
		parent, parentKey = by.x, by.key
	}
	der, err := x509.CreateCertificate(rand.Reader, m.x, parent, m.key.Public(), parentKey)
	if err != nil {
		t.Fatal(err)
	}
	if m.x, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	return m
}

func authorityNamed(name string) func(*x509.Certificate, *crypto.Signer) {
	return func(c *x509.Certificate, _ *crypto.Signer) {
		c.Subject = pkix.Name{CommonName: name}
		c.DNSNames, c.IsCA, c.KeyUsage = nil, true, x509.KeyUsageCertSign
	}
}

func chainOf(list ...*made) Certificate {
	c := tls.Certificate{Leaf: list[0].x}
	for _, m := range list {
		c.Certificate = append(c.Certificate, m.x.Raw)
	}
	return describe(&c)
}

func TestLint(t *testing.T) {
	root := makeOne(t, nil, authorityNamed("root"))
	public := makeOne(t, root, func(c *x509.Certificate, k *crypto.Signer) {
		authorityNamed("intermediate")(c, k)
		c.IssuingCertificateURL = []string{"http://ca.test/root.der"}
	})
	expired := makeOne(t, root, func(c *x509.Certificate, k *crypto.Signer) {
		authorityNamed("expired intermediate")(c, k)
		c.NotAfter = lintNow.Add(-time.Hour)
	})
	stranger := makeOne(t, nil, authorityNamed("stranger"))
	leaf := func(change func(*x509.Certificate, *crypto.Signer)) Certificate {
		return chainOf(makeOne(t, public, change), public)
	}
	withKey := func(key crypto.Signer, err error) Certificate {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return leaf(func(_ *x509.Certificate, k *crypto.Signer) { *k = key })
	}
	rsaKey := func(bits int) Certificate { k, err := rsa.GenerateKey(rand.Reader, bits); return withKey(k, err) }
	ecKey := func(c elliptic.Curve) Certificate {
		k, err := ecdsa.GenerateKey(c, rand.Reader)
		return withKey(k, err)
	}
	good := makeOne(t, public, func(c *x509.Certificate, _ *crypto.Signer) {
		c.IssuingCertificateURL = []string{"http://ca.test/inter.der"}
	})
	_, edKey, err := ed25519.GenerateKey(rand.Reader)
	for name, test := range map[string]struct {
		cert  Certificate
		names []string
		want  []string // severity, and parts of the finding
	}{
		"good":               {chainOf(good, public), []string{"live.test"}, nil},
		"good with its root": {chainOf(good, public, root), nil, nil},
		"good RSA":           {rsaKey(2048), nil, nil},
		"no chain":           {chainOf(good), nil, []string{`error has an incomplete chain|ends with "CN=leaf"|issuer "CN=intermediate" is missing|http://ca.test/inter.der`}},
		"another's chain": {chainOf(good, stranger), nil, []string{
			`warning certificate 2 ("CN=stranger") did not sign`, `warning is of the private authority "CN=stranger"`}},
		"chain out of order": {chainOf(good, root, public), nil, []string{`warning certificate 2 ("CN=root") did not sign`}},
		"private authority":  {chainOf(makeOne(t, stranger, nil), stranger), nil, []string{`warning is of the private authority "CN=stranger"`}},
		"private, no chain":  {chainOf(makeOne(t, stranger, nil)), nil, []string{`warning is signed by "CN=stranger"|neither in the chain`}},
		"self-signed":        {chainOf(makeOne(t, nil, nil)), nil, []string{`warning is of the private authority "CN=leaf"`}},
		"expired in chain":   {chainOf(makeOne(t, expired, nil), expired), nil, []string{`error intermediate certificate that has expired at 2026-06-01T11:00:00Z ("CN=expired intermediate")`}},
		"not yet":            {leaf(func(c *x509.Certificate, _ *crypto.Signer) { c.NotBefore = lintNow.Add(time.Hour) }), nil, []string{"error is not valid before 2026-06-01T13:00:00Z"}},
		"expired":            {leaf(func(c *x509.Certificate, _ *crypto.Signer) { c.NotAfter = lintNow.Add(-time.Second) }), nil, []string{"error has expired at 2026-06-01T11:59:59Z|renew it"}},
		"ends in days": {leaf(func(c *x509.Certificate, _ *crypto.Signer) {
			c.NotAfter = lintNow.Add(warnLeft - 1)
			c.NotBefore = lintNow.AddDate(-1, 0, 0)
		}), nil, []string{"warning has 13 days left"}},
		"ends not so soon": {leaf(func(c *x509.Certificate, _ *crypto.Signer) {
			c.NotAfter = lintNow.Add(warnLeft)
			c.NotBefore = lintNow.AddDate(-1, 0, 0)
		}), nil, nil},
		"lives for six days": {leaf(func(c *x509.Certificate, _ *crypto.Signer) {
			c.NotBefore, c.NotAfter = lintNow.Add(-80*time.Hour), lintNow.Add(64*time.Hour)
		}), nil, nil},
		"lives for hours": {leaf(func(c *x509.Certificate, _ *crypto.Signer) {
			c.NotBefore, c.NotAfter = lintNow.Add(-120*time.Hour), lintNow.Add(24*time.Hour)
		}), nil, []string{"warning has 24 hours left"}},
		"RSA 1024": {rsaKey(1024), nil, []string{"error has a weak key: RSA with 1024 bits|P-256"}},
		"P-224":    {ecKey(elliptic.P224()), nil, []string{"error curve P-224"}},
		"P-384":    {ecKey(elliptic.P384()), nil, nil},
		"P-521":    {ecKey(elliptic.P521()), nil, []string{"error curve P-521"}},
		"Ed25519":  {withKey(edKey, err), nil, []string{"warning has an Ed25519 key"}},
		"for clients": {leaf(func(c *x509.Certificate, _ *crypto.Signer) {
			c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
		}), nil, []string{"error is not made for servers"}},
		"for servers": {leaf(func(c *x509.Certificate, _ *crypto.Signer) {
			c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
		}), nil, nil},
		"an authority":     {chainOf(public), []string{}, []string{"error is for no name", "warning is that of an authority"}},
		"no name":          {leaf(func(c *x509.Certificate, _ *crypto.Signer) { c.DNSNames = nil }), []string{"leaf"}, []string{"error is for no name", "error no certificate is for leaf"}},
		"another name":     {leaf(nil), []string{"other.test", "live.test."}, []string{"error no certificate is for other.test"}},
		"no name that is":  {leaf(nil), []string{"other.test"}, []string{"error no certificate is for other.test", "warning is for live.test, and nothing here is reached by such a name|use one for other.test"}},
		"address":          {leaf(func(c *x509.Certificate, _ *crypto.Signer) { setNames(c, []string{"192.0.2.1", "2001:db8::1"}) }), []string{"192.0.2.1", "2001:DB8:0::1"}, nil},
		"wildcard":         {leaf(func(c *x509.Certificate, _ *crypto.Signer) { c.DNSNames = []string{"*.test"} }), []string{"live.test", "*.test"}, nil},
		"too wild":         {leaf(func(c *x509.Certificate, _ *crypto.Signer) { c.DNSNames = []string{"*.test"} }), []string{"a.live.test", "b.test"}, []string{"error no certificate is for a.live.test"}},
		"route's wildcard": {leaf(nil), []string{"*.test"}, nil},
		"another wildcard": {leaf(nil), []string{"live.test", "*.example"}, []string{"error no certificate is for *.example"}},
	} {
		t.Run(name, func(t *testing.T) {
			roots := x509.NewCertPool()
			roots.AddCert(root.x)
			got := Lint([]Certificate{test.cert}, LintConfig{Names: test.names, Now: lintNow, Roots: roots})
			if len(got) != len(test.want) {
				t.Fatalf("%d findings, want %d: %v", len(got), len(test.want), got)
			}
			for _, want := range test.want {
				if !anyFinding(got, want) {
					t.Errorf("%s is not in %v", want, got)
				}
			}
		})
	}
}

func anyFinding(all []Finding, want string) bool {
	for _, f := range all {
		s := string(f.Severity) + " " + f.String()
		well := strings.HasPrefix(want, string(f.Severity)) && f.Cure != "" && !strings.HasSuffix(f.Cure, ".")
		_, parts, _ := strings.Cut(want, " ")
		for _, part := range strings.Split(parts, "|") {
			well = well && strings.Contains(s, part)
		}
		if well {
			return true
		}
	}
	return false
}

func TestLintWeakSignature(t *testing.T) {
	weak := &x509.Certificate{SignatureAlgorithm: x509.SHA1WithRSA, RawIssuer: []byte("ca"), RawSubject: []byte("leaf"), PublicKey: &rsa.PublicKey{N: new(big.Int).Lsh(big.NewInt(1), 2047)}}
	root := &x509.Certificate{SignatureAlgorithm: x509.SHA1WithRSA, RawIssuer: []byte("ca"), RawSubject: []byte("ca"), IsCA: true}
	l := linter{cert: Certificate{Chain: []*x509.Certificate{weak, root}}}
	l.strength()
	if len(l.found) != 1 || !anyFinding(l.found, "error has a weak signature: SHA1-RSA") {
		t.Error(l.found)
	}
}

func TestLintLegacy(t *testing.T) {
	ec, err := NewSelfSigned(SelfSignedConfig{})
	if err != nil {
		t.Fatal(err)
	}
	got := Lint(ec.Certificates(), LintConfig{Profile: Legacy})
	if !anyFinding(got, `warning profile = "legacy" has no RSA certificate`) {
		t.Error(got)
	}
	both, err := NewSelfSigned(SelfSignedConfig{Options: Options{Profile: Legacy}})
	if err != nil {
		t.Fatal(err)
	}
	got = Lint(both.Certificates(), LintConfig{Profile: Legacy})
	if len(got) != 2 || got[0].Certificate == got[1].Certificate { // both of a private authority
		t.Error(got)
	}
}
