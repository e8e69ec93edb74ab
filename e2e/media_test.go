package e2e

import (
	"bufio"
	"strconv"
	"strings"
	"testing"
)

// Every test picture has this size, so that a stream can be told from another.
const width, height = "320", "180"

// played is what came of a piece of a stream, decoded.
type played struct {
	video, audio int // frames
	faults       string
}

// framesWanted are a second of a stream. Of the sound that belongs to it some
// is lost at both ends.
const framesWanted, soundsWanted = framesPerSecond, 10

// decode has ffmpeg decode that much of url. The checksum of each frame
// goes to standard output, everything that ffmpeg finds wrong to standard error.
func decode(t testing.TB, url string) played {
	t.Helper()
	p := startProgram(t, "ffmpeg", "-hide_banner", "-nostdin", "-v", "warning", "-i", url,
		"-map", "0:v", "-map", "0:a", "-frames:v", strconv.Itoa(framesWanted), "-f", "framecrc", "-")
	code := p.exit(t)
	got := parseFrames(p.out.String())
	if code != 0 {
		t.Fatalf("ffmpeg played %s with status %d: %s", url, code, got.faults)
	}
	return got
}

// parseFrames reads what the framecrc muxer writes: a line for each frame that
// begins with its stream's number.
func parseFrames(out string) played {
	var p played
	lines := bufio.NewScanner(strings.NewReader(out))
	for lines.Scan() {
		switch l := lines.Text(); {
		case strings.HasPrefix(l, "0, "):
			p.video++
		case strings.HasPrefix(l, "1, "):
			p.audio++
		case !strings.HasPrefix(l, "#"):
			p.faults += l + "\n"
		}
	}
	return p
}

// mustPlay plays url and wants all of it, without a fault.
func mustPlay(t testing.TB, url string) {
	t.Helper()
	got := decode(t, url)
	if got.video != framesWanted || got.audio < soundsWanted || got.faults != "" {
		t.Errorf("%s played with %d pictures and %d pieces of sound: %s", url, got.video, got.audio, got.faults)
	}
}
