package rtmptest

import (
	"errors"
	"fmt"
)

// Transcript is the media part of what a real server sent to a player: raw
// chunks, as that server framed them.
type Transcript struct {
	Raw       []byte
	ChunkSize int
	MSID      uint32
	Messages  []Message // what Raw holds
}

// PlayTranscript cuts a server's recorded direction, handshake included, after
// the messages that start playing.
func PlayTranscript(s2c []byte) (*Transcript, error) {
	if len(s2c) <= HandshakeLen {
		return nil, errors.New("a transcript that ends in the handshake")
	}
	chunks := s2c[HandshakeLen:]
	msgs, rest, err := Parse(chunks, Lenient)
	if err != nil {
		return nil, err
	}
	at := mediaBegins(msgs)
	if at < 0 {
		return nil, errors.New("a transcript without Play.Start")
	}
	if at == len(msgs) {
		return &Transcript{ChunkSize: int(msgs[at-1].ChunkSize), MSID: msgs[at-1].StreamID}, nil
	}
	t := &Transcript{
		Raw:       chunks[msgs[at].Offset : len(chunks)-rest],
		ChunkSize: int(msgs[at].ChunkSize),
		MSID:      msgs[at-1].StreamID,
		Messages:  msgs[at:],
	}
	return t, t.standsAlone()
}

// mediaBegins gives the index of the first message after Play.Start and the
// statuses that come with it, -1 if there is no Play.Start.
func mediaBegins(msgs []Message) int {
	started := false
	for i, m := range msgs {
		cmd, ok := m.Command()
		if started && !ok {
			return i
		}
		started = started || ok && cmd.Info().Str("code") == "NetStream.Play.Start"
	}
	if started {
		return len(msgs)
	}
	return -1
}

// standsAlone makes sure that the cut has parted no header from what it
// refers to.
func (t *Transcript) standsAlone() error {
	p := NewParser(Lenient)
	p.chunkSize = uint32(t.ChunkSize)
	p.Write(t.Raw)
	for i := 0; ; i++ {
		m, ok, err := p.Next()
		switch {
		case err != nil:
			return fmt.Errorf("the media part depends on what was before: %w", err)
		case !ok && i == len(t.Messages):
			return nil
		case !ok || i >= len(t.Messages) || m.Media() != t.Messages[i].Media():
			return errors.New("the media part alone reads otherwise")
		}
	}
}
