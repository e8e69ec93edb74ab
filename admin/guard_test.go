package admin

import (
	"encoding/json"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"rtmps-edge/internal/secret"
)

const token = "correct-horse-battery"

func basic(name, password string) func(*http.Request) {
	return func(q *http.Request) { q.SetBasicAuth(name, password) }
}

func host(name string) func(*http.Request) { return func(q *http.Request) { q.Host = name } }

func TestTheTokenGuardsAllButHealth(t *testing.T) {
	t.Parallel()
	e := newEdge(t, nil)
	e.a.SetToken(secret.New(token))
	for _, r := range e.a.routes(false) {
		path := strings.NewReplacer("{$}", "", "{id}", "x", "{ip...}", "192.0.2.1", "{what}", "client", "{profile...}", "").Replace(r.path)
		open := path == "/healthz" || path == "/readyz"
		for what, change := range map[string][]func(*http.Request){
			"nothing":       {own},
			"wrong bearer":  {own, header("Authorization", "Bearer wrong")},
			"empty bearer":  {own, header("Authorization", "Bearer ")},
			"longer bearer": {own, header("Authorization", "Bearer "+token+"x")},
			"wrong basic":   {own, basic("admin", "wrong")},
			"no scheme":     {own, header("Authorization", token)},
		} {
			if got, body := e.do(r.method, path, change...); (got.StatusCode == 401) == open || strings.Contains(body, token) {
				t.Errorf("%s %s with %s: %s", r.method, path, what, got.Status)
			}
		}
		if r.long || r.path == "/api/v1/live" {
			continue
		}
		for what, change := range map[string][]func(*http.Request){
			"bearer":          {header("Authorization", "Bearer "+token)},
			"bearer in lower": {header("Authorization", "bearer "+token)},
			"basic":           {own, basic("anybody", token)},
		} {
			if got, body := e.do(r.method, path, change...); got.StatusCode == 401 || got.StatusCode == 403 {
				t.Errorf("%s %s with %s: %s %s", r.method, path, what, got.Status, body)
			}
		}
	}
	r, _ := e.do("GET", "/no/such/page")
	if r.StatusCode != 401 || len(r.Header.Values("WWW-Authenticate")) != 2 {
		t.Errorf("%s %v", r.Status, r.Header)
	}
}

// Without a token, a page of another site must not reach the address: neither by
// a name of its own that it lets point here, nor through the user's browser.
func TestOtherSitesAreRefused(t *testing.T) {
	t.Parallel()
	e := newEdge(t, nil)
	for _, c := range []struct {
		what, method, path string
		change             []func(*http.Request)
		want               int
	}{
		{"the user", "GET", "/api/v1/status", nil, 200},
		{"localhost", "GET", "/api/v1/status", []func(*http.Request){host("localhost:9936")}, 200},
		{"LOCALHOST.", "GET", "/api/v1/status", []func(*http.Request){host("LOCALHOST.:9936")}, 200},
		{"IPv6", "GET", "/api/v1/status", []func(*http.Request){host("[::1]:9936")}, 200},
		{"rebinding", "GET", "/api/v1/status", []func(*http.Request){host("evil.example:9936")}, 421},
		{"rebinding to the dashboard", "GET", "/", []func(*http.Request){host("evil.example")}, 421},
		{"rebinding by a look-alike", "GET", "/api/v1/status", []func(*http.Request){host("127.0.0.1.evil.example")}, 421},
		{"rebinding to health", "GET", "/healthz", []func(*http.Request){host("evil.example")}, 200},
		{"another site reads", "GET", "/api/v1/sessions", []func(*http.Request){header("Sec-Fetch-Site", "cross-site")}, 403},
		{"another site reads, by its origin", "GET", "/api/v1/sessions", []func(*http.Request){header("Origin", "http://evil.example")}, 403},
		{"another port is another site", "GET", "/api/v1/sessions", []func(*http.Request){header("Sec-Fetch-Site", "same-site")}, 403},
		{"a link to the dashboard", "GET", "/", []func(*http.Request){header("Sec-Fetch-Site", "cross-site")}, 200},
		{"the dashboard reads", "GET", "/api/v1/sessions", []func(*http.Request){header("Sec-Fetch-Site", "same-origin")}, 200},
		{"the dashboard changes", "POST", "/api/v1/reload", []func(*http.Request){header("Sec-Fetch-Site", "same-origin"), own}, 200},
		{"a proxy with another name in front", "POST", "/api/v1/reload", []func(*http.Request){header("Sec-Fetch-Site", "same-origin"), header("Origin", "https://x.example"), own}, 200},
		{"a form", "POST", "/api/v1/drain", []func(*http.Request){header("Sec-Fetch-Site", "cross-site")}, 403},
		{"a form of an old browser", "POST", "/api/v1/drain", []func(*http.Request){header("Origin", "null")}, 403},
		{"a form of a very old browser", "POST", "/api/v1/drain", nil, 403},
		{"a script", "POST", "/api/v1/drain", []func(*http.Request){own}, 202},
		{"a script without the header", "DELETE", "/api/v1/sessions/x", nil, 403},
		{"a script with it", "DELETE", "/api/v1/sessions/x", []func(*http.Request){own}, 404},
		{"nginx-rtmp's scripts", "GET", "/control/drop/client?app=live", nil, 200},
		{"an image", "GET", "/control/drop/client?app=live", []func(*http.Request){header("Sec-Fetch-Site", "cross-site")}, 403},
		{"a link", "GET", "/control/drop/client?app=live", []func(*http.Request){header("Sec-Fetch-Site", "none")}, 403},
		{"an image in an old browser", "GET", "/control/drop/client?app=live", []func(*http.Request){header("User-Agent", "Mozilla/5.0")}, 403},
		{"an image with a referrer", "GET", "/control/drop/client?app=live", []func(*http.Request){header("Referer", "http://evil.example/")}, 403},
		{"the wrong method", "POST", "/api/v1/status", []func(*http.Request){own}, 405},
		{"no such page", "GET", "/api/v2/", nil, 404},
	} {
		if r, body := e.do(c.method, c.path, c.change...); r.StatusCode != c.want {
			t.Errorf("%s: %s, want %d: %s", c.what, r.Status, c.want, body)
		}
	}
}

// With a token, the browser may have the password at hand: that is no will.
func TestAPasswordAtHandChangesNothing(t *testing.T) {
	t.Parallel()
	e := newEdge(t, nil)
	e.a.SetToken(secret.New(token))
	for _, path := range []string{"POST /api/v1/drain", "GET /control/drop/client?app=live", "DELETE /api/v1/sessions/x"} {
		method, path, _ := strings.Cut(path, " ")
		if r, _ := e.do(method, path, basic("x", token)); r.StatusCode != 403 {
			t.Errorf("%s %s: %s", method, path, r.Status)
		}
		if r, _ := e.do(method, path, basic("x", token), own); r.StatusCode == 403 {
			t.Errorf("%s %s with the header: %s", method, path, r.Status)
		}
	}
	// No name leads here with credentials but the user's own.
	if r, _ := e.do("GET", "/api/v1/status", basic("x", token), host("edge.example")); r.StatusCode != 200 {
		t.Error(r.Status)
	}
}

func TestHeadersOfThePage(t *testing.T) {
	t.Parallel()
	e := newEdge(t, nil)
	r, body := e.do("GET", "/")
	csp := r.Header.Get("Content-Security-Policy")
	if !strings.Contains(csp, "default-src 'none'") || strings.Contains(csp, "unsafe") || !strings.Contains(csp, "frame-ancestors 'none'") {
		t.Error(csp)
	}
	for _, want := range []string{"nosniff", "no-referrer", "DENY", "no-store"} {
		found := false
		for _, v := range r.Header {
			found = found || v[0] == want
		}
		if !found {
			t.Errorf("%s is not in %v", want, r.Header)
		}
	}
	if !strings.Contains(body, "dashboard.js") {
		t.Error(body)
	}
}

func TestRequestsAreBounded(t *testing.T) {
	t.Parallel()
	e := newEdge(t, nil)
	for what, request := range map[string]string{
		"headers": "GET /healthz HTTP/1.1\r\nHost: x\r\nX: " + strings.Repeat("x", 2*maxHeader) + "\r\n\r\n",
		"no HTTP": "\x16\x03\x01\x02\x00\x01\x00\r\n\r\n",
	} {
		c, err := net.Dial("tcp", strings.TrimPrefix(e.url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(c, request)
		answer, _ := io.ReadAll(c)
		_ = c.Close()
		if !strings.HasPrefix(string(answer), "HTTP/1.1 4") {
			t.Errorf("%s: %q", what, answer)
		}
	}
	r, err := e.client.Post(e.url+"/api/v1/reload", "text/plain", strings.NewReader(strings.Repeat("x", 2*maxBody)))
	if err != nil {
		t.Fatal(err)
	}
	_ = r.Body.Close()
	if r.StatusCode != 403 {
		t.Error(r.Status)
	}
}

// Who is on this machine may ask for everything else without a token, but not for
// what is in memory.
func TestProfilesNeedAToken(t *testing.T) {
	t.Parallel()
	e := newEdge(t, nil)
	if got, body := e.do("GET", "/debug/pprof/heap", own); got.StatusCode != 403 || !strings.Contains(body, "token_file") {
		t.Errorf("without a token: %s %s", got.Status, body)
	}
	e.a.SetToken(secret.New(token))
	if got, _ := e.do("GET", "/debug/pprof/heap", header("Authorization", "Bearer "+token)); got.StatusCode != 200 {
		t.Errorf("with the token: %s", got.Status)
	}
}

// What there is not is told as all else that fails, and only to who may ask.
func TestWhatThereIsNot(t *testing.T) {
	t.Parallel()
	e := newEdge(t, nil)
	for _, c := range []struct {
		method, path string
		status       int
		allow        string
	}{
		{"GET", "/api", 404, ""}, {"GET", "/api/", 404, ""}, {"GET", "/api/v1/nothing", 404, ""}, {"DELETE", "/api/v1/nothing", 404, ""},
		{"GET", "/api/v1/sessions/a/b", 404, ""}, {"GET", "/favicon.ico", 404, ""},
		{"GET", "/api/v1/reload", 405, "POST"}, {"PUT", "/api/v1/sessions", 405, "GET, HEAD"}, {"POST", "/api/v1/sessions/x", 405, "DELETE, GET, HEAD"},
		{"POST", "/stat", 405, "GET, HEAD"},
	} {
		r, body := e.do(c.method, c.path, own)
		var f Failure
		if err := json.Unmarshal([]byte(body), &f); err != nil || f.Error == "" || !strings.Contains(f.Error, c.allow) || r.StatusCode != c.status ||
			r.Header.Get("Content-Type") != "application/json" || r.Header.Get("Allow") != c.allow || r.Header.Get("Content-Security-Policy") != policy {
			t.Errorf("%s %s: %s %v %q", c.method, c.path, r.Status, r.Header, body)
		}
	}
	e.a.SetToken(secret.New(token))
	if r, body := e.do("GET", "/api/v1/nothing"); r.StatusCode != 401 {
		t.Errorf("%s %s", r.Status, body)
	}
}
