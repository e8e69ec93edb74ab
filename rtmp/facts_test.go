package rtmp

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"rtmps-edge/internal/corpus"
	"rtmps-edge/rtmp/rtmptest"
)

// factsOf relays what a recorded client sent.
func factsOf(t *testing.T, c2s []byte) Facts {
	t.Helper()
	p, err := Accept(&script{Reader: bytes.NewReader(c2s)}, Limits{})
	if err != nil {
		t.Fatal(err)
	}
	src, err := p.Approve()
	if err != nil {
		t.Fatal(err)
	}
	src.KeepFacts()
	dst := newConn(&script{}, Limits{})
	dst.setup, dst.isOrigin, dst.msid = false, true, 1
	if err := Relay(dst, src); err == nil {
		t.Fatal("no end")
	}
	return src.Facts()
}

func TestFactsOfRealEncoders(t *testing.T) {
	for _, s := range corpus.Publishing(t) {
		for _, c := range s.Conns() {
			msgs := []rtmptest.Message{}
			if len(c.C2S) > rtmptest.HandshakeLen {
				var err error
				if msgs, _, err = rtmptest.Parse(c.C2S[rtmptest.HandshakeLen:], rtmptest.Lenient); err != nil {
					t.Fatal(err)
				}
			}
			want := factsByEye(msgs)
			if want.Frames == 0 {
				continue
			}
			got := factsOf(t, c.C2S)
			if got.Frames != want.Frames || got.Keyframes != want.Keyframes || got.VideoBytes != want.VideoBytes || got.AudioBytes != want.AudioBytes {
				t.Errorf("%s: %d frames, %d keyframes, %d and %d bytes; want %d, %d, %d and %d", s.Name, got.Frames, got.Keyframes,
					got.VideoBytes, got.AudioBytes, want.Frames, want.Keyframes, want.VideoBytes, want.AudioBytes)
			}
			video, profile := "H.264", got.Profile != 0
			if strings.Contains(s.Name, "hevc-enhanced") {
				video, profile = "HEVC", true
			}
			if got.Video() != video || !profile || got.Width == 0 || got.Height == 0 || got.FrameRate < 1 || got.Jumps != 0 {
				t.Errorf("%s: %q %+v", s.Name, got.Video(), got)
			}
			if want.AudioBytes > 0 && (got.Audio() != "AAC" || got.SampleRate < 8000 || got.Channels == 0 || got.AACType != 2) {
				t.Errorf("%s: %q %+v", s.Name, got.Audio(), got)
			}
			if got.Keyframes > 1 && (got.KeyframeEvery < 100*time.Millisecond || got.KeyframeEvery > 20*time.Second) {
				t.Errorf("%s: a keyframe every %s", s.Name, got.KeyframeEvery)
			}
			if got.VideoTracks != 1 || got.AudioTracks > 1 {
				t.Errorf("%s: %d and %d tracks", s.Name, got.VideoTracks, got.AudioTracks)
			}
		}
	}
}

// factsByEye counts by another program's parse.
func factsByEye(msgs []rtmptest.Message) (f Facts) {
	for _, m := range msgs {
		switch {
		case m.Type == rtmptest.TypeAudio:
			f.AudioBytes += int64(len(m.Payload))
		case m.Type == rtmptest.TypeVideo && len(m.Payload) > 1:
			f.VideoBytes += int64(len(m.Payload))
			a, b := m.Payload[0], m.Payload[1]
			coded := a < 0x80 && b == 1 || a >= 0x80 && (a&15 == 1 || a&15 == 3)
			if coded {
				f.Frames++
			}
			if coded && a>>4&7 == 1 {
				f.Keyframes++
			}
		}
	}
	return f
}

func TestTags(t *testing.T) {
	for _, c := range []struct {
		what  string
		audio bool
		b     string
		codec string
		coded bool
		key   bool
		track uint8
		conf  string
	}{
		{what: "H.264 configuration", b: "\x17\x00\x00\x00\x00\x01\x64\x00\x29", codec: "H.264", key: true, conf: "\x01\x64\x00\x29"},
		{what: "H.264 keyframe", b: "\x17\x01\x00\x00\x00", codec: "H.264", coded: true, key: true},
		{what: "H.264 frame", b: "\x27\x01", codec: "H.264", coded: true},
		{what: "H.264 end", b: "\x17\x02\x00\x00\x00", codec: "H.264", key: true},
		{what: "cut short", b: "\x17", codec: "H.264", coded: true, key: true},
		{what: "command frame", b: "\x57\x01\x00", codec: "H.264"},
		{what: "HEVC by number", b: "\x1c\x01\x00", codec: "HEVC", coded: true, key: true},
		{what: "H.263", b: "\x22\x00", codec: "H.263", coded: true},
		{what: "unknown number", b: "\x2f\x00", codec: "unknown", coded: true},
		{what: "AV1 configuration", b: "\x90av01\x81", codec: "AV1", key: true, conf: "\x81"},
		{what: "HEVC keyframe", b: "\x91hvc1\x00\x00\x00", codec: "HEVC", coded: true, key: true},
		{what: "HEVC frame without composition time", b: "\xa3hvc1", codec: "HEVC", coded: true},
		{what: "HEVC end", b: "\x92hvc1", codec: "HEVC", key: true},
		{what: "HDR metadata", b: "\x94hvc1\x02", codec: "HEVC", key: true},
		{what: "unknown FourCC", b: "\x91\x00\x01\x02\x03", codec: "unknown", coded: true, key: true},
		{what: "cut FourCC", b: "\x91hv", codec: "", coded: true, key: true},
		{what: "second track", b: "\xa6\x01avc1\x01", codec: "H.264", coded: true, track: 1},
		{what: "many tracks", b: "\x96\x11hvc1\x00\x00\x00\x05", codec: "HEVC", coded: true, key: true},
		{what: "cut tracks", b: "\x96", codec: "", key: true},
		{what: "nanoseconds", b: "\x97\x02\x00\x00\x01\x01av01", codec: "AV1", coded: true, key: true},
		{what: "cut extension", b: "\x97\xff\x00", codec: "", key: true},
		{what: "long extension", b: "\x97\xff\x00\xff" + strings.Repeat("x", 256) + "\x01av01", codec: "AV1", coded: true, key: true},
		{what: "endless extensions", b: "\x97\x00\x00\x07\x00\x00\x07", codec: "", key: true},
		{what: "empty", b: ""},
		{what: "AAC configuration", audio: true, b: "\xaf\x00\x11\x90", codec: "AAC", conf: "\x11\x90"},
		{what: "AAC", audio: true, b: "\xaf\x01", codec: "AAC", coded: true},
		{what: "MP3", audio: true, b: "\x2f\xff", codec: "MP3", coded: true},
		{what: "Speex", audio: true, b: "\xb0", codec: "Speex", coded: true},
		{what: "Opus configuration", audio: true, b: "\x90OpusOpusHead", codec: "Opus", conf: "OpusHead"},
		{what: "Opus", audio: true, b: "\x91Opus", codec: "Opus", coded: true},
		{what: "second Opus", audio: true, b: "\x95\x01Opus\x01", codec: "Opus", coded: true, track: 1},
		{what: "channels", audio: true, b: "\x94Opus", codec: "Opus"},
		{what: "no sound", audio: true, b: ""},
	} {
		got, old := videoTag([]byte(c.b)), oldVideo
		if c.audio {
			got, old = audioTag([]byte(c.b)), oldAudio
		}
		if got.codec.name(old) != c.codec || got.coded != c.coded || got.key != c.key || got.track != c.track || string(got.config) != c.conf {
			t.Errorf("%s: %q %+v", c.what, got.codec.name(old), got)
		}
	}
}

var keyFrame, interFrame = []byte{0x17, 1}, []byte{0x27, 1}

// noting is a facts with short hands for messages.
type noting struct{ facts }

func (n *noting) picture(at uint32, key bool) {
	b := interFrame
	if key {
		b = keyFrame
	}
	n.message(typeVideo, at, 2, b)
}

func TestFactsOfTime(t *testing.T) {
	n := &noting{}
	for i := range uint32(100) {
		n.picture(0xFFFFFC18+i*40, i%25 == 0) // the time overflows in the middle
	}
	if f := n.now; f.Jumps != 0 || f.KeyframeEvery != time.Second || f.SinceKeyframe != 960*time.Millisecond || f.Frames != 100 || f.Keyframes != 4 {
		t.Errorf("%+v", f)
	}
	last := n.now.Time
	n.picture(last+3000, false)
	if n.now.Jumps != 0 {
		t.Error("a gap of 3 s is a jump")
	}
	n.picture(last+6001, false)
	n.picture(last+6000, false)
	n.message(typeVideo, 0, 5, []byte{0x17, 2, 0, 0, 0}) // OBS ends with the time 0
	n.message(typeAudio, last+5900, 2, []byte{0xAF, 1})
	if n.now.Sync != 100*time.Millisecond {
		t.Errorf("the picture is %s ahead", n.now.Sync)
	}
	if n.now.Jumps != 2 {
		t.Errorf("%d jumps", n.now.Jumps)
	}
}

func TestMetadata(t *testing.T) {
	n := &noting{}
	n.metadata([]Value{"@setDataFrame", "onMetaData", Object{{"width", 1280.0}, {"height", 720.0}, {"framerate", 29.97},
		{"audiosamplerate", 44100.0}, {"stereo", true}, {"encoder", "an\x1b[31m encoder\xff" + strings.Repeat("x", 200)}}})
	f := n.now
	if f.Width != 1280 || f.Height != 720 || f.FrameRate != 29.97 || f.SampleRate != 44100 || f.Channels != 2 || !strings.HasPrefix(f.Encoder, "an[31m encoderx") || len(f.Encoder) > maxShown {
		t.Errorf("%+v", f)
	}
	for _, absurd := range []float64{-1, 0, 1e9, inf, -inf, inf - inf} {
		n.metadata([]Value{"onMetaData", Object{{"width", absurd}, {"height", absurd}, {"framerate", absurd}, {"audiosamplerate", absurd}, {"audiochannels", absurd}}})
	}
	n.metadata([]Value{"onMetaData", Object{{"width", "wide"}, {"encoder", 5.0}, {"stereo", nil}}})
	n.metadata([]Value{"onMetaData"})
	n.metadata([]Value{"onMetaData", []Value{1.0}})
	n.metadata([]Value{"onTextData", Object{{"width", 5.0}}})
	if n.now != f {
		t.Errorf("absurd metadata is believed: %+v", n.now)
	}
}

var inf = func() float64 { x := 1e308; return x * 10 }()

func TestFactsCostNoAllocation(t *testing.T) {
	n := &noting{}
	if got := testing.AllocsPerRun(100, func() { n.picture(0, true); n.publish() }); got != 0 {
		t.Errorf("%v allocations", got)
	}
	var none *facts
	none.message(typeVideo, 0, 0, nil)
	none.metadata(nil)
	none.publish()
}

func BenchmarkFacts(b *testing.B) {
	n := &noting{}
	for i := range b.N {
		n.picture(uint32(i), i%60 == 0)
	}
}

func FuzzFacts(f *testing.F) {
	f.Add([]byte("\x96\x11hvc1\x00\x00\x00\x05"), true)
	f.Add([]byte("\xaf\x00\x11\x90"), false)
	f.Fuzz(func(t *testing.T, b []byte, video bool) {
		n, typ := &noting{}, uint8(typeAudio)
		if video {
			typ = typeVideo
		}
		n.message(typ, 0, uint32(len(b)), b)
		n.publish()
		if v := n.now; v.VideoBytes+v.AudioBytes != int64(len(b)) || v.Frames > 1 || v.SampleRate < 0 || v.Channels < 0 {
			t.Fatalf("%+v", v)
		}
	})
}
