package main

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"rtmps-edge/config"
	"rtmps-edge/rtmp/rtmptest"
)

// Every edge.toml that the pages show is a good one.
func TestConfigurationsInDocsAreGood(t *testing.T) {
	t.Parallel()
	pages, err := filepath.Glob("../../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, page := range append(pages, "../../README.md") {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for i, block := range strings.Split(string(text), "```toml\n")[1:] {
			block, _, ok := strings.Cut(block, "```")
			if !ok || !strings.Contains(block, "[[listener]]") {
				continue // not a whole one
			}
			found++
			dir := t.TempDir()
			for name, text := range map[string]string{"edge.toml": block, "keys.toml": "", "users.toml": "", "certificates.toml": "",
				"ome.secret": "1234567890123456\n", "signing.secrets": "0123456789abcdef0123456789abcdef\n"} {
				if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := config.Load(filepath.Join(dir, "edge.toml")); err != nil {
				t.Errorf("%s, configuration %d:\n%v", page, i+1, err)
			}
		}
	}
	if found < 7 {
		t.Errorf("only %d configurations were found", found)
	}
}

// backend is a callback handler as people write them for nginx-rtmp.
type backend struct {
	*httptest.Server
	calls chan url.Values
}

func newBackend(t *testing.T) *backend {
	b := &backend{calls: make(chan url.Values, 16)}
	b.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(io.LimitReader(r.Body, 1<<16))
		form, _ := url.ParseQuery(string(body))
		b.calls <- form
		if form.Get("call") == "publish" && form.Get("name") != siteKey {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		if form.Get("call") == "publish" {
			w.Header().Set("Location", "renamed")
			w.WriteHeader(http.StatusFound)
		}
	}))
	t.Cleanup(b.Close)
	return b
}

func (b *backend) call(t *testing.T) url.Values {
	t.Helper()
	select {
	case form := <-b.calls:
		return form
	case <-time.After(rtmptest.Patience):
		t.Fatal("the backend is not asked")
	}
	return nil
}

// A backend written for nginx-rtmp decides, renames, and hears of the end.
func TestWebhook(t *testing.T) {
	t.Parallel()
	b := newBackend(t)
	s := newSite(t, basic+fmt.Sprintf("[authz]\npublish = [\"webhook\"]\n[authz.webhook]\nurl = %q\ndialect = \"nginx-rtmp\"\n", b.URL))
	p := s.mustPublish("127.0.0.1:0", true)
	asked := b.call(t)
	if asked.Get("call") != "publish" || asked.Get("app") != "live" || asked.Get("addr") != "127.0.0.1" || asked.Get("flashver") == "" {
		t.Errorf("the backend is asked %v", asked)
	}
	if err := p.Stop(); err != nil {
		t.Fatal(err)
	}
	if end := b.call(t); end.Get("call") != "publish_done" || end.Get("name") != "renamed" && end.Get("name") != siteKey {
		t.Errorf("the backend hears %v", end)
	}
	s.logs.wait(t, 1, "stream ended", "name=renamed")
	if _, err := s.publish("127.0.0.1:0", true, "wrong"); err == nil {
		t.Error("published against the backend's word")
	}
	s.logs.wait(t, 1, "refused", "reason=denied")
	names := s.origin.Conn(t, 0).Names()
	for _, n := range names {
		if n.Name != "renamed" {
			t.Errorf("the origin sees %q", n.Name)
		}
	}
}
