package e2e

import (
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const monitoring = "../examples/monitoring"

// Prometheus's own tool finds the rules and the configuration good, and its unit
// tests make each alert fire, and let none of a healthy edge.
func TestAlertRules(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{"check", "rules", "alerts.yml"}, {"test", "rules", "alerts_test.yml"}, {"check", "config", "--syntax-only", "prometheus.yml"}} {
		cmd := exec.Command(program(t, "promtool"), args...)
		cmd.Dir = monitoring
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
}

// Every expression of the Grafana dashboard is one that Prometheus understands.
func TestDashboardExpressions(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join(monitoring, "grafana-dashboard.json"))
	if err != nil {
		t.Fatal(err)
	}
	var d struct {
		Panels []struct{ Targets []struct{ Expr string } }
	}
	if err := json.Unmarshal(text, &d); err != nil {
		t.Fatal(err)
	}
	rules := "groups:\n- name: dashboard\n  rules:\n"
	n := 0
	for _, p := range d.Panels {
		for _, target := range p.Targets {
			n++
			expr := strings.NewReplacer("$__rate_interval", "5m", "$job", ".*", "$instance", ".*").Replace(target.Expr)
			rules += fmt.Sprintf("  - record: e%d\n    expr: %q\n", n, expr)
		}
	}
	file := filepath.Join(t.TempDir(), "rules.yml")
	writeFile(t, file, rules)
	if out, err := exec.Command(program(t, "promtool"), "check", "rules", "--lint=none", file).CombinedOutput(); err != nil || n < 20 {
		t.Errorf("%d expressions: %v\n%s", n, err, out)
	}
}

// prometheus is a running one.
type prometheus struct {
	*process
	url string
}

// startPrometheus scrapes the edge each second, and judges by the alerts of the
// example as soon as they can be told, with some of their text replaced.
func startPrometheus(t testing.TB, edge string, replace ...string) *prometheus {
	t.Helper()
	dir, address := t.TempDir(), freeAddress(t)
	rules, err := os.ReadFile(filepath.Join(monitoring, "alerts.yml"))
	if err != nil {
		t.Fatal(err)
	}
	now := strings.NewReplacer(replace...).Replace(regexp.MustCompile(`(?m)^ +for: .*\n`).ReplaceAllString(string(rules), ""))
	writeFile(t, filepath.Join(dir, "alerts.yml"), now)
	writeFile(t, filepath.Join(dir, "prometheus.yml"), fmt.Sprintf(`
global: { scrape_interval: 1s, evaluation_interval: 1s }
rule_files: [alerts.yml]
scrape_configs:
  - job_name: rtmps-edge
    authorization: { credentials: %s }
    static_configs: [ { targets: [%q] } ]
`, adminToken, edge))
	p := &prometheus{url: "http://" + address}
	p.process = start(t, exec.Command(program(t, "prometheus"), "--config.file="+filepath.Join(dir, "prometheus.yml"), "--storage.tsdb.path="+dir, "--web.listen-address="+address))
	return p
}

// alerts are the names of those that fire.
func (p *prometheus) alerts() ([]string, error) {
	r, err := http.Get(p.url + "/api/v1/alerts")
	if err != nil {
		return nil, err
	}
	defer func() { _ = r.Body.Close() }()
	var v struct {
		Data struct {
			Alerts []struct {
				State  string
				Labels map[string]string
			}
		}
	}
	if err := json.NewDecoder(r.Body).Decode(&v); err != nil {
		return nil, err
	}
	names := []string{}
	for _, a := range v.Data.Alerts {
		if a.State == "firing" && !slices.Contains(names, a.Labels["alertname"]) {
			names = append(names, a.Labels["alertname"])
		}
	}
	slices.Sort(names)
	return names, nil
}

// value is that of a query with one result.
func (p *prometheus) value(query string) (string, error) {
	r, err := http.Get(p.url + "/api/v1/query?query=" + strings.ReplaceAll(query, " ", "%20"))
	if err != nil {
		return "", err
	}
	defer func() { _ = r.Body.Close() }()
	var v struct {
		Data struct {
			Result []struct{ Value []any }
		}
	}
	if err := json.NewDecoder(r.Body).Decode(&v); err != nil || len(v.Data.Result) != 1 {
		return "", fmt.Errorf("%s: %v, %v", query, v, err)
	}
	return fmt.Sprint(v.Data.Result[0].Value[1]), nil
}

func (p *prometheus) wantAlerts(t testing.TB, want ...string) {
	t.Helper()
	slices.Sort(want)
	eventually(t, fmt.Sprintf("the alerts %v", want), func() error {
		got, err := p.alerts()
		if err == nil && !slices.Equal(got, want) {
			err = fmt.Errorf("they are %v", got)
		}
		return err
	})
}

const adminToken = "a-token-for-tests-0123456789"

// Prometheus scrapes a running edge, is quiet about what is well, and tells what
// is not: the certificate of the tests is good for a day.
func TestPrometheus(t *testing.T) {
	t.Parallel()
	origin := startNginxWith(t, "", "")
	key := newKey("alice")
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) }))
	defer backend.Close()
	s := settings{Origin: origin.address(), Admin: "127.0.0.1:0", Token: adminToken, Notify: backend.URL}
	e := startEdge(t, s, key)
	e.secrets = append(e.secrets, adminToken)
	host := strings.Trim(strings.TrimPrefix(e.dashboard(t), "http://"), "/")
	p := startPrometheus(t, host)
	p.wantAlerts(t, "RTMPSEdgeCertificateExpires", "RTMPSEdgeCertificateExpiresSoon")

	publishFFmpeg(t, e.url(), key.text)
	eventually(t, "the stream in Prometheus", func() error {
		v, err := p.value(`sum(rtmps_edge_sessions{action="publish",origin="main"})`)
		if err == nil && v != "1" {
			err = fmt.Errorf("%s streams", v)
		}
		return err
	})
	eventually(t, "its bytes", func() error {
		v, err := p.value(`rate(rtmps_edge_stream_bytes_total{direction="in"}[5s]) > 5000`)
		if err == nil && v == "" {
			err = fmt.Errorf("none")
		}
		return err
	})

	// The backend has refused an event, the file has a fault, and the origin goes.
	writeFile(t, filepath.Join(e.dir, "edge.toml"), "[log]\nlevel = \"loud\"\n")
	e.record(t, "the reload", map[string]string{"level": "error", "why": "the file has changed"})
	origin.interrupt(t)
	p.wantAlerts(t, "RTMPSEdgeCertificateExpires", "RTMPSEdgeCertificateExpiresSoon", "RTMPSEdgeReloadFailed", "RTMPSEdgeBackendNotTold",
		"RTMPSEdgeNoOrigin", "RTMPSEdgeOriginServerDown")
	e.signal(t, os.Interrupt)
	e.exit(t)
	p.wantAlerts(t, "RTMPSEdgeBackendNotTold", "RTMPSEdgeDown") // the first looks back over ten minutes
}

// What nginx-rtmp tells of a stream in its /stat, the edge tells in its own, in
// the same places: whoever reads the one reads the other.
func TestStatIsReadAsNginxs(t *testing.T) {
	t.Parallel()
	origin := startNginxWith(t, "", "")
	key := newKey("alice")
	e := startEdge(t, settings{Origin: origin.address(), Play: `"open"`, Admin: "127.0.0.1:0"}, key)
	publishFFmpeg(t, e.url(), key.text)
	published(t, origin, "live/"+key.name)
	flows(t, origin, "live/"+key.name)
	mustPlay(t, e.url()+"/"+key.name)
	theirs := statPaths(t, "http://"+origin.http+"/stat")
	ours := statPaths(t, e.dashboard(t)+"stat")
	for path, value := range theirs {
		mine, ok := ours[path]
		if !ok {
			t.Errorf("there is no %s", path)
			continue
		}
		if number := regexp.MustCompile(`^-?[0-9.]+$`); number.MatchString(value) != number.MatchString(mine) && path != "rtmp/nginx_version" && path != "rtmp/nginx_rtmp_version" {
			t.Errorf("%s: %q, theirs is %q", path, mine, value)
		}
		switch filepath.Base(path) {
		case "codec", "profile", "level", "width", "height", "frame_rate", "channels", "sample_rate":
			if mine != value {
				t.Errorf("%s: %q, theirs is %q", path, mine, value)
			}
		}
	}
	if len(theirs) < 30 {
		t.Errorf("nginx tells only %v", theirs)
	}
}

// statPaths are the elements of a page by their path, with the text of the last
// that stands there.
func statPaths(t testing.TB, url string) map[string]string {
	t.Helper()
	r, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = r.Body.Close() }()
	found, at := map[string]string{}, []string{}
	d := xml.NewDecoder(r.Body)
	for {
		token, err := d.Token()
		if err == io.EOF {
			return found
		}
		if err != nil {
			t.Fatalf("%s: %v", url, err)
		}
		switch v := token.(type) {
		case xml.StartElement:
			at = append(at, v.Name.Local)
			found[strings.Join(at, "/")] = ""
		case xml.EndElement:
			at = at[:len(at)-1]
		case xml.CharData:
			if text := strings.TrimSpace(string(v)); text != "" {
				found[strings.Join(at, "/")] = text
			}
		}
	}
}
