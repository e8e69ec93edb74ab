package tlsconf

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sirupsen/logrus"

	"rtmps-edge/internal/hello"
)

// acme is what both ACME sources are.
type acmeEdge interface {
	Source
	Watch(context.Context)
	Certificates() []Certificate
	Pending() map[string]string
}

var acmeSources = map[string]func(ACMEConfig) (acmeEdge, error){
	"certmagic": func(c ACMEConfig) (acmeEdge, error) { return NewCertMagic(c) },
	"autocert":  func(c ACMEConfig) (acmeEdge, error) { return NewAutocert(c) },
}

// patience is how long a test waits for what takes seconds: a busy machine
// takes longer.
const patience = 2 * time.Minute

// authority is a Pebble: Let's Encrypt's server for tests. It looks for
// answers to challenges at two ports of one address.
type authority struct {
	Directory string
	CAFile    string
	config    string
	dns       string
	manage    string
	client    *http.Client
	out       *logs
	run       *exec.Cmd
}

// pebbleConfig is the part of Pebble's configuration that tests change.
type pebbleConfig struct {
	ListenAddress                  string            `json:"listenAddress"`
	ManagementListenAddress        string            `json:"managementListenAddress"`
	Certificate                    string            `json:"certificate"`
	PrivateKey                     string            `json:"privateKey"`
	HTTPPort                       int               `json:"httpPort"`
	TLSPort                        int               `json:"tlsPort"`
	OCSPResponderURL               string            `json:"ocspResponderURL,omitempty"`
	ExternalAccountBindingRequired bool              `json:"externalAccountBindingRequired"`
	ExternalAccountMACKeys         map[string]string `json:"externalAccountMACKeys,omitempty"`
	CertificateValidityPeriod      int               `json:"certificateValidityPeriod,omitempty"`

	address string // where all domains lead; "" = 127.0.0.1
}

// program fails the test if a program is not installed: a test that is left
// out shows nothing. Only -short, which asks for that, leaves it out.
func program(t *testing.T, name string) string {
	t.Helper()
	if testing.Short() {
		t.Skip("needs " + name + ", and go test without -short")
	}
	path, err := exec.LookPath(name)
	if err != nil {
		t.Fatalf("%v (apt-get install pebble)", err)
	}
	return path
}

// newAuthority makes one that is not started yet.
func newTestAuthority(t *testing.T, c pebbleConfig) *authority {
	t.Helper()
	dir := t.TempDir()
	p := pairIn(dir, "pebble")
	store(t, p, issue(t, kindECDSA, "localhost", "127.0.0.1"))
	c.Certificate, c.PrivateKey = p.Cert, p.Key
	c.ListenAddress, c.ManagementListenAddress = unused(t), unused(t)
	if c.address == "" {
		c.address = "127.0.0.1"
	}
	config, err := json.Marshal(map[string]any{"pebble": c})
	if err != nil {
		t.Fatal(err)
	}
	a := &authority{
		Directory: "https://" + c.ListenAddress + "/dir",
		CAFile:    filepath.Join(dir, "directory-ca.pem"),
		config:    filepath.Join(dir, "pebble.json"),
		dns:       unused(t),
		manage:    "https://" + c.ManagementListenAddress,
		client:    &http.Client{Transport: &http.Transport{TLSClientConfig: trusting(), DisableKeepAlives: true}},
		out:       &logs{},
	}
	put(t, a.config, config)
	put(t, a.CAFile, encodePEM(typeCertificate, testAuthority().Certificate[0]))
	a.start(t, program(t, "pebble-challtestsrv"), "-management", unused(t), "-dns01", a.dns,
		"-http01", "", "-https01", "", "-tlsalpn01", "", "-defaultIPv6", "", "-defaultIPv4", c.address)
	return a
}

func (a *authority) start(t *testing.T, path string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(path, args...)
	cmd.Stdout, cmd.Stderr = a.out, a.out
	// No sleep before challenges are looked at, and no nonce refused for fun:
	// the libraries' retries are theirs to test.
	cmd.Env = append(os.Environ(), "PEBBLE_VA_NOSLEEP=1", "PEBBLE_WFE_NONCEREJECT=0", "PEBBLE_AUTHZREUSE=0")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	return cmd
}

// Start returns when the authority answers.
func (a *authority) Start(t *testing.T) {
	t.Helper()
	a.run = a.start(t, program(t, "pebble"), "-config", a.config, "-dnsserver", a.dns)
	wait(t, "an answer of pebble", func() bool {
		_, err := a.get(a.Directory)
		return err == nil
	})
}

// Stop ends it, with all that it knows.
func (a *authority) Stop() { _ = a.run.Process.Kill(); _ = a.run.Wait() }

func (a *authority) get(url string) ([]byte, error) {
	res, err := a.client.Get(url)
	if err != nil {
		return nil, err
	}
	defer func() { _ = res.Body.Close() }()
	if res.StatusCode != http.StatusOK {
		return nil, errors.New(res.Status)
	}
	return io.ReadAll(res.Body)
}

// trust is a client that believes what the authority signs.
func (a *authority) trust(t *testing.T, server string) *tls.Config {
	t.Helper()
	root, err := a.get(a.manage + "/roots/0")
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(root)
	return &tls.Config{RootCAs: roots, ServerName: server}
}

// Ports for programs that cannot choose one themselves. They are below those
// that the kernel hands out: one of those could be taken before it is used.
const firstPort, lastPort = 10000, 20000

var handedOut sync.Map

// unused is an address on loopback where nobody listens.
func unused(t *testing.T) string {
	t.Helper()
	for range 1000 {
		address := net.JoinHostPort("127.0.0.1", strconv.Itoa(firstPort+rand.IntN(lastPort-firstPort)))
		if _, before := handedOut.LoadOrStore(address, true); before {
			continue
		}
		if ln, err := net.Listen("tcp", address); err == nil {
			_ = ln.Close()
			return address
		}
	}
	t.Fatal("no port is free")
	return ""
}

func portOf(address string) int {
	a, err := net.ResolveTCPAddr("tcp", address)
	if err != nil {
		panic(err)
	}
	return a.Port
}

// wait polls until well is true.
func wait(t *testing.T, what string, well func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !well(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s was waited for in vain", what)
		}
	}
}

// listener is where an edge of the test listens.
func listener(t *testing.T, address string) net.Listener {
	t.Helper()
	ln, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	return ln
}

// echo serves TLS on ln as the edge does and sends back what comes.
func echo(t *testing.T, ln net.Listener, s Source) {
	t.Helper()
	var wg sync.WaitGroup
	t.Cleanup(func() { _ = ln.Close(); wg.Wait() })
	wg.Go(func() { echoAll(ln, s.TLSConfig(), &wg) })
}

func echoAll(ln net.Listener, config *tls.Config, wg *sync.WaitGroup) {
	for {
		c, err := ln.Accept()
		if err != nil {
			return
		}
		wg.Go(func() {
			defer func() { _ = c.Close() }()
			_ = c.SetDeadline(time.Now().Add(patience))
			s := tls.Server(c, config)
			if s.Handshake() == nil && s.ConnectionState().NegotiatedProtocol == "" {
				_, _ = io.Copy(s, s)
			}
		})
	}
}

// dial returns a connection that was looked at, and its certificate.
func dial(t *testing.T, ln net.Listener, c *tls.Config) (*tls.Conn, *x509.Certificate) {
	t.Helper()
	conn, err := tls.Dial("tcp", ln.Addr().String(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	echoes(t, conn)
	return conn, conn.ConnectionState().PeerCertificates[0]
}

func echoes(t *testing.T, conn *tls.Conn) {
	t.Helper()
	exchange(t, conn, conn)
}

// running makes a source that runs until the test ends.
func running(t *testing.T, kind string, c ACMEConfig) acmeEdge {
	t.Helper()
	s, err := acmeSources[kind](c)
	if err != nil {
		t.Fatal(err)
	}
	watching(t, s.Watch)
	return s
}

func acmeConfig(t *testing.T, a *authority, domains ...string) ACMEConfig {
	t.Helper()
	log, said := logger()
	log.SetLevel(logrus.DebugLevel) // what people see, and more
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the edge said:\n%s\nthe authority said in the end:\n%s", said, tail(a.out.String()))
		}
	})
	return ACMEConfig{
		Options: Options{Log: log}, Domains: domains, Email: "ops@edge.test",
		Directory: a.Directory, DirectoryCA: a.CAFile, Storage: filepath.Join(t.TempDir(), "new", "acme"),
		pace: pace{refresh: 50 * time.Millisecond, rebind: 50 * time.Millisecond, renewCheck: time.Second, retries: []time.Duration{time.Minute}},
	}
}

// tail is what a person can read of a long log.
func tail(text string) string { return text[max(0, len(text)-3000):] }

func saidBy(c ACMEConfig) string { return c.Log.Out.(*logs).String() }

func settled(t *testing.T, s acmeEdge, n int) {
	t.Helper()
	wait(t, fmt.Sprintf("%d certificates", n), func() bool { return len(s.Certificates()) == n && len(s.Pending()) == 0 })
}

func TestPebbleFirstIssue(t *testing.T) {
	t.Parallel()
	for kind := range acmeSources {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			ln := listener(t, "127.0.0.1:0")
			a := newTestAuthority(t, pebbleConfig{TLSPort: portOf(ln.Addr().String())})
			a.Start(t)
			first, second := "first."+kind+".test", "Second."+kind+".test."
			c := acmeConfig(t, a, first, second)
			s := running(t, kind, c)
			echo(t, ln, s)
			settled(t, s, 2)
			for _, server := range []string{first, "second." + kind + ".test"} {
				config := a.trust(t, server)
				config.NextProtos = []string{"h2"}
				dial(t, ln, config)
			}
			nameless := &tls.Config{InsecureSkipVerify: true}
			if _, leaf := dial(t, ln, nameless); leaf.DNSNames[0] != first {
				t.Errorf("without a name: %v", leaf.DNSNames)
			}
			strangeChallenges(t, s, first)
			private(t, c.Storage)
			if said := saidBy(c); !strings.Contains(said, "certificate="+first) || strings.Contains(said, "level=warning") {
				t.Error("not what people should be told")
			}
		})
	}
}

// strangeChallenges asks for answers to challenges that nobody has asked for.
func strangeChallenges(t *testing.T, s Source, domain string) {
	t.Helper()
	for _, server := range []string{domain, "stranger.test", "../../" + domain} {
		got := shake(t, s.TLSConfig(), &tls.Config{ServerName: server, NextProtos: []string{hello.ACMEProtocol}, InsecureSkipVerify: true})
		if got.serverErr == nil || hello.CauseOf(got.serverErr) != hello.Challenge {
			t.Errorf("%s: %v", server, got.serverErr)
		}
	}
}

// private fails if anybody else can read what is in dir.
func private(t *testing.T, dir string) {
	t.Helper()
	files := 0
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		files++
		if info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s: %v", path, info.Mode())
		}
		return nil
	})
	if err != nil || files < 3 {
		t.Errorf("%d files, %v", files, err)
	}
}

func TestPebbleHTTP01(t *testing.T) {
	t.Parallel()
	for kind := range acmeSources {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			web := unused(t)
			// Nothing listens where the authority looks for TLS-ALPN-01.
			a := newTestAuthority(t, pebbleConfig{TLSPort: portOf(unused(t)), HTTPPort: portOf(web)})
			a.Start(t)
			c := acmeConfig(t, a, "http."+kind+".test")
			c.HTTPAddress = web
			other := listener(t, web) // another program has the address at first
			s := running(t, kind, c)
			wait(t, "a word about the address", func() bool { return strings.Contains(saidBy(c), "HTTP-01 challenges cannot be answered") })
			_ = other.Close()
			wait(t, "the HTTP listener", func() bool { return strings.Contains(saidBy(c), "HTTP-01 challenges are answered") })
			wait(t, "a certificate", func() bool {
				_ = s.Reload(t.Context()) // the first attempt may have been too early
				return len(s.Certificates()) == 1
			})
			onlyForChallenges(t, web, "http."+kind+".test")
		})
	}
}

// onlyForChallenges looks for anything else at the HTTP listener.
func onlyForChallenges(t *testing.T, address, domain string) {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	for path, host := range map[string]string{
		"/": domain, "/.well-known/acme-challenge/x": domain, "/.well-known/acme-challenge/y": "stranger.test",
		"/.well-known/acme-challenge/../../../etc/passwd": domain,
	} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+address+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Host = host
		res, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		if res.StatusCode != http.StatusNotFound {
			t.Errorf("%s of %s: %s", path, host, res.Status)
		}
	}
}

// TestPebbleRenewal holds a connection over the renewal of its certificate.
func TestPebbleRenewal(t *testing.T) {
	t.Parallel()
	for kind := range acmeSources {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			ln := listener(t, "127.0.0.1:0")
			a := newTestAuthority(t, pebbleConfig{TLSPort: portOf(ln.Addr().String()), CertificateValidityPeriod: 30})
			a.Start(t)
			domain := "renewed." + kind + ".test"
			c := acmeConfig(t, a, domain)
			s := running(t, kind, c)
			echo(t, ln, s)
			settled(t, s, 1)
			stream, old := dial(t, ln, a.trust(t, domain))
			wait(t, "a renewal", func() bool {
				echoes(t, stream)
				return !s.Certificates()[0].Chain[0].Equal(old)
			})
			if time.Now().After(old.NotAfter) {
				t.Error("the certificate had expired before")
			}
			if _, leaf := dial(t, ln, a.trust(t, domain)); leaf.Equal(old) {
				t.Error("new connections see the old certificate")
			}
			echoes(t, stream)
			if strings.Contains(saidBy(c), "the authority says") {
				t.Error("there was trouble")
			}
		})
	}
}

// TestPebbleDown starts an edge whose authority is down, and again later with
// an old certificate.
func TestPebbleDown(t *testing.T) {
	t.Parallel()
	for kind := range acmeSources {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			ln := listener(t, "127.0.0.1:0")
			a := newTestAuthority(t, pebbleConfig{TLSPort: portOf(ln.Addr().String())})
			domain := "down." + kind + ".test"
			c := acmeConfig(t, a, domain)
			s := running(t, kind, c)
			echo(t, ln, s)
			wait(t, "a word about the authority", func() bool {
				return strings.Contains(s.Pending()[domain], "the authority cannot be reached") && strings.Contains(saidBy(c), "HTTPS_PROXY")
			})
			got := shake(t, s.TLSConfig(), &tls.Config{ServerName: domain, InsecureSkipVerify: true})
			if got.serverErr == nil || hello.CauseOf(got.serverErr) != hello.NoCertificate {
				t.Errorf("a handshake without a certificate: %v", got.serverErr)
			}
			a.Start(t)
			trust := a.trust(t, domain)
			if err := s.Reload(t.Context()); err != nil {
				t.Error(err)
			}
			settled(t, s, 1)
			_, leaf := dial(t, ln, trust)

			a.Stop()
			c.pace.refresh = time.Hour
			again, err := acmeSources[kind](c)
			if err != nil {
				t.Fatal(err)
			}
			if served := again.Certificates(); len(served) != 1 || !served[0].Chain[0].Equal(leaf) || len(again.Pending()) != 0 {
				t.Fatalf("after a restart: %v, %v", served, again.Pending())
			}
			watching(t, again.Watch)
			trust.MinVersion = tls.VersionTLS13
			shake(t, again.TLSConfig(), trust).works(t)
		})
	}
}

// TestPebbleChallengeFails leads the authority to somebody else.
func TestPebbleChallengeFails(t *testing.T) {
	t.Parallel()
	for kind := range acmeSources {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			ln := listener(t, "127.0.0.1:0")
			a := newTestAuthority(t, pebbleConfig{TLSPort: portOf(ln.Addr().String())})
			a.Start(t)
			other, _ := served(t, Options{}, issue(t, kindECDSA, "other.test"))
			echo(t, ln, other)
			domain := "elsewhere." + kind + ".test"
			c := acmeConfig(t, a, domain)
			s := running(t, kind, c)
			wait(t, "a word about the challenge", func() bool { return strings.Contains(saidBy(c), "a reload tries at once") })
			if said := saidBy(c); !strings.Contains(said, "something else answers") || !strings.Contains(said, "handshakes for it fail") {
				t.Error("not what people should be told")
			}
			if why := s.Pending()[domain]; !strings.Contains(why, "the authority says unauthorized") {
				t.Error(why)
			}
		})
	}
}

func TestPebbleExternalAccount(t *testing.T) {
	t.Parallel()
	const key = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W"
	ln := listener(t, "127.0.0.1:0")
	a := newTestAuthority(t, pebbleConfig{
		TLSPort: portOf(ln.Addr().String()), ExternalAccountBindingRequired: true, ExternalAccountMACKeys: map[string]string{"kid-1": key},
	})
	a.Start(t)
	c := acmeConfig(t, a, "bound.test")
	without := running(t, "certmagic", c)
	wait(t, "a word about the account", func() bool { return strings.Contains(saidBy(c), "set eab_key_id") })
	if !strings.Contains(without.Pending()["bound.test"], "externalAccountRequired") {
		t.Error(without.Pending())
	}
	c = acmeConfig(t, a, "bound2.test")
	c.Log.SetLevel(logrus.TraceLevel) // no key in anything
	c.EABKeyID, c.EABMACKeyFile = "kid-1", filepath.Join(t.TempDir(), "mac.key")
	put(t, c.EABMACKeyFile, []byte(key+"\n"))
	s := running(t, "certmagic", c)
	echo(t, ln, s)
	settled(t, s, 1)
	if strings.Contains(saidBy(c), key) {
		t.Error("the key was logged")
	}
}

func TestPebbleLegacyKeys(t *testing.T) {
	t.Parallel()
	for kind, keys := range map[string]int{"certmagic": 1, "autocert": 2} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			ln := listener(t, "127.0.0.1:0")
			a := newTestAuthority(t, pebbleConfig{TLSPort: portOf(ln.Addr().String())})
			a.Start(t)
			domain := "legacy." + kind + ".test"
			c := acmeConfig(t, a, domain)
			c.Profile = Legacy
			s := running(t, kind, c)
			echo(t, ln, s)
			settled(t, s, keys)
			box := a.trust(t, domain)
			box.MinVersion, box.MaxVersion, box.CipherSuites = tls.VersionTLS10, tls.VersionTLS10, []uint16{tls.TLS_RSA_WITH_AES_128_CBC_SHA}
			dial(t, ln, box)
		})
	}
}

// An authority shows no certificate, whoever else has to.
func TestPebbleWithClientAuth(t *testing.T) {
	t.Parallel()
	for kind := range acmeSources {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			ln := listener(t, "127.0.0.1:0")
			a := newTestAuthority(t, pebbleConfig{TLSPort: portOf(ln.Addr().String())})
			a.Start(t)
			c := acmeConfig(t, a, "mutual."+kind+".test")
			c.ClientAuth, c.ClientCA = Required, a.CAFile
			s := running(t, kind, c)
			echo(t, ln, s)
			settled(t, s, 1)
			stranger := shake(t, s.TLSConfig(), a.trust(t, "mutual."+kind+".test"))
			if stranger.serverErr == nil {
				t.Error("a client without a certificate was served")
			}
		})
	}
}

// secondEdge is set for a process of this test that is an edge of its own.
const secondEdge = "TLSCONF_TEST_EDGE"

// edgeProcess is what such a process is told.
type edgeProcess struct {
	Address, Domain, Directory, DirectoryCA, Storage string
}

// runSecondEdge serves until its input ends, and prints the serial number of
// the certificate that it serves.
func runSecondEdge(config string) error {
	var e edgeProcess
	if err := json.Unmarshal([]byte(config), &e); err != nil {
		return err
	}
	ln, err := net.Listen("tcp", e.Address)
	if err != nil {
		return err
	}
	s, err := NewCertMagic(ACMEConfig{
		Domains: []string{e.Domain}, Directory: e.Directory, DirectoryCA: e.DirectoryCA, Storage: e.Storage,
		pace: pace{refresh: 50 * time.Millisecond},
	})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { s.Watch(ctx) })
	wg.Go(func() { echoAll(ln, s.TLSConfig(), &wg) })
	go func() {
		for ctx.Err() == nil {
			if c := s.Certificates(); len(c) > 0 {
				fmt.Println(c[0].Chain[0].SerialNumber)
				return
			}
			time.Sleep(20 * time.Millisecond)
		}
	}()
	_, _ = io.Copy(io.Discard, os.Stdin)
	cancel()
	_ = ln.Close()
	wg.Wait()
	return nil
}

// TestPebbleTwoEdges lets two processes share a storage. The authority is led
// to one of them only, whichever asks.
func TestPebbleTwoEdges(t *testing.T) {
	t.Parallel()
	one, two := listener(t, "127.0.0.1:0"), ""
	port := portOf(one.Addr().String())
	two = fmt.Sprintf("127.0.0.2:%d", port)
	a := newTestAuthority(t, pebbleConfig{TLSPort: port, address: "127.0.0.2"})
	a.Start(t)
	c := acmeConfig(t, a, "shared.test")
	told, err := json.Marshal(edgeProcess{Address: two, Domain: "shared.test", Directory: a.Directory, DirectoryCA: a.CAFile, Storage: c.Storage})
	if err != nil {
		t.Fatal(err)
	}
	// This edge asks first, and the other has to answer for it.
	if err := os.MkdirAll(filepath.Join(c.Storage), 0o700); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), secondEdge+"="+string(told))
	out := &logs{}
	cmd.Stdout, cmd.Stderr = out, out
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	s := running(t, "certmagic", c)
	echo(t, one, s)
	wait(t, "the attempt of the first edge", func() bool {
		locks, _ := filepath.Glob(filepath.Join(c.Storage, "locks", "*"))
		return len(locks) > 0
	})
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = stdin.Close(); _ = cmd.Wait() })
	wait(t, "a certificate of the first edge", func() bool {
		_ = s.Reload(t.Context()) // the other may not have been there in time
		return len(s.Certificates()) == 1
	})
	wait(t, "the certificate of the second edge", func() bool { return strings.HasSuffix(out.String(), "\n") })
	if got, want := strings.TrimSpace(out.String()), s.Certificates()[0].Chain[0].SerialNumber.String(); got != want {
		t.Errorf("the second edge has %s, the first %s", got, want)
	}
	if issued := strings.Count(a.out.String(), "Issued certificate serial"); issued != 1 {
		t.Errorf("%d certificates were issued", issued)
	}
	conn, err := tls.Dial("tcp", two, a.trust(t, "shared.test"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	echoes(t, conn)
}

// A storage that cannot be used is said, in words.
func TestStorageTrouble(t *testing.T) {
	for kind := range acmeSources {
		t.Run(kind, func(t *testing.T) {
			dir := t.TempDir()
			a := newTestAuthority(t, pebbleConfig{TLSPort: portOf(unused(t))})
			a.Start(t)
			c := acmeConfig(t, a, "storage."+kind+".test")
			c.Storage = filepath.Join(dir, "late", "acme")
			s, err := acmeSources[kind](c)
			if err != nil {
				t.Fatal(err)
			}
			put(t, filepath.Join(dir, "late"), nil) // a file, where a directory is to be made
			watching(t, s.Watch)
			wait(t, "a word about the storage", func() bool { return strings.Contains(saidBy(c), "the storage cannot be used") })
		})
	}
}
