package authz

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"rtmps-edge/internal/fault"
	"rtmps-edge/internal/secret"
)

func newKeys(t *testing.T, text string) *Keys {
	t.Helper()
	k, err := NewKeys(KeysConfig{File: keysToml(t, text)})
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// one is a file with one entry of the key "a".
func one(lines ...string) string {
	return "[[key]]\nsubject = 'alice'\nhash = 'plain:a'\n" + strings.Join(lines, "\n") + "\n"
}

func ask(k *Keys, change ...func(*Request)) (Grant, error) {
	r := Request{Action: Publish, App: "live", Key: secret.New("a"), Client: netip.MustParseAddrPort("192.0.2.1:5000")}
	for _, c := range change {
		c(&r)
	}
	return k.Authorize(context.Background(), r)
}

func granted(t *testing.T, k *Keys) Grant {
	t.Helper()
	g, err := ask(k)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func revoked(g Grant) bool {
	select {
	case <-g.Revoked:
		return true
	default:
		return false
	}
}

func rewrite(t *testing.T, k *Keys, text string) {
	t.Helper()
	write(t, k.file, text)
	if err := k.Reload(); err != nil {
		t.Fatal(err)
	}
}

func TestGrant(t *testing.T) {
	k := newKeys(t, one("name = 'studio'", "origin = 'main'", "bitrate = '8Mbit'", "expires = 2999-01-01T00:00:00Z"))
	g := granted(t, k)
	want := Grant{By: ByKeys, Subject: "alice", Name: "studio", Origin: "main", Bitrate: 8_000_000, Expires: time.Date(2999, 1, 1, 0, 0, 0, 0, time.UTC), Revoked: g.Revoked}
	if g.Revoked == nil || g != want {
		t.Errorf("got %+v", g)
	}
	if g := granted(t, newKeys(t, one())); g.Name != "alice" || !g.Expires.IsZero() {
		t.Errorf("got %+v", g)
	}
}

func TestTwoKeysOfOneSubject(t *testing.T) {
	k := newKeys(t, one()+"[[key]]\nsubject = 'alice'\nhash = 'plain:b'\n")
	for _, key := range []string{"a", "b"} {
		if g, err := ask(k, func(r *Request) { r.Key = secret.New(key) }); err != nil || g.Subject != "alice" {
			t.Errorf("%s: got %+v, %v", key, g, err)
		}
	}
}

func TestUnknownKeys(t *testing.T) {
	k := newKeys(t, one())
	for _, key := range []string{"", "A", "a ", "alice", HashKey("a"), "plain:a", strings.Repeat("a", MaxKeyLength+1), strings.Repeat("a", 1<<20)} {
		if g, err := ask(k, func(r *Request) { r.Key = secret.New(key) }); err != ErrUnknown || g != (Grant{}) {
			t.Errorf("%.20q: got %+v, %v", key, g, err)
		}
	}
}

func TestLongestKey(t *testing.T) {
	long := strings.Repeat("a", MaxKeyLength)
	k := newKeys(t, strings.Replace(one(), "plain:a", "plain:"+long, 1))
	if _, err := ask(k, func(r *Request) { r.Key = secret.New(long) }); err != nil {
		t.Error(err)
	}
}

func TestDenied(t *testing.T) {
	from := func(addr string) func(*Request) {
		return func(r *Request) { r.Client = netip.MustParseAddrPort(addr) }
	}
	none := func(*Request) {}
	for _, c := range []struct {
		line string
		ask  func(*Request)
		why  string // "" = granted
	}{
		{"disabled = true", none, "disabled"},
		{"disabled = false", none, ""},
		{"actions = ['play']", none, "not for this action"},
		{"actions = ['play', 'publish']", none, ""},
		{"", func(r *Request) { r.Action = Play }, "not for this action"},
		{"", func(r *Request) { r.Action = "" }, "not for this action"},
		{"app = 'other'", none, "not for this app"},
		{"app = 'li*'", none, ""},
		{"app = '*'", none, ""},
		{"from = ['198.51.100.0/24']", none, "not from this network"},
		{"from = ['198.51.100.0/24', '192.0.2.1']", none, ""},
		{"from = ['192.0.2.0/24']", from("[::ffff:192.0.2.9]:1"), ""},
		{"from = ['fe80::/10']", from("[fe80::1%eth0]:1"), ""},
		{"from = ['0.0.0.0/0']", from("[2001:db8::1]:1"), "not from this network"},
		{"from = ['0.0.0.0/0', '::/0']", func(r *Request) { r.Client = netip.AddrPort{} }, "not from this network"},
	} {
		_, err := ask(newKeys(t, one(c.line)), c.ask)
		if c.why == "" && err != nil || c.why != "" && (!errors.Is(err, ErrDenied) || !strings.Contains(err.Error(), c.why) || !strings.Contains(err.Error(), "alice")) {
			t.Errorf("%s: got %v, want %q", c.line, err, c.why)
		}
	}
}

func TestValidity(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		at := func(d time.Duration) string { return time.Now().Add(d).UTC().Format(time.RFC3339Nano) }
		k := newKeys(t, one("not_before = "+at(time.Hour), "expires = "+at(2*time.Hour)))
		check := func(want string) {
			t.Helper()
			_, err := ask(k)
			if want == "" && err != nil || want != "" && (!errors.Is(err, ErrDenied) || !strings.Contains(err.Error(), want)) {
				t.Errorf("got %v, want %q", err, want)
			}
		}
		check("not yet valid")
		time.Sleep(time.Hour - 1)
		check("not yet valid")
		time.Sleep(time.Nanosecond)
		check("")
		time.Sleep(time.Hour - 1)
		check("")
		time.Sleep(time.Nanosecond)
		check("expired")
	})
}

func TestKnowsApp(t *testing.T) {
	two := one("app = 'live*'") + "[[key]]\nsubject = 'b'\nhash = 'plain:b'\napp = 'studio'\ndisabled = true\n"
	for _, c := range []struct {
		text, app string
		want      bool
	}{
		{two, "live2", true}, {two, "studio", true}, {two, "other", false}, {two, "", false},
		{one(), "other", true}, {one("app = '*'"), "", true}, {"", "live", false},
	} {
		k := newKeys(t, c.text)
		if got := k.KnowsApp(c.app); got != c.want {
			t.Errorf("%q: got %v with\n%s", c.app, got, c.text)
		}
		_, err := chain(k).Authorize(t.Context(), Request{App: c.app, Action: Publish, Key: secret.New("nobody's")})
		if !errors.Is(err, ErrDenied) || errors.Is(err, ErrUnknownApp) == c.want {
			t.Errorf("%q: got %v", c.app, err)
		}
	}
}

func TestBrokenFileChangesNothing(t *testing.T) {
	k := newKeys(t, one())
	g := granted(t, k)
	for _, text := range []string{"[[key]]\n", "[[", strings.Repeat("#", MaxEntriesFile+1)} {
		write(t, k.file, text)
		if err := k.Reload(); err == nil {
			t.Errorf("%.10q was read", text)
		}
	}
	if err := os.Remove(k.file); err != nil {
		t.Fatal(err)
	}
	if err := k.Reload(); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v", err)
	}
	if revoked(g) || granted(t, k) != g {
		t.Error("something has changed")
	}
}

func TestNewKeysErrors(t *testing.T) {
	var list fault.List
	if _, err := NewKeys(KeysConfig{File: keysToml(t, "[[key]]\n")}); !errors.As(err, &list) || len(list) != 2 {
		t.Errorf("got %v", err)
	}
	if _, err := NewKeys(KeysConfig{File: filepath.Join(t.TempDir(), "none")}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}

func TestRevoked(t *testing.T) {
	other := "[[key]]\nsubject = 'o'\nhash = 'plain:o'\n"
	base := []string{"app = 'live'", "from = ['192.0.2.0/24']", "actions = ['publish', 'play']", "bitrate = 1000"}
	with := func(i int, line string) string {
		lines := append([]string(nil), base...)
		lines[i] = line
		return one(lines...)
	}
	for name, c := range map[string]struct {
		text string
		want bool
	}{
		"unchanged":             {one(base...), false},
		"moved, and a comment":  {other + "# now here\n" + one(base...), false},
		"hash instead of plain": {strings.Replace(one(base...), "plain:a", HashKey("a"), 1), false},
		"removed":               {other, true},
		"no keys at all":        {"", true},
		"another key":           {strings.Replace(one(base...), "plain:a", "plain:A", 1), true},
		"disabled":              {one(append(base, "disabled = true")...), true},
		"expired":               {one(append(base, "expires = 2020-01-01T00:00:00Z")...), true},
		"expires later":         {one(append(base, "expires = 2999-01-01T00:00:00Z")...), false},
		"not yet valid":         {one(append(base, "not_before = 2999-01-01T00:00:00Z")...), true},
		"valid since":           {one(append(base, "not_before = 2020-01-01T00:00:00Z")...), false},
		"any app":               {with(0, ""), false},
		"all apps":              {with(0, "app = '*'"), false},
		"another app":           {with(0, "app = 'test'"), true},
		"any network":           {with(1, ""), false},
		"wider network":         {with(1, "from = ['198.51.100.0/24', '192.0.0.0/16']"), false},
		"narrower network":      {with(1, "from = ['192.0.2.0/25']"), true},
		"fewer actions":         {with(2, "actions = ['publish']"), true},
		"actions turned":        {with(2, "actions = ['play', 'publish']"), false},
		"bitrate":               {with(3, "bitrate = 2000"), false},
		"name":                  {one(append(base, "name = 'n'")...), false},
	} {
		t.Run(name, func(t *testing.T) {
			k := newKeys(t, one(base...))
			g := granted(t, k)
			for range 2 { // the second finds nothing new
				rewrite(t, k, c.text)
				if revoked(g) != c.want {
					t.Errorf("revoked: %v", revoked(g))
				}
			}
			rewrite(t, k, one(base...))
			if again := granted(t, k); revoked(again) {
				t.Error("the key is good again, its grants are not")
			}
		})
	}
}

// Who is revoked and comes back at once meets the new keys.
func TestRevokedMeansRefused(t *testing.T) {
	for range 50 {
		k := newKeys(t, one())
		g := granted(t, k)
		refused := make(chan error)
		go func() {
			<-g.Revoked
			_, err := ask(k)
			refused <- err
		}()
		rewrite(t, k, "")
		if err := <-refused; err != ErrUnknown {
			t.Fatalf("got %v", err)
		}
	}
}

// An end that comes nearer holds for streams that know the old one.
func TestExpiryMoves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		in := func(d time.Duration) string {
			return one("expires = " + time.Now().Add(d).UTC().Format(time.RFC3339Nano))
		}
		k := newKeys(t, one())
		g := granted(t, k)
		rewrite(t, k, in(time.Hour))
		time.Sleep(time.Hour - 1)
		rewrite(t, k, in(time.Hour)) // later again
		time.Sleep(time.Minute)
		synctest.Wait()
		if revoked(g) || granted(t, k).Revoked != g.Revoked {
			t.Fatal("ended at a time that does not hold any longer")
		}
		rewrite(t, k, in(time.Minute))
		time.Sleep(time.Minute)
		synctest.Wait()
		if !revoked(g) {
			t.Fatal("expired, and goes on")
		}
		rewrite(t, k, one())
		if revoked(granted(t, k)) {
			t.Error("a new grant is revoked")
		}
	})
}

func TestExpiryIsTakenBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKeys(t, one())
		g := granted(t, k)
		rewrite(t, k, one("expires = "+time.Now().Add(time.Hour).UTC().Format(time.RFC3339Nano)))
		rewrite(t, k, one())
		time.Sleep(2 * time.Hour)
		synctest.Wait()
		if revoked(g) {
			t.Error("ended at a time that does not hold any longer")
		}
	})
}

func TestPrepareChangesNothing(t *testing.T) {
	k := newKeys(t, one())
	g := granted(t, k)
	write(t, k.file, "")
	apply, err := k.Prepare()
	if err != nil || revoked(g) || granted(t, k) != g {
		t.Fatalf("changed already, or %v", err)
	}
	apply()
	if !revoked(g) {
		t.Error("not applied")
	}
}

func TestRetire(t *testing.T) {
	k := newKeys(t, one())
	g := granted(t, k)
	k.Retire()
	if _, err := ask(k); !revoked(g) || err != ErrUnknown {
		t.Errorf("revoked: %v; %v", revoked(g), err)
	}
}

// Reloads and questions at once: every answer is one that some file gives.
func TestAtOnce(t *testing.T) {
	k := newKeys(t, one())
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 500 {
				if g, err := ask(k); err != nil && err != ErrUnknown && !errors.Is(err, ErrDenied) || err == nil && g.Name != "alice" {
					t.Errorf("got %+v, %v", g, err)
				}
			}
		})
	}
	for i := range 100 {
		if err := AddKey(k.file, newKey("x", fmt.Sprint(i))); err != nil {
			t.Fatal(err)
		}
		wg.Go(func() { _ = k.Reload() })
	}
	wg.Wait()
}

func TestManyKeys(t *testing.T) {
	var b strings.Builder
	for i := range 20_000 {
		fmt.Fprintf(&b, "[[key]]\nsubject = 's%d'\nhash = '%s'\napp = 'live'\n", i, HashKey(fmt.Sprint(i)))
	}
	k := newKeys(t, b.String())
	g, err := ask(k, func(r *Request) { r.Key = secret.New("19999") })
	if err != nil || g.Subject != "s19999" {
		t.Errorf("got %+v, %v", g, err)
	}
	if diff := cmp.Diff(map[string]struct{}{"live": {}}, k.set.Load().apps.globs); diff != "" {
		t.Error(diff)
	}
}

func BenchmarkAuthorize(b *testing.B) {
	file := filepath.Join(b.TempDir(), "keys.toml")
	if err := os.WriteFile(file, []byte(one("app = 'live*'")), 0o600); err != nil {
		b.Fatal(err)
	}
	k, err := NewKeys(KeysConfig{File: file})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		_, _ = ask(k)
	}
}
