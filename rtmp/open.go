package rtmp

import (
	"errors"
	"io"
	"syscall"

	"rtmps-edge/internal/secret"
)

// Target is what Open asks of an origin. All of it is the edge's own text.
type Target struct {
	Action   Action
	App      string
	Name     string
	TcURL    string
	Mode     string // for publish; "" = "live"
	Enhanced Enhanced
	// ChunkSize is the size of the chunks that the edge writes. 0 = 65536.
	ChunkSize int
	// MessageSize is the longest message that the origin takes. 0 = any.
	MessageSize int
	// DropEmpty drops audio and video messages of length zero.
	DropEmpty bool
	// Trace, if set, hears the name of each step as it begins: connect,
	// createStream, then publish or play. The handshake comes before the first.
	Trace func(step string)
}

func (t *Target) trace(step string) {
	if t.Trace != nil {
		t.Trace(step)
	}
}

// flashVer is what the edge calls itself: FMLE-like, which some servers ask for.
const flashVer = "FMLE/3.0 (compatible; rtmps-edge)"

// playBuffer is the buffer that the edge tells an origin that it has, in
// milliseconds: ffmpeg's figure.
const playBuffer = 3000

// maxOriginChunk is the largest chunk that an origin may set: nginx-rtmp can be
// configured to 10 MiB, and a large one costs nothing here.
const maxOriginChunk = 0xFFFFFF

// Transaction numbers, in the order of real encoders.
const (
	txnConnect = iota + 1
	txnRelease
	txnFCPublish
	txnCreate
	txnStream
)

// Open leads the dialogue with an origin from the first byte until it has
// accepted the stream. It does not close rw and sets no deadline. A refusal is a
// *StatusError; other errors are those of rw and *ProtocolError.
func Open(rw io.ReadWriter, t Target, lim Limits) (*Conn, error) {
	c := newOriginConn(rw, lim)
	c.action, c.name = t.Action, secret.New(t.Name)
	c.dropEmpty, c.messages = t.DropEmpty, t.MessageSize
	c.sendsData = t.Action == Play
	size := uint32(t.ChunkSize)
	if size == 0 {
		size = outChunkSize
	}
	o := append(Object{{"app", t.App}, {"type", "nonprivate"}, {"flashVer", flashVer}, {"tcUrl", t.TcURL}},
		t.Enhanced.properties()...)
	first := c.encode(controlMessage(typeSetChunkSize, size), command("connect", txnConnect, o))
	err := c.openHandshake(first)
	if err == nil {
		t.trace("connect")
		err = c.open(t)
	}
	if err != nil {
		c.in.Release()
		return nil, err
	}
	c.setup = false
	return c, nil
}

func newOriginConn(rw io.ReadWriter, lim Limits) *Conn {
	c := newConn(rw, lim)
	c.isOrigin, c.lim.ChunkSize = true, maxOriginChunk
	return c
}

// Probe says whether there is an RTMP server at the other end of rw: it answers
// a handshake, and a connect to app with whatever it likes, a close included,
// as nginx-rtmp does for an app that it has not. It does not close rw and sets
// no deadline.
func Probe(rw io.ReadWriter, app, tcURL string) error {
	c := newOriginConn(rw, Limits{})
	defer c.in.Release()
	o := Object{{"app", app}, {"type", "nonprivate"}, {"flashVer", flashVer}, {"tcUrl", tcURL}}
	if err := c.openHandshake(c.encode(command("connect", txnConnect, o))); err != nil {
		return err
	}
	_, err := c.await(txnConnect)
	var said *StatusError
	if errors.As(err, &said) || errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) {
		return nil
	}
	return err
}

func (c *Conn) open(t Target) error {
	if _, err := c.await(txnConnect); err != nil {
		return err
	}
	t.trace("createStream")
	create := command("createStream", txnCreate, nil)
	var err error
	if t.Action == Play {
		err = c.send(controlMessage(typeWindowAckSize, serverWindow), create)
	} else {
		err = c.send(command("releaseStream", txnRelease, nil, t.Name),
			command("FCPublish", txnFCPublish, nil, t.Name), create)
	}
	if err != nil {
		return err
	}
	if c.msid, err = c.created(); err != nil {
		return err
	}
	t.trace(string(t.Action))
	mode := t.Mode
	if mode == "" {
		mode = "live"
	}
	if t.Action == Play {
		// −2000, as ffmpeg writes it: live, or else recorded (SPEC §7.2.2.1).
		err = c.send(streamCommand("play", 0, nil, t.Name, -2000),
			userEvent(eventSetBufferLength, c.msid, playBuffer))
	} else {
		err = c.send(streamCommand("publish", txnStream, nil, t.Name, mode))
	}
	if err != nil {
		return err
	}
	_, err = c.await(0)
	return err
}

// created waits for the message stream id.
func (c *Conn) created() (uint32, error) {
	reply, err := c.await(txnCreate)
	if err != nil {
		return 0, err
	}
	if len(reply.args) < 2 {
		return 0, breach("the origin answers createStream without a stream id")
	}
	id, ok := reply.args[1].(float64)
	if !ok || !(id >= 0 && id < 1<<32) {
		return 0, breach("the origin answers createStream without a stream id")
	}
	return uint32(id), nil
}

// await reads up to the reply with that transaction number; 0 waits for the
// status that starts the stream. Refusals in between end it.
func (c *Conn) await(txn float64) (call, error) {
	for range maxSetupCommands {
		m, err := c.nextMessage()
		if err != nil {
			return call{}, err
		}
		if m.typ != typeCommand && m.typ != typeCommandAMF3 {
			continue
		}
		r, err := parseCall(m)
		if err != nil {
			return r, err
		}
		done, err := c.answer(r, txn)
		if done || err != nil {
			return r, err
		}
	}
	return call{}, breach("the origin sends more than %d messages without an answer", maxSetupCommands)
}

func (c *Conn) answer(r call, txn float64) (done bool, err error) {
	switch r.name {
	case "_result":
		return txn != 0 && r.txn == txn, nil
	case "_error": // to releaseStream and FCPublish it means nothing
		if r.txn == txn || txn == 0 && r.txn == txnStream {
			return true, refused(r)
		}
	case "onStatus":
		level, code, _ := statusOf(r)
		started := code == "NetStream.Publish.Start" || code == "NetStream.Play.Start"
		if txn == 0 && started {
			return true, nil
		}
		if level == "error" {
			return true, refused(r)
		}
	case "close":
		return true, refused(r)
	}
	return false, nil
}

func refused(r call) error {
	_, code, description := statusOf(r)
	return &StatusError{Code: code, Description: description}
}

// Finish tells an origin that the stream is over. The caller ends the writing
// direction at once: what was said may wait for that.
func (c *Conn) Finish() error {
	c.w.mu.Lock()
	whole := c.w.left == 0
	c.w.unlock()
	if !whole {
		return errors.New("rtmp: the stream ends within a message")
	}
	if c.action == Play {
		return c.sendLast(command("deleteStream", 0, nil, float64(c.msid)))
	}
	return c.sendLast(command("FCUnpublish", 0, nil, c.name.Reveal()), command("deleteStream", 0, nil, float64(c.msid)))
}

// End tells a client that its stream is over, and with e why. The caller ends the
// writing direction at once: what was said may wait for that.
func (c *Conn) End(e *StatusError) error {
	c.w.mu.Lock()
	whole := c.w.left == 0
	c.w.unlock()
	if !whole {
		return nil // nothing can be said within a message
	}
	switch {
	case e != nil:
		return c.sendLast(onStatus("error", e.Code, e.Description))
	case c.action == Play:
		return c.sendLast(onStatus("status", "NetStream.Play.Stop", "The stream has ended."), userEvent(eventStreamEOF, c.msid))
	}
	return c.sendLast(onStatus("status", "NetStream.Unpublish.Success", "The stream is no longer published."))
}

// Release gives the buffers back. No other method may be called after it.
func (c *Conn) Release() { c.in.Release() }
