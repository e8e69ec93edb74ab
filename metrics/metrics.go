// Package metrics tells Prometheus how the edge does. It is the only package
// that knows Prometheus: it hears the events of sessions, and reads the table
// of streams when it is scraped, so that a stream costs it nothing.
//
// Stream keys, stream names, subjects and client addresses are never labels;
// what is configured (listeners, origins, servers, certificates) is.
package metrics

import (
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	dto "github.com/prometheus/client_model/go"

	"rtmps-edge/internal/polite"
	"rtmps-edge/proxy"
)

const (
	namespace = "rtmps_edge"
	// maxReasons is how many different reasons one series may have, all others
	// being "other". There are some dozens, all written in this program; the
	// bound is for those who add some from outside by mistake.
	maxReasons = 100
	// maxScrapes is how many scrapes may go on at once.
	maxScrapes = 4
	// scrapeTimeout is Prometheus's own default.
	scrapeTimeout = 10 * time.Second
)

// seconds are the bounds of histograms: from a handshake on a local network to
// a setup that just made it.
var seconds = []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10}

// Metrics is an Observer that counts, and a handler of scrapes.
type Metrics struct {
	registry *prometheus.Registry
	reasons  reasons

	accepted   *prometheus.CounterVec
	refused    *prometheus.CounterVec
	ends       *prometheus.CounterVec
	handshakes *prometheus.CounterVec
	handshake  prometheus.Histogram
	setup      prometheus.Histogram
	authz      *prometheus.HistogramVec
	dial       prometheus.Histogram
	banned     prometheus.Counter
	reloads    *prometheus.CounterVec
	reloaded   prometheus.Gauge
	notify     *prometheus.CounterVec
}

// Version is what the program says of itself.
type Version struct{ Version, Commit, Go string }

// New returns Metrics that have counted nothing.
func New(v Version) *Metrics {
	m := &Metrics{
		registry:   prometheus.NewRegistry(),
		accepted:   counter("connections_total", "Connections that were accepted.", "listener"),
		refused:    counter("refused_total", "Connections that became no stream, by the stage at which they ended, and why.", "stage", "reason"),
		ends:       counter("session_end_total", "Streams that ended, by who ended them, and why.", "side", "reason"),
		handshakes: counter("tls_handshakes_total", "TLS handshakes with clients, by version (unknown if it failed) and result.", "version", "result"),
		handshake:  histogram("tls_handshake_seconds", "How long TLS handshakes with clients took."),
		setup:      histogram("setup_seconds", "From accept to the start of the stream, for those that started."),
		dial:       histogram("origin_dial_seconds", "From the dialing of an origin's server until it had accepted the stream."),
		banned:     prometheus.NewCounter(prometheus.CounterOpts{Namespace: namespace, Name: "banned_total", Help: "Bans that were set."}),
		reloads:    counter("reloads_total", "Reloads of the configuration, by result.", "result"),
		reloaded: prometheus.NewGauge(prometheus.GaugeOpts{Namespace: namespace, Name: "last_reload_successful",
			Help: "1 if the configuration in force is the one that was last asked for."}),
		notify: counter("notify_total", "Webhook calls about events, by result (sent, failed, dropped).", "result"),
	}
	m.authz = prometheus.NewHistogramVec(prometheus.HistogramOpts{Namespace: namespace, Name: "authz_seconds", Buckets: seconds,
		Help: "How long authorizers took to answer, by authorizer and result (granted, denied, unknown, failed)."}, []string{"authorizer", "result"})
	m.registry.MustRegister(m.accepted, m.refused, m.ends, m.handshakes, m.handshake, m.setup, m.authz, m.dial, m.banned, m.reloads, m.reloaded, m.notify,
		collectors.NewGoCollector(), later{collectors.NewProcessCollector(collectors.ProcessCollectorOpts{})}, info(v))
	m.reloaded.Set(1)
	m.expect()
	return m
}

// limits are the reasons of refusals that an operator may want to do something
// about at once.
var limits = map[proxy.Stage][]string{
	proxy.StageAdmit:     {"connections"},
	proxy.StageTLS:       {"handshakes"},
	proxy.StageAuthorize: {"streams_per_ip", "streams_per_subject"},
}

// endsByOrigin are the reasons of ends that many streams may have at once.
var endsByOrigin = []string{"closed", "cut", "reset", "lost", "stalled", "protocol", "refused"}

// expect counts 0 of what alerts look for: a series that begins with its first
// event has not risen, for Prometheus, and nobody would hear of that one.
func (m *Metrics) expect() {
	for _, result := range []string{"ok", "failed"} {
		m.reloads.WithLabelValues(result)
	}
	for _, result := range []string{NotifySent, NotifyFailed, NotifyDropped} {
		m.notify.WithLabelValues(result)
	}
	for stage, reasons := range limits {
		for _, reason := range reasons {
			m.refused.WithLabelValues(string(stage), m.reasons.label(reason))
		}
	}
	for _, reason := range endsByOrigin {
		m.ends.WithLabelValues(string(proxy.SideOrigin), m.reasons.label(reason))
	}
}

// Authorizers tells which ones may be asked, so that their first failure counts.
func (m *Metrics) Authorizers(names ...string) {
	for _, name := range names {
		m.authz.WithLabelValues(name, "failed")
	}
}

func counter(name, help string, labels ...string) *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: namespace, Name: name, Help: help}, labels)
}

func histogram(name, help string) prometheus.Histogram {
	return prometheus.NewHistogram(prometheus.HistogramOpts{Namespace: namespace, Name: name, Help: help, Buckets: seconds})
}

// info is a series that is always 1, as is the custom.
func info(v Version) prometheus.Collector {
	g := prometheus.NewGauge(prometheus.GaugeOpts{Namespace: namespace, Name: "info", Help: "The program that runs.",
		ConstLabels: prometheus.Labels{"version": v.Version, "commit": v.Commit, "go": v.Go}})
	g.Set(1)
	return g
}

// later collects after streams have had their turn: reading what the kernel knows
// of the process takes as long as a slice of polite work.
type later struct{ prometheus.Collector }

// Collect implements prometheus.Collector.
func (l later) Collect(c chan<- prometheus.Metric) {
	polite.Rest()
	l.Collector.Collect(c)
}

// gather collects, and lets streams have their turn before all is written.
func (m *Metrics) gather() ([]*dto.MetricFamily, error) {
	list, err := m.registry.Gather()
	polite.Rest()
	return list, err
}

// Handler answers scrapes.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(prometheus.GathererFunc(m.gather), promhttp.HandlerOpts{MaxRequestsInFlight: maxScrapes, Timeout: scrapeTimeout})
}

// Observe implements proxy.Observer.
func (m *Metrics) Observe(e proxy.Event) {
	switch e.Kind {
	case proxy.Accepted:
		m.accepted.WithLabelValues(e.Listener).Inc()
	case proxy.Refused:
		m.refused.WithLabelValues(string(e.Stage), m.reasons.label(e.Reason)).Inc()
		m.stages(e)
	case proxy.Started:
		m.setup.Observe(e.Took.Setup.Seconds())
		m.stages(e)
	case proxy.Banned:
		m.banned.Inc()
	case proxy.Ended:
		m.ends.WithLabelValues(string(e.Side), m.reasons.label(e.Reason)).Inc()
	}
}

// stages counts what a session went through before it started or was refused.
func (m *Metrics) stages(e proxy.Event) {
	if e.Took.TLS > 0 {
		version, result := "unknown", "ok"
		if v, ok := strings.CutPrefix(e.TLS, "TLS "); ok {
			version = v
		}
		if e.Kind == proxy.Refused && e.Stage == proxy.StageTLS {
			result = m.reasons.label(e.Reason)
		} else {
			m.handshake.Observe(e.Took.TLS.Seconds())
		}
		m.handshakes.WithLabelValues(version, result).Inc()
	}
	if e.Took.Origin > 0 {
		m.dial.Observe(e.Took.Origin.Seconds())
	}
}

// Authorized counts one answer of an authorizer.
func (m *Metrics) Authorized(authorizer, result string, took time.Duration) {
	m.authz.WithLabelValues(authorizer, result).Observe(took.Seconds())
}

// Reloaded counts one reload.
func (m *Metrics) Reloaded(err error) {
	if err != nil {
		m.reloads.WithLabelValues("failed").Inc()
		m.reloaded.Set(0)
		return
	}
	m.reloads.WithLabelValues("ok").Inc()
	m.reloaded.Set(1)
}

// Results of a webhook call.
const (
	NotifySent    = "sent"
	NotifyFailed  = "failed"  // given up after all tries
	NotifyDropped = "dropped" // the queue was full
)

// Notified counts one webhook call.
func (m *Metrics) Notified(result string) { m.notify.WithLabelValues(result).Inc() }

// reasons bounds how many label values there are.
type reasons struct {
	mu    sync.Mutex
	known map[string]bool
}

// label returns reason, or "other" if there are too many.
func (r *reasons) label(reason string) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.known[reason]:
		return reason
	case len(r.known) >= maxReasons:
		return "other"
	case r.known == nil:
		r.known = map[string]bool{}
	}
	reason = strings.ToValidUTF8(reason, "?")
	r.known[reason] = true
	return reason
}
