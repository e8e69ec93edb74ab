package rtmptest

import (
	"fmt"
	"net"
)

// Replies is what a server said to a replayed client.
type Replies struct {
	Messages []Message
	// Breaches of the canonical form in them.
	Breaches []error
	// Sent counts the transcript's bytes that went out. It may be less than
	// all if the server ended the session while the client took its leave.
	Sent int
	// End is how the server ended the connection; nil if it had not.
	End error
}

// Replay sends a publisher's recorded direction, handshake included, to a live
// server as that client would: in the recorded order, and waiting wherever
// the client had to wait for the server. The chunks go out as they were
// recorded, so the server must give the message stream that the recorded one
// gave: 1.
//
// At the end it half-closes the connection and waits for the server to end it.
// A transcript may stop anywhere, in the handshake too. A refusal is a
// *StatusError; Replies are never nil. The connection is closed.
func Replay(conn net.Conn, c2s []byte) (*Replies, error) { return replay(conn, c2s, 0) }

// ReplayPlay is Replay for a player's transcript: what the client said after
// play is only sent, and the connection ended, when the server has sent so
// much media.
func ReplayPlay(conn net.Conn, c2s []byte, media int) (*Replies, error) {
	return replay(conn, c2s, media)
}

func replay(conn net.Conn, c2s []byte, media int) (*Replies, error) {
	r := &replayer{peer: newPeer(conn, Strict), c2s: c2s, media: media}
	// The recorded client's own acknowledgements and pongs go out.
	r.peer.quiet = true
	err := r.run()
	end := r.peer.Ended()
	r.peer.Abort()
	return &Replies{r.peer.Messages(), r.peer.Breaches(), r.sent, end}, err
}

type replayer struct {
	peer  *Peer
	c2s   []byte
	sent  int
	media int
	// gates are what has to happen before certain messages may follow.
	gates []gate
	plays bool
}

// gate holds messages back until the server has said something.
type gate struct {
	holds func(Message) bool
	pass  func() error
}

func (r *replayer) run() error {
	if err := r.handshake(); err != nil {
		return err
	}
	if len(r.c2s) > HandshakeLen {
		if err := r.messages(); err != nil {
			return fmt.Errorf("replay, %d of %d bytes sent: %w", r.sent, len(r.c2s), err)
		}
	}
	return r.finish()
}

// handshake replays as much of it as there is.
func (r *replayer) handshake() error {
	const first = 1 + handshakeSize
	if len(r.c2s) < first {
		r.peer.listen()
		return r.sendUpTo(len(r.c2s))
	}
	err := r.peer.handshake(r.c2s[:first], r.c2s[first:min(len(r.c2s), HandshakeLen)])
	if err == nil {
		r.sent = min(len(r.c2s), HandshakeLen)
		r.peer.listen()
	}
	return err
}

func (r *replayer) messages() error {
	msgs, _, err := Parse(r.c2s[HandshakeLen:], Lenient)
	if err != nil {
		return fmt.Errorf("transcript: %w", err)
	}
	for i, m := range msgs {
		if err := r.passGates(m); err != nil {
			return err
		}
		if err := r.sendUpTo(HandshakeLen + int(m.End)); err != nil {
			if onlyGoodbyes(msgs[i:]) {
				return nil
			}
			return err
		}
		r.remember(m)
	}
	if err := r.passAll(); err != nil {
		return err
	}
	return r.sendUpTo(len(r.c2s))
}

// onlyGoodbyes tells whether a server may have ended the session before it
// heard the rest: FCUnpublish has already said everything that deleteStream
// says again.
func onlyGoodbyes(rest []Message) bool {
	for _, m := range rest {
		cmd, _ := m.Command()
		if !m.IsControl() && cmd.Name != "FCUnpublish" && cmd.Name != "deleteStream" && cmd.Name != "closeStream" {
			return false
		}
	}
	return true
}

func (r *replayer) sendUpTo(end int) error {
	err := r.peer.write(r.c2s[r.sent:end])
	if err == nil {
		r.sent = end
	}
	return err
}

func (r *replayer) passGates(m Message) error {
	for len(r.gates) > 0 && r.gates[0].holds(m) {
		if err := r.gates[0].pass(); err != nil {
			return err
		}
		r.gates = r.gates[1:]
	}
	return nil
}

// passAll waits for a player's media even if the client said nothing more:
// that is what it was there for.
func (r *replayer) passAll() error {
	if !r.plays {
		return nil
	}
	return r.passGates(Message{Type: TypeCommand})
}

// remember puts up the gate that a client waits at after m.
func (r *replayer) remember(m Message) {
	cmd, ok := m.Command()
	if !ok {
		return
	}
	everything := func(Message) bool { return true }
	switch cmd.Name {
	case "connect":
		r.gate(everything, func() error {
			_, err := r.peer.awaitResult("connect's result", cmd.Txn)
			return err
		})
	case "createStream":
		r.gate(needsStream, func() error { return r.peer.created(cmd.Txn) })
	case "publish":
		r.gate(everything, func() error { return r.peer.WaitStatus("NetStream.Publish.Start") })
	case "play":
		r.plays = true
		r.gate(everything, func() error { return r.peer.WaitStatus("NetStream.Play.Start") })
		r.gate(func(m Message) bool { return m.Type == TypeCommand }, func() error {
			_, err := r.peer.WaitMedia(r.media)
			return err
		})
	}
}

func (r *replayer) gate(holds func(Message) bool, pass func() error) {
	r.gates = append(r.gates, gate{holds, pass})
}

// needsStream tells what cannot be sent before createStream is answered.
// Everything else is not waited for by any client.
func needsStream(m Message) bool {
	cmd, ok := m.Command()
	return !ok && m.StreamID != 0 || cmd.Name == "publish" || cmd.Name == "play"
}

// finish ends the sending and waits for the server to end the rest.
func (r *replayer) finish() error {
	half, ok := r.peer.conn.(interface{ CloseWrite() error })
	if !ok {
		return nil
	}
	if err := half.CloseWrite(); err != nil {
		// The server was first.
		return nil
	}
	_, err := r.peer.WaitEnd()
	return err
}
