package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"runtime"
	"slices"
	"syscall"
	"time"

	"github.com/sirupsen/logrus"

	"rtmps-edge/admin"
	"rtmps-edge/config"
	"rtmps-edge/metrics"
	"rtmps-edge/proxy"
	"rtmps-edge/ratelimit"
	"rtmps-edge/tlsconf"
)

// adminMode lets the edge's user and group use the admin socket.
const adminMode fs.FileMode = 0o660

// observers hear one after the other.
type observers []proxy.Observer

// Observe implements proxy.Observer.
func (list observers) Observe(e proxy.Event) {
	for _, o := range list {
		o.Observe(e)
	}
}

// steering is how a running edge is seen and steered from outside.
type steering struct {
	admin   *admin.Admin
	metrics *metrics.Metrics
	notify  notifiers

	first net.Listener // opened, and not served yet

	at   string // the configured address; "" = none
	ln   net.Listener
	stop context.CancelFunc // ends the serving of ln; nil before it is served

	reloads chan chan<- error // asked for by the API; serve answers
	drains  chan struct{}     // the same; has room for one
	over    chan struct{}     // closed when serve has ended, and nobody answers
}

func newSteering(e *edge) *steering {
	s := &steering{reloads: make(chan chan<- error), drains: make(chan struct{}, 1), over: make(chan struct{})}
	s.metrics = metrics.New(metrics.Version{Version: version, Commit: commit(), Go: runtime.Version()})
	s.admin = admin.New(admin.Config{
		Version: admin.Version{Version: version, Commit: commit()}, Metrics: s.metrics.Handler(),
		Certificates: e.certificates, Pending: e.pending, Reload: s.reload, Drain: s.drain, Log: e.log,
	})
	return s
}

// attach makes the Server that is told of, and tells.
func (s *steering) attach(e *edge) error {
	limits, err := ratelimit.NewLimiter(ratelimit.LimiterConfig{Cluster: ratelimit.ClusterConfig{URL: e.cfg.Redis, Log: e.log, AdmitTimeout: e.cfg.RedisTimeout}})
	if err != nil {
		return err
	}
	e.srv = proxy.NewServer(proxy.ServerConfig{Policy: e.parts.policy, Log: e.log, Limiter: limits, Observer: observers{newLogObserver(e.log), s.metrics, s.admin, &s.notify}})
	s.admin.Attach(e.srv)
	s.metrics.Pull(metrics.Source{Server: e.srv, Certificates: func() map[string]time.Time { return expiries(e.certificates(), e.pending()) }})
	return nil
}

// expect lets the metrics begin to count what is configured.
func (s *steering) expect(cfg *config.Config) {
	s.metrics.Authorizers(slices.Concat(cfg.Authz.Publish, cfg.Authz.Play)...)
}

// expiries are when certificates expire, by their names. One that is still to
// be got has the beginning of time, so that who watches this hears of it, too.
func expiries(list []admin.Certificate, pending []string) map[string]time.Time {
	all := map[string]time.Time{}
	for _, name := range pending {
		all[name] = time.Unix(0, 0)
	}
	for _, c := range list {
		for _, name := range c.Names { // not renewed so far, which is another thing
			delete(all, name)
		}
	}
	for _, c := range list {
		all[c.Name] = c.NotAfter
	}
	return all
}

// reload asks serve to reload, and returns what came of it.
func (s *steering) reload(ctx context.Context) error {
	answer := make(chan error, 1)
	select {
	case s.reloads <- answer:
		return <-answer
	case <-s.over:
		return errors.New("the edge is draining")
	case <-ctx.Done():
		return ctx.Err()
	}
}

// drain asks serve to end.
func (s *steering) drain() {
	select {
	case s.drains <- struct{}{}:
	default: // it was asked already
	}
}

// open opens the admin address, unless it is open or there is to be none.
func (s *steering) open(c config.Admin) (net.Listener, error) {
	if c.Listen == "" || c.Listen == s.at {
		return s.ln, nil
	}
	ln, err := listen(config.Listener{Address: c.Listen, UnixMode: adminMode})
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("the admin address %s is in use, perhaps by another rtmps-edge: give listen in [admin] another, or \"\" for none", c.Listen)
	}
	if err != nil {
		return nil, fmt.Errorf("admin %w", err)
	}
	return ln, nil
}

// discard closes ln if it is not in force.
func (s *steering) discard(ln net.Listener) {
	if ln != nil && ln != s.ln {
		_ = ln.Close()
	}
}

// use puts a configuration and its listener in force.
func (s *steering) use(e *edge, c config.Admin, ln net.Listener) {
	s.admin.SetToken(c.Token)
	if c.Listen == s.at {
		return
	}
	s.close()
	s.at, s.ln = c.Listen, ln
	if c.Listen == "" {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	s.stop = cancel
	fields := logrus.Fields{"address": ln.Addr().String()}
	if ln.Addr().Network() == "tcp" {
		fields["dashboard"] = "http://" + ln.Addr().String() + "/"
	}
	e.log.WithFields(fields).Info("the admin address is open")
	e.serving.Go(func() {
		if err := s.admin.Serve(ctx, ln); err != nil {
			e.log.WithError(err).Error("the admin address has failed; streams go on")
		}
	})
}

// close ends the serving of the address.
func (s *steering) close() {
	if s.stop != nil {
		s.stop()
	}
	s.at, s.ln, s.stop = "", nil, nil
}

// certificates are those that are served to clients.
func (e *edge) certificates() []admin.Certificate {
	source := e.source.Load()
	if source == nil {
		return nil
	}
	return certificatesOf(*source)
}

func certificatesOf(source tlsconf.Source) []admin.Certificate {
	known, ok := source.(interface{ Certificates() []tlsconf.Certificate })
	if !ok {
		return nil
	}
	var list []admin.Certificate
	for _, c := range known.Certificates() {
		list = append(list, admin.Certificate{Name: c.Name, Names: append([]string{}, c.Names...), NotBefore: c.NotBefore, NotAfter: c.NotAfter})
	}
	return list
}

// pending are the names for which no certificate, or no new one, was got so far.
func (e *edge) pending() []string {
	source := e.source.Load()
	if source == nil {
		return nil
	}
	waits, ok := (*source).(interface{ Pending() map[string]string })
	if !ok {
		return nil
	}
	return slices.Sorted(maps.Keys(waits.Pending()))
}

// tellCertificates makes the certificates of p those that are told of.
func (e *edge) tellCertificates(p *parts) {
	if p.source == nil {
		e.source.Store(nil)
		return
	}
	e.source.Store(&p.source.it)
}
