package authz

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"golang.org/x/crypto/argon2"

	"rtmps-edge/internal/fault"
	"rtmps-edge/internal/secret"
)

// cheap is an argon2id hash that costs next to nothing, for tests.
func cheap(key string) string {
	b64 := base64.RawStdEncoding.EncodeToString
	salt := []byte("somesalt")
	return "argon2id:$argon2id$v=19$m=16,t=1,p=1$" + b64(salt) + "$" + b64(argon2.IDKey([]byte(key), salt, 1, 16, 1, 32))
}

func slowEntry(subject, key string, lines ...string) string {
	return fmt.Sprintf("[[key]]\nsubject = '%s'\nhash = '%s'\n%s\n", subject, cheap(key), strings.Join(lines, "\n"))
}

func withKey(key string) func(*Request) { return func(r *Request) { r.Key = secret.New(key) } }

func TestSlowKeys(t *testing.T) {
	k := newKeys(t, one()+slowEntry("bob", "hunter2")+slowEntry("carol", "letmein", "app = 'studio'"))
	for range 2 { // the second time without argon2
		if g, err := ask(k, withKey("hunter2")); err != nil || g.Subject != "bob" {
			t.Errorf("got %+v, %v", g, err)
		}
	}
	for _, key := range []string{"hunter", "hunter22", cheap("hunter2"), "", "letmein"} {
		if _, err := ask(k, withKey(key)); err != ErrUnknown {
			t.Errorf("%q: got %v", key, err)
		}
	}
	if g, err := ask(k, withKey("letmein"), func(r *Request) { r.App = "studio" }); err != nil || g.Subject != "carol" {
		t.Errorf("got %+v, %v", g, err)
	}
	if g, err := ask(k); err != nil || g.Subject != "alice" {
		t.Errorf("a key beside them: got %+v, %v", g, err)
	}
}

// A key that was seen once costs nothing any more, also after a reload; nor
// does a guess.
func TestSlowKeyIsRemembered(t *testing.T) {
	k := newKeys(t, slowEntry("bob", "hunter2"))
	if _, err := ask(k, withKey("hunter2")); err != nil {
		t.Fatal(err)
	}
	rewrite(t, k, one()+slowEntry("bob", "hunter2"))
	busy(t, k)
	g, err := ask(k, withKey("hunter2"))
	if err != nil || g.Subject != "bob" {
		t.Errorf("got %+v, %v", g, err)
	}
	if _, err := ask(k, withKey("hunter3")); err != ErrUnknown {
		t.Errorf("got %v", err)
	}
	rewrite(t, k, one())
	if !revoked(g) {
		t.Error("removed, and goes on")
	}
}

// busy takes every place in which argon2 could run, until the test ends.
func busy(t *testing.T, k *Keys) {
	t.Helper()
	for range argonAtOnce {
		leave, err := k.slow.enter(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(leave)
	}
}

// A flood of unknown keys neither waits for ever nor holds more than a bounded
// number of questions, and keys that are known pass by.
func TestSlowKeysUnderFlood(t *testing.T) {
	k := newKeys(t, one()+slowEntry("bob", "hunter2"))
	busy(t, k)
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	answers := make(chan error, 4*maxArgonWaiting)
	for i := range cap(answers) {
		wg.Go(func() {
			_, err := k.Authorize(ctx, Request{Action: Publish, App: "live", Key: secret.New(fmt.Sprint("guess", i))})
			answers <- err
		})
	}
	for range cap(answers) - maxArgonWaiting {
		if err := <-answers; !errors.Is(err, errBusy) || errors.Is(err, ErrDenied) || errors.Is(err, ErrUnknown) {
			t.Fatalf("got %v", err)
		}
	}
	granted(t, k)
	cancel()
	wg.Wait()
	for range maxArgonWaiting {
		if err := <-answers; !errors.Is(err, context.Canceled) {
			t.Fatalf("got %v", err)
		}
	}
}

func TestSlowHashOf(t *testing.T) {
	h := SlowHashOf(secret.New("hunter2"))
	if h == SlowHashOf(secret.New("hunter2")) {
		t.Error("no salt")
	}
	k := newKeys(t, "[[key]]\nsubject = 'bob'\nhash = '"+h.Reveal()+"'\n")
	if _, err := ask(k, withKey("hunter2")); err != nil {
		t.Error(err)
	}
	if out := fmt.Sprintf("%v %+v %s", h, []Hash{h}, k.set.Load()); strings.Contains(out, "argon2id") {
		t.Errorf("printed: %s", out)
	}
}

// The reference implementation's own test (argon2 -id, v1.3).
func TestArgonVector(t *testing.T) {
	a, err := parseArgon("$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc")
	if err != nil {
		t.Fatal(err)
	}
	if s := (&slowKey{argonHash: a}); !s.try(secret.New("password")) || s.try(secret.New("Password")) {
		t.Error("the vector does not verify")
	}
}

func TestArgonFaults(t *testing.T) {
	good := "$argon2id$v=19$m=65536,t=4,p=4$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc"
	if _, err := parseArgon(good); err != nil {
		t.Fatal(err)
	}
	for _, change := range [][2]string{
		{"argon2id", "argon2i"}, {"v=19", "v=16"}, {"v=19$", ""}, {"m=65536", "m=65537"}, {"m=65536", "m=0"}, {"m=65536", "m=-1"}, {"m=65536", "m=99999999999"},
		{"t=4", "t=5"}, {"t=4", "t=0"}, {"p=4", "p=5"}, {"p=4", "p="}, {"p=4", "p=4,x=1"}, {"m=65536,t=4", "t=4,m=65536"},
		{"c29tZXNhbHQ", "c29t"}, {"c29tZXNhbHQ", strings.Repeat("c29t", 22)}, {"c29tZXNhbHQ", "c29tZXNhbHQ="}, {"c29tZXNhbHQ", "!"},
		{"CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc", "CTFh"}, {"PPc", "PPc$x"}, {"$argon2id", "argon2id"},
	} {
		text := strings.Replace(good, change[0], change[1], 1)
		if text == good {
			t.Fatalf("nothing to change: %v", change)
		}
		if _, err := parseArgon(text); err == nil {
			t.Errorf("read %s", text)
		} else if strings.Contains(err.Error(), text) {
			t.Errorf("printed: %v", err)
		}
	}
	many := ""
	for i := range MaxSlowKeys + 1 {
		many += slowEntry("s", fmt.Sprint(i))
	}
	_, err := NewKeys(KeysConfig{File: keysToml(t, many)})
	var list fault.List
	if !errors.As(err, &list) || len(list) != 1 || !strings.Contains(err.Error(), "more than 16 argon2id hashes") {
		t.Errorf("got %v", err)
	}
}

func FuzzParseArgon(f *testing.F) {
	f.Add("$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc")
	f.Fuzz(func(t *testing.T, s string) {
		a, err := parseArgon(s)
		if err == nil && (a.memory == 0 || a.time == 0 || a.threads == 0 || uint64(a.memory)*uint64(a.time) > maxArgonWork || a.threads > maxArgonThreads) {
			t.Errorf("%q costs %+v", s, a)
		}
	})
}
