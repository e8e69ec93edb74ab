package rtmp

import (
	"cmp"
	"slices"

	"rtmps-edge/rtmp/rtmptest"
)

// sender makes a legal stream of chunks out of any bytes: which message comes
// next, in which header format, how they are interleaved and cut.
type sender struct {
	choices []byte
	b       *rtmptest.Builder
	chunk   int
	repeat  bool // extended timestamps in continuations
	control int  // control messages that may still be sent
	streams map[uint32]*sending
	done    []rtmptest.Media
}

// sending is one chunk stream, and the rest of its message in progress.
type sending struct {
	id          uint32
	typ         uint8
	length      int
	time, delta uint32
	ext         bool
	field       uint32
	rest        []byte
}

// The sets are small, so that few bytes reach all that is odd in them. Chunk
// stream 64 is not among them: its header of zeros behind a message of nothing
// looks like gortmplib's extended timestamp.
var (
	someIDs     = []uint32{3, 7, 63, 65, 319, 320, 65599}
	someTimes   = []uint32{0, 1, 40, 0xFFFFFE, 0xFFFFFF, 0x1000000, 0x7FFFFFFF, 0xFFFFFFF0}
	someLengths = []int{0, 1, 127, 128, 129, 256, 300, 5000}
	someChunks  = []int{128, 129, 1000, 65536}
)

func newSender(choices []byte) *sender {
	s := &sender{choices: choices, b: built(), chunk: 128, control: chatterAtOnce, streams: map[uint32]*sending{}}
	s.repeat = s.next()%2 == 0
	return s
}

// next is the next choice; the last one is 0 for ever.
func (s *sender) next() byte {
	if len(s.choices) == 0 {
		return 0
	}
	c := s.choices[0]
	s.choices = s.choices[1:]
	return c
}

func pick[T any](s *sender, from []T) T { return from[int(s.next())%len(from)] }

// all returns the stream, and the media that is in it.
func (s *sender) all() (*rtmptest.Builder, []rtmptest.Media) {
	for len(s.choices) > 0 && s.b.Len() < 200000 && len(s.done) < messagesAtOnce {
		switch action := s.next() % 8; {
		case action == 0 && s.control > 0:
			s.control--
			s.speak()
		case action < 4 && s.begun() < maxPartial-1: // one is left for control
			s.begin(pick(s, someIDs))
		default:
			s.goOn(pick(s, someIDs))
		}
	}
	for _, id := range someIDs {
		for st := s.streams[id]; st != nil && st.rest != nil; {
			s.goOn(id)
		}
	}
	// Whether an extended timestamp is left out is told by what follows it.
	return s.b.Control(typeAck, 1), s.done
}

func (s *sender) begun() (n int) {
	for _, st := range s.streams {
		if st.rest != nil {
			n++
		}
	}
	return n
}

// speak sends a control message.
func (s *sender) speak() {
	switch s.next() % 4 {
	case 0:
		s.chunk = pick(s, someChunks)
		s.b.Control(typeSetChunkSize, uint32(s.chunk))
	case 1:
		s.b.UserControl(eventPingRequest, 1)
	case 2:
		s.b.Control(typeAck, 1)
	case 3:
		s.b.Control(typeAbort, 99)
	}
}

// begin begins a message on a chunk stream where none is in progress.
func (s *sender) begin(id uint32) {
	st := s.streams[id]
	format := s.next() % 4
	switch {
	case st == nil:
		st, format = &sending{id: id}, 0
		s.streams[id] = st
	case st.rest != nil:
		s.goOn(id)
		return
	}
	step := pick(s, someTimes)
	if format <= 1 {
		st.typ, st.length = []uint8{typeAudio, typeVideo}[s.next()%2], pick(s, someLengths)
	}
	switch format {
	case 0:
		st.time, st.delta = step, 0
		s.b.Header0(id, step, st.length, st.typ, 1)
	case 1:
		st.delta = step
		s.b.Header1(id, step, st.length, st.typ)
	case 2:
		st.delta = step
		s.b.Header2(id, step)
	case 3:
		s.header3(st)
	}
	if format != 3 {
		st.ext, st.field = step >= 0xFFFFFF, step
	}
	if format > 0 {
		st.time += st.delta
	}
	// No payload looks like an extended timestamp.
	st.rest = slices.Repeat([]byte{0xA0 | byte(len(s.done)&15)}, st.length)
	s.done = append(s.done, rtmptest.Message{Type: st.typ, Timestamp: st.time, Payload: st.rest}.Media())
	s.chunkOf(st)
}

// goOn sends the next chunk of a message, if one is in progress.
func (s *sender) goOn(id uint32) {
	if st := s.streams[id]; st != nil && st.rest != nil {
		s.header3(st)
		s.chunkOf(st)
	}
}

func (s *sender) header3(st *sending) {
	s.b.Header3(st.id)
	if st.ext && s.repeat {
		s.b.Raw(byte(st.field>>24), byte(st.field>>16), byte(st.field>>8), byte(st.field))
	}
}

func (s *sender) chunkOf(st *sending) {
	n := min(len(st.rest), s.chunk)
	s.b.Raw(st.rest[:n]...)
	if st.rest = st.rest[n:]; len(st.rest) == 0 {
		st.rest = nil
	}
}

func sortMedia(list []rtmptest.Media) {
	slices.SortFunc(list, func(a, b rtmptest.Media) int {
		return cmp.Or(cmp.Compare(a.Type, b.Type), cmp.Compare(a.Timestamp, b.Timestamp), cmp.Compare(a.Sum, b.Sum))
	})
}
