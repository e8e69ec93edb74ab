package authz

import (
	"crypto/hmac"
	"crypto/sha1"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// omeDialect is OvenMediaEngine's AdmissionWebhooks: JSON that is signed in a
// header, answered with 200 and {"allowed": …}.
type omeDialect struct{ cfg WebhookConfig }

type omeHook struct {
	Client  omeClient  `json:"client"`
	Request omeRequest `json:"request"`
}

type omeClient struct {
	Address   string `json:"address"`
	Port      uint16 `json:"port"`
	RealIP    string `json:"real_ip"`
	UserAgent string `json:"user_agent,omitempty"`
}

type omeRequest struct {
	Direction string `json:"direction"`
	Protocol  string `json:"protocol"`
	Status    string `json:"status"`
	URL       string `json:"url"`
	NewURL    string `json:"new_url,omitempty"` // closing only
	Time      string `json:"time"`
}

// omeTime is how OvenMediaEngine writes times, in UTC.
const omeTime = "2006-01-02T15:04:05.000Z"

func (d omeDialect) ask(q question) message {
	url := d.cfg.URL
	if q.Action == Play {
		url = d.cfg.PlayURL
	}
	return d.message(url, q, "opening", "")
}

func (d omeDialect) done(q question, g Grant) (message, bool) {
	url, app := d.cfg.DoneURL, g.App
	if q.Action == Play {
		url = d.cfg.PlayDoneURL
	}
	if app == "" {
		app = q.App
	}
	renamed := ""
	if app != q.App || g.Name != q.key {
		renamed = q.omeBase() + app + "/" + g.Name
	}
	return d.message(url, q, "closing", renamed), true
}

func (d omeDialect) message(url string, q question, status, renamed string) message {
	direction := "incoming"
	if q.Action == Play {
		direction = "outgoing"
	}
	m := jsonMessage(url, omeHook{
		Client:  omeClient{q.address(), q.Client.Port(), q.address(), q.Encoder},
		Request: omeRequest{direction, "rtmp", status, q.omeURL(), renamed, time.Now().UTC().Format(omeTime)},
	})
	m.header["Accept"] = "application/json"
	if !d.cfg.Secret.Empty() {
		m.header["X-OME-Signature"] = omeSignature(d.cfg.Secret.Reveal(), m.body)
	}
	return m
}

func omeSignature(secret string, body []byte) string {
	h := hmac.New(sha1.New, []byte(secret))
	_, _ = h.Write(body)
	return base64.RawURLEncoding.EncodeToString(h.Sum(nil))
}

// omeBase is a URL up to its app: with RTMP's port, which OvenMediaEngine
// always writes, as its backends know it.
func (q question) omeBase() string {
	host := q.hostname()
	if host == "" {
		host = "localhost"
	}
	return "rtmp://" + host + ":1935/"
}

func (q question) omeURL() string {
	u := q.omeBase() + q.App + "/" + rawQuery(q.key)
	if q.query != "" {
		u += "?" + rawQuery(q.query)
	}
	return u
}

// omeAnswer is what is answered to opening.
type omeAnswer struct {
	Allowed  *bool  `json:"allowed"`
	NewURL   string `json:"new_url"`
	Lifetime int64  `json:"lifetime"` // milliseconds; 0 = no limit
}

func (omeDialect) judge(q question, a reply) (Grant, error) {
	if a.status != http.StatusOK {
		return Grant{}, fmt.Errorf("%w: status %d", ErrDenied, a.status)
	}
	var said omeAnswer
	if json.Unmarshal(a.body, &said) != nil || said.Allowed == nil {
		return Grant{}, fmt.Errorf("%w: the body is no JSON object with allowed, true or false", ErrDenied)
	}
	if !*said.Allowed {
		return Grant{}, fmt.Errorf("%w: not allowed", ErrDenied) // the reason may repeat the key
	}
	var g Grant
	if said.Lifetime < 0 || said.Lifetime > maxLifetime {
		return g, fmt.Errorf("%w: its lifetime must be from 0 to %d ms", errUnusable, maxLifetime)
	}
	if said.Lifetime > 0 {
		g.Expires = time.Now().Add(time.Duration(said.Lifetime) * time.Millisecond)
	}
	if said.NewURL != "" && q.Running == 0 {
		return moved(q, said.NewURL, g)
	}
	return g, nil
}

// maxLifetime is the longest lifetime, in milliseconds: a hundred years.
const maxLifetime = 100 * 366 * 24 * 3600 * 1000

// moved reads new_url: host, app and stream may be others; scheme and port may
// not.
func moved(q question, text string, g Grant) (Grant, error) {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "rtmp" && u.Scheme != "rtmps" || u.Port() != "" && u.Port() != "1935" {
		return g, fmt.Errorf("%w: its new_url must keep scheme and port of the url", errUnusable)
	}
	path := strings.TrimPrefix(u.Path, "/")
	i := strings.LastIndex(path, "/")
	if i <= 0 || i == len(path)-1 {
		return g, fmt.Errorf("%w: its new_url must have an app and a name", errUnusable)
	}
	g.App, g.Name = path[:i], path[i+1:]
	return g, nil
}
