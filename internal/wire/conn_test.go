package wire

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"
)

// pair returns both ends of a connection, the server's wrapped.
func pair(t *testing.T, network string) (net.Conn, *Conn) {
	t.Helper()
	if network == "pipe" {
		a, b := net.Pipe()
		t.Cleanup(func() { _, _ = a.Close(), b.Close() })
		return a, New(b)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	a, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	b, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = a.Close(), b.Close() })
	return a, New(b)
}

func send(t *testing.T, c net.Conn, text string) {
	t.Helper()
	go func() { _, _ = io.WriteString(c, text) }()
}

// What was peeked at is read all the same, in its place, and then nothing is kept.
func TestPeek(t *testing.T) {
	for _, network := range []string{"tcp", "pipe"} {
		t.Run(network, func(t *testing.T) {
			client, c := pair(t, network)
			send(t, client, "abcdef")
			for range 2 {
				if b, err := c.Peek(); b != 'a' || err != nil {
					t.Fatalf("%q, %v", b, err)
				}
			}
			var b Buf
			defer b.Release()
			for b.Len() < 3 {
				if _, err := c.ReadBuf(&b); err != nil {
					t.Fatal(err)
				}
			}
			if b.Bytes()[0] != 'a' || string(b.Bytes()) != "abcdef"[:b.Len()] {
				t.Errorf("%q", b.Bytes())
			}
			if c.ahead != nil {
				t.Error("the byte is kept")
			}
			send(t, client, "xy")
			rest := make([]byte, 8-b.Len())
			if _, err := c.Peek(); err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadFull(c, rest); err != nil || string(rest[len(rest)-2:]) != "xy" {
				t.Errorf("%q, %v", rest, err)
			}
		})
	}
}

func TestPeekFails(t *testing.T) {
	client, c := pair(t, "tcp")
	_ = c.SetReadDeadline(time.Unix(1, 0))
	if _, err := c.Peek(); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a deadline: %v", err)
	}
	_ = c.SetReadDeadline(time.Time{})
	_ = client.Close()
	if _, err := c.Peek(); err != io.EOF {
		t.Errorf("the end: %v", err)
	}
}

// TLS begins with the byte that was peeked at.
func TestPeekBeforeTLS(t *testing.T) {
	client, c := pair(t, "tcp")
	failed := make(chan error, 1)
	go func() {
		failed <- tls.Client(client, &tls.Config{InsecureSkipVerify: true}).Handshake()
		_ = client.Close()
	}()
	if b, err := c.Peek(); b != 0x16 || err != nil {
		t.Fatalf("%#x, %v", b, err)
	}
	none := errors.New("no certificate in this test")
	server := Server(c, &tls.Config{GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return nil, none }})
	if err := server.Handshake(); !errors.Is(err, none) {
		t.Errorf("the ClientHello was not understood: %v", err)
	}
	<-failed
}

func TestNewWrapsOnce(t *testing.T) {
	_, c := pair(t, "pipe")
	if New(c) != c {
		t.Error("wrapped twice")
	}
}
