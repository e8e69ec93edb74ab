package e2e

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
)

// lifetime of certificates, in seconds: renewed within a test, and not before
// it has looked at the first.
const lifetime = 40

// pebble is Let's Encrypt's server for tests. It looks for the answers to its
// challenges where the edge listens.
type pebble struct {
	directory string // URL
	roots     string // URL of what it signs with
	dir       string
	listen    string
	manage    string
	dns       string
	client    *http.Client
}

// newPebble makes one that does not run yet.
func newPebble(t testing.TB) *pebble {
	t.Helper()
	p := &pebble{dir: t.TempDir(), listen: freeAddress(t), manage: freeAddress(t), dns: freeAddress(t)}
	p.directory, p.roots = "https://"+p.listen+"/dir", "https://"+p.manage+"/roots/0"
	cert, key := ca(t).issue(t, firstSerial)
	writeFile(t, filepath.Join(p.dir, "pebble.crt"), cert)
	writeFile(t, filepath.Join(p.dir, "pebble.key"), key)
	trust := x509.NewCertPool()
	trust.AddCert(ca(t).cert)
	p.client = &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: trust}, DisableKeepAlives: true}}
	return p
}

// run starts it, and a DNS server that leads all domains to loopback.
func (p *pebble) run(t testing.TB, port string) {
	t.Helper()
	n, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	config, err := json.Marshal(map[string]any{"pebble": map[string]any{
		"listenAddress": p.listen, "managementListenAddress": p.manage, "tlsPort": n,
		"certificate": filepath.Join(p.dir, "pebble.crt"), "privateKey": filepath.Join(p.dir, "pebble.key"),
		"certificateValidityPeriod": lifetime,
	}})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(p.dir, "pebble.json")
	writeFile(t, file, string(config))
	startProgram(t, "pebble-challtestsrv", "-management", freeAddress(t), "-dns01", p.dns,
		"-http01", "", "-https01", "", "-tlsalpn01", "", "-defaultIPv6", "", "-defaultIPv4", "127.0.0.1")
	cmd := exec.Command(program(t, "pebble"), "-config", file, "-dnsserver", p.dns)
	cmd.Env = append(os.Environ(), "PEBBLE_VA_NOSLEEP=1")
	start(t, cmd)
}

// root is what it signs with.
func (p *pebble) root() (*x509.CertPool, error) {
	res, err := p.client.Get(p.roots)
	if err != nil {
		return nil, err
	}
	defer func() { _ = res.Body.Close() }()
	pem, err := io.ReadAll(res.Body)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, errors.New("no root")
	}
	return pool, nil
}

// shown is the certificate that a client sees that verifies it.
func (p *pebble) shown(e *edge, domain string) (*x509.Certificate, error) {
	root, err := p.root()
	if err != nil {
		return nil, err
	}
	c, err := tls.Dial("tcp", "127.0.0.1:"+e.port, &tls.Config{RootCAs: root, ServerName: domain})
	if err != nil {
		return nil, err
	}
	defer func() { _ = c.Close() }()
	return c.ConnectionState().PeerCertificates[0], nil
}

// An edge whose authority is down when it starts gets its certificate when that
// is there, by a challenge on its own listener, and another before the first
// ends. A stream goes on meanwhile.
func TestACME(t *testing.T) {
	t.Parallel()
	for _, source := range []string{"certmagic", "autocert"} {
		t.Run(source, func(t *testing.T) {
			t.Parallel()
			const domain = "live.edge.test"
			origin, p, alice := startNginx(t), newPebble(t), newKey("alice")
			e := startEdge(t, settings{
				Origin: origin.address(),
				Limits: "connect_rate_per_ip = \"0\"",
				TLS: fmt.Sprintf("source = %q\n[tls.acme]\ndomains = [%q]\ndirectory = %q\ndirectory_ca = %q\nstorage = \"acme\"\n",
					source, domain, p.directory, caFile(t)),
			}, alice)
			down := e.record(t, "an authority that is down", map[string]string{"msg": "no certificate from the authority; trying again", "domain": domain})
			t.Log("an operator reads:", down["reason"], "/", down["cure"])
			if c, err := e.dial(t); err == nil {
				_ = c.Close()
				t.Error("there is a certificate, although nobody has made one")
			}
			e.record(t, "a client without a certificate to see", map[string]string{"msg": "refused", "reason": "no certificate yet"})

			p.run(t, e.port)
			eventually(t, "the authority", func() error { _, err := p.root(); return err })
			e.signal(t, syscall.SIGHUP) // the edge tries at once
			var first *x509.Certificate
			eventually(t, "a certificate", func() (err error) { first, err = p.shown(e, domain); return err })
			e.record(t, "the authority's look", map[string]string{"msg": "refused", "reason": "ACME challenge answered"})

			ffmpeg := publishFFmpeg(t, e.url(), alice.text)
			published(t, origin, "live/"+alice.name)
			e.signal(t, syscall.SIGHUP) // certmagic looks every ten minutes, and when it is told
			eventually(t, "another certificate", func() error {
				now, err := p.shown(e, domain)
				if err == nil && now.Equal(first) {
					err = errors.New("it is the same")
				}
				return err
			})
			flows(t, origin, "live/"+alice.name)
			ffmpeg.mustLive(t)
			if n := e.records(map[string]string{"msg": "stream ended"}); n != 0 {
				t.Error("the stream was ended")
			}
			ffmpeg.interrupt(t)
		})
	}
}
