package main

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"
)

// RTMP message types that the harness knows.
const (
	typeChunkSize = 1
	typeAudio     = 8
	typeVideo     = 9
	typeData      = 18
	typeCommand   = 20
)

// inbound is the message that is coming in on one chunk stream.
type inbound struct {
	typ      byte
	time     uint32
	delta    uint32
	length   int
	got      int
	extended bool
	head     [16]byte // the first bytes of media, where the sender leaves its clock
	body     []byte   // everything of other messages
}

func (in *inbound) media() bool { return in.typ == typeAudio || in.typ == typeVideo }

// chunkReader takes chunks apart without copying media.
type chunkReader struct {
	br      *bufio.Reader
	chunk   int
	streams map[int]*inbound
	open    *inbound
	left    int // what is still to come of the open chunk
}

func newChunkReader(r io.Reader, buffer int) *chunkReader {
	return &chunkReader{br: bufio.NewReaderSize(r, buffer), chunk: 128, streams: map[int]*inbound{}}
}

// piece returns the next bytes of some message; whole says that they end it.
// The bytes are good until the next call.
func (r *chunkReader) piece() (in *inbound, p []byte, whole bool, err error) {
	if r.open == nil {
		if err = r.header(); err != nil {
			return nil, nil, false, err
		}
	}
	in = r.open
	if p, err = r.take(); err != nil {
		return nil, nil, false, err
	}
	if in.media() {
		if in.got < len(in.head) {
			copy(in.head[in.got:], p)
		}
	} else {
		in.body = append(in.body, p...)
	}
	in.got += len(p)
	whole = in.got == in.length
	if r.left == 0 {
		r.open = nil
	}
	if whole && in.typ == typeChunkSize && len(in.body) == 4 {
		r.chunk = int(binary.BigEndian.Uint32(in.body))
	}
	return in, p, whole, nil
}

// take gives what is buffered of the open chunk, so that one read of the
// socket serves many chunks.
func (r *chunkReader) take() ([]byte, error) {
	if r.left == 0 {
		return nil, nil
	}
	n := min(r.left, max(1, r.br.Buffered()))
	p, err := r.br.Peek(n)
	if err != nil {
		return nil, err
	}
	r.br.Discard(n)
	r.left -= n
	return p, nil
}

// header reads a chunk's header and opens the chunk.
func (r *chunkReader) header() error {
	first, err := r.br.ReadByte()
	if err != nil {
		return err
	}
	csid, err := r.csid(int(first & 63))
	if err != nil {
		return err
	}
	in := r.streams[csid]
	if in == nil {
		in = &inbound{}
		r.streams[csid] = in
	}
	if err := r.fields(in, first>>6); err != nil {
		return err
	}
	r.open, r.left = in, min(r.chunk, in.length-in.got)
	return nil
}

func (r *chunkReader) csid(low int) (int, error) {
	if low > 1 {
		return low, nil
	}
	p, err := r.read(low + 1)
	if err != nil {
		return 0, err
	}
	n := 64 + int(p[0])
	if low == 1 {
		n += 256 * int(p[1])
	}
	return n, nil
}

var errChunk = errors.New("a header in the middle of a message")

func (r *chunkReader) fields(in *inbound, format byte) error {
	fresh := in.got == in.length // the last message is whole: this begins another
	if !fresh && format != 3 {
		return errChunk
	}
	p, err := r.read([4]int{11, 7, 3, 0}[format])
	if err != nil {
		return err
	}
	stamp := in.delta
	if format < 3 {
		stamp = uint24(p)
		in.extended = stamp == 0xFFFFFF
	}
	if format < 2 {
		in.length, in.typ = int(uint24(p[3:])), p[6]
	}
	if in.extended {
		if p, err = r.read(4); err != nil {
			return err
		}
		stamp = binary.BigEndian.Uint32(p)
	}
	if fresh {
		in.begin(format, stamp)
	}
	return nil
}

// begin sets the time of a new message.
func (in *inbound) begin(format byte, stamp uint32) {
	in.got, in.body = 0, in.body[:0]
	if format == 0 {
		in.time, in.delta = stamp, 0
		return
	}
	in.delta = stamp
	in.time += stamp
}

// read returns the next n bytes, good until the next call.
func (r *chunkReader) read(n int) ([]byte, error) {
	p, err := r.br.Peek(n)
	if err != nil {
		return nil, err
	}
	r.br.Discard(n)
	return p, nil
}

// message returns the next whole message; the media in between is skipped.
func (r *chunkReader) message() (*inbound, error) {
	for {
		in, _, whole, err := r.piece()
		if err != nil {
			return nil, err
		}
		if whole && !in.media() {
			return in, nil
		}
	}
}

func uint24(p []byte) uint32 { return uint32(p[0])<<16 | uint32(p[1])<<8 | uint32(p[2]) }
