package proxy_test

import (
	"crypto/md5"
	"encoding/base64"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"rtmps-edge/authz"
	"rtmps-edge/proxy"
	"rtmps-edge/ratelimit"
	"rtmps-edge/rtmp/rtmptest"
)

// loginEdge is an edge where alice logs in with "s3cret".
func loginEdge(t *testing.T, change func(*proxy.Policy), origin *rtmptest.Origin) *edge {
	t.Helper()
	file := filepath.Join(t.TempDir(), "users.toml")
	if err := os.WriteFile(file, []byte("[[user]]\nname = \"alice\"\npassword = \"s3cret\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	p, err := authz.NewPassword(authz.PasswordConfig{File: file})
	if err != nil {
		t.Fatal(err)
	}
	return newEdge(t, func(policy *proxy.Policy) {
		policy.Password, policy.PasswordOnly, policy.Publish = p, true, p
		if change != nil {
			change(policy)
		}
	}, origin.Addr())
}

// connect publishes in an app with a login in it, and returns what was said of it.
func (e *edge) connect(t *testing.T, query string) (*rtmptest.Publisher, *rtmptest.StatusError) {
	t.Helper()
	app := "live"
	if query != "" {
		app += "?" + query
	}
	p, err := rtmptest.Publish(e.dial(t), rtmptest.PublishConfig{App: app, TcURL: "rtmps://edge.test/" + app, Name: "whatever", ChunkSize: 4096})
	var said *rtmptest.StatusError
	if err != nil && !errors.As(err, &said) {
		t.Fatal(err)
	}
	return p, said
}

// logIn is what OBS does, over three connections.
func (e *edge) logIn(t *testing.T, user, password string) (*rtmptest.Publisher, *rtmptest.StatusError) {
	t.Helper()
	_, said := e.connect(t, "")
	if said == nil || said.Code != "NetConnection.Connect.Rejected" || !strings.Contains(said.Description, "code=403 need auth; authmod=adobe") {
		t.Fatalf("a client without login hears %+v", said)
	}
	_, said = e.connect(t, "authmod=adobe&user="+user)
	if said == nil || strings.Contains(said.Description, "code=403 need auth") {
		t.Fatalf("a client with a user hears %+v", said)
	}
	m := regexp.MustCompile(`\?reason=needauth&user=` + user + `&salt=(\w+)&challenge=([\w-]+)&opaque=([\w-]+)$`).FindStringSubmatch(said.Description)
	if m == nil {
		t.Fatalf("challenge %q", said.Description)
	}
	h1 := md5.Sum([]byte(user + m[1] + password))
	r := md5.Sum([]byte(base64.StdEncoding.EncodeToString(h1[:]) + m[3] + "AAECAw=="))
	return e.connect(t, "authmod=adobe&user="+user+"&challenge=AAECAw==&response="+base64.StdEncoding.EncodeToString(r[:])+"&opaque="+m[3])
}

func TestLogin(t *testing.T) {
	t.Parallel()
	origin := rtmptest.NewOrigin(t, rtmptest.OriginConfig{})
	e := loginEdge(t, func(p *proxy.Policy) { // three connects in a row are no flood, and no guesses
		p.Limits.Bans = ratelimit.BanLimits{AuthFailures: ratelimit.Rate{Events: 1, Per: time.Hour}, Ban: time.Hour}
	}, origin)
	for range 2 {
		p, said := e.logIn(t, "alice", "s3cret")
		if said != nil {
			t.Fatalf("refused: %+v", said)
		}
		_ = p.Close()
	}
	c := origin.Conn(t, 0)
	if c.App() != "live" || strings.Contains(string(c.Raw()), "authmod") || strings.Contains(string(c.Raw()), "whatever") {
		t.Errorf("the origin sees app %q, or what the client has sent", c.App())
	}
	if start := e.events.wait(t, proxy.Started, nil); start.Subject != "alice" || start.Name != "alice" || start.By != "password" {
		t.Errorf("%+v", start)
	}
	for _, ev := range e.events.all() {
		if ev.Kind == proxy.Refused && ev.Reason != proxy.ReasonLogin {
			t.Errorf("refused: %s", ev.Reason)
		}
	}
}

func TestWrongLogins(t *testing.T) {
	t.Parallel()
	origin := rtmptest.NewOrigin(t, rtmptest.OriginConfig{})
	e := loginEdge(t, nil, origin)
	for _, user := range []string{"alice", "mallory"} {
		_, said := e.logIn(t, user, "wrong")
		if said == nil || !strings.Contains(said.Description, "?reason=authfailed&opaque=") {
			t.Errorf("%s with a wrong password hears %+v", user, said)
		}
	}
	if n := len(origin.Conns()); n != 0 {
		t.Errorf("the origin heard of it %d times", n)
	}
	e.events.wait(t, proxy.Refused, func(e proxy.Event) bool { return e.Reason == "denied" && e.Stage == proxy.StageAuthorize })
}

func TestWrongLoginsAreBanned(t *testing.T) {
	t.Parallel()
	origin := rtmptest.NewOrigin(t, rtmptest.OriginConfig{})
	e := loginEdge(t, func(p *proxy.Policy) {
		p.Limits.Bans = ratelimit.BanLimits{AuthFailures: ratelimit.Rate{Events: 1, Per: time.Hour}, Ban: time.Hour}
	}, origin)
	for i := range 4 {
		if len(e.Limiter().Bans.List()) > 0 {
			return
		}
		_, _ = e.logIn(t, "alice", "wrong")
		waitFor(t, func() bool { return e.events.count(proxy.Refused) == 3*(i+1) }) // it is counted by then
	}
	t.Error("guesses of a password are not counted")
}

// Beside other authorizers, a client without login goes on, and with one is known.
func TestLoginBesideKeys(t *testing.T) {
	t.Parallel()
	origin := rtmptest.NewOrigin(t, rtmptest.OriginConfig{})
	e := loginEdge(t, func(p *proxy.Policy) {
		p.PasswordOnly = false
		p.Publish = authz.NewChain(authz.ChainConfig{Authorizers: []authz.Named{{Name: "password", Authorizer: p.Password},
			{Name: "keys", Authorizer: onlyKey("whatever", "live", "by-key")}}})
	}, origin)
	p, said := e.connect(t, "")
	if said != nil {
		t.Fatalf("%+v", said)
	}
	_ = p.Close()
	if start := e.events.wait(t, proxy.Started, nil); start.Name != "by-key" {
		t.Errorf("%+v", start)
	}
	_, said = e.connect(t, "authmod=adobe&user=alice")
	if said == nil || !strings.Contains(said.Description, "reason=needauth") {
		t.Errorf("%+v", said)
	}
}
