package proxy_test

import (
	"fmt"
	"net"
	"slices"
	"testing"

	"rtmps-edge/authz"
	"rtmps-edge/internal/corpus"
	"rtmps-edge/proxy"
	"rtmps-edge/rtmp/rtmptest"
)

// anyKey grants whatever real clients used as keys, odd ones too.
func anyKey(name string) func(*proxy.Policy) {
	return func(p *proxy.Policy) {
		all := grants(func(authz.Request) (authz.Grant, error) {
			return authz.Grant{Subject: "any", Name: name, App: "live"}, nil
		})
		p.Publish, p.Play = all, all
	}
}

func TestEveryRecordedPublisherArrivesAtTheOrigin(t *testing.T) {
	for _, s := range corpus.Publishing(t) {
		for i, c := range s.Conns() {
			t.Run(fmt.Sprintf("%s/%d", s.Name, i+1), func(t *testing.T) {
				t.Parallel()
				replayPublisher(t, c.C2S)
			})
		}
	}
}

func replayPublisher(t *testing.T, c2s []byte) {
	want := []rtmptest.Message{}
	if len(c2s) > rtmptest.HandshakeLen {
		var err error
		if want, _, err = rtmptest.Parse(c2s[rtmptest.HandshakeLen:], rtmptest.Lenient); err != nil {
			t.Fatal(err)
		}
	}
	origin := rtmptest.NewOrigin(t, rtmptest.OriginConfig{Mode: rtmptest.Strict})
	e := newEdge(t, anyKey("granted"), origin.Addr())
	got, err := rtmptest.Replay(e.dial(t), c2s)
	asked := slices.ContainsFunc(want, func(m rtmptest.Message) bool {
		c, ok := m.Command()
		return ok && c.Name == "publish"
	})
	if !asked {
		if n := len(origin.Conns()); n != 0 {
			t.Errorf("the origin heard of a client that never asked: %d connections", n)
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range got.Breaches {
		t.Errorf("to the client: %v", b)
	}
	c := origin.Conn(t, 0)
	if _, err := c.WaitEnd(); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(c.Media(), rtmptest.MediaOf(want)) {
		t.Errorf("the origin got %d media messages, the transcript has %d, or they differ", len(c.Media()), len(rtmptest.MediaOf(want)))
	}
	if c.App() != "live" || c.TcURL() != "rtmp://"+origin.Addr()+"/live" {
		t.Errorf("app %q, tcUrl %q", c.App(), c.TcURL())
	}
	for _, n := range c.Names() {
		if n.Name != "granted" {
			t.Errorf("%s carries %q", n.Command, n.Name)
		}
	}
}

func TestEveryRecordedPlayerGetsTheStream(t *testing.T) {
	for _, s := range corpus.Playing(t) {
		t.Run(s.Name, func(t *testing.T) {
			t.Parallel()
			tr, err := rtmptest.PlayTranscript(s.S2C)
			if err != nil {
				t.Fatal(err)
			}
			want := rtmptest.MediaOf(tr.Messages)
			origin := rtmptest.NewOrigin(t, rtmptest.OriginConfig{Mode: rtmptest.Strict, Transcript: tr})
			e := newEdge(t, anyKey("granted"), origin.Addr())
			got, err := rtmptest.ReplayPlay(e.dial(t), s.C2S, len(want))
			if err != nil {
				t.Fatal(err)
			}
			if media := rtmptest.MediaOf(got.Messages); !slices.Equal(media, want) {
				t.Errorf("the player got %d media messages, the origin sent %d, or they differ", len(media), len(want))
			}
			for _, b := range got.Breaches {
				t.Errorf("to the client: %v", b)
			}
		})
	}
}

func TestAttacks(t *testing.T) {
	target := rtmptest.Target{App: "live", TcURL: "rtmps://edge.test/live", Name: "k-Secret-1", OriginApp: "live", OriginName: "granted"}
	for _, a := range rtmptest.Attacks() {
		t.Run(a.Name, func(t *testing.T) {
			t.Parallel()
			origin := rtmptest.NewOrigin(t, rtmptest.OriginConfig{Mode: rtmptest.Strict})
			e := newEdge(t, func(p *proxy.Policy) {
				p.Publish = onlyKey(target.Name, "live", "granted")
			}, origin.Addr())
			rtmptest.RunAttack(t, func() net.Conn { return e.dial(t) }, origin, target, a)
		})
	}
}
