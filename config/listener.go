package config

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/hashicorp/go-sockaddr/template"

	"rtmps-edge/authz"
	"rtmps-edge/internal/readfile"
	"rtmps-edge/internal/tomlfile"
)

// defaultUnixMode lets the edge's user and group connect, as a load balancer
// that is in that group.
const defaultUnixMode fs.FileMode = 0o660

// balancerUnix stands in proxy_protocol for whoever connects by a unix socket.
const balancerUnix = "unix"

// DefaultAddress is the port that most encoders know RTMPS by, after 443.
const DefaultAddress = ":1936"

func (c *Config) readListener(t *tomlfile.Table) {
	l := Listener{Address: DefaultAddress, TLS: TLSRequired, UnixMode: defaultUnixMode, Line: t.Line("address")}
	t.String("address", &l.Address)
	if err := validAddress(l.Address); err != nil {
		t.Fault("address", err.Error())
	}
	l.Address = absolute(t, l.Address)
	if slices.ContainsFunc(c.Listeners, func(o Listener) bool { return o.Address == l.Address }) {
		t.Fault("address", "must not stand in two listeners")
	}
	tomlfile.OneOf(t, "tls", &l.TLS, TLSRequired, TLSOptional, TLSOff)
	l.readBalancers(t)
	l.readMode(t)
	c.originName(t, "origin", &l.Origin)
	t.End()
	c.Listeners = append(c.Listeners, l)
	if host := HostOf(l.Address); host != "" {
		c.dialed(t, "address", l.Address, host)
	}
}

// ListenersOf returns the listeners of a configuration, whatever else is wrong in
// it: their addresses, and whether they speak TLS. A file that cannot be read has
// none.
func ListenersOf(file string) (list []Listener) {
	data, err := readfile.Read(file, MaxFile)
	if err != nil {
		return nil
	}
	t, err := tomlfile.Parse(file, data)
	if err != nil {
		return nil
	}
	for _, table := range t.Tables("listener") {
		l := Listener{Address: DefaultAddress, TLS: TLSRequired}
		table.String("address", &l.Address)
		table.String("tls", &l.TLS)
		list = append(list, l)
	}
	return list
}

// HostOf returns the name that stands in an address, if clients may know it.
func HostOf(address string) string {
	host, _, err := net.SplitHostPort(address)
	if err != nil || net.ParseIP(host) != nil || strings.ContainsAny(host, "{ /") || host == "localhost" {
		return ""
	}
	return host
}

// dialed notes a name by which clients reach the edge.
func (c *Config) dialed(t *tomlfile.Table, key, value, name string) {
	at := placeOf(t, key)
	at.value = value
	c.Dialed = append(c.Dialed, Dialed{name, at})
}

// readBalancers takes networks, and the word for unix sockets, apart.
func (l *Listener) readBalancers(t *tomlfile.Table) {
	var list []string
	tomlfile.List(t, "proxy_protocol", &list, func(s string) (string, error) {
		if s == balancerUnix {
			l.Balancers.Unix = true
			return s, nil
		}
		network, err := authz.ParseNetwork(s)
		if err != nil {
			return s, fmt.Errorf("%w, or %q for who connects by a unix socket", err, balancerUnix)
		}
		l.Balancers.Networks = append(l.Balancers.Networks, network)
		return s, nil
	})
}

// readMode takes a mode as chmod does. It is text: a number would be decimal.
func (l *Listener) readMode(t *tomlfile.Table) {
	text := ""
	t.String("unix_mode", &text)
	if text == "" {
		return
	}
	n, err := strconv.ParseUint(text, 8, 32)
	if err != nil || n > 0o777 {
		t.Fault("unix_mode", `must be three or four octal digits in quotes, such as "0660"`)
		return
	}
	l.UnixMode = fs.FileMode(n)
}

var errAddress = errors.New(`must be host:port or :port, such as ":1936", "192.0.2.1:443", "[::1]:1936" or "{{ GetPrivateIP }}:443", or "unix:PATH", or "systemd:NAME"`)

// validAddress reads the address of a listener.
func validAddress(s string) error {
	for _, prefix := range []string{UnixPrefix, SystemdPrefix} {
		if rest, ok := strings.CutPrefix(s, prefix); ok {
			if rest == "" {
				return errAddress
			}
			return nil
		}
	}
	resolved, err := Resolve(s)
	if err != nil {
		return err
	}
	_, port, err := net.SplitHostPort(resolved)
	if err == nil {
		_, err = net.LookupPort("tcp", port)
	}
	if err != nil {
		return errAddress
	}
	return nil
}

// absolute makes the path of a unix socket one that holds anywhere. A name that
// begins with "@" is no path (unix(7), abstract sockets).
func absolute(t *tomlfile.Table, address string) string {
	path, ok := strings.CutPrefix(address, UnixPrefix)
	if !ok || strings.HasPrefix(path, "@") {
		return address
	}
	return UnixPrefix + filepath.Clean(t.Path(path))
}

// Resolve fills in the go-sockaddr template of an address, if it has one.
func Resolve(address string) (string, error) {
	if !strings.Contains(address, "{{") {
		return address, nil
	}
	s, err := template.Parse(address)
	if err != nil {
		return "", fmt.Errorf("must be a go-sockaddr template, such as \"{{ GetPrivateIP }}:443\": %w", err)
	}
	if strings.HasPrefix(s, ":") && !strings.HasPrefix(address, ":") {
		return "", fmt.Errorf("finds no such address on this machine")
	}
	return s, nil
}
