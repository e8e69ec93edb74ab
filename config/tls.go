package config

import (
	"fmt"

	"rtmps-edge/internal/tomlfile"
	"rtmps-edge/tlsconf"
)

// TLS says where certificates come from.
type TLS struct {
	Source         string // one of the constants below
	Profile        tlsconf.Profile
	SessionTickets bool
	// SelfSignedDir keeps the self-signed certificate and its CA; "" = memory.
	SelfSignedDir   string
	SelfSignedNames []string
	Certificates    []tlsconf.Pair
	// ClientCA is a file, the authorities whose client certificates are believed.
	ClientCA   string
	ClientAuth tlsconf.ClientAuth
	ACME       tlsconf.ACMEConfig // without Options
}

// Values of TLS.Source.
const (
	SourceSelfSigned = "self-signed"
	SourceFiles      = "files"
	SourceCertMagic  = "certmagic"
	SourceAutocert   = "autocert"
)

// defaultACMEStorage is where the packages' service may write.
const defaultACMEStorage = "/var/lib/rtmps-edge/acme"

func defaultTLS() TLS {
	return TLS{Source: SourceSelfSigned, Profile: tlsconf.Encoder, ClientAuth: tlsconf.Off, ACME: tlsconf.ACMEConfig{Storage: defaultACMEStorage}}
}

func (c *Config) readTLS(t *tomlfile.Table) {
	tomlfile.OneOf(t, "source", &c.TLS.Source, SourceSelfSigned, SourceFiles, SourceCertMagic, SourceAutocert)
	tomlfile.OneOf(t, "profile", &c.TLS.Profile, tlsconf.Modern, tlsconf.Encoder, tlsconf.Legacy)
	t.Bool("session_tickets", &c.TLS.SessionTickets)
	t.String("self_signed_dir", &c.TLS.SelfSignedDir)
	c.TLS.SelfSignedDir = t.Path(c.TLS.SelfSignedDir)
	t.Strings("self_signed_names", &c.TLS.SelfSignedNames)
	c.names = placeOf(t, "self_signed_names")
	t.File("client_ca", &c.TLS.ClientCA)
	tomlfile.OneOf(t, "client_auth", &c.TLS.ClientAuth, tlsconf.Off, tlsconf.Optional, tlsconf.Required)
	if c.TLS.ClientCA != "" && c.TLS.ClientAuth != tlsconf.Off {
		t.AdoptFiles(tlsconf.CheckClientCA(c.TLS.ClientCA), map[string]string{c.TLS.ClientCA: "client_ca"})
	}
	c.readACME(t.Table("acme"))
	for _, p := range t.Tables("certificate") {
		c.readCertificate(p)
	}
	t.End()
	if c.TLS.ClientAuth != tlsconf.Off && c.TLS.ClientCA == "" {
		t.Missing("client_ca", fmt.Sprintf("client_auth = %q needs a PEM file of the authorities whose client certificates are believed", c.TLS.ClientAuth))
	}
	switch n := len(c.TLS.Certificates); {
	case c.TLS.Source == SourceFiles && n == 0:
		t.Missing("certificate", "source = \"files\" needs at least one [[tls.certificate]] with cert and key")
	case c.TLS.Source != SourceFiles && n > 0:
		t.Fault("certificate", fmt.Sprintf("is used with source = \"files\" only, and source is %q", c.TLS.Source))
	}
}

func (c *Config) readCertificate(t *tomlfile.Table) {
	p := tlsconf.Pair{}
	t.File("cert", &p.Cert)
	t.File("key", &p.Key)
	for _, key := range []string{"cert", "key"} {
		if !t.Has(key) {
			t.Missing(key, "must be the path of a PEM file")
		}
	}
	if p.Cert != "" && p.Key != "" {
		t.AdoptFiles(p.Check(), map[string]string{p.Key: "key", p.Cert: "cert"})
	}
	t.End()
	c.TLS.Certificates = append(c.TLS.Certificates, p)
	at := placeOf(t, "cert")
	at.value = p.Cert
	c.certificates = append(c.certificates, at)
}

// placeOf is where key stands, or else where its table begins.
func placeOf(t *tomlfile.Table, key string) place {
	return place{line: t.Line(key), key: t.Name(key)}
}

func (c *Config) readACME(t *tomlfile.Table) {
	a := &c.TLS.ACME
	t.Strings("domains", &a.Domains)
	t.String("email", &a.Email)
	t.String("directory", &a.Directory)
	t.File("directory_ca", &a.DirectoryCA)
	t.String("storage", &a.Storage)
	a.Storage = t.Path(a.Storage)
	t.String("http_address", &a.HTTPAddress)
	t.String("eab_key_id", &a.EABKeyID)
	t.File("eab_mac_key_file", &a.EABMACKeyFile)
	t.End()
	// The constructors open nothing and start nothing; they know what is wrong.
	switch c.TLS.Source {
	case SourceCertMagic:
		c.names = placeOf(t, "domains")
		_, err := tlsconf.NewCertMagic(*a)
		t.Adopt(err)
	case SourceAutocert:
		c.names = placeOf(t, "domains")
		_, err := tlsconf.NewAutocert(*a)
		t.Adopt(err)
	default:
		if t.Present() {
			t.Missing("", fmt.Sprintf("is used with source = \"certmagic\" or \"autocert\" only, and source is %q", c.TLS.Source))
		}
	}
}
