package main

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"rtmps-edge/rtmp/rtmptest"
)

// manager is systemd's end of sd_notify.
type manager struct {
	t *testing.T
	*net.UnixConn
}

func newManager(t *testing.T) *manager {
	t.Helper()
	path := filepath.Join(t.TempDir(), "notify")
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return &manager{t, c}
}

// hears waits for the next message, which must have all these lines.
func (m *manager) hears(want ...string) {
	m.t.Helper()
	buf := make([]byte, 4096)
	_ = m.SetReadDeadline(time.Now().Add(rtmptest.Patience))
	n, err := m.Read(buf)
	if err != nil {
		m.t.Fatalf("%v, while %q was awaited", err, want)
	}
	lines := "\n" + string(buf[:n]) + "\n"
	for _, w := range want {
		if !strings.Contains(lines, "\n"+w) {
			m.t.Errorf("systemd hears %q, and should hear %q", lines, w)
		}
	}
}

// systemd hears when the service is ready, reloads, is ready again, and stops.
func TestSystemdIsTold(t *testing.T) {
	t.Parallel()
	m := newManager(t)
	dir := t.TempDir()
	file := filepath.Join(dir, "edge.toml")
	write := func(more string) {
		t.Helper()
		text := "[[listener]]\naddress = \"127.0.0.1:0\"\ntls = \"off\"\n[[origin]]\nhealth_every = \"0\"\n[authz]\npublish = [\"open\"]\n" + more
		if err := os.WriteFile(file+".new", []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(file+".new", file); err != nil {
			t.Fatal(err)
		}
	}
	write("")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, "run", "-c", file)
	cmd.Args[0] = "rtmps-edge" // TestMain makes the test binary the program then
	cmd.Env = append(os.Environ(), "NOTIFY_SOCKET="+m.LocalAddr().String())
	var logs logBuffer
	cmd.Stderr = &logs
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill() }()

	m.hears("READY=1", "STATUS=running")
	_ = cmd.Process.Signal(syscall.SIGHUP)
	m.hears("RELOADING=1", "MONOTONIC_USEC=")
	m.hears("READY=1", "STATUS=running, reloaded")
	write("[limits]\ndrain_timeout = \"never\"\n") // reloads by itself
	m.hears("RELOADING=1")
	m.hears("READY=1", "STATUS=running, not reloaded")
	write("[limits]\ndrain_timeout = \"90s\"\n")
	m.hears("RELOADING=1")
	m.hears("READY=1", "STATUS=running, reloaded")
	_ = cmd.Process.Signal(syscall.SIGTERM)
	m.hears("STOPPING=1", "EXTEND_TIMEOUT_USEC=100000000\n")
	if err := cmd.Wait(); err != nil {
		t.Errorf("%v\n%s", err, &logs)
	}
}
