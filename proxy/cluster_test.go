package proxy_test

import (
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"

	"rtmps-edge/authz"
	"rtmps-edge/internal/secret"
	"rtmps-edge/proxy"
	"rtmps-edge/ratelimit"
	"rtmps-edge/rtmp/rtmptest"
)

// newEdges starts edges that share a Redis, in front of one origin.
func newEdges(t *testing.T, n int, change func(*proxy.Policy), origin *rtmptest.Origin) (*miniredis.Miniredis, []*edge) {
	t.Helper()
	m := miniredis.RunT(t)
	edges := make([]*edge, n)
	for i := range edges {
		p := &proxy.Policy{Publish: authz.Open{}, Play: authz.Open{}, Origins: []*proxy.Origin{{Name: "main", Servers: []string{origin.Addr()}}},
			Limits: proxy.Limits{SetupTimeout: 10 * time.Second}}
		if change != nil {
			change(p)
		}
		l, err := ratelimit.NewLimiter(ratelimit.LimiterConfig{Cluster: ratelimit.ClusterConfig{
			URL: secret.New("redis://" + m.Addr()), AdmitTimeout: rtmptest.Patience}})
		if err != nil {
			t.Fatal(err)
		}
		e := &edge{policy: p, plain: true, limits: l}
		e.serve(t, listen(t))
		t.Cleanup(func() { e.end(t) })
		eventually(t, "the edge has joined", l.Cluster.Up)
		edges[i] = e
	}
	return m, edges
}

func TestDuplicateOfAnotherEdge(t *testing.T) {
	t.Parallel()
	for rule, want := range map[proxy.Duplicate]string{
		"": "NetStream.Publish.BadName", proxy.DuplicateTakeover: "", proxy.DuplicateSameIP: "",
	} {
		t.Run("rule "+string(rule), func(t *testing.T) {
			t.Parallel()
			origin := rtmptest.NewOrigin(t, rtmptest.OriginConfig{})
			_, e := newEdges(t, 2, func(p *proxy.Policy) { p.Duplicate = rule }, origin)
			first, err := publishTo(t, e[0], "x")
			if err != nil {
				t.Fatal(err)
			}
			go func() { // as an encoder that hangs up when it is told to
				_, _ = first.WaitEnd()
				_ = first.Close()
			}()
			second, err := publishTo(t, e[1], "x")
			if got := statusCode(err); got != want {
				t.Fatalf("the second publisher: %v", err)
			}
			if want != "" {
				if err := first.WriteVideo(0, []byte{0x17, 1}); err != nil {
					t.Errorf("the first publisher: %v", err)
				}
				refused := e[1].events.wait(t, proxy.Refused, nil)
				if refused.Stage != proxy.StageOrigin || refused.Reason != "duplicate" {
					t.Errorf("refused at %s: %s", refused.Stage, refused.Reason)
				}
				_ = first.Stop()
				return
			}
			if end := e[0].events.wait(t, proxy.Ended, nil); end.Reason != "takeover" || end.Side != proxy.SideEdge {
				t.Errorf("the first one's end: %s, %s", end.Side, end.Reason)
			}
			if origin.Conn(t, 0).Ended() == nil {
				t.Error("the origin had two publishers of one name")
			}
			_ = second.Stop()
		})
	}
}

func TestStreamsPerSubjectOverEdges(t *testing.T) {
	t.Parallel()
	origin := rtmptest.NewOrigin(t, rtmptest.OriginConfig{})
	_, e := newEdges(t, 2, func(p *proxy.Policy) {
		p.Publish = grants(byKey)
		p.Limits.Streams.PerSubject = 1
	}, origin)
	first, err := publishTo(t, e[0], "one")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := publishTo(t, e[1], "two"); statusCode(err) != "NetStream.Publish.Rejected" {
		t.Fatalf("got %v", err)
	}
	_ = first.Stop()
	_ = first.Close()
	e[0].events.wait(t, proxy.Ended, nil)
	eventually(t, "the place is free", func() bool {
		p, err := publishTo(t, e[1], "two")
		if err == nil {
			_ = p.Stop()
		}
		return err == nil
	})
}

// A kick and a ban reach the edge that has the session, and all others.
func TestKickFromAnotherEdge(t *testing.T) {
	t.Parallel()
	origin := rtmptest.NewOrigin(t, rtmptest.OriginConfig{})
	_, e := newEdges(t, 2, nil, origin)
	if _, err := publishTo(t, e[0], "x"); err != nil {
		t.Fatal(err)
	}
	id := e[0].events.wait(t, proxy.Started, nil).Session
	if found, err := e[1].KickAnywhere(t.Context(), id, time.Minute); !found || err != nil {
		t.Fatalf("got %v, %v", found, err)
	}
	if end := e[0].events.wait(t, proxy.Ended, nil); end.Reason != "kick" {
		t.Errorf("ended: %s", end.Reason)
	}
	wantClosed(t, e[0])
	eventually(t, "the other edge knows of the ban", func() bool { return e[1].Limiter().Bans.Len() == 1 })
	wantClosed(t, e[1])
	if found, err := e[1].KickAnywhere(t.Context(), "none", 0); found || err != nil {
		t.Errorf("got %v, %v", found, err)
	}
	if n := e[1].events.count(proxy.Banned); n != 0 {
		t.Errorf("one ban was told of by %d edges more", n)
	}
}

// Redis goes away in the midst of streams, and comes back empty: nothing of it
// reaches the streams.
func TestStreamsOutliveRedis(t *testing.T) {
	t.Parallel()
	origin := rtmptest.NewOrigin(t, rtmptest.OriginConfig{})
	m, e := newEdges(t, 2, nil, origin)
	p, err := publishTo(t, e[0], "x")
	if err != nil {
		t.Fatal(err)
	}
	m.Close()
	if _, err := publishTo(t, e[1], "y"); err != nil {
		t.Errorf("without Redis: %v", err)
	}
	m.FlushAll()
	if err := m.Restart(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "both are back", func() bool { return e[0].limits.Cluster.Up() && e[1].limits.Cluster.Up() })
	eventually(t, "the name is known again", func() bool {
		_, err := publishTo(t, e[1], "x")
		return statusCode(err) == "NetStream.Publish.BadName"
	})
	if err := p.WriteVideo(0, []byte{0x17, 1}); err != nil {
		t.Error(err)
	}
	if _, err := origin.Conn(t, 0).WaitMedia(1); err != nil {
		t.Error(err)
	}
}
