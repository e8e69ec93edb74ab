package authz

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"rtmps-edge/internal/fault"
	"rtmps-edge/internal/secret"
)

// canary is a key that must turn up in no output.
const canary = "Xq7-canary-KEY_9z"

func write(t *testing.T, file, text string) string {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func keysToml(t *testing.T, text string) string {
	t.Helper()
	return write(t, filepath.Join(t.TempDir(), "keys.toml"), text)
}

func parsed(t *testing.T, text string) []Key {
	t.Helper()
	f, err := keysFormat.parse("keys.toml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return f.entries
}

func faultsOf(t *testing.T, text string) string {
	t.Helper()
	_, err := keysFormat.parse("keys.toml", []byte(text))
	var list fault.List
	if !errors.As(err, &list) {
		t.Fatalf("got %v, want faults in\n%s", err, text)
	}
	return err.Error()
}

var compareKeys = cmp.Options{
	cmp.Comparer(func(a, b Hash) bool { return a == b }),
	cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }),
}

func TestParseKeys(t *testing.T) {
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	got := parsed(t, `# all of it
[[key]]
subject = "alice"
hash    = "`+HashKey(canary)+`"
actions = ["publish", "play", "play"]
app     = "live*"
name    = "alice-1"
origin  = "main"
from    = ["192.0.2.0/24", "2001:db8::1", "10.1.2.3/8", "::ffff:192.0.2.7"]
not_before = 2026-01-01T00:00:00Z
expires    = 2026-01-01T02:00:00+01:00
bitrate    = "8Mbit"
disabled   = true

[[key]] # as little as there can be
subject = "bob"
hash = "plain:bobs-own"
[["key"]]
bitrate = 8_000
"subject" = "carol"
hash = 'sha256:`+strings.ToUpper(strings.TrimPrefix(HashKey("c"), "sha256:"))+`'
`)
	want := []Key{
		{
			Hash: HashOf(secret.New(canary)), Line: 2, Terms: Terms{Subject: "alice", Actions: []Action{Publish, Play}, App: "live*", Name: "alice-1", Origin: "main",
				From:      []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("2001:db8::1/128"), netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("192.0.2.7/32")},
				NotBefore: at, Expires: at.Add(time.Hour), Bitrate: 8_000_000, Disabled: true},
		},
		{Terms: Terms{Subject: "bob", Actions: []Action{Publish}}, Hash: HashOf(secret.New("bobs-own")), Plain: true, Line: 15},
		{Terms: Terms{Subject: "carol", Actions: []Action{Publish}, Bitrate: 8000}, Hash: HashOf(secret.New("c")), Line: 18},
	}
	if diff := cmp.Diff(want, got, compareKeys); diff != "" {
		t.Error(diff)
	}
}

func TestNoKeys(t *testing.T) {
	for _, text := range []string{"", "# nobody yet\n", "key = []\n"} {
		if got := parsed(t, text); len(got) != 0 {
			t.Errorf("%q: got %v", text, got)
		}
	}
}

func TestInlineKeys(t *testing.T) {
	got := parsed(t, "key = [\n  {subject = 'a', hash = 'plain:1'},\n  {subject = 'b', hash = 'plain:2'},\n]\n")
	if len(got) != 2 || got[0].Line != 2 || got[1].Line != 3 {
		t.Errorf("got %+v", got)
	}
}

// All faults at once, each where it stands.
func TestFaults(t *testing.T) {
	got := faultsOf(t, `secret = "`+canary+`"
[[key]]
hash = "`+canary+`"
[[key]]
subject = "a\u0007"
hash    = "argon2id:`+canary+`"
actions = ["publish", "record"]
app     = "live["
name    = 7
origin  = ["a",
  "b"]
from    = ["192.0.2.0/33", "somewhere", 1]
not_before = 2027-01-01T00:00:00Z
expires    = 2026-01-01T00:00:00Z
bitrate  = "8mbit"
disabled = "no"
pasword = "`+canary+`"
[[key]]
subject = "b"
hash = "sha256:`+canary+`"
not_before = "2026-01-01"
expires = 2026-01-01
bitrate = -1
from = "192.0.2.1"
actions = []
[key.limits]
x = 1
[[key]]
subject = ""
hash = "plain:"
bitrate = 1.5
name = "`+strings.Repeat("n", 256)+`"
[[key]]
subject = "c"
hash = "plain:a"
[[key]]
subject = "d"
hash = "`+HashKey("a")+`"
[other]
key = 1
`)
	want := `keys.toml:1: secret: is not known: must be [[key]]
keys.toml:2: subject: must say who owns the key
keys.toml:3: hash: must be "sha256:" and 64 hex digits, as "rtmps-edge key hash" prints
keys.toml:5: subject = "a\a": must be without control characters
keys.toml:6: hash: ` + errArgon.Error() + `
keys.toml:7: actions = "[publish record]": must be ["publish"], ["play"] or both
keys.toml:8: app = "live[": must be a pattern of * (any text), ? (any character), [a-z] or [^a-z] (one of these, or not), and \ before any of them as itself
keys.toml:9: name = "7": must be a string of at most 255 bytes
keys.toml:10: origin = "[a b]": must be a string of at most 255 bytes
keys.toml:12: from = "192.0.2.0/33": must be a network or an address, such as "192.0.2.0/24", "2001:db8::/32" or "192.0.2.1"
keys.toml:12: from = "somewhere": must be a network or an address, such as "192.0.2.0/24", "2001:db8::/32" or "192.0.2.1"
keys.toml:12: from = "1": must be a network or an address, such as "192.0.2.0/24", "2001:db8::/32" or "192.0.2.1"
keys.toml:14: expires = "2026-01-01T00:00:00Z": must be after not_before
keys.toml:15: bitrate = "8mbit": must be bits per second from 0 to 1000Gbit, such as "8Mbit", "2.5Mbit", "500kbit" or 8000
keys.toml:16: disabled = "no": must be true or false
keys.toml:17: pasword: is not known: must be one of hash, subject, actions, app, origin, from, not_before, expires, bitrate, disabled, name
keys.toml:20: hash: must have 64 hex digits after the prefix sha256
keys.toml:21: not_before = "2026-01-01": must be a date and time with its offset, unquoted, such as 2027-01-01T00:00:00Z
keys.toml:22: expires = "2026-01-01": must be a date and time with its offset, unquoted, such as 2027-01-01T00:00:00Z
keys.toml:23: bitrate = "-1": must be bits per second from 0 to 1000Gbit, such as "8Mbit", "2.5Mbit", "500kbit" or 8000
keys.toml:24: from = "192.0.2.1": must be a list of networks
keys.toml:25: actions = "[]": must be ["publish"], ["play"] or both
keys.toml:26: limits: is not known: must be one of hash, subject, actions, app, origin, from, not_before, expires, bitrate, disabled, name
keys.toml:29: subject: must say who owns the key
keys.toml:30: hash: must have 1 to 255 bytes without a question mark after the prefix plain
keys.toml:31: bitrate = "1.5": must be bits per second from 0 to 1000Gbit, such as "8Mbit", "2.5Mbit", "500kbit" or 8000
keys.toml:32: name = "` + strings.Repeat("n", maxShown) + `…": must be a string of at most 255 bytes
keys.toml:36: hash: must be another than in line 33: it is the same key
keys.toml:39: other: is not known: must be [[key]]`
	if diff := cmp.Diff(strings.Split(want, "\n"), strings.Split(got, "\n")); diff != "" {
		t.Error(diff)
	}
	if strings.Contains(got, canary) {
		t.Error("a fault prints what may be a key")
	}
}

func TestSyntaxFaults(t *testing.T) {
	for text, want := range map[string]string{
		"[[key]]\nhash = " + canary + "\n":          "keys.toml:2: must be TOML: unexpected character",
		"[[key]]\nhash = \"plain:" + canary + "\n":  "keys.toml:2: must be TOML: basic strings cannot have new lines",
		"[[key]]\n" + canary + ":x\n":               "keys.toml:2: must be TOML: expected '=' after key",
		"[[key]]\nsubject = 'a'\nsubject = 'b'\n":   "keys.toml:3: must be TOML: key subject is already defined",
		"[[key]]\nbitrate = 1e999999\n":             "keys.toml:2: must be TOML: unable to parse float",
		"[[key]]\nexpires = 2026-13-01T00:00:00Z\n": "keys.toml:2: must be TOML: impossible date",
		"\xff":                                "keys.toml:1: must be TOML: invalid character at start of key",
		"[key]\nsubject = 'a'\n":              "keys.toml:1: key: must be written as [[key]]",
		"key.subject = 'a'\n":                 "keys.toml:1: key: must be written as [[key]]",
		"\nkey = 1\n":                         "keys.toml:2: key: must be written as [[key]]",
		"key = [1, {}]\n":                     "keys.toml:1: key: must be written as [[key]]",
		"[key.x]\n":                           "keys.toml:1: key: must be written as [[key]]",
		"key = " + strings.Repeat("[", 1<<20): "keys.toml:1: must be TOML: arrays and inline tables are nested more than the maximum of 10000 levels deep",
		"[[key]]\nsubject='a'\nhash='plain:" + "b?c" + "'\n":        "keys.toml:3: hash: must have 1 to 255 bytes without a question mark after the prefix plain",
		"[[key]]\nsubject='a'\nhash='sha256:" + canary[:10] + "'":   "keys.toml:3: hash: must have 64 hex digits after the prefix sha256",
		"[[key]]\nsubject='a'\nhash=12\n":                           `keys.toml:3: hash: must be "sha256:" and 64 hex digits, as "rtmps-edge key hash" prints`,
		"[[key]]\r\nsubject='a'\r\n\r\nhash='plain:" + "\x00" + "'": "keys.toml:4: must be TOML: literal strings cannot have control characters",
	} {
		if got := faultsOf(t, text); got != want {
			t.Errorf("%.60q:\ngot  %s\nwant %s", text, got, want)
		}
	}
}

func TestManyFaults(t *testing.T) {
	got := strings.Split(faultsOf(t, strings.Repeat("[[key]]\n", 1000)), "\n")
	if len(got) != maxFaults+1 || got[maxFaults] != "keys.toml: and 1900 faults more" {
		t.Errorf("%d lines, the last is %s", len(got), got[len(got)-1])
	}
}

func TestParseNetwork(t *testing.T) {
	for s, want := range map[string]string{
		"192.0.2.1": "192.0.2.1/32", "192.0.2.1/24": "192.0.2.0/24", "::1": "::1/128", "2001:db8::1/32": "2001:db8::/32",
		"::ffff:192.0.2.1": "192.0.2.1/32", "::ffff:10.1.0.0/104": "10.0.0.0/8", "0.0.0.0/0": "0.0.0.0/0",
	} {
		if got, err := ParseNetwork(s); err != nil || got.String() != want {
			t.Errorf("%s: got %v, %v", s, got, err)
		}
	}
	for _, s := range []string{"", "localhost", "192.0.2", "192.0.2.1/33", "192.0.2.1/", "fe80::1%eth0", "fe80::1%eth0/64", "::ffff:0.0.0.0/95", "192.0.2.1 "} {
		if got, err := ParseNetwork(s); err == nil {
			t.Errorf("%q: got %v", s, got)
		}
	}
}

// No verb, error or encoder lets a key or its hash out.
func TestKeysDoNotPrint(t *testing.T) {
	k := parsed(t, "[[key]]\nsubject = 'a'\nhash = 'plain:"+canary+"'\n")[0]
	digits := strings.TrimPrefix(HashKey(canary), sha256Prefix)
	var warned []string
	keys, err := NewKeys(KeysConfig{
		File: keysToml(t, "[[key]]\nsubject = 'a'\nhash = 'plain:"+canary+"'\ndisabled = true\n"),
		Warn: func(s string) { warned = append(warned, s) },
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(warned) != 1 || !strings.Contains(warned[0], `keys.toml:1: the key of "a"`) {
		t.Errorf("warned %q", warned)
	}
	r := Request{Action: Publish, Key: secret.New(canary), Query: secret.New(canary)}
	_, denied := keys.Authorize(t.Context(), r)
	_, unknown := keys.Authorize(t.Context(), Request{Action: Publish, Key: secret.New(canary + "2")})
	text, _ := k.Hash.MarshalText()
	values := []any{k, &k, k.Hash, []Key{k}, map[string]Key{"k": k}, keys, *keys.set.Load(), keys.set.Load().byHash[k.Hash], r, denied, unknown, warned, string(text), GenerateKey(), canaryGrant(t)}
	sum := k.Hash.sum
	for _, v := range values {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
			out := fmt.Sprintf(verb, v)
			for _, leak := range []string{canary, digits, fmt.Sprintf("%x", canary), fmt.Sprintf("%v", sum[:8])[1:20]} {
				if strings.Contains(out, leak) {
					t.Errorf("%s of %T prints %q: %s", verb, v, leak, out)
				}
			}
		}
	}
}

func canaryGrant(t *testing.T) Grant {
	t.Helper()
	keys, err := NewKeys(KeysConfig{File: keysToml(t, "[[key]]\nsubject = 'a'\nhash = 'plain:"+canary+"'\n")})
	if err != nil {
		t.Fatal(err)
	}
	g, err := keys.Authorize(t.Context(), Request{Action: Publish, Key: secret.New(canary)})
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func TestGenerateKey(t *testing.T) {
	seen := map[string]bool{}
	for range 1000 {
		key := GenerateKey().Reveal()
		if len(key) < 26 || strings.Trim(key, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_") != "" || seen[key] {
			t.Fatalf("got %q", key)
		}
		seen[key] = true
	}
}

func TestHashKey(t *testing.T) {
	if got := HashKey("abc"); got != "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" {
		t.Errorf("got %s", got)
	}
}

// FuzzParseKeys: no text of a file makes the parser panic or tell a secret;
// what it accepts keeps the rules, and survives being written.
func FuzzParseKeys(f *testing.F) {
	f.Add([]byte("[[key]]\nsubject = \"alice\"\nhash = \"plain:a\"\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 4096 {
			return
		}
		file, err := keysFormat.parse("k", data)
		if err != nil {
			var list fault.List
			if !errors.As(err, &list) || len(list) == 0 || len(list) > maxFaults+1 {
				t.Fatalf("not faults: %v", err)
			}
			return
		}
		for i, k := range file.entries {
			if k.Subject == "" || len(k.Actions) == 0 || k.Hash == (Hash{}) || k.Bitrate < 0 || k.Line < 1 {
				t.Fatalf("got %+v", k)
			}
			if file.inline {
				continue
			}
			start, end := file.lines(i)
			if start >= end || i > 0 && start < file.starts[i-1] {
				t.Fatalf("entry %d is %d to %d", i, start, end)
			}
			text, err := k.toml()
			if err != nil {
				t.Fatal(err)
			}
			again, err := keysFormat.parse("k", []byte(text))
			if err != nil {
				t.Fatalf("%v in\n%s", err, text)
			}
			back := again.entries[0]
			back.Line, back.Plain = k.Line, k.Plain
			if diff := cmp.Diff(k, back, compareKeys); diff != "" {
				t.Fatal(diff)
			}
		}
		if n := len(file.entries); n > 0 && !file.inline {
			removed := removeFrom(t, data, n-1)
			if again, err := keysFormat.parse("k", removed); err != nil || len(again.entries) != n-1 {
				t.Fatalf("without the last: %v\n%s", err, removed)
			}
		}
	})
}
