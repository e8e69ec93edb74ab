package ratelimit

import (
	"encoding/binary"
	"net/netip"
)

// peer is what counts as one client: an IPv4 address, or the /64 of an IPv6
// one, of which a single customer usually has 2^64 addresses.
type peer struct {
	net uint64
	v6  bool
}

func peerOf(addr netip.Addr) peer {
	if addr = addr.Unmap(); addr.Is4() {
		b := addr.As4()
		return peer{net: uint64(binary.BigEndian.Uint32(b[:]))}
	}
	b := addr.As16()
	return peer{net: binary.BigEndian.Uint64(b[:8]), v6: true}
}

// prefix is the network that p stands for.
func (p peer) prefix() netip.Prefix {
	if !p.v6 {
		var b [4]byte
		binary.BigEndian.PutUint32(b[:], uint32(p.net))
		return netip.PrefixFrom(netip.AddrFrom4(b), 32)
	}
	var b [16]byte
	binary.BigEndian.PutUint64(b[:8], p.net)
	return netip.PrefixFrom(netip.AddrFrom16(b), 64)
}

// Network returns what counts as one client with addr: the address itself, or
// the /64 of an IPv6 one. It is the zero Prefix if addr is not valid.
func Network(addr netip.Addr) netip.Prefix {
	if !addr.IsValid() {
		return netip.Prefix{}
	}
	return peerOf(addr).prefix()
}
