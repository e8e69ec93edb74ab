package probe

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"rtmps-edge/internal/terminal"
)

const (
	// warnLeft is when a certificate's end is worth a word: what renews itself
	// has done so before.
	warnLeft = 14 * 24 * time.Hour
	// warnShare is the part of its life that is left then, for certificates
	// that live for days only.
	warnShare = 5
	// manyNames are not all repeated.
	manyNames = 5
)

// judge says what encoders that verify certificates, as OBS does, make of these.
// All faults are found in one go.
func judge(chain []*x509.Certificate, host string, roots *x509.CertPool, now time.Time) Step {
	s := Step{Name: stepCertificate}
	if len(chain) == 0 {
		s.Failures = []Finding{{Problem: BadCertificate, Text: "the server shows none"}}
		return s
	}
	leaf := chain[0]
	days := int(leaf.NotAfter.Sub(now).Hours() / 24)
	s.NotAfter, s.DaysLeft = &leaf.NotAfter, &days
	s.Failures = slices.Concat(dates(leaf, now), names(leaf, host), path(chain, roots, now))
	if len(s.Failures) > 0 {
		return s
	}
	s.Detail = fmt.Sprintf("good for %s, %d days left, by %s", host, days, name(leaf.Issuer.CommonName, leaf.Issuer.String()))
	s.Warnings = slices.Concat(ending(leaf, now), order(chain), address(host))
	return s
}

// name is a part of a certificate that can be shown.
func name(common, whole string) string {
	if common == "" {
		common = whole
	}
	return terminal.Plain(common)
}

func subject(c *x509.Certificate) string {
	return name(c.Subject.CommonName, c.Subject.String())
}

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 MST") }

func dates(leaf *x509.Certificate, now time.Time) []Finding {
	switch {
	case now.Before(leaf.NotBefore):
		return []Finding{{Problem: NotYetValid, Text: "it is not valid before " + stamp(leaf.NotBefore)}}
	case now.After(leaf.NotAfter):
		return []Finding{{Problem: Expired, Text: "it has expired at " + stamp(leaf.NotAfter)}}
	}
	return nil
}

func names(leaf *x509.Certificate, host string) []Finding {
	if leaf.VerifyHostname(host) == nil {
		return nil
	}
	var have []string
	for _, n := range leaf.DNSNames {
		have = append(have, terminal.Plain(n))
	}
	for _, a := range leaf.IPAddresses {
		have = append(have, a.String())
	}
	text := "it is for no name at all: encoders look at subject alternative names only"
	if n := len(have); n > manyNames {
		text = fmt.Sprintf("it is for %s and %d more, not for %s", strings.Join(have[:manyNames], ", "), n-manyNames, host)
	} else if n > 0 {
		text = fmt.Sprintf("it is for %s, not for %s", strings.Join(have, ", "), host)
	}
	return []Finding{{Problem: WrongName, Text: text}}
}

// path looks for a way to an authority that is trusted, at a time when the leaf
// is valid: its own dates are judged apart.
func path(chain []*x509.Certificate, roots *x509.CertPool, now time.Time) []Finding {
	leaf, inner := chain[0], x509.NewCertPool()
	for _, c := range chain[1:] {
		inner.AddCert(c)
	}
	if now.Before(leaf.NotBefore) || now.After(leaf.NotAfter) {
		now = leaf.NotAfter
	}
	_, err := leaf.Verify(x509.VerifyOptions{Roots: roots, Intermediates: inner, CurrentTime: now})
	var unknown x509.UnknownAuthorityError
	var invalid x509.CertificateInvalidError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &unknown):
		return []Finding{untrusted(chain)}
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return []Finding{{Problem: Expired, Text: fmt.Sprintf("%q in its chain has expired at %s", subject(invalid.Cert), stamp(invalid.Cert.NotAfter)),
			Cure: "Send the chain that came with the last renewal."}}
	case errors.As(err, &invalid) && invalid.Reason == x509.IncompatibleUsage:
		return []Finding{{Problem: NotForServers, Text: "it is not made for servers"}}
	}
	return []Finding{{Problem: BadCertificate, Text: terminal.Plain(err.Error())}}
}

// untrusted tells a chain that lacks a part from one that ends at an authority
// that is not trusted.
func untrusted(chain []*x509.Certificate) Finding {
	last := chain[len(chain)-1]
	issuer := name(last.Issuer.CommonName, last.Issuer.String())
	switch {
	case selfIssued(last) && len(chain) == 1:
		return Finding{Problem: UnknownAuthority, Text: "it is self-signed"}
	case selfIssued(last):
		return Finding{Problem: UnknownAuthority, Text: fmt.Sprintf("it is by %q, an authority that is not trusted here", issuer)}
	case len(last.IssuingCertificateURL) > 0:
		return Finding{Problem: IncompleteChain, Text: fmt.Sprintf("the chain is incomplete: the certificate of %q is missing", issuer),
			Cure: "Let the server send the whole chain (fullchain.pem); the missing part is at " + terminal.Plain(last.IssuingCertificateURL[0]) + ". Browsers fetch it by themselves, encoders do not."}
	}
	return Finding{Problem: UnknownIssuer, Text: fmt.Sprintf("it is signed by %q, which is neither in the chain nor trusted here", issuer)}
}

func selfIssued(c *x509.Certificate) bool { return string(c.RawIssuer) == string(c.RawSubject) }

func ending(leaf *x509.Certificate, now time.Time) []Finding {
	left := leaf.NotAfter.Sub(now)
	if left >= min(warnLeft, leaf.NotAfter.Sub(leaf.NotBefore)/warnShare) {
		return nil
	}
	return []Finding{{Problem: EndsSoon, Text: "it ends at " + stamp(leaf.NotAfter)}}
}

// order finds chains that Go puts right and others do not.
func order(chain []*x509.Certificate) []Finding {
	for i, c := range chain[1:] {
		if chain[i].CheckSignatureFrom(c) != nil {
			return []Finding{{Problem: ChainOrder, Text: fmt.Sprintf("certificate %d of the chain (%q) did not sign the one before it", i+2, subject(c))}}
		}
	}
	return nil
}

func address(host string) []Finding {
	if _, err := netip.ParseAddr(host); err != nil {
		return nil
	}
	return []Finding{{Problem: ByAddress, Text: "the server is named by its address, and OBS compares names only"}}
}
