package admin

import (
	"net"
	"path/filepath"
	"strings"
	"testing"
)

func TestPrivate(t *testing.T) {
	t.Parallel()
	for listen, want := range map[string]bool{
		DefaultListen: true, "[::1]:9936": true, "localhost:0": true, "LocalHost:0": true, "127.8.9.1:1": true, "unix:/run/x.sock": true, "[::ffff:127.0.0.1]:1": true,
		":9936": false, "0.0.0.0:9936": false, "[::]:9936": false, "192.0.2.1:9936": false, "edge.example:9936": false, "localhost.example:1": false, "": false,
	} {
		if Private(listen) != want {
			t.Errorf("%q is private: %v", listen, !want)
		}
	}
}

// Who may use a unix socket may change what it serves.
func TestUnixSocket(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	e := newEdge(t, nil)
	e.url, e.client = serve(t, e.a, ln)
	e.url = "http://any-name"
	for _, path := range []string{"GET /api/v1/status", "POST /api/v1/reload", "GET /control/drop/client?app=x"} {
		method, path, _ := strings.Cut(path, " ")
		if r, body := e.do(method, path); r.StatusCode != 200 {
			t.Errorf("%s: %s %s", path, r.Status, body)
		}
	}
}
