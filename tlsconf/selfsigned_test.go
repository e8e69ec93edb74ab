package tlsconf

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"rtmps-edge/internal/fault"
)

func selfSigned(t *testing.T, c SelfSignedConfig) *SelfSigned {
	t.Helper()
	s, err := NewSelfSigned(c)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// believing is a client that was told to trust s.
func believing(t *testing.T, s *SelfSigned) *tls.Config {
	t.Helper()
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(s.CACertificate()) {
		t.Fatalf("%q is no authority", s.CACertificate())
	}
	return &tls.Config{RootCAs: roots}
}

func TestSelfSignedDefaultNames(t *testing.T) {
	s := selfSigned(t, SelfSignedConfig{})
	for _, name := range localNames() {
		c := believing(t, s)
		c.ServerName = name
		shake(t, s.TLSConfig(), c).works(t)
	}
	if !slices.Contains(localNames(), "localhost") {
		t.Error(localNames())
	}
}

func TestSelfSignedOwnNames(t *testing.T) {
	s := selfSigned(t, SelfSignedConfig{Names: []string{"Studio.lan", "*.stage.lan", "192.0.2.7", "2001:db8::7"}})
	for name, well := range map[string]bool{
		"studio.lan": true, "a.stage.lan": true, "192.0.2.7": true, "2001:db8::7": true,
		"localhost": false, "a.b.stage.lan": false, "192.0.2.8": false,
	} {
		c := believing(t, s)
		c.ServerName = name
		if got := shake(t, s.TLSConfig(), c); well != (got.clientErr == nil) {
			t.Errorf("%s: %v", name, got.clientErr)
		}
	}
}

func TestSelfSignedWrongNames(t *testing.T) {
	_, err := NewSelfSigned(SelfSignedConfig{
		Options: Options{Profile: "newest", ClientAuth: "maybe"},
		Names:   []string{"a b", "", "fe80::1%eth0", "*", "-", "good.test", "http://a.test"},
	})
	var faults fault.List
	if !errors.As(err, &faults) || len(faults) != 9 {
		t.Fatalf("%v", err)
	}
}

// A client that trusts the authority goes on doing so after a restart.
func TestSelfSignedIsKept(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "dir")
	names := []string{"a.test"}
	first := selfSigned(t, SelfSignedConfig{Dir: dir, Names: names})
	c := believing(t, first)
	c.ServerName = "a.test"
	one := shake(t, first.TLSConfig(), c).leaf(t)
	again := selfSigned(t, SelfSignedConfig{Dir: dir, Names: names})
	if again.Fingerprint() != first.Fingerprint() {
		t.Error("another authority")
	}
	if two := shake(t, again.TLSConfig(), c).leaf(t); !two.Equal(one) {
		t.Error("another certificate")
	}
	// Other names need another certificate, of the same authority.
	other := selfSigned(t, SelfSignedConfig{Dir: dir, Names: []string{"b.test"}})
	c.ServerName = "b.test"
	if three := shake(t, other.TLSConfig(), c).leaf(t); three.Equal(one) {
		t.Error("the same certificate")
	}
}

func TestSelfSignedModes(t *testing.T) {
	dir := t.TempDir()
	s := selfSigned(t, SelfSignedConfig{Options: Options{Profile: Legacy}, Dir: dir})
	want := map[string]fs.FileMode{
		"ca.pem": 0o644, "ca-key.pem": 0o600,
		"leaf.pem": 0o644, "leaf-key.pem": 0o600,
		"leaf-rsa.pem": 0o644, "leaf-rsa-key.pem": 0o600,
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode() != want[e.Name()] {
			t.Errorf("%s: %v", e.Name(), info.Mode())
		}
		delete(want, e.Name())
	}
	if len(want) > 0 {
		t.Errorf("missing: %v", want)
	}
	ca, err := os.ReadFile(filepath.Join(dir, "ca.pem"))
	if err != nil || string(ca) != string(s.CACertificate()) {
		t.Errorf("%v: ca.pem is not CACertificate", err)
	}
}

func TestSelfSignedFingerprint(t *testing.T) {
	s := selfSigned(t, SelfSignedConfig{})
	block, _ := pem.Decode(s.CACertificate())
	got := s.Fingerprint()
	if got != fingerprint(block.Bytes) || len(got) != 32*3-1 || strings.ToUpper(got) != got {
		t.Error(got)
	}
}

// Nobody can sign with an authority whose key is gone, and clients trust it:
// making another is for people to decide. A certificate is made again.
func TestSelfSignedDamagedDir(t *testing.T) {
	damage := func(name, text string) func(t *testing.T, dir string) {
		return func(t *testing.T, dir string) { t.Helper(); put(t, filepath.Join(dir, name), []byte(text)) }
	}
	for name, test := range map[string]struct {
		do     func(t *testing.T, dir string)
		refuse string
	}{
		"authority's key unreadable": {damage("ca-key.pem", "x"), "put the file back"},
		"authority unreadable":       {damage("ca.pem", "x"), "put the file back"},
		"certificate unreadable":     {damage("leaf.pem", "x"), ""},
		"key unreadable":             {damage("leaf-key.pem", ""), ""},
		"authority's key missing": {func(t *testing.T, dir string) {
			t.Helper()
			if err := os.Remove(filepath.Join(dir, "ca-key.pem")); err != nil {
				t.Fatal(err)
			}
		}, "put the file back"},
		"no authority at all": {func(t *testing.T, dir string) {
			t.Helper()
			cert, key := pemOf(t, issue(t, kindECDSA, "a.test"))
			put(t, filepath.Join(dir, "ca.pem"), cert)
			put(t, filepath.Join(dir, "ca-key.pem"), key)
		}, "CA:TRUE"},
		"authority of another": {func(t *testing.T, dir string) {
			t.Helper()
			store(t, pairIn(dir, "ca"), testAuthority())
		}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			c := SelfSignedConfig{Dir: t.TempDir(), Names: []string{"a.test"}}
			selfSigned(t, c)
			test.do(t, c.Dir)
			s, err := NewSelfSigned(c)
			if test.refuse != "" {
				var faults fault.List
				if !errors.As(err, &faults) || !strings.Contains(err.Error(), test.refuse) || !strings.Contains(err.Error(), c.Dir) {
					t.Fatalf("%v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			client := believing(t, s)
			client.ServerName = "a.test"
			shake(t, s.TLSConfig(), client).works(t)
		})
	}
}

func TestSelfSignedRenewal(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		s := selfSigned(t, SelfSignedConfig{Dir: dir, Names: []string{"a.test"}})
		ca, first := s.Fingerprint(), s.Certificates()[0]
		go s.Watch(t.Context())
		time.Sleep(time.Until(first.NotAfter) - renewBefore - 1)
		synctest.Wait()
		if now := s.Certificates()[0]; !now.NotAfter.Equal(first.NotAfter) {
			t.Fatalf("renewed too early: %v", now.NotAfter)
		}
		time.Sleep(renewEvery + 2)
		synctest.Wait()
		now := s.Certificates()[0]
		if time.Until(now.NotAfter) < leafLifetime-backdate-renewEvery || s.Fingerprint() != ca {
			t.Fatalf("%v; authority the same: %v", now.NotAfter, s.Fingerprint() == ca)
		}
		again := selfSigned(t, SelfSignedConfig{Dir: dir, Names: []string{"a.test"}})
		if !again.Certificates()[0].NotAfter.Equal(now.NotAfter) {
			t.Error("the new one was not kept")
		}
	})
}

func TestSelfSignedAuthorityRenewal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, said := logger()
		s := selfSigned(t, SelfSignedConfig{Options: Options{Log: log}, Names: []string{"a.test"}})
		ca := s.Fingerprint()
		time.Sleep(authorityLifetime - renewBefore - time.Minute)
		if err := s.Reload(t.Context()); err != nil {
			t.Fatal(err)
		}
		if s.Fingerprint() != ca {
			t.Error("another authority too early")
		}
		if end := s.Certificates()[0].NotAfter; time.Until(end) > renewBefore+time.Hour {
			t.Errorf("the certificate outlives its authority: %v", end)
		}
		time.Sleep(2 * time.Minute)
		if err := s.Reload(t.Context()); err != nil {
			t.Fatal(err)
		}
		if s.Fingerprint() == ca || !strings.Contains(said.String(), "clients have to trust the new one") {
			t.Errorf("the authority was not renewed: %s", said)
		}
		if s.Certificates()[0].Chain[0].CheckSignatureFrom(s.authority.Leaf) != nil {
			t.Error("the certificate is not of the new authority")
		}
	})
}

// The authorities of clients are read again when their file changes, without a
// reload: a self-signed certificate is often kept for years.
func TestSelfSignedFollowsClientAuthorities(t *testing.T) {
	log, said := logger()
	next, err := newAuthority(false)
	if err != nil {
		t.Fatal(err)
	}
	bundle := filepath.Join(t.TempDir(), "clients.pem")
	put(t, bundle, encodePEM(typeCertificate, testAuthority().Certificate[0]))
	s := selfSigned(t, SelfSignedConfig{Options: Options{ClientAuth: Required, ClientCA: bundle, Log: log}, Names: []string{"a.test"}})
	config := s.TLSConfig()
	old, now := clientWith(clientCertificate(t, testAuthority())), clientWith(clientCertificate(t, next))
	old.InsecureSkipVerify, now.InsecureSkipVerify = true, true // who the server is, is not what this is about
	watching(t, s.Watch)
	if shake(t, config, old).serverErr != nil || shake(t, config, now).serverErr == nil {
		t.Fatal("the first authority does not hold")
	}
	put(t, bundle, encodePEM(typeCertificate, next.Certificate[0]))
	until(t, "the next authority", func() bool { return shake(t, config, now).serverErr == nil })
	if shake(t, config, old).serverErr == nil {
		t.Error("a client is believed whose authority is not any more")
	}
	if !strings.Contains(said.String(), "the authorities of clients were read again") {
		t.Error(said)
	}
}
