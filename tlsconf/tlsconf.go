// Package tlsconf is where the edge's certificates come from and what of TLS
// it speaks. A Source gives a *tls.Config whose certificate is picked anew in
// each handshake: a certificate that was renewed or read again serves the next
// client, and no running connection hears of it.
//
// # Profiles
//
// Modern is TLS 1.3 only.
//
// Encoder is TLS 1.3 and 1.2: what OBS, ffmpeg, GStreamer and the encoders of
// the last ten years speak.
//
// Legacy adds TLS 1.1 and 1.0 and the RSA key exchange, for boxes that know
// nothing better. The RSA key exchange needs an RSA certificate.
//
// TLS 1.3 has these suites in every profile:
//
//	TLS_AES_128_GCM_SHA256
//	TLS_AES_256_GCM_SHA384
//	TLS_CHACHA20_POLY1305_SHA256
//
// Encoder has these below TLS 1.3, each for ECDSA and for RSA certificates:
//
//	TLS_ECDHE_*_WITH_AES_128_GCM_SHA256
//	TLS_ECDHE_*_WITH_AES_256_GCM_SHA384
//	TLS_ECDHE_*_WITH_CHACHA20_POLY1305_SHA256
//	TLS_ECDHE_*_WITH_AES_128_CBC_SHA
//	TLS_ECDHE_*_WITH_AES_256_CBC_SHA
//
// Legacy has those, and without forward secrecy:
//
//	TLS_RSA_WITH_AES_128_GCM_SHA256
//	TLS_RSA_WITH_AES_256_GCM_SHA384
//	TLS_RSA_WITH_AES_128_CBC_SHA
//	TLS_RSA_WITH_AES_256_CBC_SHA
//
// Signatures with SHA-1, which the handshakes of some TLS 1.2 clients that are
// for Legacy need, crypto/tls has only where GODEBUG has tlssha1=1, for the
// whole process: it is the program that sets it.
//
// 3DES, RC4 and the CBC suites with SHA-256 are in none: whoever knows them
// knows one of the above. Which suite is used follows crypto/tls: an AEAD with
// forward secrecy first, AES or ChaCha20 by what the machines are fast at.
//
// Keys are exchanged with X25519MLKEM768, SecP256r1MLKEM768 or
// SecP384r1MLKEM1024 (hybrid, against quantum computers to come) where the
// client offers one, else X25519, P-256 or P-384. P-521 is left out: some
// clients (mbedTLS 2.28, in OBS 29) name it first, and it costs many times as
// much as the others.
//
// No application protocol is negotiated. A client that offers some ("h2") gets
// none of them, and its handshake goes on.
//
// Session tickets are off unless Options ask for them: clients built on librtmp
// and OBS builds with mbedTLS 3.6 break on those of TLS 1.3.
package tlsconf

import (
	"context"
	"crypto/tls"
	"io"

	"github.com/sirupsen/logrus"
)

// Source is where certificates come from. Each source also has Certificates
// (what it serves) and Watch (keeps that current; run it once).
type Source interface {
	// TLSConfig returns a config for servers, which the caller owns. It is
	// never nil. It follows the source: what Reload or a renewal brings
	// serves the handshakes that begin later.
	TLSConfig() *tls.Config
	// Reload reads or makes again what the source is made of. An error
	// changes nothing.
	Reload(context.Context) error
}

// Options are what all sources have in common.
type Options struct {
	Profile Profile // "" = Encoder
	// SessionTickets lets clients resume TLS sessions.
	SessionTickets bool
	// ClientCA is a file, a PEM bundle of the authorities whose client
	// certificates are believed. It is needed unless ClientAuth is off.
	ClientCA   string
	ClientAuth ClientAuth     // "" = Off
	Log        *logrus.Logger // nil: nobody hears
}

func (o Options) withDefaults() Options {
	if o.Profile == "" {
		o.Profile = Encoder
	}
	if o.ClientAuth == "" {
		o.ClientAuth = Off
	}
	if o.Log == nil {
		o.Log = logrus.New()
		o.Log.SetOutput(io.Discard)
	}
	return o
}

// ClientAuth says whether clients have to show a certificate.
type ClientAuth string

// Values of ClientAuth.
const (
	Off      ClientAuth = "off"
	Optional ClientAuth = "optional" // none is fine, a wrong one is not
	Required ClientAuth = "required"
)

// Valid reports whether a is one of the values above, or "".
func (a ClientAuth) Valid() bool { return a == "" || a == Off || a == Optional || a == Required }

func (a ClientAuth) tls() tls.ClientAuthType {
	switch a {
	case Optional:
		return tls.VerifyClientCertIfGiven
	case Required:
		return tls.RequireAndVerifyClientCert
	}
	return tls.NoClientCert
}
