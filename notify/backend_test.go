package notify

import (
	"bufio"
	"context"
	"encoding/pem"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// password stands in URLs, and must not be in a log.
const password = "hunter2-hunter2"

// roundTripper stands in for the network, so that time can be a test's own.
type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(q *http.Request) (*http.Response, error) { return f(q) }

func answer(status int) *http.Response {
	return &http.Response{StatusCode: status, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(""))}
}

// timed makes a Notifier with its own pauses, within a synctest bubble.
func timed(t *testing.T, network roundTripper) (*Notifier, *counts) {
	n, c := newNotifier(t, Config{URL: "http://u:" + password + "@backend.example/?token=" + password})
	n.client.RetryWaitMin, n.client.RetryWaitMax = firstPause, lastPause
	n.client.HTTPClient.Transport = network
	return n, c
}

// A backend that does not answer has its tries, and an event takes a lane for no
// longer than that.
func TestOneEventTakesBoundedTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := 0
		n, c := timed(t, func(q *http.Request) (*http.Response, error) {
			asked++
			<-q.Context().Done()
			return nil, q.Context().Err()
		})
		begin := time.Now()
		n.Observe(started1())
		n.flushed()
		if d, want := time.Since(begin), tries*tryTimeout+30*time.Second; d != want || asked != tries {
			t.Errorf("%d tries in %v, want %d in %v", asked, d, tries, want)
		}
		c.check(t, map[string]int{Failed: 1})
		if !strings.Contains(c.log.String(), "it does not answer in time") || strings.Contains(c.log.String(), password) {
			t.Error(c.log.String())
		}
	})
}

// flushed waits without a limit, which a bubble's time would reach at once.
func (n *Notifier) flushed() {
	n.working.Wait()
}

// The end of the edge does not wait for the next try.
func TestCloseEndsAPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, c := timed(t, func(*http.Request) (*http.Response, error) { return answer(503), nil })
		n.Observe(started1())
		n.Observe(ended1)
		time.Sleep(2500 * time.Millisecond) // in the second pause
		begin := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		n.Close(ctx)
		if d := time.Since(begin); d != 100*time.Millisecond {
			t.Errorf("it took %v", d)
		}
		c.check(t, map[string]int{Dropped: 2})
	})
}

// A backend that refuses everything does not fill the log.
func TestComplaintsAreSeldom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, c := timed(t, func(*http.Request) (*http.Response, error) { return answer(403), nil })
		told := func(want string) {
			t.Helper()
			synctest.Wait()
			c.mu.Lock()
			defer c.mu.Unlock()
			var got []string
			for line := range strings.Lines(c.log.String()) {
				_, events, _ := strings.Cut(line, "events=")
				events, _, _ = strings.Cut(events, " ")
				if !strings.Contains(line, "a backend was not told of events") || !strings.Contains(line, "it answers with status 403") || !strings.Contains(line, "host=backend.example") {
					t.Error(line)
				}
				got = append(got, events)
			}
			if s := strings.Join(got, " "); s != want {
				t.Errorf("told of %q, want %q", s, want)
			}
		}
		n.Observe(started1())
		told("1")
		for range 100 {
			n.Observe(ended1)
			time.Sleep(complainEvery / 200)
		}
		told("1")
		time.Sleep(complainEvery / 2)
		n.Observe(started1())
		told("1 101")
		n.Observe(ended1)
		told("1 101")
		n.Close(t.Context())
		told("1 101 1")
		c.check(t, map[string]int{Failed: 103})
	})
}

// Events share connections, whatever the answer's body is.
func TestConnectionsAreUsedAgain(t *testing.T) {
	t.Parallel()
	for body, most := range map[string]int64{"": lanes, "ok\n": lanes, strings.Repeat("x", maxAnswer/2): lanes} {
		var dialed atomic.Int64
		srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
			_, _ = io.Copy(io.Discard, q.Body)
			w.(http.Flusher).Flush() // chunked: no length is told
			_, _ = io.WriteString(w, body)
		}))
		srv.Config.ConnState = func(_ net.Conn, s http.ConnState) {
			if s == http.StateNew {
				dialed.Add(1)
			}
		}
		srv.Start()
		n, c := newNotifier(t, Config{URL: srv.URL})
		for range 20 {
			n.Observe(started1())
		}
		n.flush(t)
		c.check(t, map[string]int{Sent: 20})
		if got := dialed.Load(); got > most {
			t.Errorf("%d bytes: %d connections", len(body), got)
		}
		srv.Close()
	}
}

// An answer that never ends is not read.
func TestEndlessAnswer(t *testing.T) {
	t.Parallel()
	const most = 64 << 20 // far more than buffers hold, far less than comes in a try's time
	var written atomic.Int64
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		for written.Load() <= most {
			n, err := w.Write(make([]byte, 1<<16))
			written.Add(int64(n))
			if err != nil {
				return
			}
		}
	}))
	t.Cleanup(srv.Close)
	n, c := newNotifier(t, Config{URL: srv.URL})
	n.Observe(started1())
	n.flush(t)
	c.check(t, map[string]int{Sent: 1})
	if got := written.Load(); got > most {
		t.Errorf("%d bytes were taken", got)
	}
}

// With https a backend is believed that an authority vouches for, and no other.
func TestBackendIsVerified(t *testing.T) {
	t.Parallel()
	var heard atomic.Int64
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { heard.Add(1) }))
	srv.Config.ErrorLog = log.New(io.Discard, "", 0)
	srv.StartTLS()
	t.Cleanup(srv.Close)
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw})
	_, port, _ := net.SplitHostPort(srv.Listener.Addr().String())
	for _, try := range []struct {
		url  string
		ca   []byte
		want map[string]int
	}{
		{srv.URL, nil, map[string]int{Failed: 1}},
		{"https://localhost:" + port, ca, map[string]int{Failed: 1}}, // another name than the certificate's
		{srv.URL, ca, map[string]int{Sent: 1}},
	} {
		n, c := newNotifier(t, Config{URL: try.url, CA: try.ca})
		n.Observe(started1())
		n.flush(t)
		c.check(t, try.want)
		if try.want[Failed] > 0 && !strings.Contains(c.log.String(), "its certificate is not trusted") {
			t.Error(c.log.String())
		}
	}
	if heard.Load() != 1 {
		t.Errorf("%d events were told", heard.Load())
	}
}

// A name and password of the URL reach the backend, and nobody else.
func TestPasswordOfTheURL(t *testing.T) {
	t.Parallel()
	b := newBackend(t, func(int) int { return 403 })
	n, c := newNotifier(t, Config{URL: strings.Replace(b.URL, "http://", "http://edge:"+password+"@", 1)})
	n.Observe(started1())
	q := http.Request{Header: b.next(t).header}
	if user, pass, ok := q.BasicAuth(); !ok || user != "edge" || pass != password {
		t.Errorf("%s, %s, %v", user, pass, ok)
	}
	n.flush(t)
	if text := c.log.String(); text == "" || strings.Contains(text, password) {
		t.Error(text)
	}
}

// What a backend answers is not in the log: it may repeat what it was sent, with
// the password.
func TestAnswersAreNotLogged(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"no HTTP":         "POST /?token=" + password + " HTTP/1.1\r\n\r\n",
		"a bad header":    "HTTP/1.1 200 OK\r\n" + password + "\r\n\r\n",
		"a bad length":    "HTTP/1.1 200 OK\r\nContent-Length: " + password + "\r\n\r\n",
		"a bad place":     "HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: http://[" + password + "\r\n\r\n",
		"a bad status":    "HTTP/1.1 " + password + "\r\n\r\n",
		"a status's text": "HTTP/1.1 403 " + password + "\r\nContent-Length: 0\r\n\r\n",
		"a huge header":   "HTTP/1.1 200 OK\r\nX: " + strings.Repeat(password, 1+maxAnswerHeader/len(password)) + "\r\n\r\n",
		"nothing":         "",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n, c := newNotifier(t, Config{URL: "http://" + says(t, text) + "/?token=" + password})
			n.Observe(started1())
			n.flush(t)
			c.check(t, map[string]int{Failed: 1})
			if text := c.log.String(); !strings.Contains(text, "a backend was not told of events") || strings.Contains(text, password) || len(text) > 1000 {
				t.Error(text)
			}
		})
	}
}

// says answers every connection that speaks with text, and hangs up.
func says(t *testing.T, text string) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := ln.Accept()
			if errors.Is(err, net.ErrClosed) {
				return
			} else if err != nil {
				continue
			}
			wg.Go(func() {
				defer c.Close()
				q, err := http.ReadRequest(bufio.NewReader(c))
				if err != nil {
					return
				}
				_, _ = io.Copy(io.Discard, q.Body)
				_, _ = io.WriteString(c, text)
			})
		}
	})
	t.Cleanup(func() {
		_ = ln.Close()
		wg.Wait()
	})
	return ln.Addr().String()
}
