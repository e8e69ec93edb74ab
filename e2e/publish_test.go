package e2e

import (
	"bytes"
	"crypto/rand"
	"strings"
	"syscall"
	"testing"
)

// Each encoder publishes over RTMPS to each origin, which gets the granted
// name, a stream that plays without a fault, and the end of it.
func TestPublish(t *testing.T) {
	for _, enc := range encoders {
		for _, o := range origins {
			t.Run(enc.name+"/"+o.name, func(t *testing.T) {
				t.Parallel()
				origin := o.start(t)
				key := newKey("alice")
				e := startEdge(t, settings{Origin: origin.address()}, key)
				running := enc.start(t, e.url(), key.text+"?token="+e.secret())
				stream := "live/" + key.name

				published(t, origin, stream)
				started := e.record(t, "the stream's start", map[string]string{"msg": "stream started", "action": "publish",
					"subject": key.subject, "app": "live", "name": key.name, "origin": "main", "tls": enc.tls})
				mustPlay(t, "rtmp://"+origin.address()+"/"+stream)
				flows(t, origin, stream)
				if !bytes.Contains(e.tee.bytes(), []byte(key.name)) {
					t.Error("the tee does not see what the edge sends, so it says nothing about secrets")
				}

				running.stop(t)
				e.record(t, "the stream's end", map[string]string{"msg": "stream ended", "side": "client",
					"session": started["session"].(string)})
				published(t, origin)
			})
		}
	}
}

// The same name can be published again as soon as the encoder comes back.
func TestPublishAgain(t *testing.T) {
	t.Parallel()
	origin := startNginx(t)
	key := newKey("alice")
	e := startEdge(t, settings{Origin: origin.address()}, key)
	for range 3 {
		ffmpeg := publishFFmpeg(t, e.url(), key.text)
		ffmpeg.waitText(t, "frame=")
		published(t, origin, "live/"+key.name)
		_ = ffmpeg.cmd.Process.Kill() // no goodbye: the encoder's machine fell over
		ffmpeg.exit(t)
	}
}

// An origin that decides itself gets what the encoder was given. It is a
// secret all the same, and not for the log.
func TestPublishOpen(t *testing.T) {
	t.Parallel()
	origin := startNginx(t)
	e := startEdge(t, settings{Origin: origin.address(), Publish: `"open"`})
	key := rand.Text()
	ffmpeg := publishFFmpeg(t, e.url(), key)
	published(t, origin, "live/"+key)
	ffmpeg.interrupt(t)
	e.record(t, "the stream's end", map[string]string{"msg": "stream ended", "side": "client"})
	if strings.Contains(e.out.String(), key) {
		t.Error("the log tells the stream key")
	}
}

// The encoder of an origin that dies is disconnected, and tries again by itself.
func TestOriginDies(t *testing.T) {
	t.Parallel()
	origin := startNginx(t).(*nginx)
	key := newKey("alice")
	e := startEdge(t, settings{Origin: origin.address()}, key)
	ffmpeg := publishFFmpeg(t, e.url(), key.text)
	published(t, origin, "live/"+key.name)
	origin.signal(t, syscall.SIGKILL)
	if code := ffmpeg.exit(t); code == 0 {
		t.Error("ffmpeg took the end of its stream for a success")
	}
	e.record(t, "the stream's end", map[string]string{"msg": "stream ended", "side": "origin"})
}
