//go:build trixie

package e2e

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// trixie is where trixie.sh has put a Debian 13.
func trixie(t testing.TB) string {
	t.Helper()
	cmd := exec.Command("./trixie.sh")
	cmd.Stderr = os.Stderr
	dir, err := cmd.Output()
	if err != nil {
		t.Fatalf("trixie.sh: %v", err)
	}
	return strings.TrimSpace(string(dir))
}

// inTrixie has OBS's home, its trust store and what a program needs of the
// kernel where that Debian has them. They are mounted for one process, which
// keeps its number, and are gone with it.
const inTrixie = `
root=$1 home=$2 trusted=$3
shift 3
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
mount --bind "$home" "$root/mnt"
mount --bind "$trusted" "$root` + trustStore + `"
exec chroot "$root" "$@"`

// newTrixieOBS is newOBS with the one of Debian 13.
func newTrixieOBS(t testing.TB, authority []byte, server, key string) *obs {
	t.Helper()
	home, trusted := t.TempDir(), t.TempDir()
	writeFile(t, filepath.Join(trusted, "ca.pem"), string(authority))
	o := &obs{display: startXvfb(t), port: freePort(t)}
	o.configure(t, home, server, key, nil)
	args := []string{"--mount", "--propagation", "private", "sh", "-euc", inTrixie, "sh", trixie(t), home, trusted, "obs"}
	cmd := exec.Command(program(t, "unshare"), append(args, obsOptions...)...)
	cmd.Env = obsEnv("/mnt", o.display)
	o.process = start(t, cmd)
	if version := o.version(t); version < 30 {
		t.Fatalf("it is OBS %d", version)
	}
	return o
}

// OBS 30 streams over TLS 1.3, whether TLS 1.2 were there too or not. The log,
// the API and the metric agree on that.
func TestOBSOverTLS13(t *testing.T) {
	for _, profile := range []string{"encoder", "modern"} {
		t.Run(profile, func(t *testing.T) {
			t.Parallel()
			origin, alice := startNginx(t), newKey("alice")
			e := startEdge(t, settings{Origin: origin.address(), Admin: "127.0.0.1:0", Clients: "profile = \"" + profile + "\""}, alice)
			o := newTrixieOBS(t, ca(t).pem, e.url(), alice.text)
			o.waitText(t, "Streaming Start")
			stream := "live/" + alice.name
			published(t, origin, stream)
			e.record(t, "the start", map[string]string{"msg": "stream started", "subject": "alice", "name": alice.name, "tls": "TLS 1.3"})
			e.onlyTLS13(t)
			mustPlay(t, "rtmp://"+origin.address()+"/"+stream)
			flows(t, origin, stream)
			t.Logf("OBS %d over TLS 1.3; nginx-rtmp has had %d bytes", o.version(t), received(t, origin, stream))

			o.stop(t)
			e.record(t, "the end", map[string]string{"msg": "stream ended", "side": "client"})
			published(t, origin)
		})
	}
}

// onlyTLS13 wants one stream, one handshake, and both to be of TLS 1.3.
func (e *edge) onlyTLS13(t testing.TB) {
	t.Helper()
	_, body := e.ask(t, "/api/v1/sessions")
	var sessions []struct{ TLS, Encoder string }
	if err := json.Unmarshal([]byte(body), &sessions); err != nil || len(sessions) != 1 || sessions[0].TLS != "TLS 1.3" {
		t.Errorf("%v: %s", err, body)
	}
	_, body = e.ask(t, "/metrics")
	var handshakes []string
	for line := range strings.Lines(body) {
		if strings.HasPrefix(line, "rtmps_edge_tls_handshakes_total{") {
			handshakes = append(handshakes, strings.TrimSpace(line))
		}
	}
	if len(handshakes) != 1 || handshakes[0] != `rtmps_edge_tls_handshakes_total{result="ok",version="1.3"} 1` {
		t.Errorf("%q", handshakes)
	}
}

// OBS 30 gives up for good, too.
func TestWrongKeyStopsOBSOverTLS13(t *testing.T) {
	t.Parallel()
	e := startEdge(t, settings{Origin: freeAddress(t), Clients: "profile = \"modern\""}, newKey("alice"))
	e.stopsOBS(t, newTrixieOBS(t, ca(t).pem, e.url(), e.secret()))
}

// OBS 30 checks the certificate, and says so in an alert.
func TestUntrustedByOBSOverTLS13(t *testing.T) {
	t.Parallel()
	e := startEdge(t, settings{Origin: freeAddress(t), TLS: "source = \"self-signed\"\nself_signed_names = [\"localhost\"]\nprofile = \"modern\""})
	o := newTrixieOBS(t, ca(t).pem, e.url(), "key")
	o.waitText(t, "Cert verify failed")
	eventually(t, "the box of OBS", func() error { return o.hasWindow(t, obsRefusalTitle) })
	e.record(t, "the refusal", map[string]string{"msg": "refused", "stage": "tls", "reason": "client rejected certificate"})
}
