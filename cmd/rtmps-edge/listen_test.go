package main

import (
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/sirupsen/logrus"

	"rtmps-edge/config"
	"rtmps-edge/rtmp/rtmptest"
)

func mustListen(t *testing.T, l config.Listener) net.Listener {
	t.Helper()
	ln, err := listen(l)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	return ln
}

// An address says which of IPv4 and IPv6 is listened on.
func TestListenFamilies(t *testing.T) {
	t.Parallel()
	for address, want := range map[string]string{
		":443": "tcp", "localhost:443": "tcp", "0.0.0.0:443": "tcp4", "127.0.0.1:443": "tcp4", "[::]:443": "tcp6", "[::1]:443": "tcp6", "[fe80::1%eth0]:443": "tcp6",
	} {
		if got := family(address); got != want {
			t.Errorf("%s: %s, want %s", address, got, want)
		}
	}
	// Both wildcards can have one port.
	four := mustListen(t, config.Listener{Address: "0.0.0.0:0"})
	_, port, _ := net.SplitHostPort(four.Addr().String())
	six := config.Listener{Address: "[::]:" + port}
	if hasIPv6(t) {
		mustListen(t, six)
		return
	}
	// A kernel without IPv6 refuses; one that has switched it off does not.
	if ln, err := listen(six); err == nil {
		_ = ln.Close()
	} else if !strings.Contains(err.Error(), six.Address) {
		t.Errorf("without IPv6: %v", err)
	}
}

// hasIPv6 reports whether this machine does. Where it has none, tests say so,
// and look at what is left.
func hasIPv6(t *testing.T) bool {
	t.Helper()
	ln, err := net.Listen("tcp6", "[::1]:0")
	if err != nil {
		t.Logf("this machine has no IPv6, so it was not tested: %v", err)
		return false
	}
	_ = ln.Close()
	return true
}

func TestUnixSocketsOfTheDead(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "edge.sock")
	l := config.Listener{Address: config.UnixPrefix + path, UnixMode: 0o620}
	dead, err := net.ListenUnix("unix", &net.UnixAddr{Name: path})
	if err != nil {
		t.Fatal(err)
	}
	dead.SetUnlinkOnClose(false)
	_ = dead.Close()
	first := mustListen(t, l)
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o620 {
		t.Errorf("%v, %v", info, err)
	}
	if _, err := listen(l); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("a socket that somebody listens on was taken away: %v", err)
	}
	_ = first.Close()
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Errorf("the socket is left behind: %v", err)
	}
	if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := listen(l); err == nil {
		t.Error("a file was replaced by a socket")
	}
	if text, err := os.ReadFile(path); string(text) != "precious" {
		t.Errorf("a file that is no socket is gone: %v", err)
	}
}

// A unix socket beside a port; a reload keeps both, and changes the mode.
func TestUnixListener(t *testing.T) {
	t.Parallel()
	text := basic + "[[listener]]\naddress = \"unix:edge.sock\"\ntls = \"off\"\n"
	s := newSite(t, text)
	path := filepath.Join(s.dir, "edge.sock")
	publish := func() {
		t.Helper()
		c, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		p, err := rtmptest.Publish(c, rtmptest.PublishConfig{App: "live", Name: siteKey})
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Stop(); err != nil {
			t.Error(err)
		}
	}
	publish()
	s.logs.wait(t, 1, "stream ended", "client=unix", "subject=alice")
	s.write("edge.toml", text+"unix_mode = \"0600\"\n")
	s.hup <- os.Interrupt
	s.logs.wait(t, 1, "level=info", "msg=reloaded")
	if info, err := os.Stat(path); err != nil || info.Mode() != fs.ModeSocket|0o600 {
		t.Errorf("%v, %v", info, err)
	}
	publish()
	s.write("edge.toml", basic)
	s.hup <- os.Interrupt
	s.logs.wait(t, 2, "level=info", "msg=reloaded")
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Errorf("the socket outlives its listener: %v", err)
	}
}

// passed makes sockets as systemd passes them.
func passed(t *testing.T, names ...string) []*os.File {
	t.Helper()
	var files []*os.File
	for _, name := range names {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		f, err := ln.(*net.TCPListener).File()
		if err != nil {
			t.Fatal(err)
		}
		fd, err := syscall.Dup(int(f.Fd()))
		if err != nil {
			t.Fatal(err)
		}
		_, _ = ln.Close(), f.Close()
		named := os.NewFile(uintptr(fd), name)
		t.Cleanup(func() { _ = named.Close() })
		files = append(files, named)
	}
	return files
}

func TestSystemdSockets(t *testing.T) {
	t.Parallel()
	files := passed(t, "rtmps", "web", "web", "3")
	for _, test := range []struct{ name, fault string }{
		{"rtmps", ""}, {"0", ""}, {"2", ""}, {"3", ""},
		{"web", "several sockets of this name, use the number of one: 0 is rtmps, 1 is web, 2 is web"},
		{"4", "no such socket: 0 is rtmps"}, {"-1", "no such socket"}, {"other", "no such socket"},
	} {
		ln, err := listenSystemd(files, test.name)
		switch {
		case test.fault == "" && err != nil, test.fault != "" && (err == nil || !strings.Contains(err.Error(), test.fault)):
			t.Errorf("%s: %v", test.name, err)
		case err == nil:
			_ = ln.Close()
		}
	}
	// A listener that was closed can be had again: the socket itself stays.
	ln, err := listenSystemd(files, "rtmps")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	c, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	_ = c.Close()
	if _, err := listenSystemd(nil, "rtmps"); err == nil || !strings.Contains(err.Error(), "is the program started by its socket unit?") {
		t.Error(err)
	}
}

func TestUnusedSystemdSocketsAreTold(t *testing.T) {
	t.Parallel()
	logs := &logBuffer{}
	log := logrus.New()
	log.SetOutput(logs)
	warnUnused(log, passed(t, "rtmps", "web", "web"), &config.Config{
		Listeners: []config.Listener{{Address: ":1936"}, {Address: "systemd:rtmps"}}, Admin: config.Admin{Listen: "systemd:2"}})
	if got := logs.String(); strings.Count(got, "level=warning") != 1 || !strings.Contains(got, "name=web number=1") {
		t.Error(got)
	}
}

// IPv6 beside IPv4, and who believes everybody is told so.
func TestSeveralListeners(t *testing.T) {
	t.Parallel()
	second := "[::1]:"
	if !hasIPv6(t) {
		second = "127.0.0.2:"
	}
	s := newSite(t, basic+"[[listener]]\naddress = \""+second+"0\"\n[[listener]]\naddress = \"localhost:0\"\nproxy_protocol = [\"::/0\"]\n")
	s.logs.wait(t, 1, "level=warning", "listener=\"localhost:0\"", "believes everybody")
	p := s.mustPublish(second+"0", true)
	if err := p.Stop(); err != nil {
		t.Error(err)
	}
	if hasIPv6(t) { // who dials 127.0.0.2 comes from 127.0.0.1
		s.logs.wait(t, 1, "stream ended", "client=\"[::1]:")
	}
}

// The address may be found when the listener is opened.
func TestListenTemplate(t *testing.T) {
	t.Parallel()
	const loopback = `{{ GetAllInterfaces | include "type" "IPv4" | include "flags" "loopback" | limit 1 | join "address" " " }}:0`
	s := newSite(t, basic+"[[listener]]\naddress = '"+loopback+"'\n")
	if got := s.address(loopback); !strings.HasPrefix(got, "127.0.0.1:") {
		t.Error(got)
	}
	if err := s.mustPublish(loopback, true).Stop(); err != nil {
		t.Error(err)
	}
}

func TestListenFails(t *testing.T) {
	t.Parallel()
	for _, address := range []string{"systemd:rtmps", "unix:/no/such/directory/edge.sock", "{{ NoSuchFunction }}:443", "192.0.2.1:0"} {
		if _, err := listen(config.Listener{Address: address}); err == nil || !strings.HasPrefix(err.Error(), "listener "+address+": ") {
			t.Errorf("%s: %v", address, err)
		}
	}
}
