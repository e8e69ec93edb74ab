package main

import (
	"crypto/sha256"
	"encoding/binary"
	"hash"
	"sync/atomic"
)

// tally counts the media that arrives at one end of a stream. What it counts
// is the payload of messages, so chunk headers, which a proxy may write anew,
// make no difference.
type tally struct {
	payload atomic.Int64
	goal    int64         // of payload
	reached chan struct{} // closed when it has come
	digest  hash.Hash     // of type, time, length and payload of each message; nil: none is made
	whole   func(*inbound)
}

func newTally(goal int64) *tally {
	return &tally{goal: goal, reached: make(chan struct{})}
}

func (t *tally) add(in *inbound, p []byte, whole bool) {
	if !in.media() {
		return
	}
	if t.digest != nil {
		if in.got == len(p) {
			digestHeader(t.digest, in.typ, in.time, in.length)
		}
		t.digest.Write(p)
	}
	if whole && t.whole != nil {
		t.whole(in)
	}
	now := t.payload.Add(int64(len(p)))
	if t.goal > 0 && now >= t.goal && now-int64(len(p)) < t.goal {
		close(t.reached)
	}
}

// run counts until the stream ends.
func (t *tally) run(r *chunkReader) error {
	for {
		in, p, whole, err := r.piece()
		if err != nil {
			return err
		}
		t.add(in, p, whole)
	}
}

// until counts until the goal is reached.
func (t *tally) until(r *chunkReader) error {
	for t.payload.Load() < t.goal {
		in, p, whole, err := r.piece()
		if err != nil {
			return err
		}
		t.add(in, p, whole)
	}
	return nil
}

func digestHeader(h hash.Hash, typ byte, time uint32, length int) {
	var b [9]byte
	b[0] = typ
	binary.BigEndian.PutUint32(b[1:], time)
	binary.BigEndian.PutUint32(b[5:], uint32(length))
	h.Write(b[:])
}

func newDigest() hash.Hash { return sha256.New() }
