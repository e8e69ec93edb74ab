package authz

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
)

// nginxReserved are the fields that nginx-rtmp itself sends.
var nginxReserved = []string{
	"app", "flashver", "swfurl", "tcurl", "pageurl", "addr", "clientid", "epoch", "call",
	"name", "type", "start", "duration", "reset", "time", "timestamp", "recorder", "path",
}

// maxLocation is nginx-rtmp's own limit of a new name.
const maxLocation = 255

// nginxDialect is nginx-rtmp's notify module: a form, whose answer is its
// status, and a new name in Location.
type nginxDialect struct{ cfg WebhookConfig }

func (d nginxDialect) ask(q question) message {
	url, call, more := d.cfg.URL, "publish", "&name="+formField(q.key)+"&type=live"
	if q.Action == Play {
		url, call, more = d.cfg.PlayURL, "play", "&name="+formField(q.key)+"&start=-2000&duration=0&reset=0"
	}
	if q.Running > 0 {
		call = "update_" + call
		more = "&time=" + strconv.FormatInt(int64(q.Running.Seconds()), 10) + "&timestamp=" + strconv.FormatInt(q.Running.Milliseconds(), 10) + "&name=" + formField(q.key)
	}
	return d.message(url, q, call, more)
}

func (d nginxDialect) done(q question, _ Grant) (message, bool) {
	url, call := d.cfg.DoneURL, "publish_done"
	if q.Action == Play {
		url, call = d.cfg.PlayDoneURL, "play_done"
	}
	return d.message(url, q, call, "&name="+formField(q.key)), true
}

// message keeps nginx-rtmp's order: session, call, its own fields, and then
// what the client sent.
func (d nginxDialect) message(url string, q question, call, more string) message {
	form := "app=" + formField(q.App) +
		"&flashver=" + formField(q.Encoder) +
		"&swfurl=&tcurl=" + formField(q.tcURL) +
		"&pageurl=&addr=" + formField(q.address()) +
		"&clientid=" + formField(q.ID) +
		"&call=" + call + more
	args := rawQuery(q.query)
	if !d.cfg.Raw {
		args = withoutReserved(args, nginxReserved)
	}
	if args != "" {
		form += "&" + args
	}
	if d.cfg.Method == "get" {
		sep := "?"
		if strings.Contains(url, "?") {
			sep = "&"
		}
		return message{method: http.MethodGet, url: url + sep + form}
	}
	return message{method: http.MethodPost, url: url, body: []byte(form), header: map[string]string{"Content-Type": "application/x-www-form-urlencoded"}}
}

func (nginxDialect) judge(q question, a reply) (Grant, error) {
	switch {
	case a.status/100 == 2:
		return Grant{}, nil
	case a.status/100 == 3 && q.Running > 0:
		return Grant{}, nil // an update renames nothing
	case a.status/100 == 3:
		return renamed(a.location)
	}
	return Grant{}, fmt.Errorf("%w: status %d", ErrDenied, a.status)
}

// renamed reads the Location of a redirect: verbatim the new name, or a URL to
// which nginx-rtmp would relay. To relay to the same machine is what people do
// to publish a key in one app under a name in another, and means that here; no
// other machine is dialed at a backend's word.
func renamed(location string) (Grant, error) {
	if len(location) > maxLocation {
		return Grant{}, fmt.Errorf("%w: its Location has more than %d bytes", errUnusable, maxLocation)
	}
	lower := strings.ToLower(location)
	if !strings.HasPrefix(lower, "rtmp://") {
		return Grant{Name: location}, nil
	}
	host, path, _ := strings.Cut(location[len("rtmp://"):], "/")
	if !loopback(host) {
		return Grant{}, fmt.Errorf("%w: its Location asks to relay to another server: configure it as an origin", errUnusable)
	}
	i := strings.LastIndex(path, "/")
	if i < 0 {
		return Grant{}, fmt.Errorf("%w: its Location has an app and no name", errUnusable)
	}
	return Grant{App: path[:i], Name: path[i+1:]}, nil
}

func loopback(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	addr, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil && addr.IsLoopback() || strings.EqualFold(host, "localhost")
}
