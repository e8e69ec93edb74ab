package probe

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net"
	"strings"
	"testing"
	"time"
)

// authority signs certificates for tests.
type authority struct {
	tls.Certificate
	above [][]byte // the chain from it up to below the root
}

// leaf is what a certificate is to be like.
type leaf struct {
	names  []string
	from   time.Duration // from now; 0 = an hour ago
	until  time.Duration // from now; 0 = in a bit less than 90 days
	usage  x509.ExtKeyUsage
	aia    string
	issuer bool // it is an authority itself
}

const day = 24 * time.Hour

func newAuthority(t *testing.T, name string) *authority {
	t.Helper()
	return &authority{Certificate: make509(t, nil, leaf{names: []string{name}, until: 3650 * day, issuer: true})}
}

// make509 makes a certificate, signed by by or by itself.
func make509(t *testing.T, by *tls.Certificate, l leaf) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if l.from == 0 {
		l.from = -time.Hour
	}
	if l.until == 0 {
		l.until = 90*day - time.Minute
	}
	if l.usage == 0 {
		l.usage = x509.ExtKeyUsageServerAuth
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: l.names[0]},
		NotBefore: time.Now().Add(l.from), NotAfter: time.Now().Add(l.until), KeyUsage: x509.KeyUsageDigitalSignature}
	if l.issuer {
		c.IsCA, c.BasicConstraintsValid, c.KeyUsage = true, true, x509.KeyUsageCertSign
	} else {
		c.ExtKeyUsage = []x509.ExtKeyUsage{l.usage}
		for _, n := range l.names {
			if ip := net.ParseIP(n); ip != nil {
				c.IPAddresses = append(c.IPAddresses, ip)
			} else if n != "" {
				c.DNSNames = append(c.DNSNames, n)
			}
		}
	}
	if l.aia != "" {
		c.IssuingCertificateURL = []string{l.aia}
	}
	parent, signer := c, any(key)
	if by != nil {
		parent, signer = by.Leaf, by.PrivateKey
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, &key.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: parsed}
}

// intermediate makes an authority below a.
func (a *authority) intermediate(t *testing.T, l leaf) *authority {
	t.Helper()
	l.issuer = true
	c := make509(t, &a.Certificate, l)
	return &authority{Certificate: c, above: append([][]byte{c.Certificate[0]}, a.above...)}
}

// issue makes a certificate with its whole chain.
func (a *authority) issue(t *testing.T, l leaf) tls.Certificate {
	t.Helper()
	c := make509(t, &a.Certificate, l)
	c.Certificate = append(c.Certificate, a.above...)
	return c
}

func (a *authority) server(t *testing.T, l leaf) *tls.Config {
	t.Helper()
	return &tls.Config{Certificates: []tls.Certificate{a.issue(t, l)}}
}

func (a *authority) pool() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(a.Leaf)
	return p
}

func chainOf(t *testing.T, list ...[]byte) (chain []*x509.Certificate) {
	t.Helper()
	for _, der := range list {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		chain = append(chain, c)
	}
	return chain
}

func TestCertificates(t *testing.T) {
	t.Parallel()
	root := newAuthority(t, "root")
	inner := root.intermediate(t, leaf{names: []string{"inner"}, until: 365 * day})
	gone := root.intermediate(t, leaf{names: []string{"gone"}, from: -20 * day, until: -10 * day})
	good := leaf{names: []string{"edge.test"}}
	self := make509(t, nil, good)
	whole := inner.issue(t, good).Certificate
	withAIA := good
	withAIA.aia = "http://ca.test/inner.crt"
	const many = "a.test b.test c.test d.test e.test f.test g.test"
	for name, c := range map[string]struct {
		chain   [][]byte
		host    string
		problem Problem // of a failure; "" = none
		doubt   Problem // of a warning; "" = none
		words   []string
	}{
		"good":               {chain: whole},
		"good by wildcard":   {chain: inner.issue(t, leaf{names: []string{"*.test"}}).Certificate},
		"a name in capitals": {chain: whole, host: "EDGE.test"},
		"wrong name":         {chain: whole, host: "other.test", problem: WrongName, words: []string{"is for edge.test, not for other.test", "a certificate for other.test"}},
		"many wrong names":   {chain: inner.issue(t, leaf{names: strings.Fields(many)}).Certificate, problem: WrongName, words: []string{"e.test and 2 more"}},
		"no name":            {chain: inner.issue(t, leaf{names: []string{""}}).Certificate, problem: WrongName, words: []string{"no name at all"}},
		"a hostile name":     {chain: inner.issue(t, leaf{names: []string{"x\x1b[2J.test"}}).Certificate, problem: WrongName, words: []string{`x\x1b[2J.test`}},
		"expired":            {chain: inner.issue(t, leaf{names: good.names, from: -90 * day, until: -day}).Certificate, problem: Expired, words: []string{"Renew it"}},
		"not yet valid":      {chain: inner.issue(t, leaf{names: good.names, from: day}).Certificate, problem: NotYetValid, words: []string{"clocks"}},
		"incomplete, and says where to find the rest": {chain: inner.issue(t, withAIA).Certificate[:1], problem: IncompleteChain,
			words: []string{`"inner" is missing`, "fullchain.pem", "http://ca.test/inner.crt"}},
		"incomplete":             {chain: whole[:1], problem: UnknownIssuer, words: []string{`"inner"`, "fullchain.pem", "--ca"}},
		"another authority":      {chain: newAuthority(t, "private").issue(t, good).Certificate, problem: UnknownIssuer, words: []string{`"private"`}},
		"another whole chain":    {chain: withRoot(t, newAuthority(t, "private"), good), problem: UnknownAuthority, words: []string{`"private"`, "--ca"}},
		"self-signed":            {chain: self.Certificate, problem: UnknownAuthority, words: []string{"self-signed"}},
		"an expired inner":       {chain: gone.issue(t, good).Certificate, problem: Expired, words: []string{`"gone"`, "last renewal"}},
		"not for servers":        {chain: inner.issue(t, leaf{names: good.names, usage: x509.ExtKeyUsageCodeSigning}).Certificate, problem: NotForServers, words: []string{"serverAuth"}},
		"none":                   {chain: nil, problem: BadCertificate},
		"two faults at once (1)": {chain: self.Certificate, host: "other.test", problem: WrongName},
		"two faults at once (2)": {chain: self.Certificate, host: "other.test", problem: UnknownAuthority},
		"expired and incomplete": {chain: inner.issue(t, leaf{names: good.names, from: -90 * day, until: -day, aia: withAIA.aia}).Certificate[:1], problem: IncompleteChain},
		"ends soon":              {chain: inner.issue(t, leaf{names: good.names, from: -80 * day, until: 10 * day}).Certificate, doubt: EndsSoon},
		"lives for days only":    {chain: inner.issue(t, leaf{names: good.names, from: -day, until: 5 * day}).Certificate},
		"out of order":           {chain: append(whole[:1:1], root.Certificate.Certificate[0], whole[1]), doubt: ChainOrder, words: []string{"certificate 2", `"root"`}},
		"by address":             {chain: inner.issue(t, leaf{names: []string{"192.0.2.1"}}).Certificate, host: "192.0.2.1", doubt: ByAddress, words: []string{"OBS"}},
	} {
		t.Run(name, func(t *testing.T) {
			host := c.host
			if host == "" {
				host = "edge.test"
			}
			s := judge(chainOf(t, c.chain...), host, root.pool(), time.Now())
			filled(&s, Target{Host: host, Port: "1936"})
			switch {
			case c.problem == "" && len(s.Failures) > 0, c.doubt == "" && len(s.Warnings) > 0:
				t.Errorf("%+v", s)
			case c.problem != "" && !finds(s.Failures, c.problem, c.words):
				t.Errorf("%+v, want %s %q", s.Failures, c.problem, c.words)
			case c.doubt != "" && !finds(s.Warnings, c.doubt, c.words):
				t.Errorf("%+v, want %s %q", s.Warnings, c.doubt, c.words)
			case c.problem == "" && !strings.Contains(s.Detail, "good for "+host):
				t.Errorf("%q", s.Detail)
			}
		})
	}
}

func withRoot(t *testing.T, a *authority, l leaf) [][]byte {
	t.Helper()
	return append(a.issue(t, l).Certificate, a.Certificate.Certificate[0])
}

// filled adds the cures, as the end of a step does.
func filled(s *Step, target Target) {
	p := &prober{Config: Config{Target: target, Heard: func(done Step) { *s = done }}, begin: time.Now()}
	p.end(*s)
}
