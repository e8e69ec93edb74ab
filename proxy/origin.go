package proxy

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
	"time"

	"rtmps-edge/authz"
	"rtmps-edge/internal/glob"
	"rtmps-edge/internal/wire"
	"rtmps-edge/rtmp"
)

const (
	// DefaultDialTimeout is for origins without one: they are near.
	DefaultDialTimeout = 3 * time.Second
	// answerTimeout bounds an origin's whole RTMP dialogue: GStreamer waits 5 s
	// for the edge's answer.
	answerTimeout = 4 * time.Second
	// patience is how long the edge waits for an origin that is restarting,
	// because an encoder that is refused at its first try does not try again.
	patience = 3 * time.Second
	// retryPause is the pause between two rounds of all servers.
	retryPause = 250 * time.Millisecond
)

// reserve takes what only this stream may have: its name at the origin, and its
// place among the streams that are counted.
func (s *session) reserve(g authz.Grant) (*Origin, error) {
	o := s.choose(g)
	if o == nil {
		return nil, &refusal{stage: StageOrigin, reason: "no such origin", err: fmt.Errorf("the grant names the origin %q, which is not configured", g.Origin)}
	}
	s.event.Origin = o.Name
	name := streamName{o.Name, g.App, g.Name}
	if s.event.Action == authz.Publish {
		if err := s.take(name); err != nil {
			return nil, err
		}
	}
	return o, s.count(g, name)
}

// open opens the stream at o, under the granted names.
func (s *session) open(o *Origin, g authz.Grant, r rtmp.Request) (*rtmp.Conn, error) {
	begin := time.Now()
	for {
		c, err := s.tryServers(o, g, r)
		if err == nil {
			return c, nil
		}
		if final(err) || time.Since(begin) > patience || !s.pause(retryPause) {
			return nil, &refusal{stage: StageOrigin, err: err}
		}
	}
}

// pause waits, and reports whether the session still has time.
func (s *session) pause(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-s.ctx.Done():
		return false
	}
}

// choose returns the origin: the grant's, the listener's, a route's, the first.
func (s *session) choose(g authz.Grant) *Origin {
	name := g.Origin
	if name == "" {
		name = s.listener.Origin
	}
	if name == "" {
		name = s.policy.Origins[0].Name
		for _, r := range s.policy.Routes {
			if matches(r.Server, strings.ToLower(s.event.ServerName)) && matches(r.App, g.App) {
				name = r.Origin
				break
			}
		}
	}
	for _, o := range s.policy.Origins {
		if o.Name == name {
			return o
		}
	}
	return nil
}

func matches(pattern, s string) bool { return pattern == "" || glob.Match(pattern, s) }

// tryServers opens the stream on the first server that takes it. A refusal in
// RTMP's terms is final: the next server must not be talked into it.
func (s *session) tryServers(o *Origin, g authz.Grant, r rtmp.Request) (*rtmp.Conn, error) {
	var errs []error
	for _, address := range s.srv.servers.order(o, g.App, g.Name) {
		known := s.srv.servers.of(address)
		begin := time.Now()
		c, err := s.openServer(o, address, g, r)
		if err == nil {
			s.event.Took.Origin = time.Since(begin)
			s.event.Server = address
			s.server = known
			known.streams.Add(1)
			s.srv.health(address, known, nil)
			return c, nil
		}
		errs = append(errs, fmt.Errorf("%s: %w", address, err))
		if final(err) || s.ctx.Err() != nil {
			break
		}
		s.srv.health(address, known, err)
	}
	return nil, errors.Join(errs...)
}

// hungUp is an origin's end of the connection in the middle of the dialogue: how
// nginx-rtmp refuses. It says nothing about how the server is.
type hungUp struct{ error }

func (h hungUp) Error() string { return "the origin closed the connection: " + h.error.Error() }
func (h hungUp) Unwrap() error { return h.error }

// final reports whether err is a refusal, which is not to be asked again for.
func final(err error) bool {
	var said *rtmp.StatusError
	var silent hungUp
	return errors.As(err, &said) || errors.As(err, &silent)
}

func (s *session) openServer(o *Origin, server string, g authz.Grant, r rtmp.Request) (*rtmp.Conn, error) {
	ctx, cancel := context.WithTimeout(s.ctx, o.dialTimeout())
	defer cancel()
	who := ends{s.event.Client, s.here}
	conn, host, err := o.dial(ctx, server, who)
	if err != nil {
		return nil, err
	}
	at := time.Now().Add(answerTimeout)
	if d, ok := s.ctx.Deadline(); ok && d.Before(at) {
		at = d
	}
	_ = conn.SetDeadline(at)
	stopped := context.AfterFunc(s.ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	c, err := rtmp.Open(conn, o.target(host, who, g, r), s.policy.Limits.RTMP)
	if !stopped() && err == nil {
		err = context.Cause(s.ctx)
	}
	if err != nil {
		_ = conn.Close()
		if errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) {
			err = hungUp{err}
		}
		return nil, err
	}
	_ = conn.SetDeadline(time.Time{})
	s.mu.Lock()
	s.origin = conn
	s.mu.Unlock()
	return c, nil
}

// dial connects to one server and tells it who the client is, as far as that
// comes before RTMP. Without a client it is the edge itself that connects. host
// is the server's "host:port" without the scheme.
func (o *Origin) dial(ctx context.Context, server string, who ends) (c leg, host string, err error) {
	host, secure := splitServer(server)
	var d net.Dialer
	plain, err := d.DialContext(ctx, "tcp", host)
	if err != nil {
		return nil, host, err
	}
	if at, ok := ctx.Deadline(); ok {
		_ = plain.SetDeadline(at) // the caller sets another
	}
	if c, err = o.introduce(ctx, plain, host, secure, who); err != nil {
		_ = plain.Close()
		return nil, host, err
	}
	return c, host, nil
}

// introduce begins the conversation on a new connection.
func (o *Origin) introduce(ctx context.Context, plain net.Conn, host string, secure bool, who ends) (leg, error) {
	if err := say(plain, o.ClientIP.outermost(who)); err != nil {
		return nil, err
	}
	if !secure {
		return wire.New(plain), say(plain, o.ClientIP.innermost(who))
	}
	c := wire.Client(plain, o.tlsConfig(host))
	if err := c.HandshakeContext(ctx); err != nil {
		return nil, err
	}
	return c, say(c, o.ClientIP.innermost(who))
}

// say writes b at once: nginx-rtmp looks for a whole header in what comes first.
func say(w io.Writer, b []byte) error {
	if len(b) == 0 {
		return nil
	}
	_, err := w.Write(b)
	return err
}

func (o *Origin) tlsConfig(host string) *tls.Config {
	config := o.TLS.Clone()
	if config == nil {
		config = &tls.Config{}
	}
	if config.ServerName == "" {
		config.ServerName, _, _ = net.SplitHostPort(host)
	}
	return config
}

// target is what the origin is asked for, in the edge's own words.
func (o *Origin) target(server string, who ends, g authz.Grant, r rtmp.Request) rtmp.Target {
	url := "rtmp://" + server + "/" + g.App
	if o.TcURL != "" {
		host, _, _ := net.SplitHostPort(server)
		url = strings.NewReplacer("{server}", server, "{app}", g.App, "{name}", g.Name, "{host}", host).Replace(o.TcURL)
	}
	name := o.ClientIP.nameAtOrigin(g.Name, who.client.Addr())
	return rtmp.Target{Action: r.Action, App: g.App, Name: name, TcURL: url, Mode: r.Mode,
		Enhanced: r.Enhanced, ChunkSize: o.ChunkSize, MessageSize: o.MessageSize, DropEmpty: o.DropEmpty}
}
