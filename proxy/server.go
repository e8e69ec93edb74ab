// Package proxy carries a connection from its first byte to its last: admitted,
// secured, understood, authorized, opened toward an origin, relayed. An
// unauthorized byte never reaches an origin.
package proxy

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sirupsen/logrus"

	"rtmps-edge/ratelimit"
)

const (
	// watchEvery is how often running sessions are held against the time and
	// the policy: a revoked key ends its stream within so long.
	watchEvery = time.Second / 2
	// acceptBackoff and its limit are the pauses after a failed accept, as when
	// the process has no descriptor left: streams that end make room again.
	acceptBackoff    = 5 * time.Millisecond
	acceptBackoffMax = time.Second
)

// ServerConfig is what NewServer needs.
type ServerConfig struct {
	Policy   *Policy  // required
	Observer Observer // nil: nobody hears
	Log      *logrus.Logger
	// Limiter is what counts; the Server closes it. nil: one of its own.
	Limiter *ratelimit.Limiter
}

// ListenerConfig says how connections of one listener are treated.
type ListenerConfig struct {
	Address   string // as configured, for events
	TLS       bool
	Optional  bool // with TLS: also RTMP without it, told apart by the first byte
	Balancers Balancers
	Origin    string // all that comes in here goes to this origin; "" = by route
}

// Server accepts and keeps sessions.
type Server struct {
	policy   atomic.Pointer[Policy]
	changed  chan struct{} // has one when the policy is new: look at once
	observer Observer
	log      *logrus.Logger
	limits   *ratelimit.Limiter

	servers  servers
	ctx      context.Context // ends with Shutdown: for health checks
	cancel   context.CancelFunc
	checks   sync.WaitGroup // health checks and rechecks under way
	rechecks chan struct{}  // holds as many as are under way

	mu        sync.Mutex
	listeners map[net.Listener]*atomic.Pointer[ListenerConfig]
	sessions  map[*session]bool
	names     map[streamName]*session
	closing   bool
	bytes     [2]int64      // in and out, of streams that ended
	watching  chan struct{} // closed when the watch goroutine has ended; nil before

	wg   sync.WaitGroup // sessions, and accepts under way
	done chan struct{}  // closed by Shutdown: no session is left
}

// NewServer returns a Server that does nothing yet.
func NewServer(c ServerConfig) *Server {
	s := &Server{
		changed:   make(chan struct{}, 1),
		observer:  c.Observer,
		log:       c.Log,
		limits:    c.Limiter,
		listeners: map[net.Listener]*atomic.Pointer[ListenerConfig]{},
		sessions:  map[*session]bool{},
		names:     map[streamName]*session{},
		done:      make(chan struct{}),
		rechecks:  make(chan struct{}, maxRechecks),
	}
	if s.log == nil {
		s.log = logrus.New()
		s.log.SetOutput(io.Discard)
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	if s.limits == nil {
		s.limits, _ = ratelimit.NewLimiter(ratelimit.LimiterConfig{}) // fails for a cluster only
	}
	s.limits.Bans.OnBan(s.banned)
	s.limits.Cluster.OnKick(s.kickFrom)
	if c.Policy != nil {
		s.SetPolicy(c.Policy)
	}
	return s
}

// Policy returns the policy in force.
func (s *Server) Policy() *Policy { return s.policy.Load() }

// SetPolicy puts another policy in force. Running sessions keep their
// certificate and origin; limits reach them at once.
func (s *Server) SetPolicy(p *Policy) {
	s.policy.Store(p)
	s.limits.Handshakes.SetLimit(p.Limits.Handshakes)
	select {
	case s.changed <- struct{}{}:
	default: // the look is coming
	}
}

// Sessions returns how many connections there are.
func (s *Server) Sessions() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.sessions)
}

// Serve accepts from ln, which it then owns, until ln is closed or the Server
// is shut down; then it returns nil. No error of accept ends it.
func (s *Server) Serve(ln net.Listener, lc ListenerConfig) error {
	config := s.register(ln, lc)
	if config == nil {
		return ln.Close()
	}
	defer s.unregister(ln)
	pause := time.Duration(0)
	for {
		c, err := ln.Accept()
		switch {
		case errors.Is(err, net.ErrClosed):
			return nil
		case err != nil:
			pause = min(max(2*pause, acceptBackoff), acceptBackoffMax)
			s.log.WithError(err).WithField("listener", lc.Address).Warn("accept failed; trying again")
			time.Sleep(pause)
			continue
		}
		pause = 0
		s.start(c, *config.Load())
	}
}

// Configure changes how connections of ln are treated from now on.
func (s *Server) Configure(ln net.Listener, lc ListenerConfig) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if config := s.listeners[ln]; config != nil {
		config.Store(&lc)
	}
}

// start begins a session for c, unless the Server is closing.
func (s *Server) start(c net.Conn, lc ListenerConfig) {
	n := newSession(s, c, lc)
	s.mu.Lock()
	closing := s.closing
	if !closing {
		s.sessions[n] = true
		s.wg.Add(1)
	}
	s.mu.Unlock()
	if closing {
		_ = c.Close()
		return
	}
	go func() {
		defer s.wg.Done()
		defer s.forget(n)
		n.run()
	}()
}

// register returns where the configuration of ln is kept; nil when closing.
func (s *Server) register(ln net.Listener, lc ListenerConfig) *atomic.Pointer[ListenerConfig] {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing {
		return nil
	}
	config := &atomic.Pointer[ListenerConfig]{}
	config.Store(&lc)
	s.listeners[ln] = config
	if s.watching == nil {
		s.watching = make(chan struct{})
		go s.watch()
	}
	return config
}

func (s *Server) unregister(ln net.Listener) {
	_ = ln.Close()
	s.mu.Lock()
	delete(s.listeners, ln)
	s.mu.Unlock()
}

func (s *Server) forget(n *session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r := n.running.Load(); r != nil {
		s.count(r)
	}
	delete(s.sessions, n)
	s.free(n)
}

// watch looks at all sessions again and again, until no session is left after
// Shutdown. One goroutine for all of them costs an idle session nothing.
func (s *Server) watch() {
	defer close(s.watching)
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		select {
		case now := <-tick.C:
			s.look(now)
			s.checkHealth(now, s.Policy())
		case <-s.changed:
			s.look(time.Now())
		case <-s.done:
			return
		}
	}
}

func (s *Server) look(now time.Time) {
	policy := s.Policy()
	for _, n := range s.all() {
		n.look(now, policy)
	}
}

func (s *Server) all() []*session {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]*session, 0, len(s.sessions))
	for n := range s.sessions {
		list = append(list, n)
	}
	return list
}

// Shutdown stops accepting, ends connections that are not streams yet, and
// waits for streams until ctx is done; then it ends them too and waits for
// that. It returns ctx's error if it had to. It may be called once.
func (s *Server) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	s.closing = true
	for ln := range s.listeners {
		_ = ln.Close()
	}
	watching := s.watching
	s.mu.Unlock()
	for _, n := range s.all() {
		n.stopSetup()
	}
	empty := make(chan struct{})
	go func() {
		s.wg.Wait()
		close(empty)
	}()
	var err error
	select {
	case <-empty:
	case <-ctx.Done():
		err = ctx.Err()
		for _, n := range s.all() {
			n.stop(SideEdge, "drain", nil)
		}
		<-empty
	}
	s.limits.Close()
	s.cancel()
	close(s.done)
	if watching != nil {
		<-watching
	}
	s.checks.Wait()
	return err
}
