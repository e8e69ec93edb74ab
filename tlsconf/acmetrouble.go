package tlsconf

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strings"

	acmez "github.com/mholt/acmez/v3/acme"
	"golang.org/x/crypto/acme"
)

// trouble is why there is no certificate, in words, and what to do about it.
type trouble struct{ why, cure string }

// problem is what an authority answered (RFC 7807, RFC 8555 §6.7).
type problem struct {
	kind   string // what follows "urn:ietf:params:acme:error:"
	detail string
}

const problemPrefix = "urn:ietf:params:acme:error:"

// maxDetail is how much of an authority's answer is shown.
const maxDetail = 300

func (p problem) String() string { return fmt.Sprintf("%s: %.*q", p.kind, maxDetail, p.detail) }

// problemError lets a problem that was seen on the wire be an error.
type problemError struct{ problem }

func (p problemError) Error() string { return p.String() }

// problemCures are for each kind of problem (RFC 8555 §6.7).
var problemCures = map[string]string{
	"connection":              "the authority has to reach port 443 of the domain (and 80, where http_address is set), whatever port encoders use: point the domain's DNS here and let the firewall forward that port to an RTMPS listener",
	"dns":                     "the domain needs an A or AAAA record that leads here",
	"unauthorized":            "something else answers for the domain: its DNS must lead here, and nothing in between may end TLS",
	"incorrectResponse":       "something else answers for the domain: its DNS must lead here, and nothing in between may end TLS",
	"tls":                     "something else answers on port 443 of the domain: it must lead to an RTMPS listener, and nothing in between may end TLS",
	"caa":                     "a CAA record of the domain keeps this authority out: add one for it, or take the record away",
	"rateLimited":             "the authority counts what it does for a domain: wait, as restarts make it worse; use its staging directory to try things out",
	"rejectedIdentifier":      "this authority gives out no certificate for that name: use another name or another authority",
	"unsupportedIdentifier":   "this authority gives out no certificate for that name: use another name or another authority",
	"externalAccountRequired": "the authority wants to know its customer: set eab_key_id and eab_mac_key_file",
	"invalidContact":          "the authority does not take this email: correct it, or leave it empty",
	"unsupportedContact":      "the authority does not take this email: correct it, or leave it empty",
	"userActionRequired":      "the authority wants its terms agreed to: see its answer",
	"malformed":               "see the authority's answer; with eab_key_id: the key may have been used or withdrawn",
	"serverInternal":          "the authority has trouble of its own: nothing to do but wait",
}

// explainACME turns an error of either ACME library into words.
func explainACME(err error) trouble {
	if p, ok := problemOf(err); ok {
		cure := problemCures[p.kind]
		if cure == "" {
			cure = "see the authority's answer"
		}
		return trouble{"the authority says " + p.String(), cure}
	}
	if t, ok := explainNetwork(err); ok {
		return t
	}
	if path := (*fs.PathError)(nil); errors.As(err, &path) || strings.Contains(err.Error(), "failed storage check") {
		return trouble{"the storage cannot be used: " + err.Error(), "let the user that the edge runs as own the storage directory, and see that its disk is not full"}
	}
	return trouble{err.Error(), "see whether directory is an ACME directory; the log at level trace has all that was said"}
}

// problemOf finds the innermost answer of an authority: the reason.
func problemOf(err error) (problem, bool) {
	var (
		seen  problemError
		z     acmez.Problem
		e     *acme.Error
		order *acme.OrderError
		authz *acme.AuthorizationError
	)
	switch {
	case errors.As(err, &seen):
		return seen.problem, true
	case errors.As(err, &z):
		for _, sub := range z.Subproblems {
			return newProblem(sub.Type, sub.Detail), true
		}
		return newProblem(z.Type, z.Detail), true
	case errors.As(err, &authz):
		for _, inner := range authz.Errors {
			if p, ok := problemOf(inner); ok {
				return p, true
			}
		}
	case errors.As(err, &order) && order.Problem != nil:
		return problemOf(order.Problem)
	case errors.As(err, &e):
		for _, sub := range e.Subproblems {
			return newProblem(sub.Type, sub.Detail), true
		}
		return newProblem(e.ProblemType, e.Detail), e.ProblemType != ""
	}
	return problem{}, false
}

func newProblem(kind, detail string) problem {
	kind = strings.TrimPrefix(kind, problemPrefix)
	if len(kind) > maxDetail {
		kind = kind[:maxDetail]
	}
	return problem{kind: strings.Map(printable, kind), detail: detail}
}

func printable(r rune) rune {
	if r < ' ' || r == 0x7f {
		return -1
	}
	return r
}

// explainNetwork knows errors on the way to the authority.
func explainNetwork(err error) (trouble, bool) {
	var (
		unknown x509.UnknownAuthorityError
		name    x509.HostnameError
		dns     *net.DNSError
		op      *net.OpError
	)
	switch {
	case errors.As(err, &unknown):
		return trouble{"the certificate of the authority's own server is not believed: " + err.Error(),
			"for a private authority set directory_ca to the PEM of who signed that; for a public one this machine needs its bundle of authorities (package ca-certificates)"}, true
	case errors.As(err, &name):
		return trouble{"the authority's own server has a certificate for another name: " + err.Error(), "correct the host in directory"}, true
	case errors.As(err, &dns):
		return trouble{"the authority's name cannot be resolved: " + err.Error(), "see the name in directory, and this machine's DNS"}, true
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded), errors.As(err, &op):
		return trouble{"the authority cannot be reached: " + err.Error(), "see this machine's way out: firewall, route, HTTPS_PROXY; or the authority is down"}, true
	}
	return trouble{}, false
}
