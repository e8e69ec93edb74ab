package filewatch

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fsnotify/fsnotify"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// following runs follow in a bubble, with made-up events, and counts looks.
func following(t *testing.T, test func(events chan fsnotify.Event, errs chan error, looks *atomic.Int32)) {
	synctest.Test(t, func(t *testing.T) {
		events, errs := make(chan fsnotify.Event), make(chan error)
		var looks atomic.Int32
		c := Config{Look: func() { looks.Add(1) }}.withDefaults()
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			c.follow(ctx, events, errs, func() {})
		}()
		test(events, errs, &looks)
		cancel()
		<-done
	})
}

func TestEventsAreWaitedOut(t *testing.T) {
	following(t, func(events chan fsnotify.Event, errs chan error, looks *atomic.Int32) {
		for range 3 {
			events <- fsnotify.Event{Op: fsnotify.Write}
			time.Sleep(DefaultQuiet - 1)
		}
		errs <- errors.New("lost")
		time.Sleep(DefaultQuiet - 1)
		synctest.Wait()
		if looks.Load() != 0 {
			t.Errorf("%d looks in the middle of a burst", looks.Load())
		}
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		if looks.Load() != 1 {
			t.Errorf("%d looks after a burst, want 1", looks.Load())
		}
	})
}

func TestPatience(t *testing.T) {
	following(t, func(events chan fsnotify.Event, _ chan error, looks *atomic.Int32) {
		for range DefaultPatience / (DefaultQuiet / 2) {
			events <- fsnotify.Event{Op: fsnotify.Create}
			time.Sleep(DefaultQuiet / 2)
		}
		synctest.Wait()
		if looks.Load() != 1 {
			t.Errorf("%d looks while events never end, want 1", looks.Load())
		}
	})
}

func TestPoll(t *testing.T) {
	following(t, func(events chan fsnotify.Event, _ chan error, looks *atomic.Int32) {
		events <- fsnotify.Event{Op: fsnotify.Chmod} // is no change
		time.Sleep(3*DefaultPoll + 1)
		synctest.Wait()
		if looks.Load() != 3 {
			t.Errorf("%d looks in three polls", looks.Load())
		}
	})
}

// watched runs Run on a file and returns a channel that hears its contents
// each time they are looked at.
func watched(t *testing.T, file string) <-chan string {
	t.Helper()
	seen := make(chan string, 16)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		Run(ctx, Config{
			Files: func() []string { return []string{file} },
			Quiet: time.Millisecond,
			Look: func() {
				data, _ := os.ReadFile(file)
				select {
				case seen <- string(data):
				default:
				}
			},
		})
	}()
	t.Cleanup(func() { cancel(); <-done })
	<-seen // the first look: directories are watched
	return seen
}

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func await(t *testing.T, seen <-chan string, want string) {
	t.Helper()
	limit := time.After(20 * time.Second)
	for {
		select {
		case got := <-seen:
			if got == want {
				return
			}
		case <-limit:
			t.Fatalf("%q was never seen", want)
		}
	}
}

func turn(t *testing.T, to, link string) {
	t.Helper()
	if err := os.Symlink(to, link+".new"); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(link+".new", link); err != nil {
		t.Fatal(err)
	}
}

func TestReplacedFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "f")
	write(t, file, "one")
	seen := watched(t, file)
	write(t, file+".new", "two")
	if err := os.Rename(file+".new", file); err != nil {
		t.Fatal(err)
	}
	await(t, seen, "two")
}

// TestTurnedLinks is how Kubernetes changes a mounted secret.
func TestTurnedLinks(t *testing.T) {
	dir := t.TempDir()
	for _, v := range []string{"1", "2", "3"} {
		if err := os.Mkdir(filepath.Join(dir, v), 0o700); err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(dir, v, "f"), v)
	}
	turn(t, "1", filepath.Join(dir, "..data"))
	file := filepath.Join(dir, "f")
	turn(t, "..data/f", file)
	seen := watched(t, file)
	turn(t, "2", filepath.Join(dir, "..data"))
	await(t, seen, "2")
	turn(t, "3", filepath.Join(dir, "..data"))
	await(t, seen, "3")
	write(t, filepath.Join(dir, "3", "f"), "in place")
	await(t, seen, "in place")
}

func TestDirsOfLinkChain(t *testing.T) {
	base, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	for _, d := range []string{"archive", "conf", "live"} {
		dir := filepath.Join(base, d)
		want = append(want, dir)
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	write(t, filepath.Join(base, "archive", "f1"), "")
	turn(t, "../archive/f1", filepath.Join(base, "live", "f"))
	turn(t, filepath.Join(base, "live", "f"), filepath.Join(base, "conf", "f"))
	if got := dirs([]string{filepath.Join(base, "conf", "f")}); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	circle := filepath.Join(base, "conf", "circle")
	turn(t, circle, circle)
	_ = dirs([]string{circle}) // must return
}
