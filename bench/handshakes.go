package main

import (
	"crypto/tls"
	"errors"
	"net"
	"sync"
	"time"
)

// handshakes is the load of a morning on which all encoders come back at once,
// or of somebody who wants it to look so. The others connect to the origin for
// each, as they know no better; the edge does so only once a key is good.
var handshakes = scenario{
	name:   "handshakes",
	title:  "Handshakes: TCP, a full TLS handshake, and the end; the same certificate (ECDSA P-256) everywhere",
	rounds: 7,
	columns: []column{
		{name: "CPU ms", verb: "%.3f", ratio: true},
		{name: "a second of one core", verb: "%.0f"},
		{name: "measured/s", verb: "%.0f"},
		{name: "busy", verb: "%.0f%%"},
	},
	once: handshakesOnce,
}

// handshakeWorkers connect at the same time, so that the proxy always has the
// next one waiting.
const handshakeWorkers = 8

// handshakesOnce makes n handshakes. Where busy is well below 100 %, the load
// was the limit: a second of one core tells what the proxy could have done.
func handshakesOnce(b *bench, p *peer, _ int) ([]float64, error) {
	n := b.pick(2000, 400)
	config := b.tls.Clone()
	config.InsecureSkipVerify = true // the client is not what is measured, and shares a core with the origin
	m, err := measure(p, func() error { return shakeMany(p.addr, config, n) })
	each := m.cpu / time.Duration(n)
	return []float64{ms(each), float64(time.Second) / float64(each), float64(n) / m.wall.Seconds(), 100 * m.busy.Seconds() / m.wall.Seconds()}, err
}

func shakeMany(addr string, config *tls.Config, n int) error {
	var wg sync.WaitGroup
	errs := make(chan error, handshakeWorkers)
	for w := range handshakeWorkers {
		wg.Go(func() {
			for i := w; i < n; i += handshakeWorkers {
				if err := shakeOnce(addr, config); err != nil {
					errs <- err
					return
				}
			}
		})
	}
	wg.Wait()
	close(errs)
	var all error
	for err := range errs {
		all = errors.Join(all, err)
	}
	return all
}

// shakeOnce is over when the proxy has closed the connection: all of its work
// has been done then.
func shakeOnce(addr string, config *tls.Config) error {
	raw, err := net.DialTimeout("tcp", addr, 5*time.Second)
	if err != nil {
		return err
	}
	defer raw.Close()
	raw.SetDeadline(time.Now().Add(patience))
	c := tls.Client(raw, config)
	if err := c.Handshake(); err != nil {
		return err
	}
	if s := c.ConnectionState(); s.DidResume || s.Version != tls.VersionTLS13 || s.CipherSuite != tls.TLS_AES_128_GCM_SHA256 {
		return errors.New("not a full handshake of TLS 1.3 with AES-128-GCM: not comparable")
	}
	if err := c.CloseWrite(); err != nil {
		return err
	}
	raw.(*net.TCPConn).CloseWrite()
	_, err = c.Read(make([]byte, 1))
	if err == nil {
		return errors.New("the proxy sent something before it was asked")
	}
	var late net.Error
	if errors.As(err, &late) && late.Timeout() {
		return err
	}
	return nil
}
