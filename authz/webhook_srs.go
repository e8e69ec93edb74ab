package authz

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"

	"rtmps-edge/internal/srshook"
)

// srsDialect is SRS's http_hooks: JSON, answered with 200 or 201 and a code 0.
type srsDialect struct{ cfg WebhookConfig }

func (d srsDialect) ask(q question) message {
	url, action := d.cfg.URL, "on_publish"
	var page *string
	if q.Action == Play {
		url, action, page = d.cfg.PlayURL, "on_play", new(string)
	}
	return d.message(url, q, action, page)
}

func (d srsDialect) done(q question, _ Grant) (message, bool) {
	if q.Action == Play {
		return d.message(d.cfg.PlayDoneURL, q, "on_stop", nil), true
	}
	return d.message(d.cfg.DoneURL, q, "on_unpublish", nil), true
}

func (d srsDialect) message(url string, q question, action string, page *string) message {
	param := ""
	if q.query != "" {
		param = "?" + q.query
	}
	return jsonMessage(url, srshook.Hook{
		ServerID: d.cfg.ServerID, ServiceID: processID, Action: action, IP: q.address(), TcURL: q.tcURL, Param: param, PageURL: page,
	}.At(q.ID, q.App, q.key))
}

func (srsDialect) judge(_ question, a reply) (Grant, error) {
	if a.status != http.StatusOK && a.status != http.StatusCreated {
		return Grant{}, fmt.Errorf("%w: status %d", ErrDenied, a.status)
	}
	if !srsAccepts(a.body) {
		return Grant{}, fmt.Errorf("%w: the body is neither 0 nor an object with code 0", ErrDenied)
	}
	return Grant{}, nil
}

// srsAccepts reports whether body is 0, or an object whose code is 0. SRS wants
// an integer, and so does this: "code": "0" refuses.
func srsAccepts(body []byte) bool {
	var object map[string]json.RawMessage
	if json.Unmarshal(body, &object) == nil {
		return string(object["code"]) == "0"
	}
	return string(bytes.TrimSpace(body)) == "0"
}

// jsonMessage posts v.
func jsonMessage(url string, v any) message {
	body, err := json.Marshal(v)
	if err != nil { // v is one of this package's structs of strings
		panic("authz: " + err.Error())
	}
	return message{method: http.MethodPost, url: url, body: body, header: map[string]string{"Content-Type": "application/json"}}
}
