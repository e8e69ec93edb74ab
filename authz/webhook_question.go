package authz

import (
	"crypto/rand"
	"encoding/hex"
	"net/netip"
	"strings"
)

// processID names this process where a server has a name of its own.
var processID = "edge-" + strings.ToLower(rand.Text()[:8])

func newQuestion(r Request) question {
	q := question{Request: r, key: r.Key.Reveal(), query: r.Query.Reveal(), host: hostOf(r)}
	scheme := "rtmp"
	if r.TLS != nil {
		scheme = "rtmps"
	}
	q.tcURL = scheme + "://" + q.host + "/" + r.App
	return q
}

// hostOf returns the host and port that the client asked for, if that is a
// plausible one, or else the TLS server name.
func hostOf(r Request) string {
	_, rest, _ := strings.Cut(r.TcURL.Reveal(), "://")
	if i := strings.IndexAny(rest, "/?#"); i >= 0 {
		rest = rest[:i]
	}
	if i := strings.LastIndex(rest, "@"); i >= 0 {
		rest = rest[i+1:] // a password stands before it
	}
	odd := func(c rune) bool {
		return notCanonical(c) && !strings.ContainsRune("[]:", c)
	}
	if rest == "" || len(rest) > MaxKeyLength || strings.ContainsFunc(rest, odd) {
		return r.ServerName
	}
	return rest
}

// hostname is the host without its port.
func (q question) hostname() string {
	if i := strings.LastIndex(q.host, ":"); i >= 0 && !strings.HasSuffix(q.host, "]") {
		return q.host[:i]
	}
	return q.host
}

// address is the client's, without its port.
func (q question) address() string {
	if !q.Client.IsValid() {
		return ""
	}
	return q.Client.Addr().Unmap().WithZone("").String()
}

// clientText is the client's address and port; "" if it has none.
func (q question) clientText() string {
	if !q.Client.IsValid() {
		return ""
	}
	return netip.AddrPortFrom(q.Client.Addr().Unmap(), q.Client.Port()).String()
}

// newUUID returns a random UUID (version 4).
func newUUID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	s := hex.EncodeToString(b[:])
	return s[:8] + "-" + s[8:12] + "-" + s[12:16] + "-" + s[16:20] + "-" + s[20:]
}
