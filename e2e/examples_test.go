package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// exampleOf is a file of an example, with its addresses and names changed to
// those of a test. What is to be changed must be there: the file is followed by
// its readers, and by this test, in the same way.
func exampleOf(t testing.TB, folder, file string, changes ...string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("../examples", folder, file))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(changes); i += 2 {
		if !strings.Contains(string(text), changes[i]) {
			t.Fatalf("examples/%s/%s has no %s", folder, file, changes[i])
		}
	}
	return strings.NewReplacer(changes...).Replace(string(text))
}

// prepareExample is prepareEdge with the edge.toml of an example.
func prepareExample(t testing.TB, folder string, origin origin, key streamKey, changes ...string) *edge {
	t.Helper()
	e := prepareEdge(t, settings{Origin: origin.address()}, key)
	changes = append(changes, `"127.0.0.1:1935"`, fmt.Sprintf("%q", e.tee.address()))
	text := exampleOf(t, folder, "edge.toml", changes...)
	writeFile(t, filepath.Join(e.dir, "edge.toml"), "[log]\nformat = \"json\"\n[admin]\nlisten = \"\"\n"+text)
	return e
}

func (e *edge) runExample(t testing.TB) {
	t.Helper()
	e.run(t, e.command(t, "run", "-c", filepath.Join(e.dir, "edge.toml")))
}

// The example for a public domain gets its certificate on the port of the
// streams, from this authority.
func TestExampleOfACME(t *testing.T) {
	t.Parallel()
	const domain = "live.example.com" // as the example has it
	origin, p, alice := startNginx(t), newPebble(t), newKey("alice")
	e := prepareExample(t, "acme-public-domain", origin, alice, `":443"`, `"127.0.0.1:0"`,
		"[tls.acme]\n", fmt.Sprintf("[tls.acme]\ndirectory = %q\ndirectory_ca = %q\nstorage = \"acme\"\n", p.directory, caFile(t)))
	e.runExample(t)
	p.run(t, "certmagic", e.port)
	p.first(t, e, domain)
	e.record(t, "the certificate", map[string]string{"msg": "a certificate serves new connections", "certificate": domain})
	ffmpeg := publishFFmpeg(t, e.url(), alice.text)
	published(t, origin, "live/"+alice.name)
	ffmpeg.interrupt(t)
}

// On a local network, OBS streams once it trusts the file that the example has
// made, and goes on doing so when the edge has started again.
func TestExampleOfLAN(t *testing.T) {
	t.Parallel()
	origin, alice := startNginx(t), newKey("alice")
	e := prepareExample(t, "lan-self-signed", origin, alice, `":1936"`, `"127.0.0.1:0"`,
		`"edge.lan", "edge.local"`, `"localhost"`, `"192.168.0.0/16"`, `"127.0.0.0/8"`)
	e.runExample(t)
	authority, err := os.ReadFile(filepath.Join(e.dir, "certs", "ca.pem"))
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		o := newOBS(t, authority, e.url(), alice.text)
		o.waitText(t, "Streaming Start")
		published(t, origin, "live/"+alice.name)
		o.stop(t)
		published(t, origin)
		e.shutdown(t)
		e.runExample(t)
	}
}

// The load balancer, the edge and nginx-rtmp of the example together: nginx-rtmp
// admits the studio, by the address that HAProxy has seen, and nobody else.
func TestExampleOfLoadBalancer(t *testing.T) {
	t.Parallel()
	const folder = "behind-load-balancer"
	rtmp, alice := freeAddress(t), newKey("alice")
	origin := runNginx(t, rtmp, func(dir, http string) string {
		return exampleOf(t, folder, "nginx.conf", "modules/", nginxModules, "127.0.0.1:1935", rtmp, "192.0.2.0/24", studioAddress,
			"events {}", nginxProcess(dir)+nginxStat(dir, http))
	})
	e := prepareExample(t, folder, origin, alice, `":1936"`, `"127.0.0.1:0"`, `"10.0.0.0/24"`, `"127.0.0.1"`)
	e.runExample(t)
	b := balancer{freeAddress(t), freeAddress(t), freeAddress(t)}
	here := "127.0.0.1:" + e.port
	b.run(t, exampleOf(t, folder, "haproxy.cfg", ":443", b.here, "10.0.0.11:1936", here, "10.0.0.12:1936", here))

	studioPublishes(t, e, b, origin, alice)
	refused := publishFFmpeg(t, rtmps(b.stranger), alice.text)
	if code := refused.exit(t); code == 0 {
		t.Error("nginx-rtmp took a stranger's stream")
	}
	e.record(t, "the stranger's end", map[string]string{"msg": "stream ended", "side": "origin"})
	published(t, origin)
}

// HAProxy takes the example's file as it is.
func TestExampleOfHAProxy(t *testing.T) {
	t.Parallel()
	cmd := exec.Command(program(t, "haproxy"), "-c", "-f", "../examples/behind-load-balancer/haproxy.cfg")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// The commands of the example make a certificate with which ffmpeg publishes
// what the example's certificates.toml says, and nothing else.
func TestExampleOfMutualTLS(t *testing.T) {
	t.Parallel()
	const folder = "mutual-tls"
	origin := startNginx(t)
	e := prepareExample(t, folder, origin, newKey("alice"), `":443"`, `"127.0.0.1:0"`)
	cert, key := ca(t).issue(t, firstSerial)
	writeFile(t, filepath.Join(e.dir, "fullchain.pem"), cert)
	writeFile(t, filepath.Join(e.dir, "privkey.pem"), key)
	writeFile(t, filepath.Join(e.dir, "certificates.toml"), exampleOf(t, folder, "certificates.toml"))
	recipe := exec.Command(program(t, "sh"), "-ec", commandsOf(exampleOf(t, folder, "README.md"), "openssl", "printf"))
	recipe.Dir = e.dir
	if out, err := recipe.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	e.runExample(t)

	publish := func(name string) commandLine {
		return publishFFmpeg(t, e.url(), name, "-cert_file", filepath.Join(e.dir, "studio-1.pem"), "-key_file", filepath.Join(e.dir, "studio-1-key.pem"))
	}
	ffmpeg := publish("studio-1")
	published(t, origin, "live/studio-1")
	e.record(t, "the start", map[string]string{"msg": "stream started", "subject": "studio-1", "name": "studio-1"})
	refused := publish("studio-2")
	refused.waitText(t, "The stream key is not valid here.")
	refused.exit(t)
	without := publishFFmpeg(t, e.url(), "studio-1")
	without.exit(t)
	e.record(t, "the refusal", map[string]string{"msg": "refused", "stage": "tls", "reason": "client certificate"})
	ffmpeg.mustLive(t)
}

// commandsOf are the lines of a page that run one of these programs.
func commandsOf(page string, programs ...string) string {
	var commands strings.Builder
	for line := range strings.Lines(page) {
		for _, p := range programs {
			if strings.HasPrefix(line, "    "+p+" ") {
				commands.WriteString(line)
			}
		}
	}
	return commands.String()
}
