package rtmp

import (
	"bytes"
	"encoding/binary"

	"rtmps-edge/internal/wire"
)

// chunkStream is what the reader knows of one chunk stream (SPEC §5.3).
type chunkStream struct {
	id       uint32
	typ      uint8
	length   uint32
	msid     uint32
	time     uint32 // absolute, of the message in progress or the last one
	delta    uint32
	ext      bool   // the last header of format 0–2 had an extended timestamp
	extValue uint32 // and this was it
	partial  bool   // a message is in progress
	got      uint32 // its bytes so far
	announce bool   // its first piece was not given out yet
	held     []byte // its bytes, as far as they are kept
}

// piece is a part of a message: all of a chunk's payload, or what of it was
// there. data is valid until the next fill.
type piece struct {
	cs          *chunkStream
	data        []byte
	first, last bool
}

// repeated tells whether the peer repeats extended timestamps in chunks of
// format 3. Specification and senders differ, so it is learned once.
type repeated uint8

const (
	notLearned repeated = iota
	present
	absent
)

// reader takes chunks apart, strictly: what two parsers could read in two ways
// is an error.
type reader struct {
	streams   []*chunkStream
	last      *chunkStream // cache of find
	cur       *chunkStream // whose chunk is being read
	left      uint32       // payload bytes of that chunk still to come
	chunkSize uint32
	partials  int
	ext       repeated
	// limit returns the longest message of a type, or an error for a type that
	// may not come (now).
	limit func(typ uint8) (int, error)
}

// next returns the next piece. ok is false when b holds too little.
func (r *reader) next(b *wire.Buf) (p piece, ok bool, err error) {
	if r.cur == nil {
		if ok, err := r.header(b); !ok || err != nil {
			return piece{}, false, err
		}
	}
	cs := r.cur
	n := min(uint32(b.Len()), r.left)
	if n == 0 && r.left > 0 {
		return piece{}, false, nil
	}
	p = piece{cs: cs, data: b.Bytes()[:n], first: cs.announce}
	b.Consume(int(n))
	cs.announce = false
	cs.got += n
	r.left -= n
	if r.left == 0 {
		r.cur = nil
	}
	if cs.got == cs.length {
		p.last = true
		cs.partial = false
		r.partials--
	}
	return p, true, nil
}

// header reads one chunk header; ok is false, and nothing consumed, when it is
// not there whole.
func (r *reader) header(b *wire.Buf) (ok bool, err error) {
	h := b.Bytes()
	format, id, n, ok := basicHeader(h)
	if !ok {
		return false, nil
	}
	cs := r.find(id)
	if cs == nil {
		if format >= 2 {
			return false, breach("chunk stream %d begins with a header of format %d", id, format)
		}
		if len(r.streams) == maxChunkStreams {
			return false, breach("more than %d chunk streams", maxChunkStreams)
		}
		cs = &chunkStream{id: id}
	}
	if cs.partial && format != 3 {
		return false, breach("header of format %d within a message", format)
	}
	fields := [...]int{11, 7, 3, 0}[format]
	if len(h) < n+fields {
		return false, nil
	}
	fresh := *cs // nothing may change unless the header is there whole
	stamp := fresh.fields(format, h[n:n+fields])
	n += fields
	if fresh.ext {
		used, ok, err := r.extended(&fresh, format, h[n:])
		if !ok || err != nil {
			return false, err
		}
		n += used
		stamp = fresh.extValue
	}
	if !cs.partial {
		if err := r.begin(&fresh, format, stamp); err != nil {
			return false, err
		}
	}
	if r.find(id) == nil {
		r.streams = append(r.streams, cs)
	}
	*cs = fresh
	b.Consume(n)
	r.cur, r.last = cs, cs
	r.left = min(r.chunkSize, cs.length-cs.got)
	return true, nil
}

// basicHeader reads the first one to three bytes of a chunk (SPEC §5.3.1.1).
func basicHeader(h []byte) (format uint8, id uint32, n int, ok bool) {
	if len(h) == 0 {
		return 0, 0, 0, false
	}
	format, id = h[0]>>6, uint32(h[0]&63)
	switch {
	case id >= 2:
		return format, id, 1, true
	case id == 0 && len(h) >= 2:
		return format, 64 + uint32(h[1]), 2, true
	case id == 1 && len(h) >= 3:
		return format, 64 + uint32(h[1]) + uint32(h[2])<<8, 3, true
	}
	return 0, 0, 0, false
}

// fields reads the message header (SPEC §5.3.1.2) and returns its time field.
func (cs *chunkStream) fields(format uint8, h []byte) (stamp uint32) {
	if format == 3 {
		return 0
	}
	stamp = uint24(h)
	cs.ext = stamp == 0xFFFFFF
	if format <= 1 {
		cs.length, cs.typ = uint24(h[3:]), h[6]
	}
	if format == 0 {
		cs.msid = binary.LittleEndian.Uint32(h[7:])
	}
	return stamp
}

// extended reads the extended timestamp (SPEC §5.3.1.3) and returns how many
// bytes it took. In format 3 it is there or not, by the peer.
func (r *reader) extended(cs *chunkStream, format uint8, h []byte) (used int, ok bool, err error) {
	if format == 3 && r.ext == absent {
		return 0, true, nil
	}
	h = h[:min(len(h), 4)]
	if format != 3 {
		if len(h) < 4 {
			return 0, false, nil
		}
		cs.extValue = binary.BigEndian.Uint32(h)
		return 4, true, nil
	}
	switch same := cs.repeats(h); {
	case !same && r.ext == notLearned:
		r.ext = absent
		return 0, true, nil
	case !same:
		return 0, false, breach("an extended timestamp is not repeated as before")
	case len(h) < 4:
		return 0, false, nil
	}
	r.ext = present
	return 4, true, nil
}

// repeats reports whether h is, or may become, the extended timestamp again.
// Some peers repeat the field, some the time that it led to, one writes zeros.
func (cs *chunkStream) repeats(h []byte) bool {
	var b [4]byte
	for _, v := range [...]uint32{cs.extValue, cs.time, 0} {
		binary.BigEndian.PutUint32(b[:], v)
		if bytes.HasPrefix(b[:], h) {
			return true
		}
	}
	return false
}

// begin starts a message.
func (r *reader) begin(cs *chunkStream, format uint8, stamp uint32) error {
	limit, err := r.limit(cs.typ)
	if err != nil {
		return err
	}
	if int64(cs.length) > int64(limit) {
		return breach("message of type %d is %d bytes long, more than %d", cs.typ, cs.length, limit)
	}
	if r.partials == maxPartial {
		return breach("more than %d messages begun at once", maxPartial)
	}
	switch format {
	case 0:
		cs.time, cs.delta = stamp, 0
	case 1, 2:
		cs.delta = stamp
		cs.time += stamp
	default:
		cs.time += cs.delta
	}
	r.partials++
	cs.partial, cs.announce, cs.got = true, true, 0
	return nil
}

// abort discards the message in progress on a chunk stream.
func (r *reader) abort(cs *chunkStream) {
	cs.partial, cs.announce, cs.held = false, false, nil
	r.partials--
}

func (r *reader) find(id uint32) *chunkStream {
	if r.last != nil && r.last.id == id {
		return r.last
	}
	for _, cs := range r.streams {
		if cs.id == id {
			return cs
		}
	}
	return nil
}

func uint24(b []byte) uint32 { return uint32(b[0])<<16 | uint32(b[1])<<8 | uint32(b[2]) }
