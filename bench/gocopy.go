package main

import (
	"crypto/tls"
	"io"
	"net"
	"strings"
)

// serveGocopy is the peer that other peers are to be compared with when one
// asks what Go itself costs: crypto/tls and two io.Copy. spec is
// "listen,origin,directory".
func serveGocopy(spec string) error {
	f := strings.Split(spec, ",")
	cert, err := tls.LoadX509KeyPair(f[2]+"/cert.pem", f[2]+"/key.pem")
	if err != nil {
		return err
	}
	ln, err := tls.Listen("tcp", f[0], &tls.Config{
		Certificates:           []tls.Certificate{cert},
		MinVersion:             tls.VersionTLS13,
		SessionTicketsDisabled: true,
	})
	if err != nil {
		return err
	}
	for {
		c, err := ln.Accept()
		if err != nil {
			return err
		}
		go splice(c.(*tls.Conn), f[1])
	}
}

func splice(c *tls.Conn, origin string) {
	defer c.Close()
	o, err := net.Dial("tcp", origin)
	if err != nil {
		return
	}
	defer o.Close()
	done := make(chan struct{})
	go func() {
		io.Copy(c, o)
		c.CloseWrite()
		close(done)
	}()
	io.Copy(o, c)
	o.(*net.TCPConn).CloseWrite()
	<-done
}
