package rtmptest

import (
	"encoding/binary"
	"math/rand/v2"
)

// Builder puts bytes together that a well-meaning writer would never send, and
// those that it would. All its methods append and return the builder. The zero
// value is ready: chunk size 128, as every connection begins.
//
// Lengths, times and ids are written as they are given; only Message,
// Interleave and what calls them cut payloads into chunks.
type Builder struct {
	buf  []byte
	size int // chunk size, 0 = 128
}

// Bytes gives what is built so far.
func (b *Builder) Bytes() []byte { return b.buf }

// Len counts what is built so far.
func (b *Builder) Len() int { return len(b.buf) }

// Raw appends bytes as they are.
func (b *Builder) Raw(p ...byte) *Builder {
	b.buf = append(b.buf, p...)
	return b
}

// Text appends a string as it is.
func (b *Builder) Text(s string) *Builder { return b.Raw([]byte(s)...) }

// WithChunkSize says into which chunks Message cuts from now on; it writes
// nothing.
func (b *Builder) WithChunkSize(n int) *Builder {
	b.size = n
	return b
}

func (b *Builder) chunkSize() int {
	if b.size == 0 {
		return 128
	}
	return b.size
}

// C0C1 appends a simple handshake's first part with the given version. Its
// filling is the same every time, so that scripts stay the same.
func (b *Builder) C0C1(version byte) *Builder {
	c1 := make([]byte, handshakeSize)
	r := rand.New(rand.NewPCG(1, 2))
	for i := 8; i < len(c1); i++ {
		c1[i] = byte(r.Uint32())
	}
	return b.Raw(version).Raw(c1...)
}

// C2 appends the answer to s1, or zeros if that is nil: nobody may look.
func (b *Builder) C2(s1 []byte) *Builder {
	c2 := make([]byte, handshakeSize)
	copy(c2, s1)
	return b.Raw(c2...)
}

// BasicHeader appends the one to three bytes that every chunk begins with.
func (b *Builder) BasicHeader(format uint8, csid uint32) *Builder {
	switch {
	case csid < 64:
		return b.Raw(format<<6 | byte(csid))
	case csid < 320:
		return b.Raw(format<<6, byte(csid-64))
	}
	return b.Raw(format<<6|1, byte(csid-64), byte((csid-64)>>8))
}

// Header0 appends a type 0 header, with the extended timestamp if ts needs it.
func (b *Builder) Header0(csid, ts uint32, length int, typ uint8, msid uint32) *Builder {
	b.BasicHeader(0, csid).u24(min(ts, extended)).u24(uint32(length)).Raw(typ)
	b.buf = binary.LittleEndian.AppendUint32(b.buf, msid)
	return b.extendedTime(ts)
}

// Header1 appends a type 1 header.
func (b *Builder) Header1(csid, delta uint32, length int, typ uint8) *Builder {
	return b.BasicHeader(1, csid).u24(min(delta, extended)).u24(uint32(length)).Raw(typ).extendedTime(delta)
}

// Header2 appends a type 2 header.
func (b *Builder) Header2(csid, delta uint32) *Builder {
	return b.BasicHeader(2, csid).u24(min(delta, extended)).extendedTime(delta)
}

// Header3 appends a type 3 header, without an extended timestamp.
func (b *Builder) Header3(csid uint32) *Builder { return b.BasicHeader(3, csid) }

func (b *Builder) extendedTime(ts uint32) *Builder {
	if ts < extended {
		return b
	}
	return b.u32(ts)
}

func (b *Builder) u24(v uint32) *Builder { return b.Raw(byte(v>>16), byte(v>>8), byte(v)) }

func (b *Builder) u32(v uint32) *Builder {
	b.buf = binary.BigEndian.AppendUint32(b.buf, v)
	return b
}

// Message appends a whole message with a type 0 header, cut into chunks.
func (b *Builder) Message(csid, ts uint32, typ uint8, msid uint32, payload []byte) *Builder {
	return b.Interleave(Message{CSID: csid, Timestamp: ts, Type: typ, StreamID: msid, Payload: payload})
}

// Interleave appends messages of different chunk streams, in turn one chunk of
// each until all are out.
func (b *Builder) Interleave(msgs ...Message) *Builder {
	for at := 0; ; at += b.chunkSize() {
		left := false
		for _, m := range msgs {
			if at == 0 || at < len(m.Payload) {
				b.chunkOf(m, at)
				left = true
			}
		}
		if !left {
			return b
		}
	}
}

// chunkOf appends the chunk of m that begins at payload byte at.
func (b *Builder) chunkOf(m Message, at int) {
	if at == 0 {
		b.Header0(m.CSID, m.Timestamp, len(m.Payload), m.Type, m.StreamID)
	} else {
		b.Header3(m.CSID).extendedTime(m.Timestamp)
	}
	b.Raw(m.Payload[at:min(at+b.chunkSize(), len(m.Payload))]...)
}

// Control appends a control message of one 32-bit value: types 1, 2, 3 and 5.
func (b *Builder) Control(typ uint8, value uint32) *Builder {
	return b.Message(CSIDControl, 0, typ, 0, binary.BigEndian.AppendUint32(nil, value))
}

// SetChunkSize appends that message, and cuts by it from then on.
func (b *Builder) SetChunkSize(n int) *Builder {
	return b.Control(TypeSetChunkSize, uint32(n)).WithChunkSize(n)
}

// SetPeerBandwidth appends that message, limit type dynamic.
func (b *Builder) SetPeerBandwidth(n uint32) *Builder {
	return b.Message(CSIDControl, 0, TypeSetPeerBandwidth, 0, append(binary.BigEndian.AppendUint32(nil, n), 2))
}

// UserControl appends an event with its 32-bit values.
func (b *Builder) UserControl(event uint16, values ...uint32) *Builder {
	p := binary.BigEndian.AppendUint16(nil, event)
	for _, v := range values {
		p = binary.BigEndian.AppendUint32(p, v)
	}
	return b.Message(CSIDControl, 0, TypeUserControl, 0, p)
}

// Command appends a type 20 message on chunk stream 3.
func (b *Builder) Command(msid uint32, values ...any) *Builder {
	return b.Message(CSIDCommand, 0, TypeCommand, msid, AMF(values...))
}

// Data appends a type 18 message on chunk stream 4.
func (b *Builder) Data(msid, ts uint32, values ...any) *Builder {
	return b.Message(CSIDData, ts, TypeData, msid, AMF(values...))
}

// Audio appends an audio message on chunk stream 6.
func (b *Builder) Audio(msid, ts uint32, payload []byte) *Builder {
	return b.Message(CSIDAudio, ts, TypeAudio, msid, payload)
}

// Video appends a video message on chunk stream 7.
func (b *Builder) Video(msid, ts uint32, payload []byte) *Builder {
	return b.Message(CSIDVideo, ts, TypeVideo, msid, payload)
}

// Connect appends a connect command, transaction 1.
func (b *Builder) Connect(app, tcURL string, more ...Property) *Builder {
	o := Object{{"app", app}, {"type", "nonprivate"}, {"flashVer", "FMLE/3.0 (compatible; rtmptest)"}, {"tcUrl", tcURL}}
	return b.Command(0, "connect", 1, append(o, more...))
}

// SubMessage is one part of an aggregate.
type SubMessage struct {
	Type      uint8
	Timestamp uint32
	Payload   []byte
}

// Aggregate gives the payload of a type 22 message.
func Aggregate(subs ...SubMessage) []byte {
	b := new(Builder)
	for _, s := range subs {
		b.Raw(s.Type).u24(uint32(len(s.Payload)))
		b.u24(s.Timestamp&0xFFFFFF).Raw(byte(s.Timestamp>>24), 0, 0, 0).Raw(s.Payload...)
		b.u32(uint32(len(s.Payload) + 11))
	}
	return b.Bytes()
}
