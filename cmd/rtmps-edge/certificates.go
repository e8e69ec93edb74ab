package main

import (
	"crypto/x509"
	"os"
	"slices"
	"strings"

	"github.com/sirupsen/logrus"

	"rtmps-edge/config"
	"rtmps-edge/internal/fault"
	"rtmps-edge/tlsconf"
)

// newSource makes the source of certificates. It runs nothing yet.
func newSource(c config.TLS, log *logrus.Logger) (tlsconf.Source, error) {
	o := tlsconf.Options{Profile: c.Profile, SessionTickets: c.SessionTickets, ClientCA: c.ClientCA, ClientAuth: c.ClientAuth, Log: log}
	acme := c.ACME
	acme.Options = o
	switch c.Source {
	case config.SourceFiles:
		return tlsconf.NewFiles(tlsconf.FilesConfig{Options: o, Pairs: c.Certificates})
	case config.SourceCertMagic:
		return tlsconf.NewCertMagic(acme)
	case config.SourceAutocert:
		return tlsconf.NewAutocert(acme)
	}
	s, err := tlsconf.NewSelfSigned(tlsconf.SelfSignedConfig{Options: o, Dir: c.SelfSignedDir, Names: c.SelfSignedNames})
	if err == nil && c.SelfSignedDir == "" {
		log.Warn("the self-signed certificate is new at each start: set self_signed_dir in [tls] to keep it, or another source")
	}
	return s, err
}

// finding is one of tlsconf, with the setting that it is about.
type finding struct {
	tlsconf.Finding
	at fault.Fault
}

// lint looks for what makes encoders refuse the certificates of a source.
func lint(cfg *config.Config, source tlsconf.Source) []finding {
	certs := certificates(source)
	expected := acmeDomains(cfg)
	c := tlsconf.LintConfig{Profile: cfg.TLS.Profile, Expected: expected, Names: slices.Clone(expected)}
	for _, d := range cfg.Dialed {
		c.Names = append(c.Names, d.Name)
	}
	if s, ok := source.(*tlsconf.SelfSigned); ok {
		c.Roots = x509.NewCertPool()
		c.Roots.AppendCertsFromPEM(s.CACertificate())
	}
	var all []finding
	for _, f := range tlsconf.Lint(certs, c) {
		all = append(all, finding{f, place(cfg, certs, f)})
	}
	return all
}

// certificates are what a source serves.
func certificates(source tlsconf.Source) []tlsconf.Certificate {
	described, ok := source.(interface{ Certificates() []tlsconf.Certificate })
	if !ok {
		return nil
	}
	return described.Certificates()
}

// place finds the setting to blame.
func place(cfg *config.Config, certs []tlsconf.Certificate, f tlsconf.Finding) fault.Fault {
	if f.Name != "" {
		return cfg.FaultOfName(f.Name, f.String())
	}
	n := slices.IndexFunc(certs, func(c tlsconf.Certificate) bool { return c.Name == f.Certificate })
	return cfg.FaultOfCertificate(n, f.String())
}

// allowSHA1 has crypto/tls take SHA-1 in the signatures of TLS 1.2 handshakes,
// or no longer. Clients that know nothing newer need it, and profile = "legacy"
// is for these. Go has one switch for the whole process, so that nobody but who
// chooses that profile lives with it: it holds for connections to rtmps://
// origins and webhooks as well.
func allowSHA1(c *config.Config) {
	text := operatorsDebug
	if c.NeedsTLS() && c.TLS.Profile == tlsconf.Legacy && !strings.Contains(text, "tlssha1=") {
		text = strings.TrimPrefix(text+",tlssha1=1", ",")
	}
	if text != os.Getenv("GODEBUG") {
		_ = os.Setenv("GODEBUG", text) // cannot fail: the text has no NUL
	}
}

// operatorsDebug is what the process was started with.
var operatorsDebug = os.Getenv("GODEBUG")

// acmeDomains are those for which certificates are got by ACME.
func acmeDomains(cfg *config.Config) []string {
	if cfg.TLS.Source != config.SourceCertMagic && cfg.TLS.Source != config.SourceAutocert {
		return nil
	}
	return cfg.TLS.ACME.Domains
}

// warnOfCertificates logs what lint has found.
func warnOfCertificates(log *logrus.Logger, cfg *config.Config, p *parts) {
	if p.source == nil {
		return
	}
	for _, f := range lint(cfg, p.source.it) {
		log.WithField("severity", f.Severity).Warn(f.at.String())
	}
}
