package tlsconf

import (
	"crypto"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/crypto/ocsp"
)

// responder answers for an authority whether its certificates are revoked.
type responder struct {
	*httptest.Server
	issuer atomic.Pointer[tls.Certificate]
	asked  atomic.Int32
}

func newResponder(t *testing.T) *responder {
	t.Helper()
	r := &responder{}
	r.Server = httptest.NewUnstartedServer(r)
	r.Config.SetKeepAlivesEnabled(false) // nothing of the library's client may stay
	r.Start()
	t.Cleanup(r.Close)
	return r
}

func (r *responder) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	r.asked.Add(1)
	body, err := io.ReadAll(q.Body)
	if err != nil {
		return
	}
	answer, err := r.answer(body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/ocsp-response")
	_, _ = w.Write(answer)
}

func (r *responder) answer(body []byte) ([]byte, error) {
	by := r.issuer.Load()
	if by == nil {
		return nil, fmt.Errorf("not ready")
	}
	q, err := ocsp.ParseRequest(body)
	if err != nil {
		return nil, err
	}
	now := time.Now().Truncate(time.Second)
	return ocsp.CreateResponse(by.Leaf, by.Leaf, ocsp.Response{
		Status: ocsp.Good, SerialNumber: q.SerialNumber, ThisUpdate: now.Add(-time.Minute), NextUpdate: now.Add(time.Hour),
	}, by.PrivateKey.(crypto.Signer))
}

// intermediate is what a Pebble that runs signs with.
func (a *authority) intermediate(t *testing.T) *tls.Certificate {
	t.Helper()
	cert, err1 := a.get(a.manage + "/intermediates/0")
	key, err2 := a.get(a.manage + "/intermediate-keys/0")
	if err1 != nil || err2 != nil {
		t.Fatal(err1, err2)
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	return &pair
}

// TestPebbleStaple has an authority that offers OCSP: clients get its answer
// with the certificate, also after a restart while the responder is away.
func TestPebbleStaple(t *testing.T) {
	t.Parallel()
	program(t, "pebble") // before anything is opened
	ln, r := listener(t, "127.0.0.1:0"), newResponder(t)
	a := newTestAuthority(t, pebbleConfig{TLSPort: portOf(ln.Addr().String()), OCSPResponderURL: r.URL})
	a.Start(t)
	by := a.intermediate(t)
	r.issuer.Store(by)
	c := acmeConfig(t, a, "stapled.test")
	s := running(t, "certmagic", c)
	echo(t, ln, s)
	settled(t, s, 1)
	stapled(t, a, s, by)
	if r.asked.Load() == 0 {
		t.Error("nobody asked the responder")
	}

	r.Close()
	again := running(t, "certmagic", c)
	stapled(t, a, again, by)
}

// stapled waits until clients of a source get a good answer of the authority.
func stapled(t *testing.T, a *authority, s Source, by *tls.Certificate) {
	t.Helper()
	server := s.TLSConfig()
	var answer []byte
	wait(t, "an OCSP answer", func() bool {
		got := shake(t, server, a.trust(t, "stapled.test"))
		got.works(t)
		answer = got.client.OCSPResponse()
		return answer != nil
	})
	leaf := s.(acmeEdge).Certificates()[0].Chain[0]
	res, err := ocsp.ParseResponseForCert(answer, leaf, by.Leaf)
	if err != nil || res.Status != ocsp.Good || res.SerialNumber.Cmp(leaf.SerialNumber) != 0 {
		t.Errorf("%+v: %v", res, err)
	}
}
