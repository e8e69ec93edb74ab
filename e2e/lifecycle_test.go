package e2e

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
)

// A key that is removed takes its running stream with it, and no other.
func TestRemovedKeyEndsItsStream(t *testing.T) {
	t.Parallel()
	origin := startNginx(t)
	alice, bob := newKey("alice"), newKey("bob")
	e := startEdge(t, settings{Origin: origin.address()}, alice, bob)
	first := publishFFmpeg(t, e.url(), alice.text)
	second := publishFFmpeg(t, e.url(), bob.text)
	published(t, origin, "live/"+alice.name, "live/"+bob.name)

	if out, err := e.command(t, "key", "remove", "alice").CombinedOutput(); err != nil {
		t.Fatalf("key remove: %v\n%s", err, out)
	}
	e.record(t, "the stream's end", map[string]string{"msg": "stream ended", "side": "edge", "reason": "revoked", "subject": "alice"})
	first.waitText(t, "The stream key is no longer valid.")
	if code := first.exit(t); code == 0 {
		t.Error("ffmpeg took the end of its stream for a success")
	}
	published(t, origin, "live/"+bob.name)
	flows(t, origin, "live/"+bob.name)
	second.mustLive(t)

	again := publishFFmpeg(t, e.url(), alice.text)
	again.waitText(t, "The stream key is not valid here.")
	again.exit(t)
}

// A key that is added is known without a reload.
func TestAddedKeyPublishes(t *testing.T) {
	t.Parallel()
	origin := startNginx(t)
	alice, bob := newKey("alice"), newKey("bob")
	e := startEdge(t, settings{Origin: origin.address()}, alice)
	e.writeKeys(t, alice, bob)
	eventually(t, "bob's key to be known", func() error {
		ffmpeg := publishFFmpeg(t, e.url(), bob.text, "-t", "1")
		if ffmpeg.exit(t) != 0 {
			return errors.New("it is refused")
		}
		return nil
	})
}

// A reload of broken files changes nothing: not the running stream, not the
// certificate, not the keys.
func TestBrokenReloadChangesNothing(t *testing.T) {
	t.Parallel()
	origin := startNginx(t)
	alice, bob := newKey("alice"), newKey("bob")
	e := startEdge(t, settings{Origin: origin.address()}, alice, bob)
	ffmpeg := publishFFmpeg(t, e.url(), alice.text)
	published(t, origin, "live/"+alice.name)

	for _, b := range []struct{ file, text string }{
		{"edge.toml", "[log]\nlevel = \"loud\"\nno such thing\n"},
		{"keys.toml", "[[key]]\nsubject = \"alice\"\n"},
		{"edge.crt", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"},
	} {
		file := filepath.Join(e.dir, b.file)
		good, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		failures := e.records(map[string]string{"level": "error"})
		writeFile(t, file, b.text)
		e.signal(t, syscall.SIGHUP)
		eventually(t, "a word about the broken "+b.file, func() error {
			if e.records(map[string]string{"level": "error"}) <= failures {
				return errors.New("no error in the log")
			}
			return nil
		})
		flows(t, origin, "live/"+alice.name)
		if s := e.serial(t); s != firstSerial {
			t.Errorf("the broken %s has changed the certificate to number %d", b.file, s)
		}
		second := publishFFmpeg(t, e.url(), bob.text)
		published(t, origin, "live/"+alice.name, "live/"+bob.name)
		second.interrupt(t)
		published(t, origin, "live/"+alice.name)
		writeFile(t, file, string(good))
	}
	ffmpeg.mustLive(t)
	if n := e.records(map[string]string{"msg": "stream ended", "subject": "alice"}); n != 0 {
		t.Error("alice's stream was ended")
	}
}

// A certificate that is replaced on disk is shown to new clients; the stream
// that began under the old one goes on.
func TestCertificateReplacedOnDisk(t *testing.T) {
	t.Parallel()
	origin := startNginx(t)
	alice, bob := newKey("alice"), newKey("bob")
	e := startEdge(t, settings{Origin: origin.address()}, alice, bob)
	ffmpeg := publishFFmpeg(t, e.url(), alice.text)
	published(t, origin, "live/"+alice.name)
	if s := e.serial(t); s != firstSerial {
		t.Fatalf("the certificate has number %d", s)
	}

	e.writeCertificate(t, firstSerial+1)
	eventually(t, "the new certificate", func() error {
		if s := e.serial(t); s != firstSerial+1 {
			return errors.New("clients are shown the old one")
		}
		return nil
	})
	flows(t, origin, "live/"+alice.name)
	startFFmpeg(t, e.url(), bob.text) // checks the certificate
	published(t, origin, "live/"+alice.name, "live/"+bob.name)
	ffmpeg.mustLive(t)
	if n := e.records(map[string]string{"msg": "stream ended"}); n != 0 {
		t.Errorf("%d streams were ended", n)
	}
}

// After SIGTERM nobody is let in, running streams go on to their end, and then
// the edge leaves with status 0.
func TestTermDrains(t *testing.T) {
	t.Parallel()
	origin := startNginx(t)
	key := newKey("alice")
	e := startEdge(t, settings{Origin: origin.address()}, key)
	ffmpeg := publishFFmpeg(t, e.url(), key.text)
	published(t, origin, "live/"+key.name)

	e.signal(t, syscall.SIGTERM)
	eventually(t, "the closed door", func() error {
		if c, err := e.dial(t); err == nil {
			_ = c.Close()
			return errors.New("the edge takes connections")
		}
		return nil
	})
	flows(t, origin, "live/"+key.name)
	ffmpeg.interrupt(t)
	if code := e.exit(t); code != 0 {
		t.Errorf("the edge ended with status %d", code)
	}
	if n := e.records(map[string]string{"msg": "stream ended", "side": "client"}); n != 1 {
		t.Error("the stream was not ended by its encoder")
	}
}

// What outlasts drain_timeout is ended, and that is no failure.
func TestTermEndsWhatStays(t *testing.T) {
	t.Parallel()
	origin := startNginx(t)
	key := newKey("alice")
	e := startEdge(t, settings{Origin: origin.address(), Limits: `drain_timeout = "1s"`}, key)
	ffmpeg := publishFFmpeg(t, e.url(), key.text)
	published(t, origin, "live/"+key.name)

	e.signal(t, syscall.SIGTERM)
	if code := e.exit(t); code != 0 {
		t.Errorf("the edge ended with status %d", code)
	}
	if n := e.records(map[string]string{"msg": "stream ended", "side": "edge", "subject": key.subject}); n != 1 {
		t.Error("the edge did not say that it ended the stream")
	}
	ffmpeg.exit(t)
	published(t, origin)
}

// A signal that comes when all is over does not make a good end a bad one. The
// race detector makes a second of the moment in which it can.
func TestALateSignalChangesNothing(t *testing.T) {
	t.Parallel()
	e := startEdge(t, settings{Origin: freeAddress(t), NoTee: true})
	e.signal(t, syscall.SIGTERM)
	e.waitText(t, `"msg":"stopped"`)
	for e.alive() {
		_ = e.cmd.Process.Signal(syscall.SIGTERM) // fails when it has ended meanwhile
		runtime.Gosched()
	}
	if code := e.exit(t); code != 0 {
		t.Errorf("status %d", code)
	}
}
