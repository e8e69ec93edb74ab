package proxy

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"strings"

	"rtmps-edge/internal/proxyheader"
)

// ClientIP says how an origin is told the client's real address. A client
// without one, as on a unix socket, and a health check are never given one that
// is made up.
type ClientIP string

// The ways. Besides them there is ClientIPQuery with a name.
const (
	ClientIPOff ClientIP = "" // not at all
	// A PROXY header before all else, TLS included. Without an address it says
	// so (UNKNOWN, LOCAL): an origin that requires the header still gets one.
	ClientIPProxyV1 ClientIP = "proxy-v1"
	ClientIPProxyV2 ClientIP = "proxy-v2"
	// SRS's own header, right before C0. It has room for IPv4 only: for others
	// it is left out, and SRS sees the edge's address.
	ClientIPSRS ClientIP = "srs"
	// ClientIPQuery and NAME after it: the parameter NAME in the query of the
	// stream name. What the name had under NAME is taken out.
	ClientIPQuery ClientIP = "query:"
)

// maxParameter is the longest name of a parameter: the stream name must not
// grow much (nginx-rtmp takes 255 bytes of it).
const maxParameter = 32

var errClientIP = errors.New(`must be "off", "proxy-v1", "proxy-v2", "srs" or "query:NAME", where NAME is letters, digits, "_", "-" and "."`)

// UnmarshalText implements encoding.TextUnmarshaler.
func (c *ClientIP) UnmarshalText(text []byte) error {
	switch way := ClientIP(text); way {
	case "off":
		*c = ClientIPOff
	case ClientIPProxyV1, ClientIPProxyV2, ClientIPSRS:
		*c = way
	default:
		if name := way.parameter(); name == "" || len(name) > maxParameter || strings.ContainsFunc(name, notOfName) {
			return errClientIP
		}
		*c = way
	}
	return nil
}

func notOfName(r rune) bool {
	return !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune("_-.", r))
}

// parameter is the name in the query; "" for other ways.
func (c ClientIP) parameter() string {
	name, ok := strings.CutPrefix(string(c), string(ClientIPQuery))
	if !ok {
		return ""
	}
	return name
}

// outermost is what an origin is sent before anything else.
func (c ClientIP) outermost(e ends) []byte {
	switch c {
	case ClientIPProxyV1:
		return proxyheader.Format(1, e.client, e.here)
	case ClientIPProxyV2:
		return proxyheader.Format(2, e.client, e.here)
	}
	return nil
}

// firstOfSRS begins SRS's header: it is followed by a length of two bytes and
// the address, from its highest byte to its lowest.
const firstOfSRS = 0xF3

// innermost is what an origin is sent right before C0.
func (c ClientIP) innermost(e ends) []byte {
	if c != ClientIPSRS || !e.client.Addr().Is4() {
		return nil
	}
	ip := e.client.Addr().As4()
	return append(binary.BigEndian.AppendUint16([]byte{firstOfSRS}, uint16(len(ip))), ip[:]...)
}

// nameAtOrigin is the stream name that the origin is asked for.
func (c ClientIP) nameAtOrigin(name string, client netip.Addr) string {
	parameter := c.parameter()
	if parameter == "" {
		return name
	}
	name, query, _ := strings.Cut(name, "?")
	var kept []string
	for part := range strings.SplitSeq(query, "&") {
		if part != "" && !names(part, parameter) {
			kept = append(kept, part)
		}
	}
	if client.IsValid() {
		kept = append(kept, parameter+"="+client.WithZone("").String())
	}
	if len(kept) == 0 {
		return name
	}
	return name + "?" + strings.Join(kept, "&")
}

// names reports whether an origin, or what it calls, could take a part of a
// query for the parameter: they differ in what separates parameters, and in
// which names are the same to them (PHP reads "client.ip", "client+ip" and
// "client_ip[]" alike).
func names(part, parameter string) bool {
	for piece := range strings.FieldsFuncSeq(part, func(r rune) bool { return strings.ContainsRune(";?#", r) }) {
		name, _, _ := strings.Cut(piece, "=")
		if strings.Contains(name, "%") || bare(name) == bare(parameter) {
			return true
		}
	}
	return false
}

// bare is a name without what servers disagree on.
func bare(name string) string {
	return strings.Map(func(r rune) rune {
		if notOfName(r) || strings.ContainsRune("_-.", r) {
			return -1
		}
		return r
	}, strings.ToLower(name))
}
