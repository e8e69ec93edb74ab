package proxy_test

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"rtmps-edge/authz"
	"rtmps-edge/proxy"
	"rtmps-edge/rtmp/rtmptest"
)

// What these clients say in confidence, each in its own words. Case is ignored
// when they are looked for.
const (
	secretKey   = "xK-Nightingale"
	secretQuery = "token=xQ-Bullfinch"
	secretApp   = "pass=xA-Goldcrest"
	secretURL   = "xU-Firecrest"
	secretOther = "xO-Wheatear" // a name that is not granted
)

var secrets = []string{"nightingale", "bullfinch", "goldcrest", "firecrest", "wheatear"}

// TestSecretsDoNotPrint: however a session goes, nothing that the client said in
// confidence stands in a log, in an event, in an error however it is printed, in
// what clients are told, or in what the origin gets.
func TestSecretsDoNotPrint(t *testing.T) {
	fault := errors.New("the backend is down")
	allow := func(authz.Request) (authz.Grant, error) {
		return authz.Grant{Subject: "somebody", App: "live", Name: "granted"}, nil
	}
	fail := func(err error) func(authz.Request) (authz.Grant, error) {
		return func(authz.Request) (authz.Grant, error) { return authz.Grant{}, err }
	}
	for _, c := range []struct {
		name   string
		grant  func(authz.Request) (authz.Grant, error)
		origin rtmptest.OriginConfig
		down   bool
		play   bool
		raw    func(b *rtmptest.Builder) // instead of a well-formed setup
		then   func(t *testing.T, e *edge, p *rtmptest.Peer)
	}{
		{name: "published", grant: allow, then: func(_ *testing.T, _ *edge, p *rtmptest.Peer) {
			_ = p.Send(new(rtmptest.Builder).Data(1, 0, "onMetaData", rtmptest.ECMAArray{{Key: "w", Value: 1}}).Video(1, 0, []byte("x")).
				Command(0, "FCUnpublish", 6, nil, fullName).Command(0, "deleteStream", 7, nil, 1))
		}},
		{name: "played", grant: allow, play: true},
		{name: "denied", grant: fail(authz.ErrDenied)},
		{name: "denied to play", grant: fail(authz.ErrDenied), play: true},
		{name: "unknown", grant: fail(authz.ErrUnknown)},
		{name: "app unknown", grant: fail(authz.ErrUnknownApp)},
		{name: "backend down", grant: fail(fault)},
		{name: "no origin", grant: func(authz.Request) (authz.Grant, error) {
			return authz.Grant{Name: "granted", Origin: "nowhere"}, nil
		}},
		{name: "no name", grant: func(authz.Request) (authz.Grant, error) { return authz.Grant{}, nil }},
		{name: "origin refuses connect", grant: allow, origin: rtmptest.OriginConfig{RefuseConnect: &rtmptest.StatusError{Code: "NetConnection.Connect.Rejected"}}},
		{name: "origin refuses publish", grant: allow, origin: rtmptest.OriginConfig{RefusePublish: &rtmptest.StatusError{Code: "NetStream.Publish.BadName"}}},
		{name: "origin refuses play", grant: allow, play: true, origin: rtmptest.OriginConfig{RefusePlay: &rtmptest.StatusError{Code: "NetStream.Play.StreamNotFound"}}},
		{name: "origin closes", grant: allow, origin: rtmptest.OriginConfig{CloseAt: rtmptest.StepPublish}},
		{name: "origin down", grant: allow, down: true},
		{name: "panic", grant: func(r authz.Request) (authz.Grant, error) { panic(fmt.Sprintf("%+v %#v", r, r)) }},
		{name: "another name", grant: allow, then: func(_ *testing.T, _ *edge, p *rtmptest.Peer) {
			_ = p.Send(new(rtmptest.Builder).Command(0, "releaseStream", 9, nil, secretOther))
		}},
		{name: "another stream", grant: allow, then: func(_ *testing.T, _ *edge, p *rtmptest.Peer) {
			_ = p.Send(new(rtmptest.Builder).Command(0, "publish", 9, nil, secretOther, "live"))
		}},
		{name: "a breach", grant: allow, then: func(_ *testing.T, _ *edge, p *rtmptest.Peer) {
			_ = p.Send(new(rtmptest.Builder).Message(3, 0, rtmptest.TypeCommand, 0, []byte("\x02\xff\xff"+secretOther)))
		}},
		{name: "unknown data and commands", grant: allow, then: func(_ *testing.T, _ *edge, p *rtmptest.Peer) {
			_ = p.Send(new(rtmptest.Builder).Data(1, 0, secretOther, secretKey).Command(0, secretOther, 0, nil).Command(0, "closeStream", 0, nil))
		}},
		{name: "kicked", grant: allow, then: func(t *testing.T, e *edge, _ *rtmptest.Peer) {
			e.Kick(e.events.wait(t, proxy.Started, nil).Session, "kick")
		}},
		{name: "names differ", grant: allow, raw: func(b *rtmptest.Builder) {
			b.Command(0, "releaseStream", 2, nil, fullName).Command(1, "publish", 3, nil, secretOther, "live")
		}},
		{name: "name with control characters", grant: allow, raw: func(b *rtmptest.Builder) {
			b.Command(1, "publish", 3, nil, fullName+"\x00", "live")
		}},
		{name: "unknown type", grant: allow, raw: func(b *rtmptest.Builder) { b.Command(1, "publish", 3, nil, fullName, secretOther) }},
		{name: "media before publish", grant: allow, raw: func(b *rtmptest.Builder) { b.Video(1, 0, []byte(fullName)) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			origin := rtmptest.NewOrigin(t, c.origin)
			addr := origin.Addr()
			if c.down {
				origin.Close()
			}
			e := newEdge(t, func(p *proxy.Policy) {
				p.Publish, p.Play = grants(c.grant), grants(c.grant)
				p.Limits.SetupTimeout = 2 * time.Second
			}, addr)
			var heard []rtmptest.Message
			switch {
			case c.raw != nil:
				heard = confideRaw(t, e, c.raw)
			case c.play:
				p, err := rtmptest.Play(e.dial(t), rtmptest.PlayConfig{App: "live?" + secretApp, TcURL: "rtmps://edge.test/live?" + secretURL, Name: fullName})
				if err == nil {
					e.judgeList(t)
					_ = p.Close()
				}
				p.Abort()
				heard = p.Messages()
			default:
				p, err := rtmptest.Publish(e.dial(t), rtmptest.PublishConfig{App: "live?" + secretApp, TcURL: "rtmps://edge.test/live?" + secretURL, Name: fullName,
					Connect: []rtmptest.Property{{Key: "swfUrl", Value: secretURL}, {Key: "pageUrl", Value: secretURL}}})
				if err == nil {
					e.judgeList(t)
					if c.then != nil {
						c.then(t, e, p.Peer)
						_, _ = p.WaitEnd()
					}
				}
				p.Abort()
				heard = p.Messages()
			}
			waitFor(t, func() bool { return e.Sessions() == 0 })
			e.judgeSecrets(t)
			for _, m := range heard {
				tell(t, "the client", string(m.Payload))
			}
			for _, o := range origin.Conns() {
				tell(t, "the origin", string(o.Raw()))
			}
		})
	}
}

const fullName = secretKey + "?" + secretQuery

// confideRaw says connect and what build appends, and reads to the end.
func confideRaw(t *testing.T, e *edge, build func(*rtmptest.Builder)) []rtmptest.Message {
	b := new(rtmptest.Builder).C0C1(3).C2(nil).Connect("live?"+secretApp, "rtmps://edge.test/live?"+secretURL)
	build(b)
	c := e.dial(t)
	mustWrite(t, c, b.Bytes())
	_ = c.SetReadDeadline(time.Now().Add(rtmptest.Patience))
	var all bytes.Buffer
	if _, err := all.ReadFrom(c); isTimeout(err) {
		t.Error("the edge did not end the session")
	}
	msgs, _, err := rtmptest.Parse(all.Bytes()[rtmptest.HandshakeLen:], rtmptest.Strict)
	if err != nil {
		t.Error(err)
	}
	return msgs
}

// tell fails the test if what somebody is told holds a secret.
func tell(t *testing.T, who, what string) {
	t.Helper()
	low := strings.ToLower(what)
	for _, s := range secrets {
		if i := strings.Index(low, s); i >= 0 {
			t.Errorf("%s: %q", who, what[max(0, i-60):min(len(what), i+60)])
		}
	}
}

// judgeList looks at what the table of streams shows.
func (e *edge) judgeList(t *testing.T) {
	t.Helper()
	e.events.wait(t, proxy.Started, nil)
	for _, i := range e.List() {
		tell(t, "the list", fmt.Sprintf("%v %+v %#v", i, i, i))
	}
}

// judgeSecrets looks at what was logged and observed.
func (e *edge) judgeSecrets(t *testing.T) {
	t.Helper()
	tell(t, "the log", e.log.String())
	events := e.events.all()
	if len(events) < 2 {
		t.Errorf("%d events", len(events))
	}
	for _, ev := range events {
		tell(t, "an event", fmt.Sprintf("%v %+v %#v", ev, ev, ev))
		everyError(ev.Err, func(err error) {
			tell(t, "an error", fmt.Sprintf("%v %+v %#v %s %q %s", err, err, err, err, err, err.Error()))
		})
	}
}

// everyError calls f with err and all that it wraps.
func everyError(err error, f func(error)) {
	if err == nil {
		return
	}
	f(err)
	switch u := err.(type) {
	case interface{ Unwrap() error }:
		everyError(u.Unwrap(), f)
	case interface{ Unwrap() []error }:
		for _, e := range u.Unwrap() {
			everyError(e, f)
		}
	}
}
