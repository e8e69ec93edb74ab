package main

import (
	"crypto/x509"
	"net"
	"strings"

	"github.com/sirupsen/logrus"

	"rtmps-edge/config"
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

// lint looks for what makes encoders refuse the certificates of a source.
func lint(cfg *config.Config, source tlsconf.Source) []tlsconf.Finding {
	described, ok := source.(interface{ Certificates() []tlsconf.Certificate })
	if !ok {
		return nil
	}
	c := tlsconf.LintConfig{Names: dialedNames(cfg), Profile: cfg.TLS.Profile}
	if s, ok := source.(*tlsconf.SelfSigned); ok {
		c.Roots = x509.NewCertPool()
		c.Roots.AppendCertsFromPEM(s.CACertificate())
	}
	return tlsconf.Lint(described.Certificates(), c)
}

// dialedNames are those by which clients are known to reach the edge.
func dialedNames(cfg *config.Config) (names []string) {
	for _, r := range cfg.Routes {
		if name := strings.TrimPrefix(r.Server, "*."); name != "" && !strings.ContainsAny(name, "*?[") {
			names = append(names, r.Server)
		}
	}
	for _, l := range cfg.Listeners {
		host, _, err := net.SplitHostPort(l.Address)
		if err == nil && host != "" && net.ParseIP(host) == nil && !strings.ContainsAny(host, "{ /") && host != "localhost" {
			names = append(names, host)
		}
	}
	return names
}

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
		log.WithField("severity", f.Severity).Warn(f.String())
	}
}
