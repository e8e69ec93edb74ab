package e2e

import (
	"fmt"
	"strings"
	"testing"
)

// framesPerSecond is that of every test picture; one in a second is a key
// frame, so that nobody waits long for a picture.
const framesPerSecond = 15

// encoders are all that publish, over RTMPS, until they are stopped. The URL
// is the server's, with the app; key is typed into the encoder as it is.
var encoders = []struct {
	name  string
	tls   string // the version that it and the edge agree on
	start func(t testing.TB, server, key string) encoder
}{
	{"ffmpeg", "TLS 1.3", startFFmpeg},
	{"rtmp2sink", "TLS 1.3", startRTMP2Sink},
	{"librtmp", "TLS 1.3", startLibrtmp},
	{"OBS", "TLS 1.2", startOBS},
}

// encoder is a running one.
type encoder interface {
	// stop ends the stream as its user would, and says goodbye to the server.
	stop(testing.TB)
}

// commandLine is an encoder that Ctrl-C stops.
type commandLine struct{ *process }

func (c commandLine) stop(t testing.TB) { c.interrupt(t) }

// ffmpegArgs publish to url, with options for the connection before it.
func ffmpegArgs(url string, options ...string) []string {
	args := []string{"-hide_banner", "-nostdin", "-v", "info",
		"-re", "-f", "lavfi", "-i", fmt.Sprintf("testsrc2=s=%sx%s:r=%d", width, height, framesPerSecond),
		"-re", "-f", "lavfi", "-i", "sine=f=440:r=44100",
		"-c:v", "libx264", "-preset", "ultrafast", "-tune", "zerolatency", "-pix_fmt", "yuv420p",
		"-g", fmt.Sprint(framesPerSecond), "-b:v", "150k", "-c:a", "aac", "-b:a", "64k"}
	args = append(args, options...)
	return append(args, "-f", "flv", url)
}

// startFFmpeg: it checks the certificate, which it does not do by itself.
func startFFmpeg(t testing.TB, server, key string) encoder {
	t.Helper()
	return publishFFmpeg(t, server, key, "-tls_verify", "1", "-ca_file", caFile(t))
}

func publishFFmpeg(t testing.TB, server, key string, options ...string) commandLine {
	t.Helper()
	return commandLine{startProgram(t, "ffmpeg", ffmpegArgs(server+"/"+key, options...)...)}
}

// gstArgs is a pipeline into sink. -e has Ctrl-C end the stream properly.
func gstArgs(sink ...string) []string {
	args := append([]string{"-e", "flvmux", "name=m", "streamable=true", "!"}, sink...)
	return append(args, strings.Fields(fmt.Sprintf(
		`videotestsrc is-live=true ! video/x-raw,width=%s,height=%s,framerate=%d/1
		! x264enc tune=zerolatency speed-preset=ultrafast bitrate=150 key-int-max=%[3]d ! h264parse ! m.
		audiotestsrc is-live=true ! audio/x-raw,rate=44100,channels=2 ! avenc_aac bitrate=64000 ! aacparse ! m.`,
		width, height, framesPerSecond))...)
}

// startRTMP2Sink: GStreamer's own RTMP. It is told not to check the
// certificate, as it only believes in the machine's bundle of authorities.
func startRTMP2Sink(t testing.TB, server, key string) encoder {
	t.Helper()
	return commandLine{startProgram(t, "gst-launch-1.0",
		gstArgs("rtmp2sink", "tls-validation-flags=no-flags", "location="+server+"/"+key)...)}
}

// startLibrtmp: GStreamer's older sink, which is librtmp.
func startLibrtmp(t testing.TB, server, key string) encoder {
	t.Helper()
	return commandLine{startProgram(t, "gst-launch-1.0", gstArgs("rtmpsink", "location="+server+"/"+key+" live=1")...)}
}
