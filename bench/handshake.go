package main

import (
	"crypto/rand"
	"errors"
	"io"
)

const handshakeSize = 1536

// shakeClient is the simple handshake, as OBS does it.
func shakeClient(r io.Reader, w io.Writer) error {
	c01 := make([]byte, 1+handshakeSize)
	c01[0] = 3
	rand.Read(c01[9:])
	if _, err := w.Write(c01); err != nil {
		return err
	}
	s012 := make([]byte, 1+2*handshakeSize)
	if _, err := io.ReadFull(r, s012); err != nil {
		return err
	}
	_, err := w.Write(s012[1 : 1+handshakeSize])
	return err
}

// shakeServer answers it.
func shakeServer(r io.Reader, w io.Writer) error {
	c01 := make([]byte, 1+handshakeSize)
	if _, err := io.ReadFull(r, c01); err != nil {
		return err
	}
	if c01[0] != 3 {
		return errors.New("not RTMP version 3")
	}
	s012 := make([]byte, 1+2*handshakeSize)
	s012[0] = 3
	rand.Read(s012[9 : 1+handshakeSize])
	copy(s012[1+handshakeSize:], c01[1:])
	if _, err := w.Write(s012); err != nil {
		return err
	}
	_, err := io.ReadFull(r, c01[1:])
	return err
}
