package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// secrets of clients, none of which may turn up behind the edge or in its log.
const (
	tokenSecret = "a-token-secret-of-32-bytes-or-more"
	clientToken = "distinctive-client-token"
	hookKey     = "distinctive-stream-key"
)

// hookBackend is a backend that was written for nginx-rtmp: it knows one key,
// which it renames.
type hookBackend struct {
	*httptest.Server
	mu    sync.Mutex
	calls []string
}

func newHookBackend(t *testing.T) *hookBackend {
	t.Helper()
	b := &hookBackend{}
	b.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b.mu.Lock()
		b.calls = append(b.calls, r.PostFormValue("call")+" "+r.PostFormValue("app")+" "+r.PostFormValue("name"))
		b.mu.Unlock()
		if r.PostFormValue("name") != hookKey || r.PostFormValue("token") != clientToken {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		w.Header().Set("Location", "alice")
		w.WriteHeader(http.StatusFound)
	}))
	t.Cleanup(b.Close)
	return b
}

func (b *hookBackend) all() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return strings.Join(b.calls, ", ")
}

// holdsNo fails if any of secrets stands in the log or reached the origin.
func (s *site) holdsNo(secrets ...string) {
	s.t.Helper()
	seen := s.logs.String()
	for _, c := range s.origin.Conns() {
		seen += fmt.Sprint(c.App(), c.TcURL(), c.Names(), c.Messages())
	}
	for _, text := range secrets {
		if strings.Contains(seen, text) {
			s.t.Errorf("%s is known to the log or to the origin", text)
		}
	}
}

func TestWebhookDecidesHereAsThere(t *testing.T) {
	t.Parallel()
	b := newHookBackend(t)
	s := newSite(t, basic+"[authz]\npublish = [\"webhook\"]\n[authz.webhook]\ndialect = \"nginx-rtmp\"\nurl = \""+b.URL+"/on_publish\"\n")
	if _, err := s.publish("127.0.0.1:0", true, hookKey+"?token=wrong"); err == nil {
		t.Error("published with a wrong token")
	}
	p, err := s.publish("127.0.0.1:0", true, hookKey+"?token="+clientToken)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Stop(); err != nil {
		t.Fatal(err)
	}
	s.logs.wait(t, 1, "stream ended", "subject=alice")
	s.stop() // tells the backend what is over
	want := "publish live " + hookKey + ", publish live " + hookKey + ", publish_done live " + hookKey
	if got := b.all(); got != want {
		t.Errorf("the backend heard %s", got)
	}
	if names := s.origin.Conn(t, 0).Names(); len(names) == 0 {
		t.Error("the origin saw no name")
	}
	s.holdsNo(hookKey, clientToken)
}

// A backend that is down refuses nobody for good: it is no wrong key.
func TestWebhookDown(t *testing.T) {
	t.Parallel()
	b := newHookBackend(t)
	b.Close()
	s := newSite(t, basic+"[authz]\npublish = [\"webhook\"]\n[authz.webhook]\ndialect = \"nginx-rtmp\"\nurl = \""+b.URL+"/\"\n")
	_, err := s.publish("127.0.0.1:0", true, hookKey)
	if err == nil || !strings.Contains(err.Error(), "NetStream.Failed") {
		t.Errorf("got %v", err)
	}
	s.logs.wait(t, 1, "refused", "reason=unavailable")
	s.holdsNo(hookKey)
}

func TestTokens(t *testing.T) {
	t.Parallel()
	s := newSite(t, basic+"[authz]\npublish = [\"jwt\"]\n[authz.jwt]\nkey_file = \"token.keys\"\n", func(dir string) {
		if err := os.WriteFile(filepath.Join(dir, "token.keys"), []byte(tokenSecret+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	})
	sign := func(name string) string {
		token, err := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{
			"sub": "alice", "exp": time.Now().Add(time.Hour).Unix(), "rtmp": []any{map[string]any{"action": "publish", "app": "live", "name": name}},
		}).SignedString([]byte(tokenSecret))
		if err != nil {
			t.Fatal(err)
		}
		return token
	}
	for key, name := range map[string]string{sign("one"): "one", "any?token=" + sign("two"): "two", "three?jwt=" + sign("*"): "three"} {
		p, err := s.publish("127.0.0.1:0", true, key)
		if err != nil {
			t.Fatal(err)
		}
		s.logs.wait(t, 1, "stream started", "name="+name, "subject=alice")
		_ = p.Stop()
	}
	p, err := s.publish("127.0.0.1:0", true, "four?token="+sign("*"))
	if err != nil {
		t.Fatal(err)
	}
	s.write("token.keys", "another-secret-of-32-bytes-or-more\n")
	if _, err := p.WaitEnd(); err != nil {
		t.Logf("the publisher's end: %v", err)
	}
	s.logs.wait(t, 1, "stream ended", "name=four", "reason=revoked")
	if _, err := s.publish("127.0.0.1:0", true, "five?token="+sign("*")); err == nil {
		t.Error("good with a key that is gone")
	}
	s.holdsNo(tokenSecret, sign("one")[:30])
}

// What is wrong with the configuration of a webhook or of tokens is told at
// once, with its line, and without what may be a secret.
func TestAuthorizerFaults(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "edge.toml")
	text := strings.ReplaceAll(basic, "ORIGIN", "127.0.0.1:1") + `[authz]
publish = ["webhook", "jwt"]
[authz.webhook]
url = "ftp://user:` + clientToken + `@host/"
dialect = "apache"
timeout = "5s"
[authz.jwt]
issuer = "x"
`
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	cmd := rootCommand()
	cmd.SetArgs([]string{"check", "-c", file})
	cmd.SetOut(&out)
	cmd.SetErr(&out)
	err := cmd.Execute()
	said := out.String() + fmt.Sprint(err)
	for _, want := range []string{"edge.toml:10: authz.webhook.url: must be an http", "edge.toml:11: authz.webhook.dialect", "edge.toml:12: authz.webhook.timeout", "authz.jwt.jwks_url: is missing"} {
		if !strings.Contains(said, want) {
			t.Errorf("%q is not in\n%s", want, said)
		}
	}
	if strings.Contains(said, clientToken) {
		t.Errorf("told %s", said)
	}
}
