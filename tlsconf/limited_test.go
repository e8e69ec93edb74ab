package tlsconf

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// limited is an authority that has had enough of us: it refuses accounts, as
// orders are refused (RFC 8555 §6.6).
type limited struct {
	*httptest.Server
	nonces, refused atomic.Int32
}

func newLimited(t *testing.T) *limited {
	t.Helper()
	l := &limited{}
	l.Server = httptest.NewUnstartedServer(l)
	l.Config.SetKeepAlivesEnabled(false)
	l.StartTLS()
	t.Cleanup(l.Close)
	return l
}

func (l *limited) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Replay-Nonce", "nonce-"+strconv.Itoa(int(l.nonces.Add(1))))
	if r.URL.Path == "/dir" {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]string{"newNonce": l.URL + "/nonce", "newAccount": l.URL + "/account", "newOrder": l.URL + "/order"})
		return
	}
	if r.Method != http.MethodPost {
		return
	}
	l.refused.Add(1)
	w.Header().Set("Content-Type", "application/problem+json")
	w.Header().Set("Retry-After", "3600")
	w.WriteHeader(http.StatusTooManyRequests)
	_ = json.NewEncoder(w).Encode(map[string]any{"type": problemPrefix + "rateLimited", "status": http.StatusTooManyRequests,
		"detail": "too many certificates already issued for this exact set of domains"})
}

// A limit is told at once, in words that lead to the cure, and the authority is
// left alone.
func TestRateLimited(t *testing.T) {
	t.Parallel()
	for kind, open := range acmeSources {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			l := newLimited(t)
			ca := filepath.Join(t.TempDir(), "ca.pem")
			put(t, ca, encodePEM(typeCertificate, l.Certificate().Raw))
			log, said := logger()
			s, err := open(ACMEConfig{Options: Options{Log: log}, Domains: []string{"a.test"}, Email: "ops@a.test", Directory: l.URL + "/dir", DirectoryCA: ca,
				Storage: t.TempDir(), pace: pace{refresh: 20 * time.Millisecond}})
			if err != nil {
				t.Fatal(err)
			}
			watching(t, s.Watch)
			wait(t, "a word about the limit", func() bool { return strings.Contains(said.String(), "no certificate from the authority") })
			if why := s.Pending()["a.test"]; !strings.Contains(why, "the authority says rateLimited") || !strings.Contains(why, "this exact set of domains") {
				t.Error(why)
			}
			if !strings.Contains(said.String(), "wait, as restarts make it worse") || !strings.Contains(said.String(), "a reload tries at once") {
				t.Error(said)
			}
			// Nothing more comes, for many times as long as the first attempt took.
			before := l.refused.Load()
			time.Sleep(time.Second)
			if after := l.refused.Load(); after != before || after > 5 {
				t.Errorf("asked %d times, and %d times a second later", before, after)
			}
		})
	}
}
