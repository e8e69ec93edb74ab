package main

import (
	"encoding/binary"
	"math/rand/v2"
)

// The stream that every load sends: 30 frames a second with a keyframe every
// two, and AAC frames of 1024 samples at 44.1 kHz between them.
const (
	fps          = 30
	keyEvery     = 2 * fps
	keySize      = 60_000
	audioSize    = 372
	interSize    = 10_000 // of the saturating loads
	interAt4Mbit = 15_390 // makes 4 Mbit/s with keyframes and audio
)

// feed makes the messages of one stream, in order of time.
type feed struct {
	inter        int // size of a frame that is not a key
	frame, audio int
	payload      []byte
}

func newFeed(inter int) *feed {
	f := &feed{inter: inter, payload: make([]byte, keySize)}
	fill := rand.NewChaCha8([32]byte{1}) // reproducible, and nothing can compress it
	fill.Read(f.payload)
	return f
}

// next returns a message; the payload is good until the next call.
func (f *feed) next() (typ byte, time uint32, payload []byte) {
	video := uint32(f.frame * 1000 / fps)
	audio := uint32(f.audio * 1024 * 10 / 441)
	if audio < video {
		f.audio++
		payload = f.stamp(audioSize, f.audio)
		payload[0], payload[1] = 0xAF, 1
		return typeAudio, audio, payload
	}
	size, kind := f.inter, byte(0x27)
	if f.frame%keyEvery == 0 {
		size, kind = keySize, 0x17
	}
	f.frame++
	payload = f.stamp(size, f.frame)
	payload[0], payload[1] = kind, 1
	return typeVideo, video, payload
}

// stamp numbers the message, so that each has another digest.
func (f *feed) stamp(size, n int) []byte {
	p := f.payload[:size]
	binary.BigEndian.PutUint64(p[clockAt:], uint64(n))
	return p
}

// clockAt is where a message carries its number or, in the paced load, the
// time at which it was sent: behind the FLV tag header of five bytes.
const clockAt = 5
