package main

import (
	"crypto/tls"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sirupsen/logrus"

	"rtmps-edge/config"
	"rtmps-edge/tlsconf"
)

// ofFiles is an edge.toml with a certificate from files.
const ofFiles = basic + `[tls]
source = "files"
[[tls.certificate]]
cert = "fullchain.pem"
key  = "privkey.pem"
`

// shown is the serial number of the certificate that a client sees.
func (s *site) shown() *big.Int {
	s.t.Helper()
	c, err := tls.Dial("tcp", s.address("127.0.0.1:0"), &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		s.t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	return c.ConnectionState().PeerCertificates[0].SerialNumber
}

// A reload with a bad certificate says where it stands and what is wrong, and
// the one before it serves on, also where its files are watched.
func TestBadCertificatesAreNotTaken(t *testing.T) {
	t.Parallel()
	s := newSite(t, ofFiles, func(dir string) {
		if err := (paper{}).write(dir); err != nil {
			t.Fatal(err)
		}
	})
	good := s.shown()
	running := s.mustPublish("127.0.0.1:0", true)
	for i, test := range []struct {
		bad  paper
		line string // of edge.toml
		want string
	}{
		{paper{otherKey: true}, "edge.toml:11: tls.certificate.key", "must be the first there"},
		{paper{otherKey: true, alone: true}, "edge.toml:11: tls.certificate.key", "is not the key of the certificate"},
		{paper{from: time.Hour}, "", "is not valid before"},
		{paper{until: -time.Minute}, "", "has expired"},
		{paper{rsa: 1024}, "", "has a weak key"},
		{paper{sha1: true}, "", "has a weak signature"},
	} {
		// Not one by one: the watcher may see the first of two new files.
		dir := t.TempDir()
		if err := test.bad.write(dir); err != nil {
			t.Fatal(err)
		}
		s.replacePair(dir)
		s.hup <- os.Interrupt
		s.logs.wait(t, 1, "not reloaded, the configuration in force stays", test.line, test.want)
		if now := s.shown(); now.Cmp(good) != 0 {
			t.Errorf("%d: %s: another certificate serves", i, test.want)
		}
	}
	dir := t.TempDir()
	if err := (paper{}).write(dir); err != nil {
		t.Fatal(err)
	}
	s.replacePair(dir)
	s.hup <- os.Interrupt
	s.logs.wait(t, 1, "level=info", "msg=reloaded")
	if s.shown().Cmp(good) == 0 {
		t.Error("a good certificate was not taken")
	}
	if err := running.Stop(); err != nil {
		t.Error(err)
	}
}

// replacePair puts other files in the place of the pair in use.
func (s *site) replacePair(from string) {
	s.t.Helper()
	for _, name := range []string{"fullchain.pem", "privkey.pem"} {
		if err := os.Rename(filepath.Join(from, name), filepath.Join(s.dir, name)); err != nil {
			s.t.Fatal(err)
		}
	}
}

// What encoders will refuse is told at the start, with its line and what to do,
// as check does.
func TestDoubtfulCertificatesAreTold(t *testing.T) {
	t.Parallel()
	const routed = ofFiles + "[[route]]\nserver = \"live.example.com\"\norigin = \"default\"\n"
	const ofTheFile = "edge.toml:11: tls.certificate.cert"
	for name, test := range map[string]struct {
		paper
		severity, place, want, cure string
	}{
		"incomplete chain": {paper{alone: true}, "error", ofTheFile, "has an incomplete chain", "append it"},
		"another name":     {paper{names: "other.example.com"}, "error", "edge.toml:14: route.server", "no certificate is for live.example.com", "get one with that name"},
		"nobody's name":    {paper{names: "other.example.com"}, "warning", ofTheFile, "nothing here is reached by such a name", "use one for live.example.com"},
		"not yet":          {paper{from: time.Hour}, "error", ofTheFile, "is not valid before", "wait until then"},
		"expired":          {paper{until: -time.Minute}, "error", ofTheFile, "has expired at", "renew it"},
		"days left":        {paper{from: -700 * time.Hour, until: 73 * time.Hour}, "warning", ofTheFile, "has 3 days left", "renew it"},
		"weak key":         {paper{rsa: 1024}, "error", ofTheFile, "RSA with 1024 bits", "have it made again"},
		"weak signature":   {paper{sha1: true}, "error", ofTheFile, "has a weak signature", "have it signed again"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, strings.Replace(routed, "[[origin]]\n", "[[origin]]\nname = \"default\"\n", 1), func(dir string) {
				if err := test.write(dir); err != nil {
					t.Fatal(err)
				}
			})
			s.logs.wait(t, 1, "level=warning", "severity="+test.severity, test.place, test.want, test.cure)
			if err := s.mustPublish("127.0.0.1:0", true).Stop(); err != nil { // who does not look can stream
				t.Error(err)
			}
		})
	}
}

// SHA-1 in TLS 1.2 comes and goes with the profile that needs it, and what the
// operator has set stays as it is. Not parallel: there is one environment.
func TestSHA1IsForLegacyAlone(t *testing.T) {
	own := operatorsDebug
	t.Cleanup(func() { operatorsDebug = own })
	t.Setenv("GODEBUG", own) // puts it back
	legacy, encoder := config.Default(), config.Default()
	legacy.TLS.Profile = tlsconf.Legacy
	plain := config.Default()
	plain.TLS.Profile = tlsconf.Legacy
	for _, c := range []*config.Config{legacy, encoder} {
		c.Listeners = []config.Listener{{TLS: config.TLSRequired}}
	}
	for _, test := range []struct {
		own, legacy string
	}{{"", "tlssha1=1"}, {"madvdontneed=1", "madvdontneed=1,tlssha1=1"}, {"tlssha1=0", "tlssha1=0"}} {
		operatorsDebug = test.own
		for _, step := range []struct {
			c    *config.Config
			want string
		}{{encoder, test.own}, {legacy, test.legacy}, {legacy, test.legacy}, {plain, test.own}, {legacy, test.legacy}, {encoder, test.own}} {
			allowSHA1(step.c)
			if got := os.Getenv("GODEBUG"); got != step.want {
				t.Errorf("%q with %q, want %q", got, test.own, step.want)
			}
		}
	}
}

// A certificate that an authority will give out is not missed before it has.
func TestExpectedCertificatesAreNotMissed(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "edge.toml")
	text := basic + `[authz]
publish = ["open"]
[tls]
source = "certmagic"
[tls.acme]
domains = ["live.example.com"]
storage = "acme"
[[route]]
server = "live.example.com"
origin = "main"
[[route]]
server = "*.example.com"
origin = "main"
[[route]]
server = "other.example.org"
origin = "main"
`
	cfg, err := config.Parse(file, []byte(strings.ReplaceAll(text, "ORIGIN", "127.0.0.1:1935")))
	if err != nil {
		t.Fatal(err)
	}
	source, err := newSource(cfg.TLS, logrus.New())
	if err != nil {
		t.Fatal(err)
	}
	found := lint(cfg, source)
	if len(found) != 1 || !strings.Contains(found[0].at.String(), "edge.toml:21: route.server = \"other.example.org\": no certificate is for other.example.org") {
		t.Errorf("%v", found)
	}
}
