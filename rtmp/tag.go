package rtmp

import "encoding/binary"

// Codec names a codec as the stream does: the FourCC of Enhanced RTMP, or one
// more than the number of the older form. 0 = not told.
type Codec uint32

// fourCC makes the Codec of four characters.
func fourCC(s string) Codec { return Codec(binary.BigEndian.Uint32([]byte(s))) }

// Codecs that are told in both forms.
var (
	codecAVC  = fourCC("avc1")
	codecHEVC = fourCC("hvc1")
	codecAV1  = fourCC("av01")
	codecAAC  = fourCC("mp4a")
	codecMP3  = fourCC(".mp3")
)

// codecNames are those that people know them by.
var codecNames = map[Codec]string{
	codecAVC: "H.264", codecHEVC: "HEVC", codecAV1: "AV1", fourCC("vvc1"): "VVC", fourCC("vp08"): "VP8", fourCC("vp09"): "VP9",
	codecAAC: "AAC", codecMP3: "MP3", fourCC("Opus"): "Opus", fourCC("fLaC"): "FLAC", fourCC("ac-3"): "AC-3", fourCC("ec-3"): "E-AC-3",
}

// Names of the older numbers (SPEC of FLV, E.4.2.1 and E.4.3.1).
var (
	oldVideo = map[Codec]string{2: "H.263", 3: "Screen Video", 4: "VP6", 5: "VP6 alpha", 6: "Screen Video 2"}
	oldAudio = map[Codec]string{0: "PCM", 1: "ADPCM", 3: "PCM", 4: "Nellymoser", 5: "Nellymoser", 6: "Nellymoser",
		7: "G.711 A-law", 8: "G.711 µ-law", 11: "Speex"}
)

// name gives the Codec in words; old are the older numbers of its kind. It is
// never the peer's own text.
func (c Codec) name(old map[Codec]string) string {
	switch {
	case c == 0:
		return ""
	case codecNames[c] != "":
		return codecNames[c]
	case c <= 16 && old[c-1] != "":
		return old[c-1]
	}
	return "unknown"
}

// tag is what the first bytes of an audio or video message say.
type tag struct {
	codec  Codec
	coded  bool   // it carries a picture or sound; a keyframe if key
	key    bool   // video only
	track  uint8  // of several; the first one is 0
	config []byte // the beginning of a codec's configuration, if it is one
}

// Kinds of packet (Enhanced RTMP v2; those of the older form are 0 and 1, too).
const (
	packetStart     = 0
	packetCoded     = 1
	packetEnd       = 2
	packetCodedX    = 3
	packetMultiOpus = 5 // of audio: multitrack
	packetMultiPic  = 6 // of video: multitrack
	packetModEx     = 7
)

// videoTag reads the beginning of a video message, as much of it as there is.
func videoTag(b []byte) (t tag) {
	if len(b) == 0 {
		return t
	}
	frame := b[0] >> 4 & 7
	t.key = frame == 1
	if b[0]&0x80 != 0 {
		return t.enhanced(b, packetMultiPic, frame != 5)
	}
	switch id := Codec(b[0] & 15); id {
	case 7:
		t.codec = codecAVC
	case 12: // not of Adobe's; Chinese encoders and servers agree on these two
		t.codec = codecHEVC
	case 13:
		t.codec = codecAV1
	default:
		t.codec, t.coded = id+1, frame != 5
		return t
	}
	t.older(b, 5)
	t.coded = t.coded && frame != 5
	return t
}

// audioTag reads the beginning of an audio message.
func audioTag(b []byte) (t tag) {
	if len(b) == 0 {
		return t
	}
	switch id := Codec(b[0] >> 4); id {
	case 9:
		return t.enhanced(b, packetMultiOpus, true)
	case 10:
		t.codec = codecAAC
		t.older(b, 2)
	case 2, 14:
		t.codec, t.coded = codecMP3, true
	default:
		t.codec, t.coded = id+1, true
	}
	return t
}

// older reads the packet kind of AVC, HEVC and AAC in the older form. The
// configuration begins at n.
func (t *tag) older(b []byte, n int) {
	if len(b) < 2 {
		t.coded = true // most are
		return
	}
	t.coded = b[1] == packetCoded
	if b[1] == packetStart && len(b) > n {
		t.config = b[n:]
	}
}

// enhanced reads the header of Enhanced RTMP. multi is the kind of packet that
// means several tracks; pictures is false for a command frame.
func (t tag) enhanced(b []byte, multi byte, pictures bool) tag {
	kind, b := b[0]&15, b[1:]
	for kind == packetModEx {
		var ok bool
		if kind, b, ok = modEx(b); !ok {
			return t
		}
	}
	tracks := byte(0)
	several := kind == multi
	if several {
		if len(b) == 0 {
			return t
		}
		tracks, kind, b = b[0]>>4, b[0]&15, b[1:]
	}
	if len(b) >= 4 {
		t.codec, b = Codec(binary.BigEndian.Uint32(b)), b[4:]
	}
	if several && len(b) > 0 {
		t.track, b = b[0], b[1:]
		if tracks != 0 { // each with its size
			b = b[min(3, len(b)):]
		}
	}
	t.coded = pictures && (kind == packetCoded || kind == packetCodedX)
	if kind == packetStart && len(b) > 0 {
		t.config = b
	}
	return t
}

// modEx skips one extension of a packet, and returns the kind that follows.
func modEx(b []byte) (kind byte, rest []byte, ok bool) {
	if len(b) == 0 {
		return 0, nil, false
	}
	n, b := int(b[0])+1, b[1:]
	if n == 256 {
		if len(b) < 2 {
			return 0, nil, false
		}
		n, b = int(binary.BigEndian.Uint16(b))+1, b[2:]
	}
	if len(b) <= n {
		return 0, nil, false
	}
	return b[n] & 15, b[n+1:], true
}
