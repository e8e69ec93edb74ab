package authz

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"

	"rtmps-edge/internal/fault"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long a change may take to be noticed. If the watcher missed
// it, the poll would notice it later than that.
const patience = 20 * time.Second

// watched runs watch until the test ends.
func watched(t *testing.T, watch func(context.Context)) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		watch(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
}

// await waits until is says so. What a reading sees in between, of a file that
// is half written or not there for a moment, does not matter.
func await(t *testing.T, what string, is func() bool) {
	t.Helper()
	limit := time.Now().Add(patience)
	for !is() {
		if time.Now().After(limit) {
			t.Fatalf("not in time: %s", what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func TestWatch(t *testing.T) {
	for name, change := range map[string]func(t *testing.T, file, text string){
		"written in place": func(t *testing.T, file, text string) { t.Helper(); write(t, file, text) },
		"renamed onto it": func(t *testing.T, file, text string) {
			t.Helper()
			if err := os.Rename(write(t, file+".new", text), file); err != nil {
				t.Fatal(err)
			}
		},
		"removed and made": func(t *testing.T, file, text string) {
			t.Helper()
			if err := os.Remove(file); err != nil {
				t.Fatal(err)
			}
			write(t, file, text)
		},
	} {
		t.Run(name, func(t *testing.T) {
			k := newKeys(t, one())
			watched(t, k.Watch)
			g := granted(t, k)
			change(t, k.file, one("disabled = true"))
			await(t, "the key is refused", func() bool { _, err := ask(k); return revoked(g) && errors.Is(err, ErrDenied) })
			change(t, k.file, one())
			await(t, "the key is good again", func() bool { _, err := ask(k); return err == nil })
		})
	}
}

// As Kubernetes does it: keys.toml -> ..data/keys.toml, and ..data is turned
// from one directory to another.
func TestWatchTurnedLink(t *testing.T) {
	dir := t.TempDir()
	turn := func(version, text string) {
		t.Helper()
		if err := os.Mkdir(filepath.Join(dir, version), 0o700); err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(dir, version, "keys.toml"), text)
		tmp := filepath.Join(dir, "..tmp")
		if err := os.Symlink(version, tmp); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(tmp, filepath.Join(dir, "..data")); err != nil {
			t.Fatal(err)
		}
	}
	turn("v1", one())
	file := filepath.Join(dir, "keys.toml")
	if err := os.Symlink(filepath.Join("..data", "keys.toml"), file); err != nil {
		t.Fatal(err)
	}
	k, err := NewKeys(KeysConfig{File: file})
	if err != nil {
		t.Fatal(err)
	}
	watched(t, k.Watch)
	g := granted(t, k)
	turn("v2", "")
	await(t, "the key is gone", func() bool { return revoked(g) })
	// The new directory is watched, too.
	write(t, filepath.Join(dir, "v2", "keys.toml"), one())
	await(t, "the key is back", func() bool { _, err := ask(k); return err == nil })
}

// Each look tells what is new, and nothing else.
func TestLook(t *testing.T) {
	var told []error
	k, err := NewKeys(KeysConfig{File: keysToml(t, one()), OnReload: func(err error) { told = append(told, err) }})
	if err != nil {
		t.Fatal(err)
	}
	look := func() error {
		t.Helper()
		told = nil
		for range 3 {
			k.look()
		}
		if len(told) != 1 {
			t.Fatalf("told %v", told)
		}
		return told[0]
	}
	k.look()
	if len(told) != 0 {
		t.Fatalf("nothing has changed, and told %v", told)
	}
	g := granted(t, k)
	write(t, k.file, "[[key]]\n")
	var list fault.List
	if err := look(); !errors.As(err, &list) || revoked(g) {
		t.Fatalf("%v; revoked: %v", err, revoked(g))
	}
	if err := os.Remove(k.file); err != nil {
		t.Fatal(err)
	}
	if err := look(); !errors.Is(err, os.ErrNotExist) || revoked(g) {
		t.Fatalf("%v; revoked: %v", err, revoked(g))
	}
	granted(t, k)
	write(t, k.file, one()) // as it was first: that it is well again is told
	if err := look(); err != nil || revoked(g) {
		t.Fatalf("%v; revoked: %v", err, revoked(g))
	}
	write(t, k.file, "")
	if err := look(); err != nil || !revoked(g) {
		t.Fatalf("%v; revoked: %v", err, revoked(g))
	}
}
