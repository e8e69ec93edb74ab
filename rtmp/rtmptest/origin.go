package rtmptest

import (
	"fmt"
	"net"
	"sync"
	"testing"
)

// Step is a place in an origin's session where it can be told to fail.
type Step string

// Steps, in their order.
const (
	StepAccept       Step = "accept"       // the connection is there, nothing is read
	StepHandshake    Step = "handshake"    // C0 and C1 are read
	StepConnect      Step = "connect"      // this command is read, and so on
	StepCreateStream Step = "createStream" //
	StepPublish      Step = "publish"      //
	StepPlay         Step = "play"         //
	StepMedia        Step = "media"        // the first audio or video is read
)

// OriginConfig says how an Origin behaves. The zero value is a server that
// accepts everything and judges strictly what it hears.
type OriginConfig struct {
	// MSID is what createStream answers: 0 = 5, so that a relay that confuses
	// the two sides' ids is found out.
	MSID uint32
	// ChunkSize is set with the answer to connect; 0 = not set, 128 stays.
	ChunkSize int
	// WindowAckSize is asked with the answer to connect; 0 = 2,500,000.
	WindowAckSize uint32
	// Mode is how the client's bytes are read. In Strict mode each breach
	// fails the test when the origin is closed, unless Unchecked is set.
	Mode      Mode
	Unchecked bool

	// RefuseConnect is answered to connect as _error, RefusePublish and
	// RefusePlay as onStatus. The connection stays open, as with most servers.
	RefuseConnect, RefusePublish, RefusePlay *StatusError
	// CloseAt closes the connection there, without an answer.
	CloseAt Step
	// HangAt answers nothing from there on. At StepAccept nothing is read
	// either.
	HangAt Step
	// StopReadingAfter stops reading, without closing, after so many messages.
	StopReadingAfter int
	// PingOnStart sends a ping request after Publish.Start or Play.Start.
	PingOnStart bool

	// Play is what a player gets after Play.Start. A message without a chunk
	// stream gets the canonical one; all get the right message stream.
	Play []Message
	// Interleave mixes the chunks of successive messages in Play that are on
	// different chunk streams.
	Interleave bool
	// Transcript, if set, is played instead of Play; MSID and ChunkSize are
	// taken from it.
	Transcript *Transcript
	// Unpublish tells the player after that that the publisher has gone, and
	// CloseAfterPlay closes the connection.
	Unpublish, CloseAfterPlay bool

	// Judge, if set, hears every message before the origin does anything
	// about it; an error ends the connection.
	Judge func(c *OriginConn, m Message) error
	// Answer, if set, is asked before the origin answers a command by itself;
	// true means that it has done what is to be done.
	Answer func(c *OriginConn, cmd Command, m Message) bool
}

func (cfg OriginConfig) withDefaults() OriginConfig {
	if t := cfg.Transcript; t != nil {
		cfg.MSID, cfg.ChunkSize = t.MSID, t.ChunkSize
	}
	if cfg.MSID == 0 {
		cfg.MSID = 5
	}
	if cfg.WindowAckSize == 0 {
		cfg.WindowAckSize = 2500000
	}
	return cfg
}

// Origin is an RTMP server on loopback for tests. It records all that it is
// told.
type Origin struct {
	cfg OriginConfig
	ln  net.Listener
	wg  sync.WaitGroup

	bell   bell
	conns  []*OriginConn // under bell
	closed bool          // under bell
}

// NewOrigin starts an origin; it ends with the test.
func NewOrigin(tb testing.TB, cfg OriginConfig) *Origin {
	tb.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatalf("rtmptest: %v", err)
	}
	o := &Origin{cfg: cfg.withDefaults(), ln: ln}
	o.wg.Go(o.accept)
	tb.Cleanup(func() {
		o.Close()
		if cfg.Mode == Strict && !cfg.Unchecked {
			o.Check(tb)
		}
	})
	return o
}

// Addr is the origin's host and port.
func (o *Origin) Addr() string { return o.ln.Addr().String() }

// Close ends the listener and all connections, and waits for them.
func (o *Origin) Close() {
	o.bell.update(func() { o.closed = true })
	o.ln.Close()
	for _, c := range o.Conns() {
		c.Close()
	}
	o.wg.Wait()
}

// Check fails the test for each breach on any connection.
func (o *Origin) Check(tb testing.TB) {
	tb.Helper()
	for i, c := range o.Conns() {
		for _, err := range c.Breaches() {
			tb.Errorf("origin, connection %d: %v", i+1, err)
		}
	}
}

// Conns gives all connections so far, in the order of their arrival.
func (o *Origin) Conns() []*OriginConn {
	o.bell.mu.Lock()
	defer o.bell.mu.Unlock()
	return append([]*OriginConn(nil), o.conns...)
}

// Conn waits for the i-th connection, counted from 0.
func (o *Origin) Conn(tb testing.TB, i int) *OriginConn {
	tb.Helper()
	if !o.bell.wait(func() bool { return len(o.conns) > i }) {
		tb.Fatalf("origin: no connection %d within %v", i+1, Patience)
	}
	return o.Conns()[i]
}

func (o *Origin) accept() {
	for {
		conn, err := o.ln.Accept()
		if err != nil {
			return
		}
		c := &OriginConn{tape: newTape(o.cfg.Mode), link: newLink(conn), cfg: o.cfg}
		o.bell.update(func() {
			if o.closed {
				c.Close()
				return
			}
			o.conns = append(o.conns, c)
			o.wg.Go(c.serve)
		})
	}
}

// NameSeen is a stream name, and the command that carried it.
type NameSeen struct{ Command, Name string }

// nameCommands carry a stream name as their first argument after the command
// object.
var nameCommands = map[string]bool{
	"releaseStream": true, "FCPublish": true, "FCUnpublish": true, "FCSubscribe": true, "FCUnsubscribe": true,
	"getStreamLength": true, "publish": true, "play": true,
}

// NamesIn gives every stream name in msgs, wherever one can stand.
func NamesIn(msgs []Message) []NameSeen {
	var out []NameSeen
	for _, m := range msgs {
		if cmd, ok := m.Command(); ok && nameCommands[cmd.Name] {
			out = append(out, NameSeen{cmd.Name, cmd.Arg(1)})
		}
	}
	return out
}

// ConnectIn gives the command objects of all connect commands in msgs.
func ConnectIn(msgs []Message) []Object {
	var out []Object
	for _, m := range msgs {
		if cmd, ok := m.Command(); ok && cmd.Name == "connect" {
			out = append(out, cmd.object())
		}
	}
	return out
}

// StatusError is a refusal: an onStatus of level error, or an _error.
type StatusError struct {
	Level, Code, Description string
}

// Error gives code and description.
func (e *StatusError) Error() string { return fmt.Sprintf("%s: %s", e.Code, e.Description) }

func (e *StatusError) object() Object {
	level := e.Level
	if level == "" {
		level = "error"
	}
	return Object{{"level", level}, {"code", e.Code}, {"description", e.Description}}
}
