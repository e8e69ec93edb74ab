package main

import (
	"bytes"
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"rtmps-edge/authz"
	"rtmps-edge/cmd/rtmps-edge/internal/probe"
	"rtmps-edge/internal/secret"
	"rtmps-edge/internal/terminal"
)

// runProbe runs the command and returns what it prints.
func runProbe(t *testing.T, stdin string, args ...string) (string, error) {
	t.Helper()
	var out bytes.Buffer
	c := rootCommand()
	c.SetArgs(append([]string{"probe"}, args...))
	c.SetIn(strings.NewReader(stdin))
	c.SetOut(&out)
	c.SetErr(&out)
	err := c.ExecuteContext(t.Context())
	if strings.Contains(out.String(), siteKey) {
		t.Errorf("the key is printed:\n%s", &out)
	}
	return out.String(), err
}

// probed is an edge with a certificate of its own authority, a plain listener
// beside, and a second application whose origin is not there.
const probed = `
[log]
level = "trace"
[[listener]]
address = "127.0.0.1:0"
[[listener]]
address = "localhost:0"
tls = "off"
[tls]
self_signed_dir = "certs"
self_signed_names = ["localhost", "127.0.0.1"]
[[origin]]
servers = ["ORIGIN"]
[[origin]]
name = "gone"
servers = ["127.0.0.1:1"]
health_every = "0"
[[route]]
app = "gone"
origin = "gone"
`

// What the edge says to encoders, the probe understands.
func TestProbeOfAnEdge(t *testing.T) {
	t.Parallel()
	s := newSite(t, probed, func(dir string) {
		hash := authz.HashOf(secret.New(siteKey)).Reveal()
		text := "[[key]]\nsubject = \"alice\"\napp = \"[lg]*\"\nhash = \"" + hash + "\"\n"
		if err := os.WriteFile(filepath.Join(dir, "keys.toml"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	})
	_, port, _ := net.SplitHostPort(s.address("127.0.0.1:0"))
	_, plain, _ := net.SplitHostPort(s.address("localhost:0"))
	ca := filepath.Join(s.dir, "certs", "ca.pem")
	server := "rtmps://localhost:" + port

	out, err := runProbe(t, "", "--ca", ca, server+"/live/"+siteKey)
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, line := range []string{"ok    DNS ", "ok    TCP ", "ok    TLS ", "ok    certificate ", "ok    handshake ", "ok    connect ", "ok    createStream ", "ok    publish "} {
		if !strings.Contains("\n"+out, "\n"+line) {
			t.Errorf("no line %q in\n%s", line, out)
		}
	}
	if strings.Contains(out, "\x1b") || strings.Contains(out, "→") {
		t.Errorf("colours or cures:\n%s", out)
	}

	running := s.mustPublish("127.0.0.1:0", true)
	for name, c := range map[string]struct {
		args  []string
		words []string
	}{
		"wrong key":      {[]string{"--ca", ca, server + "/live/another-key"}, []string{"FAIL  publish ", "NetStream.Publish.Denied", "key list"}},
		"unknown app":    {[]string{"--ca", ca, server + "/other-app/" + siteKey}, []string{"FAIL  ", "InvalidApp", "between host and key"}},
		"in use":         {[]string{"--ca", ca, server + "/live/" + siteKey}, []string{"FAIL  publish ", "NetStream.Publish.BadName", "Another encoder"}},
		"origin down":    {[]string{"--ca", ca, server + "/gone/" + siteKey}, []string{"FAIL  publish ", "NetStream.Failed", "rtmps-edge check"}},
		"not trusted":    {[]string{server + "/live/" + siteKey}, []string{"FAIL  certificate ", "--ca FILE"}},
		"plain RTMP":     {[]string{"rtmps://localhost:" + plain + "/live/" + siteKey}, []string{"FAIL  TLS ", "speaks RTMP without TLS", "rtmp://localhost:" + plain}},
		"TLS":            {[]string{"rtmp://localhost:" + port + "/live/" + siteKey}, []string{"FAIL  handshake ", "speaks TLS", "rtmps://"}},
		"nobody listens": {[]string{"rtmps://127.0.0.1:1/live/" + siteKey}, []string{"FAIL  TCP ", "nothing listens"}},
	} {
		t.Run(name, func(t *testing.T) {
			out, err := runProbe(t, "", c.args...)
			if err == nil || !hasAll(out, c.words) || !strings.Contains(out, "      → ") {
				t.Errorf("%v, want %q in\n%s", err, c.words, out)
			}
		})
	}
	_ = running.Stop()
}

func TestProbeJSONAndStdin(t *testing.T) {
	t.Parallel()
	s := newSite(t, probed)
	_, port, _ := net.SplitHostPort(s.address("127.0.0.1:0"))
	out, err := runProbe(t, siteKey+"\r\n", "--json", "--stdin", "--insecure", "rtmps://localhost:"+port+"/live")
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	var steps []probe.Step
	for line := range strings.Lines(out) {
		var step probe.Step
		if err := json.Unmarshal([]byte(line), &step); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		steps = append(steps, step)
	}
	if len(steps) != 8 || steps[3].Name != "certificate" || !steps[3].OK || len(steps[3].Warnings) == 0 || steps[3].Warnings[0].Problem == "" {
		t.Errorf("%+v", steps)
	}
}

// It logs in as OBS does, with authmod=adobe.
func TestProbeLogsIn(t *testing.T) {
	t.Parallel()
	s := newSite(t, basic+"[authz]\npublish = [\"password\"]\n", func(dir string) {
		text := "[[user]]\nname = \"alice\"\npassword = \"pass-word-1\"\n"
		if err := os.WriteFile(filepath.Join(dir, "users.toml"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	})
	address := s.address("127.0.0.1:0") + "/live/anything"
	for _, c := range []struct {
		user  string
		good  bool
		words []string
	}{
		{"alice:pass-word-1@", true, []string{"ok    connect", "asks for a login", "ok    login", "as alice", "ok    createStream", "ok    publish"}},
		{"alice:wrong@", false, []string{"FAIL  login", "user list"}},
		{"nobody:pass-word-1@", false, []string{"FAIL  login"}},
		{"", false, []string{"FAIL  connect", "USER:PASSWORD@127.0.0.1"}},
	} {
		out, err := runProbe(t, "", "--insecure", "rtmps://"+c.user+address)
		if (err == nil) != c.good || !hasAll(out, c.words) || strings.Contains(out, "pass-word-1") {
			t.Errorf("%s: %v, want %q in\n%s", c.user, err, c.words, out)
		}
	}
}

// A key that is given wrongly is not repeated.
func TestProbeBadUse(t *testing.T) {
	for _, args := range [][]string{
		{"https://h/live/" + siteKey}, {"rtmps://h"}, {"--stdin", "rtmps://h/live"}, {"--ca", "nowhere.pem", "rtmps://h/live/" + siteKey},
		{"--ca", "probe_test.go", "rtmps://h/live/" + siteKey}, {"--client-cert", "nowhere.pem", "--client-key", "nowhere.pem", "rtmps://h/live/" + siteKey},
		{"--client-cert", "probe_test.go", "rtmps://h/live/" + siteKey}, {"--timeout", "0s", "rtmps://h/live/" + siteKey}, {},
	} {
		out, err := runProbe(t, "", args...)
		if _, bad := err.(*badUse); !bad || strings.Contains(err.Error(), siteKey) {
			t.Errorf("%q: %v\n%s", args, err, out)
		}
	}
}

func TestProbeColours(t *testing.T) {
	t.Setenv("TERM", "xterm")
	t.Setenv("NO_COLOR", "")
	tty, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tty.Close() }()
	finding := []probe.Finding{{Problem: probe.Expired, Text: "over", Cure: "Renew."}}
	for _, c := range []struct {
		step probe.Step
		want string
	}{
		{probe.Step{Name: "TLS", OK: true}, "\x1b[32mok  \x1b[0m"},
		{probe.Step{Name: "TLS", OK: true, Warnings: finding}, "\x1b[33mwarn\x1b[0m"},
		{probe.Step{Name: "TLS", Failures: finding}, "\x1b[1;31mFAIL\x1b[0m"},
	} {
		var out bytes.Buffer
		showStep(&out, terminal.Colours(tty), c.step)
		if !strings.HasPrefix(out.String(), c.want) {
			t.Errorf("%q, want %q", &out, c.want)
		}
	}
}
