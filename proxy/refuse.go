package proxy

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"time"

	"rtmps-edge/authz"
	"rtmps-edge/internal/hello"
	"rtmps-edge/internal/secret"
	"rtmps-edge/internal/wire"
	"rtmps-edge/ratelimit"
	"rtmps-edge/rtmp"
)

// refusal is why a session ended before its stream started.
type refusal struct {
	stage  Stage
	reason string // "" = told from err
	err    error
	guess  bool // a credential was tried that is not good
}

func (r *refusal) Error() string { return string(r.stage) + ": " + r.err.Error() }
func (r *refusal) Unwrap() error { return r.err }

// reject tells a client that has asked why it is refused. It holds no place and
// no name meanwhile: an encoder that tries again at once must not hear that its
// own name is taken.
func (s *session) reject(p *rtmp.Pending, err error) error {
	s.lease.Release()
	s.srv.unclaim(s)
	if delay := s.failed(err); delay > 0 {
		s.detain(delay, p.Rejection(whatToSay(s.event.Action, err)))
		return err
	}
	_ = s.conn.SetDeadline(time.Now().Add(farewell))
	if p.Reject(whatToSay(s.event.Action, err)) == nil {
		linger(s.conn)
	}
	return err
}

// whatToSay turns a refusal into what the client hears. The text is for the
// person at the encoder and never the error's own.
func whatToSay(action authz.Action, err error) *rtmp.StatusError {
	var r *refusal
	if !errors.As(err, &r) {
		r = &refusal{stage: StageAuthorize, err: err}
	}
	denied := &rtmp.StatusError{Code: "NetStream.Publish.Denied",
		Description: "The stream key is not valid here. Check it for missing or extra characters, or ask for a new one."}
	if action == authz.Play {
		denied = &rtmp.StatusError{Code: "NetStream.Play.Failed", Description: "This stream may not be played with this name or key."}
	}
	var said *rtmp.StatusError
	switch {
	case r.reason == ratelimit.ReasonStreamsPerIP:
		return overLimit(action, "Too many streams run from this address. Stop one of them and try again.")
	case r.reason == ratelimit.ReasonStreamsPerSubject:
		return overLimit(action, "Too many streams run with this key. Stop one of them and try again.")
	case r.reason == reasonDuplicate || errors.As(err, &said) && said.Code == "NetStream.Publish.BadName":
		return &rtmp.StatusError{Code: "NetStream.Publish.BadName",
			Description: "This stream is already being published. Stop the other encoder, or wait a moment if it has just stopped."}
	case r.reason == "app" || errors.Is(err, authz.ErrUnknownApp):
		return &rtmp.StatusError{Code: "NetConnection.Connect.InvalidApp",
			Description: "The server address names an application that does not exist here. Check the part after the host name."}
	case said != nil && said.Code == "NetStream.Play.StreamNotFound":
		return &rtmp.StatusError{Code: said.Code, Description: "There is no such stream now."}
	case r.stage == StageOrigin && final(err):
		return &rtmp.StatusError{Code: "NetStream.Failed", Description: "The streaming server behind this address did not accept the stream. Ask who runs it."}
	case r.stage == StageOrigin:
		return &rtmp.StatusError{Code: "NetStream.Failed", Description: "The streaming server behind this address is not available. Try again in a minute."}
	case errors.Is(err, authz.ErrDenied) || errors.Is(err, authz.ErrUnknown):
		return denied
	}
	return &rtmp.StatusError{Code: "NetStream.Failed", Description: "The stream key could not be checked right now. Try again in a minute."}
}

// refused tells the Observer.
func (s *session) refused(err error) {
	var r *refusal
	if !errors.As(err, &r) {
		r = &refusal{stage: StageRTMP, err: err}
	}
	s.event.Stage, s.event.Reason, s.event.Err = r.stage, r.reason, r.err
	if r.reason == "" {
		s.event.Reason = causeOf(r.err)
	}
	s.mu.Lock()
	if s.ended != nil { // stopped by the edge, whatever that looked like
		s.event.Reason = s.ended.reason
	}
	s.mu.Unlock()
	s.observe(Refused)
}

// causeOf names an error of a connection in a word or two. "closed" is a close in
// good order, over TLS one that was announced; "cut" is one that was not; "lost"
// is a line on which nothing arrives any more; "unreachable" is a server that has
// no address, or nothing listens there.
func causeOf(err error) string {
	var protocol *rtmp.ProtocolError
	var status *rtmp.StatusError
	var silent hungUp
	var name *net.DNSError
	switch {
	case errors.As(err, &silent):
		return "refused"
	case errors.Is(err, wire.ErrUnannounced):
		return "cut"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "closed"
	case errors.Is(err, syscall.ECONNREFUSED), errors.As(err, &name):
		return "unreachable"
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return "reset"
	case errors.Is(err, syscall.ETIMEDOUT), errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return "lost"
	case errors.Is(err, os.ErrDeadlineExceeded):
		return "timeout"
	case errors.Is(err, net.ErrClosed):
		return "shutdown"
	case errors.Is(err, rtmp.ErrSecondStream):
		return "second stream"
	case errors.Is(err, rtmp.ErrFinished):
		return "finished"
	case errors.As(err, &status):
		return "refused"
	case errors.As(err, &protocol):
		return "protocol"
	case isTLS(err):
		return "tls"
	}
	return "error"
}

// isTLS reports whether err is an alert, or bytes that are no TLS, in the midst of
// a stream.
func isTLS(err error) bool {
	var header tls.RecordHeaderError
	var op *net.OpError
	return errors.As(err, &header) || errors.As(err, &op) && (op.Op == "remote error" || op.Op == "local error")
}

// overLimit is what a client hears that is over a limit.
func overLimit(action authz.Action, description string) *rtmp.StatusError {
	if action == authz.Play {
		return &rtmp.StatusError{Code: "NetStream.Play.Failed", Description: description}
	}
	return &rtmp.StatusError{Code: "NetStream.Publish.Rejected", Description: description}
}

// tlsReason names why a TLS handshake failed.
func tlsReason(err error) string {
	var limit *ratelimit.Refusal
	if errors.As(err, &limit) {
		return limit.Reason
	}
	return string(hello.CauseOf(err))
}

func authReason(err error) string {
	switch {
	case errors.Is(err, authz.ErrUnknownApp):
		return "unknown app"
	case errors.Is(err, authz.ErrDenied), errors.Is(err, authz.ErrUnknown):
		return "denied"
	}
	return "unavailable"
}

// isGuess says that an authorizer judged the credential, and refused.
func isGuess(err error) bool {
	return errors.Is(err, authz.ErrDenied) || errors.Is(err, authz.ErrUnknown)
}

func tlsVersion(v uint16) string { return tls.VersionName(v) }

// ask splits name and queries: what may hold a credential.
func ask(r rtmp.Request) authz.Request {
	key, query, _ := strings.Cut(r.Name.Reveal(), "?")
	if q := authz.WithoutLogin(r.AppQuery).Reveal(); q != "" {
		query = strings.TrimPrefix(query+"&"+q, "&")
	}
	return authz.Request{Action: authz.Action(r.Action), App: r.App, Key: secret.New(key), Query: secret.New(query)}
}
