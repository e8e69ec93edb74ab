package e2e

import (
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"rtmps-edge/rtmp/rtmptest"
)

// redisServer is a real one, on a port of its own, that keeps nothing on disk.
type redisServer struct {
	*process
	port string
}

func startRedis(t testing.TB, port int) *redisServer {
	t.Helper()
	r := &redisServer{port: strconv.Itoa(port)}
	r.process = start(t, exec.Command(program(t, "redis-server"), "--bind", "127.0.0.1", "--port", r.port,
		"--save", "", "--appendonly", "no", "--dir", t.TempDir(), "--daemonize", "no"))
	r.waitText(t, "Ready to accept connections")
	return r
}

func (r *redisServer) url() string { return "redis://127.0.0.1:" + r.port }

// clusterLimits leave a busy machine time, and the tests' one address its rate.
const clusterLimits = "setup_timeout = \"60s\"\nconnect_rate_per_ip = \"0\"\n"

// startCluster runs edges that share a Redis, in front of one origin.
func startCluster(t testing.TB, n int, r *redisServer, origin *rtmptest.Origin, limits string, keys ...streamKey) []*edge {
	t.Helper()
	edges := make([]*edge, n)
	for i := range edges {
		edges[i] = startEdge(t, settings{Origin: origin.Addr(), Redis: r.url(), Limits: clusterLimits + limits, Admin: "127.0.0.1:0", AtOrigin: `health_every = "0"`}, keys...)
	}
	for _, e := range edges {
		e.joined(t, 1)
	}
	return edges
}

// joined waits until the edge has said n times that Redis can be used.
func (e *edge) joined(t testing.TB, n int) {
	t.Helper()
	eventually(t, "the edge to find Redis", func() error {
		if got := e.records(map[string]string{"msg": "Redis can be used: limits hold across all edges"}); got < n {
			return fmt.Errorf("it has said so %d times, not %d", got, n)
		}
		return nil
	})
	e.clusterUp(t, "1")
}

// lost waits until the edge has said that Redis is gone, and wants it said once.
func (e *edge) lost(t testing.TB) {
	t.Helper()
	gone := map[string]string{"level": "warning", "msg": "Redis cannot be used: streams go on, and this edge's own limits hold until it can"}
	e.record(t, "the loss of Redis", gone)
	if n := e.records(gone); n != 1 {
		t.Errorf("the edge says %d times that Redis is gone", n)
	}
	e.clusterUp(t, "0")
}

// clusterUp wants the metric to say so.
func (e *edge) clusterUp(t testing.TB, want string) {
	t.Helper()
	eventually(t, "the metric of Redis", func() error {
		if _, body := e.ask(t, "/metrics"); !strings.Contains(body, "\nrtmps_edge_cluster_up "+want+"\n") {
			return errors.New("rtmps_edge_cluster_up is not " + want)
		}
		return nil
	})
}

// publishes publishes through e until the stream has started; the error is the
// refusal.
func (e *edge) publishes(t testing.TB, key string) (*rtmptest.Publisher, error) {
	t.Helper()
	c, err := e.dial(t)
	if err != nil {
		return nil, err
	}
	p, err := rtmptest.Publish(c, rtmptest.PublishConfig{App: "live", Name: key})
	if err != nil {
		p.Abort()
		return nil, err
	}
	keepSending(t, p)
	return p, nil
}

func (e *edge) mustPublish(t testing.TB, key string) *rtmptest.Publisher {
	t.Helper()
	p, err := e.publishes(t, key)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// keepSending sends until p or the test is over: who sends nothing for 10 s loses
// its name to anybody.
func keepSending(t testing.TB, p *rtmptest.Publisher) {
	var wg sync.WaitGroup
	stop := make(chan struct{})
	wg.Go(func() {
		tick := time.NewTicker(pollEvery)
		defer tick.Stop()
		for ts := uint32(0); p.WriteVideo(ts, []byte{0x17, 1, 0, 0, 0}) == nil; ts += uint32(pollEvery.Milliseconds()) {
			select {
			case <-tick.C:
			case <-stop:
				return
			}
		}
	})
	t.Cleanup(func() {
		close(stop)
		p.Abort()
		wg.Wait()
	})
}

func codeOf(err error) string {
	var s *rtmptest.StatusError
	if errors.As(err, &s) {
		return s.Code
	}
	return fmt.Sprint(err)
}

// mustRefuse wants a refusal with that code.
func (e *edge) mustRefuse(t testing.TB, key, code string) {
	t.Helper()
	if _, err := e.publishes(t, key); codeOf(err) != code {
		t.Errorf("got %v, want %s", err, code)
	}
}

// steer runs a command of the program that steers this edge.
func (e *edge) steer(t testing.TB, args ...string) string {
	t.Helper()
	at := strings.TrimSuffix(strings.TrimPrefix(e.dashboard(t), "http://"), "/")
	out, err := e.command(t, append(args, "--admin", at)...).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %v\n%s", args, err, out)
	}
	return string(out)
}

func (e *edge) sessionOf(t testing.TB, subject string) string {
	t.Helper()
	body, err := get(e.dashboard(t) + "api/v1/sessions")
	if err != nil {
		t.Fatal(err)
	}
	var list []struct{ ID, Subject string }
	if err := json.Unmarshal(body, &list); err != nil {
		t.Fatal(err)
	}
	for _, s := range list {
		if s.Subject == subject {
			return s.ID
		}
	}
	t.Fatalf("no session of %s: %s", subject, body)
	return ""
}

// Limits, names, kicks and bans hold across three edges.
func TestClusterHolds(t *testing.T) {
	t.Parallel()
	r, origin := startRedis(t, freePort(t)), rtmptest.NewOrigin(t, rtmptest.OriginConfig{})
	alice, bob := newKey("alice"), newKey("bob")
	e := startCluster(t, 3, r, origin, "connections_per_ip = 12\nauth_failures = \"7/h\"", alice, bob)

	// The name.
	first := e[0].mustPublish(t, alice.text)
	e[1].mustRefuse(t, alice.text, "NetStream.Publish.BadName")
	e[2].mustRefuse(t, alice.text, "NetStream.Publish.BadName")

	// Connections: alice's, and these.
	var idle []net.Conn
	for i := range 11 {
		c, err := e[i%3].dial(t)
		if err != nil {
			t.Fatal(err)
		}
		idle = append(idle, c)
	}
	for _, e := range e {
		if _, err := e.dial(t); err == nil {
			t.Error("a connection too many is let in")
		}
	}
	for _, c := range idle {
		_ = c.Close()
	}
	eventually(t, "the places to be free", func() error {
		c, err := e[2].dial(t)
		if err == nil {
			_ = c.Close()
		}
		return err
	})

	// A kick, from another edge.
	if said := e[2].steer(t, "kick", e[0].sessionOf(t, "alice")); !strings.Contains(said, "another edge") {
		t.Errorf("kick says %q", said)
	}
	e[0].record(t, "the kick", map[string]string{"msg": "stream ended", "reason": "kick", "subject": "alice"})
	_ = first.Close()
	eventually(t, "the name to be free", func() error {
		p, err := e[1].publishes(t, alice.text)
		if err == nil {
			_ = p.Stop()
			_ = p.Close()
		}
		return err
	})

	// Guesses, spread so that no edge sees many.
	for i := range 8 {
		e[i%3].mustRefuse(t, "a guess", "NetStream.Publish.Denied")
	}
	for _, e := range e {
		eventually(t, "the address to be banned", func() error {
			if out := e.steer(t, "bans"); !strings.Contains(out, "127.0.0.1") {
				return errors.New(out)
			}
			return nil
		})
		if _, err := e.dial(t); err == nil {
			t.Error("a banned address is let in")
		}
	}
	e[1].steer(t, "bans", "lift", "127.0.0.1")
	eventually(t, "the ban to be lifted everywhere", func() error {
		for _, e := range e {
			c, err := e.dial(t)
			if err != nil {
				return err
			}
			_ = c.Close()
		}
		return nil
	})
}

// A publisher takes its name over from another edge, when that one has said
// goodbye to the origin; what it waits for is asked for across a real Redis.
func TestClusterTakeover(t *testing.T) {
	t.Parallel()
	r, origin := startRedis(t, freePort(t)), rtmptest.NewOrigin(t, rtmptest.OriginConfig{})
	alice := newKey("alice")
	e := make([]*edge, 2)
	for i := range e {
		e[i] = startEdge(t, settings{Origin: origin.Addr(), Redis: r.url(), Limits: clusterLimits, Admin: "127.0.0.1:0",
			AtOrigin: `health_every = "0"`, AtAuthz: `duplicate = "takeover"`}, alice)
	}
	for _, e := range e {
		e.joined(t, 1)
	}
	e[0].mustPublish(t, alice.text)
	e[1].mustPublish(t, alice.text)
	e[0].record(t, "the end of the first publisher", map[string]string{"msg": "stream ended", "side": "edge", "reason": "takeover", "subject": "alice"})
	flowing(t, origin, alice.name)
	if n := e[1].records(map[string]string{"msg": "stream ended"}); n != 0 {
		t.Error("the second publisher was ended")
	}
}

// The names of an edge that died are free within 15 s, and not at once.
func TestClusterEdgeDies(t *testing.T) {
	t.Parallel()
	r, origin := startRedis(t, freePort(t)), rtmptest.NewOrigin(t, rtmptest.OriginConfig{})
	alice, bob := newKey("alice"), newKey("bob")
	e := startCluster(t, 3, r, origin, "", alice, bob)
	e[0].mustPublish(t, alice.text)
	e[2].mustPublish(t, bob.text)
	e[0].kill(t)
	dead := time.Now()
	refused := 0
	for {
		asked := time.Now()
		_, err := e[1].publishes(t, alice.text)
		if err == nil {
			if d := asked.Sub(dead); d > 15*time.Second {
				t.Errorf("the name was free after %v", d)
			} else {
				t.Logf("the name was free after %v", d)
			}
			break
		}
		if codeOf(err) != "NetStream.Publish.BadName" || time.Since(dead) > patience {
			t.Fatal(err)
		}
		refused++
		time.Sleep(pollEvery)
	}
	if refused == 0 {
		t.Error("the name was free at once: nobody could tell death from a pause")
	}
	flowing(t, origin, bob.name)
}

// flowing wants exactly one stream of that name to be at the origin, and what is
// sent through it to arrive.
func flowing(t testing.TB, origin *rtmptest.Origin, name string) {
	t.Helper()
	var c *rtmptest.OriginConn
	eventually(t, "one stream "+name+" at the origin", func() error {
		n := 0
		for _, o := range origin.Conns() {
			if names := o.Names(); len(names) > 0 && names[len(names)-1].Name == name && o.Ended() == nil {
				c, n = o, n+1
			}
		}
		if n != 1 {
			return fmt.Errorf("there are %d", n)
		}
		return nil
	})
	if _, err := c.WaitMedia(len(c.Media()) + 2); err != nil {
		t.Errorf("%s: %v", name, err)
	}
}

// churn publishes short streams through all edges until it is stopped. None may
// be refused, whatever becomes of Redis. Each name keeps to one edge: while Redis
// is away, another cannot know that it is free.
type churn struct {
	stop    chan struct{}
	wg      sync.WaitGroup
	done    atomic.Int64
	slowest atomic.Int64 // nanoseconds
}

func startChurn(t testing.TB, edges []*edge, keys []streamKey) *churn {
	c := &churn{stop: make(chan struct{})}
	for i, k := range keys {
		e := edges[i%len(edges)]
		c.wg.Go(func() {
			pace := time.NewTicker(pollEvery) // the cores are for more than this
			defer pace.Stop()
			for {
				select {
				case <-c.stop:
					return
				case <-pace.C:
				}
				begin := time.Now()
				if err := brief(e, k.text); err != nil {
					t.Errorf("%s: %v", k.subject, err)
					return
				}
				c.done.Add(1)
				c.slowest.Store(max(c.slowest.Load(), int64(time.Since(begin))))
			}
		})
	}
	return c
}

// brief publishes a little.
func brief(e *edge, key string) error {
	conn, err := tls.Dial("tcp", "127.0.0.1:"+e.port, &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		return err
	}
	p, err := rtmptest.Publish(conn, rtmptest.PublishConfig{App: "live", Name: key})
	defer p.Abort()
	if err != nil {
		return err
	}
	if err := p.WriteVideo(0, []byte{0x17, 1, 0, 0, 0}); err != nil {
		return err
	}
	if err := p.Stop(); err != nil {
		return err
	}
	_, _ = p.WaitEnd() // the origin has let go of the name
	return nil
}

func (c *churn) end(t testing.TB) {
	t.Helper()
	close(c.stop)
	c.wg.Wait()
	t.Logf("%d short streams, the slowest took %v", c.done.Load(), time.Duration(c.slowest.Load()))
}

// work waits until so many more were published.
func (c *churn) work(t testing.TB, n int64) {
	t.Helper()
	from := c.done.Load()
	eventually(t, "streams to come and go", func() error {
		if c.done.Load() < from+n && !t.Failed() {
			return fmt.Errorf("%d so far", c.done.Load()-from)
		}
		return nil
	})
}

// Redis stands still, under load: streams go on and come and go, and what was
// published twice meanwhile is once when it is back.
func TestClusterRedisPauses(t *testing.T) {
	t.Parallel()
	r, origin := startRedis(t, freePort(t)), rtmptest.NewOrigin(t, rtmptest.OriginConfig{})
	alice, bob := newKey("alice"), newKey("bob")
	many := []streamKey{newKey("c1"), newKey("c2"), newKey("c3"), newKey("c4")}
	e := startCluster(t, 3, r, origin, "", append(many, alice, bob)...)
	e[0].mustPublish(t, alice.text)
	c := startChurn(t, e, many)
	c.work(t, 20)

	r.signal(t, syscall.SIGSTOP)
	for _, e := range e {
		e.lost(t)
	}
	c.work(t, 20)
	flowing(t, origin, alice.name)
	e[1].mustPublish(t, bob.text)
	time.Sleep(2 * time.Millisecond) // the rule goes by milliseconds
	e[2].mustPublish(t, bob.text)
	for _, e := range e {
		e.lost(t) // said once still
	}

	r.signal(t, syscall.SIGCONT)
	for _, e := range e {
		e.joined(t, 2)
	}
	e[2].record(t, "the end of the second publisher", map[string]string{"msg": "stream ended", "side": "edge", "reason": "duplicate", "subject": "bob"})
	flowing(t, origin, bob.name)
	flowing(t, origin, alice.name)
	c.work(t, 20)
	c.end(t)
	for i, e := range e {
		if n := e.records(map[string]string{"msg": "stream ended", "reason": "duplicate"}); n != []int{0, 0, 1}[i] {
			t.Errorf("edge %d: %d streams were ended", i, n)
		}
	}
	e[2].mustRefuse(t, alice.text, "NetStream.Publish.BadName")
	elsewhere(t, e, many)
}

// elsewhere publishes what came and went through other edges than before: all
// names are free.
func elsewhere(t testing.TB, edges []*edge, keys []streamKey) {
	t.Helper()
	for i, k := range keys {
		if err := brief(edges[(i+1)%len(edges)], k.text); err != nil {
			t.Errorf("%s, through another edge: %v", k.subject, err)
		}
	}
}

// Redis is killed and comes back empty, under load.
func TestClusterRedisRestartsEmpty(t *testing.T) {
	t.Parallel()
	port := freePort(t)
	r, origin := startRedis(t, port), rtmptest.NewOrigin(t, rtmptest.OriginConfig{})
	alice := newKey("alice")
	many := []streamKey{newKey("c1"), newKey("c2"), newKey("c3"), newKey("c4")}
	e := startCluster(t, 3, r, origin, "", append(many, alice)...)
	e[0].mustPublish(t, alice.text)
	e[1].steer(t, "bans", "add", "192.0.2.1", "--for", "1h")
	c := startChurn(t, e, many)
	c.work(t, 20)
	r.signal(t, os.Kill)
	r.exit(t)
	for _, e := range e {
		e.lost(t)
	}
	c.work(t, 20)
	for _, e := range e {
		e.lost(t) // said once still
	}
	startRedis(t, port)
	for _, e := range e {
		e.joined(t, 2)
	}
	c.work(t, 20)
	c.end(t)
	elsewhere(t, e, many)
	e[1].mustRefuse(t, alice.text, "NetStream.Publish.BadName")
	e[2].mustRefuse(t, alice.text, "NetStream.Publish.BadName")
	flowing(t, origin, alice.name)
	late := startEdge(t, settings{Origin: origin.Addr(), Redis: r.url(), Admin: "127.0.0.1:0"}, alice)
	late.joined(t, 1)
	if out := late.steer(t, "bans"); !strings.Contains(out, "192.0.2.1") {
		t.Errorf("the ban is forgotten: %s", out)
	}
}

// An edge that stands still for longer than it is believed alive does not take
// its name back from who has it now.
func TestClusterEdgePauses(t *testing.T) {
	t.Parallel()
	r, origin := startRedis(t, freePort(t)), rtmptest.NewOrigin(t, rtmptest.OriginConfig{})
	alice := newKey("alice")
	e := startCluster(t, 2, r, origin, "", alice)
	e[0].mustPublish(t, alice.text)
	e[0].signal(t, syscall.SIGSTOP)
	defer e[0].signal(t, syscall.SIGCONT)
	eventually(t, "the name to be free", func() error {
		_, err := e[1].publishes(t, alice.text)
		return err
	})
	e[0].signal(t, syscall.SIGCONT)
	e[0].record(t, "the end of the stream that was thought dead", map[string]string{"msg": "stream ended", "side": "edge", "reason": "duplicate", "subject": "alice"})
	flowing(t, origin, alice.name)
	if n := e[1].records(map[string]string{"msg": "stream ended"}); n != 0 {
		t.Error("the rightful owner was ended")
	}
}
