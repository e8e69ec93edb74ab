package rtmptest

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Mode says what a Parser takes.
type Mode int

const (
	// Strict holds everything against the canonical form that the edge must
	// write; see strict.go. What breaks it is reported, and read on if it can
	// be read at all.
	Strict Mode = iota
	// Lenient takes what real clients and servers send: interleaved
	// messages, any chunk stream, a type 1 header on a fresh chunk stream,
	// chunk sizes changed at any time.
	Lenient
)

// Breach is one place where a stream is not what it has to be.
type Breach struct {
	Offset int64 // of the chunk, in the parsed bytes
	Text   string
}

// Error gives the offset and the breach.
func (b Breach) Error() string { return fmt.Sprintf("at byte %d: %s", b.Offset, b.Text) }

// maxMessage is the largest message that the length field can declare.
const maxMessage = 0xFFFFFF

// extended in a header's time field says that the time follows in four bytes.
const extended = 0xFFFFFF

// Parser reads one direction of a connection, after the handshake, as it
// arrives. It is not safe for concurrent use.
type Parser struct {
	mode      Mode
	buf       []byte
	off       int64 // of buf[0] in the stream
	chunkSize uint32
	streams   map[uint32]*chunkStream
	open      int    // messages begun and not finished
	last      uint32 // chunk stream of the chunk before this one
	done      []Message
	breaches  []error
	dead      error
	extLatch  latch
	canon     canon
}

// chunkStream is what a type 1, 2 or 3 header leaves out.
type chunkStream struct {
	started   bool
	timestamp uint32
	delta     uint32
	length    uint32
	typ       uint8
	msid      uint32
	ext       bool   // the latest type 0, 1 or 2 header had four more bytes
	field     uint32 // and this is what they said
	lastFmt   uint8  // latest header that began a message
	msg       *Message
}

// latch remembers whether a lenient peer repeats the extended timestamp.
type latch int

const (
	latchOpen latch = iota
	latchPresent
	latchAbsent
)

// NewParser returns a parser for a stream from its first chunk on.
func NewParser(mode Mode) *Parser {
	return &Parser{mode: mode, chunkSize: 128, streams: map[uint32]*chunkStream{}}
}

// Parse reads a whole direction after its handshake. rest counts the bytes at
// the end that are no whole chunk. err joins all breaches; in Lenient mode it
// is what ended the reading.
func Parse(stream []byte, mode Mode) (msgs []Message, rest int, err error) {
	p := NewParser(mode)
	p.Write(stream)
	for {
		m, ok, err := p.Next()
		if err != nil || !ok {
			return msgs, p.Rest(), errors.Join(p.Breaches()...)
		}
		msgs = append(msgs, m)
	}
}

// Write takes more bytes; it never fails.
func (p *Parser) Write(b []byte) (int, error) {
	p.buf = append(p.buf, b...)
	return len(b), nil
}

// Next gives the next whole message. ok is false when more bytes are needed.
// An error is final: the stream cannot be read on.
func (p *Parser) Next() (m Message, ok bool, err error) {
	for p.dead == nil && len(p.done) == 0 {
		n, err := p.chunk(p.buf)
		if err != nil {
			p.dead = Breach{p.off, err.Error()}
			p.breaches = append(p.breaches, p.dead)
			break
		}
		if n == 0 {
			return m, false, nil
		}
		p.buf = p.buf[n:]
		p.off += int64(n)
	}
	if len(p.done) == 0 {
		return m, false, p.dead
	}
	m, p.done = p.done[0], p.done[1:]
	return m, true, nil
}

// Breaches gives everything found wrong so far, each a Breach.
func (p *Parser) Breaches() []error { return append([]error(nil), p.breaches...) }

// Rest counts the bytes not yet used: the beginning of a chunk.
func (p *Parser) Rest() int { return len(p.buf) }

// Open counts the messages that have begun and are not finished.
func (p *Parser) Open() int { return p.open }

// Offset is the number of bytes that are parsed.
func (p *Parser) Offset() int64 { return p.off }

// ChunkSize is the size in force.
func (p *Parser) ChunkSize() uint32 { return p.chunkSize }

func (p *Parser) breach(format string, args ...any) {
	if p.mode == Strict {
		p.breaches = append(p.breaches, Breach{p.off, fmt.Sprintf(format, args...)})
	}
}

// header is one chunk header, as it stands.
type header struct {
	fmt    uint8
	csid   uint32
	time   uint32 // field, not the four bytes
	length uint32
	typ    uint8
	msid   uint32
	size   int // bytes of it, without the four
}

// readHeader gives ok false if b is too short for it.
func readHeader(b []byte) (h header, ok bool) {
	if len(b) == 0 {
		return h, false
	}
	h.fmt, h.csid, h.size = b[0]>>6, uint32(b[0]&63), 1
	switch {
	case h.csid == 0 && len(b) >= 2:
		h.csid, h.size = 64+uint32(b[1]), 2
	case h.csid == 1 && len(b) >= 3:
		h.csid, h.size = 64+uint32(b[1])+uint32(b[2])<<8, 3
	case h.csid < 2:
		return h, false
	}
	b = b[h.size:]
	n := [4]int{11, 7, 3, 0}[h.fmt]
	if len(b) < n {
		return h, false
	}
	h.size += n
	if n >= 3 {
		h.time = uint24(b)
	}
	if n >= 7 {
		h.length, h.typ = uint24(b[3:]), b[6]
	}
	if n == 11 {
		h.msid = binary.LittleEndian.Uint32(b[7:])
	}
	return h, true
}

func uint24(b []byte) uint32 { return uint32(b[0])<<16 | uint32(b[1])<<8 | uint32(b[2]) }

// chunk reads one chunk from b and returns its length, 0 if b does not hold
// all of it. Nothing changes before the chunk is whole.
func (p *Parser) chunk(b []byte) (int, error) {
	h, ok := readHeader(b)
	if !ok {
		return 0, nil
	}
	s := p.streams[h.csid]
	if err := p.judge(h, s); err != nil {
		return 0, err
	}
	next := chunkStream{}
	if s != nil {
		next = *s
	}
	next.apply(h)
	n, repeated, ok, err := p.extendedTime(b[h.size:], h, &next)
	if err != nil || !ok {
		return 0, err
	}
	n += h.size
	have := 0
	if next.msg != nil {
		have = len(next.msg.Payload)
	}
	size := min(int(p.chunkSize), int(next.length)-have)
	if len(b) < n+size {
		return 0, nil
	}
	if s == nil {
		s = &chunkStream{}
		p.streams[h.csid] = s
	}
	p.canonChunk(h, s, &next, repeated)
	*s = next
	p.begin(h, s)
	p.fill(s, h.csid, b[n:n+size], n+size)
	return n + size, nil
}

// judge refuses headers after which nobody knows what the rest means.
func (p *Parser) judge(h header, s *chunkStream) error {
	fresh := s == nil || !s.started
	switch {
	case fresh && h.fmt == 1 && p.mode == Lenient:
		// librtmp begins the control stream with a type 1 header.
		return nil
	case fresh && h.fmt != 0:
		return fmt.Errorf("type %d header on the fresh chunk stream %d", h.fmt, h.csid)
	case !fresh && s.msg != nil && h.fmt != 3:
		return fmt.Errorf("type %d header in the middle of a message on chunk stream %d", h.fmt, h.csid)
	}
	return nil
}

// apply takes over what the header says. The timestamp is computed by begin,
// once the extended time is known.
func (s *chunkStream) apply(h header) {
	s.started = true
	if h.fmt <= 2 {
		s.ext, s.field = h.time == extended, h.time
	}
	if h.fmt <= 1 {
		s.length, s.typ = h.length, h.typ
	}
	if h.fmt == 0 {
		s.msid = h.msid
	}
}

// extendedTime reads the four bytes, if they are there, and returns how many
// bytes it used. repeated is false for a type 3 header that left them out.
func (p *Parser) extendedTime(b []byte, h header, s *chunkStream) (n int, repeated, ok bool, err error) {
	if !s.ext {
		return 0, true, true, nil
	}
	if h.fmt == 3 && p.extLatch == latchAbsent {
		return 0, false, true, nil
	}
	if len(b) < 4 {
		// A peer that leaves them out, with less than four bytes to come, is
		// nobody that was ever seen.
		return 0, true, false, nil
	}
	v := binary.BigEndian.Uint32(b)
	if h.fmt != 3 {
		s.field = v
		return 4, true, true, nil
	}
	same := v == s.field || v == s.timestamp
	if p.mode == Strict {
		if v != s.field {
			return 0, false, true, nil
		}
		return 4, true, true, nil
	}
	return p.latchExtended(same || v == 0)
}

// latchExtended decides for the whole connection at the first type 3 header.
func (p *Parser) latchExtended(present bool) (n int, repeated, ok bool, err error) {
	switch {
	case present:
		p.extLatch = latchPresent
		return 4, true, true, nil
	case p.extLatch == latchPresent:
		return 0, false, true, errors.New("extended timestamp of a continuation differs")
	}
	p.extLatch = latchAbsent
	return 0, false, true, nil
}

// begin starts a message, if this chunk does.
func (p *Parser) begin(h header, s *chunkStream) {
	if s.msg != nil {
		return
	}
	switch h.fmt {
	case 0:
		// A type 3 header after it takes the absolute time as its delta: the
		// specification says so.
		s.timestamp, s.delta = s.field, s.field
	case 1, 2:
		s.delta = s.field
		s.timestamp += s.delta
	case 3:
		s.timestamp += s.delta
	}
	s.lastFmt = h.fmt
	s.msg = &Message{
		CSID: h.csid, Fmt: h.fmt, Timestamp: s.timestamp, Type: s.typ, StreamID: s.msid,
		ChunkSize: p.chunkSize, ExtTS: s.ext, Offset: p.off, Contiguous: true,
		// Grown as bytes arrive: the length is only a claim.
		Payload: make([]byte, 0, min(s.length, 4096)),
	}
	p.open++
}

// fill adds a chunk's payload and finishes the message if it is whole.
func (p *Parser) fill(s *chunkStream, csid uint32, payload []byte, size int) {
	m := s.msg
	if m.Chunks > 0 && p.last != csid {
		m.Contiguous = false
		p.breach("message on chunk stream %d was interrupted by chunk stream %d", csid, p.last)
	}
	p.last = csid
	m.Chunks++
	m.Payload = append(m.Payload, payload...)
	if len(m.Payload) < int(s.length) {
		return
	}
	m.End = p.off + int64(size)
	s.msg = nil
	p.open--
	p.obey(*m)
	p.canonMessage(*m)
	p.done = append(p.done, *m)
}

// obey applies the two messages that change how the rest is read.
func (p *Parser) obey(m Message) {
	if len(m.Payload) < 4 {
		return
	}
	v := binary.BigEndian.Uint32(m.Payload)
	switch m.Type {
	case TypeSetChunkSize:
		if v == 0 || v > 0x7FFFFFFF {
			p.die("chunk size %d", v)
			return
		}
		p.chunkSize = min(v, maxMessage)
	case TypeAbort:
		if s := p.streams[v]; s != nil && s.msg != nil {
			s.msg = nil
			p.open--
		}
	}
}

// die ends the reading after the message at hand.
func (p *Parser) die(format string, args ...any) {
	p.dead = Breach{p.off, fmt.Sprintf(format, args...)}
	p.breaches = append(p.breaches, p.dead)
}
