package proxy_test

import (
	"sync/atomic"
	"testing"
	"time"

	"rtmps-edge/authz"
	"rtmps-edge/proxy"
	"rtmps-edge/rtmp/rtmptest"
)

func publishTo(t *testing.T, e *edge, name string) (*rtmptest.Publisher, error) {
	t.Helper()
	p, err := rtmptest.Publish(e.dial(t), rtmptest.PublishConfig{App: "live", Name: name})
	if err == nil {
		hangsUp(p)
	}
	return p, err
}

func TestDuplicate(t *testing.T) {
	t.Parallel()
	for rule, want := range map[proxy.Duplicate]string{
		"": "NetStream.Publish.BadName", proxy.DuplicateReject: "NetStream.Publish.BadName",
		proxy.DuplicateTakeover: "", proxy.DuplicateSameIP: "",
	} {
		t.Run("rule "+string(rule), func(t *testing.T) {
			t.Parallel()
			origin := rtmptest.NewOrigin(t, rtmptest.OriginConfig{})
			e := newEdge(t, func(p *proxy.Policy) { p.Duplicate = rule }, origin.Addr())
			first, err := publishTo(t, e, "x")
			if err != nil {
				t.Fatal(err)
			}
			go func() { // as an encoder that hangs up when it is told to
				_, _ = first.WaitEnd()
				_ = first.Close()
			}()
			second, err := publishTo(t, e, "x")
			if got := statusCode(err); got != want {
				t.Fatalf("the second publisher: %v", err)
			}
			if want != "" {
				if err := first.WriteVideo(0, []byte{0x17, 1}); err != nil {
					t.Errorf("the first publisher: %v", err)
				}
				_ = first.Stop()
				return
			}
			end := e.events.wait(t, proxy.Ended, nil)
			if end.Reason != "takeover" || end.Side != proxy.SideEdge {
				t.Errorf("the first one's end: %s, %s", end.Side, end.Reason)
			}
			// The origin let go of the name before it was published again.
			if got := origin.Conn(t, 0).Ended(); got == nil {
				t.Error("the origin had two publishers of one name")
			}
			_ = second.Stop()
		})
	}
}

// An encoder that stops and comes back at once is no second publisher, although
// its origin takes its time to let go of the name.
func TestAnEncoderComesBackAtOnce(t *testing.T) {
	t.Parallel()
	letGo := make(chan struct{})
	origin := rtmptest.NewOrigin(t, rtmptest.OriginConfig{Judge: func(_ *rtmptest.OriginConn, m rtmptest.Message) error {
		if c, ok := m.Command(); ok && c.Name == "deleteStream" {
			<-letGo
		}
		return nil
	}})
	e := newEdge(t, nil, origin.Addr())
	p, err := publishTo(t, e, "x")
	if err != nil {
		t.Fatal(err)
	}
	_ = p.Close()
	// Whoever comes before the origin has let go is refused, or waits.
	time.AfterFunc(time.Second/2, func() { close(letGo) })
	p, err = publishTo(t, e, "x")
	if err != nil {
		t.Fatal(err)
	}
	_ = p.Close()
}

func TestRecheck(t *testing.T) {
	t.Parallel()
	origin := rtmptest.NewOrigin(t, rtmptest.OriginConfig{})
	var asked atomic.Int32
	e := newEdge(t, func(p *proxy.Policy) {
		p.Recheck = time.Millisecond
		p.Publish = grants(func(authz.Request) (authz.Grant, error) {
			if asked.Add(1) > 3 {
				return authz.Grant{}, authz.ErrDenied
			}
			return authz.Grant{Subject: "somebody", Name: "x"}, nil
		})
	}, origin.Addr())
	p, err := publishTo(t, e, "x")
	if err != nil {
		t.Fatal(err)
	}
	end := e.events.wait(t, proxy.Ended, nil)
	if end.Reason != "revoked" || end.Side != proxy.SideEdge || asked.Load() != 4 {
		t.Errorf("%s, %s, asked %d times", end.Side, end.Reason, asked.Load())
	}
	_ = p.Close()
}

// An authorizer that cannot answer ends no stream.
func TestRecheckFaultsEndNothing(t *testing.T) {
	t.Parallel()
	origin := rtmptest.NewOrigin(t, rtmptest.OriginConfig{})
	var asked atomic.Int32
	third := make(chan struct{})
	e := newEdge(t, func(p *proxy.Policy) {
		p.Recheck = time.Millisecond
		p.Publish = grants(func(authz.Request) (authz.Grant, error) {
			switch asked.Add(1) {
			case 1:
				return authz.Grant{Subject: "somebody", Name: "x"}, nil
			case 3:
				close(third)
			}
			return authz.Grant{}, errBackend
		})
	}, origin.Addr())
	p, err := publishTo(t, e, "x")
	if err != nil {
		t.Fatal(err)
	}
	select {
	case <-third:
	case <-time.After(rtmptest.Patience):
		t.Fatal("not asked again")
	}
	if err := p.Stop(); err != nil {
		t.Fatal(err)
	}
	if end := e.events.wait(t, proxy.Ended, nil); end.Reason != "finished" {
		t.Errorf("ended by %s, %s", end.Side, end.Reason)
	}
}

// A client that was refused does not lock the name while it is told so.
func TestRefusedClientsHoldNoName(t *testing.T) {
	t.Parallel()
	origin := rtmptest.NewOrigin(t, rtmptest.OriginConfig{RefusePublish: &rtmptest.StatusError{Code: "NetStream.Failed"}})
	e := newEdge(t, nil, origin.Addr())
	for i := range 3 { // and none of them hangs up
		p, err := rtmptest.Publish(e.dial(t), rtmptest.PublishConfig{App: "live", Name: "x"})
		defer p.Abort()
		if got := statusCode(err); got != "NetStream.Failed" {
			t.Errorf("client %d: %v", i+1, err)
		}
	}
}
