package rtmptest

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"time"
)

// Peer is the client's end of a connection: what a Publisher and a Player
// have in common. It reads all the time, answers pings, and acknowledges what
// it is asked to.
type Peer struct {
	*tape
	*link
	wg   sync.WaitGroup
	acks acks
	// stopAfter stops the reading after so many messages; 0 = never.
	stopAfter int
	// quiet peers answer neither pings nor windows by themselves.
	quiet bool
	msid  uint32
}

func newPeer(conn net.Conn, mode Mode) *Peer {
	return &Peer{tape: newTape(mode), link: newLink(conn)}
}

// handshake speaks the client's part: first is C0 and C1, second what follows
// S0, S1 and S2; nil means to echo S1.
func (p *Peer) handshake(first, second []byte) error {
	if err := p.write(first); err != nil {
		return fmt.Errorf("C0 and C1: %w", err)
	}
	p.conn.SetReadDeadline(time.Now().Add(Patience))
	s := make([]byte, HandshakeLen)
	n, err := io.ReadFull(p.conn, s)
	p.recordRaw(s[:n])
	if err != nil {
		p.finish(err)
		return fmt.Errorf("waiting for S0, S1 and S2, %d of %d bytes: %w", n, len(s), err)
	}
	p.conn.SetReadDeadline(time.Time{})
	if s[0] != 3 {
		p.fault("S0 is %d", s[0])
	}
	if second == nil {
		second = s[1 : 1+handshakeSize]
	}
	if err := p.write(second); err != nil {
		return fmt.Errorf("C2: %w", err)
	}
	return nil
}

// listen starts the reading.
func (p *Peer) listen() { p.wg.Go(func() { p.finish(p.read()) }) }

func (p *Peer) read() error {
	buf := make([]byte, 64<<10)
	for {
		n, err := p.conn.Read(buf)
		if n > 0 {
			if err := p.heard(buf[:n]); err != nil {
				return err
			}
		}
		if err != nil {
			return err
		}
		if p.stopAfter > 0 && len(p.Messages()) >= p.stopAfter {
			<-p.closed
			return net.ErrClosed
		}
	}
}

func (p *Peer) heard(b []byte) error {
	msgs, err := p.feed(b)
	reply := new(Builder)
	for _, m := range msgs {
		if m.Type == TypeWindowAckSize && len(m.Payload) == 4 {
			p.acks.window = binary.BigEndian.Uint32(m.Payload)
		}
		if event, value, _ := m.Event(); event == EventPingRequest && m.Type == TypeUserControl {
			reply.UserControl(EventPingResponse, value)
		}
	}
	if n, due := p.acks.due(len(b)); due {
		reply.Control(TypeAck, n)
	}
	if reply.Len() > 0 && !p.quiet {
		// Not from here: reading must go on while the other side reads slowly.
		p.wg.Go(func() { p.Send(reply) })
	}
	return err
}

// Received gives all messages from the server so far.
func (p *Peer) Received() []Message { return p.Messages() }

// MSID is the message stream that the server has given.
func (p *Peer) MSID() uint32 { return p.msid }

// Abort closes the connection without a word, as a killed client does.
func (p *Peer) Abort() {
	p.shut()
	p.wg.Wait()
}

// await waits for the first command that match accepts. A refusal of any kind
// that comes before is returned as a *StatusError.
func (p *Peer) await(what string, txn float64, match func(Command, Message) bool) (Command, error) {
	var found Command
	var refused *StatusError
	_, err := p.WaitMessages(1, what, func(m Message) bool {
		cmd, ok := m.Command()
		if !ok || refused != nil || found.Name != "" {
			return false
		}
		if refused = refusal(cmd, txn); refused != nil {
			return true
		}
		if match(cmd, m) {
			found = cmd
			return true
		}
		return false
	})
	if refused != nil {
		return found, refused
	}
	return found, err
}

// refusal gives the error in an onStatus, or in the _error that answers txn.
func refusal(cmd Command, txn float64) *StatusError {
	info := cmd.Info()
	e := &StatusError{info.Str("level"), info.Str("code"), info.Str("description")}
	if cmd.Name == "onStatus" && e.Level == "error" || cmd.Name == "_error" && cmd.Txn == txn {
		return e
	}
	return nil
}

// awaitResult waits for the answer to a transaction.
func (p *Peer) awaitResult(what string, txn float64) (Command, error) {
	return p.await(what, txn, func(c Command, _ Message) bool { return c.Name == "_result" && c.Txn == txn })
}

// awaitStatus waits for an onStatus with one of the codes.
func (p *Peer) awaitStatus(codes ...string) (Command, error) {
	return p.await("onStatus "+codes[0], -1, func(c Command, _ Message) bool {
		return c.Name == "onStatus" && slices.Contains(codes, c.Info().Str("code"))
	})
}

// WaitStatus waits for an onStatus of that code; a refusal is returned as a
// *StatusError.
func (p *Peer) WaitStatus(code string) error {
	_, err := p.awaitStatus(code)
	return err
}

// greet is the handshake; after it the peer reads.
func (p *Peer) greet() error {
	if err := p.handshake(new(Builder).C0C1(3).Bytes(), nil); err != nil {
		return err
	}
	p.listen()
	return nil
}

// connect sends what b holds and waits for the result of its connect.
func (p *Peer) connect(b *Builder) error {
	if err := p.Send(b); err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	_, err := p.awaitResult("connect's result", 1)
	return err
}

// created waits for createStream's result and keeps the id.
func (p *Peer) created(txn float64) error {
	cmd, err := p.awaitResult("createStream's result", txn)
	if err != nil {
		return err
	}
	id, ok := 0.0, false
	if len(cmd.Args) > 0 {
		id, ok = cmd.Args[len(cmd.Args)-1].(float64)
	}
	if !ok || id < 1 {
		return fmt.Errorf("createStream's result is %v", cmd.Args)
	}
	p.msid = uint32(id)
	return nil
}
