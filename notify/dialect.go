package notify

import (
	"cmp"
	"crypto/rand"
	"encoding/json"
	"strings"
	"time"

	"rtmps-edge/internal/srshook"
	"rtmps-edge/proxy"
)

// maxDetail bounds the text of an error, in bytes.
const maxDetail = 300

// dialect makes the message that tells of an event.
type dialect func(e proxy.Event, name string) message

var dialects = map[string]dialect{Native: native, Nginx: nginx, SRS: srs}

// nativeEvent is the edge's own. It is what the native webhook of authz gets, but
// for the query, which may hold a credential, and with what has become of it.
type nativeEvent struct {
	Version    int        `json:"version"`
	Event      string     `json:"event"`
	ID         string     `json:"id"`
	Time       time.Time  `json:"time"`
	Action     string     `json:"action"`
	App        string     `json:"app"`
	Name       string     `json:"name"` // "" if it may be a credential
	Client     string     `json:"client"`
	ServerName string     `json:"server_name"`
	TLS        string     `json:"tls"`
	Encoder    string     `json:"encoder"`
	Subject    string     `json:"subject,omitempty"`
	Key        string     `json:"key,omitempty"` // a fingerprint that stands for the credential
	Authorizer string     `json:"authorizer,omitempty"`
	Listener   string     `json:"listener,omitempty"`
	Origin     string     `json:"origin,omitempty"`
	Server     string     `json:"server,omitempty"`
	Stage      string     `json:"stage,omitempty"` // refused
	Side       string     `json:"side,omitempty"`  // stream_ended
	Reason     string     `json:"reason,omitempty"`
	Detail     string     `json:"detail,omitempty"`
	BytesIn    *int64     `json:"bytes_in,omitempty"` // stream_ended
	BytesOut   *int64     `json:"bytes_out,omitempty"`
	Seconds    *float64   `json:"seconds,omitempty"`
	Until      *time.Time `json:"until,omitempty"` // banned
	Count      int        `json:"count,omitempty"`
}

func native(e proxy.Event, name string) message {
	v := nativeEvent{
		Version: 1, Event: name, ID: e.Session, Time: e.Time.UTC(), Action: string(e.Action), App: e.App, Name: nameOf(e), Client: clientOf(e),
		ServerName: e.ServerName, TLS: e.TLS, Encoder: e.Encoder, Subject: e.Subject, Authorizer: e.By, Listener: e.Listener,
		Origin: e.Origin, Server: e.Server, Stage: string(e.Stage), Side: string(e.Side), Reason: e.Reason,
	}
	if e.Subject == "" {
		v.Key = e.Fingerprint
	}
	if e.Err != nil {
		v.Detail = clip(e.Err.Error())
	}
	switch e.Kind {
	case proxy.Ended:
		seconds := float64(e.Duration.Milliseconds()) / 1000
		v.BytesIn, v.BytesOut, v.Seconds = &e.BytesIn, &e.BytesOut, &seconds
	case proxy.Banned:
		until := e.Ban.Until.UTC()
		v.Until, v.Count = &until, e.Ban.Count
	}
	body, err := json.Marshal(v)
	if err != nil { // it is made of texts, numbers and times
		panic("notify: " + err.Error())
	}
	return message{"application/json", body}
}

// nameOf is the granted name, unless that may be a credential.
func nameOf(e proxy.Event) string {
	if e.NameIsKey {
		return ""
	}
	return e.Name
}

// clientOf is address and port, or the network of a ban; "" on a unix socket.
func clientOf(e proxy.Event) string {
	switch {
	case e.Kind == proxy.Banned && e.Ban.Network.IsSingleIP():
		return e.Ban.Network.Addr().String()
	case e.Kind == proxy.Banned:
		return e.Ban.Network.String()
	case !e.Client.IsValid():
		return ""
	}
	return e.Client.String()
}

// addressOf is the client's address without a port.
func addressOf(e proxy.Event) string {
	if !e.Client.IsValid() {
		return ""
	}
	return e.Client.Addr().String()
}

func clip(s string) string {
	if len(s) <= maxDetail {
		return s
	}
	return strings.ToValidUTF8(s[:maxDetail], "") + "…"
}

// ended reports whether a stream's event is its end. The dialects of other
// servers know streams only.
func ended(e proxy.Event) bool { return e.Kind == proxy.Ended }

// tcURL is what a client could have asked for.
func tcURL(e proxy.Event) string {
	return "rtmp://" + cmp.Or(e.ServerName, "localhost") + "/" + e.App
}

// nginx is nginx-rtmp's notify module: on_publish, on_play and their ends.
func nginx(e proxy.Event, _ string) message {
	call, more := string(e.Action), "&type=live"
	if e.Action == "play" {
		more = "&start=-2000&duration=0&reset=0"
	}
	if ended(e) {
		call, more = call+"_done", ""
	}
	var b strings.Builder
	for _, f := range [][2]string{{"app", e.App}, {"flashver", e.Encoder}, {"swfurl", ""}, {"tcurl", tcURL(e)}, {"pageurl", ""},
		{"addr", addressOf(e)}, {"clientid", e.Session}, {"call", call}, {"name", nameOf(e)}} {
		b.WriteString("&" + f[0] + "=" + formField(f[1]))
	}
	return message{"application/x-www-form-urlencoded", []byte(b.String()[1:] + more)}
}

// formField escapes a value much as nginx does: what is left as it is has no
// meaning in a form.
func formField(s string) string {
	const plain = "-._~/:(),!*$'@"
	var b strings.Builder
	for i := range len(s) {
		c := s[i]
		if 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte(plain, c) >= 0 {
			b.WriteByte(c)
			continue
		}
		const digits = "0123456789ABCDEF"
		b.Write([]byte{'%', digits[c>>4], digits[c&15]})
	}
	return b.String()
}

// processID stands for this run of the program, as SRS's ids do.
var processID = "vid-" + strings.ToLower(rand.Text()[:10])

// srs is SRS's http_hooks: on_publish, on_play and their ends.
func srs(e proxy.Event, _ string) message {
	action, page := "on_publish", (*string)(nil)
	switch {
	case e.Action == "play" && ended(e):
		action = "on_stop"
	case e.Action == "play":
		action, page = "on_play", new(string)
	case ended(e):
		action = "on_unpublish"
	}
	body, err := json.Marshal(srshook.Hook{ServerID: processID, ServiceID: processID, Action: action, IP: addressOf(e), TcURL: tcURL(e), PageURL: page}.
		At(e.Session, e.App, nameOf(e)))
	if err != nil {
		panic("notify: " + err.Error())
	}
	return message{"application/json", body}
}
