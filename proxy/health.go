package proxy

import (
	"context"
	"errors"
	"fmt"
	"time"

	"rtmps-edge/rtmp"
)

// DefaultHealthEvery is how often a configured origin's servers are checked: an
// encoder that reconnects finds a server that is well, and a connection in so
// long costs an origin nothing.
const DefaultHealthEvery = 5 * time.Second

// healthApp is the app that a health check asks for. What the server answers
// does not matter.
const healthApp = "live"

// checkHealth starts the checks that are due. Only the watch goroutine calls it.
func (s *Server) checkHealth(now time.Time, p *Policy) {
	for _, o := range p.Origins {
		if o.HealthEvery <= 0 {
			continue
		}
		for _, address := range o.Servers {
			known := s.servers.of(address)
			if now.Sub(known.checked) < o.HealthEvery || !known.checking.CompareAndSwap(false, true) {
				continue
			}
			known.checked = now
			s.checks.Go(func() {
				defer known.checking.Store(false)
				err := o.Check(s.ctx, address)
				if s.ctx.Err() == nil {
					known.judged.Store(true)
					s.health(address, known, err)
				}
			})
		}
	}
}

// health notes how a server did. It is told once that a server is down, and
// once that it is well again.
func (s *Server) health(address string, known *server, err error) {
	if err == nil {
		if known.shunned.Swap(0) != 0 {
			s.log.WithField("server", address).Info("the origin server is available again")
		}
		return
	}
	if known.shunned.Swap(time.Now().Add(avoid).UnixNano()) == 0 {
		s.log.WithField("server", address).WithError(err).Warn("the origin server is not available")
	}
}

// Check says whether a server answers RTMP: a handshake and a connect, within
// the origin's dial timeout. A refusal is an answer.
func (o *Origin) Check(ctx context.Context, address string) error {
	ctx, cancel := context.WithTimeout(ctx, o.dialTimeout())
	defer cancel()
	c, host, err := o.dial(ctx, address, ends{})
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }()
	stopped := context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })
	defer stopped()
	err = rtmp.Probe(c, healthApp, "rtmp://"+host+"/"+healthApp)
	if err != nil && errors.Is(ctx.Err(), context.DeadlineExceeded) {
		err = fmt.Errorf("no answer to an RTMP handshake and connect within %s", o.dialTimeout())
	}
	return err
}

func (o *Origin) dialTimeout() time.Duration {
	if o.DialTimeout == 0 {
		return DefaultDialTimeout
	}
	return o.DialTimeout
}
