package rtmptest

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
)

// Message type ids.
const (
	TypeSetChunkSize     = 1
	TypeAbort            = 2
	TypeAck              = 3
	TypeUserControl      = 4
	TypeWindowAckSize    = 5
	TypeSetPeerBandwidth = 6
	TypeAudio            = 8
	TypeVideo            = 9
	TypeDataAMF3         = 15
	TypeSharedAMF3       = 16
	TypeCommandAMF3      = 17
	TypeData             = 18
	TypeShared           = 19
	TypeCommand          = 20
	TypeAggregate        = 22
)

// User control events.
const (
	EventStreamBegin     = 0
	EventStreamEOF       = 1
	EventSetBufferLength = 3
	EventPingRequest     = 6
	EventPingResponse    = 7
)

// Chunk streams of the canonical form.
const (
	CSIDControl = 2
	CSIDCommand = 3
	CSIDData    = 4
	CSIDAudio   = 6
	CSIDVideo   = 7
)

// Message is one whole message, and how it came.
type Message struct {
	CSID      uint32
	Fmt       uint8  // of the first chunk's header
	Timestamp uint32 // absolute
	Type      uint8
	StreamID  uint32
	Payload   []byte

	Chunks     int
	ChunkSize  uint32 // in force when the first chunk began
	Contiguous bool   // no chunk of another message in between
	ExtTS      bool   // the first header had the four extra bytes
	// Offset and End are where the message's bytes begin and end in what the
	// parser was given.
	Offset, End int64
}

// IsMedia tells audio and video from everything else.
func (m Message) IsMedia() bool { return m.Type == TypeAudio || m.Type == TypeVideo }

// IsControl tells the messages that are meant for the next hop only.
func (m Message) IsControl() bool {
	return m.Type >= TypeSetChunkSize && m.Type <= TypeSetPeerBandwidth
}

// Sum is the payload's SHA-256, in hex.
func (m Message) Sum() string {
	sum := sha256.Sum256(m.Payload)
	return hex.EncodeToString(sum[:])
}

// Media is what has to survive a relay unchanged: two messages are the same
// media when their Media are equal.
type Media struct {
	Type      uint8
	Timestamp uint32
	Len       int
	Sum       string
}

// Media gives what identifies an audio or video message end to end.
func (m Message) Media() Media {
	return Media{m.Type, m.Timestamp, len(m.Payload), m.Sum()}
}

// MediaOf gives the audio and video among msgs.
func MediaOf(msgs []Message) []Media {
	var out []Media
	for _, m := range msgs {
		if m.IsMedia() {
			out = append(out, m.Media())
		}
	}
	return out
}

// CountTypes counts msgs by type.
func CountTypes(msgs []Message) map[uint8]int {
	n := map[uint8]int{}
	for _, m := range msgs {
		n[m.Type]++
	}
	return n
}

// Values decodes the AMF0 of a command or data message. The selector byte of
// the AMF3 types must be zero.
func (m Message) Values() ([]any, error) {
	p := m.Payload
	if m.Type == TypeDataAMF3 || m.Type == TypeCommandAMF3 {
		if len(p) == 0 || p[0] != 0 {
			return nil, fmt.Errorf("type %d without a zero format selector", m.Type)
		}
		p = p[1:]
	}
	return DecodeAMF(p)
}

// Command is a decoded command message.
type Command struct {
	Name string
	Txn  float64
	Args []any // what follows the transaction id: the command object first
}

// Command decodes a message of type 17 or 20; ok is false if it is none.
func (m Message) Command() (c Command, ok bool) {
	if m.Type != TypeCommand && m.Type != TypeCommandAMF3 {
		return c, false
	}
	v, err := m.Values()
	if err != nil || len(v) < 2 {
		return c, false
	}
	var ok1, ok2 bool
	c.Name, ok1 = v[0].(string)
	c.Txn, ok2 = v[1].(float64)
	c.Args = v[2:]
	return c, ok1 && ok2
}

// Arg gives an argument as a string, "" if it is none. Arg(0) is the command
// object, so the name of a stream is Arg(1).
func (c Command) Arg(i int) string {
	if i >= len(c.Args) {
		return ""
	}
	s, _ := c.Args[i].(string)
	return s
}

// object gives the command object, nil if it is none.
func (c Command) object() Object {
	if len(c.Args) == 0 {
		return nil
	}
	o, _ := c.Args[0].(Object)
	return o
}

// Info gives the last object among the arguments: what an onStatus, a _result
// or an _error says.
func (c Command) Info() Object {
	for i := len(c.Args) - 1; i >= 0; i-- {
		if o, ok := c.Args[i].(Object); ok {
			return o
		}
	}
	return nil
}

// Event decodes a user control message; ok is false if it is none.
func (m Message) Event() (event uint16, value uint32, ok bool) {
	if m.Type != TypeUserControl || len(m.Payload) < 2 {
		return 0, 0, false
	}
	event = binary.BigEndian.Uint16(m.Payload)
	if len(m.Payload) >= 6 {
		value = binary.BigEndian.Uint32(m.Payload[2:])
	}
	return event, value, true
}

// String is for test failures: it shows commands, never media.
func (m Message) String() string {
	s := fmt.Sprintf("@%d csid %d fmt %d ts %d type %d msid %d len %d chunks %d",
		m.Offset, m.CSID, m.Fmt, m.Timestamp, m.Type, m.StreamID, len(m.Payload), m.Chunks)
	if m.IsMedia() {
		return s
	}
	if v, err := m.Values(); err == nil && (m.Type == TypeCommand || m.Type == TypeData) {
		return fmt.Sprintf("%s %v", s, v)
	}
	return fmt.Sprintf("%s % x", s, m.Payload[:min(len(m.Payload), 32)])
}
