package proxy_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"testing"
	"time"

	"rtmps-edge/authz"
	"rtmps-edge/proxy"
	"rtmps-edge/rtmp/rtmptest"
)

// BenchmarkSetup is a session from connect to Start, and its end. Client and
// origin are of this process, too: what they cost, and TLS at both ends, is what
// BenchmarkSetupWithoutEdge shows.
func BenchmarkSetup(b *testing.B) {
	origin := rtmptest.NewOrigin(b, rtmptest.OriginConfig{})
	server := proxy.NewServer(proxy.ServerConfig{Policy: &proxy.Policy{
		TLS:     &tls.Config{Certificates: []tls.Certificate{certificate}, SessionTicketsDisabled: true},
		Publish: authz.Open{},
		Origins: []*proxy.Origin{{Name: "main", Servers: []string{origin.Addr()}}},
		Limits:  proxy.Limits{SetupTimeout: 10 * time.Second},
	}})
	ln := listen(b)
	served := make(chan error, 1)
	go func() { served <- server.Serve(ln, proxy.ListenerConfig{Address: ln.Addr().String(), TLS: true}) }()
	n := 0
	b.ReportAllocs()
	for b.Loop() {
		n++
		c, err := tls.Dial("tcp", ln.Addr().String(), &tls.Config{InsecureSkipVerify: true})
		if err != nil {
			b.Fatal(err)
		}
		p, err := rtmptest.Publish(c, rtmptest.PublishConfig{App: "live", TcURL: "rtmps://edge.test/live", Name: fmt.Sprint("s", n)})
		if err != nil {
			b.Fatal(err)
		}
		_ = p.Close()
	}
	ctx, cancel := context.WithTimeout(context.Background(), rtmptest.Patience)
	defer cancel()
	if err := server.Shutdown(ctx); err != nil {
		b.Error(err)
	}
	<-served
}

func BenchmarkSetupWithoutEdge(b *testing.B) {
	origin := rtmptest.NewOrigin(b, rtmptest.OriginConfig{})
	ln, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{certificate}, SessionTicketsDisabled: true})
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	b.ReportAllocs()
	for b.Loop() {
		secured := make(chan error, 1)
		go func() {
			c, err := ln.Accept()
			if err == nil {
				err = c.(*tls.Conn).Handshake()
				_ = c.Close()
			}
			secured <- err
		}()
		c, err := tls.Dial("tcp", ln.Addr().String(), &tls.Config{InsecureSkipVerify: true})
		if err != nil {
			b.Fatal(err)
		}
		if err := <-secured; err != nil {
			b.Fatal(err)
		}
		_ = c.Close()
		dialed, err := net.Dial("tcp", origin.Addr())
		if err != nil {
			b.Fatal(err)
		}
		p, err := rtmptest.Publish(dialed, rtmptest.PublishConfig{App: "live", TcURL: "rtmp://edge.test/live", Name: "s"})
		if err != nil {
			b.Fatal(err)
		}
		_ = p.Close()
	}
}
