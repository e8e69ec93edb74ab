package proxy

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"net"
	"net/netip"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"rtmps-edge/authz"
	"rtmps-edge/internal/hello"
	"rtmps-edge/internal/wire"
	"rtmps-edge/ratelimit"
	"rtmps-edge/rtmp"
)

// session is one connection. Its methods are called from its own goroutine,
// but for stop, stopSetup and look.
type session struct {
	srv      *Server
	policy   *Policy // as it was when the connection came
	listener ListenerConfig
	conn     leg     // the client; replaced by its TLS form
	origin   leg     // nil until opened
	server   *server // that origin is a connection to; nil until opened
	event    Event
	user     string         // who has logged in; "" = nobody
	here     netip.AddrPort // where the client has connected to
	granted  authz.Ender    // hears that the grant is over; may be nil
	asked    authz.Request  // what was granted, for recheck
	stream   streamName     // guarded by srv.mu
	freed    chan struct{}  // closed when stream is free again; nil without a stream

	begun   time.Time
	ctx     context.Context // ends with the session
	cancel  context.CancelFunc
	release func()           // gives the admission back; nil before, and when detained
	lease   *ratelimit.Lease // the stream's place; nil until authorized
	// detained: the connection belongs to the tarpit now.
	detained bool

	approved atomic.Bool             // the client hears of its start, or has
	running  atomic.Pointer[running] // set when the stream has started
	mu       sync.Mutex
	ended    *end // the first reason
}

// leg is a connection to a peer.
type leg interface {
	net.Conn
	wire.Reader
	wire.Writer
	CloseWrite() error
	Frugal(bool)
	Seal(p []byte) (sealed []byte, socket net.Conn, err error)
	Socket() net.Conn
}

// run is the straight line.
func (s *session) run() {
	defer s.close()
	s.observe(Accepted)
	var client, origin *rtmp.Conn
	// The setup runs on a stack of its own: what TLS and dialing made it grow
	// to is not kept by a stream that may last for days.
	apart(func() {
		err := errPanic
		defer func() {
			if err != nil {
				s.refused(err)
			}
		}()
		defer s.guard()
		client, origin, err = s.setup()
	})
	if client != nil {
		s.relay(client, origin)
	}
}

// setup brings a client from its first byte to its stream's start. Each stage
// fails with a *refusal. One deadline covers them all: it is the trust boundary.
func (s *session) setup() (client, origin *rtmp.Conn, err error) {
	s.deadline(s.policy.Limits.SetupTimeout)
	if err := s.identify(); err != nil {
		return nil, nil, err
	}
	if err := s.admit(); err != nil {
		return nil, nil, err
	}
	if err := s.secure(); err != nil {
		return nil, nil, err
	}
	pending, err := s.accept()
	if err != nil {
		return nil, nil, err
	}
	question, err := s.question(pending.Request)
	if err != nil {
		return nil, nil, s.reject(pending, err)
	}
	grant, err := s.authorize(question)
	if err != nil {
		return nil, nil, s.reject(pending, err)
	}
	at, err := s.reserve(grant)
	if err != nil {
		return nil, nil, s.reject(pending, err)
	}
	origin, err = s.open(at, grant, pending.Request)
	if err != nil {
		return nil, nil, s.reject(pending, err)
	}
	s.approved.Store(true)
	client, err = pending.Approve()
	if err != nil {
		origin.Release()
		return nil, nil, &refusal{stage: StageApprove, err: err}
	}
	s.started(grant, client, origin)
	return client, origin, nil
}

// errPanic stands until setup has returned.
var errPanic = errors.New("panic")

func newSession(srv *Server, c net.Conn, lc ListenerConfig) *session {
	ctx, cancel := context.WithCancel(context.Background())
	s := &session{srv: srv, policy: srv.Policy(), listener: lc, conn: wire.New(c), begun: time.Now(), ctx: ctx, cancel: cancel}
	s.conn.Frugal(true) // until it is known who that is
	s.here = addrPort(c.LocalAddr())
	s.event = Event{Session: newID(), Listener: lc.Address, Client: addrPort(c.RemoteAddr())}
	return s
}

func newID() string {
	var b [6]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

// guard keeps a fault of this program in one session away from the others. The
// session ends as with any other error.
func (s *session) guard() {
	if v := recover(); v != nil {
		s.srv.log.WithField("session", s.event.Session).Errorf("panic: %v\n%s", v, debug.Stack())
		s.stop(SideEdge, "panic", nil)
	}
}

// apart runs f in a goroutine and waits for it.
func apart(f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	<-done
}

// deadline sets when the setup must be over; 0 clears it. A session that was
// stopped keeps the one of its end.
func (s *session) deadline(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended != nil {
		return
	}
	if d == 0 {
		_ = s.conn.SetDeadline(time.Time{})
		return
	}
	at := time.Now().Add(d)
	_ = s.conn.SetDeadline(at)
	ctx, cancel := context.WithDeadline(s.ctx, at)
	s.ctx, s.cancel = ctx, both(cancel, s.cancel)
}

func both(a, b func()) func() { return func() { a(); b() } }

// secure makes the connection a TLS one, on listeners that want it.
func (s *session) secure() error {
	if encrypted, err := s.encrypted(); err != nil || !encrypted {
		return err
	}
	c := wire.Server(s.conn, s.policy.TLS)
	s.mu.Lock()
	s.conn = c
	s.mu.Unlock()
	ctx, offer := hello.Expect(s.ctx)
	begin := time.Now()
	err := c.HandshakeThrough(ctx, s.srv.limits.Handshakes)
	s.event.Took.TLS = time.Since(begin)
	if err != nil {
		s.event.Offer = offer.String()
		return &refusal{stage: StageTLS, reason: tlsReason(err), err: err}
	}
	state := c.ConnectionState()
	s.event.ServerName, s.event.TLS = state.ServerName, tlsVersion(state.Version)
	if state.NegotiatedProtocol == hello.ACMEProtocol {
		// It has seen what it wanted, and must not go on: it was shown another
		// certificate than streams are, and asked for none.
		return &refusal{stage: StageTLS, reason: string(hello.Answered), err: errors.New("a certificate authority looked for the answer to a challenge")}
	}
	return nil
}

// firstOfTLS is the first byte of a TLS connection, the type of a handshake
// record (RFC 8446 §5.1). RTMP begins with its version, 3.
const firstOfTLS = 0x16

// encrypted reports whether the client is to speak TLS. Where that is left to
// the client, what does not begin as TLS is taken for RTMP, which judges it.
func (s *session) encrypted() (bool, error) {
	if !s.listener.TLS || !s.listener.Optional {
		return s.listener.TLS, nil
	}
	first, err := s.conn.(*wire.Conn).Peek()
	if err != nil {
		return false, &refusal{stage: StageTLS, err: err}
	}
	return first == firstOfTLS, nil
}

// question turns the client's request into the authorizer's question.
func (s *session) question(r rtmp.Request) (authz.Request, error) {
	s.event.Action, s.event.App, s.event.Encoder = authz.Action(r.Action), r.App, r.Encoder
	s.event.Fingerprint = r.Name.Fingerprint()
	q := ask(r)
	q.Client, q.ServerName, q.User = s.event.Client, s.event.ServerName, s.user
	q.ID, q.Encoder, q.TcURL = s.event.Session, r.Encoder, r.TcURL
	if c, ok := s.conn.(*wire.TLSConn); ok {
		state := c.ConnectionState()
		q.TLS = &state
	}
	if !authz.CanonicalName(r.App) {
		return q, &refusal{stage: StageAuthorize, reason: "app", err: errors.New("the app has characters that no origin should see")}
	}
	return q, nil
}

// authorize asks whether the client may, from where it is.
func (s *session) authorize(q authz.Request) (authz.Grant, error) {
	from, by := s.policy.PublishFrom, s.policy.authorizer(q.Action)
	if q.Action == authz.Play {
		from = s.policy.PlayFrom
	}
	if len(from) > 0 && !inAny(q.Client.Addr(), from) {
		return authz.Grant{}, &refusal{stage: StageAuthorize, reason: "network", err: authz.ErrDenied}
	}
	if by == nil {
		return authz.Grant{}, &refusal{stage: StageAuthorize, reason: "denied", err: authz.ErrDenied}
	}
	begin := time.Now()
	g, err := by.Authorize(s.ctx, q)
	s.event.Took.Authorize = time.Since(begin)
	if err == nil {
		s.granted = g.OnEnd
	}
	if err == nil && g.Name == "" {
		err = errors.New("a grant without a stream name")
	}
	if err != nil {
		return g, &refusal{stage: StageAuthorize, reason: authReason(err), err: err, guess: isGuess(err)}
	}
	if g.App == "" {
		g.App = q.App
	}
	s.event.Subject, s.event.App, s.event.Name, s.event.By = g.Subject, g.App, g.Name, g.By
	s.event.NameIsKey = g.Subject == "" && q.Action == authz.Publish && g.Name == q.Key.Reveal()
	s.asked = q
	return g, nil
}

// observe tells the Observer.
func (s *session) observe(k Kind) {
	if s.srv.observer == nil {
		return
	}
	e := s.event
	e.Kind, e.Time = k, time.Now()
	s.srv.observer.Observe(e)
}

// close ends whatever is left.
func (s *session) close() {
	s.cancel()
	if !s.detained {
		_ = s.conn.Close()
	}
	if s.origin != nil {
		_ = s.origin.Close()
	}
	if s.server != nil {
		s.server.streams.Add(-1)
	}
	if s.granted != nil {
		s.granted.Ended()
	}
	s.lease.Release()
	if s.release != nil {
		s.release()
	}
}
