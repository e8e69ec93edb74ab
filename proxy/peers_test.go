package proxy_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/bluenviron/gortmplib"
	"github.com/bluenviron/gortmplib/pkg/amf0"
	"github.com/bluenviron/gortmplib/pkg/message"
	yutopp "github.com/yutopp/go-rtmp"
	yutoppmsg "github.com/yutopp/go-rtmp/message"

	"rtmps-edge/authz"
	"rtmps-edge/proxy"
	"rtmps-edge/rtmp/rtmptest"
)

// These tests have somebody else's RTMP on both sides of the edge: bluenviron's
// gortmplib, which MediaMTX is built on, and yutopp's go-rtmp. Neither shares
// anything with ours but the specification.

// frame is a message of audio or video, in the parts that gortmplib has.
type frame struct {
	video bool
	time  time.Duration
	key   bool
	kind  uint8 // 0 configuration, 1 coded
	size  int
}

// frames are H.264 and AAC in all sizes around those of chunks.
var frames = []frame{
	{video: true, key: true, kind: 0, size: 40}, {kind: 0, size: 2},
	{video: true, key: true, kind: 1, size: 150000}, {kind: 1, size: 300},
	{video: true, time: 40 * time.Millisecond, kind: 1, size: 65536 - 5}, {time: 21 * time.Millisecond, kind: 1, size: 126},
	{video: true, time: 80 * time.Millisecond, kind: 1, size: 65536 - 4}, {time: 42 * time.Millisecond, kind: 1, size: 127},
	{video: true, time: 17000 * time.Second, key: true, kind: 1, size: 70000}, {time: 17000 * time.Second, kind: 1, size: 200},
	{video: true, time: 17000*time.Second + 40*time.Millisecond, kind: 1, size: 100}, {time: 17000*time.Second + 21*time.Millisecond, kind: 1, size: 1},
}

// lateFramesInOneChunk are the same for go-rtmp as an origin, which does not read
// extended timestamps in the continuations that everybody else sends.
func lateFramesInOneChunk() []frame {
	list := slices.Clone(frames)
	for i := range list {
		if list[i].time.Milliseconds() >= 0xFFFFFF {
			list[i].size = min(list[i].size, 60000)
		}
	}
	return list
}

func (f frame) data() []byte {
	return bytes.Repeat([]byte{byte(f.size), byte(f.size >> 8), 0xA5, byte(f.time / time.Millisecond)}, f.size/4+1)[:f.size]
}

// payload is the frame as a tag, as it stands on the wire.
func (f frame) payload() []byte {
	switch {
	case f.video && f.key:
		return append([]byte{0x17, f.kind, 0, 0, 0}, f.data()...)
	case f.video:
		return append([]byte{0x27, f.kind, 0, 0, 0}, f.data()...)
	}
	return append([]byte{0xAF, f.kind}, f.data()...)
}

// told is what a receiver saw of a frame.
type told struct {
	video bool
	ms    int64
	sum   [32]byte
}

func (f frame) told() told {
	return told{f.video, f.time.Milliseconds(), sha256.Sum256(f.payload())}
}

// receiver collects what arrives.
type receiver struct {
	want []frame
	mu   sync.Mutex
	got  []told
	all  chan struct{} // closed when as many as there are frames are there
	name string        // the path or stream name that was asked for
}

func receiverOf(want []frame) *receiver { return &receiver{want: want, all: make(chan struct{})} }

func (r *receiver) add(video bool, ms int64, payload []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.got = append(r.got, told{video, ms, sha256.Sum256(payload)})
	if len(r.got) == len(r.want) {
		close(r.all)
	}
}

func (r *receiver) called(name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.name = name
}

// check waits for all frames. Audio and video each keep their order.
func (r *receiver) check(t *testing.T, name string) {
	t.Helper()
	select {
	case <-r.all:
	case <-time.After(rtmptest.Patience):
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if name != "" && r.name != name {
		t.Errorf("asked for %q, want %q", r.name, name)
	}
	for _, video := range []bool{true, false} {
		var want, got []told
		for _, f := range r.want {
			if f.video == video {
				want = append(want, f.told())
			}
		}
		for _, x := range r.got {
			if x.video == video {
				got = append(got, x)
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("video %v: %d of %d frames arrived, or they differ", video, len(got), len(want))
		}
	}
}

// ---- gortmplib

// gortmpMessage is a frame in gortmplib's terms.
func gortmpMessage(f frame) message.Message {
	if f.video {
		return &message.Video{ChunkStreamID: message.VideoChunkStreamID, MessageStreamID: 0x1000000, Codec: message.CodecH264,
			IsKeyFrame: f.key, Type: message.VideoType(f.kind), DTS: f.time, Payload: f.data()}
	}
	return &message.Audio{ChunkStreamID: message.AudioChunkStreamID, MessageStreamID: 0x1000000, Codec: message.CodecMPEG4Audio,
		Rate: message.AudioRate44100, Depth: message.AudioDepth16, IsStereo: true, AACType: message.AudioAACType(f.kind), DTS: f.time, Payload: f.data()}
}

// take reads until the other side ends.
func (r *receiver) take(c gortmplib.Conn) error {
	for {
		m, err := c.Read()
		if err != nil {
			return err
		}
		switch m := m.(type) {
		case *message.Video:
			f := frame{video: true, key: m.IsKeyFrame, kind: uint8(m.Type)}
			r.add(true, m.DTS.Milliseconds(), append(f.payload(), m.Payload...))
		case *message.Audio:
			f := frame{kind: uint8(m.AACType)}
			r.add(false, m.DTS.Milliseconds(), append(f.payload(), m.Payload...))
		}
	}
}

func say(c gortmplib.Conn, list []frame) error {
	err := c.Write(&message.DataAMF0{ChunkStreamID: 4, MessageStreamID: 0x1000000,
		Payload: amf0.Data{"@setDataFrame", "onMetaData", amf0.ECMAArray{{Key: "width", Value: 320.0}}}})
	for _, f := range list {
		if err == nil {
			err = c.Write(gortmpMessage(f))
		}
	}
	return err
}

// gortmpClient connects and asks for the stream.
func gortmpClient(t *testing.T, e *edge, name string, publish bool) (*gortmplib.Client, error) {
	t.Helper()
	u, err := url.Parse("rtmps://" + e.addr + "/live/" + name)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), rtmptest.Patience)
	defer cancel()
	c := &gortmplib.Client{URL: u, TLSConfig: &tls.Config{InsecureSkipVerify: true}, Publish: publish}
	return c, c.Initialize(ctx)
}

// gortmpPublisher publishes until end is called.
func gortmpPublisher(t *testing.T, e *edge, name string, list []frame) (end func()) {
	c, err := gortmpClient(t, e, name, true)
	if err != nil {
		t.Fatalf("gortmplib as publisher: %v", err)
	}
	if err := say(c, list); err != nil {
		t.Errorf("gortmplib as publisher: %v", err)
	}
	return c.Close
}

// gortmpOrigin serves one stream with gortmplib.
func gortmpOrigin(t *testing.T, r *receiver) string {
	return serveOne(t, func(c net.Conn) error {
		s := &gortmplib.ServerConn{RW: c}
		if err := s.Initialize(); err != nil {
			return err
		}
		if err := s.Accept(); err != nil {
			return err
		}
		r.called(s.URL.Path)
		if s.Publish {
			return r.take(s)
		}
		if err := say(s, frames); err != nil {
			return err
		}
		return r.take(s) // until the player goes
	})
}

// serveOne runs a server for one connection, and wants it to end well.
func serveOne(t *testing.T, serve func(net.Conn) error) string {
	t.Helper()
	ln := listen(t)
	done := make(chan error, 1)
	go func() {
		c, err := ln.Accept()
		if err != nil {
			done <- err
			return
		}
		defer func() { _ = c.Close() }()
		done <- serve(c)
	}()
	t.Cleanup(func() {
		_ = ln.Close()
		if err := <-done; err != nil && !errors.Is(err, io.EOF) {
			t.Errorf("the origin: %v", err)
		}
	})
	return ln.Addr().String()
}

// ---- go-rtmp

// yutoppPublisher publishes until end is called.
func yutoppPublisher(t *testing.T, e *edge, name string, list []frame) (end func()) {
	c, err := yutopp.TLSDial("rtmps", e.addr, &yutopp.ConnConfig{}, &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatalf("go-rtmp as publisher: %v", err)
	}
	end = func() { _ = c.Close() }
	err = c.Connect(&yutoppmsg.NetConnectionConnect{Command: yutoppmsg.NetConnectionConnectCommand{App: "live", TCURL: "rtmps://edge.test/live"}})
	if err != nil {
		t.Fatalf("go-rtmp as publisher: connect: %v", err)
	}
	s, err := c.CreateStream(nil, 4096)
	if err != nil {
		t.Fatalf("go-rtmp as publisher: createStream: %v", err)
	}
	// It does not wait for an answer: what follows is on its way before the
	// edge has asked the origin.
	err = s.Publish(&yutoppmsg.NetStreamPublish{PublishingName: name, PublishingType: "live"})
	for _, f := range list {
		if err == nil {
			err = yutoppWrite(s, f)
		}
	}
	if err != nil {
		t.Errorf("go-rtmp as publisher: %v", err)
	}
	return end
}

func yutoppWrite(s *yutopp.Stream, f frame) error {
	ms := uint32(f.time.Milliseconds())
	if f.video {
		return s.Write(6, ms, &yutoppmsg.VideoMessage{Payload: bytes.NewReader(f.payload())})
	}
	return s.Write(5, ms, &yutoppmsg.AudioMessage{Payload: bytes.NewReader(f.payload())})
}

// yutoppHandler takes a published stream.
type yutoppHandler struct {
	yutopp.DefaultHandler
	r *receiver
}

func (h *yutoppHandler) OnPublish(_ *yutopp.StreamContext, _ uint32, cmd *yutoppmsg.NetStreamPublish) error {
	h.r.called(cmd.PublishingName)
	return nil
}

func (h *yutoppHandler) OnAudio(ms uint32, p io.Reader) error { return h.media(false, ms, p) }
func (h *yutoppHandler) OnVideo(ms uint32, p io.Reader) error { return h.media(true, ms, p) }

func (h *yutoppHandler) media(video bool, ms uint32, p io.Reader) error {
	b, err := io.ReadAll(p)
	h.r.add(video, int64(ms), b)
	return err
}

func yutoppOrigin(t *testing.T, r *receiver) string {
	t.Helper()
	ln := listen(t)
	srv := yutopp.NewServer(&yutopp.ServerConfig{OnConnect: func(c net.Conn) (io.ReadWriteCloser, *yutopp.ConnConfig) {
		return c, &yutopp.ConnConfig{Handler: &yutoppHandler{r: r}}
	}})
	done := make(chan error, 1)
	go func() { done <- srv.Serve(ln) }()
	t.Cleanup(func() {
		_ = srv.Close()
		if err := <-done; !errors.Is(err, yutopp.ErrClosed) {
			t.Errorf("go-rtmp as origin: %v", err)
		}
	})
	return ln.Addr().String()
}

// ---- every publisher to every origin

func TestPeersPublish(t *testing.T) {
	publishers := map[string]func(*testing.T, *edge, string, []frame) func(){"gortmplib": gortmpPublisher, "go-rtmp": yutoppPublisher}
	origins := map[string]func(*testing.T, *receiver) string{"gortmplib": gortmpOrigin, "go-rtmp": yutoppOrigin}
	lists := map[string][]frame{"gortmplib": frames, "go-rtmp": lateFramesInOneChunk()}
	names := map[string]string{"gortmplib": "/live/granted", "go-rtmp": "granted"}
	for from, publish := range publishers {
		for to, origin := range origins {
			t.Run(fmt.Sprintf("%s to %s", from, to), func(t *testing.T) {
				t.Parallel()
				r := receiverOf(lists[to])
				e := newEdge(t, anyKey("granted"), origin(t, r))
				end := publish(t, e, "key", lists[to])
				r.check(t, names[to])
				end()
			})
		}
		t.Run(from+" to a strict origin", func(t *testing.T) {
			t.Parallel()
			origin := rtmptest.NewOrigin(t, rtmptest.OriginConfig{Mode: rtmptest.Strict})
			e := newEdge(t, anyKey("granted"), origin.Addr())
			defer publish(t, e, "key", frames)()
			c := origin.Conn(t, 0)
			msgs, err := c.WaitMedia(len(frames))
			if err != nil {
				t.Fatal(err)
			}
			r := receiverOf(frames)
			for _, m := range msgs {
				r.add(m.Type == rtmptest.TypeVideo, int64(m.Timestamp), m.Payload)
			}
			r.check(t, "")
		})
	}
}

func TestPeersPlay(t *testing.T) {
	for name, start := range map[string]func(*testing.T) string{
		"from gortmplib": func(t *testing.T) string { return gortmpOrigin(t, receiverOf(frames)) },
		"from a strict origin": func(t *testing.T) string {
			var list []rtmptest.Message
			for _, f := range frames {
				typ := map[bool]uint8{true: rtmptest.TypeVideo, false: rtmptest.TypeAudio}[f.video]
				list = append(list, rtmptest.Message{Type: typ, Timestamp: uint32(f.time.Milliseconds()), Payload: f.payload()})
			}
			return rtmptest.NewOrigin(t, rtmptest.OriginConfig{Play: list, Interleave: true}).Addr()
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newEdge(t, anyKey("granted"), start(t))
			c, err := gortmpClient(t, e, "key", false)
			if err != nil {
				t.Fatalf("gortmplib as player: %v", err)
			}
			defer c.Close()
			r := receiverOf(frames)
			read := make(chan struct{})
			go func() { defer close(read); _ = r.take(c) }()
			r.check(t, "")
			c.Close()
			<-read
		})
	}
}

// TestPeersAreRefused: they understand what they are told.
func TestPeersAreRefused(t *testing.T) {
	deny := func(p *proxy.Policy) {
		no := grants(func(authz.Request) (authz.Grant, error) { return authz.Grant{}, authz.ErrDenied })
		p.Publish, p.Play = no, no
	}
	for _, publish := range []bool{true, false} {
		t.Run(fmt.Sprintf("publish %v", publish), func(t *testing.T) {
			t.Parallel()
			origin := rtmptest.NewOrigin(t, rtmptest.OriginConfig{})
			e := newEdge(t, deny, origin.Addr())
			c, err := gortmpClient(t, e, "key", publish)
			if err == nil {
				c.Close()
				t.Error("gortmplib believes that it was accepted")
			}
			if len(origin.Conns()) != 0 {
				t.Error("the origin heard of it")
			}
		})
	}
}
