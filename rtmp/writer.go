package rtmp

import (
	"encoding/binary"
	"io"
	"net"
	"sync"
	"sync/atomic"

	"rtmps-edge/internal/wire"
)

const (
	// copyFirst is how much of a flush is copied together: a write that is not
	// longer is of one piece.
	copyFirst = 16 << 10
	// copyBelow is the length from which a slice beyond that is written where
	// it lies instead of being copied behind its header: below it, a place in
	// the list costs more than the copy.
	copyBelow = 512
	// scratchBytes and scratchSlices are what one flush gathers at most:
	// headers and short payloads, and slices of long ones. A window of input
	// in chunks of 128 bytes is copied into it in a few flushes.
	scratchBytes  = 24 << 10
	scratchSlices = 128
)

// scratch is what a writer needs between two flushes, and only then.
type scratch struct {
	text   [scratchBytes]byte
	n      int
	slices [scratchSlices][]byte
	out    [][]byte
	tail   bool // the last slice of out ends at text[:n]
}

var scratches = sync.Pool{New: func() any { return new(scratch) }}

// writer writes messages in one canonical form: contiguous, on fixed chunk
// streams, each with a header of format 0, so that it depends on nothing
// written before and every parser reads it alike.
type writer struct {
	rw io.Writer
	wb wire.Writer // rw, where it can write many slices

	mu    sync.Mutex // held from the first gathered byte to the flush
	chunk uint32
	s     *scratch
	err   error
	last  bool // what is gathered are the last words

	// The message in progress.
	left      uint32 // payload still to come
	chunkLeft uint32
	csid      uint8
	time      uint32

	// Control messages that wait for the next boundary between messages. There
	// is one place for each, so that no flood can grow them.
	ack  atomic.Uint64 // 1<<32 | bytes received
	pong atomic.Uint64 // 1<<32 | the ping's time

	sent atomic.Int64
	// blocked counts up before and after each write: odd = in a write.
	blocked atomic.Uint32
}

// begin starts a message of length bytes; body must follow with them all.
func (w *writer) begin(typ uint8, time, msid, length uint32) {
	w.csid, w.time, w.left = csidOf(typ), time, length
	w.chunkLeft = min(w.chunk, length)
	var h [16]byte
	b := append(h[:0], w.csid)
	b = appendUint24(b, min(time, 0xFFFFFF))
	b = appendUint24(b, length)
	b = binary.LittleEndian.AppendUint32(append(b, typ), msid)
	w.copy(w.appendExtended(b))
}

// body adds payload of the message in progress, never more than its length. p
// must stay as it is until the next flush.
func (w *writer) body(p []byte) {
	p = p[:min(len(p), int(w.left))]
	for len(p) > 0 {
		if w.chunkLeft == 0 {
			w.chunkLeft = min(w.chunk, w.left)
			var h [8]byte
			w.copy(w.appendExtended(append(h[:0], 3<<6|w.csid)))
		}
		n := min(uint32(len(p)), w.chunkLeft)
		w.add(p[:n])
		p = p[n:]
		w.chunkLeft -= n
		w.left -= n
	}
}

// message adds a whole message.
func (w *writer) message(typ uint8, time, msid uint32, payload []byte) {
	w.begin(typ, time, msid, uint32(len(payload)))
	w.body(payload)
}

func (w *writer) appendExtended(b []byte) []byte {
	if w.time >= 0xFFFFFF {
		b = binary.BigEndian.AppendUint32(b, w.time)
	}
	return b
}

// add gathers p: copied if short or at the beginning, else referred to.
func (w *writer) add(p []byte) {
	gathered := 0
	if w.s != nil {
		gathered = w.s.n
	}
	if len(p) < copyBelow || gathered+len(p) <= copyFirst {
		w.copy(p)
		return
	}
	s := w.room(0)
	s.out = append(s.out, p)
	s.tail = false
}

// copy gathers a copy of p, which is not longer than scratchBytes. Headers
// that are made on the stack stay there.
func (w *writer) copy(p []byte) {
	s := w.room(len(p))
	from := s.n
	s.n += copy(s.text[from:], p)
	if s.tail { // it continues the last slice
		k := len(s.out) - 1
		s.out[k] = s.out[k][:len(s.out[k])+len(p)]
		return
	}
	s.out = append(s.out, s.text[from:s.n])
	s.tail = true
}

// room returns a scratch that takes one more slice, and n bytes to be copied.
func (w *writer) room(n int) *scratch {
	if s := w.s; s != nil && (len(s.out) == len(s.slices) || s.n+n > len(s.text)) {
		w.write()
	}
	if w.s == nil {
		w.s = scratches.Get().(*scratch)
		w.s.n, w.s.out, w.s.tail = 0, w.s.slices[:0], false
	}
	return w.s
}

// write writes what was gathered. An error is kept for flush.
func (w *writer) write() {
	s := w.s
	if s == nil {
		return
	}
	w.s = nil
	if w.err == nil {
		w.err = w.writeOut(s)
	}
	clear(s.out) // no payload may be kept alive by the pool
	scratches.Put(s)
}

func (w *writer) writeOut(s *scratch) error {
	n := int64(0)
	for _, p := range s.out {
		n += int64(len(p))
	}
	w.blocked.Add(1)
	defer w.blocked.Add(1)
	w.sent.Add(n)
	if w.wb != nil {
		return w.wb.WriteBufs(s.out, w.left > 0 || w.last)
	}
	b := net.Buffers(s.out)
	_, err := b.WriteTo(w.rw)
	return err
}

// flush writes all that was gathered, and waiting control messages if no
// message is in progress. It needs w.mu.
func (w *writer) flush() error {
	if w.left == 0 {
		w.addControl()
	}
	w.write()
	return w.err
}

// addControl needs a boundary between messages.
func (w *writer) addControl() {
	if v := w.ack.Swap(0); v != 0 {
		w.message(typeAck, 0, 0, binary.BigEndian.AppendUint32(nil, uint32(v)))
	}
	if v := w.pong.Swap(0); v != 0 {
		b := binary.BigEndian.AppendUint16(nil, eventPingResponse)
		w.message(typeUserControl, 0, 0, binary.BigEndian.AppendUint32(b, uint32(v)))
	}
}

// poke sends waiting control messages soon: now, or by whoever is writing.
func (w *writer) poke() {
	for w.ack.Load()|w.pong.Load() != 0 && w.tryControl() {
	}
}

// tryControl writes waiting control messages, unless somebody else will.
func (w *writer) tryControl() bool {
	if !w.mu.TryLock() {
		return false
	}
	defer w.mu.Unlock()
	if w.left > 0 { // the rest of the message in progress comes first
		return false
	}
	_ = w.flush() // an error shows at the next write
	return true
}

// unlock ends what began with w.mu.Lock.
func (w *writer) unlock() {
	w.mu.Unlock()
	w.poke()
}

// set marks a control message as waiting.
func set(v *atomic.Uint64, value uint32) { v.Store(1<<32 | uint64(value)) }

func csidOf(typ uint8) uint8 {
	switch typ {
	case typeAudio:
		return csidAudio
	case typeVideo:
		return csidVideo
	case typeData:
		return csidData
	case typeCommand:
		return csidCommand
	}
	return csidControl
}

func appendUint24(b []byte, v uint32) []byte {
	return append(b, byte(v>>16), byte(v>>8), byte(v))
}
