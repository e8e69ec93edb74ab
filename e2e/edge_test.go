package e2e

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"text/template"
)

// settings is what the tests vary in edge.toml.
type settings struct {
	Origin   string // host:port
	Publish  string // authorizers as TOML has them; "" = keys
	Play     string // the same; "" = none
	AtAuthz  string // more lines of [authz]
	Limits   string // lines of [limits]
	TLS      string // lines of [tls]; "" = the files edge.crt and edge.key
	Address  string // of the listener; "" = a free port on loopback
	Listener string // more lines of [[listener]]
	Clients  string // more lines of [tls], unless TLS is set
	AtOrigin string // more lines of [[origin]]
	Admin    string // listen of [admin]; "" = none
	Token    string // of [admin]
	Notify   string // url of a [[notify]]; "" = none
	Redis    string // of [cluster]; "" = none
	NoTee    bool   // so that an origin which is not there refuses the edge's connections
}

var edgeToml = template.Must(template.New("edge.toml").Parse(`
[log]
level  = "trace"
format = "json"

[[listener]]
address = "{{or .Address "127.0.0.1:0"}}"
{{.Listener}}

[tls]
{{if .TLS}}{{.TLS}}{{else}}source = "files"
{{.Clients}}

[[tls.certificate]]
cert = "edge.crt"
key  = "edge.key"
{{end}}
[[origin]]
name    = "main"
servers = ["{{.Origin}}"]
{{.AtOrigin}}

[authz]
publish = [{{or .Publish "\"keys\""}}]
play    = [{{.Play}}]
{{.AtAuthz}}

[authz.keys]
file = "keys.toml"

[limits]
{{.Limits}}

[admin]
listen = "{{.Admin}}"
token  = "{{.Token}}"
{{with .Redis}}
[cluster]
redis = "{{.}}"
timeout = "4s"
{{end}}{{with .Notify}}
[[notify]]
url = "{{.}}"
{{end}}`))

// streamKey is a line of keys.toml, and what it is the hash of.
type streamKey struct{ subject, name, text string }

// newKey makes a key. The stream's name differs from the subject, so that
// none passes for the other.
func newKey(subject string) streamKey {
	return streamKey{subject: subject, name: "channel-of-" + subject, text: rand.Text()}
}

// edge is the program under test, with an edge.toml and a keys.toml, between
// its clients and a tee. When the test ends, it is stopped by SIGTERM and has
// to leave with status 0, having told no secret.
type edge struct {
	*process
	dir     string
	port    string // of its listener
	tee     *tee
	secrets []string
	killed  bool // by the test: there is no good end to wait for
}

// firstSerial is that of the certificate that an edge begins with.
const firstSerial = 1000

// startEdge runs an edge in front of s.Origin that knows keys.
func startEdge(t testing.TB, s settings, keys ...streamKey) *edge {
	t.Helper()
	e := prepareEdge(t, s, keys...)
	e.run(t, e.command(t, "run", "-c", filepath.Join(e.dir, "edge.toml")))
	return e
}

// prepareEdge writes the files of an edge that does not run yet.
func prepareEdge(t testing.TB, s settings, keys ...streamKey) *edge {
	t.Helper()
	e := &edge{dir: t.TempDir(), tee: newTee(t, s.Origin)}
	if !s.NoTee {
		s.Origin = e.tee.address()
	}
	e.configure(t, s)
	e.writeKeys(t, keys...)
	e.writeCertificate(t, firstSerial)
	return e
}

// run starts cmd, which is the edge, and waits until it listens.
func (e *edge) run(t testing.TB, cmd *exec.Cmd) {
	t.Helper()
	e.process = start(t, cmd)
	t.Cleanup(func() { e.shutdown(t) })
	_, e.port, _ = strings.Cut(e.record(t, "listening", map[string]string{"msg": "listening"})["address"].(string), ":")
}

// command runs the program under test.
func (e *edge) command(t testing.TB, args ...string) *exec.Cmd {
	t.Helper()
	file, err := edgeProgram()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(file, args...)
	cmd.Dir = e.dir
	return cmd
}

func (e *edge) configure(t testing.TB, s settings) {
	t.Helper()
	var text strings.Builder
	if err := edgeToml.Execute(&text, s); err != nil {
		t.Fatal(err)
	}
	writeFile(t, filepath.Join(e.dir, "edge.toml"), text.String())
}

func (e *edge) writeKeys(t testing.TB, keys ...streamKey) {
	t.Helper()
	var text strings.Builder
	for _, k := range keys {
		sum := sha256.Sum256([]byte(k.text))
		hash := hex.EncodeToString(sum[:])
		e.secrets = append(e.secrets, k.text, hash)
		fmt.Fprintf(&text, "[[key]]\nsubject = %q\nname = %q\nhash = \"sha256:%s\"\nactions = [\"publish\", \"play\"]\napp = \"live\"\n\n", k.subject, k.name, hash)
	}
	writeFile(t, filepath.Join(e.dir, "keys.toml"), text.String())
}

func (e *edge) writeCertificate(t testing.TB, serial int64) {
	t.Helper()
	cert, key := ca(t).issue(t, serial)
	writeFile(t, filepath.Join(e.dir, "edge.key"), key)
	writeFile(t, filepath.Join(e.dir, "edge.crt"), cert)
}

// secret makes text that the edge must not tell anybody.
func (e *edge) secret() string {
	s := rand.Text()
	e.secrets = append(e.secrets, s)
	return s
}

// url is what an encoder is given as server.
func (e *edge) url() string { return "rtmps://localhost:" + e.port + "/live" }

// shutdown ends the edge as a service manager does.
func (e *edge) shutdown(t testing.TB) {
	if e.killed {
		return
	}
	_ = e.cmd.Process.Signal(syscall.SIGTERM) // fails where the test has ended it
	if code := e.exit(t); code != 0 {
		t.Errorf("the edge ended with status %d", code)
	}
	if strings.Contains(e.out.String(), "WARNING: DATA RACE") {
		t.Error("the edge has a data race")
	}
	e.secretsKept(t)
}

// kill ends the edge as a machine that fails does.
func (e *edge) kill(t testing.TB) {
	t.Helper()
	e.killed = true
	e.signal(t, os.Kill)
	e.exit(t)
}

// secretsKept looks for the keys in all that the edge has said, and in all
// that it has sent to the origin.
func (e *edge) secretsKept(t testing.TB) {
	t.Helper()
	said, sent := e.out.String(), string(e.tee.bytes())
	for _, s := range e.secrets {
		for _, form := range []string{s, hex.EncodeToString([]byte(s)), s[:len(s)/2], s[len(s)/2:]} {
			if strings.Contains(said, form) {
				t.Errorf("the edge's log tells a secret: %s", form)
			}
			if strings.Contains(sent, form) {
				t.Errorf("the origin is sent a secret: %s", form)
			}
		}
	}
}

// record waits for a line of the log with these fields and returns it.
func (e *edge) record(t testing.TB, what string, fields map[string]string) map[string]any {
	t.Helper()
	var r map[string]any
	e.wait(t, fmt.Sprintf("the record of %s, with %v", what, fields), func(line string) bool {
		r = parseRecord(line)
		return matches(r, fields)
	})
	return r
}

// records counts the lines of the log with these fields.
func (e *edge) records(fields map[string]string) int {
	n := 0
	lines, _ := e.out.after(0)
	for _, l := range lines {
		if matches(parseRecord(l), fields) {
			n++
		}
	}
	return n
}

func parseRecord(line string) map[string]any {
	var r map[string]any
	_ = json.Unmarshal([]byte(line), &r) // a line that is none has no fields
	return r
}

func matches(r map[string]any, fields map[string]string) bool {
	if r == nil {
		return false
	}
	for k, v := range fields {
		if fmt.Sprint(r[k]) != v {
			return false
		}
	}
	return true
}

// serial is the serial number of the certificate that a new client is shown.
func (e *edge) serial(t testing.TB) int64 {
	t.Helper()
	c, err := e.dial(t)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	return c.ConnectionState().PeerCertificates[0].SerialNumber.Int64()
}

func (e *edge) dial(t testing.TB) (*tls.Conn, error) {
	t.Helper()
	roots := x509.NewCertPool()
	roots.AddCert(ca(t).cert)
	return tls.Dial("tcp", "127.0.0.1:"+e.port, &tls.Config{RootCAs: roots, ServerName: "localhost"})
}
