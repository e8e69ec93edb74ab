package tlsconf

import (
	"crypto/tls"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"rtmps-edge/internal/hello"
)

func TestVersionsOfProfiles(t *testing.T) {
	certs := []*tls.Certificate{issue(t, kindECDSA, "a.test"), issue(t, kindRSA, "a.test")}
	for profile, lowest := range map[Profile]uint16{
		Modern: tls.VersionTLS13, Encoder: tls.VersionTLS12, "": tls.VersionTLS12, Legacy: tls.VersionTLS10,
	} {
		f, _ := served(t, Options{Profile: profile}, certs...)
		for v := uint16(tls.VersionTLS10); v <= tls.VersionTLS13; v++ {
			t.Run(fmt.Sprintf("%s/%s", profile, tls.VersionName(v)), func(t *testing.T) {
				c := trusting()
				c.ServerName, c.MinVersion, c.MaxVersion = "a.test", v, v
				s := shake(t, f.TLSConfig(), c)
				if v < lowest {
					if s.serverErr == nil || s.clientErr == nil {
						t.Error("was served")
					}
					return
				}
				s.works(t)
				if got := s.client.ConnectionState().Version; got != v {
					t.Errorf("%s", tls.VersionName(got))
				}
			})
		}
	}
}

// rsaOnly names suites of the RSA key exchange alone.
func rsaOnly(version uint16, suites ...uint16) *tls.Config {
	c := trusting()
	c.ServerName, c.CipherSuites = "a.test", suites
	c.MinVersion, c.MaxVersion = version, version
	return c
}

func TestRSAKeyExchange(t *testing.T) {
	certs := []*tls.Certificate{issue(t, kindECDSA, "a.test"), issue(t, kindRSA, "a.test")}
	for profile, well := range map[Profile]bool{Modern: false, Encoder: false, Legacy: true} {
		f, _ := served(t, Options{Profile: profile}, certs...)
		for _, v := range []uint16{tls.VersionTLS10, tls.VersionTLS11, tls.VersionTLS12} {
			t.Run(fmt.Sprintf("%s/%s", profile, tls.VersionName(v)), func(t *testing.T) {
				s := shake(t, f.TLSConfig(), rsaOnly(v, tls.TLS_RSA_WITH_AES_128_CBC_SHA))
				if !well {
					if s.serverErr == nil {
						t.Error("was served")
					}
					return
				}
				s.works(t)
				if got := s.client.ConnectionState().CipherSuite; got != tls.TLS_RSA_WITH_AES_128_CBC_SHA {
					t.Error(tls.CipherSuiteName(got))
				}
			})
		}
	}
}

// Each suite of the package's documentation is spoken by the profiles that
// name it, and by no other; so is none that it does not name.
func TestSuitesOfProfiles(t *testing.T) {
	certs := []*tls.Certificate{issue(t, kindECDSA, "a.test"), issue(t, kindRSA, "a.test")}
	want := map[Profile][]uint16{Modern: nil, Encoder: forwardSecret, Legacy: slices.Concat(forwardSecret, rsaExchange)}
	for profile, suites := range want {
		f, _ := served(t, Options{Profile: profile}, certs...)
		for _, suite := range slices.Concat(tls.CipherSuites(), tls.InsecureCipherSuites()) {
			if slices.Contains(suite.SupportedVersions, tls.VersionTLS13) {
				continue // cannot be chosen one by one
			}
			t.Run(string(profile)+"/"+suite.Name, func(t *testing.T) {
				s := shake(t, f.TLSConfig(), rsaOnly(tls.VersionTLS12, suite.ID))
				if well := slices.Contains(suites, suite.ID); well != (s.serverErr == nil) {
					t.Errorf("server: %v", s.serverErr)
				}
			})
		}
	}
}

func TestKeyExchanges(t *testing.T) {
	f, _ := served(t, Options{Profile: Legacy}, issue(t, kindECDSA, "a.test"))
	for _, v := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		for _, group := range []tls.CurveID{
			tls.X25519MLKEM768, tls.SecP256r1MLKEM768, tls.SecP384r1MLKEM1024, tls.X25519, tls.CurveP256, tls.CurveP384, tls.CurveP521,
		} {
			hybrid := group == tls.X25519MLKEM768 || group == tls.SecP256r1MLKEM768 || group == tls.SecP384r1MLKEM1024
			if hybrid && v < tls.VersionTLS13 {
				continue
			}
			t.Run(tls.VersionName(v)+"/"+group.String(), func(t *testing.T) {
				c := trusting()
				c.ServerName, c.MinVersion, c.MaxVersion = "a.test", v, v
				// P-256 is there for the certificate, which TLS 1.2 judges by it.
				c.CurvePreferences = []tls.CurveID{group, tls.CurveP256}
				s := shake(t, f.TLSConfig(), c)
				s.works(t)
				got := s.client.ConnectionState().CurveID
				if group == tls.CurveP521 {
					if got != tls.CurveP256 {
						t.Errorf("%v although P-521 is not spoken", got)
					}
				} else if v == tls.VersionTLS13 && got != group && group != tls.CurveP384 {
					t.Errorf("%v, want %v", got, group)
				}
			})
		}
	}
}

func TestNoTickets(t *testing.T) {
	for _, tickets := range []bool{false, true} {
		f, _ := served(t, Options{SessionTickets: tickets}, issue(t, kindECDSA, "a.test"))
		server := f.TLSConfig()
		for _, v := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			t.Run(fmt.Sprintf("%v/%s", tickets, tls.VersionName(v)), func(t *testing.T) {
				c := trusting()
				c.ServerName, c.MinVersion, c.MaxVersion = "a.test", v, v
				c.ClientSessionCache = tls.NewLRUClientSessionCache(1)
				for range 2 {
					s := shake(t, server, c)
					s.works(t) // a ticket of TLS 1.3 comes with the first bytes
					_, got := c.ClientSessionCache.Get("a.test")
					if got != tickets {
						t.Fatalf("ticket: %v", got)
					}
				}
				if s := shake(t, server, c); s.client.ConnectionState().DidResume != tickets {
					t.Errorf("resumed: %v", !tickets)
				}
			})
		}
	}
}

func TestForeignALPN(t *testing.T) {
	f, _ := served(t, Options{}, issue(t, kindECDSA, "a.test"))
	c := trusting()
	c.ServerName, c.NextProtos = "a.test", []string{"h2", "http/1.1"}
	s := shake(t, f.TLSConfig(), c)
	s.works(t)
	if got := s.client.ConnectionState().NegotiatedProtocol; got != "" {
		t.Errorf("%q was negotiated", got)
	}
}

func TestValid(t *testing.T) {
	for p, want := range map[Profile]bool{"": true, Modern: true, Encoder: true, Legacy: true, "old": false, "Modern": false} {
		if p.Valid() != want {
			t.Errorf("%q", p)
		}
	}
	for a, want := range map[ClientAuth]bool{"": true, Off: true, Optional: true, Required: true, "on": false} {
		if a.Valid() != want {
			t.Errorf("%q", a)
		}
	}
}

func TestOfferIsRecorded(t *testing.T) {
	f, _ := served(t, Options{Profile: Modern}, issue(t, kindECDSA, "a.test"))
	a, b := loopback(t)
	done := make(chan struct{})
	go func() {
		defer close(done)
		c := trusting()
		c.ServerName, c.MaxVersion = "a.test", tls.VersionTLS12
		_ = tls.Client(a, c).Handshake()
	}()
	ctx, offer := hello.Expect(t.Context())
	err := tls.Server(b, f.TLSConfig()).HandshakeContext(ctx)
	_ = b.Close()
	<-done
	if err == nil || hello.CauseOf(err) != hello.NoVersion || !strings.Contains(offer.String(), `server name "a.test"; versions 1.2; `) {
		t.Errorf("%v: %s", err, offer)
	}
}

// What the documentation says of the suites is what is spoken, in its order.
func TestSuitesAreDocumented(t *testing.T) {
	text, err := os.ReadFile("../docs/tls.md")
	if err != nil {
		t.Fatal(err)
	}
	var documented []string
	for line := range strings.Lines(string(text)) {
		if name, ok := strings.CutPrefix(line, "    TLS_"); ok {
			documented = append(documented, "TLS_"+strings.TrimSpace(name))
		}
	}
	var spoken []string
	for _, s := range tls.CipherSuites() {
		if slices.Contains(s.SupportedVersions, tls.VersionTLS13) {
			spoken = append(spoken, s.Name)
		}
	}
	for _, id := range Legacy.config().CipherSuites {
		spoken = append(spoken, tls.CipherSuiteName(id))
	}
	if !slices.Equal(documented, spoken) {
		t.Errorf("documented\n%q\nspoken\n%q", documented, spoken)
	}
	if !slices.Equal(Encoder.config().CipherSuites, forwardSecret) || len(Modern.config().CipherSuites) > 0 {
		t.Error("encoder or modern has other suites than its list")
	}
}
