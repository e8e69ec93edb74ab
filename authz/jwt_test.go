package authz

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/MicahParks/jwkset"
	"github.com/golang-jwt/jwt/v5"

	"rtmps-edge/internal/fault"
	"rtmps-edge/internal/secret"
)

// issuer has a key of each kind. They are made once: RSA takes its time.
var issuer = sync.OnceValue(func() map[string]any {
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	keys := map[string]any{"RS256": rsaKey, "PS384": rsaKey, "HS256": []byte(canary + "-and-more-than-32-bytes")}
	for alg, curve := range map[string]elliptic.Curve{"ES256": elliptic.P256(), "ES384": elliptic.P384(), "ES512": elliptic.P521()} {
		if keys[alg], err = ecdsa.GenerateKey(curve, rand.Reader); err != nil {
			panic(err)
		}
	}
	if _, keys["EdDSA"], err = ed25519.GenerateKey(rand.Reader); err != nil {
		panic(err)
	}
	return keys
})

func publicOf(t testing.TB, alg string) any {
	t.Helper()
	if signer, ok := issuer()[alg].(crypto.Signer); ok {
		return signer.Public()
	}
	return issuer()[alg]
}

// tokenOf signs claims.
func tokenOf(t testing.TB, alg string, claims map[string]any, header ...string) string {
	t.Helper()
	tok := jwt.NewWithClaims(jwt.GetSigningMethod(alg), jwt.MapClaims(claims))
	for i := 0; i+1 < len(header); i += 2 {
		tok.Header[header[i]] = header[i+1]
	}
	s, err := tok.SignedString(issuer()[alg])
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// permits are claims that permit publishing alice in live.
func permits() map[string]any {
	return map[string]any{"sub": "Alice", "exp": time.Now().Add(time.Hour).Unix(), "rtmp": []any{map[string]any{"action": "publish", "app": "live", "name": "alice"}}}
}

func pemOf(t testing.TB, key any) string {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
}

func jwkOf(t testing.TB, key any, kid string) jwkset.JWKMarshal {
	t.Helper()
	k, err := jwkset.NewJWKFromKey(key, jwkset.JWKOptions{Metadata: jwkset.JWKMetadataOptions{KID: kid}, Marshal: jwkset.JWKMarshalOptions{Private: true}})
	if err != nil {
		t.Fatal(err)
	}
	return k.Marshal()
}

func jsonOf(t testing.TB, v any) string {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func newJWT(t testing.TB, cfg JWTConfig, keys string) *JWT {
	t.Helper()
	cfg.KeyFile = filepath.Join(t.TempDir(), "keys")
	if err := os.WriteFile(cfg.KeyFile, []byte(keys), 0o600); err != nil {
		t.Fatal(err)
	}
	j, err := NewJWT(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return j
}

// shownToken is the question of a client that sends name, and the token in the query.
func shownToken(token string) Request { return asked("live", "name?token="+token) }

// keyFiles are all forms of a file, with the algorithms that its keys are for.
func keyFiles(t testing.TB) map[string][]string {
	t.Helper()
	all := map[string][]string{}
	var set []jwkset.JWKMarshal
	pems := ""
	for _, alg := range []string{"RS256", "ES256", "ES384", "ES512", "EdDSA"} {
		key := publicOf(t, alg)
		all[pemOf(t, key)] = []string{alg}
		all[jsonOf(t, jwkOf(t, key, ""))] = []string{alg}
		pems += pemOf(t, key) + "\n"
		set = append(set, jwkOf(t, key, "key-"+alg))
	}
	all[pems] = []string{"RS256", "PS384", "ES256", "ES384", "ES512", "EdDSA"}
	hmacKey := issuer()["HS256"].([]byte)
	all[jsonOf(t, map[string]any{"keys": append(set, jwkOf(t, hmacKey, "key-HS256"))})] = []string{"RS256", "ES256", "ES384", "ES512", "EdDSA", "HS256"}
	all["another-secret-of-32-bytes-or-more\n"+string(hmacKey)+"\n"] = []string{"HS256"}
	all[string(pem.EncodeToMemory(&pem.Block{Type: "RSA PUBLIC KEY", Bytes: x509.MarshalPKCS1PublicKey(publicOf(t, "RS256").(*rsa.PublicKey))}))] = []string{"RS256", "PS384"}
	template := &x509.Certificate{SerialNumber: big.NewInt(1)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, publicOf(t, "ES256"), issuer()["ES256"])
	if err != nil {
		t.Fatal(err)
	}
	all[string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))] = []string{"ES256"}
	return all
}

func TestTokens(t *testing.T) {
	for file, algs := range keyFiles(t) {
		j := newJWT(t, JWTConfig{}, file)
		for _, alg := range algs {
			for _, kid := range []string{"", "key-" + alg} {
				header := []string{"kid", kid}
				if kid == "" {
					header = nil
				}
				g, err := j.Authorize(t.Context(), shownToken(tokenOf(t, alg, permits(), header...)))
				if err != nil || g.Name != "alice" || g.Subject != "Alice" || g.By != ByJWT || g.Expires.Before(time.Now()) {
					t.Errorf("%s with %.40s: got %+v, %v", alg, file, g, err)
				}
			}
		}
		for alg := range issuer() {
			known := strings.Contains(strings.Join(algs, " "), alg) || alg == "PS384" && strings.Contains(strings.Join(algs, " "), "RS256")
			if _, err := j.Authorize(t.Context(), shownToken(tokenOf(t, alg, permits()))); !known && !errors.Is(err, ErrDenied) {
				t.Errorf("%s with %.40s: got %v", alg, file, err)
			}
		}
	}
}

// What everybody can read is no secret, and what is not signed is nothing.
func TestAlgorithmConfusion(t *testing.T) {
	unsigned := base64.RawURLEncoding.EncodeToString([]byte(jsonOf(t, permits())))
	part := func(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }
	for file := range keyFiles(t) {
		j := newJWT(t, JWTConfig{}, file)
		var forged []string
		for _, alg := range []string{"HS256", "HS384", "HS512"} {
			for _, guess := range []string{file, strings.TrimSpace(file), pemOf(t, publicOf(t, "RS256")), "", "\x00"} {
				s, err := jwt.NewWithClaims(jwt.GetSigningMethod(alg), jwt.MapClaims(permits())).SignedString([]byte(guess))
				if err != nil {
					t.Fatal(err)
				}
				forged = append(forged, s)
			}
		}
		for _, alg := range []string{"none", "None", "NONE", "HS256", "RS256", "ES256", "EdDSA", "XX"} {
			for _, sig := range []string{"", "AA", strings.Repeat("A", 86), strings.Repeat("A", 342)} {
				forged = append(forged, part(`{"alg":"`+alg+`"}`)+"."+unsigned+"."+sig)
			}
		}
		for _, token := range forged {
			g, err := j.Authorize(t.Context(), shownToken(token))
			if err == nil {
				t.Errorf("%.60s… is good with %.40s: %+v", token, file, g)
			}
		}
	}
}

// Any change of a byte of the token refuses it.
func TestTokenAnyChangeRefuses(t *testing.T) {
	for _, alg := range []string{"HS256", "ES256", "EdDSA", "RS256"} {
		file := string(canary + "-and-more-than-32-bytes")
		if alg != "HS256" {
			file = pemOf(t, publicOf(t, alg))
		}
		j := newJWT(t, JWTConfig{}, file)
		token := tokenOf(t, alg, permits())
		if _, err := j.Authorize(t.Context(), shownToken(token)); err != nil {
			t.Fatal(err)
		}
		for i := range len(token) {
			c := byte('A')
			if token[i] == c {
				c = 'B'
			}
			changed := token[:i] + string(c) + token[i+1:]
			if g, err := j.Authorize(t.Context(), shownToken(changed)); err == nil {
				t.Fatalf("%s: byte %d: %+v", alg, i, g)
			}
		}
	}
}

func TestTokenTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := newJWT(t, JWTConfig{}, string(issuer()["HS256"].([]byte)))
		begin, end := time.Now().Add(time.Hour), time.Now().Add(2*time.Hour)
		claims := permits()
		claims["nbf"], claims["exp"] = begin.Unix(), end.Unix()
		token := tokenOf(t, "HS256", claims)
		try := func(at time.Time, want string) {
			t.Helper()
			time.Sleep(time.Until(at))
			g, err := j.Authorize(t.Context(), shownToken(token))
			if want == "" && (err != nil || !g.Expires.Equal(end)) || want != "" && (!errors.Is(err, ErrDenied) || !strings.Contains(err.Error(), want)) {
				t.Errorf("%v: got %+v, %v, want %q", at, g, err, want)
			}
		}
		try(begin.Add(-defaultClockSkew-time.Second), "not valid yet")
		try(begin.Add(-defaultClockSkew), "")
		try(end.Add(-time.Nanosecond), "")
		try(end, "expired")
		try(end.Add(defaultClockSkew+time.Second), "expired")
	})
}

// A running stream ends with its token, but with MediaMTX's claim.
func TestTokenOfARunningStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := newJWT(t, JWTConfig{Issuer: "me"}, string(issuer()["HS256"].([]byte)))
		exp := time.Now().Add(time.Hour).Unix()
		ours := permits()
		ours["iss"], ours["exp"] = "me", exp
		theirs := map[string]any{"iss": "me", "exp": exp, "mediamtx_permissions": []any{map[string]any{"action": "publish"}}}
		other := map[string]any{"iss": "you", "exp": exp, "mediamtx_permissions": []any{map[string]any{"action": "publish"}}}
		ask := func(claims map[string]any, running time.Duration) string {
			r := shownToken(tokenOf(t, "HS256", claims))
			r.Running = running
			_, err := j.Authorize(t.Context(), r)
			return resultOf(err)
		}
		for at, want := range []string{Granted, Denied, Denied} { // in time, within the leeway, long after
			if got := ask(ours, time.Second); got != want {
				t.Errorf("%d: ours: %s", at, got)
			}
			if got := ask(theirs, time.Second); got != Granted {
				t.Errorf("%d: theirs: %s", at, got)
			}
			if got := ask(theirs, 0); got != want {
				t.Errorf("%d: theirs, of a new stream: %s", at, got)
			}
			if got := ask(other, time.Second); got != Denied {
				t.Errorf("%d: another issuer's: %s", at, got)
			}
			time.Sleep([]time.Duration{time.Hour, time.Hour, 0}[at])
		}
	})
}

func TestTokenClaims(t *testing.T) {
	perms := func(p ...map[string]any) map[string]any { return map[string]any{"rtmp": p} }
	one := func(kv ...any) map[string]any {
		m := map[string]any{"action": "publish", "app": "live", "name": "alice"}
		for i := 0; i < len(kv); i += 2 {
			m[kv[i].(string)] = kv[i+1]
		}
		return m
	}
	mtx := func(v any) map[string]any { return map[string]any{"mediamtx_permissions": v} }
	path := func(action, path string) map[string]any { return map[string]any{"action": action, "path": path} }
	for _, c := range []struct {
		claims map[string]any
		want   Grant // its Name "" = denied
	}{
		{perms(one()), Grant{Name: "alice"}},
		{perms(one("name", "*")), Grant{Name: "name"}},
		{perms(one("name", "na?e", "app", "l*", "origin", "main", "bitrate", "8Mbit")), Grant{Name: "name", Origin: "main", Bitrate: 8_000_000}},
		{perms(one("app", "", "bitrate", 5000)), Grant{Name: "alice", Bitrate: 5000}},
		{perms(one(), one("name", "name")), Grant{Name: "name"}}, // what the client asked for
		{perms(one("action", "play"), one("name", "bob")), Grant{Name: "bob"}},
		{perms(one("action", "play")), Grant{}},
		{perms(one("action", "PUBLISH")), Grant{}},
		{perms(one("app", "show")), Grant{}},
		{perms(one("app", "live[")), Grant{}},
		{perms(one("name", "other*")), Grant{}},
		{perms(one("name", "")), Grant{}},
		{perms(one("name", "a b")), Grant{}},
		{perms(one("name", strings.Repeat("*", 600))), Grant{}},
		{perms(one("bitrate", "fast")), Grant{}},
		{perms(one("bitrate", -1)), Grant{}},
		{perms(), Grant{}},
		{map[string]any{"rtmp": "publish"}, Grant{}},
		{map[string]any{"rtmp": nil, "mediamtx_permissions": []any{path("publish", "")}}, Grant{Name: "name"}},
		{map[string]any{"rtmp": []any{}, "mediamtx_permissions": []any{path("publish", "")}}, Grant{}},
		{map[string]any{"rtmp": []any{map[string]any{"action": 1}}}, Grant{}},
		{map[string]any{}, Grant{}},
		{mtx([]any{path("publish", "")}), Grant{Name: "name"}},
		{mtx([]any{path("read", ""), path("publish", "live/name")}), Grant{Name: "name"}},
		{mtx(jsonOf(t, []any{path("publish", "live/name")})), Grant{Name: "name"}},
		{mtx([]any{path("publish", "~^live/n.*$")}), Grant{Name: "name"}},
		{mtx([]any{path("publish", "~nam")}), Grant{Name: "name"}},
		{mtx([]any{path("publish", "~^live/x")}), Grant{}},
		{mtx([]any{path("publish", "~(")}), Grant{}},
		{mtx([]any{path("publish", "~"+strings.Repeat("a*", 300))}), Grant{}},
		{mtx([]any{path("publish", "live/other")}), Grant{}},
		{mtx([]any{path("read", "")}), Grant{}},
		{mtx("nonsense"), Grant{}},
		{mtx(7), Grant{}},
	} {
		j := newJWT(t, JWTConfig{}, string(issuer()["HS256"].([]byte)))
		g, err := j.Authorize(t.Context(), shownToken(tokenOf(t, "HS256", c.claims)))
		if c.want.Name == "" {
			if !errors.Is(err, ErrDenied) {
				t.Errorf("%v: got %+v, %v", c.claims, g, err)
			}
			continue
		}
		c.want.By, c.want.Subject, c.want.Revoked = ByJWT, c.want.Name, g.Revoked
		if g != c.want || err != nil {
			t.Errorf("%v: got %+v, %v", c.claims, g, err)
		}
	}
}

func TestIssuerAndAudience(t *testing.T) {
	j := newJWT(t, JWTConfig{Issuer: "https://id.example", Audience: "edge"}, string(issuer()["HS256"].([]byte)))
	for want, claims := range map[string]map[string]any{
		"":                      {"iss": "https://id.example", "aud": []string{"other", "edge"}},
		"from another issuer":   {"iss": "https://evil.example", "aud": "edge"},
		"for another audience":  {"iss": "https://id.example", "aud": "other"},
		"no issuer or audience": {},
		"has a wrong type":      {"iss": 7, "aud": "edge"},
	} {
		all := permits()
		for k, v := range claims {
			all[k] = v
		}
		_, err := j.Authorize(t.Context(), shownToken(tokenOf(t, "HS256", all)))
		if want == "" && err != nil || want != "" && (!errors.Is(err, ErrDenied) || !strings.Contains(err.Error(), want)) {
			t.Errorf("%v: got %v, want %q", claims, err, want)
		}
	}
}

func TestWhereTheTokenStands(t *testing.T) {
	j := newJWT(t, JWTConfig{}, string(issuer()["HS256"].([]byte)))
	token := tokenOf(t, "HS256", permits())
	other := tokenOf(t, "HS256", map[string]any{"sub": "bob"})
	for key, want := range map[string]string{
		"name?token=" + token:                   Granted,
		"name?jwt=" + token:                     Granted,
		"name?x=1&jwt=" + token + "&y":          Granted,
		token:                                   Granted,
		token + "?token=" + token:               Granted,
		"name?token=" + token + "&jwt=" + token: Granted, // the same twice is one
		"name?token=abc&jwt=" + token:           Granted,
		"name?token=" + strings.ReplaceAll(token, ".", "%2E"):   Granted,
		"name?token=" + strings.ReplaceAll(token, ".", "%252E"): Unknown,
		"name?token=" + token + "&jwt=" + other:                 Denied,
		other + "?token=" + token:                               Denied,
		"name?access=" + token:                                  Unknown,
		"name?token=abc":                                        Unknown,
		"name?token=a.b.c":                                      Unknown,
		"a.b.c":                                                 Unknown,
		"name":                                                  Unknown,
		"":                                                      Unknown,
		"name?token=" + token + "x":                             Denied,
		"name?token=" + token + ".x":                            Unknown,
		"name?token=" + token + "&" + strings.Repeat("x", maxQuery): Unknown,
	} {
		if _, err := j.Authorize(t.Context(), asked("live", key)); resultOf(err) != want {
			t.Errorf("%.50s…: got %v, want %s", key, err, want)
		}
	}
	glob := permits()
	glob["rtmp"] = []any{map[string]any{"action": "publish", "app": "*", "name": "*"}}
	if _, err := j.Authorize(t.Context(), asked("live", tokenOf(t, "HS256", glob))); !errors.Is(err, ErrDenied) {
		t.Errorf("no name at all: got %v", err)
	}
}

func TestCriticalExtensions(t *testing.T) {
	j := newJWT(t, JWTConfig{}, string(issuer()["HS256"].([]byte)))
	if _, err := j.Authorize(t.Context(), shownToken(tokenOf(t, "HS256", permits(), "crit", "exp"))); !errors.Is(err, ErrDenied) || !strings.Contains(err.Error(), "extensions") {
		t.Errorf("got %v", err)
	}
}

// A key that is taken out of the file ends what it granted; one that is added
// does not.
func TestTokenKeysChange(t *testing.T) {
	first, second := string(issuer()["HS256"].([]byte)), pemOf(t, publicOf(t, "ES256"))
	var reloads []error
	j := newJWT(t, JWTConfig{OnReload: func(err error) { reloads = append(reloads, err) }}, first)
	token := tokenOf(t, "HS256", permits())
	g, err := j.Authorize(t.Context(), shownToken(token))
	if err != nil {
		t.Fatal(err)
	}
	write(t, j.cfg.KeyFile, "one-more-secret-before-the-first-one\n"+first)
	j.file.look()
	if _, err := j.Authorize(t.Context(), shownToken(token)); err != nil || revoked(g) {
		t.Errorf("%v; revoked %v", err, revoked(g))
	}
	write(t, j.cfg.KeyFile, "{")
	j.file.look()
	if _, err := j.Authorize(t.Context(), shownToken(token)); err != nil || revoked(g) || len(reloads) != 2 || reloads[1] == nil {
		t.Errorf("%v; revoked %v; reloads %v", err, revoked(g), reloads)
	}
	write(t, j.cfg.KeyFile, second)
	j.file.look()
	if _, err := j.Authorize(t.Context(), shownToken(token)); !errors.Is(err, ErrDenied) || !revoked(g) {
		t.Errorf("%v; revoked %v", err, revoked(g))
	}
	g, err = j.Authorize(t.Context(), shownToken(tokenOf(t, "ES256", permits())))
	if j.Retire(); err != nil || !revoked(g) {
		t.Errorf("%v; revoked %v", err, revoked(g))
	}
}

func TestKeyFileFaults(t *testing.T) {
	private, err := x509.MarshalPKCS8PrivateKey(issuer()["ES256"])
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]string{
		"": "must have a secret",
		string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})):    "must not hold a private key",
		jsonOf(t, jwkOf(t, issuer()["ES256"], "")):                                     "must not hold a private key",
		string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: []byte("x")})): "must have public keys",
		string(pem.EncodeToMemory(&pem.Block{Type: "OTHER", Bytes: []byte("x")})):      "must have public keys",
		"-----BEGIN PUBLIC KEY-----\n" + canary:                                        "must have public keys",
		pemOf(t, publicOf(t, "ES256")) + canary:                                        "must have public keys",
		`{"keys":[]}`:                                                                  "must have 1 to 64 keys",
		`{"keys":[{"kty":"` + canary + `"}]}`:                                          "must have public keys",
		`{"a":1}`:                                                                      "must have public keys",
		`{` + canary:                                                                   "must have public keys",
		"a\x01" + canary:                                                               "control characters",
	} {
		file := write(t, filepath.Join(t.TempDir(), "keys"), text)
		_, err := NewJWT(JWTConfig{KeyFile: file})
		var list fault.List
		if !errors.As(err, &list) || !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), file) || strings.Contains(err.Error(), canary) {
			t.Errorf("%.60s: got %v, want %q", text, err, want)
		}
	}
	for want, cfg := range map[string]JWTConfig{
		"jwks_url: is missing":           {},
		"key_file = \"k\": must be left": {JWKSURL: "http://h/", KeyFile: "k"},
		"jwks_url: must be an http":      {JWKSURL: "ftp://u:" + canary + "@h/"},
		"clock_skew":                     {JWKSURL: "http://h/", ClockSkew: -1},
		"jwks_ca":                        {JWKSURL: "http://h/", JWKSCA: []byte("none")},
	} {
		_, err := NewJWT(cfg)
		var list fault.List
		if !errors.As(err, &list) || len(list) != 1 || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), canary) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	var warned []string
	newJWT(t, JWTConfig{Warn: func(s string) { warned = append(warned, s) }}, canary)
	if len(warned) != 1 || strings.Contains(warned[0], canary) {
		t.Errorf("warned %q", warned)
	}
}

// jwksServer serves what keys says, and counts.
func jwksServer(t *testing.T, keys *atomic.Value) (url string, fetched *atomic.Int32) {
	t.Helper()
	fetched = &atomic.Int32{}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fetched.Add(1)
		text := keys.Load().(string)
		if text == "" {
			w.WriteHeader(http.StatusInternalServerError)
		}
		_, _ = io.WriteString(w, text)
	}))
	t.Cleanup(srv.Close)
	return srv.URL + "/jwks", fetched
}

func TestJWKS(t *testing.T) {
	var keys atomic.Value
	set := func(algs ...string) {
		var list []jwkset.JWKMarshal
		for _, alg := range algs {
			list = append(list, jwkOf(t, publicOf(t, alg), "key-"+alg))
		}
		keys.Store(jsonOf(t, map[string]any{"keys": list}))
	}
	set("RS256", "EdDSA")
	url, fetched := jwksServer(t, &keys)
	j, err := NewJWT(JWTConfig{JWKSURL: url})
	if err != nil {
		t.Fatal(err)
	}
	if fetched.Load() != 0 {
		t.Error("fetched before Watch")
	}
	watched(t, j.Watch)
	ask := func(alg string, header ...string) error {
		_, err := j.Authorize(t.Context(), shownToken(tokenOf(t, alg, permits(), header...)))
		return err
	}
	for _, alg := range []string{"RS256", "EdDSA"} {
		if err := errors.Join(ask(alg, "kid", "key-"+alg), ask(alg)); err != nil {
			t.Errorf("%s: %v", alg, err)
		}
	}
	for _, err := range []error{ask("RS256", "kid", "key-EdDSA"), ask("HS256"), ask("HS256", "kid", "key-RS256"), ask("ES256")} {
		if !errors.Is(err, ErrDenied) {
			t.Errorf("got %v", err)
		}
	}
	if n := fetched.Load(); n != 1 {
		t.Errorf("fetched %d times", n)
	}
	set("RS256", "EdDSA", "ES256") // the issuer has a new key
	if err := ask("ES256", "kid", "key-ES256"); err != nil || fetched.Load() != 2 {
		t.Errorf("fetched %d times: %v", fetched.Load(), err)
	}
	var wg sync.WaitGroup
	for i := range 200 { // who makes up kids makes no work
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
			defer cancel()
			if _, err := j.Authorize(ctx, shownToken(tokenOf(t, "EdDSA", permits(), "kid", fmt.Sprint(canary, i)))); !errors.Is(err, ErrDenied) || strings.Contains(err.Error(), canary) {
				t.Errorf("got %v", err)
			}
		})
	}
	wg.Wait()
	if n := fetched.Load(); n > 3 {
		t.Errorf("fetched %d times", n)
	}
}

// spoken keeps what was said.
type spoken struct {
	mu   sync.Mutex
	said []string
}

func (l *spoken) add(s string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.said = append(l.said, s)
}

func (l *spoken) text() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Join(l.said, "\n")
}

// fakedJWKS serves keys without a network, in fake time.
func fakedJWKS(t *testing.T, f transport) (j *JWT, warned *spoken) {
	t.Helper()
	warned = &spoken{}
	j, err := NewJWT(JWTConfig{JWKSURL: "http://" + "u:" + canary + "@id.example/jwks", Warn: warned.add})
	if err != nil {
		t.Fatal(err)
	}
	j.remote.client.Transport = fetches{j.remote, f}
	return j, warned
}

func TestJWKSDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var answer atomic.Pointer[func() (*http.Response, error)]
		set := func(f func() (*http.Response, error)) { answer.Store(&f) }
		set(func() (*http.Response, error) { return nil, io.EOF })
		var fetched atomic.Int32
		j, warned := fakedJWKS(t, func(*http.Request) (*http.Response, error) { fetched.Add(1); return (*answer.Load())() })
		token := tokenOf(t, "EdDSA", permits(), "kid", "a")
		ask := func(token string) error { _, err := j.Authorize(t.Context(), shownToken(token)); return err }
		if err := ask(token); !errors.Is(err, errNoKeys) {
			t.Errorf("before Watch: %v", err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go j.Watch(ctx)
		begin := time.Now()
		if err := ask(token); !errors.Is(err, errNoKeys) || time.Since(begin) != jwksTimeout {
			t.Errorf("down at first: %v", err)
		}
		good := jsonOf(t, map[string]any{"keys": []any{jwkOf(t, publicOf(t, "EdDSA"), "a")}})
		set(func() (*http.Response, error) { return says(200, good) })
		time.Sleep(jwksRetryMost)
		if err := ask(token); err != nil {
			t.Fatal(err)
		}
		for name, bad := range map[string]func() (*http.Response, error){
			"hangs up": func() (*http.Response, error) { return nil, io.EOF },
			"500":      func() (*http.Response, error) { return says(500, good) },
			"redirect": func() (*http.Response, error) {
				return &http.Response{StatusCode: 302, Header: http.Header{"Location": {"http://127.0.0.1/"}}, Body: http.NoBody}, nil
			},
			"no JSON":  func() (*http.Response, error) { return says(200, canary) },
			"too long": func() (*http.Response, error) { return says(200, strings.Repeat(" ", maxJWKS)+good) },
		} {
			set(bad)
			time.Sleep(jwksFresh)
			if err := ask(token); err != nil {
				t.Errorf("%s: what is known goes on: %v", name, err)
			}
			time.Sleep(jwksUnknown)
			if err := ask(tokenOf(t, "EdDSA", permits(), "kid", "b")); !errors.Is(err, errKeysFailed) || errors.Is(err, ErrDenied) {
				t.Errorf("%s: an unknown key: %v", name, err)
			}
		}
		if said := warned.text(); said == "" || strings.Contains(said, canary) {
			t.Errorf("warned %q", said)
		}
		set(func() (*http.Response, error) { return says(200, `{"keys":[]}`) })
		time.Sleep(jwksFresh)
		if err := ask(token); !errors.Is(err, ErrDenied) {
			t.Errorf("a key that was withdrawn: %v", err)
		}
		if most := int(time.Since(begin)/jwksFresh)*2 + 20; int(fetched.Load()) > most {
			t.Errorf("fetched %d times", fetched.Load())
		}
		cancel()
		synctest.Wait()
	})
}

func TestJWTDoesNotTell(t *testing.T) {
	j := newJWT(t, JWTConfig{}, string(issuer()["HS256"].([]byte)))
	for _, token := range []string{
		tokenOf(t, "EdDSA", map[string]any{"sub": canary, "rtmp": []any{}}, "kid", canary),
		tokenOf(t, "HS256", map[string]any{"sub": canary, "rtmp": canary}),
		tokenOf(t, "HS256", map[string]any{"sub": canary, "mediamtx_permissions": canary}),
	} {
		_, err := j.Authorize(t.Context(), shownToken(token))
		if !errors.Is(err, ErrDenied) || strings.Contains(err.Error(), canary) || strings.Contains(err.Error(), token[:20]) {
			t.Errorf("told %v", err)
		}
	}
	claims := permits()
	claims["sub"] = "a\nb"
	if g, err := j.Authorize(t.Context(), shownToken(tokenOf(t, "HS256", claims))); err != nil || g.Subject != "alice" {
		t.Errorf("a subject for logs: %+v, %v", g, err)
	}
	if out := fmt.Sprintf("%v %+v", j, j.cfg); strings.Contains(out, canary) {
		t.Errorf("printed %s", out)
	}
}

func FuzzToken(f *testing.F) {
	j := newJWT(f, JWTConfig{}, string(issuer()["HS256"].([]byte))+canary)
	f.Add("name", "token="+tokenOf(f, "HS256", permits()))
	f.Add(tokenOf(f, "EdDSA", permits(), "kid", "x"), "")
	f.Fuzz(func(t *testing.T, key, query string) {
		r := Request{Action: Publish, App: "live", Key: secret.New(key), Query: secret.New(query)}
		g, err := j.Authorize(t.Context(), r)
		if err == nil {
			t.Fatalf("granted %+v", g)
		}
		if errors.Is(err, ErrDenied) == errors.Is(err, ErrUnknown) {
			t.Fatalf("got %v", err)
		}
	})
}

// FuzzClaims: whatever an issuer signs, it is judged without a panic, and what
// it grants has a name that origins read alike.
func FuzzClaims(f *testing.F) {
	f.Add([]byte(jsonOf(f, permits())), "live", "name")
	f.Add([]byte(`{"mediamtx_permissions":"[{\"action\":\"publish\",\"path\":\"~^live\"}]"}`), "live", "name")
	f.Fuzz(func(t *testing.T, data []byte, app, name string) {
		var c edgeClaims
		if json.Unmarshal(data, &c) != nil {
			return
		}
		g, err := c.grant(Request{Action: Publish, App: app}, name)
		if err == nil && (!CanonicalName(g.Name) || g.Bitrate < 0 || strings.ContainsFunc(g.Subject, isControl)) {
			t.Fatalf("granted %+v", g)
		}
		if err != nil && !errors.Is(err, ErrDenied) {
			t.Fatalf("got %v", err)
		}
	})
}

func FuzzTokenKeys(f *testing.F) {
	for file := range keyFiles(f) {
		f.Add([]byte(file))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		keys, err := parseTokenKeys("k", data)
		for _, k := range keys {
			if _, usableErr := usable(k.key, nil); err == nil && usableErr != nil {
				t.Fatalf("read a %T", k.key)
			}
		}
		if _, isSecret := first(keys).([]byte); isSecret && strings.Contains(string(data), "-----BEGIN") {
			t.Fatal("PEM taken for a secret")
		}
	})
}

func first(keys []tokenKey) crypto.PublicKey {
	if len(keys) == 0 {
		return nil
	}
	return keys[0].key
}
