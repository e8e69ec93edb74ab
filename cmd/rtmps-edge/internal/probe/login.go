package probe

import (
	"context"
	"crypto/md5"
	"crypto/rand"
	"crypto/tls"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"net"
	"strings"

	"rtmps-edge/rtmp"
)

// login is authmod=adobe, which takes three connections: the first is refused, the
// second, which says who it is, with a challenge, and the third has the response.
type login struct {
	round int
	query string // of the app
}

// rounds are those after the first connection.
const rounds = 2

// app is what connect asks for in this round.
func (l login) app(t Target) string {
	app := t.app.Reveal()
	switch {
	case l.query == "":
		return app
	case strings.Contains(app, "?"):
		return app + "&" + l.query
	}
	return app + "?" + l.query
}

// goesOn says whether err is a step of a login that goes on, and prepares the next
// connection for it.
func (p *prober) goesOn(err error) bool {
	var said *rtmp.StatusError
	if p.Target.user == "" || p.login.round == rounds || p.step != stepConnect || !errors.As(err, &said) || !strings.Contains(said.Description, "authmod=adobe") {
		return false
	}
	if p.login.round == 0 {
		p.end(Step{Name: stepConnect, Detail: "asks for a login"})
		p.login = login{1, "authmod=adobe&user=" + p.Target.user}
		return true
	}
	_, query, _ := strings.Cut(said.Description, "?")
	f := fields(query)
	if f["reason"] != "needauth" {
		return false
	}
	p.login = login{2, p.login.query + response(p.Target, f, challenge())}
	return true
}

// fields takes the query of a refusal apart. Nothing in it is escaped.
func fields(query string) map[string]string {
	f := map[string]string{}
	for pair := range strings.SplitSeq(query, "&") {
		key, value, _ := strings.Cut(strings.TrimSpace(pair), "=")
		f[key] = value
	}
	return f
}

// response answers a challenge. Where the server has sent something opaque, it
// stands in the place of its challenge.
func response(t Target, f map[string]string, mine string) string {
	theirs := f["opaque"]
	if theirs == "" {
		theirs = f["challenge"]
	}
	secret := digest(t.user + f["salt"] + t.password.Reveal())
	return "&challenge=" + mine + "&response=" + digest(secret+theirs+mine) + "&opaque=" + f["opaque"]
}

func digest(s string) string {
	sum := md5.Sum([]byte(s)) // the protocol's own
	return base64.StdEncoding.EncodeToString(sum[:])
}

// challenge is new for each login.
func challenge() string {
	b := make([]byte, 4)
	_, _ = rand.Read(b) // never fails
	return hex.EncodeToString(b)
}

// again connects as before, without words: what there was to be said about it was
// said.
func (p *prober) again(ctx context.Context) (*ear, error) {
	d := net.Dialer{Timeout: dialTimeout}
	c, err := d.DialContext(ctx, "tcp", p.address)
	if err != nil {
		return new(ear), err
	}
	p.within(c, p.hello)
	if !p.Target.Secure {
		return &ear{Conn: c}, nil
	}
	s := tls.Client(c, p.tlsConfig())
	if err := s.HandshakeContext(ctx); err != nil {
		_ = c.Close()
		return new(ear), err
	}
	return &ear{Conn: s}, nil
}
