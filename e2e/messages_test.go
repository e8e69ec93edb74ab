package e2e

import (
	"os"
	"strings"
	"testing"
)

// complaint is what a client says when something is wrong.
type complaint struct {
	name string
	args []string
	says string // a part of it, as docs/troubleshooting.md has it
}

// docs/troubleshooting.md has what real clients really say.
func TestTroubleshootingTellsWhatClientsSay(t *testing.T) {
	page, err := os.ReadFile("../docs/troubleshooting.md")
	if err != nil {
		t.Fatal(err)
	}
	alice := newKey("alice")
	encrypted := startEdge(t, settings{Origin: freeAddress(t), NoTee: true}, alice)
	plain := startEdge(t, settings{Origin: freeAddress(t), NoTee: true, Listener: `tls = "off"`}, alice)
	tls, clear := encrypted.url(), "rtmp://localhost:"+plain.port+"/live"
	nobody := "rtmp://" + freeAddress(t) + "/live"
	// Each with the other's scheme.
	wrongTLS, wrongClear := "rtmps"+strings.TrimPrefix(clear, "rtmp"), "rtmp"+strings.TrimPrefix(tls, "rtmps")
	ffmpeg := func(url string, options ...string) []string {
		return append([]string{"ffmpeg"}, ffmpegArgs(url, options...)...)
	}
	rtmp2sink := func(url string) []string {
		return append([]string{"gst-launch-1.0"}, gstArgs("rtmp2sink", "location="+url)...)
	}
	rtmpsink := func(url string) []string {
		return append([]string{"gst-launch-1.0"}, gstArgs("rtmpsink", "location="+url)...)
	}
	rtmpdump := func(url string) []string { return []string{"rtmpdump", "-r", url, "-o", "/dev/null"} }
	key, wrong := "/"+alice.text, "/wrong-key"
	for _, c := range []complaint{
		{"ffmpeg, wrong key", ffmpeg(tls + wrong), "The stream key is not valid here."},
		{"ffmpeg, origin down", ffmpeg(tls + key), "The streaming server behind this address is not available."},
		{"ffmpeg, unknown app", ffmpeg(strings.TrimSuffix(tls, "live") + "nope" + key), "The server address names an application that does not exist here."},
		{"ffmpeg, nobody", ffmpeg(nobody + key), "Connection refused"},
		{"ffmpeg, RTMP to RTMPS", ffmpeg(wrongClear + key), "Cannot read RTMP handshake response"},
		{"ffmpeg, RTMPS to RTMP", ffmpeg(wrongTLS + key), "Error in the pull function."},
		{"ffmpeg, not trusted", ffmpeg(tls+key, "-tls_verify", "1"), "Peer certificate failed verification"},
		{"rtmp2sink, wrong key", rtmp2sink(clear + wrong), "Not authorized to connect: publish denied"},
		{"rtmp2sink, origin down", rtmp2sink(clear + key), "'publish' cmd failed: onStatus"},
		{"rtmp2sink, not trusted", rtmp2sink(tls + key), "Unacceptable TLS certificate"},
		{"rtmp2sink, RTMP to RTMPS", rtmp2sink(wrongClear + key), "Short read"},
		{"rtmp2sink, RTMPS to RTMP", rtmp2sink(wrongTLS + key), "Peer failed to perform TLS handshake"},
		{"rtmp2sink, nobody", rtmp2sink(nobody + key), "Could not connect to"},
		{"rtmpsink, wrong key", rtmpsink(clear + wrong), "Could not open resource for writing"},
		{"rtmpdump, play", rtmpdump(clear + key), "Closing connection: NetStream.Play.Failed"},
		{"rtmpdump, nobody", rtmpdump(nobody + key), "RTMP_Connect0, failed to connect socket. 111"},
		{"rtmpdump, RTMP to RTMPS", rtmpdump(wrongClear + key), "RTMP_Connect1, handshake failed"},
		{"rtmpdump, RTMPS to RTMP", rtmpdump(wrongTLS + key), "RTMP_Connect1, TLS_Connect failed"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if !strings.Contains(string(page), c.says) {
				t.Errorf("the page does not have %q", c.says)
			}
			p := startProgram(t, c.args[0], c.args[1:]...)
			p.waitText(t, c.says)
			_ = p.cmd.Process.Kill() // some go on trying
			p.exit(t)
		})
	}
}
