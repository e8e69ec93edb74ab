package authz

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"rtmps-edge/internal/fault"
	"rtmps-edge/internal/hooksig"
	"rtmps-edge/internal/secret"
)

// heard is what a backend was sent.
type heard struct {
	mu       sync.Mutex
	requests []*http.Request
	bodies   []string
}

func (h *heard) add(r *http.Request) string {
	body, _ := io.ReadAll(r.Body)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.requests, h.bodies = append(h.requests, r), append(h.bodies, string(body))
	return string(body)
}

func (h *heard) all() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.bodies)
}

// webhookTo returns a Webhook that asks a backend which answers with handler.
func webhookTo(t testing.TB, cfg WebhookConfig, handler func(http.ResponseWriter, *http.Request, string)) (*Webhook, *heard) {
	t.Helper()
	h := &heard{}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { handler(w, r, h.add(r)) }))
	t.Cleanup(srv.Close)
	cfg.URL = srv.URL + "/auth"
	return newWebhook(t, cfg), h
}

func newWebhook(t testing.TB, cfg WebhookConfig) *Webhook {
	t.Helper()
	w, err := NewWebhook(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := w.Flush(ctx); err != nil {
			t.Error(err)
		}
		w.Close()
	})
	return w
}

// answering answers always the same.
func answering(status int, body string) func(http.ResponseWriter, *http.Request, string) {
	return func(w http.ResponseWriter, _ *http.Request, _ string) {
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

func hooked(key, query string) Request {
	return Request{
		Action: Publish, App: "live", Key: secret.New(key), Query: secret.New(query), Client: netip.MustParseAddrPort("[::ffff:192.0.2.7]:5000"),
		ID: "c0ffee123456", Encoder: "FMLE/3.0 (compatible; FMSc/1.0)", TcURL: secret.New("rtmps://user:" + canary + "@live.example.com:443/live?token=" + canary),
		ServerName: "live.example.com", TLS: &tls.ConnectionState{Version: tls.VersionTLS13},
	}
}

func TestWebhookDecides(t *testing.T) {
	type want struct {
		grant Grant
		err   error // nil = granted
	}
	granted := func(app, name string) want {
		g := Grant{App: app, Name: name, By: ByWebhook}
		if name != "key" {
			g.Subject = name
		}
		return want{grant: g}
	}
	denied, unknown, fault, unusable := want{err: ErrDenied}, want{err: ErrUnknown}, want{err: errors.New("fault")}, want{err: errUnusable}
	for _, c := range []struct {
		dialect, location, body string
		status                  int
		want                    want
	}{
		{"nginx-rtmp", "", "", 200, granted("", "key")},
		{"nginx-rtmp", "", "no", 204, granted("", "key")},
		{"nginx-rtmp", "", "", 403, denied},
		{"nginx-rtmp", "", "", 404, denied},
		{"nginx-rtmp", "", "", 500, denied},
		{"nginx-rtmp", "", "", 501, denied},
		{"nginx-rtmp", "", "", 502, fault},
		{"nginx-rtmp", "", "", 503, fault},
		{"nginx-rtmp", "", "", 504, fault},
		{"nginx-rtmp", "", "", 302, granted("", "key")},
		{"nginx-rtmp", "alice", "", 302, granted("", "alice")},
		{"nginx-rtmp", "room/alice", "", 301, granted("", "room/alice")},
		{"nginx-rtmp", "rtmp://127.0.0.1/show/alice", "", 302, granted("show", "alice")},
		{"nginx-rtmp", "RTMP://localhost:1935/show/sub/alice", "", 307, granted("show/sub", "alice")},
		{"nginx-rtmp", "rtmp://[::1]:1935/show/alice", "", 302, granted("show", "alice")},
		{"nginx-rtmp", "rtmp://192.0.2.1/show/alice", "", 302, unusable},
		{"nginx-rtmp", "rtmp://localhost.example.com/show/alice", "", 302, unusable},
		{"nginx-rtmp", "rtmp://127.0.0.1/alice", "", 302, unusable},
		{"nginx-rtmp", "rtmp://127.0.0.1", "", 302, unusable},
		{"nginx-rtmp", "/alice", "", 302, unusable},
		{"nginx-rtmp", "http://backend/alice", "", 302, unusable},
		{"nginx-rtmp", "alice?token=1", "", 302, unusable},
		{"nginx-rtmp", "a..b", "", 302, unusable},
		{"nginx-rtmp", strings.Repeat("a", 256), "", 302, unusable},
		{"srs", "", "0", 200, granted("", "key")},
		{"srs", "", " 0\r\n", 201, granted("", "key")},
		{"srs", "", `{"code":0}`, 200, granted("", "key")},
		{"srs", "", `{"code": 0 , "data":null}`, 200, granted("", "key")},
		{"srs", "", `{"code":0}`, 202, denied},
		{"srs", "", `{"code":1}`, 200, denied},
		{"srs", "", `{"code":"0"}`, 200, denied},
		{"srs", "", `{"code":0.0}`, 200, denied},
		{"srs", "", `{"Code":0}`, 200, denied},
		{"srs", "", `{"code":1,"CODE":0}`, 200, denied},
		{"srs", "", `{}`, 200, denied},
		{"srs", "", `"0"`, 200, denied},
		{"srs", "", `00`, 200, denied},
		{"srs", "", `null`, 200, denied},
		{"srs", "", `[0]`, 200, denied},
		{"srs", "", ``, 200, denied},
		{"srs", "", `<html>`, 200, denied},
		{"srs", "", `0`, 500, denied},
		{"srs", "", `0`, 302, denied},
		{"mediamtx", "", "", 200, granted("", "key")},
		{"mediamtx", "", "", 299, granted("", "key")},
		{"mediamtx", "", "", 401, denied},
		{"mediamtx", "alice", "", 302, denied},
		{"ome", "", `{"allowed":true}`, 200, granted("", "key")},
		{"ome", "", `{"allowed":true,"new_url":"rtmp://other:1935/show/alice","lifetime":0,"reason":"x"}`, 200, granted("show", "alice")},
		{"ome", "", `{"allowed":true,"new_url":"rtmp://other/show/a%6Cice?x=1"}`, 200, granted("show", "alice")},
		{"ome", "", `{"allowed":true,"new_url":"rtmp://other:1936/show/alice"}`, 200, unusable},
		{"ome", "", `{"allowed":true,"new_url":"http://other:1935/show/alice"}`, 200, unusable},
		{"ome", "", `{"allowed":true,"new_url":"rtmp://other:1935/alice"}`, 200, unusable},
		{"ome", "", `{"allowed":true,"new_url":"rtmp://other:1935/show/"}`, 200, unusable},
		{"ome", "", `{"allowed":true,"new_url":"rtmp://other:1935/show/a%20b"}`, 200, unusable},
		{"ome", "", `{"allowed":true,"new_url":"rtmp://other:1935/show/a%252e"}`, 200, unusable},
		{"ome", "", `{"allowed":true,"new_url":"::"}`, 200, unusable},
		{"ome", "", `{"allowed":true,"lifetime":-1}`, 200, unusable},
		{"ome", "", `{"allowed":false}`, 200, denied},
		{"ome", "", `{"allowed":1}`, 200, denied},
		{"ome", "", `{"allowed":"true"}`, 200, denied},
		{"ome", "", `{}`, 200, denied},
		{"ome", "", `{"allowed":true}`, 201, denied},
		{"ome", "", `garbage`, 200, denied},
		{"native", "", `{"allow":true}`, 200, granted("", "key")},
		{"native", "", `{"allow":true,"subject":"alice","app":"show","name":"alice","origin":"main","bitrate":"8Mbit","expires":"2999-01-01T00:00:00Z"}`, 200,
			want{grant: Grant{Subject: "alice", App: "show", Name: "alice", Origin: "main", Bitrate: 8_000_000, Expires: time.Date(2999, 1, 1, 0, 0, 0, 0, time.UTC), By: ByWebhook}}},
		{"native", "", `{"allow":true,"bitrate":8000,"expires":null}`, 200, want{grant: Grant{Name: "key", Bitrate: 8000, By: ByWebhook}}},
		{"native", "", `{"allow":true,"expires":1000000000}`, 200, denied},
		{"native", "", `{"allow":true,"expires":"soon"}`, 200, unusable},
		{"native", "", `{"allow":true,"expires":-1}`, 200, unusable},
		{"native", "", `{"allow":true,"bitrate":"fast"}`, 200, unusable},
		{"native", "", `{"allow":true,"bitrate":-1}`, 200, unusable},
		{"native", "", `{"allow":true,"bitrate":1.5}`, 200, unusable},
		{"native", "", `{"allow":true,"name":"a b"}`, 200, unusable},
		{"native", "", `{"allow":true,"app":"a?b"}`, 200, unusable},
		{"native", "", `{"allow":true,"subject":"a\nb"}`, 200, unusable},
		{"native", "", `{"allow":false}`, 200, denied},
		{"native", "", `{"allow":"yes"}`, 200, fault},
		{"native", "", `{}`, 200, fault},
		{"native", "", ``, 200, fault},
		{"native", "", `{"allow":true}`, 403, denied},
		{"native", "", `{"allow":true}`, 404, unknown},
		{"native", "", `{"allow":true}`, 201, fault},
		{"native", "", `{"allow":true}`, 500, fault},
		{"native", "alice", `{"allow":true}`, 302, fault},
	} {
		w, h := webhookTo(t, WebhookConfig{Dialect: c.dialect, DoneURL: "none"}, func(w http.ResponseWriter, _ *http.Request, _ string) {
			if c.location != "" {
				w.Header().Set("Location", c.location)
			}
			w.WriteHeader(c.status)
			_, _ = io.WriteString(w, c.body)
		})
		g, err := w.Authorize(t.Context(), hooked("key", "token="+canary))
		name := fmt.Sprintf("%s %d %s%s", c.dialect, c.status, c.location, c.body)
		switch want := c.want.err; {
		case want == nil:
			if diff := cmp.Diff(c.want.grant, g); err != nil || diff != "" {
				t.Errorf("%s: %v %s", name, err, diff)
			}
		case want == fault.err:
			if err == nil || resultOf(err) != Failed || errors.Is(err, errUnusable) || g != (Grant{}) {
				t.Errorf("%s: got %+v, %v, want a fault", name, g, err)
			}
		case !errors.Is(err, want):
			t.Errorf("%s: got %+v, %v, want %v", name, g, err, want)
		}
		if err != nil && strings.Contains(err.Error(), canary) {
			t.Errorf("%s: told %v", name, err)
		}
		if n := len(h.all()); n != 1 {
			t.Errorf("%s: asked %d times", name, n)
		}
	}
}

func TestWebhookLifetime(t *testing.T) {
	w, _ := webhookTo(t, WebhookConfig{Dialect: "ome", DoneURL: "none"}, answering(200, `{"allowed":true,"lifetime":60000}`))
	before := time.Now()
	g, err := w.Authorize(t.Context(), hooked("key", ""))
	if err != nil || g.Expires.Before(before.Add(time.Minute)) || g.Expires.After(time.Now().Add(time.Minute)) {
		t.Errorf("got %v, %v", g.Expires, err)
	}
}

// nginx-rtmp's fields in their order, escaped as it does.
func TestNginxForm(t *testing.T) {
	session := "app=live&flashver=FMLE/3.0%20(compatible%3B%20FMSc/1.0)&swfurl=&tcurl=rtmps://live.example.com:443/live&pageurl=&addr=192.0.2.7&clientid=c0ffee123456"
	for want, change := range map[string]func(*Request){
		"&call=publish&name=a%2Bb%20c%26d%25&type=live&token=x%2By&z=a+b%3Bc%20%25zz":                      func(r *Request) {},
		"&call=play&name=a%2Bb%20c%26d%25&start=-2000&duration=0&reset=0&token=x%2By&z=a+b%3Bc%20%25zz":    func(r *Request) { r.Action = Play },
		"&call=update_publish&time=61&timestamp=61500&name=a%2Bb%20c%26d%25&token=x%2By&z=a+b%3Bc%20%25zz": func(r *Request) { r.Running = 61500 * time.Millisecond },
		"&call=publish&name=a%2Bb%20c%26d%25&type=live":                                                    func(r *Request) { r.Query = secret.Text{} },
	} {
		w, h := webhookTo(t, WebhookConfig{Dialect: "nginx-rtmp"}, answering(500, ""))
		r := hooked("a+b c&d%", "token=x%2By&z=a+b;c %zz")
		change(&r)
		_, _ = w.Authorize(t.Context(), r)
		if got := h.all(); len(got) != 1 || got[0] != session+want {
			t.Errorf("got  %s\nwant %s", got, session+want)
		}
		if ct := h.requests[0].Header.Get("Content-Type"); ct != "application/x-www-form-urlencoded" || h.requests[0].Method != http.MethodPost {
			t.Errorf("got %s, %s", h.requests[0].Method, ct)
		}
	}
}

func TestNginxGet(t *testing.T) {
	w, h := webhookTo(t, WebhookConfig{Dialect: "nginx-rtmp", Method: "get"}, answering(200, ""))
	w.cfg.URL += "?site=1"
	w.dialect = nginxDialect{w.cfg}
	if _, err := w.Authorize(t.Context(), hooked("key", "name=x&token=a#b c\u00e4")); err != nil {
		t.Fatal(err)
	}
	r := h.requests[0]
	if r.Method != http.MethodGet || !strings.HasPrefix(r.RequestURI, "/auth?site=1&app=live&") || !strings.HasSuffix(r.RequestURI, "&call=publish&name=key&type=live&token=a%23b%20c%C3%A4") {
		t.Errorf("got %s %s", r.Method, r.RequestURI)
	}
}

// The readers of forms that backends are written in. All of them must find the
// name and the app that the edge authorizes.
var formReaders = map[string]func(body, field string) string{
	"Go":     func(body, field string) string { v, _ := url.ParseQuery(body); return v.Get(field) },
	"PHP":    readPHP,
	"Python": func(body, field string) string { return readFirst(body, field, "&;") },
	"ASP.NET": func(body, field string) string {
		return readFirst(strings.ToLower(body), strings.ToLower(field), "&")
	},
	"Express": readQS,
}

func readFirst(body, field, separators string) string {
	for _, part := range strings.FieldsFunc(body, func(r rune) bool { return strings.ContainsRune(separators, r) }) {
		name, value, _ := strings.Cut(part, "=")
		name, _ = url.QueryUnescape(name)
		if value, _ = url.QueryUnescape(value); strings.TrimSpace(name) == field {
			return value
		}
	}
	return ""
}

// readPHP keeps the last, trims blanks before a name, cuts at NUL and [.
func readPHP(body, field string) string {
	found := ""
	for part := range strings.SplitSeq(body, "&") {
		name, value, _ := strings.Cut(part, "=")
		name, _ = url.QueryUnescape(name)
		value, _ = url.QueryUnescape(value)
		name, _, _ = strings.Cut(name, "\x00")
		name, _, _ = strings.Cut(strings.TrimLeft(name, " "), "[")
		if strings.NewReplacer(".", "_", " ", "_").Replace(name) == field {
			found = value
		}
	}
	return found
}

// readQS joins what has the same name, also in brackets or behind a dot.
func readQS(body, field string) string {
	var found []string
	for part := range strings.SplitSeq(body, "&") {
		name, value, _ := strings.Cut(part, "=")
		name, _ = url.QueryUnescape(name)
		value, _ = url.QueryUnescape(value)
		name = strings.TrimPrefix(name, "[")
		if i := strings.IndexAny(name, "[]."); i >= 0 {
			name = name[:i]
		}
		if name == field {
			found = append(found, value)
		}
	}
	return strings.Join(found, ",")
}

// smuggling are queries that would make some backend read another name or app.
var smuggling = []string{
	"name=victim&app=other", "&name=victim", "x=1&name=victim", "NAME=victim&App=other", "%6eame=victim", "%6E%61%6D%65=victim&%61pp=other",
	"name[]=victim", "name%5B%5D=victim", "name[x]=victim", "[name]=victim", "%5Bname%5D=victim", "name.x=victim", "name%00=victim", "name%00x=victim",
	"+name=victim", "%20name=victim", " name=victim", "name+=victim", "x;name=victim", "x=1;name=victim;app=other", "x=%26name=victim",
	"name", "name=", "call=publish_done", "addr=127.0.0.1&tcurl=rtmp://other/", "[[name=victim", "%09name=victim", "name%5B%=victim", "na%6de%zz%5B=victim",
}

func TestSmuggling(t *testing.T) {
	for _, query := range smuggling {
		w, h := webhookTo(t, WebhookConfig{Dialect: "nginx-rtmp", DoneURL: "none"}, answering(200, ""))
		if _, err := w.Authorize(t.Context(), hooked("key", query+"&token=t")); err != nil {
			t.Fatalf("%s: %v", query, err)
		}
		body := h.all()[0]
		for language, read := range formReaders {
			for field, want := range map[string]string{"name": "key", "app": "live", "call": "publish", "addr": "192.0.2.7", "token": "t"} {
				if got := read(body, field); got != want {
					t.Errorf("%s reads %s = %q out of %s", language, field, got, body)
				}
			}
		}
	}
}

// Who asks for it gets the parameters as nginx-rtmp passes them on; control
// bytes and blanks are escaped even so.
func TestRawParameters(t *testing.T) {
	w, h := webhookTo(t, WebhookConfig{Dialect: "nginx-rtmp", Raw: true}, answering(200, ""))
	if _, err := w.Authorize(t.Context(), hooked("key", "name=other&x= y")); err != nil {
		t.Fatal(err)
	}
	if got := h.all()[0]; !strings.HasSuffix(got, "&name=key&type=live&name=other&x=%20y") {
		t.Errorf("got %s", got)
	}
}

func TestWebhookIsNotAskedAboutNonsense(t *testing.T) {
	for _, dialect := range Dialects() {
		w, h := webhookTo(t, WebhookConfig{Dialect: dialect}, answering(200, `{"allow":true,"allowed":true,"code":0}`))
		for name, change := range map[string]func(*Request){
			"no name":  func(r *Request) { r.Key = secret.Text{} },
			"no app":   func(r *Request) { r.App = "" },
			"odd app":  func(r *Request) { r.App = "a&b" },
			"line end": func(r *Request) { r.Query = secret.New("a\r\nX: y") },
			"NUL":      func(r *Request) { r.Key = secret.New("a\x00b") },
			"too long": func(r *Request) { r.Query = secret.New(strings.Repeat("a", maxQuery)) },
		} {
			r := hooked("key", "")
			change(&r)
			if _, err := w.Authorize(t.Context(), r); !errors.Is(err, ErrDenied) {
				t.Errorf("%s, %s: got %v", dialect, name, err)
			}
		}
		if n := len(h.all()); n != 0 {
			t.Errorf("%s was asked %d times", dialect, n)
		}
	}
}

// The origin never sees a name of the client's that origins read differently,
// though a backend may know it.
func TestOddNameNeedsAnother(t *testing.T) {
	odd := hooked("p%40ss/../word?", "")
	for dialect, bodies := range map[string][2]string{
		"ome":    {`{"allowed":true}`, `{"allowed":true,"new_url":"rtmp://h:1935/live/alice"}`},
		"native": {`{"allow":true}`, `{"allow":true,"name":"alice"}`},
	} {
		w, _ := webhookTo(t, WebhookConfig{Dialect: dialect, DoneURL: "none"}, answering(200, bodies[0]))
		if _, err := w.Authorize(t.Context(), odd); !errors.Is(err, ErrDenied) {
			t.Errorf("%s: got %v", dialect, err)
		}
		w, _ = webhookTo(t, WebhookConfig{Dialect: dialect, DoneURL: "none"}, answering(200, bodies[1]))
		if g, err := w.Authorize(t.Context(), odd); err != nil || g.Name != "alice" {
			t.Errorf("%s: got %+v, %v", dialect, g, err)
		}
	}
}

// decoded decodes a JSON body into a map of texts.
func decoded(t *testing.T, body string) map[string]any {
	t.Helper()
	var m map[string]any
	if err := json.Unmarshal([]byte(body), &m); err != nil {
		t.Fatalf("%v in %s", err, body)
	}
	return m
}

// An SRS backend as its documentation has it: it looks at the action, and at a
// token in param.
func TestSRSBackend(t *testing.T) {
	w, h := webhookTo(t, WebhookConfig{Dialect: "srs"}, func(w http.ResponseWriter, r *http.Request, body string) {
		m := decoded(t, body)
		switch action := m["action"]; {
		case r.Header.Get("Content-Type") != "application/json":
			t.Errorf("got %s", r.Header.Get("Content-Type"))
		case action == "on_publish" || action == "on_play":
			if m["param"] != "?token=good" {
				_, _ = io.WriteString(w, `{"code":1}`)
				return
			}
			fallthrough
		default:
			_, _ = io.WriteString(w, `{"code":0,"data":null}`)
		}
	})
	if _, err := w.Authorize(t.Context(), hooked("key", "token=bad")); !errors.Is(err, ErrDenied) {
		t.Errorf("got %v", err)
	}
	for _, action := range []Action{Publish, Play} {
		r := hooked("key", "token=good")
		r.Action = action
		g, err := w.Authorize(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		g.OnEnd.Ended()
		if err := w.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	var actions []any
	for _, body := range h.all() {
		actions = append(actions, decoded(t, body)["action"])
	}
	if diff := cmp.Diff([]any{"on_publish", "on_publish", "on_unpublish", "on_play", "on_stop"}, actions); diff != "" {
		t.Error(diff)
	}
	want := `{"server_id":"` + processID + `","service_id":"` + processID + `","action":"on_publish","client_id":"c0ffee123456","ip":"192.0.2.7","vhost":"__defaultVhost__",` +
		`"app":"live","tcUrl":"rtmps://live.example.com:443/live","stream":"key","param":"?token=good","stream_url":"/live/key","stream_id":"vid-c0ffee123456"}`
	if got := h.all()[1]; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestMediaMTXBody(t *testing.T) {
	for query, want := range map[string][3]string{
		"user=u&pass=p%2B1&token=t": {"u", "p+1", "p+1"},
		"user=u&user=v&pass=p":      {"u", "p", "p"},
		"token=t&jwt=j":             {"", "", "t"},
		"jwt=j":                     {"", "", "j"},
		"jwt=j&jwt=k":               {"", "", ""},
		"":                          {"", "", ""},
	} {
		w, h := webhookTo(t, WebhookConfig{Dialect: "mediamtx"}, answering(204, ""))
		r := hooked("key", query)
		g, err := w.Authorize(t.Context(), r)
		if err != nil || g.OnEnd != nil {
			t.Fatalf("got %+v, %v", g, err)
		}
		m := decoded(t, h.all()[0])
		if id, _ := m["id"].(string); len(id) != 36 || id[14] != '4' {
			t.Errorf("id = %v", m["id"])
		}
		delete(m, "id")
		if diff := cmp.Diff(map[string]any{
			"ip": "192.0.2.7", "user": want[0], "password": want[1], "token": want[2], "action": "publish", "path": "live/key",
			"protocol": "rtmp", "query": query, "userAgent": "FMLE/3.0 (compatible; FMSc/1.0)",
		}, m); diff != "" {
			t.Errorf("%s: %s", query, diff)
		}
	}
}

// A backend as OvenMediaEngine's manual has it: it checks the signature of the
// bytes that it got, and answers an empty object to closing.
func TestOMEBackend(t *testing.T) {
	w, h := webhookTo(t, WebhookConfig{Dialect: "ome", Secret: secret.New(canary)}, func(w http.ResponseWriter, r *http.Request, body string) {
		if r.Header.Get(hooksig.Header) != "" {
			t.Error("signed in a way that is not OvenMediaEngine's")
		}
		if got := r.Header.Get("X-OME-Signature"); got != omeSignature(canary, []byte(body)) || strings.ContainsAny(got, "+/=") || len(got) != 27 {
			t.Errorf("signature %s of %s", got, body)
		}
		if strings.Contains(body, `"closing"`) {
			_, _ = io.WriteString(w, `{}`)
			return
		}
		_, _ = io.WriteString(w, `{"allowed":true,"new_url":"rtmp://live.example.com:1935/show/alice"}`)
	})
	g, err := w.Authorize(t.Context(), hooked("key", "policy=a b"))
	if err != nil {
		t.Fatal(err)
	}
	g.OnEnd.Ended()
	g.OnEnd.Ended()
	if err := w.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := len(h.all()); n != 2 {
		t.Fatalf("heard %d", n)
	}
	for i, status := range []string{"opening", "closing"} {
		m := decoded(t, h.all()[i])
		request := m["request"].(map[string]any)
		at, _ := request["time"].(string)
		if _, err := time.Parse(omeTime, at); err != nil {
			t.Error(err)
		}
		delete(request, "time")
		want := map[string]any{
			"client":  map[string]any{"address": "192.0.2.7", "port": 5000.0, "real_ip": "192.0.2.7", "user_agent": "FMLE/3.0 (compatible; FMSc/1.0)"},
			"request": map[string]any{"direction": "incoming", "protocol": "rtmp", "status": status, "url": "rtmp://live.example.com:1935/live/key?policy=a%20b"},
		}
		if status == "closing" {
			want["request"].(map[string]any)["new_url"] = "rtmp://live.example.com:1935/show/alice"
		}
		if diff := cmp.Diff(want, m); diff != "" {
			t.Error(diff)
		}
	}
}

// HMAC-SHA1 over raw bytes, in base64url without padding, as openssl computes it.
func TestOMESignatureVector(t *testing.T) {
	if got := omeSignature("key", []byte("The quick brown fox jumps over the lazy dog")); got != "3nybhbi3iqa8ino29wqQcBydtNk" {
		t.Errorf("got %s", got)
	}
}

func TestNativeBody(t *testing.T) {
	w, h := webhookTo(t, WebhookConfig{Secret: secret.New(canary)}, func(w http.ResponseWriter, r *http.Request, body string) {
		checkSignature(t, r, body)
		_, _ = io.WriteString(w, `{"allow":true}`)
	})
	r := hooked("key", "token=t")
	g, err := w.Authorize(t.Context(), r)
	if err != nil || g.OnEnd != nil {
		t.Fatalf("got %+v, %v", g, err)
	}
	r.Running, r.User = 90*time.Second, "alice"
	if g, err := w.Authorize(t.Context(), r); err != nil || g.OnEnd != nil {
		t.Fatalf("got %+v, %v", g, err)
	}
	want := map[string]any{
		"version": 1.0, "event": "authorize", "id": "c0ffee123456", "action": "publish", "app": "live", "name": "key", "query": "token=t",
		"client": "192.0.2.7:5000", "server_name": "live.example.com", "tls": "TLS 1.3", "encoder": "FMLE/3.0 (compatible; FMSc/1.0)",
	}
	for i := range 2 {
		m := decoded(t, h.all()[i])
		at, _ := m["time"].(string)
		if _, err := time.Parse(time.RFC3339, at); err != nil {
			t.Error(err)
		}
		delete(m, "time")
		if i == 1 {
			want["event"], want["seconds"], want["user"] = "recheck", 90.0, "alice"
		}
		if diff := cmp.Diff(want, m); diff != "" {
			t.Error(diff)
		}
	}
}

// checkSignature judges what has come for a backend that has canary as its
// secret.
func checkSignature(t *testing.T, r *http.Request, content string) {
	t.Helper()
	var unix int64
	header := r.Header.Get(hooksig.Header)
	if _, err := fmt.Sscanf(header, "t=%d,", &unix); err != nil || time.Since(time.Unix(unix, 0)).Abs() > time.Minute {
		t.Errorf("%s: %v", header, err)
	}
	if header != hooksig.Of(secret.New(canary), []byte(content), time.Unix(unix, 0)) {
		t.Errorf("signature %s of %s", header, content)
	}
}

// Whatever the dialect: all that a backend hears is signed, the question, the one
// of a running stream, and the end; nothing without a secret.
func TestEveryDialectSigns(t *testing.T) {
	for _, c := range []struct {
		cfg      WebhookConfig
		messages int
	}{
		{WebhookConfig{Dialect: "native"}, 2},
		{WebhookConfig{Dialect: "nginx-rtmp"}, 3},
		{WebhookConfig{Dialect: "nginx-rtmp", Method: "get"}, 3},
		{WebhookConfig{Dialect: "srs"}, 3},
		{WebhookConfig{Dialect: "mediamtx"}, 2},
	} {
		for _, key := range []secret.Text{{}, secret.New(canary)} {
			c.cfg.Secret = key
			w, h := webhookTo(t, c.cfg, answering(200, `{"allow": true, "code": 0}`))
			r := hooked("key", "token=t&name=x y")
			g, err := w.Authorize(t.Context(), r)
			if err != nil {
				t.Fatal(err)
			}
			r.Running = time.Minute
			if _, err := w.Authorize(t.Context(), r); err != nil {
				t.Fatal(err)
			}
			if g.OnEnd != nil {
				g.OnEnd.Ended()
				if err := w.Flush(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			if got := len(h.all()); got != c.messages {
				t.Errorf("%s: %d messages", c.cfg.Dialect, got)
			}
			for i, body := range h.all() {
				r := h.requests[i]
				if r.Method == http.MethodGet {
					_, body, _ = strings.Cut(r.RequestURI, "?")
				}
				if !key.Empty() {
					checkSignature(t, r, body)
				} else if r.Header.Get(hooksig.Header) != "" {
					t.Error("signed without a secret")
				}
			}
		}
	}
}

// The end of a stream may have waited long to be told, and be told again: it is
// signed when it is sent.
func TestEndIsSignedWhenItIsSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin, sent := time.Now(), []string{}
		b := newBackend(WebhookConfig{Dialect: "srs", InFlight: 1, Secret: secret.New(canary)}, nil)
		b.http.Transport = roundTripper(func(r *http.Request) (*http.Response, error) {
			sent = append(sent, r.Header.Get(hooksig.Header))
			return nil, io.ErrUnexpectedEOF
		})
		c := newClosings(b, func(string) {})
		m := jsonMessage("http://backend.example/", map[string]int{"code": 0})
		c.tell(m)
		if err := c.flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		if passed := time.Since(begin); passed < 30*time.Second {
			t.Fatalf("only %v have passed", passed)
		}
		if want := hooksig.Of(b.secret, m.body, time.Now()); sent[0] != hooksig.Of(b.secret, m.body, begin) || sent[len(sent)-1] != want {
			t.Errorf("at first %s, last %s, want %s", sent[0], sent[len(sent)-1], want)
		}
	})
}

// roundTripper stands in for the network.
type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestWebhookFaults(t *testing.T) {
	for _, c := range []struct {
		cfg  WebhookConfig
		want string
	}{
		{WebhookConfig{}, "url: must be an http or https URL"},
		{WebhookConfig{URL: "ftp://u:" + canary + "@h/"}, "url: must be an http or https URL"},
		{WebhookConfig{URL: "http:///x"}, "url: must be"},
		{WebhookConfig{URL: "http://h/", PlayURL: "x"}, "play_url: must be"},
		{WebhookConfig{URL: "http://h/", DoneURL: "x"}, "done_url: must be"},
		{WebhookConfig{URL: "http://h/", Dialect: "nginx"}, `dialect = "nginx": must be one of native, nginx-rtmp`},
		{WebhookConfig{URL: "http://h/", Method: "put"}, "method"},
		{WebhookConfig{URL: "http://h/", Method: "get"}, "must be post, but with nginx-rtmp"},
		{WebhookConfig{URL: "http://h/", OnFailure: "open"}, `on_failure = "open": must be one of deny, allow, last`},
		{WebhookConfig{URL: "http://h/", Timeout: 4 * time.Second}, "timeout = \"4s\": must be from 10ms to 3.9s"},
		{WebhookConfig{URL: "http://h/", Timeout: -1}, "timeout"},
		{WebhookConfig{URL: "http://h/", Cache: 2 * time.Hour}, "cache"},
		{WebhookConfig{URL: "http://h/", InFlight: -1}, "in_flight"},
		{WebhookConfig{URL: "http://h/", CA: []byte(canary)}, "ca"},
	} {
		_, err := NewWebhook(c.cfg)
		var list fault.List
		if !errors.As(err, &list) || len(list) != 1 || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), canary) {
			t.Errorf("got %v, want %q", err, c.want)
		}
	}
	for _, cfg := range []WebhookConfig{{URL: "http://h"}, {URL: "https://u:p@h:1/a?b=c", DoneURL: "none", PlayDoneURL: "none", PlayURL: "http://p/"}, {URL: "http://h", Dialect: "nginx-rtmp", Method: "get"}} {
		if _, err := NewWebhook(cfg); err != nil {
			t.Error(err)
		}
	}
}

func TestHostOf(t *testing.T) {
	for tcURL, want := range map[string]string{
		"rtmp://live.example.com/live": "live.example.com", "rtmps://h:1935/live?x=//y": "h:1935", "rtmp://u:p@h/live": "h", "rtmp://[2001:db8::1]:1935/a": "[2001:db8::1]:1935",
		"rtmp://h?x": "h", "": "sni", "nonsense": "sni", "rtmp:///live": "sni", "rtmp://a b/live": "sni", "rtmp://a'b/": "sni", "rtmp://" + strings.Repeat("h", 256) + "/": "sni",
	} {
		if got := hostOf(Request{TcURL: secret.New(tcURL), ServerName: "sni"}); got != want {
			t.Errorf("%s: got %s", tcURL, got)
		}
	}
	if q := (question{host: "[::1]:5"}); q.hostname() != "[::1]" {
		t.Error(q.hostname())
	}
	if q := (question{host: "[::1]"}); q.hostname() != "[::1]" {
		t.Error(q.hostname())
	}
}

// FuzzNginxForm: whatever a client sends, every reader finds its own name and
// app, and nothing leaves the form's alphabet.
func FuzzNginxForm(f *testing.F) {
	for _, q := range smuggling {
		f.Add("key", q)
	}
	f.Fuzz(func(t *testing.T, key, query string) {
		r := hooked(key, query)
		if unfit(r) != "" {
			return
		}
		m := nginxDialect{WebhookConfig{URL: "http://h/"}}.ask(newQuestion(r))
		if i := strings.IndexFunc(string(m.body), func(c rune) bool { return c <= ' ' || c > '~' || strings.ContainsRune("\";#<>\\^`{|}", c) }); i >= 0 {
			t.Fatalf("%q at %d of %q", m.body[i], i, m.body)
		}
		for language, read := range formReaders {
			want := key
			if language == "ASP.NET" {
				continue // as it is read here, it changes the case of values as well
			}
			if got := read(string(m.body), "name"); got != want {
				t.Fatalf("%s reads name = %q, want %q, out of %s", language, got, want, m.body)
			}
			if got := read(string(m.body), "app"); got != "live" {
				t.Fatalf("%s reads app = %q out of %s", language, got, m.body)
			}
		}
	})
}

// FuzzJudge: whatever a backend answers, only a usable name is granted.
func FuzzJudge(f *testing.F) {
	f.Add(200, "", []byte(`{"allow":true,"name":"alice","bitrate":"8Mbit","expires":"2999-01-01T00:00:00Z"}`))
	f.Add(200, "", []byte(`{"allowed":true,"new_url":"rtmp://h:1935/a/b","lifetime":1}`))
	f.Add(302, "rtmp://127.0.0.1/a/b", []byte(`{"code":0}`))
	f.Fuzz(func(t *testing.T, status int, location string, body []byte) {
		q := newQuestion(hooked("key", "a=b"))
		for _, dialect := range Dialects() {
			g, err := WebhookConfig{Dialect: dialect}.dialect().judge(q, reply{status, location, body})
			if err == nil {
				err = checkGranted(q, &g)
			}
			if err == nil && (!CanonicalName(g.Name) || g.App != "" && !CanonicalName(g.App) || g.Bitrate < 0) {
				t.Fatalf("%s granted %+v", dialect, g)
			}
		}
	})
}

// FuzzHostOf: what a client says of the host that it wants cannot be anything
// but a host.
func FuzzHostOf(f *testing.F) {
	f.Add("rtmps://u:p@live.example.com:443/live?x")
	f.Add("rtmp://[2001:db8::1]/a")
	f.Fuzz(func(t *testing.T, tcURL string) {
		host := hostOf(Request{TcURL: secret.New(tcURL)})
		if len(host) > MaxKeyLength || strings.ContainsFunc(host, func(r rune) bool { return notCanonical(r) && !strings.ContainsRune("[]:", r) }) {
			t.Fatalf("got %q", host)
		}
	})
}

// FuzzMediaMTX: whatever stands in the query, the body is JSON that says what
// was asked.
func FuzzMediaMTX(f *testing.F) {
	f.Add("key", "user=u&pass=p%2B1&token=t&jwt=j")
	f.Fuzz(func(t *testing.T, key, query string) {
		r := hooked(key, query)
		if unfit(r) != "" || !utf8.ValidString(key) || !utf8.ValidString(query) {
			return
		}
		m := decoded(t, string(mediaMTXDialect{}.ask(newQuestion(r)).body))
		if m["path"] != "live/"+key || m["query"] != query || m["action"] != "publish" {
			t.Fatalf("got %v", m)
		}
	})
}
