package main

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"time"
)

// client is an encoder or a player. It goes through the same steps as OBS.
type client struct {
	raw     *net.TCPConn
	capture *captureConn
	tls     *tls.Conn // nil: straight to the origin
	r       *chunkReader
	w       *chunkWriter
	msid    uint32
	stream  *stream // at the origin, where the scenario looks at it
}

// dial connects and shakes hands: TLS, unless config is nil, then RTMP.
func dial(addr string, config *tls.Config) (*client, error) { return dialFrom("", addr, config) }

// dialFrom is dial from an address of this machine.
func dialFrom(from, addr string, config *tls.Config) (*client, error) {
	raw, err := connectFrom(from, addr)
	if err != nil {
		return nil, err
	}
	c := &client{raw: raw}
	c.raw.SetDeadline(time.Now().Add(10 * time.Second))
	if err := c.shake(config); err != nil {
		raw.Close()
		return nil, err
	}
	return c, nil
}

// connectFrom opens a connection; from "" it is the kernel that chooses.
func connectFrom(from, addr string) (*net.TCPConn, error) {
	d := net.Dialer{Timeout: 5 * time.Second}
	if from != "" {
		d.LocalAddr = &net.TCPAddr{IP: net.ParseIP(from)}
	}
	c, err := d.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	return c.(*net.TCPConn), nil
}

func (c *client) shake(config *tls.Config) error {
	var rw net.Conn = c.raw
	if config != nil {
		c.capture = &captureConn{Conn: c.raw}
		c.tls = tls.Client(c.capture, config)
		if err := c.tls.Handshake(); err != nil {
			return err
		}
		if s := c.tls.ConnectionState(); s.CipherSuite != tls.TLS_AES_128_GCM_SHA256 {
			return fmt.Errorf("the peer chose %s: not comparable", tls.CipherSuiteName(s.CipherSuite))
		}
		rw = c.tls
	}
	c.r, c.w = newChunkReader(rw, 16<<10), newChunkWriter(rw)
	return shakeClient(c.r.br, rw)
}

const encoderChunk = 4096 // as OBS sends

// publish goes up to NetStream.Publish.Start and sends what an encoder sends
// first.
func (c *client) publish(name string) error {
	if err := c.connect(); err != nil {
		return err
	}
	c.w.command(0, "releaseStream", 2.0, nil, name)
	c.w.command(0, "FCPublish", 3.0, nil, name)
	if err := c.createStream(4); err != nil {
		return err
	}
	c.w.command(c.msid, "publish", 5.0, nil, name, "live")
	if err := c.await("NetStream.Publish.Start"); err != nil {
		return err
	}
	c.raw.SetDeadline(time.Time{})
	return c.w.message(4, typeData, c.msid, 0, appendAMF(nil, "@setDataFrame", "onMetaData",
		[]pair{{"width", 1280.0}, {"height", 720.0}, {"framerate", 30.0}, {"encoder", "bench"}}))
}

// play goes up to NetStream.Play.Start.
func (c *client) play(name string) error {
	if err := c.connect(); err != nil {
		return err
	}
	if err := c.createStream(2); err != nil {
		return err
	}
	c.w.command(c.msid, "play", 3.0, nil, name, -2000.0)
	if err := c.await("NetStream.Play.Start"); err != nil {
		return err
	}
	c.raw.SetDeadline(time.Time{})
	return nil
}

func (c *client) connect() error {
	c.w.setChunk(encoderChunk)
	url := "rtmps://localhost/live"
	c.w.command(0, "connect", 1.0, []pair{{"app", "live"}, {"type", "nonprivate"},
		{"flashVer", "FMLE/3.0 (compatible; FMSc/1.0)"}, {"swfUrl", url}, {"tcUrl", url}})
	return c.await("NetConnection.Connect.Success")
}

func (c *client) createStream(id float64) error {
	c.w.command(0, "createStream", id, nil)
	for {
		v, err := c.reply()
		if err != nil {
			return err
		}
		if v[0] == "_result" && v[1] == id && len(v) > 3 {
			n, _ := v[3].(float64)
			c.msid = uint32(n)
			return nil
		}
	}
}

// await reads until the peer says code; any other code is a refusal.
func (c *client) await(code string) error {
	for {
		v, err := c.reply()
		if err != nil {
			return fmt.Errorf("waiting for %s: %w", code, err)
		}
		info, _ := v[len(v)-1].(map[string]any)
		got, _ := info["code"].(string)
		if got == code {
			return nil
		}
		if info["level"] == "error" || v[0] == "_error" {
			return fmt.Errorf("refused: %s (%v)", got, info["description"])
		}
	}
}

// reply returns the next command of the peer.
func (c *client) reply() ([]any, error) {
	for {
		in, err := c.r.message()
		if err != nil {
			return nil, err
		}
		if in.typ != typeCommand {
			continue
		}
		v, err := parseAMF(in.body)
		if err == nil && len(v) < 2 {
			err = errors.New("short command")
		}
		return v, err
	}
}

// send writes one message of media, a TLS record per chunk.
func (c *client) send(typ byte, time uint32, payload []byte) error {
	return c.w.message(4, typ, c.msid, time, payload)
}

// drain throws away what still comes, acknowledgements for one, as an encoder
// does that reads its socket; it returns when the peer ends.
func (c *client) drain() { io.Copy(io.Discard, c.raw) }

// finish ends in order: close_notify, then wait for the other side.
func (c *client) finish() {
	if c.tls != nil {
		c.tls.CloseWrite()
	}
	c.raw.CloseWrite()
	c.raw.SetReadDeadline(time.Now().Add(time.Second))
	c.drain()
	c.raw.Close()
}
