package authz

import "fmt"

// mediaMTXDialect is MediaMTX's external authentication: JSON, answered with
// any 2xx. It has no word for the end of a stream, and no other name.
type mediaMTXDialect struct{ cfg WebhookConfig }

type mediaMTXAuth struct {
	IP        string `json:"ip"`
	User      string `json:"user"`
	Password  string `json:"password"`
	Token     string `json:"token"`
	Action    string `json:"action"`
	Path      string `json:"path"`
	Protocol  string `json:"protocol"`
	ID        string `json:"id"`
	Query     string `json:"query"`
	UserAgent string `json:"userAgent"`
}

func (d mediaMTXDialect) ask(q question) message {
	url, action := d.cfg.URL, "publish"
	if q.Action == Play {
		url, action = d.cfg.PlayURL, "read"
	}
	auth := mediaMTXAuth{
		IP: q.address(), Action: action, Path: q.App + "/" + q.key, Protocol: "rtmp", ID: newUUID(), Query: q.query, UserAgent: q.Encoder,
	}
	auth.credentials(parseQuery(q.query, true))
	return jsonMessage(url, auth)
}

// credentials finds them where MediaMTX does: the token is the password, or
// else stands under its own name, or under the old one, once.
func (a *mediaMTXAuth) credentials(p params) {
	a.User, a.Password = p.first("user"), p.first("pass")
	switch {
	case a.Password != "":
		a.Token = a.Password
	case p.has("token"):
		a.Token = p.first("token")
	default:
		a.Token, _, _ = p.one("jwt")
	}
}

// first returns the value of the first parameter of that name.
func (p params) first(name string) string {
	for _, q := range p {
		if q.name == name {
			return q.value
		}
	}
	return ""
}

func (mediaMTXDialect) done(question, Grant) (message, bool) { return message{}, false }

func (mediaMTXDialect) judge(_ question, a reply) (Grant, error) {
	if a.status/100 != 2 {
		return Grant{}, fmt.Errorf("%w: status %d", ErrDenied, a.status)
	}
	return Grant{}, nil
}
