// Package admin is how operators see and steer a running edge over HTTP: health,
// metrics, an API in JSON, pages in the shape of nginx-rtmp's, and a dashboard.
//
// Whoever can send requests can end streams. The package therefore refuses what a
// browser sends on behalf of another site, bounds what a request may cost, and,
// where there is a token, serves nothing without it but health.
package admin

import (
	"context"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/sirupsen/logrus"
	"golang.org/x/net/netutil"

	"rtmps-edge/internal/secret"
	"rtmps-edge/proxy"
)

const (
	// DefaultListen is where the edge can be steered from its own machine.
	DefaultListen = "127.0.0.1:9936"
	// MinToken is the shortest token, in bytes: shorter ones can be guessed.
	MinToken = 16
	// maxConns is how many connections there may be at once: some operators and
	// some monitors, with room.
	maxConns = 64
	// maxViewers is how many of them may follow the live events.
	maxViewers = 16
	// maxHeader and maxBody bound a request, in bytes. No request has a body.
	maxHeader = 16 << 10
	maxBody   = 4 << 10
	// headerTimeout, requestTimeout and idleTimeout bound a connection that
	// is slow, or does nothing.
	headerTimeout  = 5 * time.Second
	requestTimeout = 15 * time.Second
	idleTimeout    = 60 * time.Second
	// goodbye is how long requests may go on when the address is closed.
	goodbye = 2 * time.Second
)

// Config says what is served.
type Config struct {
	Server  *proxy.Server
	Version Version
	Metrics http.Handler // nil: there are none
	// Certificates returns what is served to clients now; nil: nothing is.
	Certificates func() []Certificate
	// Pending returns the names for which an authority has given no certificate
	// so far, or none to follow the one that is served; nil: none waits.
	Pending func() []string
	// Reload puts the configuration file in force, or returns why not.
	Reload func(context.Context) error
	// Drain begins to drain, and returns at once.
	Drain func()
	Log   *logrus.Logger // nil: nobody hears
}

// Version is what the program says of itself.
type Version struct{ Version, Commit string }

// Admin serves one edge. It is a proxy.Observer.
type Admin struct {
	cfg     Config
	token   atomic.Pointer[secret.Text]
	hub     *hub
	viewers chan struct{} // holds as many as there are
	gate    gate
	frames  frames
	started time.Time
}

// New returns an Admin that serves nothing yet. Its Server may be set later, by
// Attach, since that one wants an Observer.
func New(c Config) *Admin {
	a := &Admin{cfg: c, hub: newHub(), viewers: make(chan struct{}, maxViewers), gate: newGate(), started: time.Now()}
	if a.cfg.Log == nil {
		a.cfg.Log = logrus.New()
		a.cfg.Log.SetOutput(io.Discard)
	}
	a.SetToken(secret.Text{})
	return a
}

// Attach sets the Server, before anything is served.
func (a *Admin) Attach(s *proxy.Server) { a.cfg.Server = s }

// SetToken sets what requests must carry from now on; the empty text is nothing.
func (a *Admin) SetToken(t secret.Text) { a.token.Store(&t) }

// Observe implements proxy.Observer.
func (a *Admin) Observe(e proxy.Event) { a.hub.observe(e) }

// Serve serves ln, which it then owns, until ctx is done or ln fails.
func (a *Admin) Serve(ctx context.Context, ln net.Listener) error {
	unix := ln.Addr().Network() == "unix"
	faults := a.cfg.Log.WriterLevel(logrus.DebugLevel)
	defer func() { _ = faults.Close() }()
	s := &http.Server{
		Handler:           a.handler(unix),
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       requestTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          log.New(faults, "admin: ", 0),
		BaseContext:       func(net.Listener) context.Context { return ctx },
	}
	stopped := make(chan struct{})
	ended := make(chan struct{})
	go func() {
		defer close(stopped)
		select {
		case <-ctx.Done():
		case <-ended:
		}
		soon, cancel := context.WithTimeout(context.Background(), goodbye)
		defer cancel()
		if s.Shutdown(soon) != nil {
			_ = s.Close()
		}
	}()
	err := s.Serve(netutil.LimitListener(ln, maxConns))
	close(ended)
	<-stopped
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// handler is everything, with its guards in front.
func (a *Admin) handler(unix bool) http.Handler {
	mux := http.NewServeMux()
	for _, r := range a.routes(unix) {
		mux.Handle(r.method+" "+r.path, a.guard(r, unix))
	}
	return http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		if h, pattern := mux.Handler(q); pattern == "" { // no such page, or no such method
			a.guard(route{handler: nowhere(h)}, unix).ServeHTTP(w, q)
			return
		}
		mux.ServeHTTP(w, q)
	})
}

// nowhere answers, in the words of this API, what the mux would: 404, or 405 with
// the methods that there are.
func nowhere(h http.Handler) http.HandlerFunc {
	return func(w http.ResponseWriter, q *http.Request) {
		p := newPage(http.Header{})
		defer pages.Put(p)
		h.ServeHTTP(p, q)
		if p.status != http.StatusMethodNotAllowed {
			fail(w, http.StatusNotFound, "there is nothing by this name; /api/v1/openapi.json lists what there is")
			return
		}
		allowed := p.header.Get("Allow")
		w.Header().Set("Allow", allowed)
		fail(w, http.StatusMethodNotAllowed, "the method must be one of: "+allowed)
	}
}

// route is one thing that can be asked for.
type route struct {
	method, path string
	open         bool // needs no token
	page         bool // may be opened by a link on another site
	effect       bool // changes something
	long         bool // has no end by itself
	handler      http.HandlerFunc
}

func (a *Admin) routes(unix bool) []route {
	list := []route{
		{method: "GET", path: "/healthz", open: true, handler: a.healthz},
		{method: "GET", path: "/readyz", open: true, handler: a.readyz},
		{method: "GET", path: "/{$}", page: true, handler: asset("index.html", "text/html; charset=utf-8")},
		{method: "GET", path: "/dashboard.css", handler: asset("dashboard.css", "text/css; charset=utf-8")},
		{method: "GET", path: "/dashboard.js", handler: asset("dashboard.js", "text/javascript; charset=utf-8")},
		{method: "GET", path: "/api/v1/openapi.json", handler: asset("openapi.json", "application/json")},
		{method: "GET", path: "/api/v1/status", handler: a.look(a.getStatus)},
		{method: "GET", path: "/api/v1/sessions", handler: a.look(a.getSessions)},
		{method: "GET", path: "/api/v1/sessions/{id}", handler: a.getSession},
		{method: "DELETE", path: "/api/v1/sessions/{id}", effect: true, handler: a.deleteSession},
		{method: "GET", path: "/api/v1/origins", handler: a.getOrigins},
		{method: "GET", path: "/api/v1/certificates", handler: a.getCertificates},
		{method: "GET", path: "/api/v1/bans", handler: a.look(a.getBans)},
		{method: "GET", path: "/api/v1/near", handler: a.getNear},
		{method: "POST", path: "/api/v1/bans/{ip...}", effect: true, handler: a.postBan},
		{method: "DELETE", path: "/api/v1/bans/{ip...}", effect: true, handler: a.deleteBan},
		{method: "GET", path: "/api/v1/events", handler: a.getEvents},
		{method: "GET", path: "/api/v1/live", long: true, handler: a.getLive},
		{method: "POST", path: "/api/v1/reload", effect: true, handler: a.postReload},
		{method: "POST", path: "/api/v1/drain", effect: true, handler: a.postDrain},
		{method: "GET", path: "/stat", handler: a.look(a.stat)},
		{method: "GET", path: "/control/drop/{what}", effect: true, handler: a.drop},
	}
	if a.cfg.Metrics != nil {
		list = append(list, route{method: "GET", path: "/metrics", handler: a.look(func(p *page, q *http.Request) { a.cfg.Metrics.ServeHTTP(p, q) })})
	}
	return append(list, a.profiles(unix)...)
}
