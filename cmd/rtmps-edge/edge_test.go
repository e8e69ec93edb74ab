package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"rtmps-edge/authz"
	"rtmps-edge/config"
	"rtmps-edge/internal/secret"
	"rtmps-edge/rtmp/rtmptest"
)

// site is a running edge with its files.
type site struct {
	t      *testing.T
	dir    string
	origin *rtmptest.Origin
	logs   *logBuffer
	e      *edge
	hup    chan os.Signal
	stop   func() // drains

	header       string            // what publishers say before TLS
	certificates []tls.Certificate // of publishers
}

// logBuffer is where an edge logs to.
type logBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
	more chan struct{}
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.more != nil {
		close(l.more)
		l.more = nil
	}
	return l.text.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// wait returns when the log has n lines with all words.
func (l *logBuffer) wait(t *testing.T, n int, words ...string) {
	t.Helper()
	timeout := time.After(rtmptest.Patience)
	for {
		l.mu.Lock()
		found := 0
		for line := range strings.Lines(l.text.String()) {
			if hasAll(line, words) {
				found++
			}
		}
		if l.more == nil {
			l.more = make(chan struct{})
		}
		more := l.more
		l.mu.Unlock()
		if found >= n {
			return
		}
		select {
		case <-more:
		case <-timeout:
			t.Fatalf("the log never has %d lines with %q:\n%s", n, words, l)
		}
	}
}

func hasAll(s string, words []string) bool {
	for _, w := range words {
		if !strings.Contains(s, w) {
			return false
		}
	}
	return true
}

const siteKey = "alice-key-0123456789"

// basic is an edge.toml in front of the site's origin.
const basic = "[log]\nlevel = \"trace\"\n[[listener]]\naddress = \"127.0.0.1:0\"\n[[origin]]\nservers = [\"ORIGIN\"]\n"

// newSite runs an edge with text as its edge.toml; prepare adds files before.
func newSite(t *testing.T, text string, prepare ...func(dir string)) *site {
	t.Helper()
	s := &site{t: t, dir: t.TempDir(), origin: rtmptest.NewOrigin(t, rtmptest.OriginConfig{}), logs: &logBuffer{}, hup: make(chan os.Signal)}
	s.write("keys.toml", fmt.Sprintf("[[key]]\nsubject = \"alice\"\nhash = %q\n", authz.HashOf(secret.New(siteKey)).Reveal()))
	s.write("edge.toml", text)
	for _, f := range prepare {
		f(s.dir)
	}
	cfg, err := config.Load(filepath.Join(s.dir, "edge.toml"))
	if err != nil {
		t.Fatal(err)
	}
	if s.e, err = newEdge(s.logs, cfg); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- s.e.serve(ctx, s.hup) }()
	s.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-served; err != nil {
			t.Error(err)
		}
		now, done := context.WithTimeout(context.Background(), 5*time.Second)
		defer done()
		s.e.drain(now)
	})
	t.Cleanup(s.stop)
	s.logs.wait(t, 1, "listening")
	return s
}

// write replaces a file as a whole.
func (s *site) write(name, text string) {
	s.t.Helper()
	path := filepath.Join(s.dir, name)
	if name == "edge.toml" && !strings.Contains(text, "[admin]") {
		text += "[admin]\nlisten = \"\"\n" // many edges run at once
	}
	if err := os.WriteFile(path+".new", []byte(strings.ReplaceAll(text, "ORIGIN", s.origin.Addr())), 0o600); err != nil {
		s.t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		s.t.Fatal(err)
	}
}

// address is where the listener that is configured so was bound.
func (s *site) address(listener string) string {
	s.t.Helper()
	ln := s.e.listeners[listener]
	if ln == nil {
		s.t.Fatalf("no listener %s", listener)
	}
	return ln.Addr().String()
}

func (s *site) publish(listener string, encrypted bool, key string) (*rtmptest.Publisher, error) {
	s.t.Helper()
	c, err := net.Dial("tcp", s.address(listener))
	if err != nil {
		return nil, err
	}
	s.t.Cleanup(func() { _ = c.Close() })
	if _, err := io.WriteString(c, s.header); err != nil {
		return nil, err
	}
	if encrypted {
		c = tls.Client(c, &tls.Config{InsecureSkipVerify: true, Certificates: s.certificates})
	}
	return rtmptest.Publish(c, rtmptest.PublishConfig{App: "live", Name: key})
}

func (s *site) mustPublish(listener string, encrypted bool) *rtmptest.Publisher {
	s.t.Helper()
	p, err := s.publish(listener, encrypted, siteKey)
	if err != nil {
		s.t.Fatal(err)
	}
	return p
}

func TestAStreamIsLoggedWithoutItsKey(t *testing.T) {
	t.Parallel()
	s := newSite(t, basic)
	p := s.mustPublish("127.0.0.1:0", true)
	if err := p.Stop(); err != nil {
		t.Fatal(err)
	}
	s.logs.wait(t, 1, "stream ended", "subject=alice", "side=client", "reason=finished", "name=alice", "origin=main")
	if _, err := s.publish("127.0.0.1:0", true, "another-secret-key"); err == nil {
		t.Fatal("published with a wrong key")
	}
	s.logs.wait(t, 1, "refused", "stage=authorize", "reason=denied")
	s.stop()
	for _, key := range []string{siteKey, "another-secret-key"} {
		if strings.Contains(s.logs.String(), key) {
			t.Errorf("a key is in the log:\n%s", s.logs)
		}
	}
}

func TestReloadChangesEverythingOrNothing(t *testing.T) {
	t.Parallel()
	s := newSite(t, basic)
	running := s.mustPublish("127.0.0.1:0", true)
	before := s.address("127.0.0.1:0")

	// Faults, also those that show late, as a socket that is taken.
	s.write("edge.toml", basic+"[limits]\nidle_timeout = \"never\"\n")
	s.hup <- os.Interrupt
	s.logs.wait(t, 1, "not reloaded", "idle_timeout")
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	s.write("edge.toml", basic+"[authz]\npublish = [\"open\"]\n[[listener]]\naddress = \""+taken.Addr().String()+"\"\n")
	s.hup <- os.Interrupt
	s.logs.wait(t, 1, "not reloaded", "in use")
	if _, err := s.publish("127.0.0.1:0", true, "no-key"); err == nil {
		t.Error("half of a refused configuration is in force")
	}

	// A good one: another listener, without TLS, and open publishing.
	s.write("edge.toml", basic+"[authz]\npublish = [\"keys\", \"open\"]\n[[listener]]\naddress = \"localhost:0\"\ntls = \"off\"\n")
	s.hup <- os.Interrupt
	s.logs.wait(t, 1, "level=info", "reloaded")
	s.logs.wait(t, 1, "listening", "localhost:0")
	if s.address("127.0.0.1:0") != before {
		t.Error("a listener that stays was opened anew")
	}
	for name, encrypted := range map[string]bool{"127.0.0.1:0": true, "localhost:0": false} {
		p, err := s.publish(name, encrypted, "anybody"+fmt.Sprint(encrypted))
		if err != nil {
			t.Fatal(err)
		}
		_ = p.Stop()
	}
	if err := running.WriteVideo(0, []byte{0x17, 1, 0, 0, 0}); err != nil {
		t.Error(err)
	}
	if _, err := s.origin.Conn(t, 0).WaitMedia(1); err != nil {
		t.Errorf("the running stream did not outlive the reload: %v", err)
	}

	// The listener goes again.
	s.write("edge.toml", basic)
	s.hup <- os.Interrupt
	s.logs.wait(t, 2, "level=info", "msg=reloaded")
	if s.e.listeners["localhost:0"] != nil {
		t.Error("a listener that was taken out is still there")
	}
}

// The Redis of a cluster is taken at the start only, and a reload says so.
func TestRedisIsTakenAtTheStart(t *testing.T) {
	t.Parallel()
	s := newSite(t, basic)
	s.write("edge.toml", basic+"[cluster]\nredis = \"redis://:hunter2@127.0.0.1:1\"\n")
	s.hup <- os.Interrupt
	s.logs.wait(t, 1, "not reloaded", "cluster.redis", "restart")
	s.write("edge.toml", basic+"[cluster]\nredis = \"redis://:hunter2@127.0.0.1:1\"\ntimeout = \"1s\"\n")
	s.hup <- os.Interrupt
	s.logs.wait(t, 1, "not reloaded", "cluster.timeout", "restart")
	if strings.Contains(s.logs.String(), "hunter2") {
		t.Errorf("a password is in the log:\n%s", s.logs)
	}
}

// Without its Redis, an edge of a cluster works alone, and says that once.
func TestAnEdgeWithoutItsRedis(t *testing.T) {
	t.Parallel()
	s := newSite(t, basic+"[cluster]\nredis = \"redis://:hunter2@127.0.0.1:1\"\n")
	s.logs.wait(t, 1, "level=warning", "Redis cannot be used")
	s.mustPublish("127.0.0.1:0", true)
	s.stop()
	if strings.Contains(s.logs.String(), "hunter2") || strings.Count(s.logs.String(), "Redis cannot be used") != 1 {
		t.Errorf("the log:\n%s", s.logs)
	}
}

func TestAChangedFileReloads(t *testing.T) {
	t.Parallel()
	s := newSite(t, basic)
	s.write("edge.toml", basic+"[authz]\npublish = [\"open\"]\n")
	s.logs.wait(t, 1, "msg=reloaded", "the file has changed")
	p, err := s.publish("127.0.0.1:0", true, "anybody")
	if err != nil {
		t.Fatal(err)
	}
	_ = p.Stop()
}

func TestARemovedKeyEndsItsStream(t *testing.T) {
	t.Parallel()
	s := newSite(t, basic)
	s.mustPublish("127.0.0.1:0", true)
	s.write("keys.toml", "")
	s.logs.wait(t, 1, "stream ended", "side=edge", "reason=revoked")
	if _, err := s.publish("127.0.0.1:0", true, siteKey); err == nil {
		t.Error("a removed key publishes")
	}
}

func TestAKeysFileThatIsNoLongerUsedRevokes(t *testing.T) {
	t.Parallel()
	s := newSite(t, basic)
	s.mustPublish("127.0.0.1:0", true)
	s.write("other.toml", "")
	s.write("edge.toml", basic+"[authz.keys]\nfile = \"other.toml\"\n")
	s.hup <- os.Interrupt
	s.logs.wait(t, 1, "stream ended", "reason=revoked")
}

func TestDrainWaitsForStreams(t *testing.T) {
	t.Parallel()
	s := newSite(t, basic)
	p := s.mustPublish("127.0.0.1:0", true)
	stopped := make(chan struct{})
	go func() { s.stop(); close(stopped) }()
	s.logs.wait(t, 1, "draining")
	if err := p.WriteVideo(0, []byte{0x17, 1, 0, 0, 0}); err != nil {
		t.Error(err)
	}
	if _, err := s.origin.Conn(t, 0).WaitMedia(1); err != nil {
		t.Errorf("the stream did not go on while draining: %v", err)
	}
	if err := p.Stop(); err != nil {
		t.Error(err)
	}
	<-stopped
	if !strings.Contains(s.logs.String(), "reason=finished") {
		t.Errorf("the stream was not left to end by itself:\n%s", s.logs)
	}
}

func TestDrainEnds(t *testing.T) {
	t.Parallel()
	s := newSite(t, basic+"[limits]\ndrain_timeout = \"1ms\"\n")
	s.mustPublish("127.0.0.1:0", true)
	s.stop()
	if !strings.Contains(s.logs.String(), "reason=drain") {
		t.Errorf("the stream was not ended:\n%s", s.logs)
	}
}
