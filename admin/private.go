package admin

import (
	"net"
	"net/netip"
	"strings"
)

// UnixPrefix begins an address that is a unix socket.
const UnixPrefix = "unix:"

// Private reports whether only this machine can reach the address: a loopback
// address, localhost, or a unix socket.
func Private(listen string) bool {
	if strings.HasPrefix(listen, UnixPrefix) {
		return true
	}
	host, _, err := net.SplitHostPort(listen)
	if err != nil {
		return false
	}
	if strings.EqualFold(host, "localhost") {
		return true
	}
	a, err := netip.ParseAddr(host)
	return err == nil && a.Unmap().IsLoopback()
}
