package liveorigin

import (
	"errors"
	"net"
	"testing"

	"go.uber.org/goleak"

	"rtmps-edge/rtmp/rtmptest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	header = []byte{0x17, 0, 0, 0, 0, 1}
	key    = []byte{0x17, 1, 0, 0, 0, 2}
	inter  = []byte{0x27, 1, 0, 0, 0, 3}
)

// start runs a server and returns what dials it.
func start(t *testing.T) func() net.Conn {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan struct{})
	go func() { new(Server).Serve(ln); close(served) }()
	t.Cleanup(func() { _ = ln.Close(); <-served })
	return func() net.Conn {
		c, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		return c
	}
}

func publish(t *testing.T, dial func() net.Conn) *rtmptest.Publisher {
	t.Helper()
	p, err := rtmptest.Publish(dial(), rtmptest.PublishConfig{App: "live", Name: "x"})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func video(t *testing.T, p *rtmptest.Publisher, ts uint32, payload []byte) {
	t.Helper()
	if err := p.WriteVideo(ts, payload); err != nil {
		t.Fatal(err)
	}
}

// Who joins gets the headers and the pictures since the last key frame, then
// what comes; when the publisher leaves, the player is told.
func TestPlayersJoinAtAKeyFrame(t *testing.T) {
	dial := start(t)
	p := publish(t, dial)
	video(t, p, 0, header)
	video(t, p, 10, key)
	video(t, p, 20, inter)
	first, err := rtmptest.Play(dial(), rtmptest.PlayConfig{App: "live", Name: "x"})
	if err != nil {
		t.Fatal(err)
	}
	video(t, p, 30, key)
	video(t, p, 40, inter)
	got, err := first.WaitMedia(3) // at least: it may have joined before 30 or after 40
	if err != nil {
		t.Fatal(err)
	}
	if got[0].Sum() != (rtmptest.Message{Type: rtmptest.TypeVideo, Payload: header}).Sum() {
		t.Errorf("a player begins with %v", got[0])
	}
	late, err := rtmptest.Play(dial(), rtmptest.PlayConfig{App: "live", Name: "x"})
	if err != nil {
		t.Fatal(err)
	}
	got, err = late.WaitMedia(3)
	if err != nil {
		t.Fatal(err)
	}
	if got[1].Timestamp != 30 || got[2].Timestamp != 40 {
		t.Errorf("who joins late gets the pictures of %d and %d ms, want those since the last key frame", got[1].Timestamp, got[2].Timestamp)
	}
	if err := p.Stop(); err != nil {
		t.Fatal(err)
	}
	if err := late.WaitStatus("NetStream.Play.Stop"); err != nil {
		t.Error(err)
	}
}

func TestANameHasOnePublisher(t *testing.T) {
	dial := start(t)
	p := publish(t, dial)
	_, err := rtmptest.Publish(dial(), rtmptest.PublishConfig{App: "live", Name: "x"})
	var refused *rtmptest.StatusError
	if !errors.As(err, &refused) || refused.Code != "NetStream.Publish.BadName" {
		t.Errorf("a second publisher hears %v", err)
	}
	video(t, p, 0, key) // the first goes on
	if err := p.Stop(); err != nil {
		t.Fatal(err)
	}
}
