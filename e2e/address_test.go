package e2e

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// balancer is a HAProxy in front of an edge. Whoever connects to here comes to
// the edge as from 127.0.0.1, to studio and stranger as from the addresses
// below; the balancer tells the edge so in whatever way it is told to.
type balancer struct{ here, studio, stranger string }

const studioAddress, strangerAddress = "127.0.0.2", "127.0.0.3"

const haproxyConfig = `
defaults
  mode tcp
  timeout connect 5s
  timeout client 1m
  timeout server 1m
listen here
  bind HERE
  server edge EDGE SEND
`

// haproxyClients come to the balancer from addresses of their own.
const haproxyClients = `
listen studio
  bind STUDIO
  server balancer HERE source ` + studioAddress + `
listen stranger
  bind STRANGER
  server balancer HERE source ` + strangerAddress + `
`

// startHAProxy has it send what send says, "send-proxy" or the like, to the
// edge's address.
func startHAProxy(t testing.TB, edge, send string) balancer {
	t.Helper()
	b := balancer{freeAddress(t), freeAddress(t), freeAddress(t)}
	b.run(t, strings.NewReplacer("HERE", b.here, "EDGE", edge, "SEND", send).Replace(haproxyConfig))
	return b
}

// run starts it with a configuration that has it listen at b.here, and with the
// other two addresses.
func (b balancer) run(t testing.TB, config string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "haproxy.cfg")
	writeFile(t, file, config+strings.NewReplacer("HERE", b.here, "STUDIO", b.studio, "STRANGER", b.stranger).Replace(haproxyClients))
	p := startProgram(t, "haproxy", "-db", "-f", file)
	eventually(t, "HAProxy to listen", func() error {
		p.mustLive(t)
		c, err := net.Dial("tcp", b.here)
		if err == nil {
			_ = c.Close()
		}
		return err
	})
}

func rtmps(address string) string {
	_, port, _ := net.SplitHostPort(address)
	return "rtmps://localhost:" + port + "/live"
}

// studioPublishes publishes from the studio's address, wants nginx-rtmp to have the
// stream, and ends it.
func studioPublishes(t *testing.T, e *edge, b balancer, origin *nginx, alice streamKey) {
	t.Helper()
	ffmpeg := publishFFmpeg(t, rtmps(b.studio), alice.text)
	published(t, origin, "live/"+alice.name)
	started := e.record(t, "the stream's start", map[string]string{"msg": "stream started"})
	if client, _ := started["client"].(string); !strings.HasPrefix(client, studioAddress+":") {
		t.Errorf("the client is %s", client)
	}
	flows(t, origin, "live/"+alice.name)
	ffmpeg.interrupt(t)
	published(t, origin)
}

// nginx-rtmp admits by the encoder's own address, through HAProxy and the edge;
// the edge's own questions whether it is well do not trouble it.
func TestNginxAdmitsByTheRealAddress(t *testing.T) {
	for _, send := range []string{"send-proxy", "send-proxy-v2"} {
		t.Run(send, func(t *testing.T) {
			t.Parallel()
			origin := startNginxWith(t, "proxy_protocol", "allow publish "+studioAddress+"; deny publish all;")
			alice := newKey("alice")
			e := startEdge(t, settings{Origin: origin.address(), Listener: `proxy_protocol = ["127.0.0.1"]`,
				AtOrigin: "client_ip = \"proxy-v1\"\nhealth_every = \"100ms\""}, alice)
			b := startHAProxy(t, "127.0.0.1:"+e.port, send)

			studioPublishes(t, e, b, origin, alice)
			refused := publishFFmpeg(t, rtmps(b.stranger), alice.text)
			if code := refused.exit(t); code == 0 {
				t.Error("nginx-rtmp took a stranger's stream")
			}
			// nginx-rtmp says that the stream has started, and then refuses by closing.
			ended := e.record(t, "the stranger's end", map[string]string{"msg": "stream ended", "side": "origin"})
			if client, _ := ended["client"].(string); !strings.HasPrefix(client, strangerAddress+":") {
				t.Errorf("nginx-rtmp refused %s", client)
			}
			published(t, origin)

			for _, header := range []string{"PROXY TCP4 " + studioAddress + " ", "PROXY TCP4 " + strangerAddress + " ", "PROXY UNKNOWN\r\n"} {
				eventually(t, "nginx-rtmp to get "+header, func() error {
					if !bytes.Contains(e.tee.bytes(), []byte(header)) {
						return errors.New("it has not")
					}
					return nil
				})
			}
			if n := e.records(map[string]string{"msg": "the origin server is not available"}); n > 0 {
				t.Error("a health check found nginx-rtmp down")
			}
		})
	}
}

// Limits and networks are for who is behind the balancer.
func TestNetworksAreThoseOfClients(t *testing.T) {
	t.Parallel()
	origin := startNginx(t)
	alice := newKey("alice")
	e := startEdge(t, settings{Origin: origin.address(), Listener: `proxy_protocol = ["127.0.0.1"]`, Limits: `connections_per_ip = 1`}, alice)
	b := startHAProxy(t, "127.0.0.1:"+e.port, "send-proxy-v2")
	publishFFmpeg(t, rtmps(b.studio), alice.text)
	published(t, origin, "live/"+alice.name)
	second := publishFFmpeg(t, rtmps(b.studio), alice.text)
	refused := e.record(t, "the refusal", map[string]string{"msg": "refused", "stage": "admit", "reason": "connections_per_ip"})
	if client, _ := refused["client"].(string); !strings.HasPrefix(client, studioAddress+":") {
		t.Errorf("the client is %s", client)
	}
	second.exit(t)
	// Another client of the same balancer gets as far as the name.
	other := publishFFmpeg(t, rtmps(b.stranger), alice.text)
	other.waitText(t, "already being published")
	other.exit(t)
}

// A header is believed from nobody who is not named, and not read either.
func TestAHeaderOfAStrangerIsRefused(t *testing.T) {
	for name, listener := range map[string]string{"nobody is named": "", "another is named": `proxy_protocol = ["192.0.2.0/24"]`} {
		for _, send := range []string{"send-proxy", "send-proxy-v2"} {
			t.Run(name+"/"+send, func(t *testing.T) {
				t.Parallel()
				alice := newKey("alice")
				e := startEdge(t, settings{Origin: freeAddress(t), Listener: listener}, alice)
				b := startHAProxy(t, "127.0.0.1:"+e.port, send)
				ffmpeg := publishFFmpeg(t, rtmps(b.studio), alice.text)
				if code := ffmpeg.exit(t); code == 0 {
					t.Error("ffmpeg ended well")
				}
				e.record(t, "the refusal", map[string]string{"msg": "refused", "stage": "tls", "reason": "unexpected PROXY header"})
				if strings.Contains(e.out.String(), studioAddress) {
					t.Error("the header was believed")
				}
			})
		}
	}
}

// HAProxy reaches the edge by a unix socket, without a port.
func TestUnixSocketBehindHAProxy(t *testing.T) {
	t.Parallel()
	origin := startNginx(t)
	alice := newKey("alice")
	e := startEdge(t, settings{Origin: origin.address(), Address: "unix:edge.sock", Listener: `proxy_protocol = ["unix"]`}, alice)
	b := startHAProxy(t, "unix@"+filepath.Join(e.dir, "edge.sock"), "send-proxy-v2")
	publishFFmpeg(t, rtmps(b.studio), alice.text)
	published(t, origin, "live/"+alice.name)
	started := e.record(t, "the stream's start", map[string]string{"msg": "stream started", "tls": "TLS 1.3"})
	if client, _ := started["client"].(string); !strings.HasPrefix(client, studioAddress+":") {
		t.Errorf("the client is %s", client)
	}
}

// RTMPS and RTMP on one port.
func TestOnePortForBoth(t *testing.T) {
	t.Parallel()
	origin := startNginx(t)
	alice, bob := newKey("alice"), newKey("bob")
	e := startEdge(t, settings{Origin: origin.address(), Listener: `tls = "optional"`}, alice, bob)
	startFFmpeg(t, e.url(), alice.text)
	publishFFmpeg(t, strings.Replace(e.url(), "rtmps:", "rtmp:", 1), bob.text)
	published(t, origin, "live/"+alice.name, "live/"+bob.name)
	e.record(t, "the start of RTMPS", map[string]string{"msg": "stream started", "subject": "alice", "tls": "TLS 1.3"})
	if r := e.record(t, "the start of RTMP", map[string]string{"msg": "stream started", "subject": "bob"}); r["tls"] != nil {
		t.Errorf("RTMP with %v", r["tls"])
	}
}

// A certificate of the right authority is needed, and suffices for TLS.
func TestMutualTLS(t *testing.T) {
	t.Parallel()
	origin := startNginx(t)
	alice := newKey("alice")
	e := prepareEdge(t, settings{Origin: origin.address(), Clients: "client_auth = \"required\"\nclient_ca = \"clients.crt\""}, alice)
	writeFile(t, filepath.Join(e.dir, "clients.crt"), string(ca(t).pem))
	e.run(t, e.command(t, "run", "-c", filepath.Join(e.dir, "edge.toml")))

	without := publishFFmpeg(t, e.url(), alice.text)
	if code := without.exit(t); code == 0 {
		t.Error("ffmpeg ended well without a certificate")
	}
	refused := e.record(t, "the refusal", map[string]string{"msg": "refused", "stage": "tls", "reason": "client certificate"})
	if offered, _ := refused["offered"].(string); !strings.Contains(offered, "versions ") {
		t.Errorf("what the client offered is not told: %v", refused)
	}

	cert, key := ca(t).issueClient(t, "studio-1")
	publishFFmpeg(t, e.url(), alice.text, "-cert_file", cert, "-key_file", key)
	published(t, origin, "live/"+alice.name)
}

// A certificate says who an encoder is, and its entry what it may publish. An
// entry that is taken out takes the stream with it.
func TestCertificatesAreCredentials(t *testing.T) {
	t.Parallel()
	origin := startNginx(t)
	e := prepareEdge(t, settings{Origin: origin.address(), Publish: `"certificate"`, Clients: "client_auth = \"required\"\nclient_ca = \"clients.crt\""})
	writeFile(t, filepath.Join(e.dir, "clients.crt"), string(ca(t).pem))
	const entry = "[[certificate]]\ncn = %q\nactions = [\"publish\"]\napp = \"live\"\nnames = [%q]\n"
	two := fmt.Sprintf(entry, "studio-2", "studio-2-*")
	writeFile(t, filepath.Join(e.dir, "certificates.toml"), fmt.Sprintf(entry, "studio-1", "studio-1-*")+two)
	e.run(t, e.command(t, "run", "-c", filepath.Join(e.dir, "edge.toml")))

	publish := func(who, name string) commandLine {
		cert, key := ca(t).issueClient(t, who)
		return publishFFmpeg(t, e.url(), name, "-cert_file", cert, "-key_file", key)
	}
	first, second := publish("studio-1", "studio-1-main"), publish("studio-2", "studio-2-main")
	published(t, origin, "live/studio-1-main", "live/studio-2-main")
	e.record(t, "the start", map[string]string{"msg": "stream started", "subject": "studio-1", "name": "studio-1-main"})
	for who, name := range map[string]string{"studio-1": "studio-2-other", "studio-3": "studio-1-other"} {
		refused := publish(who, name)
		refused.waitText(t, "The stream key is not valid here.")
		refused.exit(t)
	}

	writeFile(t, filepath.Join(e.dir, "certificates.toml"), two)
	e.record(t, "the end", map[string]string{"msg": "stream ended", "side": "edge", "reason": "revoked", "subject": "studio-1"})
	first.exit(t)
	published(t, origin, "live/studio-2-main")
	second.mustLive(t)
}

// issueClient makes a certificate for an encoder, and its key, as files.
func (a *authority) issueClient(t testing.TB, name string) (cert, key string) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &k.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	sec, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cert, key = filepath.Join(dir, "client.crt"), filepath.Join(dir, "client.key")
	writeFile(t, cert, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
	writeFile(t, key, string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: sec})))
	return cert, key
}

// A socket that systemd has opened outlives the edge: an encoder that comes
// while none runs waits, and is served by the next.
func TestSystemdSocketOutlivesTheEdge(t *testing.T) {
	t.Parallel()
	origin := startNginx(t)
	alice := newKey("alice")
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	socket, err := ln.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = socket.Close() }()
	_ = ln.Close()
	_, port, _ := net.SplitHostPort(ln.Addr().String())

	e := prepareEdge(t, settings{Origin: origin.address(), Address: "systemd:rtmps"}, alice)
	e.run(t, activated(e.command(t, "run", "-c", filepath.Join(e.dir, "edge.toml")), socket))
	if e.port != port {
		t.Fatalf("the edge listens on port %s, not %s", e.port, port)
	}
	publishFFmpeg(t, e.url(), alice.text, "-t", "1").exit(t)
	e.record(t, "the stream's end", map[string]string{"msg": "stream ended", "side": "client"})
	e.shutdown(t)

	early := publishFFmpeg(t, e.url(), alice.text)
	e.run(t, activated(e.command(t, "run", "-c", filepath.Join(e.dir, "edge.toml")), socket))
	published(t, origin, "live/"+alice.name)
	flows(t, origin, "live/"+alice.name)
	early.interrupt(t) // or the edge would wait for it
}

// activated runs cmd as systemd does for a socket unit: with the socket as
// descriptor 3, and its own process id in the environment.
func activated(cmd *exec.Cmd, socket *os.File) *exec.Cmd {
	sh := exec.Command("sh", append([]string{"-c", `LISTEN_PID=$$ exec "$0" "$@"`}, cmd.Args...)...)
	sh.Dir = cmd.Dir
	sh.Env = append(os.Environ(), "LISTEN_FDS=1", "LISTEN_FDNAMES=rtmps")
	sh.ExtraFiles = []*os.File{socket}
	return sh
}
