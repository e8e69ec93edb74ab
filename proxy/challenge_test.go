package proxy_test

import (
	"crypto/tls"
	"io"
	"testing"
	"time"

	"rtmps-edge/internal/hello"
	"rtmps-edge/proxy"
	"rtmps-edge/rtmp/rtmptest"
)

// A connection for the answer to an ACME challenge ends with its handshake,
// which asks for no certificate of the client.
func TestChallengeEndsAfterHandshake(t *testing.T) {
	e := newEdge(t, func(p *proxy.Policy) {
		p.TLS.ClientAuth = tls.RequireAnyClientCert
		p.TLS.GetConfigForClient = func(chi *tls.ClientHelloInfo) (*tls.Config, error) {
			return &tls.Config{Certificates: []tls.Certificate{certificate}, NextProtos: []string{hello.ACMEProtocol}}, nil
		}
	})
	c, err := tls.Dial("tcp", e.addr, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{hello.ACMEProtocol}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(rtmptest.Patience))
	_, _ = c.Write(make([]byte, 1537)) // as who wants to stream
	if got, _ := io.ReadAll(c); len(got) > 0 {
		t.Errorf("%d bytes of an answer", len(got))
	}
	r := e.events.wait(t, proxy.Refused, nil)
	if r.Stage != proxy.StageTLS || r.Reason != string(hello.Answered) {
		t.Errorf("%s: %s", r.Stage, r.Reason)
	}
}
