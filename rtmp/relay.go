package rtmp

import (
	"bytes"
	"encoding/binary"
)

// padAtMost is how many zeros are written in all in the place of aborted
// messages whose beginning was already on its way. Origins differ in what they
// make of an Abort message, so none is sent; and a peer must not make many bytes
// out of few.
const padAtMost = outChunkSize

// relay carries one direction.
type relay struct {
	dst, src *Conn
	flowing  *chunkStream // whose message is being written as it comes in
	queue    []waiting    // messages that began meanwhile, in their order
	padded   uint32
}

// waiting is a message that waits for the flowing one to end: whole in payload,
// or still coming in on cs.
type waiting struct {
	cs      *chunkStream
	typ     uint8
	time    uint32
	payload []byte
	length  uint32
}

// Relay moves what src sends to dst until src ends, breaks a rule, or dst does
// not take it. Media leaves while it comes in; control messages and commands
// are of one leg and end here. The error says why it ended; ErrFinished is the
// good end.
func Relay(dst, src *Conn) error {
	r := &relay{dst: dst, src: src}
	if err := r.adopt(); err != nil {
		return err
	}
	for {
		if err := r.drain(); err != nil {
			return err
		}
		if err := src.fill(); err != nil {
			return err
		}
	}
}

// adopt takes over messages that began before the stream was said to have
// started: some origins do not wait.
func (r *relay) adopt() error {
	w := &r.dst.w
	w.mu.Lock()
	defer w.unlock()
	for _, cs := range r.src.rd.streams {
		if !cs.partial || cs.announce || !isMedia(cs.typ) {
			continue
		}
		r.src.facts.message(cs.typ, cs.time, cs.length, cs.held)
		if err := r.start(cs); err != nil {
			return err
		}
		if r.flowing == cs {
			w.body(r.src.release(cs))
		}
	}
	if err := w.flush(); err != nil {
		return &WriteError{err}
	}
	return nil
}

// drain passes on all that is there, and writes it.
func (r *relay) drain() (err error) {
	w := &r.dst.w
	w.mu.Lock()
	defer w.unlock()
	defer func() { // what came before an error is passed on all the same
		r.src.facts.publish()
		if e := w.flush(); e != nil {
			err = &WriteError{e}
		}
	}()
	for {
		p, ok, err := r.src.rd.next(&r.src.in)
		if err != nil || !ok {
			return err
		}
		if isMedia(p.cs.typ) {
			err = r.media(p)
		} else {
			err = r.other(p)
		}
		if err != nil {
			return err
		}
	}
}

// WriteError is an error in writing to the peer that Relay writes to.
type WriteError struct{ Err error }

func (e *WriteError) Error() string { return "rtmp: write: " + e.Err.Error() }
func (e *WriteError) Unwrap() error { return e.Err }

func isMedia(typ uint8) bool { return typ == typeAudio || typ == typeVideo }

// media passes on a piece of audio or video, or keeps it until its turn.
func (r *relay) media(p piece) error {
	cs := p.cs
	if cs.length == 0 && r.dst.dropEmpty {
		return nil
	}
	if p.first {
		r.src.facts.message(cs.typ, cs.time, cs.length, p.data)
		if err := r.start(cs); err != nil {
			return err
		}
	}
	if r.flowing == cs {
		r.dst.w.body(p.data)
		if p.last {
			r.flowing = nil
			r.dequeue()
		}
		return nil
	}
	if err := r.src.hold(cs, p.data); err != nil {
		return err
	}
	if p.last {
		r.complete(cs)
	}
	return nil
}

// start lets a message flow, or puts it into the queue.
func (r *relay) start(cs *chunkStream) error {
	if err := r.fits(cs.length); err != nil {
		return err
	}
	if r.flowing == nil {
		r.begin(cs.typ, cs.time, cs.length)
		r.flowing = cs
		return nil
	}
	return r.enqueue(waiting{cs: cs, typ: cs.typ, time: cs.time, length: cs.length})
}

// fits holds a length against what the peer takes.
func (r *relay) fits(length uint32) error {
	if limit := r.dst.messages; limit > 0 && int64(length) > int64(limit) {
		return breach("message of %d bytes, the origin takes %d", length, limit)
	}
	return nil
}

func (r *relay) begin(typ uint8, time, length uint32) {
	msid := r.dst.msid
	if isControl(typ) {
		msid = 0
	}
	r.dst.w.begin(typ, time, msid, length)
}

// streamEvent tells a player, in the edge's own words, that its origin has
// said that the stream has begun, ended or run dry: players wait for it.
func (r *relay) streamEvent(m message) error {
	if m.typ != typeUserControl || !r.src.isOrigin || r.src.action != Play {
		return nil
	}
	event := binary.BigEndian.Uint16(m.payload) // its length was checked
	if event > eventStreamDry {
		return nil
	}
	return r.whole(userEvent(event, r.dst.msid), false)
}

// maxQueue is how many messages may wait for one that does not end. It bounds
// what their bookkeeping costs beside their bytes.
const maxQueue = 1024

func (r *relay) enqueue(m waiting) error {
	if len(r.queue) == maxQueue {
		return breach("more than %d messages within another", maxQueue)
	}
	r.queue = append(r.queue, m)
	return nil
}

// complete marks the queued message of cs as whole.
func (r *relay) complete(cs *chunkStream) {
	for i := range r.queue {
		if q := &r.queue[i]; q.cs == cs {
			q.cs, q.payload = nil, cs.held
			cs.held = nil // still counted, until it leaves the queue
			return
		}
	}
}

// dequeue writes the messages that are whole, and lets the first of the others flow.
func (r *relay) dequeue() {
	if len(r.queue) == 0 {
		return
	}
	rest := r.queue[:0]
	for _, q := range r.queue {
		if q.cs != nil {
			rest = append(rest, q)
			continue
		}
		r.src.held -= len(q.payload)
		r.begin(q.typ, q.time, q.length)
		r.dst.w.body(q.payload)
	}
	clear(r.queue[len(rest):])
	r.queue = rest
	if len(rest) == 0 {
		r.queue = nil
		return
	}
	q := rest[0]
	r.queue = rest[1:]
	r.flowing = q.cs
	r.begin(q.typ, q.time, q.length)
	r.dst.w.body(r.src.release(q.cs))
}

// other judges a message that is not media, when it is whole.
func (r *relay) other(p piece) error {
	m, whole, err := r.src.assemble(p)
	if err != nil || !whole {
		return err
	}
	switch {
	case isControl(m.typ):
		cs, err := r.src.control(m)
		switch {
		case err == nil && cs != nil:
			err = r.aborted(cs)
		case err == nil:
			err = r.streamEvent(m)
		}
		return err
	case m.typ == typeCommand || m.typ == typeCommandAMF3:
		return r.command(m)
	case !r.src.sendsData:
		return nil // of an origin that is published to
	case m.typ == typeAggregate:
		return r.aggregate(m)
	}
	return r.data(m)
}

// command judges a command, and tells the other peer what concerns it.
func (r *relay) command(m message) error {
	say, err := r.src.later(m)
	if err != nil || say == nil {
		return err
	}
	return r.whole(message{typ: typeCommand, payload: say}, false)
}

// aborted ends a message whose rest will not come.
func (r *relay) aborted(cs *chunkStream) error {
	if r.flowing != cs {
		for i, q := range r.queue {
			if q.cs == cs {
				r.queue = append(r.queue[:i], r.queue[i+1:]...)
				break
			}
		}
		return nil
	}
	rest := cs.length - cs.got
	if r.padded += rest; r.padded > padAtMost {
		return breach("abort of a long message that is on its way, or of many")
	}
	r.dst.w.body(make([]byte, rest))
	r.flowing = nil
	r.dequeue()
	return nil
}

// whole writes a message that is held whole, in its turn. keep says that the
// payload is valid only now.
func (r *relay) whole(m message, keep bool) error {
	if err := r.fits(uint32(len(m.payload))); err != nil {
		return err
	}
	if r.flowing == nil {
		r.begin(m.typ, m.time, uint32(len(m.payload)))
		r.dst.w.body(m.payload)
		return nil
	}
	if keep {
		m.payload = bytes.Clone(m.payload)
	}
	budget := r.src.lim.MessageSize + maxHeld
	if r.src.held += len(m.payload); r.src.held > budget {
		return breach("more than %d bytes of unfinished messages", budget)
	}
	return r.enqueue(waiting{typ: m.typ, time: m.time, payload: m.payload, length: uint32(len(m.payload))})
}

// dataNames are the data messages that are passed on. Origins execute others.
var dataNames = []string{"@setDataFrame", "onMetaData", "onTextData", "onCuePoint", "onFI", "|RtmpSampleAccess"}

func known(name string) bool {
	for _, n := range dataNames {
		if n == name {
			return true
		}
	}
	return false
}

// data passes on a data message of a known name, written anew as far as the
// name goes, and wholly if it has values that not every origin can read.
func (r *relay) data(m message) error {
	if !r.src.data.spend(dataRate, dataAtOnce) {
		return breach("more than %d data messages per second", dataRate)
	}
	b := m.payload
	if m.typ == typeDataAMF3 {
		if len(b) == 0 || b[0] != 0 {
			r.src.dropped.Add(1)
			return nil
		}
		b = b[1:]
	}
	payload, values := rewriteData(b)
	if payload == nil {
		r.src.dropped.Add(1)
		return nil
	}
	r.src.facts.metadata(values)
	return r.whole(message{typ: typeData, time: m.time, payload: payload}, false)
}

// rewriteData returns the payload, and what it says; nil for a message that is
// not passed on.
func rewriteData(b []byte) (payload []byte, values []Value) {
	d := newDecoder(b, true)
	values, err := d.all()
	if err != nil || len(values) == 0 {
		return nil, nil
	}
	name, ok := values[0].(string)
	if !ok || !known(name) || b[0] != amfString {
		return nil, nil
	}
	if name == "@setDataFrame" {
		inner, ok := "", false
		if len(values) > 1 {
			inner, ok = values[1].(string)
		}
		if !ok || !known(inner) || inner == name {
			return nil, nil
		}
	}
	if d.rare {
		return appendAMF(nil, values...), values
	}
	return append(appendAMF(nil, name), b[3+len(name):]...), values
}

// aggregate takes the audio, video and data out of an aggregate message (SPEC
// §7.1.6). Anything else in it ends the session.
func (r *relay) aggregate(m message) error {
	const header, pointer = 11, 4
	b, base := m.payload, uint32(0)
	for first := true; len(b) > 0; first = false {
		if len(b) < header {
			return breach("malformed aggregate")
		}
		if err := r.src.count(); err != nil {
			return err
		}
		typ, n := b[0], int(uint24(b[1:]))
		stamp := uint24(b[4:]) | uint32(b[7])<<24
		if len(b)-header < n {
			return breach("malformed aggregate")
		}
		if first {
			base = stamp
		}
		sub := message{typ: typ, time: m.time + stamp - base, payload: b[header : header+n]}
		if err := r.part(sub); err != nil {
			return err
		}
		b = b[header+n:]
		b = b[min(len(b), pointer):] // the last back pointer may be missing
	}
	return nil
}

func (r *relay) part(m message) error {
	switch {
	case isMedia(m.typ):
		if len(m.payload) == 0 && r.dst.dropEmpty {
			return nil
		}
		r.src.facts.message(m.typ, m.time, uint32(len(m.payload)), m.payload)
		return r.whole(m, true)
	case m.typ == typeData && len(m.payload) <= maxDataMessage:
		return r.data(m)
	}
	return breach("message of type %d and %d bytes in an aggregate", m.typ, len(m.payload))
}

// news are what an origin tells a player while it plays, and what the edge
// then says itself.
var news = map[string]string{
	"NetStream.Play.UnpublishNotify": "The publisher has stopped.",
	"NetStream.Play.PublishNotify":   "The publisher has started.",
	"NetStream.Play.Stop":            "The stream has ended.",
	"NetStream.Play.Complete":        "The stream has ended.",
}

// later judges a command on a running stream. say is the command by which the
// peer on the other leg hears of it; mostly nil.
func (c *Conn) later(m message) (say []byte, err error) {
	if err := c.talk(); err != nil {
		return nil, err
	}
	call, err := parseCall(m)
	if err != nil {
		return nil, err
	}
	if c.isOrigin {
		return c.laterOrigin(call)
	}
	return nil, c.laterClient(call)
}

func (c *Conn) laterClient(call call) error {
	switch call.name {
	case "connect", "publish", "play", "play2", "createStream":
		return ErrSecondStream
	case "FCUnpublish":
		if err := c.sameName(call); err != nil {
			return err
		}
		return ErrFinished
	case "deleteStream", "closeStream":
		return ErrFinished
	case "releaseStream", "FCPublish", "FCSubscribe", "getStreamLength":
		return c.sameName(call)
	}
	return nil // pause, _checkbw, receiveAudio …: of no use here, and no harm
}

func (c *Conn) laterOrigin(call call) (say []byte, err error) {
	switch call.name {
	case "close":
		return nil, ErrFinished
	case "onStatus":
		level, code, _ := statusOf(call)
		if level == "error" {
			return nil, refused(call)
		}
		if text, ok := news[code]; ok && c.action == Play {
			return onStatus("status", code, text).payload, nil
		}
	}
	return nil, nil
}
