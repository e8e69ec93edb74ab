package proxy

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"rtmps-edge/internal/proxyheader"
)

// Balancers are the peers that stand between clients and the edge: the PROXY
// header of each is required, and believed. From others none is read.
type Balancers struct {
	Networks []netip.Prefix
	// Unix has those too that connect by a unix socket, which have no address.
	Unix bool
}

func (b Balancers) has(peer netip.AddrPort) bool {
	if !peer.IsValid() {
		return b.Unix
	}
	return inAny(peer.Addr(), b.Networks)
}

// ends are the two ends of a client's connection: its own, and the one that it
// has connected to. What is not known is not valid.
type ends struct{ client, here netip.AddrPort }

// addrPort reads a TCP address; others (pipes, unix sockets) have none.
func addrPort(a net.Addr) netip.AddrPort {
	if t, ok := a.(*net.TCPAddr); ok {
		p := t.AddrPort()
		return netip.AddrPortFrom(p.Addr().Unmap(), p.Port())
	}
	return netip.AddrPort{}
}

func inAny(a netip.Addr, list []netip.Prefix) bool {
	return slices.ContainsFunc(list, func(p netip.Prefix) bool { return p.Contains(a) })
}

// identify finds out who the client is: the peer, or for whom a balancer
// speaks.
func (s *session) identify() error {
	if !s.listener.Balancers.has(s.event.Client) {
		return nil
	}
	h, err := proxyheader.Read(s.conn)
	if err != nil {
		r := &refusal{stage: StageAdmit, err: err}
		if errors.Is(err, proxyheader.ErrMalformed) {
			r.reason, r.err = "proxy header", fmt.Errorf("the peer is in proxy_protocol: %w", err)
		}
		return r
	}
	if h.Local { // it is the peer itself
		return nil
	}
	s.event.Client, s.here, s.event.ServerName = h.Source, h.Destination, h.Authority
	return nil
}
