package authz

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fsnotify/fsnotify"
	"go.uber.org/goleak"

	"rtmps-edge/internal/fault"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// watched runs Watch on a real directory. reloads hears what it did.
func watched(t *testing.T, file string) (k *Keys, reloads <-chan error) {
	t.Helper()
	ch := make(chan error, 100)
	k, err := NewKeys(KeysConfig{File: file, OnReload: func(err error) { ch <- err }})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		k.Watch(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	return k, ch
}

// heard waits for a reload. If the watcher missed the change, the poll would
// notice it: too late for this.
func heard(t *testing.T, reloads <-chan error) error {
	t.Helper()
	select {
	case err := <-reloads:
		return err
	case <-time.After(watchPoll / 2):
		t.Fatal("the change was not noticed")
		return nil
	}
}

func TestWatch(t *testing.T) {
	replace := func(t *testing.T, file, text string) {
		t.Helper()
		tmp := write(t, file+".new", text)
		if err := os.Rename(tmp, file); err != nil {
			t.Fatal(err)
		}
	}
	for name, change := range map[string]func(t *testing.T, file, text string){
		"written in place": func(t *testing.T, file, text string) { t.Helper(); write(t, file, text) },
		"renamed onto it":  replace,
		"removed and made": func(t *testing.T, file, text string) {
			t.Helper()
			if err := os.Remove(file); err != nil {
				t.Fatal(err)
			}
			write(t, file, text)
		},
	} {
		t.Run(name, func(t *testing.T) {
			file := keysToml(t, one())
			k, reloads := watched(t, file)
			g := granted(t, k)
			change(t, file, one("disabled = true"))
			if err := heard(t, reloads); err != nil || !revoked(g) {
				t.Fatalf("%v; revoked: %v", err, revoked(g))
			}
			change(t, file, one())
			if err := heard(t, reloads); err != nil {
				t.Fatal(err)
			}
			g = granted(t, k)
			change(t, file, "[[key]]\n")
			var list fault.List
			if err := heard(t, reloads); !errors.As(err, &list) || revoked(g) {
				t.Fatalf("%v; revoked: %v", err, revoked(g))
			}
			granted(t, k)
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
	k, reloads := watched(t, file)
	g := granted(t, k)
	turn("v2", "")
	if err := heard(t, reloads); err != nil || !revoked(g) {
		t.Fatalf("%v; revoked: %v", err, revoked(g))
	}
	// The new directory is watched, too.
	write(t, filepath.Join(dir, "v2", "keys.toml"), one())
	if err := heard(t, reloads); err != nil {
		t.Fatal(err)
	}
	granted(t, k)
}

// followed runs follow with events of the test's own, in fake time.
func followed(t *testing.T, text string) (k *Keys, events chan<- fsnotify.Event, reloads <-chan error) {
	t.Helper()
	ev, ch := make(chan fsnotify.Event), make(chan error, 100)
	k, err := NewKeys(KeysConfig{File: keysToml(t, text), OnReload: func(err error) { ch <- err }})
	if err != nil {
		t.Fatal(err)
	}
	go k.follow(t.Context(), ev, nil, func() {})
	return k, ev, ch
}

func TestWaitsForQuiet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k, events, reloads := followed(t, one())
		write(t, k.cfg.File, "[[ke") // half of it
		events <- fsnotify.Event{}
		time.Sleep(watchQuiet - 1)
		write(t, k.cfg.File, "")
		events <- fsnotify.Event{}
		time.Sleep(watchQuiet - 1)
		synctest.Wait()
		if len(reloads) != 0 {
			t.Fatal("read before it was quiet")
		}
		time.Sleep(1)
		if err := <-reloads; err != nil {
			t.Errorf("read half: %v", err)
		}
	})
}

func TestDoesNotWaitForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k, events, reloads := followed(t, one())
		write(t, k.cfg.File, "")
		start := time.Now()
		for time.Since(start) < watchPatience { // something else changes all the time
			if len(reloads) != 0 {
				t.Fatalf("read after %v", time.Since(start))
			}
			events <- fsnotify.Event{}
			time.Sleep(watchQuiet / 2)
		}
		synctest.Wait()
		if len(reloads) != 1 {
			t.Errorf("%d reloads", len(reloads))
		}
	})
}

func TestPolls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k, _, reloads := followed(t, one())
		time.Sleep(10 * watchPoll)
		synctest.Wait()
		if len(reloads) != 0 {
			t.Fatal("reloaded what has not changed")
		}
		write(t, k.cfg.File, "[[key]]\n")
		time.Sleep(3 * watchPoll)
		synctest.Wait()
		if len(reloads) != 1 || <-reloads == nil {
			t.Fatalf("a fault is told once, not %d times more", len(reloads))
		}
		if err := os.Remove(k.cfg.File); err != nil {
			t.Fatal(err)
		}
		time.Sleep(3 * watchPoll)
		synctest.Wait()
		if len(reloads) != 1 || !errors.Is(<-reloads, os.ErrNotExist) {
			t.Fatal("a missing file is told once")
		}
		granted(t, k)
		write(t, k.cfg.File, one()) // as it was first
		time.Sleep(watchPoll)
		synctest.Wait()
		if len(reloads) != 1 || <-reloads != nil {
			t.Fatal("that it is well again is told")
		}
	})
}
