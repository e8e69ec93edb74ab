package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"rtmps-edge/internal/polite"
	"rtmps-edge/proxy"
)

// silent is how long a stream may not move before it counts as silent.
const silent = 5 * time.Second

// Source is what is asked at each scrape. A nil function gives no series.
type Source struct {
	Server *proxy.Server
	// Certificates returns when what is served expires, by its configured or
	// first name.
	Certificates func() map[string]time.Time
}

// Pull adds the series that are read at each scrape. It is called once.
func (m *Metrics) Pull(s Source) { m.registry.MustRegister(&puller{s}) }

// puller implements prometheus.Collector.
type puller struct{ Source }

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(namespace+"_"+name, help, labels, nil)
}

var (
	connections = desc("connections", "Connections of clients, those that are no streams yet included.")
	sessions    = desc("sessions", "Streams that run, by action and origin.", "action", "origin")
	stalled     = desc("sessions_silent", "Streams that run and have not moved for 5 seconds, by action and origin.", "action", "origin")
	streamBytes = desc("stream_bytes_total", "Bytes of streams, in: received from clients, out: sent to clients.", "direction")
	originUp    = desc("origin_up", "1 if nothing is known against an origin's server.", "origin", "server")
	serverLoad  = desc("origin_sessions", "Streams at an origin's server.", "origin", "server")
	expiry      = desc("certificate_expiry_timestamp_seconds", "When a certificate that is served expires; 0 while there is none for a name that is to have one.", "name")
	bans        = desc("bans", "Addresses that are banned.")
	clusterUp   = desc("cluster_up", "1 if the Redis that the edges share can be used; only where there is one.")
	draining    = desc("draining", "1 if nothing is accepted any more.")
)

// Describe implements prometheus.Collector.
func (p *puller) Describe(c chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{connections, sessions, stalled, streamBytes, originUp, serverLoad, expiry, bans, clusterUp, draining} {
		c <- d
	}
}

// Collect implements prometheus.Collector.
func (p *puller) Collect(c chan<- prometheus.Metric) {
	g := gauges{c}
	g.set(connections, float64(p.Server.Sessions()))
	g.set(draining, truth(p.Server.Draining()))
	p.streams(g)
	p.origins(g)
	in, out := p.Server.Bytes()
	c <- prometheus.MustNewConstMetric(streamBytes, prometheus.CounterValue, float64(in), "in")
	c <- prometheus.MustNewConstMetric(streamBytes, prometheus.CounterValue, float64(out), "out")
	g.set(bans, float64(p.Server.Limiter().Bans.Len()))
	if c := p.Server.Limiter().Cluster; c != nil {
		g.set(clusterUp, truth(c.Up()))
	}
	if p.Certificates != nil {
		for name, at := range p.Certificates() {
			g.set(expiry, float64(at.Unix()), name)
		}
	}
}

type gauges struct{ c chan<- prometheus.Metric }

func (g gauges) set(d *prometheus.Desc, v float64, labels ...string) {
	g.c <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// streams counts by action and origin; those that are configured are there
// without a stream, too.
func (p *puller) streams(g gauges) {
	type by struct{ action, origin string }
	all, still := map[by]int{}, map[by]int{}
	for _, o := range p.Server.Origins() {
		for _, action := range []string{"publish", "play"} {
			all[by{action, o.Name}] = 0
		}
	}
	var w polite.Work
	p.Server.Each(func(i *proxy.Info) {
		k := by{string(i.Action), i.Origin}
		all[k]++
		if i.Silent >= silent {
			still[k]++
		}
		w.Step()
	})
	for k, n := range all {
		g.set(sessions, float64(n), k.action, k.origin)
		g.set(stalled, float64(still[k]), k.action, k.origin)
	}
}

func (p *puller) origins(g gauges) {
	for _, o := range p.Server.Origins() {
		seen := map[string]bool{}
		for _, s := range o.Servers {
			if seen[s.Address] {
				continue // a server that stands twice is one
			}
			seen[s.Address] = true
			g.set(originUp, truth(s.Up), o.Name, s.Address)
			g.set(serverLoad, float64(s.Streams), o.Name, s.Address)
		}
	}
}
