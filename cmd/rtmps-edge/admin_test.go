package main

import (
	"context"
	"encoding/json"
	"io"
	"maps"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"rtmps-edge/admin"
	"rtmps-edge/config"
	"rtmps-edge/rtmp/rtmptest"
)

// steered is basic with an admin address.
const steered = basic + "[admin]\nlisten = \"127.0.0.1:0\"\n"

// ask sends a request to the admin address.
func (s *site) ask(method, path, token string) (status int, body string) {
	s.t.Helper()
	q, err := http.NewRequest(method, "http://"+s.steering()+path, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	q.Header.Set(admin.OwnHeader, "1")
	if token != "" {
		q.Header.Set("Authorization", "Bearer "+token)
	}
	c := &http.Client{Timeout: rtmptest.Patience, Transport: &http.Transport{DisableKeepAlives: true}}
	r, err := c.Do(q)
	if err != nil {
		s.t.Fatal(err)
	}
	defer func() { _ = r.Body.Close() }()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return r.StatusCode, string(b)
}

// steering is where the admin address was bound, as the log says last.
func (s *site) steering() string {
	s.t.Helper()
	s.logs.wait(s.t, 1, "the admin address is open")
	address := ""
	for line := range strings.Lines(s.logs.String()) {
		if _, rest, ok := strings.Cut(line, "the admin address is open"); ok {
			_, rest, _ = strings.Cut(rest, "address=\"")
			address, _, _ = strings.Cut(rest, "\"")
		}
	}
	return address
}

func TestTheAdminAddressShowsAStream(t *testing.T) {
	t.Parallel()
	s := newSite(t, steered)
	if _, err := s.publish("127.0.0.1:0", true, "a-wrong-key"); err == nil {
		t.Fatal("published")
	}
	s.logs.wait(t, 1, "refused", "reason=denied")
	p := s.mustPublish("127.0.0.1:0", true)
	s.logs.wait(t, 1, "stream started")
	_, body := s.ask("GET", "/api/v1/sessions", "")
	var list []admin.Session
	if err := json.Unmarshal([]byte(body), &list); err != nil || len(list) != 1 || list[0].Subject != "alice" || list[0].Authorizer != "keys" || list[0].TLS != "TLS 1.3" {
		t.Errorf("%v: %s", err, body)
	}
	if status, body := s.ask("GET", "/readyz", ""); status != 200 {
		t.Errorf("%d %s", status, body)
	}
	_, body = s.ask("GET", "/api/v1/certificates", "")
	var certs []admin.Certificate
	if err := json.Unmarshal([]byte(body), &certs); err != nil || len(certs) != 1 || certs[0].DaysLeft < 1 || len(certs[0].Names) == 0 {
		t.Errorf("%v: %s", err, body)
	}
	_, body = s.ask("GET", "/metrics", "")
	for _, want := range []string{
		`rtmps_edge_connections 1`, `rtmps_edge_connections_total{listener="127.0.0.1:0"} 2`, `rtmps_edge_sessions{action="publish",origin="main"} 1`,
		`rtmps_edge_refused_total{reason="denied",stage="authorize"} 1`, `rtmps_edge_tls_handshakes_total{result="ok",version="1.3"} 2`,
		`rtmps_edge_certificate_expiry_timestamp_seconds{name="localhost"} `, `rtmps_edge_origin_up{origin="main",server="` + s.origin.Addr() + `"} 1`,
		`rtmps_edge_authz_seconds_count{authorizer="keys",result="granted"} 1`, `rtmps_edge_authz_seconds_count{authorizer="keys",result="unknown"} 1`,
		`rtmps_edge_setup_seconds_count 1`, `rtmps_edge_reloads_total{result="ok"} 0`,
	} {
		if !strings.Contains(body, want) {
			t.Errorf("%s is not in\n%s", want, body)
		}
	}
	if strings.Contains(body, siteKey) || strings.Contains(body, "alice") {
		t.Errorf("a key or a subject is in\n%s", body)
	}
	if status, body := s.ask("DELETE", "/api/v1/sessions/"+list[0].ID, ""); status != 200 {
		t.Errorf("%d %s", status, body)
	}
	s.logs.wait(t, 1, "stream ended", "side=edge", "reason=kick")
	if _, err := p.WaitEnd(); err != nil {
		t.Error(err)
	}
}

// A certificate that is missing is told by the metric, one that was not renewed
// so far by its own end.
func TestExpiries(t *testing.T) {
	t.Parallel()
	end := time.Unix(1900000000, 0)
	served := []admin.Certificate{{Name: "a.example", Names: []string{"a.example"}, NotAfter: end}, {Name: "c.pem", Names: []string{"*.example", "c.example"}, NotAfter: end}}
	got := expiries(served, []string{"a.example", "b.example", "c.example"})
	want := map[string]time.Time{"a.example": end, "b.example": time.Unix(0, 0), "c.pem": end}
	if !maps.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

func TestReloadByTheAPI(t *testing.T) {
	t.Parallel()
	s := newSite(t, steered)
	s.write("edge.toml", steered+"[limits]\nidle_timeout = \"never\"\n")
	if status, body := s.ask("POST", "/api/v1/reload", ""); status != 422 || !strings.Contains(body, "limits.idle_timeout") {
		t.Errorf("%d %s", status, body)
	}
	if _, body := s.ask("GET", "/metrics", ""); !strings.Contains(body, "rtmps_edge_last_reload_successful 0") {
		t.Error(body)
	}
	s.write("edge.toml", steered+"[limits]\nidle_timeout = \"1h\"\n")
	if status, body := s.ask("POST", "/api/v1/reload", ""); status != 200 {
		t.Errorf("%d %s", status, body)
	}
	if got := s.e.srv.Policy().Limits.IdleTimeout; got != time.Hour {
		t.Error(got)
	}
}

func TestDrainByTheAPI(t *testing.T) {
	t.Parallel()
	s := newSite(t, steered)
	s.mustPublish("127.0.0.1:0", true)
	if status, body := s.ask("POST", "/api/v1/drain", ""); status != 202 {
		t.Errorf("%d %s", status, body)
	}
	<-s.e.steer.over // serve has ended
	drained := make(chan struct{})
	go func() { s.stop(); close(drained) }()
	s.logs.wait(t, 1, "draining")
	for status := 0; status != 503; {
		var body string
		if status, body = s.ask("GET", "/readyz", ""); status == 503 && !strings.Contains(body, "draining") {
			t.Error(body)
		}
	}
	if status, body := s.ask("POST", "/api/v1/reload", ""); status != 422 || !strings.Contains(body, "draining") {
		t.Errorf("%d %s", status, body)
	}
	<-drained
	if _, err := net.Dial("tcp", s.steering()); err == nil {
		t.Error("the admin address is still open")
	}
}

// A reload moves the address, takes another token, or closes it.
func TestReloadChangesTheAdminAddress(t *testing.T) {
	t.Parallel()
	s := newSite(t, steered)
	first := s.steering()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	s.write("edge.toml", basic+"[admin]\nlisten = \""+taken.Addr().String()+"\"\n")
	if status, body := s.ask("POST", "/api/v1/reload", ""); status != 422 || !strings.Contains(body, "is in use") || !strings.Contains(body, "[admin]") {
		t.Errorf("%d %s", status, body)
	}
	s.write("token", "0123456789abcdef")
	s.write("edge.toml", steered+"token_file = \"token\"\n")
	s.hup <- nil
	s.logs.wait(t, 1, "level=info", "msg=reloaded")
	if status, _ := s.ask("GET", "/metrics", ""); status != 401 {
		t.Errorf("%d", status)
	}
	if status, _ := s.ask("GET", "/metrics", "0123456789abcdef"); status != 200 || s.steering() != first {
		t.Errorf("%d", status)
	}
	s.write("edge.toml", basic+"[admin]\nlisten = \"localhost:0\"\n")
	s.hup <- nil
	s.logs.wait(t, 2, "the admin address is open")
	if status, _ := s.ask("GET", "/metrics", ""); status != 200 || s.steering() == first {
		t.Errorf("%d", status)
	}
	s.write("edge.toml", basic)
	s.hup <- nil
	s.logs.wait(t, 3, "level=info", "msg=reloaded")
	for _, address := range []string{first, s.steering()} {
		if c, err := net.Dial("tcp", address); err == nil {
			_ = c.Close()
			t.Errorf("%s is still open", address)
		}
	}
}

func TestATakenAdminAddressIsSaid(t *testing.T) {
	t.Parallel()
	s := newSite(t, steered)
	s.write("second.toml", strings.ReplaceAll(steered, "listen = \"127.0.0.1:0\"", "listen = \""+s.steering()+"\""))
	cfg, err := config.Load(filepath.Join(s.dir, "second.toml"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := newEdge(io.Discard, cfg); err == nil || !strings.Contains(err.Error(), "perhaps by another rtmps-edge") {
		t.Error(err)
	}
}

// The admin socket is made for the owner and the group, and taken away.
func TestAdminSocket(t *testing.T) {
	t.Parallel()
	s := newSite(t, basic+"[admin]\nlisten = \"unix:a.sock\"\n")
	path := filepath.Join(s.dir, "a.sock")
	c := &http.Client{Timeout: rtmptest.Patience, Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", path)
	}}}
	s.logs.wait(t, 1, "the admin address is open")
	r, err := c.Post("http://edge/api/v1/reload", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	_ = r.Body.Close()
	if r.StatusCode != 200 {
		t.Error(r.Status)
	}
	s.stop()
	if exists(path) {
		t.Error("the socket is still there")
	}
}
