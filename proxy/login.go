package proxy

import (
	"errors"
	"time"

	"rtmps-edge/authz"
	"rtmps-edge/rtmp"
)

// ReasonLogin is that of a connection which ended because the client has to
// come again with a login: two of the three that a login takes.
const ReasonLogin = "login"

// accept serves the client up to its request. Who logs in does so in connect.
func (s *session) accept() (*rtmp.Pending, error) {
	var guess bool
	p, err := rtmp.AcceptIf(s.conn, s.policy.Limits.RTMP, func(r rtmp.Request) *rtmp.StatusError {
		login := s.login(r)
		s.user, guess = login.User, login.Guess
		if login.Refusal == "" {
			return nil
		}
		return &rtmp.StatusError{Code: "NetConnection.Connect.Rejected", Description: login.Refusal}
	})
	var said *rtmp.StatusError
	switch {
	case err == nil:
		return p, nil
	case !errors.As(err, &said):
		return nil, &refusal{stage: StageRTMP, err: err}
	}
	r := &refusal{stage: StageAuthorize, reason: ReasonLogin, err: errors.New("the client is to log in")}
	if guess {
		r.reason, r.err, r.guess = "denied", authz.ErrDenied, true
		s.failed(r)
	}
	// The client has been told; OBS does not hang up by itself.
	_ = s.conn.SetDeadline(time.Now().Add(farewell))
	linger(s.conn)
	return nil, r
}

// login judges connect. Where nothing but a password would do, a client that
// does not offer one is asked for it.
func (s *session) login(r rtmp.Request) authz.Login {
	p := s.policy.Password
	if p == nil {
		return authz.Login{}
	}
	s.event.App, s.event.Encoder = r.App, r.Encoder
	login := p.Connect(r.App, r.AppQuery)
	if login == (authz.Login{}) && s.policy.PasswordOnly {
		login.Refusal = authz.NeedLogin
	}
	return login
}
