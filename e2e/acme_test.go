package e2e

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Lifetimes of certificates, in seconds. autocert renews by the clock: within
// a test, and not before that has looked at the first. certmagic renews what
// ends within the hour whenever it is told to look.
var lifetimes = map[string]int{"certmagic": 1800, "autocert": 40}

// noRate is for tests that look at the certificate all the time: they must not
// use up what the authority, at the same address here, needs for its own look.
const noRate = `connect_rate_per_ip = "0"`

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
	more      map[string]any // of its configuration
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

// run starts it, for an edge with that source and port, and a DNS server that
// leads all domains to loopback.
func (p *pebble) run(t testing.TB, source, port string) {
	t.Helper()
	n, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	settings := map[string]any{
		"listenAddress": p.listen, "managementListenAddress": p.manage, "tlsPort": n,
		"certificate": filepath.Join(p.dir, "pebble.crt"), "privateKey": filepath.Join(p.dir, "pebble.key"),
		"certificateValidityPeriod": lifetimes[source],
	}
	maps.Copy(settings, p.more)
	config, err := json.Marshal(map[string]any{"pebble": settings})
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
	pem, err := p.readRoot()
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, errors.New("no root")
	}
	return pool, nil
}

func (p *pebble) readRoot() ([]byte, error) {
	res, err := p.client.Get(p.roots)
	if err != nil {
		return nil, err
	}
	defer func() { _ = res.Body.Close() }()
	return io.ReadAll(res.Body)
}

func (p *pebble) rootPEM(t testing.TB) []byte {
	t.Helper()
	pem, err := p.readRoot()
	if err != nil {
		t.Fatal(err)
	}
	return pem
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

// tls is the [tls] of an edge whose certificate for domain comes from p.
func (p *pebble) tls(t testing.TB, source, domain string) string {
	t.Helper()
	return fmt.Sprintf("source = %q\n[tls.acme]\ndomains = [%q]\ndirectory = %q\ndirectory_ca = %q\nstorage = \"acme\"\n",
		source, domain, p.directory, caFile(t))
}

// ready is what /readyz says.
func (e *edge) ready(t testing.TB) (status int, body string) {
	t.Helper()
	return e.ask(t, "/readyz")
}

// ask gets a path of the admin address.
func (e *edge) ask(t testing.TB, path string) (status int, body string) {
	t.Helper()
	c := &http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := c.Get("http://" + e.record(t, "the admin address", map[string]string{"msg": "the admin address is open"})["address"].(string) + path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	all, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(all)
}

// expiry is when the metric says that the certificate for domain expires.
func (e *edge) expiry(t testing.TB, domain string) float64 {
	t.Helper()
	_, body := e.ask(t, "/metrics")
	_, value, ok := strings.Cut(body, fmt.Sprintf("\nrtmps_edge_certificate_expiry_timestamp_seconds{name=%q} ", domain))
	value, _, _ = strings.Cut(value, "\n")
	seconds, err := strconv.ParseFloat(value, 64)
	if !ok || err != nil {
		t.Fatalf("the metric does not know %s: %q, %v", domain, value, err)
	}
	return seconds
}

// renewal waits until a client sees another certificate than now.
func (p *pebble) renewal(t testing.TB, e *edge, domain string) {
	t.Helper()
	old, err := p.shown(e, domain)
	if err != nil {
		t.Fatal(err)
	}
	e.signal(t, syscall.SIGHUP) // certmagic looks every ten minutes, and when it is told
	eventually(t, "another certificate", func() error {
		now, err := p.shown(e, domain)
		if err == nil && now.Equal(old) {
			err = errors.New("it is the same")
		}
		return err
	})
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
			e := startEdge(t, settings{Origin: origin.address(), Admin: "127.0.0.1:0", TLS: p.tls(t, source, domain), Limits: noRate}, alice)
			down := e.record(t, "an authority that is down", map[string]string{"msg": "no certificate from the authority; trying again", "domain": domain})
			t.Log("an operator reads:", down["reason"], "/", down["cure"])
			if c, err := e.dial(t); err == nil {
				_ = c.Close()
				t.Error("there is a certificate, although nobody has made one")
			}
			e.record(t, "a client without a certificate to see", map[string]string{"msg": "refused", "reason": "no certificate yet"})
			if status, body := e.ready(t); status != http.StatusServiceUnavailable || !strings.Contains(body, "no certificate yet: "+domain) {
				t.Errorf("/readyz: %d %s", status, body)
			}
			if expiry := e.expiry(t, domain); expiry != 0 {
				t.Errorf("the metric knows when the certificate expires that nobody has made: %v", expiry)
			}

			p.run(t, source, e.port)
			p.first(t, e, domain)
			if status, body := e.ready(t); status != http.StatusOK {
				t.Errorf("/readyz: %d %s", status, body)
			}
			if expiry := e.expiry(t, domain); expiry < float64(time.Now().Unix()) {
				t.Errorf("the metric says that the certificate has expired: %v", expiry)
			}

			ffmpeg := publishFFmpeg(t, e.url(), alice.text)
			published(t, origin, "live/"+alice.name)
			p.renewal(t, e, domain)
			flows(t, origin, "live/"+alice.name)
			ffmpeg.mustLive(t)
			if n := e.records(map[string]string{"msg": "stream ended"}); n != 0 {
				t.Error("the stream was ended")
			}
			ffmpeg.interrupt(t)
		})
	}
}

// first waits until p has given a certificate to an edge that waits for it.
func (p *pebble) first(t testing.TB, e *edge, domain string) {
	t.Helper()
	eventually(t, "the authority", func() error { _, err := p.root(); return err })
	e.signal(t, syscall.SIGHUP) // the edge tries at once
	eventually(t, "a certificate", func() error { _, err := p.shown(e, domain); return err })
	e.record(t, "the authority's look", map[string]string{"msg": "refused", "reason": "ACME challenge answered"})
}

// An authority that knows its customers, and looks at port 80 only, gives its
// certificate to who is told the account and the address.
func TestACMEByHTTPForACustomer(t *testing.T) {
	t.Parallel()
	const domain, key = "live.edge.test", "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W"
	web, p := freePort(t), newPebble(t)
	p.more = map[string]any{"httpPort": web, "externalAccountBindingRequired": true, "externalAccountMACKeys": map[string]string{"customer-1": key}}
	e := prepareEdge(t, settings{Origin: freeAddress(t), NoTee: true, Limits: noRate, TLS: p.tls(t, "certmagic", domain) +
		fmt.Sprintf("http_address = \"127.0.0.1:%d\"\neab_key_id = \"customer-1\"\neab_mac_key_file = \"mac.key\"\n", web)})
	e.secrets = append(e.secrets, key)
	writeFile(t, filepath.Join(e.dir, "mac.key"), key+"\n")
	e.run(t, e.command(t, "run", "-c", filepath.Join(e.dir, "edge.toml")))
	p.run(t, "certmagic", strconv.Itoa(freePort(t))) // nobody answers there
	eventually(t, "the authority", func() error { _, err := p.root(); return err })
	e.signal(t, syscall.SIGHUP)
	eventually(t, "a certificate", func() error { _, err := p.shown(e, domain); return err })
}

// OBS, which verifies, begins with one certificate and streams on while the next
// takes its place; another OBS then believes that.
func TestACMEWithOBS(t *testing.T) {
	t.Parallel()
	const domain = "localhost" // a name that OBS can resolve
	origin, p := startNginx(t), newPebble(t)
	alice, bob := newKey("alice"), newKey("bob")
	e := startEdge(t, settings{Origin: origin.address(), TLS: p.tls(t, "certmagic", domain), Limits: noRate}, alice, bob)
	p.run(t, "certmagic", e.port)
	p.first(t, e, domain)

	one := newOBS(t, p.rootPEM(t), e.url(), alice.text)
	one.waitText(t, "Streaming Start")
	published(t, origin, "live/"+alice.name)
	p.renewal(t, e, domain)
	two := newOBS(t, p.rootPEM(t), e.url(), bob.text)
	two.waitText(t, "Streaming Start")
	published(t, origin, "live/"+alice.name, "live/"+bob.name)
	flows(t, origin, "live/"+alice.name)
	if s := one.status(t); !s.Active || s.Reconnecting {
		t.Errorf("OBS has lost its stream: %+v", s)
	}
	if n := e.records(map[string]string{"msg": "stream ended"}); n != 0 {
		t.Errorf("%d streams were ended", n)
	}
	if n := e.records(map[string]string{"msg": "stream started"}); n != 2 {
		t.Errorf("%d streams were started", n)
	}
}
