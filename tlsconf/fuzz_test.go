package tlsconf

import (
	"crypto/tls"
	"errors"
	"net/http"
	"testing"

	"rtmps-edge/internal/fault"
)

// What is in the two files may be anything: it is a pair that can be served, or
// faults that name a file.
func FuzzPair(f *testing.F) {
	cert, err := newLeaf(testAuthority(), kindECDSA, []string{"a.test"})
	if err != nil {
		f.Fatal(err)
	}
	certPEM, keyPEM := pemOf(f, cert)
	f.Add(certPEM, keyPEM)
	f.Add(keyPEM, certPEM)
	f.Add(append(encodePEM(typeCertificate, testAuthority().Certificate[0]), certPEM...), keyPEM)
	f.Add([]byte("-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n"), []byte("-----BEGIN RSA PRIVATE KEY-----\nDEK-Info: x\n\nMAA=\n-----END RSA PRIVATE KEY-----\n"))
	f.Fuzz(func(t *testing.T, certPEM, keyPEM []byte) {
		p := Pair{Cert: "a.pem", Key: "a.key"}
		got, err := parsePair(p, certPEM, keyPEM)
		var faults fault.List
		if err != nil {
			if !errors.As(err, &faults) || faults[0].File == "" {
				t.Fatalf("%v", err)
			}
			return
		}
		table := newTable([]*tls.Certificate{got})
		served, err := table.pick(&tls.ClientHelloInfo{ServerName: "a.test"})
		if err != nil || served.Leaf == nil || len(table.describe()) != 1 {
			t.Fatalf("%v, %v", served, err)
		}
		_ = Lint(table.describe(), LintConfig{Names: []string{"a.test"}})
	})
}

// A server name is what any client says before anything is known of it.
func FuzzServerName(f *testing.F) {
	cert, err := newLeaf(testAuthority(), kindECDSA, []string{"a.test", "*.b.test", "192.0.2.1", "2001:db8::1"})
	if err != nil {
		f.Fatal(err)
	}
	table := newTable([]*tls.Certificate{cert})
	for _, name := range []string{"", "a.test", "A.TEST", "x.b.test", "b.test", "*.b.test", "2001:db8:0::1", ".", "::", "%", "a.test."} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		if got, err := table.pick(&tls.ClientHelloInfo{ServerName: name}); err != nil || got != cert {
			t.Fatalf("%q: %v, %v", name, got, err)
		}
	})
}

// What an authority answers is not ours.
func FuzzAnswer(f *testing.F) {
	f.Add(403, "application/problem+json", []byte(`{"type":"urn:ietf:params:acme:error:caa","detail":"no"}`))
	f.Add(200, "application/json", []byte(`{"challenges":[{"error":{"type":"x","detail":"\n"}},null,{"error":null}]}`))
	f.Add(200, "application/json", []byte(`{"challenges":null,"error":{"type":1}}`))
	f.Add(500, "application/json", []byte(`[]`))
	f.Fuzz(func(t *testing.T, status int, kind string, body []byte) {
		o := &overheard{}
		o.look(&http.Response{StatusCode: status, Header: http.Header{"Content-Type": {kind}}}, body)
		p, ok := o.last()
		if !ok {
			return
		}
		for _, r := range explainACME(p).why {
			if r < ' ' || r == 0x7f {
				t.Fatalf("%q", explainACME(p).why)
			}
		}
	})
}
