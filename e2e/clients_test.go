package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"rtmps-edge/rtmp/rtmptest"
)

// startWithBothKinds runs an edge whose first certificate is for another name
// than localhost. For that it has an ECDSA and an RSA one.
func startWithBothKinds(t testing.TB, origin origin, profile string, keys ...streamKey) *edge {
	t.Helper()
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	weighty, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	text := fmt.Sprintf("source = \"files\"\nprofile = %q\n", profile)
	names := []string{"first", "ecdsa", "rsa"}
	for _, name := range names {
		text += fmt.Sprintf("[[tls.certificate]]\ncert = \"%s.crt\"\nkey = \"%s.key\"\n", name, name)
	}
	e := prepareEdge(t, settings{Origin: origin.address(), TLS: text, Admin: "127.0.0.1:0", Limits: "connect_rate_per_ip = \"0\"\nstreams_per_subject = 0"}, keys...)
	for i, name := range names {
		host := "localhost"
		if name == "first" {
			host = "first.edge.test"
		}
		cert, key := ca(t).issueFor(t, int64(i+1), ec, host)
		if name == "rsa" {
			cert, key = ca(t).issueFor(t, int64(i+1), weighty, host)
		}
		writeFile(t, filepath.Join(e.dir, name+".crt"), cert)
		writeFile(t, filepath.Join(e.dir, name+".key"), key)
	}
	e.run(t, e.command(t, "run", "-c", filepath.Join(e.dir, "edge.toml")))
	return e
}

// tunnel has OpenSSL do the TLS of a connection to the edge. What it says about
// the handshake is its output; it fails where it does not believe the server.
func tunnel(t testing.TB, e *edge, options ...string) (net.Conn, *process) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	ours, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	socket, err := theirs.(*net.TCPConn).File()
	if err != nil {
		t.Fatal(err)
	}
	_ = theirs.Close()
	args := []string{"s_client", "-brief", "-quiet", "-verify_return_error", "-CAfile", caFile(t), "-connect", "127.0.0.1:" + e.port}
	cmd := exec.Command(program(t, "openssl"), append(args, options...)...)
	p := startWith(t, cmd, socket)
	_ = socket.Close()
	t.Cleanup(func() { _ = ours.Close() })
	return ours, p
}

// startWith is start for a program that reads and writes a socket.
func startWith(t testing.TB, cmd *exec.Cmd, socket *os.File) *process {
	t.Helper()
	cmd.Stdin = socket
	p := prepare(cmd)
	cmd.Stdout = socket
	p.launch(t)
	return p
}

// sni is what clients of localhost say; openssl names the server unless told
// otherwise.
var sni = []string{"-servername", "localhost", "-verify_hostname", "localhost"}

// old lets OpenSSL speak what it would not by itself.
const old = ":@SECLEVEL=0"

// clientsOf are handshakes that a profile must take, with what OpenSSL says of
// them, and those that it must refuse, with the edge's reason.
var clientsOf = []struct {
	name, profile string
	options       []string
	says          []string // lines of s_client; none: it is refused
	version       string   // as the edge tells it
	reason        string
}{
	{"TLS 1.3", "encoder", []string{"-tls1_3"}, []string{"Protocol version: TLSv1.3"}, "TLS 1.3", ""},
	{"TLS 1.2", "encoder", []string{"-tls1_2"}, []string{"Protocol version: TLSv1.2", "Signature type: ECDSA"}, "TLS 1.2", ""},
	{"TLS 1.1", "encoder", []string{"-tls1_1", "-cipher", "ALL" + old}, nil, "", "no shared version"},
	{"ECDSA only", "encoder", []string{"-sigalgs", "ECDSA+SHA256"}, []string{"Signature type: ECDSA", "Peer certificate: CN = localhost"}, "TLS 1.3", ""},
	{"RSA only", "encoder", []string{"-sigalgs", "RSA-PSS+SHA256:RSA+SHA256"}, []string{"Signature type: RSA-PSS", "Peer certificate: CN = localhost"}, "TLS 1.3", ""},
	{"ECDSA only 1.2", "encoder", []string{"-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-GCM-SHA256"}, []string{"Signature type: ECDSA"}, "TLS 1.2", ""},
	{"RSA only 1.2", "encoder", []string{"-tls1_2", "-cipher", "ECDHE-RSA-AES128-SHA"}, []string{"Signature type: RSA"}, "TLS 1.2", ""},
	{"ALPN h2", "encoder", []string{"-alpn", "h2,http/1.1"}, []string{"Protocol version: TLSv1.3"}, "TLS 1.3", ""},
	{"ALPN h2 1.2", "encoder", []string{"-alpn", "h2", "-tls1_2"}, []string{"Protocol version: TLSv1.2"}, "TLS 1.2", ""},
	{"no SNI", "encoder", []string{"-noservername"}, []string{"Peer certificate: CN = first.edge.test"}, "TLS 1.3", ""},
	{"no SNI 1.2", "encoder", []string{"-noservername", "-tls1_2"}, []string{"Peer certificate: CN = first.edge.test"}, "TLS 1.2", ""},
	{"unknown SNI", "encoder", []string{"-servername", "elsewhere.test"}, []string{"Peer certificate: CN = first.edge.test"}, "TLS 1.3", ""},
	{"RSA key exchange", "encoder", []string{"-tls1_2", "-cipher", "AES128-SHA"}, nil, "", "no shared suite"},
	{"SHA-1 only", "encoder", []string{"-tls1_2", "-sigalgs", "RSA+SHA1", "-cipher", "ECDHE-RSA-AES128-SHA" + old}, nil, "", "no shared suite"},

	{"TLS 1.3", "modern", []string{"-tls1_3"}, []string{"Protocol version: TLSv1.3"}, "TLS 1.3", ""},
	{"TLS 1.2", "modern", []string{"-tls1_2"}, nil, "", "no shared version"},

	{"TLS 1.0", "legacy", []string{"-tls1", "-cipher", "ECDHE" + old}, []string{"Protocol version: TLSv1"}, "TLS 1.0", ""},
	{"TLS 1.1", "legacy", []string{"-tls1_1", "-cipher", "ECDHE" + old}, []string{"Protocol version: TLSv1.1"}, "TLS 1.1", ""},
	{"TLS 1.2", "legacy", []string{"-tls1_2"}, []string{"Protocol version: TLSv1.2", "Hash used: SHA256"}, "TLS 1.2", ""},
	{"TLS 1.3", "legacy", nil, []string{"Protocol version: TLSv1.3"}, "TLS 1.3", ""},
	{"RSA key exchange 1.0", "legacy", []string{"-tls1", "-cipher", "AES128-SHA" + old}, []string{"Ciphersuite: AES128-SHA"}, "TLS 1.0", ""},
	{"RSA key exchange 1.1", "legacy", []string{"-tls1_1", "-cipher", "AES256-SHA" + old}, []string{"Ciphersuite: AES256-SHA"}, "TLS 1.1", ""},
	{"RSA key exchange 1.2", "legacy", []string{"-tls1_2", "-cipher", "AES128-GCM-SHA256"}, []string{"Ciphersuite: AES128-GCM-SHA256"}, "TLS 1.2", ""},
	{"SHA-1 only, RSA", "legacy", []string{"-tls1_2", "-sigalgs", "RSA+SHA1", "-cipher", "ECDHE-RSA-AES128-SHA" + old}, []string{"Hash used: SHA1", "Signature type: RSA"}, "TLS 1.2", ""},
	{"SHA-1 only, ECDSA", "legacy", []string{"-tls1_2", "-sigalgs", "ECDSA+SHA1", "-cipher", "ECDHE-ECDSA-AES128-SHA" + old}, []string{"Hash used: SHA1", "Signature type: ECDSA"}, "TLS 1.2", ""},
	{"a suite of no profile", "legacy", []string{"-tls1_2", "-cipher", "AES128-SHA256"}, nil, "", "no shared suite"},
}

// Clients of every kind stream to the built program, or are refused with a
// reason and what they had to offer.
func TestClients(t *testing.T) {
	t.Parallel()
	for _, profile := range []string{"modern", "encoder", "legacy"} {
		t.Run(profile, func(t *testing.T) {
			t.Parallel()
			origin, alice := startNginx(t), newKey("alice")
			e := startWithBothKinds(t, origin, profile, alice)
			handshakes := map[string]int{} // by the labels of the metric
			for _, c := range clientsOf {
				if c.profile != profile {
					continue
				}
				t.Run(c.name, func(t *testing.T) {
					if c.says == nil {
						handshakes[fmt.Sprintf("result=%q,version=\"unknown\"", c.reason)]++
					} else {
						handshakes[fmt.Sprintf("result=\"ok\",version=%q", strings.TrimPrefix(c.version, "TLS "))]++
					}
					options := c.options
					if !strings.Contains(strings.Join(options, " "), "servername") {
						options = append(options[:len(options):len(options)], sni...)
					}
					refusals := e.records(map[string]string{"msg": "refused"})
					conn, openssl := tunnel(t, e, options...)
					if c.says == nil {
						refusedClient(t, e, openssl, refusals, c.reason)
						return
					}
					servedClient(t, e, conn, openssl, alice, c.version, c.says)
				})
			}
			e.counted(t, handshakes)
		})
	}
}

// counted wants the metric to have these handshakes, by version and cause, and
// no others.
func (e *edge) counted(t *testing.T, want map[string]int) {
	t.Helper()
	_, metrics := e.ask(t, "/metrics")
	for labels, n := range want {
		if line := fmt.Sprintf("rtmps_edge_tls_handshakes_total{%s} %d\n", labels, n); !strings.Contains(metrics, line) {
			t.Errorf("the metrics do not have %s", line)
		}
	}
	if n := strings.Count(metrics, "\nrtmps_edge_tls_handshakes_total{"); n != len(want) {
		t.Errorf("%d kinds of handshakes were counted, want %v", n, want)
	}
}

// servedClient publishes a picture through OpenSSL.
func servedClient(t *testing.T, e *edge, conn net.Conn, openssl *process, alice streamKey, version string, says []string) {
	t.Helper()
	_ = conn.SetDeadline(time.Now().Add(patience))
	count := func(msg string) int { return e.records(map[string]string{"msg": msg, "tls": version}) }
	before := count("stream started")
	p, err := rtmptest.Publish(conn, rtmptest.PublishConfig{App: "live", Name: alice.text})
	if err != nil {
		p.Abort()
		t.Fatal(err)
	}
	for _, line := range says {
		openssl.waitText(t, line)
	}
	if err := p.Stop(); err != nil {
		t.Error(err)
	}
	eventually(t, "the start and the end of a stream over "+version, func() error {
		if started, ended := count("stream started"), count("stream ended"); started != before+1 || ended != started {
			return fmt.Errorf("%d streams were started before, %d now, and %d ended", before, started, ended)
		}
		return nil
	})
}

// refusedClient looks for the reason in the log, with what the client offered
// and what can be done. There were so many refusals before.
func refusedClient(t *testing.T, e *edge, openssl *process, before int, reason string) {
	t.Helper()
	if code := openssl.exit(t); code == 0 {
		t.Error("openssl ended well")
	}
	eventually(t, "the refusal", func() error {
		if n := e.records(map[string]string{"msg": "refused"}); n != before+1 {
			return fmt.Errorf("%d more refusals", n-before)
		}
		return nil
	})
	var last map[string]any
	lines, _ := e.out.after(0)
	for _, l := range lines {
		if r := parseRecord(l); matches(r, map[string]string{"msg": "refused"}) {
			last = r
		}
	}
	if !matches(last, map[string]string{"stage": "tls", "reason": reason}) {
		t.Errorf("it was refused with %v, want %s", last, reason)
	}
	if offered, _ := last["offered"].(string); !strings.Contains(offered, "versions ") || last["hint"] == nil {
		t.Errorf("what the client offered, or what to do, is not told: %v", last)
	}
}

// ffmpeg streams over TLS 1.3 and, where its library is told to know nothing
// newer, over 1.2.
func TestVersionsOfFFmpeg(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ profile, disabled, version string }{
		{"modern", "", "TLS 1.3"}, {"encoder", "", "TLS 1.3"}, {"encoder", "tls1.3", "TLS 1.2"}, {"legacy", "tls1.3", "TLS 1.2"},
	} {
		t.Run(c.profile+" "+c.version, func(t *testing.T) {
			t.Parallel()
			origin, alice := startNginx(t), newKey("alice")
			e := startWithBothKinds(t, origin, c.profile, alice)
			p := publishLimitedFFmpeg(t, e.url(), alice.text, c.disabled)
			published(t, origin, "live/"+alice.name)
			e.record(t, "the start", map[string]string{"msg": "stream started", "tls": c.version})
			flows(t, origin, "live/"+alice.name)
			p.interrupt(t)
		})
	}
	t.Run("modern refuses TLS 1.2", func(t *testing.T) {
		t.Parallel()
		e := startEdge(t, settings{Origin: freeAddress(t), TLS: "source = \"self-signed\"\nprofile = \"modern\""})
		p := publishLimitedFFmpeg(t, e.url(), "key", "tls1.3")
		if code := p.exit(t); code == 0 {
			t.Error("ffmpeg ended well")
		}
		e.tooOld(t)
	})
}

// publishLimitedFFmpeg is publishFFmpeg with a version of TLS, or several, that
// GnuTLS does not have.
func publishLimitedFFmpeg(t testing.TB, server, key, disabled string) commandLine {
	t.Helper()
	file := filepath.Join(t.TempDir(), "gnutls.conf")
	text := "[overrides]\n"
	if disabled != "" {
		text += "disabled-version = " + disabled + "\n"
	}
	writeFile(t, file, text)
	cmd := exec.Command(program(t, "ffmpeg"), ffmpegArgs(server+"/"+key)...)
	cmd.Env = append(os.Environ(), "GNUTLS_SYSTEM_PRIORITY_FILE="+file)
	return commandLine{start(t, cmd)}
}

// tooOld waits for the refusal of a client that knows TLS 1.2 and nothing newer.
func (e *edge) tooOld(t testing.TB) {
	t.Helper()
	r := e.record(t, "the refusal", map[string]string{"msg": "refused", "stage": "tls", "reason": "no shared version"})
	offered, _ := r["offered"].(string)
	hint, _ := r["hint"].(string)
	if !strings.Contains(offered, "1.2") || strings.Contains(offered, "1.3") || !strings.Contains(hint, `"encoder" 1.2 and up`) {
		t.Errorf("the log does not lead to the cure: offered %q, hint %q", offered, hint)
	}
}

// OBS 29 knows TLS up to 1.2. The profile modern refuses it; OBS says that it
// cannot connect, and the log says why and which profile would do.
func TestModernRefusesOldOBS(t *testing.T) {
	t.Parallel()
	alice := newKey("alice")
	e := startWithBothKinds(t, startNginx(t), "modern", alice)
	o := newOBS(t, ca(t).pem, e.url(), alice.text)
	if version := o.version(t); version >= 30 {
		e.record(t, "a newer OBS", map[string]string{"msg": "stream started", "tls": "TLS 1.3"})
		return
	}
	e.tooOld(t)
	eventually(t, "the box of OBS", func() error { return o.hasWindow(t, obsRefusalTitle) })
	if n := e.records(map[string]string{"msg": "stream started"}); n != 0 {
		t.Error("a stream was started")
	}
}

// version is the number before the first point.
func (o *obs) version(t testing.TB) (major int) {
	t.Helper()
	line := o.wait(t, "its version", func(l string) bool { return strings.Contains(l, "OBS ") && strings.Contains(l, "(linux") })
	_, rest, _ := strings.Cut(line, "OBS ")
	if _, err := fmt.Sscanf(rest, "%d.", &major); err != nil {
		t.Fatalf("%q: %v", line, err)
	}
	return major
}

const (
	// floodSize is how many handshakes a flood has, and floodWorkers how many at
	// once: more than the edge lets through.
	floodSize, floodWorkers = 600, 48
	// longestGap is how long nothing of a stream of 15 pictures a second may
	// arrive during a flood. It is some 80 ms on two cores that the clients of
	// the flood keep busy, too; the rest is for machines with more to do.
	longestGap = 5 * time.Second
)

// A flood of handshakes waits for its turn, and the stream that runs goes on.
func TestAFloodOfHandshakesStarvesNoStream(t *testing.T) {
	t.Parallel()
	origin, alice := startNginx(t), newKey("alice")
	e := startEdge(t, settings{Origin: origin.address(), Limits: "handshakes = 4\nconnections_per_ip = 0\nconnect_rate_per_ip = \"0\""}, alice)
	ffmpeg := publishFFmpeg(t, e.url(), alice.text)
	published(t, origin, "live/"+alice.name)
	calm := e.gap(func() { flows(t, origin, "live/"+alice.name) })

	var failed atomic.Int32
	flood := e.gap(func() {
		var wg sync.WaitGroup
		for range floodWorkers {
			wg.Go(func() {
				for range floodSize / floodWorkers {
					c, err := e.dial(t)
					if err != nil {
						failed.Add(1)
						continue
					}
					_ = c.Close()
				}
			})
		}
		wg.Wait()
	})
	t.Logf("the longest gap in the stream: %v before, %v during %d handshakes, of which %d failed", calm, flood, floodSize, failed.Load())
	if flood > longestGap {
		t.Errorf("nothing came for %v", flood)
	}
	if n := failed.Load(); n > 0 {
		t.Errorf("%d handshakes failed instead of waiting", n)
	}
	flows(t, origin, "live/"+alice.name)
	ffmpeg.mustLive(t)
	if n := e.records(map[string]string{"msg": "stream ended"}); n != 0 {
		t.Error("the stream was ended")
	}
}

// gap is the longest time without a byte to the origin while f goes on.
func (e *edge) gap(f func()) (longest time.Duration) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	size, last := e.tee.size(), time.Now()
	for {
		select {
		case <-done:
			return longest
		case <-tick.C:
		}
		if now := e.tee.size(); now != size {
			size, last = now, time.Now()
		}
		longest = max(longest, time.Since(last))
	}
}

// Clients that offer a key exchange against quantum computers get it.
func TestHybridKeyExchange(t *testing.T) {
	t.Parallel()
	e := startWithBothKinds(t, startNginx(t), "encoder")
	for _, group := range []tls.CurveID{tls.X25519MLKEM768, tls.SecP256r1MLKEM768, tls.SecP384r1MLKEM1024} {
		c, err := tls.Dial("tcp", "127.0.0.1:"+e.port, &tls.Config{InsecureSkipVerify: true, CurvePreferences: []tls.CurveID{group, tls.X25519}})
		if err != nil {
			t.Fatal(err)
		}
		if got := c.ConnectionState().CurveID; got != group {
			t.Errorf("%v, want %v", got, group)
		}
		_ = c.Close()
	}
}

// An encoder that does not trust the certificate says so in its own way, and
// the log says it in ours.
func TestUntrustedCertificateIsTold(t *testing.T) {
	t.Parallel()
	for name, start := range map[string]func(t *testing.T, e *edge){
		"OBS": func(t *testing.T, e *edge) {
			o := newOBS(t, ca(t).pem, e.url(), "key")
			eventually(t, "the box of OBS", func() error { return o.hasWindow(t, obsRefusalTitle) })
			o.waitText(t, "Cert verify failed")
		},
		"ffmpeg": func(t *testing.T, e *edge) {
			p := publishFFmpeg(t, e.url(), "key", "-tls_verify", "1", "-ca_file", caFile(t))
			if code := p.exit(t); code == 0 {
				t.Error("ffmpeg ended well")
			}
		},
		"GStreamer": func(t *testing.T, e *edge) {
			p := startProgram(t, "gst-launch-1.0", gstArgs("rtmp2sink", "location="+e.url()+"/key")...)
			p.exit(t)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := startEdge(t, settings{Origin: freeAddress(t), TLS: "source = \"self-signed\"\nself_signed_names = [\"localhost\"]"})
			start(t, e)
			r := e.record(t, "the refusal", map[string]string{"msg": "refused"})
			// OBS says so in an alert. Others leave without a word, ffmpeg after
			// the handshake: the hint has to do.
			hint, _ := r["hint"].(string)
			if !strings.Contains(hint, "not believe the certificate") {
				t.Errorf("the log does not lead to the cure: %v", r)
			}
			if name == "OBS" && !matches(r, map[string]string{"stage": "tls", "reason": "client rejected certificate"}) {
				t.Errorf("%v", r)
			}
		})
	}
}
