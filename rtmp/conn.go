package rtmp

import (
	"bytes"
	"encoding/binary"
	"io"
	"sync/atomic"

	"rtmps-edge/internal/secret"
	"rtmps-edge/internal/wire"
)

// Conn is one leg: a client or an origin. Reading belongs to one goroutine at
// a time, and so does relaying into it.
type Conn struct {
	rw  io.ReadWriter
	wr  wire.Reader // rw, where it can read into a Buf
	lim Limits
	in  wire.Buf
	rd  reader
	w   writer

	action    Action
	msid      uint32      // of the one stream on this leg
	name      secret.Text // that the peer knows the stream by
	named     bool        // and it is known
	isOrigin  bool
	setup     bool // not approved yet: small limits
	sendsData bool // media and data may come from this peer
	dropEmpty bool
	messages  int // the longest message that the peer takes; 0 = any

	received atomic.Int64
	dropped  atomic.Int64
	window   int64 // acknowledge after so many bytes; 0 = the peer did not ask
	acked    int64
	held     int // bytes of begun messages that are kept

	// What the peer may still send; see the limits by time.
	chat, data, pongs, any allowance
	counted                int64 // of received, for any

	facts *facts // of what the peer sends; nil unless they are kept

	// paced is called with the number of bytes before they are passed on, and
	// may block. It says how many may come at most in the next piece.
	paced func(n int) (next int, err error)
	piece int
}

func newConn(rw io.ReadWriter, lim Limits) *Conn {
	c := &Conn{rw: rw, lim: lim.withDefaults(), setup: true}
	c.wr, _ = rw.(wire.Reader)
	c.w.rw, c.w.chunk = rw, minChunkSize
	c.w.wb, _ = rw.(wire.Writer)
	c.rd.chunkSize = minChunkSize
	c.rd.limit = c.limit
	return c
}

// Pace makes Relay call f with the number of the peer's bytes before it passes
// them on. f may block, and ends the relay by an error; it returns how many bytes
// the next piece may have at most, 0 = any number. While bytes wait for it,
// nothing more is read. It must be set before Relay.
func (c *Conn) Pace(f func(n int) (next int, err error)) { c.paced = f }

// Received returns how many bytes came from the peer. Safe for concurrent use.
func (c *Conn) Received() int64 { return c.received.Load() }

// Sent returns how many bytes went to the peer. Safe for concurrent use.
func (c *Conn) Sent() int64 { return c.w.sent.Load() }

// Dropped returns how many data messages were not passed on because their
// names are not on the list. Safe for concurrent use.
func (c *Conn) Dropped() int64 { return c.dropped.Load() }

// Blocked returns a number that is odd during a write to the peer and different
// in each. Safe for concurrent use.
func (c *Conn) Blocked() uint32 { return c.w.blocked.Load() }

// limit is the reader's, asked at the beginning of each message: which types may
// come, and how long they may be.
func (c *Conn) limit(typ uint8) (int, error) {
	if err := c.count(); err != nil {
		return 0, err
	}
	switch typ {
	case typeSetChunkSize, typeAbort, typeAck, typeUserControl, typeWindowAckSize, typeSetPeerBandwidth:
		return maxControlMessage, nil
	case typeCommand, typeCommandAMF3:
		return maxCommandMessage, nil
	case typeData, typeDataAMF3:
		if c.setup {
			return maxSetupMessage, nil
		}
		return maxDataMessage, nil
	case typeAudio, typeVideo, typeAggregate:
		if !c.sendsData {
			return 0, breach("message of type %d out of place", typ)
		}
		return c.lim.MessageSize, nil
	}
	return 0, breach("message of type %d", typ)
}

// fill waits for more bytes. What was gathered from c.in must be flushed.
func (c *Conn) fill() error {
	if c.in.Held() == 0 {
		if err := c.receive(); err != nil || c.paced == nil {
			return err
		}
	}
	n := c.in.Held()
	if c.piece > 0 {
		n = min(n, c.piece)
	}
	c.in.Show(n)
	var err error
	c.piece, err = c.paced(n)
	return err
}

// receive reads, and holds back what is to be paced.
func (c *Conn) receive() error {
	n, err := c.read()
	if err != nil {
		return err
	}
	total := c.received.Add(int64(n))
	if c.setup && total > maxSetupBytes {
		return breach("more than %d bytes before publish or play", maxSetupBytes)
	}
	if c.window > 0 && total-c.acked >= c.window/2 {
		c.acked = total
		set(&c.w.ack, uint32(total))
		c.w.poke()
	}
	if c.paced != nil {
		c.in.Hold(n)
	}
	return nil
}

func (c *Conn) read() (int, error) {
	if c.wr != nil {
		return c.wr.ReadBuf(&c.in)
	}
	for range 100 {
		n, err := c.rw.Read(c.in.Space())
		c.in.Extend(n)
		if n > 0 {
			return n, nil
		}
		if err != nil {
			return 0, err
		}
	}
	return 0, io.ErrNoProgress
}

// message is a whole message. payload is valid until the next fill.
type message struct {
	typ     uint8
	time    uint32
	payload []byte
}

// assemble keeps a piece, or gives the message that it completes.
func (c *Conn) assemble(p piece) (m message, whole bool, err error) {
	cs := p.cs
	if !p.last {
		return m, false, c.hold(cs, p.data)
	}
	m = message{typ: cs.typ, time: cs.time, payload: p.data}
	if cs.held != nil {
		m.payload = append(cs.held, p.data...)
		c.release(cs)
	}
	return m, true, nil
}

// hold keeps bytes of a message in progress, within the budget.
func (c *Conn) hold(cs *chunkStream, data []byte) error {
	budget := maxSetupHeld
	if !c.setup {
		budget = c.lim.MessageSize + maxHeld
	}
	if c.held += len(data); c.held > budget {
		return breach("more than %d bytes of unfinished messages", budget)
	}
	cs.held = append(cs.held, data...)
	return nil
}

func (c *Conn) release(cs *chunkStream) []byte {
	b := cs.held
	c.held -= len(b)
	cs.held = nil
	return b
}

// nextMessage returns the next message that is not control, reading as needed.
func (c *Conn) nextMessage() (message, error) {
	for {
		p, ok, err := c.rd.next(&c.in)
		if err == nil && !ok {
			if err = c.flush(); err == nil {
				err = c.fill()
			}
		}
		if err != nil {
			return message{}, err
		}
		if !ok {
			continue
		}
		m, whole, err := c.assemble(p)
		if err != nil {
			return m, err
		}
		if !whole {
			continue
		}
		if isControl(m.typ) {
			if _, err := c.control(m); err != nil {
				return m, err
			}
			continue
		}
		return m, nil
	}
}

// maxControlMessage is the longest control message; their exact sizes are checked
// when they are whole.
const maxControlMessage = 64

func isControl(typ uint8) bool { return typ <= typeSetPeerBandwidth }

// talk charges one control or command message to the peer.
func (c *Conn) talk() error {
	if !c.chat.spend(chatter, chatterAtOnce) {
		return breach("more than %d control messages per second", chatter)
	}
	return nil
}

// count charges one message of any type to the peer. Bytes earn messages.
func (c *Conn) count() error {
	if c.any.left < 1 {
		total := c.received.Load()
		c.any.left += min(float64(total-c.counted)/meanMessage, messagesAtOnce)
		c.counted = total
	}
	if !c.any.spend(messageRate, messagesAtOnce) {
		return breach("more than %d messages per second that are hardly longer than their headers", messageRate)
	}
	return nil
}

// control obeys a control message (SPEC §5.4). It is of this leg only, never
// passed on. aborted is the chunk stream whose message was to be discarded,
// when that message is not held here.
func (c *Conn) control(m message) (aborted *chunkStream, err error) {
	if m.typ != typeAck { // these come with the data, as many as the window is small
		if err := c.talk(); err != nil {
			return nil, err
		}
	}
	if m.typ == typeUserControl {
		return nil, c.userControl(m.payload)
	}
	size := 4
	if m.typ == typeSetPeerBandwidth {
		size = 5
	}
	if len(m.payload) != size {
		return nil, breach("control message of type %d with %d bytes", m.typ, len(m.payload))
	}
	v := binary.BigEndian.Uint32(m.payload)
	switch m.typ {
	case typeSetChunkSize:
		return nil, c.setChunkSize(v)
	case typeAbort:
		return c.abort(v)
	case typeWindowAckSize:
		// Smaller windows would only make acknowledgements (ZLMediaKit's bounds).
		c.window = max(int64(v&0x7FFFFFFF), 32<<10)
	}
	return nil, nil
}

func (c *Conn) setChunkSize(v uint32) error {
	if v < minChunkSize || int64(v) > int64(c.lim.ChunkSize) {
		return breach("chunk size %d, allowed are %d to %d", v, minChunkSize, c.lim.ChunkSize)
	}
	c.rd.chunkSize = v
	return nil
}

func (c *Conn) abort(id uint32) (*chunkStream, error) {
	if id == csidControl {
		return nil, breach("abort of the control chunk stream")
	}
	cs := c.rd.find(id)
	if cs == nil || !cs.partial {
		return nil, nil
	}
	c.release(cs)
	c.rd.abort(cs)
	return cs, nil
}

func (c *Conn) userControl(p []byte) error {
	if len(p) < 2 {
		return breach("user control message of %d bytes", len(p))
	}
	if binary.BigEndian.Uint16(p) == eventPingRequest && len(p) >= 6 && c.pongs.spend(pongRate, pongsAtOnce) {
		set(&c.w.pong, binary.BigEndian.Uint32(p[2:]))
		c.w.poke()
	}
	return nil // the others are news of the peer's own leg
}

// send writes whole messages with one write, behind those that were queued.
func (c *Conn) send(messages ...message) error {
	c.w.mu.Lock()
	defer c.w.unlock()
	c.gather(messages)
	return c.w.flush()
}

// sendLast is send for the last words: the caller ends the writing direction at
// once, and the end leaves with them, in the same packet. Else they would leave
// late.
func (c *Conn) sendLast(messages ...message) error {
	c.w.mu.Lock()
	defer c.w.unlock()
	c.w.last = true
	c.gather(messages)
	return c.w.flush()
}

// queue leaves messages to the next send or flush. Clients ask for several
// things at once, and hear the answers at once.
func (c *Conn) queue(messages ...message) error {
	c.w.mu.Lock()
	defer c.w.unlock()
	c.gather(messages)
	return c.w.err
}

// flush writes what was queued.
func (c *Conn) flush() error {
	c.w.mu.Lock()
	defer c.w.unlock()
	return c.w.flush()
}

// gather needs c.w.mu.
func (c *Conn) gather(messages []message) {
	for _, m := range messages {
		msid := uint32(0)
		if m.time == onStream {
			msid = c.msid
		}
		c.w.message(m.typ, 0, msid, m.payload)
		if m.typ == typeSetChunkSize {
			c.w.chunk = binary.BigEndian.Uint32(m.payload)
		}
	}
}

// onStream in the time field of a message to send puts it on the leg's message
// stream instead of 0. All that the edge says by itself has the time 0.
const onStream = 1

// usualCommand is enough for the edge's own commands but for long names, in bytes.
const usualCommand = 192

// command makes a command message.
func command(values ...Value) message {
	return message{typ: typeCommand, payload: appendAMF(make([]byte, 0, usualCommand), values...)}
}

// streamCommand makes a command message on the leg's message stream.
func streamCommand(values ...Value) message {
	m := command(values...)
	m.time = onStream
	return m
}

// controlMessage makes a control message of one number.
func controlMessage(typ uint8, v uint32, more ...byte) message {
	return message{typ: typ, payload: append(binary.BigEndian.AppendUint32(nil, v), more...)}
}

// userEvent makes a user control message (SPEC §7.1.7).
func userEvent(event uint16, values ...uint32) message {
	b := binary.BigEndian.AppendUint16(nil, event)
	for _, v := range values {
		b = binary.BigEndian.AppendUint32(b, v)
	}
	return message{typ: typeUserControl, payload: b}
}

// encode gives the bytes of messages as send would write them.
func (c *Conn) encode(messages ...message) []byte {
	var b bytes.Buffer
	rw, wb := c.w.rw, c.w.wb
	c.w.rw, c.w.wb = &b, nil
	_ = c.send(messages...) // a bytes.Buffer takes all
	c.w.rw, c.w.wb = rw, wb
	return b.Bytes()
}
