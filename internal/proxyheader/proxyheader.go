// Package proxyheader reads and writes the header by which a load balancer
// tells who its client is: the PROXY protocol, versions 1 and 2.
package proxyheader

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"

	"github.com/pires/go-proxyproto"
)

const (
	// maxV1 is the longest header of version 1, its line end included (PROXY
	// protocol §2.1).
	maxV1 = 107
	// fixedV2 is the length of what every header of version 2 begins with: a
	// signature, version and command, family, and the length of the rest.
	fixedV2 = 16
	// MaxV2 is the longest header of version 2 that is taken. The two longest
	// addresses need 232 bytes; the rest is for additions such as the server
	// name and a client's certificate.
	MaxV2 = 4 << 10
	// maxAuthority is the longest host name (RFC 1035 §2.3.4).
	maxAuthority = 255
)

// beginV1 is what a header of version 1 begins with.
const beginV1 = "PROXY "

// ErrMalformed is wrapped by the errors of Read that are not the connection's.
var ErrMalformed = errors.New("malformed PROXY header")

// Header is what a balancer tells.
type Header struct {
	// Local is set where the balancer speaks for itself, as in a health check,
	// or does not know its client: who is connected is who it is.
	Local bool
	// Source is the client's address, Destination the one that it connected to.
	// Neither is valid with Local, or for a client on a unix socket.
	Source, Destination netip.AddrPort
	// Authority is the host name that the client asked for, where the balancer
	// has ended its TLS; "" otherwise.
	Authority string
}

// Read reads one header and not a byte more. It returns the errors of r as they
// are, and ErrMalformed for anything that is not a header.
func Read(r io.Reader) (Header, error) {
	raw := make([]byte, len(proxyproto.SIGV2), fixedV2)
	if _, err := io.ReadFull(r, raw); err != nil {
		return Header{}, err
	}
	var err error
	switch {
	case bytes.Equal(raw, proxyproto.SIGV2):
		raw, err = readV2(r, raw)
	case bytes.HasPrefix(raw, []byte(beginV1)):
		raw, err = readV1(r, raw)
	default:
		err = fmt.Errorf("%w: there is none", ErrMalformed)
	}
	if err != nil {
		return Header{}, err
	}
	return parse(raw)
}

// readV1 reads byte by byte, as only the line's end tells where it is: what
// follows belongs to somebody else.
func readV1(r io.Reader, raw []byte) ([]byte, error) {
	for next := make([]byte, 1); len(raw) < maxV1; {
		if _, err := io.ReadFull(r, next); err != nil {
			return nil, cut(err)
		}
		if raw = append(raw, next[0]); next[0] == '\n' {
			return raw, nil
		}
	}
	return nil, fmt.Errorf("%w: no end within %d bytes", ErrMalformed, maxV1)
}

func readV2(r io.Reader, raw []byte) ([]byte, error) {
	raw = raw[:fixedV2]
	if _, err := io.ReadFull(r, raw[len(proxyproto.SIGV2):]); err != nil {
		return nil, cut(err)
	}
	rest := int(binary.BigEndian.Uint16(raw[fixedV2-2:]))
	if fixedV2+rest > MaxV2 {
		return nil, fmt.Errorf("%w: %d bytes long, of at most %d", ErrMalformed, fixedV2+rest, MaxV2)
	}
	raw = append(raw, make([]byte, rest)...)
	if _, err := io.ReadFull(r, raw[fixedV2:]); err != nil {
		return nil, cut(err)
	}
	return raw, nil
}

// cut makes an end within a header what it is.
func cut(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// isLocal knows headers of version 2 without an address that counts, whatever
// else stands in them (PROXY protocol §2.2): the command is LOCAL, or the family
// is not known.
func isLocal(raw []byte) bool {
	if !bytes.HasPrefix(raw, proxyproto.SIGV2) {
		return false
	}
	command, family := proxyproto.ProtocolVersionAndCommand(raw[12]), proxyproto.AddressFamilyAndProtocol(raw[13])
	return command == proxyproto.LOCAL || command == proxyproto.PROXY && family == proxyproto.UNSPEC
}

// parse takes a whole header apart.
func parse(raw []byte) (Header, error) {
	if isLocal(raw) {
		return Header{Local: true}, nil
	}
	p, err := proxyproto.Read(bufio.NewReaderSize(bytes.NewReader(raw), len(raw)))
	if err != nil {
		return Header{}, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	h := Header{Local: p.Command.IsLocal()}
	tlvs, err := p.TLVs()
	if err != nil {
		return Header{}, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	if h.Local {
		return h, nil
	}
	switch p.TransportProtocol {
	case proxyproto.TCPv4, proxyproto.TCPv6:
		h.Source, h.Destination = addrPort(p.SourceAddr), addrPort(p.DestinationAddr)
	case proxyproto.UnixStream:
	default:
		return Header{}, fmt.Errorf("%w: family and transport %#x", ErrMalformed, byte(p.TransportProtocol))
	}
	for _, t := range tlvs {
		if t.Type == proxyproto.PP2_TYPE_AUTHORITY && len(t.Value) <= maxAuthority {
			h.Authority = string(t.Value)
		}
	}
	return h, nil
}

func addrPort(a net.Addr) netip.AddrPort {
	p := a.(*net.TCPAddr).AddrPort()
	return netip.AddrPortFrom(p.Addr().Unmap(), p.Port())
}

// Format returns the header of that version, 1 or 2, for a client at source
// that has connected to destination. If source is not valid it is one that says
// so, or that the sender speaks for itself. A destination of another family
// than source's cannot be told: 0.0.0.0 or :: stands for it.
func Format(version byte, source, destination netip.AddrPort) []byte {
	h := &proxyproto.Header{Version: version, Command: proxyproto.LOCAL, TransportProtocol: proxyproto.UNSPEC}
	if source.IsValid() {
		from, to := source.Addr().Unmap().WithZone(""), destination.Addr().Unmap().WithZone("")
		h.Command, h.TransportProtocol = proxyproto.PROXY, proxyproto.TCPv4
		unspecified := netip.IPv4Unspecified()
		if from.Is6() {
			h.TransportProtocol, unspecified = proxyproto.TCPv6, netip.IPv6Unspecified()
		}
		if to.BitLen() != from.BitLen() {
			to = unspecified
		}
		h.SourceAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(from, source.Port()))
		h.DestinationAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(to, destination.Port()))
	}
	b, err := h.Format()
	if err != nil {
		panic("proxyheader: " + err.Error()) // both addresses are there and of one family
	}
	return b
}
