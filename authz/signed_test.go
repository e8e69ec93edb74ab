package authz

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"rtmps-edge/internal/fault"
	"rtmps-edge/internal/secret"
)

// vectors are keys that were made elsewhere: published by who invented the
// scheme, or computed with another implementation.
var vectors = []struct {
	name   string
	cfg    SignedConfig
	secret string
	at     int64 // when it is used; 0 = 2000
	app    string
	key    string
	client string
	action Action
}{
	{name: "hmac", cfg: SignedConfig{Scheme: "hmac"}, secret: "an-example-secret-of-32-bytes-ok", app: "live",
		key: "alice?exp=1800000000&sig=7741c86ba1403f53bdf64640ee541651eed97e7f656dc2fa46cc478301e923ee"},
	{name: "hmac, all of it", cfg: SignedConfig{Scheme: "hmac"}, secret: "an-example-secret-of-32-bytes-ok", app: "live", action: Play, at: 1750000000, client: "[2001:db8::7]:5000",
		key: "room/alice?exp=1800000000&nbf=1700000000&ip=2001:db8::/32&sig=de1e415ad5d5d8b69ff0f3adaba8bc4c0c0d23e1c1fe972da8d3ee07efcf4922"},
	{name: "secure-link", cfg: SignedConfig{Scheme: "secure-link"}, secret: "mysecretkey", app: "myapp",
		key: "mystream?e=1370781049&st=Mbjev5ld4mmCN00mwIqD7w"},
	{name: "secure-link of a website", cfg: SignedConfig{Scheme: "secure-link", Template: "{expires}/{app}/{name} {ip} {secret}", SignatureParam: "md5", ExpiresParam: "expires"},
		secret: "nginxsecret", app: "live", client: "192.0.2.7:5000", key: "alice?md5=1d068oW39lcW3vL3ekErnw&expires=1800000000"},
	{name: "aliyun", cfg: SignedConfig{Scheme: "aliyun"}, secret: "key", app: "app",
		key: "stream?auth_key=1438358400-0-0-3c5f7243b769b3bb7c5aa237ea5b4142"},
	{name: "huawei A", cfg: SignedConfig{Scheme: "huawei"}, secret: "key", app: "app",
		key: "stream?auth_key=1438358400-0-0-3c5f7243b769b3bb7c5aa237ea5b4142"},
	{name: "huawei D", cfg: SignedConfig{Scheme: "huawei"}, secret: "GCTbw44s6MPLh4GqgDpnfuFHgy25Enly", app: "live",
		key: "huawei1?hwSecret=ce201856a0957413319e883c8ccae13602f01d3d91e21daf5161964cf708a6a8&hwTime=5eed5888"},
	{name: "tencent", cfg: SignedConfig{Scheme: "tencent"}, secret: "tencentkey0123456789", app: "live",
		key: "stream1?txSecret=21902916e4bc6cc6e26b1a97e92d76c5&txTime=6B49D200"},
	{name: "wowza", cfg: SignedConfig{Scheme: "wowza"}, secret: "mySharedSecret", app: "live", at: 1750000000,
		key: "myStream?wowzatokenendtime=1800000000&wowzatokenstarttime=1700000000&wowzatokenCustomParameter=abcdef&wowzatokenhash=Vr8Xz021jiV_LMltJkx5v5ICyd1Gvi__7MPy2xDy1-w="},
	{name: "wowza with an address", cfg: SignedConfig{Scheme: "wowza", Prefix: "token", Hash: "sha512", BindsAddress: true}, secret: "mySharedSecret", app: "live", client: "192.0.2.7:5000",
		key: "myStream?tokenendtime=1800000000&tokenhash=A5n1u7SJhm5_b7nHbvtDZplyr5xOKKdbu7JkXeTx88yHvylzh21PoanWCKl2DS76v9TRYUOlhPk3rmhsEnobow=="},
	{name: "ome, all of it", cfg: SignedConfig{Scheme: "ome", BaseURL: "rtmps://live.example.com:443/"}, secret: "ome-secret-key", app: "app", at: 1750000000, client: "192.0.2.7:5000",
		key: "stream?policy=eyJ1cmxfZXhwaXJlIjogMTgwMDAwMDAwMDAwMCwgInVybF9hY3RpdmF0ZSI6IDE3MDAwMDAwMDAwMDAsICJzdHJlYW1fZXhwaXJlIjogMTgwMDAwMzYwMDAwMCwgImFsbG93X2lwIjogIjE5Mi4wLjIuMC8yNCJ9&signature=-5siVpfPCC_f6RcFxpZLaH1-Qi4"},
	{name: "nms", cfg: SignedConfig{Scheme: "nms"}, secret: "nodemedia2017privatekey", app: "live",
		key: "stream?sign=1503458721-80c1d1ad2e0c2ab63eebb50eed64201a"},
	{name: "lal", cfg: SignedConfig{Scheme: "lal"}, secret: "q191201771", app: "live",
		key: "test110?lal_secret=700997e1595a06c9ffa60ebef79105b0"},
}

// signedBy returns a scheme with these secrets.
func signedBy(t testing.TB, cfg SignedConfig, secrets ...string) *Signed {
	t.Helper()
	for _, s := range secrets {
		cfg.Secrets = append(cfg.Secrets, secret.New(s))
	}
	s, err := NewSigned(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// asked is the question that a key with its query asks.
func asked(app, key string) Request {
	name, query, _ := strings.Cut(key, "?")
	return Request{Action: Publish, App: app, Key: secret.New(name), Query: secret.New(query), Client: netip.MustParseAddrPort("198.51.100.1:5000")}
}

// eachVector runs test for each vector at its time.
func eachVector(t *testing.T, test func(t *testing.T, s *Signed, r Request, key string)) {
	for _, v := range vectors {
		t.Run(v.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				if v.at > 0 {
					time.Sleep(time.Until(time.Unix(v.at, 0)))
				}
				r := asked(v.app, v.key)
				if v.action != "" {
					r.Action = v.action
				}
				if v.client != "" {
					r.Client = netip.MustParseAddrPort(v.client)
				}
				test(t, signedBy(t, v.cfg, v.secret), r, v.key)
			})
		})
	}
}

// withText is r with another key and query.
func withText(r Request, key string) Request {
	a := asked(r.App, key)
	r.Key, r.Query = a.Key, a.Query
	return r
}

func TestSignedVectors(t *testing.T) {
	eachVector(t, func(t *testing.T, s *Signed, r Request, _ string) {
		g, err := s.Authorize(t.Context(), r)
		if err != nil || g.Name != r.Key.Reveal() || g.By != BySigned || g.App != "" {
			t.Fatalf("got %+v, %v", g, err)
		}
		if e := s.Explain(r); !e.Good {
			t.Errorf("explained: %q", e.Lines)
		}
		for _, other := range []string{"wrong", "", s.cfg.Secrets[0].Reveal() + "x"} {
			cfg := s.cfg
			cfg.Secrets = []secret.Text{secret.New(other)}
			if _, err := signedBy(t, cfg).Authorize(t.Context(), r); !errors.Is(err, ErrDenied) {
				t.Errorf("with the secret %q: %v", other, err)
			}
		}
	})
}

// OvenMediaEngine's own example verifies, though it was over in 1970: it is
// written in seconds.
func TestOMEVector(t *testing.T) {
	s := signedBy(t, SignedConfig{Scheme: "ome", BaseURL: "ws://192.168.0.100:3333"}, "1kU^b6")
	r := asked("app", "stream?policy=eyJ1cmxfZXhwaXJlIjoxMzk5NzIxNTgxfQ&signature=dvVdBpoxAeCPl94Kt5RoiqLI0YE")
	if v := s.judge(r, time.Now()); v.by == nil || v.why != "expired" || v.claim.end.UnixMilli() != 1399721581 {
		t.Errorf("got %+v", v)
	}
}

// What is no scheme's does not matter, and goes no further.
func TestSignedOtherParameters(t *testing.T) {
	eachVector(t, func(t *testing.T, s *Signed, r Request, key string) {
		if s.cfg.Scheme == "ome" {
			return // there, all of the query is signed
		}
		name, query, _ := strings.Cut(key, "?")
		for _, more := range []string{name + "?utm=1&" + query, name + "?" + query + "&foo=bar&foo", name + "?&&" + query + "&"} {
			if g, err := s.Authorize(t.Context(), withText(r, more)); err != nil || g.Name != name {
				t.Errorf("%s: got %+v, %v", more, g, err)
			}
		}
	})
}

// The same key, as OBS and librtmp send it (decoded once), as ffmpeg and
// GStreamer send it (as typed), with as many escapes as one could type.
func TestSignedFromEveryClient(t *testing.T) {
	eachVector(t, func(t *testing.T, s *Signed, r Request, key string) {
		name, query, _ := strings.Cut(key, "?")
		var typed []string
		for part := range strings.SplitSeq(query, "&") {
			p, v, _ := strings.Cut(part, "=")
			typed = append(typed, p+"="+escapeAll(v))
		}
		for _, text := range []string{escapeAll(name) + "?" + query, name + "?" + strings.Join(typed, "&")} {
			if s.cfg.Scheme == "ome" && !strings.HasSuffix(text, query) {
				continue // there, the escapes are signed as well
			}
			decoded, err := url.PathUnescape(text)
			if err != nil {
				t.Fatal(err)
			}
			for client, sent := range map[string]string{"ffmpeg": text, "OBS": decoded} {
				if g, err := s.Authorize(t.Context(), withText(r, sent)); err != nil || g.Name != name {
					t.Errorf("%s: got %+v, %v", client, g, err)
				}
			}
			if strings.Contains(text, "%") {
				twice := escapeAll(text)
				if q := strings.Index(text, "?"); q >= 0 {
					twice = strings.ReplaceAll(text, "%", "%25")
				}
				if g, err := s.Authorize(t.Context(), withText(r, twice)); err == nil {
					t.Errorf("decoded twice: got %+v", g)
				}
			}
		}
	})
}

func escapeAll(s string) string {
	var b strings.Builder
	for i := range len(s) {
		fmt.Fprintf(&b, "%%%02X", s[i])
	}
	return b.String()
}

// Any change of a byte of a key refuses it, unless it is the case of a hex
// digit, or it is outside of what is signed and changes nothing.
func TestSignedAnyChangeRefuses(t *testing.T) {
	eachVector(t, func(t *testing.T, s *Signed, r Request, key string) {
		for i := range len(key) {
			for _, c := range []byte("0129afgAFZ_-./?&=%+ \x00\xff") {
				if key[i] == c || strings.EqualFold(string(key[i]), string(c)) {
					continue
				}
				changed := key[:i] + string(c) + key[i+1:]
				g, err := s.Authorize(t.Context(), withText(r, changed))
				if err == nil && !harmless(key, changed) {
					t.Fatalf("%q is as good as %q: %+v", changed, key, g)
				}
			}
			for _, changed := range []string{key[:i] + key[i+1:], key[:i] + string(key[i]) + key[i:]} {
				if g, err := s.Authorize(t.Context(), withText(r, changed)); err == nil && !harmless(key, changed) {
					t.Fatalf("%q is as good as %q: %+v", changed, key, g)
				}
			}
		}
		for _, change := range []func(*Request){
			func(r *Request) { r.App = r.App + "x" },
			func(r *Request) { r.App = "x/" + r.App },
			func(r *Request) { r.App = "" },
		} {
			other := r
			change(&other)
			_, err := s.Authorize(t.Context(), other)
			appIsSigned := s.cfg.Scheme != "lal" && s.cfg.Scheme != "tencent" && !strings.Contains(key, "hwSecret")
			if err == nil && (appIsSigned || other.App == "") {
				t.Errorf("good in app %q, too", other.App)
			}
		}
	})
}

// harmless reports whether two keys differ in what no scheme signs: an empty
// parameter, or padding.
func harmless(a, b string) bool {
	clean := func(key string) string {
		name, query, _ := strings.Cut(key, "?")
		var parts []string
		for p := range strings.SplitSeq(query, "&") {
			if p = strings.TrimRight(p, "="); p != "" {
				parts = append(parts, p)
			}
		}
		return name + "?" + strings.Join(parts, "&")
	}
	return clean(a) == clean(b)
}

// What is hashed side by side cannot be divided in another place.
func TestSignedBoundaries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		end := time.Unix(1800000000, 0)
		for _, cfg := range everyScheme() {
			s := signedBy(t, cfg, "0123456789abcdef")
			for _, names := range [][2]string{{"app", "cam1234567890"}, {"app", "camabcdef"}, {"a/b", "c"}, {"a", "b-1438358400-0"}} {
				key := signedKey(t, s, SignRequest{Action: Publish, App: names[0], Name: names[1], Expires: end})
				name, query, _ := strings.Cut(key, "?")
				for app, shifted := range boundaries(names[0], name, query) {
					if g, err := s.Authorize(t.Context(), asked(app.app, shifted)); err == nil && (g.Name != name || app.app != names[0]) && appIsSigned(cfg, g.Name == name) {
						t.Errorf("%s: %q in %q is as good as %q in %q", cfg.Scheme, shifted, app.app, key, names[0])
					}
				}
			}
		}
	})
}

// appIsSigned excuses the schemes that sign the name alone for another app.
func appIsSigned(cfg SignedConfig, sameName bool) bool {
	return !sameName || cfg.Scheme != "lal" && cfg.Scheme != "tencent" && cfg.Scheme != "huawei"
}

type shiftedApp struct {
	app string
	n   int
}

// boundaries moves text over the borders between app, name and each time.
func boundaries(app, name, query string) map[shiftedApp]string {
	all := map[shiftedApp]string{}
	add := func(app, key string) { all[shiftedApp{app, len(all)}] = key }
	path := app + "/" + name
	for i := range len(path) {
		if path[i] == '/' {
			add(path[:i], path[i+1:]+"?"+query)
		}
	}
	for i := 1; i < len(name); i++ {
		for _, param := range []string{"e=", "txTime=", "hwTime=", "exp=", "sign=", "auth_key="} {
			if strings.Contains(query, param) {
				add(app, name[:i]+"?"+strings.Replace(query, param, param+name[i:], 1))
			}
		}
	}
	for _, param := range []string{"e=", "txTime=", "hwTime=", "exp=", "sign=", "auth_key="} {
		at := strings.Index(query, param)
		if at < 0 {
			continue
		}
		value := query[at+len(param):]
		for i := 1; i < 9; i++ {
			add(app, name+value[:i]+"?"+query[:at+len(param)]+value[i:])
		}
	}
	return all
}

// everyScheme has one configuration of each.
func everyScheme() []SignedConfig {
	var all []SignedConfig
	for _, name := range Schemes() {
		cfg := SignedConfig{Scheme: name}
		if name == "ome" {
			cfg.BaseURL = "rtmps://live.example.com:443"
		}
		all = append(all, cfg)
	}
	return all
}

// signedKey signs q, without an end where there is none.
func signedKey(t testing.TB, s *Signed, q SignRequest) string {
	t.Helper()
	if s.cfg.Scheme == "lal" {
		q.Expires = time.Time{}
	}
	key, err := s.Sign(q)
	if err != nil {
		t.Fatal(err)
	}
	return key.Reveal()
}

func TestSignThenAuthorize(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(26 * 365 * 24 * time.Hour)
		for _, cfg := range everyScheme() {
			s := signedBy(t, cfg, "0123456789abcdef")
			end := time.Now().Add(2 * time.Hour).Truncate(time.Second)
			key := signedKey(t, s, SignRequest{Action: Publish, App: "live", Name: "alice", Expires: end})
			try := func(when time.Duration, want bool) {
				t.Helper()
				time.Sleep(time.Until(end.Add(when)))
				g, err := s.Authorize(t.Context(), asked("live", key))
				if (err == nil) != want && cfg.Scheme != "lal" {
					t.Errorf("%s: %v from its end: %v", cfg.Scheme, when, err)
				}
				if err != nil && (!strings.Contains(err.Error(), "expired") || !errors.Is(err, ErrDenied)) {
					t.Errorf("%s: %v", cfg.Scheme, err)
				}
				if err == nil && (g.Name != "alice" || g.Subject != "alice" || cfg.Scheme == "hmac" != g.Expires.Equal(end)) {
					t.Errorf("%s: got %+v", cfg.Scheme, g)
				}
			}
			try(-2*time.Hour, true)
			try(-1, true)
			try(0, false)
		}
	})
}

// Asked again while the stream runs, a key that only permits to begin is not
// expired: CDNs look at it once. Those that say when a stream must end, do.
func TestSignedOfARunningStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(26 * 365 * 24 * time.Hour)
		for _, cfg := range everyScheme() {
			s := signedBy(t, cfg, "0123456789abcdef")
			r := asked("live", signedKey(t, s, SignRequest{Action: Publish, App: "live", Name: "alice", Expires: time.Now().Add(time.Hour)}))
			r.Running = time.Minute
			time.Sleep(2 * time.Hour)
			if _, err := s.Authorize(t.Context(), r); (err == nil) != (cfg.Scheme != "hmac") {
				t.Errorf("%s: %v", cfg.Scheme, err)
			}
			s.Retire()
			if _, err := s.Authorize(t.Context(), r); !errors.Is(err, ErrDenied) {
				t.Errorf("%s, without its secret: %v", cfg.Scheme, err)
			}
		}
	})
}

func TestSignedBegin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(26 * 365 * 24 * time.Hour)
		for _, cfg := range everyScheme() {
			if cfg.Scheme != "hmac" && cfg.Scheme != "wowza" && cfg.Scheme != "ome" {
				continue
			}
			s := signedBy(t, cfg, "0123456789abcdef")
			begin := time.Now().Add(time.Hour).Truncate(time.Second)
			key := signedKey(t, s, SignRequest{Action: Publish, App: "live", Name: "alice", Expires: begin.Add(time.Hour), NotBefore: begin})
			for when, want := range []string{"not yet valid", ""} {
				time.Sleep(time.Until(begin.Add(-defaultClockSkew - 1 + time.Duration(when))))
				if _, err := s.Authorize(t.Context(), asked("live", key)); (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
					t.Errorf("%s: %v, want %q", cfg.Scheme, err, want)
				}
			}
		}
	})
}

func TestSignedAddress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, cfg := range []SignedConfig{
			{Scheme: "hmac"}, {Scheme: "ome", BaseURL: "rtmp://h:1935"}, {Scheme: "wowza", BindsAddress: true}, {Scheme: "secure-link", Template: "{secret}{app}/{name} {ip}{expires}"},
		} {
			s := signedBy(t, cfg, "0123456789abcdef")
			for _, addr := range []string{"192.0.2.7", "2001:db8::7"} {
				key := signedKey(t, s, SignRequest{Action: Publish, App: "live", Name: "alice", Expires: time.Unix(1800000000, 0), Address: netip.PrefixFrom(netip.MustParseAddr(addr), netip.MustParseAddr(addr).BitLen())})
				for from, want := range map[string]bool{"192.0.2.7:1": addr == "192.0.2.7", "[::ffff:192.0.2.7]:1": addr == "192.0.2.7", "[2001:db8::7]:1": addr == "2001:db8::7", "192.0.2.8:1": false} {
					r := asked("live", key)
					r.Client = netip.MustParseAddrPort(from)
					if _, err := s.Authorize(t.Context(), r); (err == nil) != want {
						t.Errorf("%s for %s from %s: %v", cfg.Scheme, addr, from, err)
					}
				}
			}
		}
	})
}

func TestSignRefuses(t *testing.T) {
	end, addr := time.Unix(1800000000, 0), netip.MustParsePrefix("192.0.2.7/32")
	good := SignRequest{Action: Publish, App: "live", Name: "alice", Expires: end}
	with := func(change func(*SignRequest)) SignRequest { q := good; change(&q); return q }
	for _, c := range []struct {
		cfg  SignedConfig
		q    SignRequest
		want string
	}{
		{SignedConfig{Scheme: "hmac"}, with(func(q *SignRequest) { q.Expires = time.Time{} }), "needs a time"},
		{SignedConfig{Scheme: "hmac"}, with(func(q *SignRequest) { q.NotBefore = end }), "begin before"},
		{SignedConfig{Scheme: "hmac"}, with(func(q *SignRequest) { q.Name = "a b" }), "the name has characters"},
		{SignedConfig{Scheme: "hmac"}, with(func(q *SignRequest) { q.Name = "" }), "the name has characters"},
		{SignedConfig{Scheme: "hmac"}, with(func(q *SignRequest) { q.App = "a..b" }), "the app has characters"},
		{SignedConfig{Scheme: "hmac", Apps: []string{"studio*"}}, good, `not for publish in app "live"`},
		{SignedConfig{Scheme: "hmac", Actions: []Action{Play}}, good, `not for publish`},
		{SignedConfig{Scheme: "tencent"}, with(func(q *SignRequest) { q.Name = "a/b" }), "has a slash"},
		{SignedConfig{Scheme: "tencent"}, with(func(q *SignRequest) { q.Address = addr }), "cannot be bound"},
		{SignedConfig{Scheme: "tencent"}, with(func(q *SignRequest) { q.Expires = time.Unix(1<<32, 0) }), "2106"},
		{SignedConfig{Scheme: "nms"}, with(func(q *SignRequest) { q.NotBefore = time.Unix(1700000000, 0) }), "from when"},
		{SignedConfig{Scheme: "aliyun"}, with(func(q *SignRequest) { q.Expires = time.Unix(1000000001, 0) }), "needs a time"},
		{SignedConfig{Scheme: "huawei", Window: 300 * 24 * time.Hour}, with(func(q *SignRequest) { q.Expires = time.Time{} }), "needs a time"},
		{SignedConfig{Scheme: "lal"}, good, "cannot expire"},
		{SignedConfig{Scheme: "wowza"}, with(func(q *SignRequest) { q.Address = addr }), "cannot be bound"},
		{SignedConfig{Scheme: "wowza", BindsAddress: true}, good, "needs the address"},
		{SignedConfig{Scheme: "wowza"}, with(func(q *SignRequest) { q.Expires = time.Unix(9, 0) }), "needs a time"},
		{SignedConfig{Scheme: "secure-link"}, with(func(q *SignRequest) { q.Address = addr }), "cannot be bound"},
		{SignedConfig{Scheme: "secure-link", Template: "{secret}{name}"}, good, "cannot expire"},
		{SignedConfig{Scheme: "secure-link", Template: "{secret}{name} {ip}"}, with(func(q *SignRequest) { q.Expires = time.Time{} }), "needs the address"},
		{SignedConfig{Scheme: "ome", BaseURL: "rtmp://h:1"}, with(func(q *SignRequest) { q.Expires = time.Time{} }), "needs a time"},
	} {
		if key, err := signedBy(t, c.cfg, "0123456789abcdef").Sign(c.q); err == nil || !strings.Contains(err.Error(), c.want) || !key.Empty() {
			t.Errorf("%+v: got %v, want %q", c.q, err, c.want)
		}
	}
}

func TestSignedFaults(t *testing.T) {
	for _, c := range []struct {
		cfg  SignedConfig
		want string
	}{
		{SignedConfig{}, "scheme: must be one of hmac, secure-link"},
		{SignedConfig{Scheme: "HMAC"}, `scheme = "HMAC": must be one of`},
		{SignedConfig{Scheme: "hmac", Apps: []string{"live["}}, `apps = "live[": must be a pattern`},
		{SignedConfig{Scheme: "hmac", Actions: []Action{"record"}}, `actions = "record"`},
		{SignedConfig{Scheme: "hmac", ClockSkew: -1}, `clock_skew`},
		{SignedConfig{Scheme: "aliyun", Window: -1}, `window`},
		{SignedConfig{Scheme: "aliyun", Window: 10000 * time.Hour}, `window`},
		{SignedConfig{Scheme: "ome"}, "base_url: must be what the signature covers"},
		{SignedConfig{Scheme: "ome", BaseURL: "rtmp://h"}, "base_url"},
		{SignedConfig{Scheme: "ome", BaseURL: "rtmp://h:1/app"}, "base_url"},
		{SignedConfig{Scheme: "wowza", Hash: "md5"}, `hash = "md5"`},
		{SignedConfig{Scheme: "wowza", Prefix: "a&b"}, `prefix`},
		{SignedConfig{Scheme: "secure-link", Template: "{app}/{name}"}, "template"},
		{SignedConfig{Scheme: "secure-link", Template: "{secret}{app}/"}, "template"},
		{SignedConfig{Scheme: "secure-link", Template: "{secret}{app}{name}"}, "separator"},
		{SignedConfig{Scheme: "secure-link", Template: "{secret}{app}-{name}"}, "separator"},
		{SignedConfig{Scheme: "secure-link", Template: "{secret}{name}{expires}{ip}"}, "separator"},
		{SignedConfig{Scheme: "secure-link", Template: "{secret}{name}{arg_e}"}, "must be text with"},
		{SignedConfig{Scheme: "secure-link", Template: "{secret}{name"}, "must be text with"},
		{SignedConfig{Scheme: "secure-link", SignatureParam: "x", ExpiresParam: "x"}, "expires_param"},
	} {
		c.cfg.Secrets = []secret.Text{secret.New("0123456789abcdef")}
		_, err := NewSigned(c.cfg)
		var list fault.List
		if !errors.As(err, &list) || len(list) != 1 || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: got %v, want %q", c.cfg, err, c.want)
		}
	}
	if _, err := NewSigned(SignedConfig{Scheme: "hmac"}); err == nil || !strings.Contains(err.Error(), "secrets_file") {
		t.Errorf("got %v", err)
	}
}

func TestParseSecrets(t *testing.T) {
	got, err := parseSecrets("s", []byte("# signing\n first one \r\n\nsecond\n#old\n"))
	if err != nil || len(got) != 2 || got[0].Reveal() != "first one" || got[1].Reveal() != "second" {
		t.Errorf("got %d, %v", len(got), err)
	}
	for text, want := range map[string]string{
		"": "must have a secret", "# x\n": "must have a secret",
		"a\n" + canary + "\x01\n":                                  "s:2: a secret must be without control characters",
		canary + "\n" + canary:                                     "s:2: this secret stands here already",
		strings.Repeat("a", 1025):                                  "s:1: a secret must have at most 1024 bytes",
		strings.Join(strings.Split(canary+"abcdefghij", ""), "\n"): "at most 16 secrets",
	} {
		_, err := parseSecrets("s", []byte(text))
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), canary) {
			t.Errorf("%.20q: got %v, want %q", text, err, want)
		}
	}
}

// Rotation: the new secret is put first, then the old one is taken away.
func TestSignedRotation(t *testing.T) {
	file := write(t, filepath.Join(t.TempDir(), "signing.secrets"), "old-secret-0123456789\n")
	var warned []string
	s, err := NewSigned(SignedConfig{Scheme: "hmac", SecretsFile: file, Warn: func(w string) { warned = append(warned, w) }})
	if err != nil {
		t.Fatal(err)
	}
	watched(t, s.Watch)
	end := time.Now().Add(time.Hour)
	sign := func() string {
		return signedKey(t, s, SignRequest{Action: Publish, App: "live", Name: "alice", Expires: end})
	}
	good := func(key string) bool {
		_, err := s.Authorize(t.Context(), asked("live", key))
		return err == nil
	}
	old := sign()
	g, err := s.Authorize(t.Context(), asked("live", old))
	if err != nil {
		t.Fatal(err)
	}
	write(t, file, "new-secret-0123456789\nold-secret-0123456789\n")
	await(t, "another secret signs", func() bool { return sign() != old })
	young := sign()
	if !good(old) || !good(young) || revoked(g) {
		t.Errorf("old %v, young %v, revoked %v", good(old), good(young), revoked(g))
	}
	write(t, file, "")
	write(t, file, "new-secret-0123456789\n")
	await(t, "the old secret is gone", func() bool { return !good(old) && revoked(g) })
	if !good(young) {
		t.Error("the new secret is gone, too")
	}
	g, _ = s.Authorize(t.Context(), asked("live", young))
	if err := os.WriteFile(file, []byte("# none\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.Reload(); err == nil || revoked(g) || !good(young) {
		t.Errorf("a file without secrets: %v", err)
	}
	s.Retire()
	if !revoked(g) || good(young) {
		t.Error("retired, and goes on")
	}
	if len(warned) != 0 {
		t.Errorf("warned %q", warned)
	}
}

func TestSignedWarnsOfShortSecrets(t *testing.T) {
	var warned []string
	signedBy(t, SignedConfig{Scheme: "lal", Warn: func(w string) { warned = append(warned, w) }}, "0123456789abcdef", canary[:10])
	if len(warned) != 1 || !strings.Contains(warned[0], "secret 2 ") || strings.Contains(warned[0], canary[:10]) {
		t.Errorf("warned %q", warned)
	}
}

func TestSignedUnknown(t *testing.T) {
	for _, cfg := range everyScheme() {
		cfg.Apps, cfg.Actions = []string{"live*"}, []Action{Publish}
		s := signedBy(t, cfg, "0123456789abcdef")
		key := signedKey(t, s, SignRequest{Action: Publish, App: "live", Name: "alice", Expires: time.Now().Add(time.Hour)})
		for name, r := range map[string]Request{
			"no query":     asked("live", "alice"),
			"another app":  asked("studio", key),
			"other things": asked("live", "alice?token=x&e=1&exp=1&hwTime=1"),
			"no name":      asked("live", key[len("alice"):]),
			"long query":   asked("live", key+"&x="+strings.Repeat("x", maxQuery)),
		} {
			if _, err := s.Authorize(t.Context(), r); err != ErrUnknown {
				t.Errorf("%s, %s: got %v", cfg.Scheme, name, err)
			}
			if e := s.Explain(r); e.Good || len(e.Lines) < 2 {
				t.Errorf("%s, %s: explained %q", cfg.Scheme, name, e.Lines)
			}
		}
		r := asked("live", key)
		r.Action = Play
		if _, err := s.Authorize(t.Context(), r); err != ErrUnknown {
			t.Errorf("%s: another action: got %v", cfg.Scheme, err)
		}
		if !s.KnowsApp("live2") || s.KnowsApp("studio") {
			t.Error("apps")
		}
	}
}

func TestBindsAction(t *testing.T) {
	for _, cfg := range everyScheme() {
		if got := signedBy(t, cfg, "s").BindsAction(); got != (cfg.Scheme == "hmac") {
			t.Errorf("%s: %v", cfg.Scheme, got)
		}
		cfg.Actions = []Action{Play}
		if !signedBy(t, cfg, "s").BindsAction() {
			t.Errorf("%s for one action", cfg.Scheme)
		}
	}
}

func TestSignedSet(t *testing.T) {
	end := time.Now().Add(time.Hour)
	a := signedBy(t, SignedConfig{Scheme: "hmac", Apps: []string{"a"}}, "aaaaaaaaaaaaaaaa")
	b := signedBy(t, SignedConfig{Scheme: "hmac"}, "bbbbbbbbbbbbbbbb")
	c := signedBy(t, SignedConfig{Scheme: "tencent"}, "cccccccccccccccc")
	set := SignedSet{a, b, c}
	for _, s := range set {
		key := signedKey(t, s, SignRequest{Action: Publish, App: "a", Name: "n", Expires: end})
		if _, err := set.Authorize(t.Context(), asked("a", key)); err != nil {
			t.Error(err)
		}
		if e, err := set.Explain(asked("a", key)); err != nil || !e.Good {
			t.Errorf("%v, %v", e, err)
		}
		if _, err := set.Authorize(t.Context(), asked("a", strings.Replace(key, "n?", "m?", 1))); !errors.Is(err, ErrDenied) {
			t.Errorf("got %v", err)
		}
	}
	if _, err := set.Authorize(t.Context(), asked("a", "n")); err != ErrUnknown {
		t.Errorf("got %v", err)
	}
	if len(set.For("hmac")) != 2 || len(set.For("")) != 3 || !set.KnowsApp("x") || (SignedSet{a}).KnowsApp("x") {
		t.Error("For, KnowsApp")
	}
	if _, err := (SignedSet{}).Explain(asked("a", "n")); err == nil {
		t.Error("nothing explains")
	}
}

func TestExplain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(26 * 365 * 24 * time.Hour)
		s := signedBy(t, SignedConfig{Scheme: "hmac"}, "new-secret-0123456789", canary)
		old := signedBy(t, SignedConfig{Scheme: "hmac"}, canary)
		q := SignRequest{Action: Play, App: "live", Name: "alice", Expires: time.Now().Add(90 * time.Minute), NotBefore: time.Now().Add(-time.Hour), Address: netip.MustParsePrefix("192.0.2.0/24")}
		key := signedKey(t, old, q)
		r := asked("live", key)
		explain := func(r Request) string { return strings.Join(s.Explain(r).Lines, "\n") }
		for want, r := range map[string]Request{
			"refused: the signature does not match\nthe key is good for play": r,
			"signed with secret 2 of 2":                                       {Action: Play, App: "live", Key: r.Key, Query: r.Query},
			"valid from 2025-12-24T23:00:00Z, 1h0m0s ago\nexpires 2025-12-25T01:30:00Z, in 1h30m0s\nfor clients in 192.0.2.0/24\nwhether the client comes from there was not looked at\ngood": {Action: Play, App: "live", Key: r.Key, Query: r.Query},
			"refused: not from this address":                                      {Action: Play, App: "live", Key: r.Key, Query: r.Query, Client: r.Client},
			"refused: the parameter sig must end in 64 hex digits":                asked("live", "alice?exp=1800000000&sig="+canary),
			"refused: the parameter exp must have a time of 10 digits":            asked("live", "alice?exp=2h&sig="+canary),
			"refused: the parameter exp is missing":                               asked("live", "alice?sig="+canary),
			"refused: the parameter sig stands there twice":                       asked("live", key+"&sig=1"),
			"refused: the key is not signed in this way: it has no parameter sig": asked("live", "alice?exp=1800000000"),
			"refused: the name has characters":                                    asked("live", strings.Replace(key, "alice", "a%20b", 1)),
			"another secret was used, or something that is signed was changed":    asked("live2", key),
		} {
			if got := explain(r); !strings.Contains(got, want) {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
		}
		lineEnd := signedBy(t, SignedConfig{Scheme: "hmac"}, "new-secret-0123456789\n")
		q.Action = Publish
		if got := explain(asked("live", signedKey(t, lineEnd, q))); !strings.Contains(got, "line end or a blank behind the secret") {
			t.Errorf("got %s", got)
		}
	})
}

// No output holds a secret, or a signature, given or expected.
func TestSignedDoesNotTell(t *testing.T) {
	for _, cfg := range everyScheme() {
		s := signedBy(t, cfg, canary)
		key := signedKey(t, s, SignRequest{Action: Publish, App: "live", Name: "alice", Expires: time.Now().Add(time.Hour)})
		r := asked("live", strings.Replace(key, "alice?", "alicia?", 1))
		_, err := s.Authorize(t.Context(), r)
		if !errors.Is(err, ErrDenied) {
			t.Fatal(err)
		}
		v := s.judge(r, time.Now())
		sum := fmt.Sprintf("%x", v.claim.sum(canary))
		values := []any{s, s.cfg, s.secrets.Load(), (*s.secrets.Load())[0], err, s.Explain(r), s.Explain(asked("live", key))}
		for _, value := range values {
			for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
				out := fmt.Sprintf(verb, value)
				for _, leak := range []string{canary, sum, fmt.Sprintf("%x", v.claim.given), strings.SplitN(key, "?", 2)[1]} {
					if strings.Contains(out, leak) {
						t.Errorf("%s: %s of %T prints %q: %s", cfg.Scheme, verb, value, leak, out)
					}
				}
			}
		}
	}
}

// Random permissions: what was signed verifies; what was not does not.
func TestSignedAtRandom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		random := rand.New(rand.NewPCG(1, 2))
		text := func() string {
			b := make([]byte, 1+random.IntN(8))
			for i := range b {
				b[i] = "ab01-_.~F9"[random.IntN(10)]
			}
			return string(b)
		}
		for range 2000 {
			cfg := everyScheme()[random.IntN(len(Schemes()))]
			s := signedBy(t, cfg, "0123456789abcdef")
			q := SignRequest{Action: Publish, App: text(), Name: text(), Expires: time.Unix(1e9+random.Int64N(3e9), 0).Add(time.Hour)}
			if !CanonicalName(q.App) || !CanonicalName(q.Name) {
				continue
			}
			key := signedKey(t, s, q)
			if _, err := s.Authorize(t.Context(), asked(q.App, key)); err != nil {
				t.Fatalf("%s, %+v: %v", cfg.Scheme, q, err)
			}
			other := text()
			_, query, _ := strings.Cut(key, "?")
			if _, err := s.Authorize(t.Context(), asked(q.App, other+"?"+query)); err == nil && other != q.Name {
				t.Fatalf("%s, %+v is good for %q", cfg.Scheme, q, other)
			}
		}
	})
}

// FuzzSigned: no text of a client is granted, makes it panic, or comes back in
// an error.
func FuzzSigned(f *testing.F) {
	for _, v := range vectors {
		f.Add(v.app, v.key)
	}
	var all SignedSet
	for _, cfg := range everyScheme() {
		s, err := NewSigned(func() SignedConfig { cfg.Secrets = []secret.Text{secret.New("nobody-knows-" + canary)}; return cfg }())
		if err != nil {
			f.Fatal(err)
		}
		all = append(all, s)
	}
	f.Fuzz(func(t *testing.T, app, key string) {
		for _, s := range all {
			r := asked(app, key)
			g, err := s.Authorize(t.Context(), r)
			if err == nil {
				t.Fatalf("%s: %q granted %+v", s.cfg.Scheme, key, g)
			}
			told := err.Error() + strings.Join(s.Explain(r).Lines[1:], "\n")
			if len(key) > 40 && strings.Contains(told, key[20:]) || strings.Contains(told, canary) {
				t.Fatalf("%s: told %s", s.cfg.Scheme, told)
			}
		}
	})
}
