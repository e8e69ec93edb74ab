// Package hello tells why a TLS handshake with a client failed, and what the
// client offered: who speaks TLS puts an Offer into the context, who makes the
// tls.Config has it filled in.
package hello

import (
	"context"
	"crypto/tls"
	"fmt"
	"slices"
	"strings"
)

// Offer is what a client said first. It is empty until its ClientHello was
// read, and must not be read before the handshake has ended.
type Offer struct {
	ServerName string
	Versions   []uint16
	Suites     []uint16
	Groups     []tls.CurveID
	Signatures []tls.SignatureScheme
	Protocols  []string // application protocols
}

// ACMEProtocol is what a certificate authority negotiates that looks for the
// answer to a TLS-ALPN-01 challenge (RFC 8737). Such a connection has no other
// purpose and ends after its handshake.
const ACMEProtocol = "acme-tls/1"

type key struct{}

// Expect returns a context for HandshakeContext, and the Offer that Record
// fills in.
func Expect(ctx context.Context) (context.Context, *Offer) {
	o := &Offer{}
	return context.WithValue(ctx, key{}, o), o
}

// Record keeps what a client says, if somebody expects that. It is called from
// tls.Config.GetConfigForClient.
func Record(chi *tls.ClientHelloInfo) {
	ctx := chi.Context()
	if ctx == nil { // made by hand
		return
	}
	o, ok := ctx.Value(key{}).(*Offer)
	if !ok {
		return
	}
	*o = Offer{
		ServerName: chi.ServerName,
		Versions:   chi.SupportedVersions,
		Suites:     chi.CipherSuites,
		Groups:     chi.SupportedCurves,
		Signatures: chi.SignatureSchemes,
		Protocols:  chi.SupportedProtos,
	}
}

// maxShown is how many suites, groups, signatures or protocols are told: the rest of a long
// list explains nothing, and a client may send thousands.
const maxShown = 24

// maxText is how long a text of the client's own is shown.
const maxText = 100

// String tells the offer in one line; "" if there was none.
func (o *Offer) String() string {
	if o == nil || len(o.Versions) == 0 {
		return ""
	}
	name := "no server name"
	if o.ServerName != "" {
		name = "server name " + quote(o.ServerName)
	}
	parts := []string{name, list("versions", versionNames(o.Versions)), list("suites", suiteNames(o.Suites))}
	if len(o.Groups) > 0 {
		parts = append(parts, list("groups", groupNames(o.Groups)))
	}
	if len(o.Signatures) > 0 {
		parts = append(parts, list("signatures", signatureNames(o.Signatures)))
	}
	if len(o.Protocols) > 0 {
		parts = append(parts, list("protocols", quoteAll(o.Protocols)))
	}
	return strings.Join(parts, "; ")
}

func list(what string, names []string) string {
	more := ""
	if n := len(names) - maxShown; n > 0 {
		names, more = names[:maxShown], fmt.Sprintf(" and %d more", n)
	}
	return what + " " + strings.Join(names, ", ") + more
}

// quote shows what a client wrote: it may be anything.
func quote(s string) string {
	if len(s) > maxText {
		return fmt.Sprintf("%.*q…", maxText, s)
	}
	return fmt.Sprintf("%q", s)
}

func quoteAll(texts []string) []string {
	texts = texts[:min(len(texts), maxShown+1)]
	quoted := make([]string, len(texts))
	for i, s := range texts {
		quoted[i] = quote(s)
	}
	return quoted
}

func versionNames(versions []uint16) []string {
	sorted := slices.Sorted(slices.Values(versions))
	var names []string
	for _, v := range sorted {
		if !grease(v) {
			names = append(names, strings.TrimPrefix(tls.VersionName(v), "TLS "))
		}
	}
	return names
}

func suiteNames(suites []uint16) []string {
	var names []string
	for _, s := range suites {
		if !grease(s) && !signal(s) {
			names = append(names, strings.TrimPrefix(tls.CipherSuiteName(s), "TLS_"))
		}
	}
	return names
}

func groupNames(groups []tls.CurveID) []string {
	var names []string
	for _, g := range groups {
		if !grease(uint16(g)) {
			names = append(names, strings.TrimPrefix(g.String(), "Curve"))
		}
	}
	return names
}

func signatureNames(schemes []tls.SignatureScheme) []string {
	var names []string
	for _, s := range schemes {
		if !grease(uint16(s)) {
			names = append(names, s.String())
		}
	}
	return names
}

// grease are numbers that mean nothing and keep servers from choking on what
// is new (RFC 8701).
func grease(n uint16) bool { return n&0x0f0f == 0x0a0a && n>>8 == n&0xff }

// signal are suites that are none: they say something about renegotiation (RFC
// 5746) and fallback (RFC 7507).
func signal(suite uint16) bool { return suite == 0x00ff || suite == tls.TLS_FALLBACK_SCSV }
