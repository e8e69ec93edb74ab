package probe

import (
	"context"
	"errors"
	"net"
	"strings"

	"rtmps-edge/internal/terminal"
	"rtmps-edge/rtmp"
)

// publish leads the RTMP dialogue, waits a moment whether the stream lasts, and
// ends it. A stream that does not last is reported here; other errors are not.
func (p *prober) publish(conn *ear) error {
	p.step = stepHandshake
	p.within(conn, p.hello)
	app := p.login.app(p.Target)
	c, err := rtmp.Open(conn, rtmp.Target{
		Action: rtmp.Publish, App: app, Name: p.Target.name.Reveal(), TcURL: p.Target.tcURL(app),
		Trace: func(next string) {
			p.passed()
			p.step = next
			_ = conn.SetDeadline(p.deadline) // its backends may take their time
		},
	}, rtmp.Limits{})
	if err != nil {
		return err
	}
	defer c.Release()
	s := Step{Name: stepPublish, Detail: "accepted", Milliseconds: p.took()}
	if said := p.settle(c, conn); said != "" {
		s.Detail, s.Failures = "", []Finding{{Problem: AcceptedThenEnded, Text: said}}
		p.end(s)
		return errReported
	}
	_ = c.Finish() // there is nothing to be said about a server that dislikes it
	p.end(s)
	return nil
}

// errReported is of a step that was reported with its failure.
var errReported = errors.New("reported")

// passed ends a step that went well. In the rounds of a login, handshake and
// connect are parts of it.
func (p *prober) passed() {
	switch {
	case p.login.round == 0:
		p.end(Step{Name: p.step, Warnings: p.readable(p.step)})
	case p.step == stepConnect:
		p.end(Step{Name: stepLogin, Detail: "as " + terminal.Plain(p.Target.user)})
	case p.step != stepHandshake:
		p.end(Step{Name: p.step})
	}
}

// readable warns once of a key that everybody on the way can read.
func (p *prober) readable(step string) []Finding {
	if p.Target.Secure || step != stepHandshake || isLocal(p.address) {
		return nil
	}
	return []Finding{{Problem: Readable, Text: "the stream key goes over the network unencrypted"}}
}

func isLocal(address string) bool {
	host, _, _ := net.SplitHostPort(address)
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

// settle returns what the server said or did when the stream did not last.
func (p *prober) settle(c *rtmp.Conn, conn net.Conn) string {
	p.within(conn, p.Settle)
	defer func() { p.within(conn, p.second) }()
	for {
		_, err := c.ReadMessage()
		var status *rtmp.StatusError
		switch {
		case err == nil: // of no interest
		case late(err):
			return ""
		case errors.As(err, &status):
			return "accepted, and ended at once: " + p.Target.quote(status.Code+" "+status.Description)
		default:
			return "accepted, and closed at once"
		}
	}
}

// notPublished ends the step that failed. It returns false.
func (p *prober) notPublished(ctx context.Context, conn *ear, err error) bool {
	if errors.Is(err, errReported) {
		return false
	}
	name, step := p.step, p.step
	if p.login.round > 0 && (step == stepHandshake || step == stepConnect) {
		name, step = stepLogin, stepConnect
	}
	var status *rtmp.StatusError
	if errors.As(err, &status) {
		text := "refused: " + p.Target.quote(strings.TrimSpace(status.Code+" "+status.Description))
		return p.end(Step{Name: name, StatusCode: status.Code, Failures: []Finding{{Problem: ofStatus(status), Text: text}}})
	}
	problem, text := p.whyNotRTMP(ctx, step, conn.first, err)
	return p.fail(name, problem, text)
}

// ofStatus knows the codes of the edge and of the servers behind it.
func ofStatus(s *rtmp.StatusError) Problem {
	switch {
	case strings.Contains(s.Description, "reason=authfailed"), strings.Contains(s.Description, "reason=nosuchuser"):
		return WrongLogin
	case strings.Contains(s.Description, "authmod="):
		return WantsLogin
	case s.Code == "NetConnection.Connect.InvalidApp":
		return UnknownApp
	case s.Code == "NetStream.Publish.Denied", s.Code == "NetStream.Publish.Unauthorized":
		return WrongKey
	case s.Code == "NetStream.Publish.BadName":
		return InUse
	case s.Code == "NetStream.Publish.Rejected":
		return OverLimit
	case s.Code == "NetStream.Failed":
		return OriginDown
	}
	return Refused
}

// whyNotRTMP tells errors without words apart.
func (p *prober) whyNotRTMP(ctx context.Context, step string, first []byte, err error) (Problem, string) {
	var breach *rtmp.ProtocolError
	alert := remoteAlert(err)
	switch {
	case alert != "" && p.ofAlert(alert) == WantsCertificate:
		return WantsCertificate, "the server says: " + alert
	case errors.As(err, &breach) && step == stepHandshake && len(first) > 0 && first[0] != 3:
		return p.greeting(first)
	case errors.As(err, &breach):
		return NotRTMP, strings.TrimPrefix(err.Error(), "rtmp: ")
	case step == stepHandshake && !p.Target.Secure && p.speaksTLS(ctx):
		return PlainTLS, "this port speaks TLS"
	case late(err) && step == stepHandshake:
		return Silent, "the server takes the connection and says nothing"
	case late(err):
		return Slow, "no answer"
	case !hungUp(err):
		return NotRTMP, err.Error()
	case step == stepHandshake:
		return HungUp, "the server hangs up instead of speaking RTMP"
	case step == stepConnect:
		return ClosedAtConnect, "the server hangs up without a word"
	}
	return ClosedAtPublish, "the server hangs up without a word"
}
