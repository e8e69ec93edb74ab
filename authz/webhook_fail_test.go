package authz

import (
	"bufio"
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"rtmps-edge/internal/secret"
)

// rawBackend accepts connections, reads a request on each, and does what serve
// says. It counts the requests.
func rawBackend(t *testing.T, serve func(net.Conn)) (url string, requests *atomic.Int32) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	requests = &atomic.Int32{}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer c.Close()
				req, err := http.ReadRequest(bufio.NewReader(c))
				if err != nil {
					return
				}
				_, _ = io.Copy(io.Discard, req.Body)
				requests.Add(1)
				serve(c)
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		wg.Wait()
	})
	return "http://" + l.Addr().String() + "/" + canary, requests
}

// Every way in which a backend can fail to answer is a fault: not a refusal,
// not an approval, and never longer than the timeout.
func TestBackendsThatDoNotAnswer(t *testing.T) {
	wait := func(c net.Conn) { _, _ = io.Copy(io.Discard, c) } // until the client has left
	say := func(text string) func(net.Conn) {
		return func(c net.Conn) { _, _ = io.WriteString(c, text) }
	}
	// By the end of either, a slow machine has asked; the longest is not waited for.
	const short, most = 2 * time.Second, MaxWebhookTimeout
	for name, c := range map[string]struct {
		serve   func(net.Conn)
		asked   int32
		timeout time.Duration
	}{
		"hangs up":      {func(net.Conn) {}, 1 + retries, most},
		"says nothing":  {wait, 1, short},
		"no HTTP":       {say("SSH-2.0-OpenSSH_9 " + canary + "\r\n\r\n"), 1, most},
		"half a header": {say("HTTP/1.1 200 OK\r\nX: "), 1, most},
		"header without end": {func(c net.Conn) {
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\n")
			flood(c, "X-Y: "+strings.Repeat("z", 1000)+"\r\n")
		}, 1, most},
		"body without end": {func(c net.Conn) {
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\n\r\n")
			flood(c, strings.Repeat("z", 1000))
		}, 1, most},
		"shorter than it says": {say("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"allow\":true}"), 1, most},
		"slow body":            {func(c net.Conn) { _, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 14\r\n\r\n{"); wait(c) }, 1, short},
		"bad chunks":           {say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"), 1, most},
		"negative length":      {say("HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n"), 1, most},
	} {
		t.Run(name, func(t *testing.T) {
			url, requests := rawBackend(t, c.serve)
			w := newWebhook(t, WebhookConfig{URL: url, Timeout: c.timeout})
			begin := time.Now()
			g, err := w.Authorize(t.Context(), hooked("key", "token="+canary))
			if err == nil || resultOf(err) != Failed || g != (Grant{}) {
				t.Errorf("got %+v, %v", g, err)
			}
			if strings.Contains(fmt.Sprint(err), canary) {
				t.Errorf("told %v", err)
			}
			if took := time.Since(begin); took > time.Minute {
				t.Errorf("took %v", took)
			}
			if n := requests.Load(); n != c.asked {
				t.Errorf("asked %d times, want %d", n, c.asked)
			}
		})
	}
}

func flood(c net.Conn, text string) {
	for {
		if _, err := io.WriteString(c, text); err != nil {
			return
		}
	}
}

// A backend that was restarting is asked again; one that has answered is not.
func TestRetries(t *testing.T) {
	var tries atomic.Int32
	url, requests := rawBackend(t, func(c net.Conn) {
		if tries.Add(1) > retries {
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 14\r\n\r\n{\"allow\":true}")
		}
	})
	w := newWebhook(t, WebhookConfig{URL: url})
	if _, err := w.Authorize(t.Context(), hooked("key", "")); err != nil || requests.Load() != 1+retries {
		t.Errorf("asked %d times: %v", requests.Load(), err)
	}
}

func TestRedirectsAreNotFollowed(t *testing.T) {
	var visited atomic.Bool
	inner := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { visited.Store(true) }))
	defer inner.Close()
	for _, status := range []int{301, 302, 303, 307, 308} {
		for _, dialect := range Dialects() {
			w, h := webhookTo(t, WebhookConfig{Dialect: dialect}, func(w http.ResponseWriter, r *http.Request, _ string) {
				w.Header().Set("Location", inner.URL+"/secret")
				w.WriteHeader(status)
			})
			if g, err := w.Authorize(t.Context(), hooked("key", "")); err == nil {
				t.Errorf("%s, %d: granted %+v", dialect, status, g)
			}
			if visited.Load() || len(h.all()) != 1 {
				t.Fatalf("%s, %d: was followed", dialect, status)
			}
		}
	}
}

func TestPrivateCA(t *testing.T) {
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, `{"allow":true}`) }))
	srv.Config.ErrorLog = log.New(io.Discard, "", 0)
	srv.StartTLS()
	defer srv.Close()
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw})
	if _, err := newWebhook(t, WebhookConfig{URL: srv.URL, CA: ca}).Authorize(t.Context(), hooked("key", "")); err != nil {
		t.Error(err)
	}
	_, err := newWebhook(t, WebhookConfig{URL: srv.URL}).Authorize(t.Context(), hooked("key", ""))
	if err == nil || resultOf(err) != Failed || !strings.Contains(err.Error(), "not trusted") {
		t.Errorf("without it: %v", err)
	}
}

func TestConnectionsAreKept(t *testing.T) {
	var connections atomic.Int32
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") }))
	srv.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			connections.Add(1)
		}
	}
	srv.Start()
	defer srv.Close()
	w := newWebhook(t, WebhookConfig{URL: srv.URL, Dialect: "nginx-rtmp"})
	for range 20 {
		if _, err := w.Authorize(t.Context(), hooked("key", "")); err != nil {
			t.Fatal(err)
		}
	}
	if n := connections.Load(); n != 1 {
		t.Errorf("%d connections", n)
	}
}

func TestOnFailure(t *testing.T) {
	for _, c := range []struct {
		onFailure string
		key       string
		known     string // what the backend answered before it went down
		want      string
	}{
		{"", "key", `{"allow":true}`, Failed},
		{FailDeny, "key", `{"allow":true}`, Failed},
		{FailAllow, "key", "", Granted},
		{FailAllow, "key", `{"allow":false}`, Granted},
		{FailAllow, "k%20y", "", Failed},
		{FailLast, "key", `{"allow":true,"name":"alice"}`, Granted},
		{FailLast, "key", `{"allow":false}`, Denied},
		{FailLast, "key", "", Failed},
	} {
		var warned []string
		var body atomic.Value
		body.Store(c.known)
		w, _ := webhookTo(t, WebhookConfig{OnFailure: c.onFailure, Warn: func(s string) { warned = append(warned, s) }}, func(w http.ResponseWriter, _ *http.Request, _ string) {
			if text := body.Load().(string); text != "" {
				_, _ = io.WriteString(w, text)
				return
			}
			w.WriteHeader(http.StatusServiceUnavailable)
		})
		r := hooked(c.key, "token="+canary)
		if c.known != "" {
			_, _ = w.Authorize(t.Context(), r)
		}
		body.Store("")
		g, err := w.Authorize(t.Context(), r)
		if resultOf(err) != c.want {
			t.Errorf("%+v: got %+v, %v", c, g, err)
		}
		if c.want == Granted && (g.By != ByWebhook || g.OnEnd != nil || g.Name != map[string]string{FailAllow: c.key, FailLast: "alice"}[c.onFailure]) {
			t.Errorf("%+v: got %+v", c, g)
		}
		if said := strings.Join(warned, ""); (len(warned) > 0) != (c.want != Failed) || strings.Contains(said, canary) {
			t.Errorf("%+v: warned %q", c, warned)
		}
		other := hooked("other", "token="+canary)
		if _, err := w.Authorize(t.Context(), other); c.onFailure == FailLast && resultOf(err) != Failed {
			t.Errorf("another credential: %v", err)
		}
	}
}

// What cannot be used is not replaced by an approval.
func TestOnFailureDoesNotHideAnswers(t *testing.T) {
	for body, want := range map[string]string{`{"allow":true,"name":"a b"}`: Failed, `{"allow":false}`: Denied} {
		w, _ := webhookTo(t, WebhookConfig{OnFailure: FailAllow}, answering(200, body))
		if _, err := w.Authorize(t.Context(), hooked("key", "")); resultOf(err) != want {
			t.Errorf("%s: got %v", body, err)
		}
	}
}

// A client that has left is not a failure of the backend.
func TestClientLeaves(t *testing.T) {
	asked, until := make(chan struct{}), make(chan struct{})
	w, _ := webhookTo(t, WebhookConfig{OnFailure: FailAllow}, func(http.ResponseWriter, *http.Request, string) { asked <- struct{}{}; <-until })
	for range 2 * breakAfter {
		ctx, cancel := context.WithCancel(t.Context())
		go func() { <-asked; cancel() }()
		if _, err := w.Authorize(ctx, hooked("key", "")); !errors.Is(err, context.Canceled) {
			t.Fatalf("got %v", err)
		}
	}
	close(until)
	if s := w.client.breaker.State(); s.String() != "closed" {
		t.Errorf("the breaker is %v", s)
	}
}

// transport answers without a network, in fake time.
type transport func(*http.Request) (*http.Response, error)

func (f transport) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func says(status int, body string) (*http.Response, error) {
	return &http.Response{StatusCode: status, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(body))}, nil
}

// faked is a Webhook whose backend is f.
func faked(t *testing.T, cfg WebhookConfig, f transport) *Webhook {
	t.Helper()
	cfg.URL = "http://backend.example/"
	w, err := NewWebhook(cfg)
	if err != nil {
		t.Fatal(err)
	}
	w.client.http.Transport = f
	return w
}

func TestBreaker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked, well := 0, false
		w := faked(t, WebhookConfig{}, func(*http.Request) (*http.Response, error) {
			asked++
			if well {
				return says(200, `{"allow":true}`)
			}
			return nil, io.EOF
		})
		ask := func() error { _, err := w.Authorize(t.Context(), hooked("key", "")); return err }
		for range breakAfter {
			if err := ask(); !errors.Is(err, errNoAnswer) {
				t.Fatalf("got %v", err)
			}
		}
		if asked != breakAfter*(1+retries) {
			t.Errorf("asked %d times", asked)
		}
		asked = 0
		for range 100 {
			if err := ask(); !errors.Is(err, errBroken) {
				t.Fatalf("got %v", err)
			}
		}
		if asked != 0 {
			t.Errorf("asked %d times while it is down", asked)
		}
		time.Sleep(breakTime + 1)
		if err := ask(); !errors.Is(err, errNoAnswer) || asked != 1+retries {
			t.Errorf("asked %d times: %v", asked, err)
		}
		if err := ask(); !errors.Is(err, errBroken) {
			t.Errorf("got %v", err)
		}
		well = true
		time.Sleep(breakTime + 1)
		for range 3 {
			if err := ask(); err != nil {
				t.Error(err)
			}
		}
	})
}

// The timeout covers it all: waiting for a place, retries, and the answer.
func TestWebhookTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var now, most atomic.Int32
		w := faked(t, WebhookConfig{InFlight: 1}, func(r *http.Request) (*http.Response, error) {
			most.Store(max(most.Load(), now.Add(1)))
			defer now.Add(-1)
			<-r.Context().Done()
			return nil, r.Context().Err()
		})
		begin := time.Now()
		var wg sync.WaitGroup
		for range 10 {
			wg.Go(func() {
				_, err := w.Authorize(t.Context(), hooked("key", ""))
				if resultOf(err) != Failed {
					t.Errorf("got %v", err)
				}
			})
		}
		wg.Wait()
		if took := time.Since(begin); took != defaultWebhookTimeout || most.Load() != 1 {
			t.Errorf("took %v, %d at once", took, most.Load())
		}
	})
}

func TestWebhookCache(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked, body := 0, ""
		w := faked(t, WebhookConfig{Cache: time.Minute}, func(*http.Request) (*http.Response, error) { asked++; return says(200, body) })
		ask := func(want string, wantAsked int, change ...func(*Request)) Grant {
			t.Helper()
			r := hooked("key", "token=t")
			for _, c := range change {
				c(&r)
			}
			asked = 0
			g, err := w.Authorize(t.Context(), r)
			if resultOf(err) != want || asked != wantAsked {
				t.Errorf("%v, asked %d times", err, asked)
			}
			return g
		}
		body = `{"allow":true,"name":"alice"}`
		first := ask(Granted, 1)
		body = `{"allow":false}`
		if g := ask(Granted, 0); g != first {
			t.Errorf("got %+v, then %+v", first, g)
		}
		ask(Granted, 0, func(r *Request) { r.ID = "another" })
		for _, change := range []func(*Request){
			func(r *Request) { r.Key = secret.New("kex") },
			func(r *Request) { r.Query = secret.New("token=u") },
			func(r *Request) { r.Action = Play },
			func(r *Request) { r.App = "show" },
			func(r *Request) { r.Client = netip.MustParseAddrPort("192.0.2.8:5000") },
			func(r *Request) { r.ServerName = "other" },
			func(r *Request) { r.User = "bob" },
			func(r *Request) { r.App, r.Key = "livek", secret.New("ey") },
		} {
			ask(Denied, 1, change)
			ask(Denied, 0, change)
		}
		ask(Denied, 1, func(r *Request) { r.Running = time.Second }) // asked again is asked
		ask(Denied, 0)
		time.Sleep(time.Minute)
		body = `{"allow":true,"expires":"` + time.Now().Add(30*time.Second).UTC().Format(time.RFC3339) + `"}`
		ask(Granted, 1)
		ask(Granted, 0)
		time.Sleep(30 * time.Second)
		body = `{"allow":false}`
		ask(Denied, 1) // the grant was over, though the memory is not
	})
}

func TestAnswersAreBounded(t *testing.T) {
	a := newAnswers(time.Hour, 100)
	for i := range 10_000 {
		a.put(hooked(fmt.Sprint(i), ""), true, Grant{Name: "n"}, nil)
		if len(a.young)+len(a.old) > 100 {
			t.Fatalf("%d answers", len(a.young)+len(a.old))
		}
	}
	if _, ok := a.get(hooked("9999", ""), true); !ok {
		t.Error("the last one is forgotten")
	}
	if _, ok := a.get(hooked("0", ""), true); ok {
		t.Error("the first one is not forgotten")
	}
}

// The queue is bounded, never blocks, and tells what it drops.
func TestClosingsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		until := make(chan struct{})
		var told atomic.Int32
		dropped := 0
		w := faked(t, WebhookConfig{Dialect: "srs", Warn: func(string) { dropped++ }}, func(r *http.Request) (*http.Response, error) {
			body, _ := io.ReadAll(r.Body)
			if strings.Contains(string(body), "on_unpublish") {
				<-until
				told.Add(1)
			}
			return says(200, "0")
		})
		const more = 10
		for range maxClosings + closers + more {
			g, err := w.Authorize(t.Context(), hooked("key", ""))
			if err != nil {
				t.Fatal(err)
			}
			g.OnEnd.Ended()
			synctest.Wait()
		}
		if dropped != more {
			t.Errorf("dropped %d", dropped)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := w.Flush(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
		close(until)
		if err := w.Flush(t.Context()); err != nil || told.Load() != maxClosings+closers {
			t.Errorf("told %d: %v", told.Load(), err)
		}
	})
}

// A backend that restarts hears of what was over meanwhile.
func TestClosingsAreRepeated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var tries []time.Duration
		var warned []string
		begin := time.Now()
		up := 20 * time.Second
		w := faked(t, WebhookConfig{Dialect: "nginx-rtmp", Warn: func(s string) { warned = append(warned, s) }}, func(r *http.Request) (*http.Response, error) {
			body, _ := io.ReadAll(r.Body)
			if !strings.Contains(string(body), "publish_done") {
				return says(200, "")
			}
			tries = append(tries, time.Since(begin))
			if time.Since(begin) < up {
				return nil, io.EOF
			}
			return says(500, "")
		})
		end := func() {
			g, err := w.Authorize(t.Context(), hooked("key", "token="+canary))
			if err != nil {
				t.Fatal(err)
			}
			g.OnEnd.Ended()
			if err := w.Flush(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		end()
		if took := time.Since(begin); len(warned) != 0 || took < up || took > time.Minute {
			t.Errorf("tries at %v; warned %q", tries, warned)
		}
		up = 24 * time.Hour
		end()
		if len(warned) != 1 || strings.Contains(warned[0], canary) {
			t.Errorf("warned %q", warned)
		}
	})
}

func TestDoneURLs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var visited []string
		cfg := WebhookConfig{Dialect: "nginx-rtmp", PlayURL: "http://play.example/", DoneURL: "http://done.example/x", PlayDoneURL: "none"}
		w := faked(t, cfg, func(r *http.Request) (*http.Response, error) {
			visited = append(visited, r.URL.String())
			return says(200, "")
		})
		for _, action := range []Action{Publish, Play} {
			r := hooked("key", "")
			r.Action = action
			g, err := w.Authorize(t.Context(), r)
			if err != nil || (g.OnEnd == nil) != (action == Play) {
				t.Fatalf("got %+v, %v", g, err)
			}
			if g.OnEnd != nil {
				g.OnEnd.Ended()
			}
			synctest.Wait()
		}
		if got := strings.Join(visited, " "); got != "http://backend.example/ http://done.example/x http://play.example/" {
			t.Errorf("visited %s", got)
		}
	})
}

// gauge counts what goes on at once.
type gauge struct{ now, most atomic.Int32 }

func (g *gauge) enter() (leave func()) {
	n := g.now.Add(1)
	for m := g.most.Load(); n > m && !g.most.CompareAndSwap(m, n); m = g.most.Load() {
	}
	return func() { g.now.Add(-1) }
}

// 10,000 publishers at once against a backend of 50 ms: as many as may are
// asked at a time, all are answered when they must be, and nothing stays behind.
func TestTenThousandAtOnce(t *testing.T) {
	const clients = 10_000
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	synctest.Test(t, func(t *testing.T) {
		var asked gauge
		w := faked(t, WebhookConfig{Dialect: "srs", DoneURL: "none"}, func(*http.Request) (*http.Response, error) {
			defer asked.enter()()
			time.Sleep(50 * time.Millisecond)
			return says(200, "0")
		})
		var wg sync.WaitGroup
		begin := time.Now()
		for i := range clients {
			wg.Go(func() {
				if _, err := w.Authorize(t.Context(), hooked(fmt.Sprint("key", i), "token=t")); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		rounds := time.Duration((clients + defaultInFlight - 1) / defaultInFlight)
		if took := time.Since(begin); asked.most.Load() != defaultInFlight || took != rounds*50*time.Millisecond {
			t.Errorf("%d at once, took %v", asked.most.Load(), took)
		}
	})
	if after := heap(); after > before+16<<20 {
		t.Errorf("%d MiB before, %d MiB after", before>>20, after>>20)
	}
}

// The same over a network, with fewer: on a slow machine some come too late,
// which is a fault and nothing else, and then all is well again.
func TestManyAtOnceOverHTTP(t *testing.T) {
	const clients, bound = 300, 20
	var asked gauge
	w, _ := webhookTo(t, WebhookConfig{Dialect: "srs", InFlight: bound, DoneURL: "none"}, func(w http.ResponseWriter, _ *http.Request, _ string) {
		defer asked.enter()()
		time.Sleep(20 * time.Millisecond)
		_, _ = io.WriteString(w, "0")
	})
	var granted, late atomic.Int32
	var wg sync.WaitGroup
	for i := range clients {
		wg.Go(func() {
			switch _, err := w.Authorize(t.Context(), hooked(fmt.Sprint("key", i), "")); {
			case err == nil:
				granted.Add(1)
			case errors.Is(err, errTooBusy), errors.Is(err, errNoAnswer), errors.Is(err, errBroken):
				late.Add(1)
			default:
				t.Error(err)
			}
		})
	}
	wg.Wait()
	t.Logf("%d granted, %d too late, %d at once", granted.Load(), late.Load(), asked.most.Load())
	if asked.most.Load() > bound || granted.Load()+late.Load() != clients {
		t.Errorf("%d at once, %d granted", asked.most.Load(), granted.Load())
	}
	await(t, "all is well again", func() bool { _, err := w.Authorize(t.Context(), hooked("key", "")); return err == nil })
}
