package hello

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
)

// Cause is why a handshake failed: a few words, of which there are few, so
// that they can be counted.
type Cause string

// Causes. Cure says what to do about each.
const (
	PlainRTMP         Cause = "plain RTMP"
	PlainHTTP         Cause = "plain HTTP"
	ProxyHeader       Cause = "unexpected PROXY header"
	NotTLS            Cause = "not TLS"
	NoVersion         Cause = "no shared version"
	NoSuite           Cause = "no shared suite"
	NoGroup           Cause = "no shared key exchange"
	NoCertificate     Cause = "no certificate yet"
	Untrusted         Cause = "client rejected certificate"
	Outdated          Cause = "client says certificate expired"
	ClientGaveUp      Cause = "client gave up"
	ClientCertificate Cause = "client certificate"
	Challenge         Cause = "ACME challenge unknown"
	Answered          Cause = "ACME challenge answered" // not a failure, but an end
	Closed            Cause = "closed"
	Reset             Cause = "reset"
	Timeout           Cause = "timeout"
	Shutdown          Cause = "shutdown"
	Malformed         Cause = "malformed"
)

// ErrNoCertificate is wrapped by errors of tls.Config.GetCertificate while
// there is no certificate to show.
var ErrNoCertificate = errors.New("no certificate yet")

// ErrNoChallenge is wrapped by errors of tls.Config.GetCertificate for a CA
// that looks for the answer to a challenge which is not under way.
var ErrNoChallenge = errors.New("no such ACME challenge is under way")

var cures = map[Cause]string{
	PlainRTMP:         "the encoder speaks RTMP without TLS: its server address must begin with rtmps://",
	PlainHTTP:         "somebody speaks HTTP to this port, which is for RTMPS: a health check has to open the port and close it, no more",
	ProxyHeader:       "a load balancer sends a PROXY header that is not expected: name its network in the listener's proxy_protocol",
	NotTLS:            "what came is neither TLS nor RTMP: most such are scanners",
	NoVersion:         "profile = \"modern\" speaks TLS 1.3 only, \"encoder\" 1.2 and up, \"legacy\" 1.0 and up",
	NoSuite:           "profile = \"legacy\" has suites for old boxes, some of which need an RSA certificate; a client that knows one kind of key only needs a certificate of that kind",
	NoGroup:           "the client has to know X25519, P-256 or P-384",
	NoCertificate:     "the certificate could not be obtained so far; the log says why",
	Untrusted:         "the client does not believe the certificate: \"rtmps-edge check\" finds an incomplete chain and a wrong name; a private authority has to be in the client's trust store",
	Outdated:          "compare the certificate's end and the client's clock",
	ClientGaveUp:      "the client did not like what it was offered; its own log says more",
	ClientCertificate: "the client needs a certificate that an authority in client_ca has signed, and that is valid now",
	Challenge:         "a certificate authority asks about a challenge that is not under way, or that another machine began without sharing its storage",
	Answered:          "nothing is wrong: a certificate authority has seen that the domain is ours",
	Closed:            "the client went away during the handshake" + wordless,
	Reset:             "the client broke the connection off during the handshake" + wordless,
	Timeout:           "the client was too slow, or sent nothing at all",
	Shutdown:          "the edge closed the connection",
	Malformed:         "the client's side of the handshake is damaged",
}

// wordless is what some libraries are known for.
const wordless = "; some (GStreamer) do so without a word when they do not believe the certificate: \"rtmps-edge probe\" tells from the client's machine"

// Cure says what the cause means and what can be done, in a sentence without
// its full stop.
func (c Cause) Cure() string { return cures[c] }

// CauseOf finds out why a server's handshake failed with err, which must not be
// nil.
func CauseOf(err error) Cause {
	var plain tls.RecordHeaderError
	var verify *tls.CertificateVerificationError
	switch {
	case errors.Is(err, ErrNoCertificate):
		return NoCertificate
	case errors.Is(err, ErrNoChallenge):
		return Challenge
	case errors.As(err, &plain):
		return spoken(plain)
	case errors.As(err, &verify):
		return ClientCertificate
	}
	if c := gone(err); c != "" {
		return c
	}
	if alert := remoteAlert(err); alert != "" {
		return ofAlert(alert)
	}
	return ofText(err.Error())
}

// spoken tells from its first bytes what a client speaks that does not speak
// TLS.
func spoken(err tls.RecordHeaderError) Cause {
	switch head := string(err.RecordHeader[:]); {
	case err.Conn == nil: // there was TLS before
		if head[0] == 0x80 {
			return NoVersion // SSL 2
		}
		return Malformed
	case head[0] == 0x03: // C0, RTMP's version
		return PlainRTMP
	case head == "PROXY" || head == "\r\n\r\n\x00":
		return ProxyHeader
	case isHTTP(head):
		return PlainHTTP
	}
	return NotTLS
}

// isHTTP knows the first bytes of a request.
func isHTTP(head string) bool {
	for _, method := range []string{"GET ", "HEAD ", "POST ", "PUT ", "OPTIONS ", "CONNECT ", "DELETE ", "PATCH ", "TRACE ", "PRI "} {
		if strings.HasPrefix(head, method) || strings.HasPrefix(method, head) {
			return true
		}
	}
	return false
}

// gone knows errors of the connection; "" if err is none.
func gone(err error) Cause {
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded):
		return Timeout
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return Closed
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return Reset
	case errors.Is(err, net.ErrClosed), errors.Is(err, context.Canceled):
		return Shutdown
	}
	return ""
}

// remoteAlert returns the text of an alert that the client sent. crypto/tls has
// no exported type for it.
func remoteAlert(err error) string {
	var op *net.OpError
	if !errors.As(err, &op) || op.Op != "remote error" {
		return ""
	}
	return op.Err.Error()
}

// alerts are those (RFC 8446 §6.2) that say more than that the client gave up.
var alerts = map[tls.AlertError]Cause{
	42:  Untrusted, // bad_certificate
	43:  Untrusted, // unsupported_certificate
	44:  Untrusted, // certificate_revoked
	45:  Outdated,  // certificate_expired
	46:  Untrusted, // certificate_unknown
	48:  Untrusted, // unknown_ca
	113: Untrusted, // bad_certificate_status_response
	70:  NoVersion, // protocol_version
	71:  NoSuite,   // insufficient_security
}

func ofAlert(text string) Cause {
	for alert, cause := range alerts {
		if alert.Error() == text {
			return cause
		}
	}
	return ClientGaveUp
}

// ofText knows errors of crypto/tls for which it has no value.
func ofText(text string) Cause {
	for _, known := range []struct {
		part  string
		cause Cause
	}{
		{"only unsupported versions", NoVersion},
		{"no cipher suite supported", NoSuite},
		{"doesn't support any of the certificate's signature algorithms", NoSuite},
		{"missing signature_algorithms", NoSuite},
		{"incompatible point formats", NoSuite},
		{"no key exchanges supported", NoGroup},
		{"no supported elliptic curves", NoGroup},
		{"client certificate", ClientCertificate},
		{"didn't provide a certificate", ClientCertificate},
	} {
		if strings.Contains(text, known.part) {
			return known.cause
		}
	}
	return Malformed
}
