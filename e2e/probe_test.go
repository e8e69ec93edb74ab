package e2e

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// The probe understands how nginx-rtmp refuses, which has no words for it.
func TestProbeOfNginx(t *testing.T) {
	t.Parallel()
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) }))
	t.Cleanup(backend.Close)
	for _, c := range []struct {
		rules, app string
		words      []string
	}{
		{"", "live", []string{"ok    publish", "accepted"}},
		{"", "nope", []string{"FAIL  connect", "no such application"}},
		{"deny publish all;", "live", []string{"FAIL  publish", "accepted, and closed at once", "deny publish"}},
		{"on_publish " + backend.URL + "/on_publish;", "live", []string{"FAIL  publish", "hangs up without a word", "on_publish"}},
	} {
		n := startNginxWith(t, "", c.rules)
		e := &edge{dir: t.TempDir()}
		said, _ := e.command(t, "probe", "rtmp://"+n.address()+"/"+c.app+"/alice").CombinedOutput() // judged by its words
		for _, w := range c.words {
			if !strings.Contains(string(said), w) {
				t.Errorf("with %q, app %s: no %q in\n%s", c.rules, c.app, w, said)
			}
		}
	}
}
