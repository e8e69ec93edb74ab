package authz

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net/http"
	"time"
)

// nativeDialect is the edge's own: JSON, answered with 200 and {"allow": …},
// 403, or 404 if the credential is none of the backend's.
type nativeDialect struct{ cfg WebhookConfig }

type nativeHook struct {
	Version    int    `json:"version"`
	Event      string `json:"event"` // authorize, or recheck of a running stream
	ID         string `json:"id"`
	Time       string `json:"time"`
	Action     Action `json:"action"`
	App        string `json:"app"`
	Name       string `json:"name"`
	Query      string `json:"query"`
	Client     string `json:"client"`
	ServerName string `json:"server_name"`
	TLS        string `json:"tls"`
	Encoder    string `json:"encoder"`
	User       string `json:"user,omitempty"`
	Seconds    int64  `json:"seconds,omitempty"` // the stream has been running
}

func (d nativeDialect) ask(q question) message {
	hook := nativeHook{
		Version: 1, Event: "authorize", ID: q.ID, Time: time.Now().UTC().Format(time.RFC3339), Action: q.Action, App: q.App, Name: q.key, Query: q.query,
		Client: q.clientText(), ServerName: q.ServerName, Encoder: q.Encoder, User: q.User,
	}
	if q.TLS != nil {
		hook.TLS = tls.VersionName(q.TLS.Version)
	}
	if q.Running > 0 {
		hook.Event, hook.Seconds = "recheck", int64(q.Running.Seconds())
	}
	url := d.cfg.URL
	if q.Action == Play {
		url = d.cfg.PlayURL
	}
	return jsonMessage(url, hook)
}

func (nativeDialect) done(question, Grant) (message, bool) { return message{}, false }

// nativeAnswer is the body of a 200.
type nativeAnswer struct {
	Allow   *bool           `json:"allow"`
	Subject string          `json:"subject"`
	App     string          `json:"app"`
	Name    string          `json:"name"`
	Origin  string          `json:"origin"`
	Bitrate json.RawMessage `json:"bitrate"` // "8Mbit", or a number
	Expires json.RawMessage `json:"expires"` // RFC 3339, or seconds since 1970
}

func (nativeDialect) judge(_ question, a reply) (Grant, error) {
	switch a.status {
	case http.StatusOK:
	case http.StatusForbidden:
		return Grant{}, fmt.Errorf("%w: status 403", ErrDenied)
	case http.StatusNotFound:
		return Grant{}, ErrUnknown
	default:
		return Grant{}, fmt.Errorf("the webhook answers with status %d", a.status)
	}
	var said nativeAnswer
	if json.Unmarshal(a.body, &said) != nil || said.Allow == nil {
		return Grant{}, fmt.Errorf("the webhook answers with no JSON object with allow, true or false")
	}
	if !*said.Allow {
		return Grant{}, fmt.Errorf("%w: not allowed", ErrDenied)
	}
	return said.grant()
}

func (said nativeAnswer) grant() (g Grant, err error) {
	g = Grant{Subject: said.Subject, App: said.App, Name: said.Name, Origin: said.Origin}
	if g.Bitrate, err = jsonBitrate(said.Bitrate); err != nil {
		return g, fmt.Errorf("%w: its bitrate %w", errUnusable, err)
	}
	if g.Expires, err = jsonTime(said.Expires); err != nil {
		return g, fmt.Errorf("%w: its expires %w", errUnusable, err)
	}
	return g, nil
}

// jsonBitrate reads "8Mbit" or a number; nothing and null are 0.
func jsonBitrate(raw json.RawMessage) (int64, error) {
	if absent(raw) {
		return 0, nil
	}
	var n int64
	if json.Unmarshal(raw, &n) == nil {
		return bitrateOf(n)
	}
	var s string
	_ = json.Unmarshal(raw, &s) // "" is no bit rate
	return bitrateOf(s)
}

// jsonTime reads RFC 3339 or seconds since 1970; nothing and null are zero.
func jsonTime(raw json.RawMessage) (time.Time, error) {
	if absent(raw) {
		return time.Time{}, nil
	}
	var n int64
	if json.Unmarshal(raw, &n) == nil && n > 0 && n <= maxUnix {
		return time.Unix(n, 0), nil
	}
	var at time.Time
	if json.Unmarshal(raw, &at) != nil || at.IsZero() {
		return time.Time{}, fmt.Errorf("must be a time as 2027-01-01T00:00:00Z, or in seconds since 1970")
	}
	return at, nil
}

// maxUnix is the end of the year 9999.
const maxUnix = 253402300799

func absent(raw json.RawMessage) bool { return len(raw) == 0 || string(raw) == "null" }
