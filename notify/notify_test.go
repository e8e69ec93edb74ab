package notify

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sirupsen/logrus"
	"go.uber.org/goleak"

	"rtmps-edge/internal/fault"
	"rtmps-edge/internal/hooksig"
	"rtmps-edge/internal/secret"
	"rtmps-edge/proxy"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds waits that only run out when a test has failed.
const patience = 20 * time.Second

// call is what a backend has heard.
type call struct {
	header http.Header
	body   string
}

// backend answers as it is told and remembers what it heard.
type backend struct {
	*httptest.Server
	calls  chan call
	answer func(n int) int // status of the call number n, from 1
	mu     sync.Mutex
	n      int
}

func newBackend(t *testing.T, answer func(n int) int) *backend {
	t.Helper()
	b := &backend{calls: make(chan call, 10_000), answer: answer}
	b.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		body, _ := io.ReadAll(q.Body)
		b.mu.Lock()
		b.n++
		n := b.n
		b.mu.Unlock()
		status := 200
		if b.answer != nil {
			status = b.answer(n)
		}
		if status == 302 {
			w.Header().Set("Location", b.URL+"/elsewhere")
		}
		w.WriteHeader(status)
		b.calls <- call{q.Header, string(body)}
	}))
	t.Cleanup(b.Close)
	return b
}

func (b *backend) next(t *testing.T) call {
	t.Helper()
	select {
	case c := <-b.calls:
		return c
	case <-time.After(patience):
		t.Fatal("the backend was not told")
		return call{}
	}
}

// counts is what became of events.
type counts struct {
	mu  sync.Mutex
	of  map[string]int
	log strings.Builder
}

func (c *counts) count(result string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.of == nil {
		c.of = map[string]int{}
	}
	c.of[result]++
}

func (c *counts) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.log.Write(p)
}

func (c *counts) check(t *testing.T, want map[string]int) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	if !reflect.DeepEqual(c.of, want) {
		t.Errorf("%v, want %v; log: %s", c.of, want, c.log.String())
	}
}

// newNotifier makes one that tries again soon.
func newNotifier(t *testing.T, cfg Config) (*Notifier, *counts) {
	t.Helper()
	c := &counts{}
	log := logrus.New()
	log.SetOutput(c)
	n, err := New(cfg, Options{Log: log, Count: c.count})
	if err != nil {
		t.Fatal(err)
	}
	n.client.RetryWaitMin, n.client.RetryWaitMax = time.Millisecond, 5*time.Millisecond
	t.Cleanup(func() { n.Close(over()) })
	return n, c
}

// over is a context that is done.
func over() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

// soon waits for all to be told.
func (n *Notifier) flush(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	n.Close(ctx)
	if ctx.Err() != nil {
		t.Error("not all was told")
	}
}

var ended1 = proxy.Event{Kind: proxy.Ended, Time: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Session: "4f1c09a2b7d3", Listener: ":1936",
	Client: netip.MustParseAddrPort("192.0.2.7:4000"), ServerName: "live.example", TLS: "TLS 1.3", Encoder: "FMLE/3.0 (compatible; x&y=z)", Action: "publish",
	App: "live", Fingerprint: "f1f2f3f4", Subject: "alice", By: "keys", Name: "channel one", Origin: "main", Server: "127.0.0.1:1935",
	Side: proxy.SideClient, Reason: "reset", Err: errors.New("detail\n" + strings.Repeat("x", 1000)), BytesIn: 1000, BytesOut: 5, Duration: 1500 * time.Millisecond}

func started1() proxy.Event {
	e := ended1
	e.Kind, e.Side, e.Reason, e.Err, e.BytesIn, e.BytesOut, e.Duration = proxy.Started, "", "", nil, 0, 0, 0
	return e
}

func TestNative(t *testing.T) {
	t.Parallel()
	b := newBackend(t, nil)
	n, c := newNotifier(t, Config{URL: b.URL, Events: Events(), Secret: secret.New("a secret")})
	n.Observe(proxy.Event{Kind: proxy.Accepted})
	n.Observe(started1())
	n.Observe(ended1)
	for i, want := range []map[string]any{
		{"event": "stream_started"},
		{"event": "stream_ended", "side": "client", "reason": "reset", "bytes_in": 1000.0, "bytes_out": 5.0, "seconds": 1.5, "detail": "detail\n" + strings.Repeat("x", 293) + "…"},
	} {
		for key, v := range map[string]any{"version": 1.0, "id": "4f1c09a2b7d3", "time": "2026-01-02T03:04:05Z", "action": "publish", "app": "live", "name": "channel one",
			"client": "192.0.2.7:4000", "server_name": "live.example", "tls": "TLS 1.3", "encoder": "FMLE/3.0 (compatible; x&y=z)", "subject": "alice",
			"authorizer": "keys", "listener": ":1936", "origin": "main", "server": "127.0.0.1:1935"} {
			want[key] = v
		}
		got := b.next(t)
		var v map[string]any
		if err := json.Unmarshal([]byte(got.body), &v); err != nil || !reflect.DeepEqual(v, want) {
			t.Errorf("%d: %v, want %v (%v)", i, v, want, err)
		}
		checkSignature(t, got, "a secret")
		if got.header.Get("Content-Type") != "application/json" || got.header.Get("User-Agent") != "rtmps-edge" {
			t.Error(got.header)
		}
	}
	n.flush(t)
	c.check(t, map[string]int{Sent: 2})
}

// checkSignature judges as the documentation tells a backend to.
func checkSignature(t *testing.T, c call, secret string) {
	t.Helper()
	at, sig, ok := strings.Cut(c.header.Get(hooksig.Header), ",v1=")
	unix, ok2 := strings.CutPrefix(at, "t=")
	sent, err := strconv.ParseInt(unix, 10, 64)
	h := hmac.New(sha256.New, []byte(secret))
	h.Write([]byte(unix + "." + c.body))
	if !ok || !ok2 || err != nil || sig != hex.EncodeToString(h.Sum(nil)) || time.Since(time.Unix(sent, 0)).Abs() > time.Minute {
		t.Errorf("signature %q", c.header.Get(hooksig.Header))
	}
}

func TestRefusedAndBanned(t *testing.T) {
	t.Parallel()
	b := newBackend(t, nil)
	n, _ := newNotifier(t, Config{URL: b.URL, Events: Events()})
	n.Observe(proxy.Event{Kind: proxy.Refused, Reason: proxy.ReasonLogin}) // a round of a login
	n.Observe(proxy.Event{Kind: proxy.Refused, Time: time.Now(), Stage: proxy.StageAuthorize, Reason: "denied", App: "live", Fingerprint: "f1f2f3f4", Action: "publish"})
	ban := proxy.Event{Kind: proxy.Banned, Time: time.Now(), Reason: "auth_failures"}
	ban.Ban.Network, ban.Ban.Until, ban.Ban.Count = netip.MustParsePrefix("192.0.2.7/32"), time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC), 3
	n.Observe(ban)
	ban.Ban.Network = netip.MustParsePrefix("2001:db8::/64")
	n.Observe(ban)
	for _, want := range []map[string]any{
		{"event": "refused", "stage": "authorize", "reason": "denied", "key": "f1f2f3f4", "client": ""},
		{"event": "banned", "client": "192.0.2.7", "until": "2030-01-01T00:00:00Z", "count": 3.0, "reason": "auth_failures"},
		{"event": "banned", "client": "2001:db8::/64"},
	} {
		var v map[string]any
		got := b.next(t)
		if err := json.Unmarshal([]byte(got.body), &v); err != nil {
			t.Fatal(err)
		}
		for key, value := range want {
			if !reflect.DeepEqual(v[key], value) {
				t.Errorf("%s: %v, want %v", key, v[key], value)
			}
		}
		if got.header.Get(hooksig.Header) != "" {
			t.Error("signed without a secret")
		}
	}
}

func TestNginx(t *testing.T) {
	t.Parallel()
	play := started1()
	play.Action = "play"
	playEnd := ended1
	playEnd.Action = "play"
	for want, e := range map[string]proxy.Event{"publish": started1(), "publish_done": ended1, "play": play, "play_done": playEnd} {
		m := nginx(e, "")
		if m.contentType != "application/x-www-form-urlencoded" {
			t.Error(m.contentType)
		}
		v, err := url.ParseQuery(string(m.body))
		if err != nil {
			t.Fatal(err)
		}
		for key, value := range map[string]string{"call": want, "app": "live", "name": "channel one", "addr": "192.0.2.7", "clientid": "4f1c09a2b7d3",
			"flashver": "FMLE/3.0 (compatible; x&y=z)", "tcurl": "rtmp://live.example/live"} {
			if len(v[key]) != 1 || v.Get(key) != value {
				t.Errorf("%s: %s = %q", want, key, v[key])
			}
		}
	}
	if got := string(nginx(started1(), "").body); got != "app=live&flashver=FMLE/3.0%20(compatible%3B%20x%26y%3Dz)&swfurl=&tcurl=rtmp://live.example/live&pageurl=&addr=192.0.2.7&clientid=4f1c09a2b7d3&call=publish&name=channel%20one&type=live" {
		t.Error(got)
	}
}

func TestSRS(t *testing.T) {
	t.Parallel()
	play := started1()
	play.Action = "play"
	playEnd := ended1
	playEnd.Action = "play"
	for want, e := range map[string]proxy.Event{"on_publish": started1(), "on_unpublish": ended1, "on_play": play, "on_stop": playEnd} {
		var v map[string]any
		if err := json.Unmarshal(srs(e, "").body, &v); err != nil {
			t.Fatal(err)
		}
		for key, value := range map[string]any{"action": want, "app": "live", "stream": "channel one", "ip": "192.0.2.7", "client_id": "4f1c09a2b7d3",
			"vhost": "__defaultVhost__", "param": "", "stream_url": "/live/channel one", "tcUrl": "rtmp://live.example/live"} {
			if v[key] != value {
				t.Errorf("%s: %s = %v", want, key, v[key])
			}
		}
		if _, ok := v["pageUrl"]; ok != (want == "on_play") {
			t.Errorf("%s: pageUrl", want)
		}
	}
}

// The same signature in every dialect: JSON or a form, it is of the bytes that are
// sent.
func TestEveryDialectSigns(t *testing.T) {
	t.Parallel()
	for _, dialect := range Dialects() {
		b := newBackend(t, nil)
		n, c := newNotifier(t, Config{URL: b.URL + "/?token=t", Dialect: dialect, Secret: secret.New("a secret")})
		n.Observe(started1())
		n.Observe(ended1)
		for range 2 {
			checkSignature(t, b.next(t), "a secret")
		}
		n.flush(t)
		c.check(t, map[string]int{Sent: 2})
	}
}

// No dialect tells a name that may be a credential.
func TestANameThatIsAKeyIsNotTold(t *testing.T) {
	t.Parallel()
	e := started1()
	e.Subject, e.Name, e.NameIsKey = "", "a-secret-name", true
	for name, d := range dialects {
		body := string(d(e, StreamStarted).body)
		if strings.Contains(body, "a-secret-name") {
			t.Errorf("%s: %s", name, body)
		}
		if name == Native && !strings.Contains(body, "f1f2f3f4") {
			t.Error(body)
		}
	}
}

func TestTriesAgain(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		answer func(n int) int
		calls  int
		want   map[string]int
	}{
		{func(n int) int { return []int{503, 429, 500, 200}[n-1] }, 4, map[string]int{Sent: 1}},
		{func(int) int { return 503 }, tries, map[string]int{Failed: 1}},
		{func(int) int { return 403 }, 1, map[string]int{Failed: 1}},
		{func(int) int { return 302 }, 1, map[string]int{Failed: 1}},
		{func(int) int { return 204 }, 1, map[string]int{Sent: 1}},
	} {
		b := newBackend(t, c.answer)
		n, counts := newNotifier(t, Config{URL: b.URL + "/?token=a-password", Secret: secret.New("s")})
		n.Observe(started1())
		n.flush(t)
		if len(b.calls) != c.calls {
			t.Errorf("%d calls, want %d", len(b.calls), c.calls)
		}
		counts.check(t, c.want)
		if strings.Contains(counts.log.String(), "a-password") {
			t.Errorf("the URL is in the log: %s", counts.log.String())
		}
		for range c.calls { // each signed for its own time
			checkSignature(t, b.next(t), "s")
		}
	}
}

func TestPauses(t *testing.T) {
	t.Parallel()
	var all []time.Duration
	for try := range tries - 1 {
		all = append(all, pause(firstPause, lastPause, try, nil))
	}
	if want := []time.Duration{1e9, 2e9, 4e9, 8e9, 15e9}; !reflect.DeepEqual(all, want) {
		t.Errorf("%v", all)
	}
	r := &http.Response{StatusCode: 503, Header: http.Header{"Retry-After": {"86400"}}}
	if d := pause(firstPause, lastPause, 0, r); d != lastPause {
		t.Errorf("a backend may ask for %s", d)
	}
	for _, hurry := range []string{"0", "-5", "Mon, 02 Jan 2006 15:04:05 GMT", "soon"} {
		r.Header.Set("Retry-After", hurry)
		if d := pause(firstPause, lastPause, 2, r); d != 4*firstPause {
			t.Errorf("%s: a backend may ask for %s", hurry, d)
		}
	}
}

// A backend that does not answer costs streams nothing, and memory a bounded
// amount; refusals take no stream's place.
func TestQueuesAreBounded(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	b := newBackend(t, func(int) int { <-release; return 200 })
	n, c := newNotifier(t, Config{URL: b.URL, Events: Events()})
	for i := range 10_000 { // none of these waits for the backend, which answers none of them
		n.Observe(proxy.Event{Kind: proxy.Refused, Session: fmt.Sprint(i)})
	}
	for i := range 100 {
		e := started1()
		e.Session = fmt.Sprint(i)
		n.Observe(e)
	}
	n.mu.Lock()
	waiting := 0
	for i := range n.lanes {
		waiting += len(n.lanes[i].queue)
	}
	n.mu.Unlock()
	if waiting > laneLength+100 {
		t.Errorf("%d events wait", waiting)
	}
	close(release)
	n.flush(t)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.of[Sent] < laneLength+100 || c.of[Sent] > laneLength+101 || c.of[Sent]+c.of[Dropped] != 10_100 {
		t.Errorf("%v", c.of)
	}
	// The first is told at once, the others at the end: a minute has not passed.
	if lines := strings.Count(c.log.String(), "events were dropped"); lines != 2 || !strings.Contains(c.log.String(), "events=1 ") ||
		!strings.Contains(c.log.String(), fmt.Sprintf("events=%d ", c.of[Dropped]-1)) {
		t.Errorf("%d complaints: %s", lines, c.log.String())
	}
}

func TestEventsOfAStreamKeepTheirOrder(t *testing.T) {
	t.Parallel()
	b := newBackend(t, func(n int) int {
		if n%3 == 0 && n/3 < tries { // fewer than one event could be unlucky with
			return 503
		}
		return 200
	})
	n, c := newNotifier(t, Config{URL: b.URL})
	for i := range 50 {
		for _, e := range []proxy.Event{started1(), ended1} {
			e.Session = fmt.Sprint(i)
			n.Observe(e)
		}
	}
	n.flush(t)
	close(b.calls)
	seen := map[string]string{}
	for v := range b.calls {
		var e nativeEvent
		if err := json.Unmarshal([]byte(v.body), &e); err != nil {
			t.Fatal(err)
		}
		if e.Event == StreamStarted && seen[e.ID] == StreamEnded {
			t.Errorf("stream %s starts after its end", e.ID)
		}
		seen[e.ID] = e.Event
	}
	c.check(t, map[string]int{Sent: 100})
}

func TestCloseDropsWhatItHasNoTimeFor(t *testing.T) {
	t.Parallel()
	asked := make(chan struct{}, 10)
	release := make(chan struct{})
	b := newBackend(t, func(int) int { asked <- struct{}{}; <-release; return 200 })
	defer close(release)
	n, c := newNotifier(t, Config{URL: b.URL})
	for range 5 {
		n.Observe(started1())
	}
	<-asked
	n.Close(over())
	n.Observe(started1())
	c.check(t, map[string]int{Dropped: 6})
}

func TestFaultsAreFound(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		cfg  Config
		keys string
	}{
		{Config{}, "url"},
		{Config{URL: "ftp://x"}, "url"},
		{Config{URL: "http://user:password@"}, "url"},
		{Config{URL: "http://x", Dialect: "other", Events: []string{"nothing"}}, "dialect events"},
		{Config{URL: "http://x", Dialect: SRS, Events: []string{Banned, Refused, StreamEnded}}, "events events"},
		{Config{URL: "http://x", Dialect: Nginx, Secret: secret.New("s")}, ""},
		{Config{URL: "https://x", CA: []byte("no PEM")}, "ca"},
	} {
		_, err := New(c.cfg, Options{Log: logrus.New()})
		var keys []string
		list, _ := err.(fault.List)
		for _, f := range list {
			keys = append(keys, f.Key)
		}
		if got := strings.Join(keys, " "); got != c.keys || err != nil && strings.Contains(err.Error(), "password@") {
			t.Errorf("%+v: %v", c.cfg, err)
		}
	}
}
