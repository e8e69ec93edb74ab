package admin

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"rtmps-edge/internal/secret"
)

func newClient(t *testing.T, listen string, token secret.Text) *Client {
	t.Helper()
	c, err := NewClient(listen, token)
	if err != nil {
		t.Fatal(err)
	}
	c.http.Transport = &http.Transport{DisableKeepAlives: true}
	return c
}

func TestClient(t *testing.T) {
	t.Parallel()
	e := newEdge(t, nil)
	e.a.SetToken(secret.New(token))
	listen := strings.TrimPrefix(e.url, "http://")
	ctx := context.Background()
	var list []Session
	for _, at := range []string{listen, e.url, e.url + "/"} {
		if err := newClient(t, at, secret.New(token)).Get(ctx, "/api/v1/sessions", &list); err != nil {
			t.Errorf("%s: %v", at, err)
		}
	}
	c := newClient(t, listen, secret.New(token))
	var raw []byte
	if err := c.Get(ctx, "/api/v1/status", &raw); err != nil || !strings.Contains(string(raw), `"version": "1.2.3"`) {
		t.Errorf("%v: %s", err, raw)
	}
	var answer *AnswerError
	if err := c.Do(ctx, "DELETE", "/api/v1/sessions/none", &Done{}); !errors.As(err, &answer) || answer.Status != 404 || !strings.Contains(err.Error(), "no such session") {
		t.Error(err)
	}
	if err := newClient(t, listen, secret.New("wrong")).Get(ctx, "/api/v1/status", &raw); !errors.As(err, &answer) || answer.Status != 401 || strings.Contains(err.Error(), "wrong") {
		t.Error(err)
	}
	e.publish("one")
	seen := 0
	err := c.Follow(ctx, func(s State) bool {
		seen++
		return len(s.Sessions) == 0 || seen < 2
	})
	if err != nil || seen < 2 {
		t.Errorf("%d states, %v", seen, err)
	}
}

func TestClientOfNoEdge(t *testing.T) {
	t.Parallel()
	ln := listen(t)
	_ = ln.Close()
	for _, at := range []string{ln.Addr().String(), "unix:" + t.TempDir() + "/none"} {
		c, err := NewClient(at, secret.Text{})
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Get(context.Background(), "/api/v1/status", &Status{}); err == nil || !strings.Contains(err.Error(), "no edge answers at "+at) {
			t.Error(err)
		}
	}
	for _, bad := range []string{"", "nowhere", "ftp://x", "http://"} {
		if _, err := NewClient(bad, secret.Text{}); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
	for host, want := range map[string]string{":1": "127.0.0.1:1", "0.0.0.0:1": "127.0.0.1:1", "[::]:1": "[::1]:1", "192.0.2.1:1": "192.0.2.1:1"} {
		if c, err := NewClient(host, secret.Text{}); err != nil || c.base != "http://"+want {
			t.Errorf("%s: %+v, %v", host, c, err)
		}
	}
}

// What is no edge is said to be none.
func TestClientOfSomethingElse(t *testing.T) {
	t.Parallel()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		if q.URL.Path == "/api/v1/live" {
			_, _ = w.Write([]byte("event: state\ndata: {\n\n"))
			return
		}
		if q.Method == "POST" {
			w.WriteHeader(http.StatusTeapot)
		}
		_, _ = w.Write([]byte("<html>"))
	}))
	defer s.Close()
	c := newClient(t, s.URL, secret.Text{})
	if err := c.Get(context.Background(), "/api/v1/status", &Status{}); err == nil || !strings.Contains(err.Error(), "does not answer as an rtmps-edge") {
		t.Error(err)
	}
	if err := c.Do(context.Background(), "POST", "/api/v1/reload", &Done{}); err == nil || !strings.Contains(err.Error(), "418") {
		t.Error(err)
	}
	if err := c.Follow(context.Background(), func(State) bool { return true }); err == nil {
		t.Error("followed")
	}
}
