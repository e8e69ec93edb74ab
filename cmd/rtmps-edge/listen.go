package main

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"github.com/coreos/go-systemd/v22/activation"
	"github.com/sirupsen/logrus"

	"rtmps-edge/config"
)

// listen opens the socket of a listener.
func listen(l config.Listener) (net.Listener, error) {
	ln, err := listenAt(l.Address)
	if err == nil {
		if err = setMode(l); err != nil {
			_ = ln.Close()
		}
	}
	if err != nil {
		return nil, fmt.Errorf("listener %s: %w", l.Address, err)
	}
	return ln, nil
}

func listenAt(address string) (net.Listener, error) {
	if path, ok := strings.CutPrefix(address, config.UnixPrefix); ok {
		return listenUnix(path)
	}
	if name, ok := strings.CutPrefix(address, config.SystemdPrefix); ok {
		return listenSystemd(systemdFiles(), name)
	}
	resolved, err := config.Resolve(address)
	if err != nil {
		return nil, err
	}
	ln, err := net.Listen(family(resolved), resolved)
	if errors.Is(err, os.ErrPermission) {
		return nil, fmt.Errorf("%w: ports below 1024 need the capability CAP_NET_BIND_SERVICE (systemd: AmbientCapabilities=CAP_NET_BIND_SERVICE)", err)
	}
	return ln, err
}

// setMode says who may connect to a unix socket that is a file.
func setMode(l config.Listener) error {
	path, ok := strings.CutPrefix(l.Address, config.UnixPrefix)
	if !ok || strings.HasPrefix(path, "@") {
		return nil
	}
	return os.Chmod(path, l.UnixMode)
}

// family takes an address at its word: "0.0.0.0" is IPv4 and "[::]" is IPv6,
// so that both may stand side by side. Without a host it is both.
func family(address string) string {
	host, _, _ := net.SplitHostPort(address)
	switch ip, err := netip.ParseAddr(host); {
	case err != nil:
		return "tcp"
	case ip.Is4():
		return "tcp4"
	}
	return "tcp6"
}

// listenUnix opens a unix socket. One that a killed process has left behind is
// replaced.
func listenUnix(path string) (net.Listener, error) {
	ln, err := net.Listen("unix", path)
	if !errors.Is(err, syscall.EADDRINUSE) || !abandoned(path) {
		return ln, err
	}
	if err := os.Remove(path); err != nil {
		return nil, err
	}
	return net.Listen("unix", path)
}

// abandoned reports whether path is a socket that nobody listens on.
func abandoned(path string) bool {
	info, err := os.Lstat(path)
	if err != nil || info.Mode().Type() != fs.ModeSocket {
		return false
	}
	c, err := net.Dial("unix", path)
	if err == nil {
		_ = c.Close()
	}
	return errors.Is(err, syscall.ECONNREFUSED)
}

// systemdFiles are the sockets that systemd has opened for this process. They
// stay open as long as it runs: a reload may drop a listener and take it again.
var systemdFiles = sync.OnceValue(func() []*os.File { return activation.Files(true) })

// listenSystemd finds a socket by its name (FileDescriptorName= in the socket
// unit) or, from 0 on, by its number.
func listenSystemd(files []*os.File, name string) (net.Listener, error) {
	var found []int
	for i, f := range files {
		if f.Name() == name {
			found = append(found, i)
		}
	}
	if n, err := strconv.Atoi(name); err == nil && len(found) == 0 && 0 <= n && n < len(files) {
		found = []int{n}
	}
	switch len(found) {
	case 1:
		return net.FileListener(files[found[0]])
	case 0:
		return nil, fmt.Errorf("systemd has passed no such socket: %s", describe(files))
	}
	return nil, fmt.Errorf("systemd has passed several sockets of this name, use the number of one: %s", describe(files))
}

func describe(files []*os.File) string {
	if len(files) == 0 {
		return "it has passed none; is the program started by its socket unit?"
	}
	var all []string
	for i, f := range files {
		all = append(all, fmt.Sprintf("%d is %s", i, f.Name()))
	}
	return strings.Join(all, ", ")
}

// warnListeners tells of what is allowed in listeners and seldom meant.
func warnListeners(log *logrus.Logger, cfg *config.Config) {
	for _, l := range cfg.Listeners {
		for _, network := range l.Balancers.Networks {
			if network.Bits() == 0 {
				log.WithField("listener", l.Address).Warnf("proxy_protocol = [%q] believes everybody who connects: name the balancers alone", network)
			}
		}
	}
	warnUnused(log, systemdFiles(), cfg)
}

// warnUnused tells of sockets that systemd has opened and nobody accepts from:
// who connects there would wait.
func warnUnused(log *logrus.Logger, files []*os.File, cfg *config.Config) {
	used := map[string]bool{}
	addresses := []string{cfg.Admin.Listen}
	for _, l := range cfg.Listeners {
		addresses = append(addresses, l.Address)
	}
	for _, address := range addresses {
		if name, ok := strings.CutPrefix(address, config.SystemdPrefix); ok {
			used[name] = true
		}
	}
	for i, f := range files {
		if !used[f.Name()] && !used[strconv.Itoa(i)] {
			log.WithFields(logrus.Fields{"name": f.Name(), "number": i}).Warn("systemd has opened a socket that is no listener here: who connects to it waits for nothing")
		}
	}
}
