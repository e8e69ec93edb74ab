package e2e

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"rtmps-edge/rtmp/rtmptest"
)

// window stands for the minutes over which alerts look back.
const window = "15s"

// trouble is an edge that is scraped, and what was done to it so far.
type trouble struct {
	t       *testing.T
	e       *edge
	p       *prometheus
	allowed []string // alerts that have a cause by now
}

// fires waits for alerts that have a cause now, and finds no others.
func (tr *trouble) fires(names ...string) {
	tr.t.Helper()
	tr.caused(func() {}, names...)
}

// caused is fires for what has to go on for a while.
func (tr *trouble) caused(cause func(), names ...string) {
	tr.t.Helper()
	tr.allowed = append(tr.allowed, names...)
	eventually(tr.t, fmt.Sprintf("the alerts %v", names), func() error {
		cause()
		got := tr.noOther()
		for _, name := range names {
			if !slices.Contains(got, name) {
				return fmt.Errorf("they are %v", got)
			}
		}
		return nil
	})
}

// noOther returns the alerts that fire, all of which must have a cause.
func (tr *trouble) noOther() []string {
	tr.t.Helper()
	got, err := tr.p.alerts()
	if err != nil {
		return nil // Prometheus does not answer yet
	}
	for _, name := range got {
		if !slices.Contains(tr.allowed, name) {
			tr.t.Errorf("%s fires without a cause; %v have one", name, tr.allowed)
			tr.allowed = append(tr.allowed, name)
		}
	}
	return got
}

// publish opens a stream that the backend decides about.
func (tr *trouble) publish(name string) (*rtmptest.Publisher, error) {
	c, err := tr.e.dial(tr.t)
	if err != nil {
		return nil, err
	}
	tr.t.Cleanup(func() { _ = c.Close() })
	return rtmptest.Publish(c, rtmptest.PublishConfig{App: "live", Name: name})
}

// backend is a webhook that grants all but what is called "wrong".
type backend struct {
	*httptest.Server
	broken atomic.Bool
	slow   atomic.Bool
}

// slowAnswer is above what the alert about slow authorizers tells apart.
const slowAnswer = 2600 * time.Millisecond

func newBackend(t *testing.T) *backend {
	b := &backend{}
	b.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(io.LimitReader(r.Body, 1<<16))
		if b.slow.Load() {
			select {
			case <-time.After(slowAnswer):
			case <-r.Context().Done():
			}
		}
		switch {
		case b.broken.Load():
			w.WriteHeader(http.StatusInternalServerError)
		case strings.Contains(string(body), "wrong"):
			w.WriteHeader(http.StatusForbidden)
		default:
			_, _ = io.WriteString(w, `{"allow": true}`)
		}
	}))
	t.Cleanup(b.Close)
	return b
}

// keepAlive sends sound on all streams, but those that are told to be silent.
func keepAlive(t *testing.T, streams []*rtmptest.Publisher, silent *atomic.Bool) {
	stop := make(chan struct{})
	var done sync.WaitGroup
	done.Go(func() {
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for ts := uint32(0); ; ts += 1000 {
			for i, p := range streams {
				if i > 0 || !silent.Load() {
					_ = p.WriteAudio(ts, []byte{0x2f, 0xff})
				}
			}
			select {
			case <-tick.C:
			case <-stop:
				return
			}
		}
	})
	t.Cleanup(func() { close(stop); done.Wait() })
}

// Each alert is caused at a running edge, and fires; none fires that has no cause.
// What they look back over is made short. That they are patient, and go away again,
// is shown by Prometheus's own unit tests of them.
func TestAlertsAreCaused(t *testing.T) {
	t.Parallel()
	const crowd = 10 // streams: the least of which losing half is told
	origin := startNginxWith(t, "", "")
	webhook := newBackend(t)
	deaf := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) }))
	defer deaf.Close()
	e := prepareEdge(t, settings{Origin: origin.address(), Publish: `"webhook"`, Admin: "127.0.0.1:0", Token: adminToken, AtOrigin: `health_every = "1s"`,
		Limits: fmt.Sprintf("connections_per_ip = 0\nconnect_rate_per_ip = \"0\"\nsetup_timeout = \"60s\"\nstreams_per_ip = %d\nstreams_per_subject = 0\nauth_failures = \"3/m\"\n"+
			"[authz.webhook]\nurl = %q\ntimeout = \"3.9s\"", crowd, webhook.URL)})
	e.secrets = append(e.secrets, adminToken)
	cmd := e.command(t, "run", "-c", filepath.Join(e.dir, "edge.toml"))
	cmd.Args = append([]string{"prlimit", "--nofile=100:100", "--", cmd.Path}, cmd.Args[1:]...)
	cmd.Path = program(t, "prlimit")
	e.run(t, cmd)
	host := strings.Trim(strings.TrimPrefix(e.dashboard(t), "http://"), "/")
	tr := &trouble{t: t, e: e, p: startPrometheus(t, host, "[5m]", "["+window+"]", "[10m]", "["+window+"]", "offset 10m", "offset "+window)}

	// All is well, but for the certificate, which is good for a day.
	tr.fires("RTMPSEdgeCertificateExpires", "RTMPSEdgeCertificateExpiresSoon")
	var streams []*rtmptest.Publisher
	for i := range crowd {
		p, err := tr.publish(fmt.Sprintf("stream-%d", i))
		if err != nil {
			t.Fatal(err)
		}
		streams = append(streams, p)
	}
	var silent atomic.Bool
	keepAlive(t, streams, &silent)
	eventually(t, "the streams in Prometheus", func() error {
		tr.noOther()
		v, err := tr.p.value(`sum(rtmps_edge_sessions{action="publish"} offset ` + window + `)`)
		if err == nil && v != fmt.Sprint(crowd) {
			err = fmt.Errorf("%s streams", v)
		}
		return err
	})

	silent.Store(true)
	tr.fires("RTMPSEdgeStreamSilent")
	silent.Store(false)

	if _, err := tr.publish("one-too-many"); err == nil {
		t.Error("the limit of streams does not hold")
	}
	tr.fires("RTMPSEdgeLimitReached")

	webhook.slow.Store(true)
	_, _ = tr.publish("one-too-many")
	tr.fires("RTMPSEdgeAuthorizerSlow")
	webhook.slow.Store(false)

	webhook.broken.Store(true)
	_, _ = tr.publish("anybody")
	tr.fires("RTMPSEdgeAuthorizerFails")
	webhook.broken.Store(false)

	tr.caused(func() { // encoders without TLS
		for range crowd {
			if c, err := net.Dial("tcp", "127.0.0.1:"+e.port); err == nil {
				_, _ = c.Write(new(rtmptest.Builder).C0C1(3).Bytes())
				_, _ = io.Copy(io.Discard, c)
				_ = c.Close()
			}
		}
	}, "RTMPSEdgeHandshakesFail")

	idle := idleConnections(t, e, 60)
	tr.fires("RTMPSEdgeFilesRunOut")
	for _, c := range idle {
		_ = c.Close()
	}

	reloaded(t, e, deaf.URL)
	writeFile(t, filepath.Join(e.dir, "edge.toml"), "[log]\nlevel = \"loud\"\n")
	tr.fires("RTMPSEdgeReloadFailed")

	origin.interrupt(t)
	tr.fires("RTMPSEdgeOriginEndsStreams", "RTMPSEdgeStreamsLost", "RTMPSEdgeNoOrigin", "RTMPSEdgeOriginServerDown", "RTMPSEdgeBackendNotTold")

	tr.caused(func() { // banned after some
		for range 5 {
			_, _ = tr.publish("wrong")
		}
	}, "RTMPSEdgeKeysAreGuessed")

	e.signal(t, syscall.SIGTERM)
	tr.fires("RTMPSEdgeDown")
	text, err := os.ReadFile(filepath.Join(monitoring, "alerts.yml"))
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile(`- alert: (\w+)`).FindAllStringSubmatch(string(text), -1) {
		if m[1] != "RTMPSEdgeNoCertificate" && !slices.Contains(tr.allowed, m[1]) { // that one has an edge of its own, below
			t.Errorf("nothing causes %s", m[1])
		}
	}
}

// An edge that an authority gives no certificate causes the last of the alerts, and
// no other.
func TestTheAlertOfNoCertificateIsCaused(t *testing.T) {
	t.Parallel()
	origin := startNginx(t)
	nobody, err := net.Listen("tcp", "127.0.0.1:0") // an authority that answers nothing
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = nobody.Close() }()
	e := startEdge(t, settings{Origin: origin.address(), Admin: "127.0.0.1:0", Token: adminToken,
		TLS: fmt.Sprintf("source = \"certmagic\"\n[tls.acme]\ndomains = [\"live.example.test\"]\ndirectory = \"https://%s/directory\"\nstorage = \"acme\"\n", nobody.Addr())})
	host := strings.Trim(strings.TrimPrefix(e.dashboard(t), "http://"), "/")
	tr := &trouble{t: t, e: e, p: startPrometheus(t, host, "[5m]", "["+window+"]", "[10m]", "["+window+"]", "offset 10m", "offset "+window)}
	tr.fires("RTMPSEdgeNoCertificate")
}

// idleConnections opens connections that say nothing.
func idleConnections(t *testing.T, e *edge, n int) (list []net.Conn) {
	t.Helper()
	for range n {
		c, err := net.Dial("tcp", "127.0.0.1:"+e.port)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		list = append(list, c)
	}
	return list
}

// reloaded adds a backend that takes no events.
func reloaded(t *testing.T, e *edge, url string) {
	t.Helper()
	file := filepath.Join(e.dir, "edge.toml")
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, file, string(text)+fmt.Sprintf("\n[[notify]]\nurl = %q\n", url))
	e.record(t, "the reload", map[string]string{"msg": "reloaded"})
}
