// Package monitoring is an example; its test holds the alerts and the dashboard
// against the series that there are. That the rules are good ones, and fire, is
// judged by Prometheus's own tools in e2e.
package monitoring

import (
	"encoding/json"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"rtmps-edge/metrics"
	"rtmps-edge/proxy"
)

// series returns the names of all series, of which each has happened once.
func series(t *testing.T) map[string]bool {
	t.Helper()
	m := metrics.New(metrics.Version{})
	m.Pull(metrics.Source{
		Server:       proxy.NewServer(proxy.ServerConfig{Policy: &proxy.Policy{Origins: []*proxy.Origin{{Name: "main", Servers: []string{"192.0.2.1:1935"}}}}}),
		Certificates: func() map[string]time.Time { return map[string]time.Time{"x": {}} },
	})
	took := proxy.Took{TLS: 1, Authorize: 1, Origin: 1, Setup: 1}
	for _, k := range []proxy.Kind{proxy.Accepted, proxy.Refused, proxy.Started, proxy.Ended, proxy.Banned} {
		m.Observe(proxy.Event{Kind: k, Took: took})
	}
	m.Authorized("keys", "granted", time.Second)
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	names := map[string]bool{"up": true}
	for line := range strings.Lines(w.Body.String()) {
		if name := regexp.MustCompile(`^[a-z_]+`).FindString(line); name != "" {
			names[name] = true
		}
	}
	if !names["rtmps_edge_session_end_total"] || !names["rtmps_edge_authz_seconds_bucket"] || !names["process_open_fds"] {
		t.Fatalf("not all series are there: %v", names)
	}
	return names
}

// seriesIn finds the names of series in expressions.
var seriesIn = regexp.MustCompile(`\b(?:rtmps_edge|process|go)_[a-z_]+`)

func TestAlertsKnowTheSeries(t *testing.T) {
	text, err := os.ReadFile("alerts.yml")
	if err != nil {
		t.Fatal(err)
	}
	known := series(t)
	found := seriesIn.FindAllString(string(text), -1)
	if len(found) < 20 {
		t.Errorf("only %d series are used", len(found))
	}
	for _, name := range found {
		if !known[name] {
			t.Errorf("there is no series %s", name)
		}
	}
	tests, err := os.ReadFile("alerts_test.yml")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile(`- alert: (\w+)`).FindAllStringSubmatch(string(text), -1) {
		if !strings.Contains(string(tests), "name: "+m[1]+" fires\n") {
			t.Errorf("no test makes %s fire", m[1])
		}
	}
}

// dashboard is what a test needs of Grafana's form.
type dashboard struct {
	Title  string `json:"title"`
	Panels []struct {
		ID      int    `json:"id"`
		Type    string `json:"type"`
		Title   string `json:"title"`
		GridPos struct{ H, W, X, Y int }
		Targets []struct {
			Expr  string `json:"expr"`
			RefID string `json:"refId"`
		} `json:"targets"`
	} `json:"panels"`
}

func TestDashboardKnowsTheSeries(t *testing.T) {
	text, err := os.ReadFile("grafana-dashboard.json")
	if err != nil {
		t.Fatal(err)
	}
	var d dashboard
	if err := json.Unmarshal(text, &d); err != nil {
		t.Fatal(err)
	}
	known, shown, ids, taken := series(t), map[string]bool{}, map[int]bool{}, map[[2]int]string{}
	for _, p := range d.Panels {
		if ids[p.ID] || p.Title == "" {
			t.Errorf("panel %d %q stands twice, or has no title", p.ID, p.Title)
		}
		ids[p.ID] = true
		if (len(p.Targets) == 0) != (p.Type == "row") {
			t.Errorf("%s shows %d series", p.Title, len(p.Targets))
		}
		for _, target := range p.Targets {
			names := seriesIn.FindAllString(target.Expr, -1)
			if len(names) == 0 || strings.Count(target.Expr, `instance=~"$instance"`) != len(names) {
				t.Errorf("%s: %s", p.Title, target.Expr)
			}
			for _, name := range names {
				shown[name] = true
				if !known[name] {
					t.Errorf("%s: there is no series %s", p.Title, name)
				}
			}
		}
		for x := range p.GridPos.W {
			for y := range p.GridPos.H {
				at := [2]int{p.GridPos.X + x, p.GridPos.Y + y}
				if taken[at] != "" || at[0] >= 24 {
					t.Errorf("%s lies over %s, or beyond the edge", p.Title, taken[at])
				}
				taken[at] = p.Title
			}
		}
	}
	for name := range known { // whatever the edge tells is to be seen
		if strings.HasPrefix(name, "rtmps_edge_") && !shown[name] && !strings.HasSuffix(name, "_sum") && !strings.HasSuffix(name, "_count") {
			t.Errorf("%s is not shown", name)
		}
	}
}
