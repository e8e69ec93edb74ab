package probe

import (
	"errors"
	"net"
	"net/url"
	"slices"
	"strings"

	"rtmps-edge/internal/secret"
	"rtmps-edge/internal/terminal"
)

// Ports of URLs that name none.
const (
	portRTMP  = "1935"
	portRTMPS = "443"
)

// Target is an RTMP URL, taken apart.
type Target struct {
	Secure     bool
	Host, Port string
	app        secret.Text // may have a query with a token
	name       secret.Text
	user       string // to log in with; "" = nobody
	password   secret.Text
}

// errURL repeats nothing of what was given: there is a key in it.
var errURL = errors.New("the URL must be rtmps://HOST[:PORT]/APP/KEY, or rtmp://…")

// ParseURL reads rtmp[s]://host[:port]/app/name, as ffmpeg does: the name is what
// comes after the last slash before any question mark.
func ParseURL(s string) (Target, error) {
	t, path, err := parseServer(s)
	if err != nil {
		return t, err
	}
	head, _, _ := strings.Cut(path, "?")
	i := strings.LastIndexByte(strings.TrimRight(head, "/"), '/')
	if i < 0 {
		return t, errURL
	}
	return t.With(path[:i], path[i+1:])
}

// ParseServer reads rtmp[s]://host[:port]/app, what OBS calls Server; the key
// stands elsewhere.
func ParseServer(s, key string) (Target, error) {
	t, path, err := parseServer(s)
	if err != nil {
		return t, err
	}
	return t.With(path, key)
}

// With returns t with an app and a key.
func (t Target) With(app, key string) (Target, error) {
	if key == "" {
		return t, errors.New("there is no stream key: " + errURL.Error())
	}
	t.app, t.name = secret.New(strings.Trim(app, "/")), secret.New(key)
	return t, nil
}

func parseServer(s string) (t Target, path string, err error) {
	scheme, rest, _ := strings.Cut(s, "://")
	authority, path, _ := strings.Cut(rest, "/")
	switch strings.ToLower(scheme) {
	case "rtmps":
		t.Secure, t.Port = true, portRTMPS
	case "rtmp":
		t.Port = portRTMP
	default:
		return t, "", errURL
	}
	u, err := url.Parse("rtmp://" + authority)
	if err != nil || u.Hostname() == "" || u.Path != "" || u.RawQuery != "" || u.Fragment != "" {
		return t, "", errURL
	}
	if u.User != nil {
		password, ok := u.User.Password()
		if t.user = u.User.Username(); t.user == "" || !ok {
			return t, "", errors.New("whoever logs in has a user and a password: rtmps://USER:PASSWORD@HOST/APP/KEY")
		}
		t.password = secret.New(password)
	}
	t.Host = u.Hostname()
	if u.Port() != "" {
		t.Port = u.Port()
	}
	return t, path, nil
}

func (t Target) hostPort() string { return net.JoinHostPort(t.Host, t.Port) }

// tcURL is what encoders send: the server as it was typed.
func (t Target) tcURL(app string) string {
	scheme := "rtmp://"
	if t.Secure {
		scheme = "rtmps://"
	}
	return scheme + t.hostPort() + "/" + app
}

// tooShort are parts of a key that would be found in any text.
const tooShort = 4

// secrets are the texts that must not be shown, the longest first: the key, its
// query, the values in it, each as it is and decoded.
func (t Target) secrets() []string {
	key, query, _ := strings.Cut(t.name.Reveal(), "?")
	_, appQuery, _ := strings.Cut(t.app.Reveal(), "?")
	all := []string{t.name.Reveal(), key, query, appQuery, t.password.Reveal()}
	for _, q := range []string{query, appQuery} {
		for pair := range strings.SplitSeq(q, "&") {
			_, value, _ := strings.Cut(pair, "=")
			all = append(all, value)
		}
	}
	for _, s := range slices.Clone(all) {
		if decoded, err := url.QueryUnescape(s); err == nil {
			all = append(all, decoded)
		}
	}
	all = slices.DeleteFunc(all, func(s string) bool { return len(s) < tooShort })
	slices.SortFunc(all, func(a, b string) int { return len(b) - len(a) })
	return slices.Compact(all)
}

// maxQuote is how much of a stranger's text is repeated, in bytes.
const maxQuote = 300

// quote repeats what a server said, without the key, which servers like to
// repeat, and without control characters.
func (t Target) quote(said string) string {
	for _, s := range t.secrets() {
		said = hide(said, s)
	}
	if len(said) > maxQuote {
		said = strings.ToValidUTF8(said[:maxQuote], "") + "…"
	}
	return `"` + terminal.Plain(said) + `"`
}

// hide replaces s in text, in small letters and in capitals: nginx-rtmp makes
// names small.
func hide(text, s string) string {
	var b strings.Builder
	for len(text) >= len(s) {
		if asciiEqual(text[:len(s)], s) {
			b.WriteString("[key]")
			text = text[len(s):]
			continue
		}
		b.WriteByte(text[0])
		text = text[1:]
	}
	return b.String() + text
}

// asciiEqual compares bytes, which need not be UTF-8.
func asciiEqual(a, b string) bool {
	for i := range len(a) {
		if small(a[i]) != small(b[i]) {
			return false
		}
	}
	return true
}

func small(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		c += 'a' - 'A'
	}
	return c
}
