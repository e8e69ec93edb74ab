package tlsconf

import (
	"crypto/tls"
	"net"
	"testing"
)

// BenchmarkHandshake is a full handshake, both ends of it, over a pipe: with
// the certificate fixed, as the least that crypto/tls can do, and from a source,
// with each kind of key.
func BenchmarkHandshake(b *testing.B) {
	ecdsa, fixed := benchSource(b, kindECDSA), Encoder.config()
	fixed.Certificates, fixed.SessionTicketsDisabled = []tls.Certificate{*ecdsa.table.Load().all[0]}, true
	for name, config := range map[string]*tls.Config{
		"fixed": fixed, "source": ecdsa.TLSConfig(), "RSA": benchSource(b, kindRSA).TLSConfig(),
	} {
		for _, v := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			b.Run(name+"/"+tls.VersionName(v), func(b *testing.B) {
				client := trusting()
				client.ServerName, client.MaxVersion = "a.test", v
				b.ReportAllocs()
				for b.Loop() {
					handshake(b, config, client)
				}
			})
		}
	}
}

func benchSource(b *testing.B, kind string) *endpoint {
	b.Helper()
	cert, err := newLeaf(testAuthority(), kind, []string{"a.test"})
	if err != nil {
		b.Fatal(err)
	}
	e := &endpoint{}
	if err := e.open(Options{}); err != nil {
		b.Fatal(err)
	}
	e.table.Store(newTable([]*tls.Certificate{cert}))
	return e
}

func handshake(b *testing.B, server, client *tls.Config) {
	b.Helper()
	x, y := net.Pipe()
	done := make(chan error, 1)
	go func() { done <- tls.Server(y, server).Handshake() }()
	if err := tls.Client(x, client).Handshake(); err != nil {
		b.Fatal(err)
	}
	if err := <-done; err != nil {
		b.Fatal(err)
	}
	_, _ = x.Close(), y.Close()
}
