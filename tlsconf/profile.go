package tlsconf

import (
	"crypto/tls"
	"slices"
)

// Profile says which versions and suites of TLS are spoken. The package's
// documentation lists them.
type Profile string

// Values of Profile.
const (
	Modern  Profile = "modern"
	Encoder Profile = "encoder"
	Legacy  Profile = "legacy"
)

// Valid reports whether p is one of the values above, or "", which means
// Encoder.
func (p Profile) Valid() bool { return p == "" || p == Modern || p == Encoder || p == Legacy }

// forwardSecret are the suites below TLS 1.3 that Encoder and Legacy have.
var forwardSecret = []uint16{
	tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
	tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
	tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
	tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
	tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
	tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
	tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA,
	tls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA,
	tls.TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA,
	tls.TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA,
}

// rsaExchange are the suites that only Legacy has. They must be named: Go does
// not use them otherwise.
var rsaExchange = []uint16{
	tls.TLS_RSA_WITH_AES_128_GCM_SHA256,
	tls.TLS_RSA_WITH_AES_256_GCM_SHA384,
	tls.TLS_RSA_WITH_AES_128_CBC_SHA,
	tls.TLS_RSA_WITH_AES_256_CBC_SHA,
}

// keyExchanges leave P-521 out; see the package's documentation.
var keyExchanges = []tls.CurveID{
	tls.X25519MLKEM768,
	tls.SecP256r1MLKEM768,
	tls.SecP384r1MLKEM1024,
	tls.X25519,
	tls.CurveP256,
	tls.CurveP384,
}

// config returns what p means, with no certificate.
func (p Profile) config() *tls.Config {
	c := &tls.Config{
		CurvePreferences: slices.Clone(keyExchanges),
		// Small records at first serve browsers; here they only make two writes out of one.
		DynamicRecordSizingDisabled: true,
	}
	switch p {
	case Modern:
		c.MinVersion = tls.VersionTLS13
	case Legacy:
		c.MinVersion = tls.VersionTLS10
		c.CipherSuites = slices.Concat(forwardSecret, rsaExchange)
	default:
		c.MinVersion = tls.VersionTLS12
		c.CipherSuites = slices.Clone(forwardSecret)
	}
	return c
}
