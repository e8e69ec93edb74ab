package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sirupsen/logrus"

	"rtmps-edge/authz"
	"rtmps-edge/internal/hooksig"
	"rtmps-edge/internal/secret"
	"rtmps-edge/notify"
	"rtmps-edge/proxy"
)

// signedCall is what a backend has to judge.
type signedCall struct {
	What    string `json:"-"`
	Header  string `json:"header"`
	Content string `json:"content"`
	Secret  string `json:"secret"`
	good    bool
}

// judges run a recipe of docs/backends.md over calls in standard input.
var judges = map[string]struct{ program, text string }{
	"php":        {"php", `foreach (json_decode(stream_get_contents(STDIN)) as $c) echo signed($c->header, $c->content, $c->secret) ? "true\n" : "false\n";`},
	"python":     {"python3", "import json, sys\nfor c in json.load(sys.stdin): print(str(signed(c['header'], c['content'].encode(), c['secret'])).lower())"},
	"javascript": {"node", `for (const c of JSON.parse(require("fs").readFileSync(0))) console.log(signed(c.header, Buffer.from(c.content), c.secret))`},
}

// What the edge sends is signed so that backends in three languages believe it, as
// docs/backends.md tells them to; and nothing else.
func TestBackendsCheckSignatures(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../docs/backends.md")
	if err != nil {
		t.Fatal(err)
	}
	for content, want := range map[string]string{
		`{"version":1}`: "b241681f3dbfd2ee29fbbc18a15a631813e31f10d6f2a536413fed778d8db606",
		"app=live&call=publish&name=channel%20one": "1f0c8d9efa98762f26f4370cb601aa4c7a723425ccf1d006545ce92ff9ba3841",
	} {
		if !strings.Contains(string(page), "| `"+content+"` | `t=1700000000,v1="+want+"` |") {
			t.Errorf("the page has another vector for %s", content)
		}
	}
	calls := signedCalls(t)
	for language, judge := range judges {
		t.Run(language, func(t *testing.T) {
			t.Parallel()
			file := filepath.Join(t.TempDir(), "recipe")
			writeFile(t, file, recipeOf(t, string(page), language)+"\n"+judge.text+"\n")
			input, err := json.Marshal(calls)
			if err != nil {
				t.Fatal(err)
			}
			cmd := exec.Command(program(t, judge.program), file)
			cmd.Stdin = strings.NewReader(string(input))
			out, err := cmd.CombinedOutput()
			got := strings.Fields(string(out))
			if err != nil || len(got) != len(calls) {
				t.Fatalf("%v\n%s", err, out)
			}
			for i, c := range calls {
				if got[i] != strconv.FormatBool(c.good) {
					t.Errorf("%s: %s; header %s, content %s", c.What, got[i], c.Header, c.Content)
				}
			}
		})
	}
}

// signedCalls are what the edge sends in each dialect, and what others could make
// of it.
func signedCalls(t *testing.T) (calls []signedCall) {
	t.Helper()
	sent := append(notifications(t), questions(t)...)
	if len(sent) != 2*len(notify.Dialects())+5 {
		t.Fatalf("%d calls were made", len(sent))
	}
	for _, c := range sent {
		c.good = true
		calls = append(calls, c)
	}
	first := calls[0]
	forged := func(what string, change func(*signedCall)) {
		c := first
		c.What, c.good = what, false
		change(&c)
		calls = append(calls, c)
	}
	forged("another secret", func(c *signedCall) { c.Secret += "x" })
	forged("another content", func(c *signedCall) { c.Content += " " })
	forged("no signature", func(c *signedCall) { c.Header = "" })
	forged("another time", func(c *signedCall) { c.Header = strings.Replace(c.Header, "t=1", "t=2", 1) })
	forged("a short one", func(c *signedCall) { c.Header = c.Header[:len(c.Header)-2] })
	forged("an odd time", func(c *signedCall) { c.Header = "t=" + strings.Repeat("9", 5000) + ",v1=" + strings.Repeat("0", 64) })
	forged("more after it", func(c *signedCall) { c.Header += "\n" })
	forged("one of ten minutes ago", func(c *signedCall) {
		c.Header = hooksig.Of(secret.New(c.Secret), []byte(c.Content), time.Now().Add(-10*time.Minute))
	})
	forged("one of in ten minutes", func(c *signedCall) {
		c.Header = hooksig.Of(secret.New(c.Secret), []byte(c.Content), time.Now().Add(10*time.Minute))
	})
	return calls
}

const backendSecret = "correct-horse-battery-stäple"

// record returns what a backend hears that takes everything.
func record(t *testing.T, what string, tell func(url string)) (calls []signedCall) {
	t.Helper()
	heard := make(chan signedCall, 100)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if r.Method == http.MethodGet {
			_, query, _ := strings.Cut(r.RequestURI, "?")
			body = []byte(query)
		}
		_, _ = io.WriteString(w, `{"allow": true, "code": 0}`)
		heard <- signedCall{What: what, Header: r.Header.Get(hooksig.Header), Content: string(body), Secret: backendSecret}
	}))
	defer srv.Close()
	tell(srv.URL + "/?site=1")
	srv.Close() // all was heard
	close(heard)
	for c := range heard {
		calls = append(calls, c)
	}
	return calls
}

// notifications are of [[notify]].
func notifications(t *testing.T) (calls []signedCall) {
	t.Helper()
	for _, dialect := range notify.Dialects() {
		calls = append(calls, record(t, "notify "+dialect, func(url string) {
			log := logrus.New()
			log.SetOutput(io.Discard)
			n, err := notify.New(notify.Config{URL: url, Dialect: dialect, Secret: secret.New(backendSecret)}, notify.Options{Log: log})
			if err != nil {
				t.Fatal(err)
			}
			e := proxy.Event{Kind: proxy.Started, Time: time.Now(), Session: "c0ffee123456", Client: netip.MustParseAddrPort("192.0.2.7:5000"),
				ServerName: "live.example.com", Encoder: "FMLE/3.0 (compatible; é&=+)", Action: "publish", App: "live", Name: "channel one"}
			n.Observe(e)
			e.Kind = proxy.Ended
			n.Observe(e)
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			n.Close(ctx)
		})...)
	}
	return calls
}

// questions are of [authz.webhook].
func questions(t *testing.T) (calls []signedCall) {
	t.Helper()
	for _, cfg := range []authz.WebhookConfig{{Dialect: "native"}, {Dialect: "nginx-rtmp"}, {Dialect: "nginx-rtmp", Method: "get"}, {Dialect: "srs"}, {Dialect: "mediamtx"}} {
		calls = append(calls, record(t, fmt.Sprint("webhook ", cfg.Dialect, " ", cfg.Method), func(url string) {
			cfg.URL, cfg.Secret, cfg.DoneURL = url, secret.New(backendSecret), "none"
			w, err := authz.NewWebhook(cfg)
			if err != nil {
				t.Fatal(err)
			}
			defer w.Close()
			if _, err := w.Authorize(t.Context(), authz.Request{Action: authz.Publish, App: "live", Key: secret.New("key"), Query: secret.New("x=a b+é&y=%20%zz"),
				Client: netip.MustParseAddrPort("192.0.2.1:5000")}); err != nil {
				t.Error(err)
			}
		})...)
	}
	return calls
}
