package e2e

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// callback is a backend of nginx-rtmp's on_publish. It keeps the forms as they
// came, admits one key, and calls its stream "renamed".
type callback struct {
	*httptest.Server
	forms chan string
}

func newCallback(t *testing.T, key string) *callback {
	c := &callback{forms: make(chan string, 32)}
	c.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(io.LimitReader(r.Body, 1<<16))
		c.forms <- string(body)
		form, _ := url.ParseQuery(string(body))
		switch {
		case form.Get("call") != "publish":
		case form.Get("name") != key || form.Get("token") != "abc":
			w.WriteHeader(http.StatusForbidden)
		default:
			w.Header().Set("Location", "renamed")
			w.WriteHeader(http.StatusFound)
		}
	}))
	t.Cleanup(c.Close)
	return c
}

// next returns the next form of that call.
func (c *callback) next(t *testing.T, call string) string {
	t.Helper()
	timeout := time.After(patience)
	for {
		select {
		case form := <-c.forms:
			if strings.Contains(form, "call="+call+"&") || strings.HasSuffix(form, "call="+call) {
				return form
			}
		case <-timeout:
			t.Fatalf("waited for the call %s", call)
		}
	}
}

// keysOf returns the names of a form's fields in their order.
func keysOf(form string) (keys []string) {
	for field := range strings.SplitSeq(form, "&") {
		key, _, _ := strings.Cut(field, "=")
		keys = append(keys, key)
	}
	return keys
}

// A backend that was written for nginx-rtmp hears the same from the edge as from
// nginx-rtmp itself, and its answers have the same effect.
func TestCallbacksAsNginxMakesThem(t *testing.T) {
	t.Parallel()
	key := newKey("alice")
	c := newCallback(t, key.text)

	// nginx-rtmp asks by itself.
	itself := startNginxWith(t, "", fmt.Sprintf("on_publish %[1]s/auth; on_publish_done %[1]s/auth;", c.URL))
	direct := startProgram(t, "ffmpeg", ffmpegArgs("rtmp://"+itself.address()+"/live/"+key.text+"?token=abc")...)
	published(t, itself, "live/renamed")
	want := c.next(t, "publish")
	direct.interrupt(t)
	wantDone := c.next(t, "publish_done")

	// The edge asks in its place.
	behind := startNginx(t)
	e := prepareEdge(t, settings{Origin: behind.address(), Publish: `"webhook"`})
	e.secrets = append(e.secrets, key.text)
	e.addConfig(t, fmt.Sprintf("\n[authz.webhook]\nurl = \"%s/auth\"\ndialect = \"nginx-rtmp\"\n", c.URL))
	e.run(t, e.command(t, "run", "-c", filepath.Join(e.dir, "edge.toml")))
	through := publishFFmpeg(t, e.url(), key.text+"?token=abc")
	published(t, behind, "live/renamed")
	got := c.next(t, "publish")
	through.stop(t)
	gotDone := c.next(t, "publish_done")

	if !slices.Equal(keysOf(got), keysOf(want)) {
		t.Errorf("the edge sends the fields\n%v\nnginx-rtmp sends\n%v", keysOf(got), keysOf(want))
	}
	if !slices.Equal(keysOf(gotDone), keysOf(wantDone)) {
		t.Errorf("at the end the edge sends the fields\n%v\nnginx-rtmp sends\n%v", keysOf(gotDone), keysOf(wantDone))
	}
	ours, theirs := parseForm(t, got), parseForm(t, want)
	if v := ours.Get("flashver"); v == "" || !strings.HasPrefix(v, theirs.Get("flashver")) { // nginx-rtmp cuts it at 31 bytes
		t.Errorf("flashver is %q from the edge and %q from nginx-rtmp", v, theirs.Get("flashver"))
	}
	for _, field := range []string{"app", "addr", "call", "name", "type", "token", "pageurl"} {
		if ours.Get(field) != theirs.Get(field) {
			t.Errorf("%s is %q from the edge and %q from nginx-rtmp", field, ours.Get(field), theirs.Get(field))
		}
	}

	// What the backend refuses is refused, and here the encoder hears why.
	refused := publishFFmpeg(t, e.url(), e.secret()+"?token=abc")
	refused.waitText(t, "The stream key is not valid here")
	refused.exit(t)
}

// addConfig appends to the edge.toml of an edge that does not run yet.
func (e *edge) addConfig(t testing.TB, text string) {
	t.Helper()
	file := filepath.Join(e.dir, "edge.toml")
	before, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, file, string(before)+text)
}

func parseForm(t *testing.T, form string) url.Values {
	t.Helper()
	v, err := url.ParseQuery(form)
	if err != nil {
		t.Fatal(err)
	}
	return v
}
