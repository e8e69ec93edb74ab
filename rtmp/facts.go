package rtmp

import (
	"math"
	"strings"
	"sync"
	"time"
	"unicode"
)

// jump is how far the time of a stream may go on between two messages of a
// kind before it counts as a jump: no encoder leaves such a gap by itself.
const jump = 3 * time.Second

// Bounds of what metadata may claim; beyond them it is not believed.
const (
	maxSide      = 1 << 16
	maxFrameRate = 1000
	maxSampling  = 1 << 20
	maxChannels  = 64
)

// Facts are what the headers of a stream's messages, and its metadata, say of
// it. No picture and no sound is decoded.
type Facts struct {
	// The first track's codecs; 0 until one was seen.
	VideoCodec, AudioCodec Codec
	// Profile, Compat and Level are H.264's own numbers, as 100, 0 and 41.
	Profile, Compat, Level uint8
	Width, Height          int     // as the metadata claims, 0 = unknown
	FrameRate              float64 // as the metadata claims
	SampleRate, Channels   int
	AACType                uint8  // AAC's audio object type, as 2 for LC; 0 = unknown
	Encoder                string // the metadata's; the peer's own text, printable
	// Frames and Keyframes are counted in the first video track.
	Frames, Keyframes uint64
	// KeyframeEvery is the time between the last two; 0 until there were two.
	// SinceKeyframe is what has passed since the last, in the stream's time.
	KeyframeEvery, SinceKeyframe time.Duration
	VideoBytes, AudioBytes       int64
	VideoTracks, AudioTracks     int
	Time                         uint32 // of the latest message, in milliseconds
	// Sync is how far the latest picture is ahead of the latest sound, once
	// there were both.
	Sync time.Duration
	// Jumps is how often the time went back, or far ahead.
	Jumps uint64
}

// Video names the video codec; "" = there is none.
func (f *Facts) Video() string { return f.VideoCodec.name(oldVideo) }

// Audio names the audio codec; "" = there is none.
func (f *Facts) Audio() string { return f.AudioCodec.name(oldAudio) }

// facts gathers Facts. Its methods belong to the goroutine that reads from the
// peer, but for get. What get returns is as new as the last publish.
type facts struct {
	now       Facts
	dirty     bool
	lastKey   uint32
	times     [2]uint32 // of the latest coded message, audio and video
	seen      [2]bool
	tracks    [2]uint64 // bit by track
	mu        sync.Mutex
	published Facts
}

// KeepFacts makes the relay of what the peer sends gather Facts. It must be
// called before Relay.
func (c *Conn) KeepFacts() { c.facts = new(facts) }

// Facts returns what is known of the stream that the peer sends; nothing
// without KeepFacts. Safe for concurrent use.
func (c *Conn) Facts() Facts {
	if c.facts == nil {
		return Facts{}
	}
	c.facts.mu.Lock()
	defer c.facts.mu.Unlock()
	return c.facts.published
}

// publish makes what is known visible to others.
func (f *facts) publish() {
	if f == nil || !f.dirty {
		return
	}
	f.mu.Lock()
	f.published = f.now
	f.mu.Unlock()
	f.dirty = false
}

// message notes a message of audio or video that begins. head are as many of
// its first bytes as are there.
func (f *facts) message(typ uint8, time, length uint32, head []byte) {
	if f == nil {
		return
	}
	f.dirty = true
	if typ == typeAudio {
		f.audio(time, length, head)
	} else {
		f.video(time, length, head)
	}
}

const (
	ofAudio = 0
	ofVideo = 1
)

func (f *facts) audio(time, length uint32, head []byte) {
	f.now.AudioBytes += int64(length)
	t := audioTag(head)
	f.track(ofAudio, t, &f.now.AudioTracks)
	if t.track != 0 {
		return
	}
	if t.codec != 0 {
		f.now.AudioCodec = t.codec
	}
	if t.config != nil && t.codec == codecAAC {
		f.aac(t.config)
	}
	if t.coded {
		f.clock(ofAudio, time)
	}
}

func (f *facts) video(time, length uint32, head []byte) {
	f.now.VideoBytes += int64(length)
	t := videoTag(head)
	f.track(ofVideo, t, &f.now.VideoTracks)
	if t.track != 0 {
		return
	}
	if t.codec != 0 {
		f.now.VideoCodec = t.codec
	}
	if c := t.config; len(c) >= 4 && t.codec == codecAVC {
		f.now.Profile, f.now.Compat, f.now.Level = c[1], c[2], c[3]
	}
	if t.coded {
		f.clock(ofVideo, time)
		f.frame(time, t.key)
	}
}

// track counts the tracks of a kind, up to 64.
func (f *facts) track(of int, t tag, n *int) {
	if bit := uint64(1) << (t.track & 63); f.tracks[of]&bit == 0 && (t.coded || t.config != nil) {
		f.tracks[of] |= bit
		*n++
	}
}

// frame counts one picture of the first track.
func (f *facts) frame(at uint32, key bool) {
	f.now.Frames++
	if key {
		if f.now.Keyframes++; f.now.Keyframes > 1 {
			if d := int32(at - f.lastKey); d > 0 {
				f.now.KeyframeEvery = time.Duration(d) * time.Millisecond
			}
		}
		f.lastKey = at
	}
	if f.now.Keyframes > 0 {
		f.now.SinceKeyframe = time.Duration(max(0, int32(at-f.lastKey))) * time.Millisecond
	}
}

// clock holds a message's time against the one before of its kind.
func (f *facts) clock(of int, at uint32) {
	if d := int32(at - f.times[of]); f.seen[of] && (d < 0 || d > int32(jump/time.Millisecond)) {
		f.now.Jumps++
	}
	f.times[of], f.seen[of] = at, true
	f.now.Time = at
	if f.seen[ofAudio] && f.seen[ofVideo] {
		f.now.Sync = time.Duration(int32(f.times[ofVideo]-f.times[ofAudio])) * time.Millisecond
	}
}

// aacRates are the sampling frequencies of an AudioSpecificConfig, by index.
var aacRates = [...]int{96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000, 7350}

// aac reads sampling rate and channels out of AAC's configuration.
func (f *facts) aac(c []byte) {
	if len(c) < 2 {
		return
	}
	f.now.AACType = c[0] >> 3
	if i := int(c[0]&7)<<1 | int(c[1]>>7); i < len(aacRates) {
		f.now.SampleRate = aacRates[i]
	}
	if n := int(c[1] >> 3 & 15); n > 0 && n < 8 {
		f.now.Channels = n
		if n == 7 {
			f.now.Channels = 8
		}
	}
}

// metadata takes what a data message claims of the stream.
func (f *facts) metadata(values []Value) {
	if f == nil || len(values) < 2 {
		return
	}
	if values[0] == "@setDataFrame" {
		values = values[1:]
	}
	o, ok := values[len(values)-1].(Object)
	if values[0] != "onMetaData" || !ok {
		return
	}
	f.dirty = true
	for _, p := range o {
		f.claim(p)
	}
}

// claim takes one property of the metadata, if it can be true.
func (f *facts) claim(p Property) {
	switch v := p.Value.(type) {
	case string:
		if p.Key == "encoder" {
			f.now.Encoder = shown(v)
		}
	case bool:
		if p.Key == "stereo" && f.now.Channels == 0 {
			f.now.Channels = 1
			if v {
				f.now.Channels = 2
			}
		}
	case float64:
		f.number(p.Key, v)
	}
}

func (f *facts) number(key string, v float64) {
	switch key {
	case "width":
		whole(&f.now.Width, v, maxSide)
	case "height":
		whole(&f.now.Height, v, maxSide)
	case "framerate", "fps":
		if v > 0 && v <= maxFrameRate {
			f.now.FrameRate = v
		}
	case "audiosamplerate":
		if f.now.AudioCodec != codecAAC { // whose own configuration knows better
			whole(&f.now.SampleRate, v, maxSampling)
		}
	case "audiochannels":
		if f.now.AudioCodec != codecAAC {
			whole(&f.now.Channels, v, maxChannels)
		}
	}
}

func whole(dst *int, v float64, most int) {
	if v >= 1 && v <= float64(most) && !math.IsNaN(v) {
		*dst = int(v)
	}
}

// maxShown is how much is kept of an encoder's name in metadata.
const maxShown = 128

// shown makes a peer's text fit to be shown: bounded, valid, without control
// characters.
func shown(s string) string {
	s = strings.ToValidUTF8(s[:min(len(s), maxShown)], "")
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return -1
		}
		return r
	}, s)
}
