package proxy_test

import (
	"strings"
	"sync"
	"testing"
	"time"

	"rtmps-edge/authz"
	"rtmps-edge/proxy"
	"rtmps-edge/rtmp/rtmptest"
)

// overs counts how often each grant heard that it is over.
type overs struct {
	mu sync.Mutex
	n  map[string]int
}

type over struct {
	all  *overs
	name string
}

func (o over) Ended() {
	o.all.mu.Lock()
	defer o.all.mu.Unlock()
	o.all.n[o.name]++
}

func (o *overs) count(name string) int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.n[name]
}

// What was granted hears once that it is over, whatever became of it.
func TestGrantsHearTheirEnd(t *testing.T) {
	t.Parallel()
	origin := rtmptest.NewOrigin(t, rtmptest.OriginConfig{})
	all := &overs{n: map[string]int{}}
	e := newEdge(t, func(p *proxy.Policy) {
		p.Publish = grants(func(r authz.Request) (authz.Grant, error) {
			key := r.Key.Reveal()
			g := authz.Grant{Name: strings.TrimSuffix(key, "-again"), OnEnd: over{all, key}}
			switch key {
			case "denied":
				return authz.Grant{}, authz.ErrDenied
			case "nowhere":
				g.Origin = "nowhere"
			}
			return g, nil
		})
	}, origin.Addr())
	p, err := publishTo(t, e, "x")
	if err != nil {
		t.Fatal(err)
	}
	for _, refused := range []string{"denied", "nowhere", "x-again"} {
		if _, err := publishTo(t, e, refused); err == nil {
			t.Errorf("%s was published", refused)
		}
	}
	if n := all.count("x"); n != 0 {
		t.Errorf("heard %d times while it runs", n)
	}
	if err := p.Stop(); err != nil {
		t.Fatal(err)
	}
	limit := time.After(rtmptest.Patience)
	for name, want := range map[string]int{"x": 1, "nowhere": 1, "x-again": 1, "denied": 0} {
		for all.count(name) != want {
			select {
			case <-limit:
				t.Fatalf("%s: heard %d times, want %d", name, all.count(name), want)
			case <-time.After(time.Millisecond):
			}
		}
	}
}

// The question names the session and the client, and says whether its stream
// runs.
func TestQuestion(t *testing.T) {
	t.Parallel()
	origin := rtmptest.NewOrigin(t, rtmptest.OriginConfig{})
	questions := make(chan authz.Request, 100)
	e := newEdge(t, func(p *proxy.Policy) {
		p.Recheck = time.Millisecond
		p.Publish = grants(func(r authz.Request) (authz.Grant, error) {
			select {
			case questions <- r:
			default:
			}
			return authz.Grant{Name: "x"}, nil
		})
	}, origin.Addr())
	const tcURL = "rtmps://edge.test/live"
	p, err := rtmptest.Publish(e.dial(t), rtmptest.PublishConfig{App: "live", TcURL: tcURL, Name: "x?token=t"})
	if err != nil {
		t.Fatal(err)
	}
	first, second := <-questions, <-questions
	started := e.events.wait(t, proxy.Started, nil)
	if first.ID != started.Session || first.ID == "" || first.Encoder != started.Encoder || first.TcURL.Reveal() != tcURL || first.Running != 0 {
		t.Errorf("got %+v", first)
	}
	if second.ID != first.ID || second.Running <= 0 || !second.Query.Equal(first.Query) || second.Query.Reveal() != "token=t" {
		t.Errorf("asked again: %+v", second)
	}
	_ = p.Stop()
}
