package tlsconf

import (
	"crypto/tls"
	"net"
	"testing"
)

// BenchmarkHandshake is a full handshake, both ends of it, over a pipe: with
// the certificate fixed, as the least that crypto/tls can do, and from a source.
func BenchmarkHandshake(b *testing.B) {
	cert, err := newLeaf(testAuthority(), kindECDSA, []string{"a.test"})
	if err != nil {
		b.Fatal(err)
	}
	source := &endpoint{}
	if err := source.open(Options{}); err != nil {
		b.Fatal(err)
	}
	source.table.Store(newTable([]*tls.Certificate{cert}))
	fixed := Encoder.config()
	fixed.Certificates, fixed.SessionTicketsDisabled = []tls.Certificate{*cert}, true
	for name, config := range map[string]*tls.Config{"fixed": fixed, "source": source.TLSConfig()} {
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
