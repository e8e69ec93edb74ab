package main

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"

	"github.com/sirupsen/logrus"

	"rtmps-edge/config"
	"rtmps-edge/internal/fault"
	"rtmps-edge/internal/filewatch"
	"rtmps-edge/proxy"
	"rtmps-edge/tlsconf"
)

// edge is a running configuration. Its own goroutine, in serve, is the only
// one that changes it.
type edge struct {
	log       *logrus.Logger
	srv       *proxy.Server
	cfg       *config.Config
	parts     *parts
	steer     *steering
	source    atomic.Pointer[tlsconf.Source] // of parts; nil without TLS
	listeners map[string]net.Listener        // by configured address
	serving   sync.WaitGroup
	failed    chan error // a listener has ended by itself
}

// newEdge builds cfg and opens its sockets; nothing is accepted before serve.
func newEdge(logs io.Writer, cfg *config.Config) (*edge, error) {
	log := logrus.New()
	log.SetOutput(logs)
	setLog(log, cfg.Log)
	e := &edge{log: log, cfg: cfg, failed: make(chan error, 1)}
	e.steer = newSteering(e)
	p, err := build(cfg, nil, log, e.steer.metrics.Authorized)
	if err != nil {
		return nil, err
	}
	told, err := e.steer.notify.build(e, cfg.Notify)
	if err != nil {
		return nil, err
	}
	e.parts = p
	e.steer.expect(cfg)
	if e.listeners, err = e.open(cfg); err != nil {
		p.stop()
		return nil, err
	}
	if e.steer.first, err = e.steer.open(cfg.Admin); err == nil {
		err = e.steer.attach(e)
	}
	if err != nil {
		for _, l := range e.listeners {
			_ = l.Close()
		}
		p.stop()
		return nil, err
	}
	e.steer.notify.use(e, told)
	warnListeners(log, cfg)
	e.tellCertificates(p)
	allowSHA1(cfg)
	return e, nil
}

// serve accepts until ctx is done, and reloads when it is told to or when the
// file has changed.
func (e *edge) serve(ctx context.Context, hup <-chan os.Signal) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer close(e.steer.over)
	for _, l := range e.cfg.Listeners {
		e.accept(l, e.listeners[l.Address])
	}
	e.parts.start()
	e.steer.use(e, e.cfg.Admin, e.steer.first)
	cfg, parts := e.cfg, e.parts
	e.serving.Go(func() { warnOfCertificates(e.log, cfg, parts) }) // looking at the authorities of a system takes a while
	changed := e.watch(ctx)
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-e.failed:
			return err
		case <-hup:
			_ = e.reload("SIGHUP")
		case <-changed:
			_ = e.reload("the file has changed")
		case answer := <-e.steer.reloads:
			answer <- e.reload("asked for by the API")
		case <-e.steer.drains:
			return nil
		}
	}
}

// accept serves one listener in a goroutine of its own.
func (e *edge) accept(l config.Listener, ln net.Listener) {
	e.log.WithFields(logrus.Fields{"address": ln.Addr().String(), "listener": l.Address, "tls": l.TLS}).Info("listening")
	e.serving.Go(func() {
		if err := e.srv.Serve(ln, listenerConfig(l)); err != nil {
			select {
			case e.failed <- err:
			default: // one is enough
			}
		}
	})
}

func listenerConfig(l config.Listener) proxy.ListenerConfig {
	return proxy.ListenerConfig{Address: l.Address, TLS: l.TLS != config.TLSOff, Optional: l.TLS == config.TLSOptional,
		Balancers: l.Balancers, Origin: l.Origin}
}

// open opens the sockets of cfg, but those that are open. After an error none
// is new.
func (e *edge) open(cfg *config.Config) (map[string]net.Listener, error) {
	all := map[string]net.Listener{}
	for _, l := range cfg.Listeners {
		if ln := e.listeners[l.Address]; ln != nil {
			all[l.Address] = ln
			continue
		}
		ln, err := listen(l)
		if err != nil {
			e.closeFresh(all)
			return nil, err
		}
		all[l.Address] = ln
	}
	return all, nil
}

// closeFresh closes those of listeners that are not in force.
func (e *edge) closeFresh(listeners map[string]net.Listener) {
	for address, ln := range listeners {
		if e.listeners[address] == nil {
			_ = ln.Close()
		}
	}
}

// reload puts the file in force: all of it or nothing. The error was logged.
func (e *edge) reload(why string) error {
	tellReloading(e.log)
	cfg, err := config.Load(e.cfg.File)
	if err == nil {
		err = e.replace(cfg)
	}
	e.steer.metrics.Reloaded(err)
	if err == nil {
		e.log.WithField("why", why).Info("reloaded")
		tellReady(e.log, "running, reloaded")
		return nil
	}
	tellReady(e.log, "running, not reloaded: the log says why")
	for _, text := range lines(err) {
		e.log.WithField("why", why).Error("not reloaded, the configuration in force stays: " + text)
	}
	return err
}

// lines gives an error's faults one by one.
func lines(err error) (list []string) {
	var faults fault.List
	if !errors.As(err, &faults) {
		return []string{err.Error()}
	}
	for _, f := range faults {
		list = append(list, f.String())
	}
	return list
}

// replace swaps cfg in. All that can fail comes before anything is changed.
func (e *edge) replace(cfg *config.Config) error {
	if faults := cfg.ClusterChanged(e.cfg); len(faults) > 0 {
		return faults
	}
	p, err := build(cfg, e.parts, e.log, e.steer.metrics.Authorized)
	if err != nil {
		return err
	}
	told, err := e.steer.notify.build(e, cfg.Notify)
	if err != nil {
		return err
	}
	listeners, err := e.open(cfg)
	if err != nil {
		return err
	}
	ln, err := e.steer.open(cfg.Admin)
	if err == nil {
		err = p.reload()
	}
	if err != nil {
		e.closeFresh(listeners)
		e.steer.discard(ln)
		return err
	}
	setLog(e.log, cfg.Log)
	e.steer.expect(cfg)
	p.replace(e.parts)
	allowSHA1(cfg)
	e.srv.SetPolicy(p.policy)
	for _, l := range cfg.Listeners {
		if e.listeners[l.Address] == nil {
			e.accept(l, listeners[l.Address])
		} else {
			e.srv.Configure(listeners[l.Address], listenerConfig(l))
			e.chmod(l)
		}
	}
	for address, ln := range e.listeners {
		if listeners[address] == nil {
			_ = ln.Close() // its running streams go on
		}
	}
	warnListeners(e.log, cfg)
	e.tellCertificates(p)
	e.steer.use(e, cfg.Admin, ln)
	e.steer.notify.use(e, told)
	p.start()
	e.serving.Go(func() { warnOfCertificates(e.log, cfg, p) })
	e.cfg, e.parts, e.listeners = cfg, p, listeners
	return nil
}

// chmod puts the mode of a unix socket that stays open in force.
func (e *edge) chmod(l config.Listener) {
	if err := setMode(l); err != nil {
		e.log.WithError(err).WithField("listener", l.Address).Error("the socket keeps the mode that it had")
	}
}

// watch tells when the file is not what was loaded.
func (e *edge) watch(ctx context.Context) <-chan struct{} {
	changed := make(chan struct{})
	file, seen := e.cfg.File, e.cfg.Sum
	e.serving.Go(func() {
		filewatch.Run(ctx, filewatch.Config{
			Files: func() []string { return []string{file} },
			Look: func() {
				sum, err := config.SumOf(file)
				if err != nil || sum == seen {
					return // a file that is being replaced is looked at again
				}
				seen = sum
				select {
				case changed <- struct{}{}:
				case <-ctx.Done():
				}
			},
			Warn: func(err error) { e.log.WithError(err).Warn("changes of the configuration file are noticed late") },
		})
	})
	return changed
}

// drain accepts nothing more, waits for streams as long as configured or until
// ctx is done, and ends the rest.
func (e *edge) drain(ctx context.Context) {
	e.log.WithField("connections", e.srv.Sessions()).Info("draining")
	if d := e.cfg.Limits.DrainTimeout; d > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, d)
		defer cancel()
	}
	if err := e.srv.Shutdown(ctx); err != nil {
		e.log.Warn("streams were ended that still ran")
	}
	e.parts.stop()
	e.steer.close()
	e.steer.notify.close(e)
	e.serving.Wait()
	e.log.Info("stopped")
}
