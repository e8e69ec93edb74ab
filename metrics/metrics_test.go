package metrics

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"

	"rtmps-edge/authz"
	"rtmps-edge/proxy"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// scrape returns the lines of series with the prefix, as Prometheus gets them.
func scrape(t *testing.T, m *Metrics, prefix string) string {
	t.Helper()
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	if w.Code != 200 {
		t.Fatalf("%d: %s", w.Code, w.Body)
	}
	var lines []string
	for line := range strings.Lines(w.Body.String()) {
		if strings.HasPrefix(line, prefix) {
			lines = append(lines, strings.TrimSpace(line))
		}
	}
	return strings.Join(lines, "\n")
}

// edge is a server that serves nobody.
func edge() *proxy.Server {
	return proxy.NewServer(proxy.ServerConfig{Policy: &proxy.Policy{Origins: []*proxy.Origin{
		{Name: "main", Servers: []string{"192.0.2.1:1935", "192.0.2.2:1935", "192.0.2.1:1935"}}}}})
}

// session makes the events of one session.
func session(m *Metrics, last proxy.Event) {
	e := last
	e.Kind = proxy.Accepted
	m.Observe(e)
	if last.Kind == proxy.Ended {
		e.Kind = proxy.Started
		m.Observe(e)
	}
	m.Observe(last)
}

// secrets are what must never be a label.
var secrets = proxy.Event{Session: "5e551011", Listener: ":1936", Client: netip.MustParseAddrPort("203.0.113.7:5000"), ServerName: "sni.example",
	TLS: "TLS 1.3", Encoder: "encoder-text", App: "app-text", Fingerprint: "f1f2f3f4", Subject: "subject-text", Name: "name-text", Origin: "main",
	Err: errors.New("detail-text"), Took: proxy.Took{TLS: 20 * time.Millisecond, Authorize: time.Millisecond, Origin: 3 * time.Millisecond, Setup: 40 * time.Millisecond}}

func TestSeriesOfTheContract(t *testing.T) {
	m, e := New(Version{"1.0", "abc", "go1"}), edge()
	for i := range byte(3) {
		e.Limiter().Bans.Add(netip.AddrFrom4([4]byte{192, 0, 2, i}), time.Hour, "test")
	}
	m.Observe(proxy.Event{Kind: proxy.Banned})
	m.Pull(Source{Server: e,
		Certificates: func() map[string]time.Time { return map[string]time.Time{"live.example.com": time.Unix(1900000000, 0)} }})
	ended, refused := secrets, secrets
	ended.Kind, ended.Side, ended.Reason = proxy.Ended, proxy.SideClient, "finished"
	refused.Kind, refused.Stage, refused.Reason, refused.TLS, refused.Took = proxy.Refused, proxy.StageTLS, "not TLS", "", proxy.Took{TLS: time.Second}
	session(m, ended)
	session(m, refused)
	m.Authorized("keys", "granted", 3*time.Millisecond)
	m.Reloaded(errors.New("a fault"))
	all := scrape(t, m, "rtmps_edge_")
	for _, want := range []string{
		`rtmps_edge_connections 0`,
		`rtmps_edge_connections_total{listener=":1936"} 2`,
		`rtmps_edge_refused_total{reason="not TLS",stage="tls"} 1`,
		`rtmps_edge_sessions{action="publish",origin="main"} 0`,
		`rtmps_edge_sessions{action="play",origin="main"} 0`,
		`rtmps_edge_stream_bytes_total{direction="in"} 0`,
		`rtmps_edge_stream_bytes_total{direction="out"} 0`,
		`rtmps_edge_tls_handshakes_total{result="ok",version="1.3"} 1`,
		`rtmps_edge_tls_handshakes_total{result="not TLS",version="unknown"} 1`,
		`rtmps_edge_tls_handshake_seconds_count 1`,
		`rtmps_edge_setup_seconds_sum 0.04`,
		`rtmps_edge_authz_seconds_count{authorizer="keys",result="granted"} 1`,
		`rtmps_edge_origin_up{origin="main",server="192.0.2.1:1935"} 1`,
		`rtmps_edge_origin_up{origin="main",server="192.0.2.2:1935"} 1`,
		`rtmps_edge_origin_dial_seconds_sum 0.003`,
		`rtmps_edge_certificate_expiry_timestamp_seconds{name="live.example.com"} 1.9e+09`,
		`rtmps_edge_bans 3`,
		`rtmps_edge_banned_total 1`,
		`rtmps_edge_reloads_total{result="failed"} 1`,
		`rtmps_edge_reloads_total{result="ok"} 0`,
		`rtmps_edge_last_reload_successful 0`,
		`rtmps_edge_session_end_total{reason="finished",side="client"} 1`,
		`rtmps_edge_draining 0`,
		`rtmps_edge_info{commit="abc",go="go1",version="1.0"} 1`,
	} {
		if !strings.Contains("\n"+all+"\n", "\n"+want+"\n") {
			t.Errorf("%s is not in\n%s", want, all)
		}
	}
	for _, private := range []string{secrets.Session, "203.0.113.7", "sni.example", "encoder-text", "app-text", "f1f2f3f4", "subject-text", "name-text", "detail-text"} {
		if strings.Contains(all, private) {
			t.Errorf("%s is in\n%s", private, all)
		}
	}
}

// A rise that begins with a series cannot be seen: what alerts look for is there
// before it happens.
func TestWhatAlertsLookForIsThere(t *testing.T) {
	m := New(Version{})
	m.Authorizers("keys", "webhook", "keys")
	all := scrape(t, m, "rtmps_edge_")
	for _, want := range []string{
		`rtmps_edge_refused_total{reason="connections",stage="admit"} 0`,
		`rtmps_edge_refused_total{reason="handshakes",stage="tls"} 0`,
		`rtmps_edge_refused_total{reason="streams_per_ip",stage="authorize"} 0`,
		`rtmps_edge_refused_total{reason="streams_per_subject",stage="authorize"} 0`,
		`rtmps_edge_session_end_total{reason="closed",side="origin"} 0`,
		`rtmps_edge_session_end_total{reason="reset",side="origin"} 0`,
		`rtmps_edge_authz_seconds_count{authorizer="webhook",result="` + authz.Failed + `"} 0`,
		`rtmps_edge_notify_total{result="failed"} 0`,
		`rtmps_edge_reloads_total{result="failed"} 0`,
	} {
		if !strings.Contains("\n"+all+"\n", "\n"+want+"\n") {
			t.Errorf("%s is not in\n%s", want, all)
		}
	}
}

func TestNamesFollowTheCustom(t *testing.T) {
	m := New(Version{})
	m.Pull(Source{Server: edge(), Certificates: func() map[string]time.Time { return map[string]time.Time{"a": {}} }})
	problems, err := testutil.GatherAndLint(m.registry)
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
	if err != nil {
		t.Error(err)
	}
}

func TestLabelsAreBounded(t *testing.T) {
	m := New(Version{})
	for i := range 10 * maxReasons {
		session(m, proxy.Event{Kind: proxy.Refused, Stage: proxy.StageRTMP, Reason: fmt.Sprintf("\xff %d", i)})
		session(m, proxy.Event{Kind: proxy.Ended, Side: proxy.SideEdge, Reason: fmt.Sprint(i)})
	}
	if n := testutil.CollectAndCount(m.refused) + testutil.CollectAndCount(m.ends); n > maxReasons+3 {
		t.Errorf("%d series", n)
	}
	if got := testutil.ToFloat64(m.refused.WithLabelValues("rtmp", "other")); got == 0 {
		t.Error("what is too many is not counted")
	}
}

func TestAReloadThatWorksIsTold(t *testing.T) {
	m := New(Version{})
	m.Reloaded(errors.New("x"))
	m.Reloaded(nil)
	m.Notified(NotifyDropped)
	if testutil.ToFloat64(m.reloaded) != 1 || testutil.ToFloat64(m.reloads.WithLabelValues("ok")) != 1 ||
		testutil.ToFloat64(m.notify.WithLabelValues(NotifyDropped)) != 1 {
		t.Error(scrape(t, m, "rtmps_edge_"))
	}
}

func TestDrainingIsTold(t *testing.T) {
	m, s := New(Version{}), edge()
	m.Pull(Source{Server: s})
	if err := s.Shutdown(context.Background()); err != nil {
		t.Fatal(err)
	}
	if got := scrape(t, m, "rtmps_edge_draining"); got != "rtmps_edge_draining 1" {
		t.Error(got)
	}
}

func BenchmarkScrape(b *testing.B) {
	m := New(Version{})
	m.Pull(Source{Server: edge()})
	for b.Loop() {
		w := httptest.NewRecorder()
		m.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
		_, _ = io.Copy(io.Discard, w.Body)
	}
}
