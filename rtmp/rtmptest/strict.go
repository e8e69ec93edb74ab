package rtmptest

import (
	"encoding/binary"
	"slices"
)

// The canonical form, as docs of the edge have it: what an origin and a client
// see must leave no two readings.
//
//   - chunk streams 2 control, 3 commands, 4 data, 6 audio, 7 video; nothing else
//   - the first header of each is type 0; a time or delta of 0xFFFFFF and more
//     is only sent in a type 0 header, and repeated in each continuation
//   - no type 3 header begins a message right after a type 0 one, because
//     readers differ about its time
//   - a message is contiguous
//   - at most one Set Chunk Size, before any message of more than 128 bytes,
//     and between 128 and 65,536
//   - message types 1, 3, 4, 5, 6, 8, 9, 18 and 20; no Abort
//   - control payloads have their exact size, and message stream 0
//   - commands and data are whole AMF0 that begins with a string

// canon is what the strict judgement has to remember.
type canon struct {
	sizeSet bool
	long    bool // a message above 128 bytes was there
}

// canonChunk judges a header. s is the chunk stream before it, next after it.
func (p *Parser) canonChunk(h header, s, next *chunkStream, repeated bool) {
	switch h.csid {
	case CSIDControl, CSIDCommand, CSIDData, CSIDAudio, CSIDVideo:
	default:
		p.breach("chunk stream %d", h.csid)
	}
	if !repeated {
		p.breach("extended timestamp not repeated on chunk stream %d", h.csid)
	}
	if next.ext && next.field < extended {
		p.breach("extended timestamp for the time %d", next.field)
	}
	if next.ext && (h.fmt == 1 || h.fmt == 2) {
		p.breach("extended delta in a type %d header", h.fmt)
	}
	if h.fmt == 3 && s.msg == nil && s.lastFmt == 0 {
		p.breach("type 3 header begins a message after a type 0 one on chunk stream %d", h.csid)
	}
}

// canonMessage judges a whole message.
func (p *Parser) canonMessage(m Message) {
	want, ok := map[uint8]uint32{
		TypeSetChunkSize: CSIDControl, TypeAck: CSIDControl, TypeUserControl: CSIDControl,
		TypeWindowAckSize: CSIDControl, TypeSetPeerBandwidth: CSIDControl,
		TypeAudio: CSIDAudio, TypeVideo: CSIDVideo, TypeData: CSIDData, TypeCommand: CSIDCommand,
	}[m.Type]
	if !ok {
		p.breach("message type %d", m.Type)
		return
	}
	if m.CSID != want {
		p.breach("type %d on chunk stream %d, not %d", m.Type, m.CSID, want)
	}
	switch {
	case want == CSIDControl:
		p.canonControl(m)
	case m.Type == TypeCommand || m.Type == TypeData:
		p.canonAMF(m)
	}
	if len(m.Payload) > 128 {
		p.canon.long = true
	}
}

func (p *Parser) canonControl(m Message) {
	if m.StreamID != 0 {
		p.breach("type %d on message stream %d", m.Type, m.StreamID)
	}
	size := 4
	switch m.Type {
	case TypeSetPeerBandwidth:
		size = 5
	case TypeUserControl:
		size = eventSize(m.Payload)
	}
	if len(m.Payload) != size {
		p.breach("type %d with %d bytes, not %d", m.Type, len(m.Payload), size)
		return
	}
	if m.Type == TypeSetChunkSize {
		p.canonChunkSize(binary.BigEndian.Uint32(m.Payload))
	}
}

// eventSize is the only right size of a user control message; 0 for an event
// that an edge has no reason to send.
func eventSize(payload []byte) int {
	if len(payload) < 2 {
		return 0
	}
	switch event := binary.BigEndian.Uint16(payload); {
	case event == EventSetBufferLength:
		return 10
	case slices.Contains([]uint16{0, 1, 2, 4, 6, 7}, event):
		return 6
	}
	return 0
}

func (p *Parser) canonChunkSize(v uint32) {
	switch {
	case p.canon.sizeSet:
		p.breach("second Set Chunk Size, %d", v)
	case p.canon.long:
		p.breach("Set Chunk Size %d after a message of more than 128 bytes", v)
	case v < 128 || v > 65536:
		p.breach("Set Chunk Size %d", v)
	}
	p.canon.sizeSet = true
}

func (p *Parser) canonAMF(m Message) {
	v, err := m.Values()
	if err != nil {
		p.breach("type %d: %v", m.Type, err)
		return
	}
	if len(v) == 0 {
		p.breach("type %d is empty", m.Type)
		return
	}
	if _, ok := v[0].(string); !ok {
		p.breach("type %d does not begin with a string", m.Type)
	}
	if _, ok := m.Command(); !ok && m.Type == TypeCommand {
		p.breach("command without name and transaction id")
	}
}
