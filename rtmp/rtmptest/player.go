package rtmptest

import (
	"fmt"
	"net"
)

// PlayConfig says what a Player asks for.
type PlayConfig struct {
	App, TcURL, Name string
	// StopReadingAfter stops the reading, without closing, after so many
	// messages; 0 = never.
	StopReadingAfter int
	// Mode is how the server's bytes are read; see Breaches.
	Mode Mode
}

// Player is a playing client. Like FFmpeg it asks for getStreamLength too.
type Player struct {
	*Peer
	cfg PlayConfig
}

// Play speaks over conn, TLS done by the caller, until the server has said
// NetStream.Play.Start. A refusal is a *StatusError. The Player is never nil:
// after an error it tells what was received, and has to be ended with Abort.
func Play(conn net.Conn, cfg PlayConfig) (*Player, error) {
	p := &Player{newPeer(conn, cfg.Mode), cfg}
	p.stopAfter = cfg.StopReadingAfter
	if err := p.start(); err != nil {
		return p, fmt.Errorf("play: %w", err)
	}
	return p, nil
}

func (p *Player) start() error {
	if err := p.greet(); err != nil {
		return err
	}
	b := new(Builder).Connect(p.cfg.App, p.cfg.TcURL,
		Property{"fpad", false}, Property{"audioCodecs", 4071}, Property{"videoCodecs", 252})
	if err := p.connect(b); err != nil {
		return err
	}
	b = new(Builder).Control(TypeWindowAckSize, 2500000).Command(0, "createStream", 2, nil)
	if err := p.Send(b); err != nil {
		return err
	}
	if err := p.created(2); err != nil {
		return err
	}
	b = new(Builder).
		Command(0, "getStreamLength", 3, nil, p.cfg.Name).
		Command(p.msid, "play", 4, nil, p.cfg.Name, -2000.0).
		UserControl(EventSetBufferLength, p.msid, 3000)
	if err := p.Send(b); err != nil {
		return err
	}
	return p.WaitStatus("NetStream.Play.Start")
}

// Close ends the stream as a client does that has the time, and the
// connection with it.
func (p *Player) Close() error {
	err := p.Send(new(Builder).Command(0, "deleteStream", 5, nil, float64(p.msid)))
	p.Abort()
	return err
}
