package proxy_test

import (
	"context"
	"net"
	"testing"
	"time"

	"rtmps-edge/proxy"
	"rtmps-edge/rtmp/rtmptest"
)

func TestCheck(t *testing.T) {
	t.Parallel()
	well := rtmptest.NewOrigin(t, rtmptest.OriginConfig{})
	refuses := rtmptest.NewOrigin(t, rtmptest.OriginConfig{CloseAt: rtmptest.StepConnect})
	for name, address := range map[string]string{"answers": well.Addr(), "closes after connect": refuses.Addr()} {
		o := &proxy.Origin{}
		if err := o.Check(context.Background(), address); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestCheckFindsWhatIsNoRTMPServer(t *testing.T) {
	t.Parallel()
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = silent.Close() }()
	o := &proxy.Origin{DialTimeout: 100 * time.Millisecond}
	if err := o.Check(context.Background(), silent.Addr().String()); err == nil {
		t.Error("a server that says nothing is well")
	}
	_ = silent.Close()
	if err := o.Check(context.Background(), silent.Addr().String()); err == nil {
		t.Error("a server that is not there is well")
	}
}

// A publisher gets to a server that works, whichever is first, and the checks
// end with the edge.
func TestUnhealthyServersAreAvoided(t *testing.T) {
	t.Parallel()
	gone, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = gone.Close()
	well := rtmptest.NewOrigin(t, rtmptest.OriginConfig{})
	e := newEdge(t, func(p *proxy.Policy) { p.Origins[0].HealthEvery = time.Millisecond }, gone.Addr().String(), well.Addr())
	p, err := rtmptest.Publish(e.dial(t), rtmptest.PublishConfig{App: "live", Name: "x"})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = p.Close() }()
	if got := e.events.wait(t, proxy.Started, nil).Server; got != well.Addr() {
		t.Errorf("the stream is at %s", got)
	}
}

// An origin that closes in the middle of the dialogue has refused: it is asked
// once, it is not taken for down, and the client is told at once.
func TestAnOriginThatHangsUpHasRefused(t *testing.T) {
	t.Parallel()
	for _, step := range []rtmptest.Step{rtmptest.StepConnect, rtmptest.StepPublish} {
		refuses := rtmptest.NewOrigin(t, rtmptest.OriginConfig{CloseAt: step})
		other := rtmptest.NewOrigin(t, rtmptest.OriginConfig{})
		e := newEdge(t, nil, refuses.Addr(), other.Addr())
		_, err := rtmptest.Publish(e.dial(t), rtmptest.PublishConfig{App: "live", Name: "x"})
		if statusCode(err) != "NetStream.Failed" {
			t.Errorf("closes at %s: %v", step, err)
		}
		if n, m := len(refuses.Conns()), len(other.Conns()); n != 1 || m != 0 {
			t.Errorf("closes at %s: asked %d times, the next server %d times", step, n, m)
		}
	}
}
