package e2e

import (
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// origin is a real RTMP server.
type origin interface {
	// address is where it speaks RTMP.
	address() string
	// streams are those that are published now.
	streams() ([]stream, error)
}

// stream is what an origin knows of one.
type stream struct {
	app, name string
	bytes     int64 // received so far
}

// origins are all that every encoder is tested with.
var origins = []struct {
	name  string
	start func(testing.TB) origin
}{
	{"nginx-rtmp", startNginx},
	{"lal", startLal},
}

// published waits until o has exactly these streams, each as app/name.
func published(t testing.TB, o origin, want ...string) {
	t.Helper()
	slices.Sort(want)
	eventually(t, fmt.Sprintf("the streams %q at the origin", want), func() error {
		all, err := o.streams()
		if err != nil {
			return err
		}
		have := make([]string, 0, len(all))
		for _, s := range all {
			have = append(have, s.app+"/"+s.name)
		}
		slices.Sort(have)
		if !slices.Equal(have, want) {
			return fmt.Errorf("it has %q", have)
		}
		return nil
	})
}

// received is how many bytes of app/name o has had, -1 if it has no such stream.
func received(t testing.TB, o origin, stream string) int64 {
	t.Helper()
	all, err := o.streams()
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range all {
		if s.app+"/"+s.name == stream {
			return s.bytes
		}
	}
	return -1
}

// flows waits until o has received more of app/name than it has now.
func flows(t testing.TB, o origin, stream string) {
	t.Helper()
	before := received(t, o, stream)
	eventually(t, "more of "+stream+" at the origin", func() error {
		if now := received(t, o, stream); now <= before {
			return fmt.Errorf("it had %d bytes and has %d", before, now)
		}
		return nil
	})
}

// nginxModules is where Debian has them.
const nginxModules = "/usr/lib/nginx/modules/"

// nginxProcess has nginx be one process, which keeps what it writes in dir.
func nginxProcess(dir string) string {
	return strings.ReplaceAll(`daemon off;
master_process off;
pid DIR/nginx.pid;
error_log DIR/error.log info;
events { worker_connections 64; }
`, "DIR", dir)
}

// nginxStat has it tell of its streams.
func nginxStat(dir, address string) string {
	return strings.NewReplacer("DIR", dir, "HTTP", address).Replace(`http {
  access_log off;
  client_body_temp_path DIR/body;
  proxy_temp_path DIR/proxy;
  fastcgi_temp_path DIR/fastcgi;
  uwsgi_temp_path DIR/uwsgi;
  scgi_temp_path DIR/scgi;
  server {
    listen HTTP;
    location = /stat { rtmp_stat all; }
  }
}
`)
}

const nginxRTMP = `rtmp {
  access_log off;
  server {
    listen RTMPLISTEN;
    application live { live on; wait_key on; publish_notify on; RULES }
  }
}
`

// nginx is nginx-rtmp with one application, live, that takes every name.
type nginx struct {
	*process
	rtmp, http string
}

func startNginx(t testing.TB) origin { return startNginxWith(t, "", "") }

// startNginxWith adds parameters to where it listens, and rules to its
// application.
func startNginxWith(t testing.TB, listen, rules string) *nginx {
	t.Helper()
	rtmp := freeAddress(t)
	return runNginx(t, rtmp, func(dir, http string) string {
		return "load_module " + nginxModules + "ngx_rtmp_module.so;\n" + nginxProcess(dir) + nginxStat(dir, http) +
			strings.NewReplacer("RTMPLISTEN", rtmp+" "+listen, "RULES", rules).Replace(nginxRTMP)
	})
}

// runNginx starts nginx, with a configuration for its directory and the address
// where it tells of its streams.
func runNginx(t testing.TB, rtmp string, config func(dir, http string) string) *nginx {
	t.Helper()
	n := &nginx{rtmp: rtmp, http: freeAddress(t)}
	dir := t.TempDir()
	file := filepath.Join(dir, "nginx.conf")
	writeFile(t, file, config(dir, n.http))
	n.process = startProgram(t, "nginx", "-p", dir, "-e", filepath.Join(dir, "error.log"), "-c", file)
	t.Cleanup(func() {
		if t.Failed() {
			log, _ := os.ReadFile(filepath.Join(dir, "error.log"))
			t.Logf("---- nginx's error.log:\n%s", log)
		}
	})
	answers(t, n.process, n)
	return n
}

func (n *nginx) address() string { return n.rtmp }

func (n *nginx) streams() ([]stream, error) {
	body, err := get("http://" + n.http + "/stat")
	if err != nil {
		return nil, err
	}
	return parseNginxStat(body)
}

func parseNginxStat(body []byte) ([]stream, error) {
	var stat struct {
		Apps []struct {
			Name    string `xml:"name"`
			Streams []struct {
				Name       string    `xml:"name"`
				Bytes      int64     `xml:"bytes_in"`
				Publishing *struct{} `xml:"publishing"`
			} `xml:"live>stream"`
		} `xml:"server>application"`
	}
	if err := xml.Unmarshal(body, &stat); err != nil {
		return nil, err
	}
	var all []stream
	for _, a := range stat.Apps {
		for _, s := range a.Streams {
			if s.Publishing != nil {
				all = append(all, stream{a.Name, s.Name, s.Bytes})
			}
		}
	}
	return all, nil
}

const lalConfig = `{
  "conf_version": "v0.4.1",
  "rtmp": {"enable": true, "addr": "RTMP", "gop_num": 0},
  "http_api": {"enable": true, "addr": "HTTP"},
  "server_id": "1",
  "log": {"level": 2, "filename": "DIR/lal.log", "is_to_stdout": true, "timestamp_flag": true, "level_flag": true}
}
`

// lal is lalserver, RTMP only. It takes every app and name.
type lal struct {
	*process
	rtmp, http string
}

func startLal(t testing.TB) origin {
	t.Helper()
	file, err := lalProgram()
	if err != nil {
		t.Fatal(err)
	}
	l := &lal{rtmp: freeAddress(t), http: freeAddress(t)}
	dir := t.TempDir()
	conf := filepath.Join(dir, "lal.json")
	writeFile(t, conf, strings.NewReplacer("DIR", dir, "HTTP", l.http, "RTMP", l.rtmp).Replace(lalConfig))
	cmd := exec.Command(file, "-c", conf)
	cmd.Dir = dir
	l.process = start(t, cmd)
	answers(t, l.process, l)
	return l
}

func (l *lal) address() string { return l.rtmp }

func (l *lal) streams() ([]stream, error) {
	body, err := get("http://" + l.http + "/api/stat/all_group")
	if err != nil {
		return nil, err
	}
	var stat struct {
		Data struct {
			Groups []struct {
				Name string `json:"stream_name"`
				App  string `json:"app_name"`
				Pub  struct {
					Session string `json:"session_id"`
					Bytes   int64  `json:"read_bytes_sum"`
				} `json:"pub"`
			} `json:"groups"`
		} `json:"data"`
	}
	if err := json.Unmarshal(body, &stat); err != nil {
		return nil, err
	}
	var all []stream
	for _, g := range stat.Data.Groups {
		if g.Pub.Session != "" {
			all = append(all, stream{g.App, g.Name, g.Pub.Bytes})
		}
	}
	return all, nil
}

// answers waits until an origin has started, which it tells by answering: it
// opens its ports for RTMP before that for HTTP.
func answers(t testing.TB, p *process, o origin) {
	t.Helper()
	eventually(t, "an answer of "+p.name, func() error {
		p.mustLive(t)
		_, err := o.streams()
		return err
	})
}

// asking is the HTTP client of the tests. Origins on loopback answer at once.
var asking = &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{Proxy: nil, DisableKeepAlives: true}}

func get(url string) ([]byte, error) {
	r, err := asking.Get(url)
	if err != nil {
		return nil, err
	}
	defer func() { _ = r.Body.Close() }()
	if r.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %s", url, r.Status)
	}
	return io.ReadAll(r.Body)
}

// writeFile replaces file as a careful editor does: it is whole at any time.
func writeFile(t testing.TB, file, text string) {
	t.Helper()
	part := file + ".part"
	if err := os.WriteFile(part, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(part, file); err != nil {
		t.Fatal(err)
	}
}
