package e2e

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os/exec"
	"strings"
	"testing"

	"rtmps-edge/authz"
	"rtmps-edge/internal/secret"
)

// formReaders print the fields name and app of a form on standard input, as
// backends read them.
var formReaders = map[string][]string{
	"php":     {"-r", `parse_str(stream_get_contents(STDIN), $f); echo json_encode([$f["name"], $f["app"]], JSON_UNESCAPED_SLASHES);`},
	"python3": {"-c", `import sys, json, urllib.parse as u; f = u.parse_qs(sys.stdin.read(), keep_blank_values=True); print(json.dumps([f["name"][-1] if len(f["name"]) == 1 else f["name"], f["app"][0] if len(f["app"]) == 1 else f["app"]]))`},
	"node":    {"-e", `const f = require("querystring").parse(require("fs").readFileSync(0, "utf8")); console.log(JSON.stringify([f.name, f.app]))`},
}

// What a client puts into its query makes no backend read another name or app
// than the edge authorizes, whatever it is written in.
func TestFormsAsBackendsReadThem(t *testing.T) {
	t.Parallel()
	for _, query := range []string{
		"token=t", "name=victim&app=other", "x=1&name=victim", "%6eame=victim&%61pp=other", "name[]=victim", "name%5B%5D=victim", "name[x]=victim", "[name]=victim",
		"name%00=victim", "+name=victim", "%20name=victim", "x;name=victim", "x=1;name=victim;app=other", "x=%26name=victim", "name", "name=", "name%5B%=victim",
		"NAME=victim", "a=1&&name=victim&", "x=%0aname=victim", "call=publish_done&app[]=other",
	} {
		form := formFor(t, query, false)
		for language := range formReaders {
			if got := readForm(t, language, form); got != `["key+/=1","live"]` {
				t.Errorf("%s reads %s out of %s", language, got, form)
			}
		}
	}
	// As nginx-rtmp itself sends it, PHP takes the last.
	if got := readForm(t, "php", formFor(t, "name=victim&app=other", true)); got != `["victim","other"]` {
		t.Errorf("raw, php reads %s", got)
	}
}

func readForm(t *testing.T, language, form string) string {
	t.Helper()
	cmd := exec.Command(program(t, language), formReaders[language]...)
	cmd.Stdin = strings.NewReader(form)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", language, err, out)
	}
	return strings.ReplaceAll(strings.TrimSpace(string(out)), " ", "")
}

// formFor returns what a backend for nginx-rtmp is sent about a client.
func formFor(t *testing.T, query string, raw bool) string {
	t.Helper()
	form := ""
	srv := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		form = string(body)
	}))
	defer srv.Close()
	w, err := authz.NewWebhook(authz.WebhookConfig{URL: srv.URL, Dialect: "nginx-rtmp", Raw: raw, DoneURL: "none"})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	_, err = w.Authorize(t.Context(), authz.Request{
		Action: authz.Publish, App: "live", Key: secret.New("key+/=1"), Query: secret.New(query), Client: netip.MustParseAddrPort("192.0.2.1:5000"),
	})
	if form == "" {
		t.Fatalf("the backend was not asked: %v", err)
	}
	return form
}
