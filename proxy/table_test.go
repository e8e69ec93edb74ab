package proxy_test

import (
	"crypto/tls"
	"net"
	"strings"
	"testing"
	"time"

	"rtmps-edge/authz"
	"rtmps-edge/proxy"
	"rtmps-edge/rtmp/rtmptest"
)

// dialTCP connects to the edge, does TLS, and returns both connections.
func (e *edge) dialTCP(t *testing.T) (*net.TCPConn, *tls.Conn) {
	t.Helper()
	c, err := net.Dial("tcp", e.addr)
	if err != nil {
		t.Fatal(err)
	}
	s := tls.Client(c, &tls.Config{InsecureSkipVerify: true})
	t.Cleanup(func() { _ = c.Close() })
	return c.(*net.TCPConn), s
}

func (e *edge) only(t *testing.T) proxy.Info {
	t.Helper()
	list := e.List()
	if len(list) != 1 {
		t.Fatalf("%d streams", len(list))
	}
	return list[0]
}

func TestListTellsOfAStream(t *testing.T) {
	t.Parallel()
	origin := rtmptest.NewOrigin(t, rtmptest.OriginConfig{})
	e := newEdge(t, func(p *proxy.Policy) { p.Publish = onlyKey("key", "live", "granted") }, origin.Addr())
	waiting := e.dial(t)
	p, err := rtmptest.Publish(e.dial(t), rtmptest.PublishConfig{App: "live", Name: "key"})
	if err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{
		p.WriteData(0, "@setDataFrame", "onMetaData", rtmptest.ECMAArray{{Key: "width", Value: 640.0}, {Key: "encoder", Value: "its name"}}),
		p.WriteVideo(0, []byte{0x17, 0, 0, 0, 0, 1, 100, 0, 41}),
		p.WriteVideo(0, []byte{0x17, 1, 0, 0, 0}),
		p.WriteAudio(10, []byte{0xAF, 0, 0x11, 0x90}),
		p.WriteVideo(2000, []byte{0x17, 1, 0, 0, 0}),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if _, err := origin.Conn(t, 0).WaitMedia(4); err != nil {
		t.Fatal(err)
	}
	i, f := e.only(t), e.only(t).Facts
	switch {
	case i.ID == "" || i.Action != authz.Publish || i.Subject != "somebody" || i.App != "live" || i.Name != "granted", !i.Client.IsValid(),
		i.Listener != e.addr, i.TLS != "TLS 1.3", i.Origin != "main", i.Server != origin.Addr(), !strings.HasPrefix(i.Encoder, "FMLE/3.0"),
		i.BytesIn < 3000 || i.BytesOut < 300, time.Since(i.Since) > rtmptest.Patience,
		f.Width != 640, f.Encoder != "its name", f.Video() != "H.264", f.Profile != 100, f.Level != 41, f.KeyframeEvery != 2*time.Second,
		f.Audio() != "AAC", f.SampleRate != 48000, f.Channels != 2, f.Frames != 2:
		t.Errorf("%+v", i)
	}
	if e.Sessions() != 2 {
		t.Errorf("%d connections", e.Sessions())
	}
	in, out := e.Bytes()
	_ = p.Close()
	end := e.events.wait(t, proxy.Ended, nil)
	if in2, out2 := e.Bytes(); in < 3000 || out < 300 || in2 < in || out2 < out || in2 != end.BytesIn || out2 != end.BytesOut {
		t.Errorf("bytes %d and %d, then %d and %d, in the end %d and %d", in, out, in2, out2, end.BytesIn, end.BytesOut)
	}
	if took := end.Took; took.TLS <= 0 || took.Authorize <= 0 || took.Origin <= 0 || took.Setup < took.TLS+took.Authorize+took.Origin {
		t.Errorf("took %+v", took)
	}
	_ = waiting.Close()
}

func TestOrigins(t *testing.T) {
	t.Parallel()
	origin := rtmptest.NewOrigin(t, rtmptest.OriginConfig{})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	gone := ln.Addr().String()
	_ = ln.Close()
	e := newEdge(t, func(p *proxy.Policy) {
		p.Origins = []*proxy.Origin{{Name: "a", Servers: []string{gone, origin.Addr()}, Balance: proxy.BalanceFirst}, {Name: "b", Servers: []string{gone}}}
	})
	if o := e.Origins(); len(o) != 2 || !o[0].Up() || !o[1].Up() || !o[0].Servers[0].Up {
		t.Errorf("before anything is known: %+v", o)
	}
	p, err := publishTo(t, e, "x")
	if err != nil {
		t.Fatal(err)
	}
	o := e.Origins()
	if len(o) != 2 || o[0].Name != "a" || !o[0].Up() || o[0].Servers[0].Up || o[0].Servers[1].Streams != 1 || o[1].Up() {
		t.Errorf("%+v", o)
	}
	_ = p.Close()
}

func TestKick(t *testing.T) {
	t.Parallel()
	origin := rtmptest.NewOrigin(t, rtmptest.OriginConfig{})
	e := newEdge(t, nil, origin.Addr())
	p, err := publishTo(t, e, "x")
	if err != nil {
		t.Fatal(err)
	}
	if e.Kick("nobody", "kick") {
		t.Error("a session that is not there was kicked")
	}
	if !e.Kick(e.only(t).ID, "kick") {
		t.Error("no such session")
	}
	if err := p.WaitStatus("NetStream.Publish.Rejected"); statusCode(err) != "NetStream.Publish.Rejected" {
		t.Errorf("the publisher hears %v", err)
	}
	if end := e.events.wait(t, proxy.Ended, nil); end.Side != proxy.SideEdge || end.Reason != "kick" {
		t.Errorf("%s, %s", end.Side, end.Reason)
	}
}

// Ends that look alike to the person at the encoder are told apart.
func TestEndsAreToldApart(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		side   proxy.Side
		reason string
		detail string
		end    func(tcp *net.TCPConn, tls *tls.Conn, p *rtmptest.Publisher, o *rtmptest.OriginConn) error
	}{
		{proxy.SideClient, "finished", "", func(_ *net.TCPConn, _ *tls.Conn, p *rtmptest.Publisher, _ *rtmptest.OriginConn) error {
			return p.Stop()
		}},
		{proxy.SideClient, "closed", "EOF", func(_ *net.TCPConn, s *tls.Conn, _ *rtmptest.Publisher, _ *rtmptest.OriginConn) error {
			return s.CloseWrite()
		}},
		{proxy.SideClient, "cut", "without a TLS close", func(c *net.TCPConn, _ *tls.Conn, _ *rtmptest.Publisher, _ *rtmptest.OriginConn) error {
			return c.CloseWrite()
		}},
		{proxy.SideClient, "reset", "reset", func(c *net.TCPConn, _ *tls.Conn, _ *rtmptest.Publisher, _ *rtmptest.OriginConn) error {
			_ = c.SetLinger(0)
			return c.Close()
		}},
		{proxy.SideClient, "tls", "record", func(c *net.TCPConn, _ *tls.Conn, _ *rtmptest.Publisher, _ *rtmptest.OriginConn) error {
			_, err := c.Write([]byte("\x17\x03\x03\x00\x20 not what the key would make of it"))
			return err
		}},
		{proxy.SideClient, "protocol", "message of type 16, within", func(_ *net.TCPConn, _ *tls.Conn, p *rtmptest.Publisher, _ *rtmptest.OriginConn) error {
			return p.Send(new(rtmptest.Builder).Message(5, 0, 16, 1, []byte("x")))
		}},
		{proxy.SideOrigin, "closed", "EOF", func(_ *net.TCPConn, _ *tls.Conn, _ *rtmptest.Publisher, o *rtmptest.OriginConn) error {
			o.Close()
			return nil
		}},
	} {
		t.Run(string(c.side)+" "+c.reason, func(t *testing.T) {
			t.Parallel()
			origin := rtmptest.NewOrigin(t, rtmptest.OriginConfig{})
			e := newEdge(t, nil, origin.Addr())
			tcp, s := e.dialTCP(t)
			p, err := rtmptest.Publish(s, rtmptest.PublishConfig{App: "live", Name: "x"})
			if err != nil {
				t.Fatal(err)
			}
			if err := c.end(tcp, s, p, origin.Conn(t, 0)); err != nil {
				t.Fatal(err)
			}
			end := e.events.wait(t, proxy.Ended, nil)
			detail := ""
			if end.Err != nil {
				detail = end.Err.Error()
			}
			if end.Side != c.side || end.Reason != c.reason || !strings.Contains(detail, c.detail) {
				t.Errorf("%s, %s: %s", end.Side, end.Reason, detail)
			}
		})
	}
}

// A stream that ends while others are looked at is left out, and none is seen
// twice.
func TestEachLeavesOutWhatHasEnded(t *testing.T) {
	t.Parallel()
	origin := rtmptest.NewOrigin(t, rtmptest.OriginConfig{})
	e := newEdge(t, nil, origin.Addr())
	for _, name := range []string{"a", "b", "c"} {
		if _, err := publishTo(t, e, name); err != nil {
			t.Fatal(err)
		}
	}
	all := e.List()
	if len(all) != 3 {
		t.Fatalf("%d streams", len(all))
	}
	var seen []string
	e.Each(func(i *proxy.Info) {
		seen = append(seen, i.ID)
		for _, other := range all {
			if found, ok := e.Find(other.ID); !ok || found.Name != other.Name {
				t.Errorf("%s is not found", other.Name)
			}
			if other.ID != i.ID {
				e.Kick(other.ID, "kick")
			}
		}
		for _, other := range all {
			if _, ok := e.Find(other.ID); ok != (other.ID == i.ID) {
				t.Errorf("%s: found %t", other.Name, ok)
			}
		}
	})
	if len(seen) != 1 {
		t.Errorf("seen are %v", seen)
	}
	if _, ok := e.Find("nobody"); ok {
		t.Error("a session that is not there is found")
	}
}
