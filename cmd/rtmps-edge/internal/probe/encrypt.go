package probe

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"time"
)

// encrypt does the TLS handshake and judges the server's certificate.
func (p *prober) encrypt(ctx context.Context, raw *ear) (net.Conn, bool) {
	c := tls.Client(raw, p.tlsConfig())
	p.within(raw, p.hello)
	if err := c.HandshakeContext(ctx); err != nil {
		problem, text := p.whyNotTLS(ctx, raw.first, err)
		return nil, p.fail(stepTLS, problem, text)
	}
	state := c.ConnectionState()
	s := Step{Name: stepTLS, TLS: tls.VersionName(state.Version), Cipher: tls.CipherSuiteName(state.CipherSuite)}
	s.Detail = s.TLS + ", " + s.Cipher
	s.Warnings = dated(state)
	if !p.end(s) {
		return nil, false
	}
	s = judge(state.PeerCertificates, p.Target.Host, p.Roots, time.Now())
	if p.Insecure {
		s.Warnings = append(s.Failures, s.Warnings...)
		s.Failures = nil
	}
	return c, p.end(s)
}

// tlsConfig offers all that any encoder offers. The certificate is judged later,
// with more words.
func (p *prober) tlsConfig() *tls.Config {
	c := &tls.Config{ServerName: p.Target.Host, InsecureSkipVerify: true, MinVersion: tls.VersionTLS10}
	for _, s := range slices.Concat(tls.CipherSuites(), tls.InsecureCipherSuites()) {
		c.CipherSuites = append(c.CipherSuites, s.ID)
	}
	c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		p.asked = true
		if p.Certificate == nil {
			return new(tls.Certificate), nil // none
		}
		return p.Certificate, nil
	}
	return c
}

// dated finds what is spoken no more by those who take care.
func dated(s tls.ConnectionState) []Finding {
	if s.Version >= tls.VersionTLS12 && !slices.ContainsFunc(tls.InsecureCipherSuites(), func(c *tls.CipherSuite) bool { return c.ID == s.CipherSuite }) {
		return nil
	}
	return []Finding{{Problem: WeakTLS, Text: "the server takes nothing better, and many programs refuse that"}}
}

// whyNotTLS finds out what is wrong, if need be with a second connection.
func (p *prober) whyNotTLS(ctx context.Context, first []byte, err error) (Problem, string) {
	if alert := remoteAlert(err); alert != "" {
		return p.ofAlert(alert), "the server says: " + alert
	}
	var header tls.RecordHeaderError
	switch {
	case errors.As(err, &header) && len(first) > 0:
		return p.greeting(first)
	case !hungUp(err) && !late(err):
		return NoSharedTLS, err.Error()
	case p.speaksRTMP(ctx):
		return PlainRTMP, "this port speaks RTMP without TLS"
	case late(err):
		return Silent, "the server takes the connection and says nothing"
	}
	return HungUp, "the server hangs up instead of speaking TLS"
}

// remoteAlert returns the text of an alert that the server sent. crypto/tls has
// no exported type for it.
func remoteAlert(err error) string {
	var op *net.OpError
	if errors.As(err, &op) && op.Op == "remote error" {
		return op.Err.Error()
	}
	return ""
}

// ofAlert knows the alerts of RFC 8446 §6.2 that say something. Go's TLS 1.2
// servers say handshake_failure to clients that have no certificate.
func (p *prober) ofAlert(text string) Problem {
	if p.asked && p.Certificate == nil {
		return WantsCertificate
	}
	for alert, problem := range map[tls.AlertError]Problem{
		42:  WantsCertificate, // bad_certificate
		45:  WantsCertificate, // certificate_expired
		46:  WantsCertificate, // certificate_unknown
		48:  WantsCertificate, // unknown_ca
		116: WantsCertificate, // certificate_required
		80:  NoCertificate,    // internal_error: what Go's servers say without one
		112: NoCertificate,    // unrecognized_name
	} {
		if alert.Error() == text {
			return problem
		}
	}
	return NoSharedTLS
}

// speaksRTMP tries C0 and C1 on a connection of its own.
func (p *prober) speaksRTMP(ctx context.Context) bool {
	return p.secondLook(ctx, func(c net.Conn) bool {
		hello := make([]byte, 1+1536)
		hello[0] = 3
		s0 := make([]byte, 1)
		if _, err := c.Write(hello); err != nil {
			return false
		}
		_, err := io.ReadFull(c, s0)
		return err == nil && s0[0] == 3
	})
}

// speaksTLS tries a ClientHello on a connection of its own. A server that
// answers with an alert speaks TLS too.
func (p *prober) speaksTLS(ctx context.Context) bool {
	return p.secondLook(ctx, func(c net.Conn) bool {
		listening := &ear{Conn: c}
		err := tls.Client(listening, p.tlsConfig()).HandshakeContext(ctx)
		return err == nil || isTLS(listening.first)
	})
}

// isTLS knows the beginning of a record: an alert or a handshake.
func isTLS(b []byte) bool {
	return len(b) > 1 && (b[0] == 0x15 || b[0] == 0x16) && b[1] == 3
}

func (p *prober) secondLook(ctx context.Context, f func(net.Conn) bool) bool {
	d := net.Dialer{Timeout: p.second}
	c, err := d.DialContext(ctx, "tcp", p.address)
	if err != nil {
		return false
	}
	defer func() { _ = c.Close() }()
	p.within(c, p.second)
	return f(c)
}

// greeting says what the first bytes of a server are that speaks something else.
func (p *prober) greeting(first []byte) (Problem, string) {
	switch s := string(first); {
	case len(s) >= 5 && s[:5] == "HTTP/":
		return WebServer, "a web server answers: " + p.Target.quote(firstLine(s))
	case isTLS(first):
		return PlainTLS, "this port speaks TLS"
	case first[0] == 3:
		return PlainRTMP, "this port speaks RTMP without TLS"
	case printable(first):
		return NotRTMP, "the server says: " + p.Target.quote(firstLine(s))
	}
	return NotRTMP, fmt.Sprintf("what the server sends begins with % x", first[:min(len(first), 8)])
}

func firstLine(s string) string {
	for i, r := range s {
		if r == '\r' || r == '\n' {
			return s[:i]
		}
	}
	return s
}

func printable(b []byte) bool {
	return !slices.ContainsFunc(b, func(c byte) bool { return (c < ' ' || c > '~') && c != '\r' && c != '\n' && c != '\t' })
}

func isEOF(err error) bool { return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) }
