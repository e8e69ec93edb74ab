package authz

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"rtmps-edge/internal/fault"
	"rtmps-edge/internal/secret"
)

// Vectors that were computed apart from this code.
func TestLoginVectors(t *testing.T) {
	if got := adobeResponse("alice", "S4lt1234", "s3cret", "deadbeef01234567", "AAECAw=="); got != "wMOnwtyBbspAYE/tnnv6Tg==" {
		t.Errorf("adobe: %s", got)
	}
	if got := adobeResponse("myuser", "testsalt", "mypass", "testchallenge", "aabbccdd"); got != "lOoy/Svk2nqVizO3aJhWEA==" {
		t.Errorf("adobe: %s", got)
	}
	if got := llnwResponse("alice", "s3cret", "live", "9f86d081884c7d65", "00000001", "0a1b2c3d"); got != "36508ed7b921851c9e972c39788cca1a" {
		t.Errorf("llnw: %s", got)
	}
	if got := llnwResponse("myuser", "mypass", "live", "testnonce", "00000001", "deadbeef"); got != "7770ad039b6d3e606504e6773067d629" {
		t.Errorf("llnw: %s", got)
	}
}

const users = `[[user]]
name = "alice"
password = "s3cret"
app = "live"

[[user]]
name = "bob"
password = "other"
subject = "robert"
stream = "bobs"
actions = ["publish", "play"]

[[user]]
name = "carol"
password = "third"
names = ["carol-*"]
`

func newPassword(t *testing.T, text string) *Password {
	t.Helper()
	file := filepath.Join(t.TempDir(), "users.toml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	p, err := NewPassword(PasswordConfig{File: file})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// field takes a field out of a challenge as a client does.
func field(t *testing.T, refusal, name string) string {
	t.Helper()
	m := regexp.MustCompile(`[?&]` + name + `=([^&]*)`).FindStringSubmatch(refusal)
	if m == nil {
		t.Fatalf("no %s in %q", name, refusal)
	}
	return m[1]
}

// responseOf is the third connect of a client.
func responseOf(t *testing.T, p *Password, mod, user, password string) secret.Text {
	t.Helper()
	asked := p.Connect("live", secret.New("authmod="+mod+"&user="+user))
	if asked.User != "" || asked.Guess {
		t.Fatalf("%+v", asked)
	}
	if field(t, asked.Refusal, "reason") != "needauth" || field(t, asked.Refusal, "user") != user || strings.Contains(asked.Refusal, "code=403") {
		t.Fatalf("challenge %q", asked.Refusal)
	}
	if mod == "llnw" {
		nonce := field(t, asked.Refusal, "nonce")
		return secret.New(fmt.Sprintf("authmod=llnw&user=%s&nonce=%s&cnonce=0a1b2c3d&nc=00000001&response=%s", user, nonce,
			llnwResponse(user, password, "live", nonce, "00000001", "0a1b2c3d")))
	}
	opaque := field(t, asked.Refusal, "opaque")
	return secret.New(fmt.Sprintf("authmod=adobe&user=%s&challenge=AAECAw==&response=%s&opaque=%s", user,
		adobeResponse(user, field(t, asked.Refusal, "salt"), password, opaque, "AAECAw=="), opaque))
}

func TestConnect(t *testing.T) {
	p := newPassword(t, users)
	for _, mod := range []string{"adobe", "llnw"} {
		right := responseOf(t, p, mod, "alice", "s3cret")
		if got := p.Connect("live", right); got != (Login{User: "alice"}) {
			t.Errorf("%s: %+v", mod, got)
		}
		if got := p.Connect("live", right); !got.Guess || got.User != "" {
			t.Errorf("%s: a response is good twice: %+v", mod, got)
		}
		for name, wrong := range map[string]secret.Text{
			"wrong password":      responseOf(t, p, mod, "alice", "wrong"),
			"user that is not":    responseOf(t, p, mod, "mallory", "s3cret"),
			"another's challenge": secret.New(strings.Replace(responseOf(t, p, mod, "bob", "s3cret").Reveal(), "user=bob", "user=alice", 1)),
		} {
			got := p.Connect("live", wrong)
			if got.User != "" || !got.Guess || !strings.Contains(got.Refusal, "reason=authfail") {
				t.Errorf("%s, %s: %+v", mod, name, got)
			}
		}
	}
	for _, query := range []string{"", "token=abc", "xauthmod=adobe"} {
		if got := p.Connect("live", secret.New(query)); got != (Login{}) {
			t.Errorf("%q: %+v", query, got)
		}
	}
	for _, query := range []string{"authmod=kerberos&user=alice", "authmod=adobe", "authmod=adobe&user=a/b"} {
		if got := p.Connect("live", secret.New(query)); got != (Login{Refusal: NeedLogin}) {
			t.Errorf("%q: %+v", query, got)
		}
	}
}

// Users that there are not look like others: the same salt each time, the same
// shape of every answer.
func TestUnknownUsersLookLikeOthers(t *testing.T) {
	p := newPassword(t, users)
	shape := func(user string) (string, string) {
		asked := p.Connect("live", secret.New("authmod=adobe&user="+user)).Refusal
		salt := field(t, asked, "salt")
		asked = strings.ReplaceAll(asked, field(t, asked, "opaque"), "OPAQUE")
		asked = strings.ReplaceAll(asked, field(t, asked, "challenge"), "CHALLENGE")
		return strings.ReplaceAll(strings.ReplaceAll(asked, salt, "SALT"), user, "USER"), salt
	}
	known, _ := shape("alice")
	unknown, salt := shape("mallory")
	_, again := shape("mallory")
	if known != unknown || salt != again {
		t.Errorf("%q, %q; salts %s, %s", known, unknown, salt, again)
	}
	if len(unknown) > 250 {
		t.Errorf("%d bytes: ffmpeg reads 254", len(unknown))
	}
}

// A client may meet another edge each time, if they share a secret; a challenge
// is good for a while, and once.
func TestChallengesAmongEdges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		one, two, other := newSealer(secret.New("shared")), newSealer(secret.New("shared")), newSealer(secret.Text{})
		now := time.Now()
		token := one.seal("adobe", "alice", now)
		if other.open("adobe", "alice", token, now) || two.open("llnw", "alice", token, now) || two.open("adobe", "bob", token, now) {
			t.Error("a challenge is good for something else")
		}
		if !two.open("adobe", "alice", token, now) || two.open("adobe", "alice", token, now) {
			t.Error("a challenge is not good once")
		}
		if one.salt("alice") != two.salt("alice") || one.salt("alice") == other.salt("alice") {
			t.Error("salts")
		}
		token = one.seal("adobe", "alice", now)
		if one.open("adobe", "alice", token, now.Add(challengeLife)) {
			t.Error("a challenge is good too long")
		}
		late := one.seal("adobe", "alice", now)
		if !one.open("adobe", "alice", late, now.Add(challengeLife-1)) || one.open("adobe", "alice", late, now.Add(challengeLife-1)) {
			t.Error("a challenge that is nearly too old")
		}
		for i := range token {
			bad := []byte(token)
			bad[i] ^= 1
			if one.open("adobe", "alice", string(bad), now) {
				t.Errorf("a challenge with another byte %d is good", i)
			}
		}
	})
}

func TestUsedChallengesAreBounded(t *testing.T) {
	u := &usedNonces{}
	now := time.Now()
	for i := range maxUsed {
		if !u.first([nonceLen]byte{byte(i), byte(i >> 8), byte(i >> 16)}, now) {
			t.Fatalf("nonce %d is refused", i)
		}
	}
	if u.first([nonceLen]byte{7: 1}, now) || len(u.now) != maxUsed {
		t.Error("more than can be remembered")
	}
	now = now.Add(challengeLife)
	if !u.first([nonceLen]byte{7: 1}, now) || u.first([nonceLen]byte{1}, now) {
		t.Error("after a life there is room, and what was used in the last stays used")
	}
}

func TestPasswordGrants(t *testing.T) {
	p := newPassword(t, users)
	ask := func(user, app, key string, a Action) (Grant, error) {
		return p.Authorize(context.Background(), Request{Action: a, App: app, Key: secret.New(key), User: user, Client: netip.MustParseAddrPort("192.0.2.1:1")})
	}
	for _, c := range []struct{ user, app, key, subject, name string }{
		{"alice", "live", "whatever?", "alice", "alice"},
		{"bob", "any", "x", "robert", "bobs"},
		{"carol", "any", "carol-2", "carol", "carol-2"},
	} {
		g, err := ask(c.user, c.app, c.key, Publish)
		if err != nil || g.Subject != c.subject || g.Name != c.name || g.By != ByPassword {
			t.Errorf("%s: %+v, %v", c.user, g, err)
		}
	}
	for name, c := range map[string]struct {
		user, app, key string
		a              Action
		want           error
	}{
		"nobody": {"", "live", "x", Publish, ErrUnknown}, "gone": {"mallory", "live", "x", Publish, ErrDenied},
		"another app": {"alice", "other", "x", Publish, ErrDenied}, "play": {"alice", "live", "x", Play, ErrDenied},
		"another's name": {"carol", "any", "alice", Publish, ErrDenied}, "odd name": {"carol", "any", "carol-../x", Publish, ErrDenied},
	} {
		if _, err := ask(c.user, c.app, c.key, c.a); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if p.KnowsApp("live") != true {
		t.Error("KnowsApp")
	}
}

// Who is taken out, and whose password changes, is ended; others go on.
func TestChangedUsersAreRevoked(t *testing.T) {
	p := newPassword(t, users)
	grants := map[string]Grant{}
	for _, user := range []string{"alice", "bob", "carol"} {
		g, err := p.Authorize(context.Background(), Request{Action: Publish, App: "live", Key: secret.New("carol-1"), User: user})
		if err != nil {
			t.Fatal(err)
		}
		grants[user] = g
	}
	text := strings.Replace(users, "s3cret", "changed", 1)
	if err := os.WriteFile(p.file, []byte(text[:strings.Index(text, "[[user]]\nname = \"carol\"")]), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := p.Reload(); err != nil {
		t.Fatal(err)
	}
	for user, want := range map[string]bool{"alice": true, "bob": false, "carol": true} {
		if revoked(grants[user]) != want {
			t.Errorf("%s revoked: %v", user, !want)
		}
	}
	if got := p.Connect("live", responseOf(t, p, "adobe", "alice", "changed")); got.User != "alice" {
		t.Errorf("%+v", got)
	}
	p.Retire()
	if !revoked(grants["bob"]) {
		t.Error("retired, and bob goes on")
	}
}

func TestUsersFaults(t *testing.T) {
	file := filepath.Join(t.TempDir(), "users.toml")
	text := "[[user]]\nname = \"a&b\"\npassword = \"hunter2\"\n[[user]]\nname = \"c\"\n[[user]]\nname = \"d\"\npassword = \"hunter2\"\npassword_file = \"x\"\n" +
		"[[user]]\nname = \"d\"\npassword_file = \"missing\"\nnames = [\"[\"]\ncolour = 1\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := ListUsers(file)
	var list fault.List
	if !errors.As(err, &list) || len(list) != 7 || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("%d faults:\n%v", len(list), err)
	}
}

func TestAddAndRemoveUsers(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "users.toml")
	u := User{User: "alice", Password: secret.New(`p"\w`), Names: []string{"a-*"}, Terms: Terms{Subject: "alice", Actions: []Action{Publish}, Name: ""}}
	if err := AddUser(file, u); err != nil {
		t.Fatal(err)
	}
	if err := AddUser(file, u); err == nil {
		t.Error("the same user twice")
	}
	if err := AddUser(file, User{User: "a b", Password: secret.New("x"), Terms: Terms{Subject: "a", Actions: []Action{Publish}}}); err == nil {
		t.Error("a user with a space")
	}
	got, err := ListUsers(file)
	if err != nil || len(got) != 1 || got[0].Password.Reveal() != `p"\w` || got[0].Names[0] != "a-*" {
		t.Fatalf("%+v, %v", got, err)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	if n, err := RemoveUsers(file, func(u User) bool { return u.User == "alice" }); n != 1 || err != nil {
		t.Error(n, err)
	}
}

// No text that a client sends makes it log in, panic, or appear in what it hears
// beyond its own user name.
func FuzzConnect(f *testing.F) {
	for _, s := range []string{"authmod=adobe&user=alice", "a=b?authmod=adobe&user=alice&challenge=x&response=y&opaque=z",
		"authmod=llnw&user=alice&nonce=n&cnonce=c&nc=1&response=r", "authmod=authmod=adobe&&&==", "xauthmod=&authmod=adobe"} {
		f.Add(s)
	}
	file := filepath.Join(f.TempDir(), "users.toml")
	if err := os.WriteFile(file, []byte(users), 0o600); err != nil {
		f.Fatal(err)
	}
	p, err := NewPassword(PasswordConfig{File: file})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, query string) {
		got := p.Connect("live", secret.New(query))
		if got.User != "" {
			t.Errorf("%q logs in as %s", query, got.User)
		}
		if len(got.Refusal) > 254 || strings.ContainsAny(got.Refusal, "\x00\n\r") {
			t.Errorf("%q is told %q", query, got.Refusal)
		}
		if own := WithoutLogin(secret.New(query)).Reveal(); !strings.HasPrefix(query, own) {
			t.Errorf("%q is of its own %q", query, own)
		}
	})
}
