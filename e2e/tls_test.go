package e2e

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// judgeTime is enough for testssl.sh, a shell script that makes hundreds of
// connections, on a busy machine.
const judgeTime = 12 * time.Minute

// finding is one thing that testssl.sh has to say.
type finding struct{ ID, Severity, Finding string }

// findings are by their name. One that concerns several certificates has
// several.
type findings map[string][]finding

// worse are the severities from medium on.
var worse = map[string]bool{"MEDIUM": true, "HIGH": true, "CRITICAL": true, "FATAL": true}

// judge lets testssl.sh look at an edge with this profile. checks are its
// options.
func judge(t *testing.T, profile string, checks ...string) findings {
	t.Helper()
	e := startEdge(t, settings{
		Origin: freeAddress(t), NoTee: true,
		Limits: "connect_rate_per_ip = \"0\"", // it connects as fast as it can
		TLS:    "source = \"self-signed\"\nself_signed_dir = \"tls\"\nself_signed_names = [\"localhost\"]\nprofile = \"" + profile + "\"",
	})
	said := filepath.Join(t.TempDir(), "findings.json")
	ctx, cancel := context.WithTimeout(context.Background(), judgeTime)
	defer cancel()
	args := append([]string{"--quiet", "--color", "0", "--warnings", "off", "--nodns", "none", "--ip", "127.0.0.1",
		"--add-ca", filepath.Join(e.dir, "tls", "ca.pem"), "--jsonfile", said}, checks...)
	cmd := exec.CommandContext(ctx, program(t, "testssl"), append(args, "localhost:"+e.port)...)
	cmd.SysProcAttr = dieWithUs()
	cmd.WaitDelay = patience
	out, err := cmd.CombinedOutput()
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("---- testssl.sh said (%v):\n%s", err, out)
		}
	})
	if ctx.Err() != nil {
		t.Fatal("testssl.sh did not come to an end")
	}
	return readFindings(t, said)
}

func readFindings(t *testing.T, file string) findings {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var list []finding
	if err := json.Unmarshal(data, &list); err != nil {
		t.Fatalf("%v in %s", err, data)
	}
	all := findings{}
	for _, f := range list {
		id, _, _ := strings.Cut(f.ID, " ") // "cert_trust <cert#1>"
		all[id] = append(all[id], f)
	}
	return all
}

// is fails the test unless testssl.sh has looked at a thing and found this.
func (all findings) is(t *testing.T, id, want string) {
	t.Helper()
	if len(all[id]) == 0 {
		t.Errorf("%s was not looked at", id)
	}
	for _, f := range all[id] {
		if !strings.HasPrefix(f.Finding, want) {
			t.Errorf("%s: %q, want %q", id, f.Finding, want)
		}
	}
}

// spoken are the versions of TLS that a profile speaks; all others it does not.
func (all findings) spoken(t *testing.T, versions ...string) {
	t.Helper()
	for _, id := range []string{"SSLv2", "SSLv3", "TLS1", "TLS1_1", "TLS1_2", "TLS1_3"} {
		want := "not offered"
		for _, v := range versions {
			if v == id {
				want = "offered"
			}
		}
		all.is(t, id, want)
	}
}

// well fails the test if there is anything of medium severity or worse, or if
// testssl.sh did not look at all.
func (all findings) well(t *testing.T) {
	t.Helper()
	for _, id := range []string{
		"heartbleed", "CCS", "ROBOT", "CRIME_TLS", "POODLE_SSL", "FREAK", "DROWN", "LOGJAM", "BEAST", "LUCKY13", "RC4",
		"TLS_session_ticket", "cipher_order", "cert_chain_of_trust", "cert_notAfter",
	} {
		if len(all[id]) == 0 {
			t.Errorf("%s was not looked at", id)
		}
	}
	for id, list := range all {
		if id == "cert_revocation" {
			continue // the tests' authority keeps no list of what it has revoked
		}
		for _, f := range list {
			if worse[f.Severity] {
				t.Errorf("%s: %s: %s", f.Severity, f.ID, f.Finding)
			}
		}
	}
}

// everything is what testssl.sh looks at, but for HTTP.
var everything = []string{"-p", "-s", "-f", "-P", "-S", "-U"}

func TestJudgedModern(t *testing.T) {
	t.Parallel()
	all := judge(t, "modern", everything...)
	all.spoken(t, "TLS1_3")
	all.well(t)
}

func TestJudgedEncoder(t *testing.T) {
	t.Parallel()
	all := judge(t, "encoder", everything...)
	all.spoken(t, "TLS1_2", "TLS1_3")
	all.well(t)
	all.is(t, "TLS_session_ticket", "no")
}

// What legacy gives away is known: old versions, and the RSA key exchange.
// Nothing else may come with them.
func TestJudgedLegacy(t *testing.T) {
	t.Parallel()
	all := judge(t, "legacy", "-p", "-s", "-W", "-4", "-F", "-D", "-O")
	all.spoken(t, "TLS1", "TLS1_1", "TLS1_2", "TLS1_3")
	for _, id := range []string{"cipherlist_NULL", "cipherlist_aNULL", "cipherlist_EXPORT", "cipherlist_LOW", "cipherlist_3DES_IDEA"} {
		all.is(t, id, "not offered")
	}
	for _, id := range []string{"SWEET32", "RC4", "FREAK", "DROWN", "POODLE_SSL"} {
		all.is(t, id, "not vulnerable")
	}
	all.is(t, "cipherlist_AVERAGE", "offered")
}
