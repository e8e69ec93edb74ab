package main

import (
	"bytes"
	"io"
)

// program is what the origin sends a player: written once, sent many times,
// so that making it costs nothing while the clock runs.
type program struct {
	head, loop []byte
	loops      int
	payload    int64 // of all that is sent
	digest     []byte
}

// newProgram makes at least size bytes of media.
func newProgram(size int64) *program {
	var p program
	var b bytes.Buffer
	w := newChunkWriter(&b)
	w.chunk = originChunk
	f := newFeed(interSize)
	head := writeFeed(w, f, 1) // the only headers of type 0: the rest is relative and can be repeated
	p.head = bytes.Clone(b.Bytes())
	b.Reset()
	loop := writeFeed(w, f, min(size, 4<<20))
	p.loop = b.Bytes()
	p.loops = int(max(1, (size+loop-1)/loop))
	p.payload = head + int64(p.loops)*loop
	return &p
}

// writeFeed writes messages until they hold size bytes and both kinds have
// been sent; it returns how many bytes they hold.
func writeFeed(w *chunkWriter, f *feed, size int64) (sent int64) {
	for sent < size || f.audio == 0 {
		typ, time, payload := f.next()
		w.message(mediaStream(typ), typ, 1, time, payload)
		sent += int64(len(payload))
	}
	return sent
}

// mediaStream is the chunk stream of a type, as servers use them.
func mediaStream(typ byte) int {
	if typ == typeVideo {
		return 7
	}
	return 6
}

func (p *program) send(w io.Writer) error {
	_, err := io.Copy(w, p.reader())
	return err
}

// reader gives all that is sent.
func (p *program) reader() io.Reader {
	parts := []io.Reader{bytes.NewReader(p.head)}
	for range p.loops {
		parts = append(parts, bytes.NewReader(p.loop))
	}
	return io.MultiReader(parts...)
}
