package e2e

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"
)

// authority signs the certificates of the tests. Its key is never written
// anywhere: once the tests have ended, nobody can use it.
type authority struct {
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
	pem  []byte
}

var testCA = sync.OnceValues(func() (*authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "rtmps-edge tests: trust nobody who shows this"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	return &authority{key, cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})}, err
})

func ca(t testing.TB) *authority {
	t.Helper()
	a, err := testCA()
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// caFile is the authority's certificate for programs that can be told of it.
func caFile(t testing.TB) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "ca.crt")
	writeFile(t, file, string(ca(t).pem))
	return file
}

// issue makes a certificate for localhost with this serial number, and its
// key, both as PEM.
func (a *authority) issue(t testing.TB, serial int64) (cert, key string) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return a.issueFor(t, serial, k, "localhost")
}

// issueFor makes a certificate for key and a name.
func (a *authority) issueFor(t testing.TB, serial int64, k crypto.Signer, name string) (cert, key string) {
	t.Helper()
	template := &x509.Certificate{SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		DNSNames: []string{name}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, k.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	sec, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})),
		string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: sec}))
}

// OBS believes in the certificates that are files in this directory, and
// cannot be told of another.
const trustStore = "/etc/ssl/certs"

// trustPrefix begins the names of the tests' files in it; what follows is the
// process id and a number.
const trustPrefix = "rtmps-edge-e2e-"

var trustMu sync.Mutex

// trusting returns cmd changed so that it trusts an authority. Root puts that
// into the machine's trust store until the test ends. Anybody else gives cmd a
// trust store of its own, in a name space: containers seldom let root do so.
func trusting(t testing.TB, pem []byte, cmd *exec.Cmd) *exec.Cmd {
	t.Helper()
	if os.Geteuid() == 0 {
		trust(t, pem)
		return cmd
	}
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "ca.pem"), string(pem))
	const script = `mount --bind "$0" ` + trustStore + ` && exec setpriv --pdeathsig KILL "$@"`
	own := exec.Command(program(t, "unshare"), append([]string{"--mount", "--map-root-user", "sh", "-c", script, dir}, cmd.Args...)...)
	own.Env = cmd.Env
	return own
}

// trust puts pem into the machine's trust store until the test ends.
func trust(t testing.TB, pem []byte) {
	t.Helper()
	trustMu.Lock()
	defer trustMu.Unlock()
	distrustDead()
	f, err := os.CreateTemp(trustStore, fmt.Sprintf("%s%d-*.pem", trustPrefix, os.Getpid()))
	if err != nil {
		t.Fatalf("OBS needs the authority of the tests in the machine's trust store: %v", err)
	}
	t.Cleanup(func() { _ = os.Remove(f.Name()) })
	_, err = f.Write(pem)
	if err := errors.Join(err, f.Chmod(0o644), f.Close()); err != nil {
		t.Fatal(err)
	}
}

// distrustDead removes what tests that were killed have left behind. Nobody
// has the key of such an authority.
func distrustDead() {
	files, _ := filepath.Glob(filepath.Join(trustStore, trustPrefix+"*.pem"))
	for _, f := range files {
		var pid int
		_, err := fmt.Sscanf(filepath.Base(f), trustPrefix+"%d-", &pid)
		if err == nil && syscall.Kill(pid, 0) == syscall.ESRCH {
			_ = os.Remove(f)
		}
	}
}
