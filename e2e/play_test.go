package e2e

import (
	"os"
	"path/filepath"
	"testing"
)

// players are all that play over RTMPS. The URL holds the stream's name.
var players = []struct {
	name string
	play func(t testing.TB, url string)
}{
	{"ffmpeg", mustPlay},
	{"rtmpdump", playRtmpdump},
	{"rtmp2src", playRTMP2Src},
}

// Each player plays from each origin.
func TestPlay(t *testing.T) {
	for _, p := range players {
		for _, o := range origins {
			t.Run(p.name+"/"+o.name, func(t *testing.T) {
				t.Parallel()
				origin := o.start(t)
				ffmpeg := publishFFmpeg(t, "rtmp://"+origin.address()+"/live", "show")
				published(t, origin, "live/show")
				e := startEdge(t, settings{Origin: origin.address(), Play: `"open"`})

				p.play(t, e.url()+"/show")
				started := e.record(t, "the stream's start", map[string]string{"msg": "stream started", "action": "play",
					"app": "live", "name": "show", "origin": "main", "tls": "TLS 1.3"})
				e.record(t, "the stream's end", map[string]string{"msg": "stream ended", "side": "client",
					"session": started["session"].(string)})
				ffmpeg.mustLive(t)
			})
		}
	}
}

// A key stands where the name does, and the origin gets the name instead.
func TestPlayWithKey(t *testing.T) {
	t.Parallel()
	origin := startNginx(t)
	key := newKey("alice")
	publishFFmpeg(t, "rtmp://"+origin.address()+"/live", key.name)
	published(t, origin, "live/"+key.name)
	e := startEdge(t, settings{Origin: origin.address(), Play: `"keys"`}, key)
	mustPlay(t, e.url()+"/"+key.text)
	e.record(t, "the stream's start", map[string]string{"msg": "stream started", "action": "play", "subject": key.subject, "name": key.name})
}

// A player hears of the end of its stream at the origin.
func TestPlayEnds(t *testing.T) {
	t.Parallel()
	origin := startNginx(t)
	ffmpeg := publishFFmpeg(t, "rtmp://"+origin.address()+"/live", "show")
	published(t, origin, "live/show")
	e := startEdge(t, settings{Origin: origin.address(), Play: `"open"`})
	player := startProgram(t, "ffmpeg", "-hide_banner", "-nostdin", "-i", e.url()+"/show", "-c", "copy", "-f", "null", "-")
	player.waitText(t, "frame=")
	ffmpeg.interrupt(t)
	player.exit(t)
}

// enough is the size of a recording with more than a second of the stream in it.
const enough = 60 << 10

// playRtmpdump records with librtmp and plays the recording.
func playRtmpdump(t testing.TB, url string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "rtmpdump.flv")
	playRecorded(t, file, startProgram(t, "rtmpdump", "--live", "-r", url, "-o", file))
}

func playRTMP2Src(t testing.TB, url string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "rtmp2src.flv")
	playRecorded(t, file, startProgram(t, "gst-launch-1.0", "-e", "rtmp2src", "tls-validation-flags=no-flags", "location="+url,
		"!", "filesink", "location="+file))
}

// playRecorded waits until the recorder has written enough, and plays that.
func playRecorded(t testing.TB, file string, recorder *process) {
	t.Helper()
	eventually(t, "a recording of "+recorder.name, func() error {
		recorder.mustLive(t)
		info, err := os.Stat(file)
		if err == nil && info.Size() < enough {
			err = os.ErrNotExist
		}
		return err
	})
	recorder.interrupt(t)
	mustPlay(t, file)
}
