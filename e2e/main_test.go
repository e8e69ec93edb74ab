package e2e

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

const (
	// patience bounds every wait. It is long because it only runs out when a
	// test has failed already, or the machine is very busy.
	patience = 45 * time.Second
	// pollEvery is how often something is asked that cannot call back.
	pollEvery = 50 * time.Millisecond
	// buildTime is enough to download and compile on a slow machine.
	buildTime = 5 * time.Minute
)

// work is a directory that is gone after the tests.
var work string

func TestMain(m *testing.M) { os.Exit(run(m)) }

// atOnce is how many tests run side by side: they mostly wait for programs
// that wait for their streams.
const atOnce = "6"

func run(m *testing.M) int {
	flag.Parse()
	if !isSet("test.parallel") {
		_ = flag.Set("test.parallel", atOnce)
	}
	var err error
	if work, err = os.MkdirTemp("", "rtmps-edge-e2e-"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() { _ = os.RemoveAll(work) }()
	code := m.Run()
	if left := running.list(); len(left) > 0 {
		fmt.Fprintln(os.Stderr, "still running after the tests:", left)
		return 1
	}
	return code
}

func isSet(name string) bool {
	set := false
	flag.Visit(func(f *flag.Flag) { set = set || f.Name == name })
	return set
}

// edgeProgram is the program under test, built once.
var edgeProgram = sync.OnceValues(func() (string, error) {
	file := filepath.Join(work, "rtmps-edge")
	return file, build("..", file, "rtmps-edge/cmd/rtmps-edge", raceFlags...)
})

// lalProgram is lal's server. It stays in the user's cache directory; go sees
// there whether it is still the one that testdata/lal/go.mod names.
var lalProgram = sync.OnceValues(func() (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	file := filepath.Join(cache, "rtmps-edge-e2e", "lalserver")
	return file, build("testdata/lal", file, "github.com/q191201771/lal/app/lalserver")
})

// build compiles pkg of the module in dir.
func build(dir, file, pkg string, flags ...string) error {
	ctx, cancel := context.WithTimeout(context.Background(), buildTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, "go", append(append([]string{"build", "-o", file}, flags...), pkg)...)
	cmd.Dir = dir
	cmd.SysProcAttr = dieWithUs()
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build %s: %w\n%s", pkg, err, out)
	}
	return nil
}

// packages says where each program comes from.
var packages = map[string]string{
	"ffmpeg":         "ffmpeg",
	"ffplay":         "ffmpeg",
	"gst-launch-1.0": "gstreamer1.0-tools",
	"rtmpdump":       "rtmpdump",
	"nginx":          "nginx-light",
	"haproxy":        "haproxy",
	"obs":            "obs-studio",
	"Xvfb":           "xvfb",
	"xwininfo":       "x11-utils",
	"unshare":        "util-linux",
	"setpriv":        "util-linux",
	"man":            "man-db",
	"systemd-nspawn": "systemd-container",
	"testssl":        "testssl.sh",
	"openssl":        "openssl",
	"pebble":         "pebble",
	"chromium":       "chromium",
	"prometheus":     "prometheus",
	"promtool":       "prometheus",
	"redis-server":   "redis-server",
	"sh":             "dash",
	"python3":        "python3-minimal",
	"php":            "php-cli",
	"node":           "nodejs",

	"pebble-challtestsrv": "pebble",
}

// program finds an installed program. A missing one fails the test.
func program(t testing.TB, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Fatalf("%s is missing: install the Debian package %s (e2e/deps.sh does it)", name, packages[name])
	}
	return path
}

// eventually asks until there is no error, and fails the test with the last
// one when that takes too long.
func eventually(t testing.TB, what string, ask func() error) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for {
		err := ask()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("waited for %s: %v", what, err)
		}
		time.Sleep(pollEvery)
	}
}
