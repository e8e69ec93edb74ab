package tlsconf

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
)

const (
	// warnLeft is when people hear that a certificate ends: what renews itself
	// has done so before.
	warnLeft = 14 * 24 * time.Hour
	// warnShare is the part of its life that is left when people hear of it,
	// for certificates that live for days only.
	warnShare = 5
	// minRSA and maxRSA are the sizes of RSA keys, in bits, that are well:
	// clients refuse smaller ones, and larger ones make handshakes dear.
	minRSA, maxRSA = 2048, 4096
)

// Severity says how much a Finding matters.
type Severity string

const (
	// Bad: clients that verify certificates, as OBS does, refuse this one.
	Bad Severity = "error"
	// Doubtful: some clients may, or all will soon.
	Doubtful Severity = "warning"
)

// Finding is one thing about a certificate that somebody should look at.
type Finding struct {
	Certificate string // Name of a Certificate; "" if it is about none of them
	Name        string // one of LintConfig.Names that no certificate is for; else ""
	Severity    Severity
	Text        string // what is wrong, a sentence without its full stop
	Cure        string // what to do about it, likewise
}

// String gives all of it in one line.
func (f Finding) String() string {
	s := f.Text + ": " + f.Cure
	if f.Certificate == "" {
		return s
	}
	return "certificate " + f.Certificate + " " + s
}

// LintConfig is what certificates are held against.
type LintConfig struct {
	// Names are those by which clients reach the edge, as far as they are
	// known: domains, host names of listeners, servers of routes ("*.example.com").
	Names []string
	// Expected are names that get a certificate by themselves, if they have none.
	Expected []string
	Profile  Profile
	Now      time.Time      // zero: now
	Roots    *x509.CertPool // authorities that clients trust; nil: those of this system
}

// Lint looks for what makes clients refuse certificates. Those with which a
// Source cannot even begin (a key that does not match, a file that cannot be
// read) are errors of its New function.
func Lint(certs []Certificate, c LintConfig) []Finding {
	if c.Now.IsZero() {
		c.Now = time.Now()
	}
	var all []Finding
	for _, cert := range certs {
		l := linter{LintConfig: c, cert: cert}
		l.dates()
		l.chain()
		l.strength()
		l.purpose()
		l.names()
		all = append(all, l.found...)
	}
	return append(all, c.together(certs)...)
}

// worse finds something for which clients refuse a certificate, and do not
// refuse the one before. A chain counts only if the one before ends with one of
// roots (nil: this system's): else there is nothing to hold it against.
func worse(old, now Certificate, roots *x509.CertPool) (Finding, bool) {
	c := LintConfig{Now: time.Now(), Roots: roots}
	looks := []func(*linter){(*linter).dates, (*linter).strength, (*linter).purpose, (*linter).names}
	if l := (&linter{LintConfig: c, cert: old}); l.verify() == nil {
		looks = append(looks, (*linter).chain)
	}
	for _, look := range looks {
		before, after := &linter{LintConfig: c, cert: old}, &linter{LintConfig: c, cert: now}
		look(before)
		look(after)
		if i := slices.IndexFunc(after.found, isBad); i >= 0 && !slices.ContainsFunc(before.found, isBad) {
			return after.found[i], true
		}
	}
	return Finding{}, false
}

func isBad(f Finding) bool { return f.Severity == Bad }

// linter looks at one certificate.
type linter struct {
	LintConfig
	cert  Certificate
	found []Finding
}

func (l *linter) leaf() *x509.Certificate { return l.cert.Chain[0] }

func (l *linter) add(s Severity, text, cure string) {
	l.found = append(l.found, Finding{Certificate: l.cert.Name, Severity: s, Text: text, Cure: cure})
}

func (l *linter) dates() {
	leaf := l.leaf()
	left := leaf.NotAfter.Sub(l.Now)
	switch {
	case l.Now.Before(leaf.NotBefore):
		l.add(Bad, "is not valid before "+stamp(leaf.NotBefore), "wait until then, or set this machine's clock")
	case left < 0:
		l.add(Bad, "has expired at "+stamp(leaf.NotAfter), "renew it")
	case left < min(warnLeft, leaf.NotAfter.Sub(leaf.NotBefore)/warnShare):
		l.add(Doubtful, "has "+remaining(left)+" left, until "+stamp(leaf.NotAfter), "renew it; if that should happen by itself, its log says why it does not")
	}
	for _, c := range l.cert.Chain[1:] {
		if l.Now.After(c.NotAfter) {
			l.add(Bad, fmt.Sprintf("comes with an intermediate certificate that has expired at %s (%q)", stamp(c.NotAfter), c.Subject),
				"use the chain that came with the last renewal")
		}
	}
}

// remaining tells days, or hours where there are few.
func remaining(d time.Duration) string {
	if days := int(d / (24 * time.Hour)); days > 1 {
		return fmt.Sprintf("%d days", days)
	}
	return fmt.Sprintf("%d hours", int(d/time.Hour))
}

// chain finds what OBS calls an invalid certificate.
func (l *linter) chain() {
	if slices.ContainsFunc(l.cert.Chain, weakSignature) {
		return // nobody verifies that any more, crypto/x509 neither; strength tells
	}
	for i, c := range l.cert.Chain[1:] {
		if l.cert.Chain[i].CheckSignatureFrom(c) != nil {
			l.add(Doubtful, fmt.Sprintf("is followed by a chain in which certificate %d (%q) did not sign the one before it", i+2, c.Subject),
				"put the certificate first, then who signed it, then who signed that, and nothing else")
			break
		}
	}
	var unknown x509.UnknownAuthorityError
	err := l.verify()
	if !errors.As(err, &unknown) {
		return // dates and purposes are looked at apart
	}
	last := l.cert.Chain[len(l.cert.Chain)-1]
	switch {
	case len(last.IssuingCertificateURL) > 0:
		l.add(Bad, fmt.Sprintf("has an incomplete chain: it ends with %q, and the certificate of its issuer %q is missing", last.Subject, last.Issuer),
			"append it, or use the file with the whole chain (fullchain.pem); "+last.IssuingCertificateURL[0]+" has it")
	case selfIssued(last):
		l.add(Doubtful, fmt.Sprintf("is of the private authority %q", last.Subject), "every client that verifies has to be told to trust that")
	default:
		l.add(Doubtful, fmt.Sprintf("is signed by %q, which is neither in the chain nor an authority that this machine trusts", last.Issuer),
			"if that is an intermediate authority, append its certificate; if it is a private one, every client that verifies has to be told to trust it")
	}
}

func selfIssued(c *x509.Certificate) bool { return string(c.RawIssuer) == string(c.RawSubject) }

// verify does what a client does, at a time when the certificate is valid.
func (l *linter) verify() error {
	leaf, inner := l.leaf(), x509.NewCertPool()
	for _, c := range l.cert.Chain[1:] {
		inner.AddCert(c)
	}
	at := l.Now
	if at.Before(leaf.NotBefore) || at.After(leaf.NotAfter) {
		at = leaf.NotBefore
	}
	_, err := leaf.Verify(x509.VerifyOptions{
		Roots: l.Roots, Intermediates: inner, CurrentTime: at, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	})
	return err
}

func (l *linter) strength() {
	const another = "have it made again with an ECDSA key on P-256, or RSA with 2048 bits"
	switch k := l.leaf().PublicKey.(type) {
	case *rsa.PublicKey:
		switch bits := k.N.BitLen(); {
		case bits < minRSA:
			l.add(Bad, fmt.Sprintf("has a weak key: RSA with %d bits", bits), another)
		case bits > maxRSA:
			l.add(Doubtful, fmt.Sprintf("has a key that makes every handshake dear: RSA with %d bits", bits), another)
		}
	case *ecdsa.PublicKey:
		if k.Curve != elliptic.P256() && k.Curve != elliptic.P384() {
			l.add(Bad, "has a key on the curve "+k.Curve.Params().Name+", which is not spoken below TLS 1.3", another)
		}
	case ed25519.PublicKey:
		l.add(Doubtful, "has an Ed25519 key, which many clients (OBS among them) do not know", another)
	}
	for _, c := range l.cert.Chain {
		if weakSignature(c) {
			l.add(Bad, fmt.Sprintf("has a weak signature: %v on %q", c.SignatureAlgorithm, c.Subject), "have it signed again, with SHA-256")
		}
	}
}

// weakSignature overlooks roots: they are trusted for what they are, not for
// who signed them.
func weakSignature(c *x509.Certificate) bool {
	switch c.SignatureAlgorithm {
	case x509.MD2WithRSA, x509.MD5WithRSA, x509.SHA1WithRSA, x509.DSAWithSHA1, x509.ECDSAWithSHA1:
		return !selfIssued(c) || !c.IsCA
	}
	return false
}

func (l *linter) purpose() {
	usages := l.leaf().ExtKeyUsage
	if len(usages) > 0 && !slices.Contains(usages, x509.ExtKeyUsageServerAuth) && !slices.Contains(usages, x509.ExtKeyUsageAny) {
		l.add(Bad, "is not made for servers", "have one made whose extended key usage has serverAuth")
	}
	if l.leaf().IsCA {
		l.add(Doubtful, "is that of an authority, which some clients refuse from a server", "have the authority sign one for the server")
	}
}

func (l *linter) names() {
	if len(l.cert.Names) == 0 {
		l.add(Bad, "is for no name: clients look at subject alternative names only", "have one made with the server's name among them")
		return
	}
	if len(l.Names) > 0 && !slices.ContainsFunc(l.Names, func(n string) bool { return covers(l.cert.Names, n) }) {
		l.add(Doubtful, "is for "+some(l.cert.Names)+", and nothing here is reached by such a name",
			"use one for "+some(l.Names)+", or name what clients dial")
	}
}

// some is a list for people to read, not too long.
func some(names []string) string {
	const many = 5
	if len(names) > many {
		return strings.Join(names[:many], ", ") + fmt.Sprintf(" and %d more", len(names)-many)
	}
	return strings.Join(names, ", ")
}

// covers reports whether a certificate for have is good for a name. A wildcard
// among what clients dial is covered by the same wildcard, and by any name that
// it stands for.
func covers(have []string, name string) bool {
	name = strings.ToLower(strings.TrimSuffix(name, "."))
	if a, err := netip.ParseAddr(name); err == nil {
		return slices.Contains(have, a.String())
	}
	for _, h := range have {
		switch {
		case h == name:
			return true
		case strings.HasPrefix(h, "*.") && parentOf(name) == h[2:]:
			return true
		case strings.HasPrefix(name, "*.") && strings.HasSuffix(h, name[1:]):
			return true
		}
	}
	return false
}

// together finds what no single certificate is to blame for.
func (c LintConfig) together(certs []Certificate) []Finding {
	var all []Finding
	for _, name := range c.Names {
		if !covers(c.Expected, name) && !slices.ContainsFunc(certs, func(cert Certificate) bool { return covers(cert.Names, name) }) {
			all = append(all, Finding{Name: name, Severity: Bad, Text: "no certificate is for " + name, Cure: "get one with that name; until then clients that dial it refuse the connection"})
		}
	}
	if c.Profile == Legacy && !slices.ContainsFunc(certs, hasRSA) {
		all = append(all, Finding{Severity: Doubtful, Text: `profile = "legacy" has no RSA certificate`,
			Cure: "add one for the same names: without it no box that needs the RSA key exchange gets in"})
	}
	return all
}

func hasRSA(c Certificate) bool {
	_, is := c.Chain[0].PublicKey.(*rsa.PublicKey)
	return is
}
