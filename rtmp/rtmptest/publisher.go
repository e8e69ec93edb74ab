package rtmptest

import (
	"fmt"
	"net"
)

// PublishConfig says what a Publisher asks for.
type PublishConfig struct {
	App, TcURL, Name string
	// ChunkSize is set before connect, as OBS does; 0 = not set.
	ChunkSize int
	// Connect holds more properties for the connect object.
	Connect []Property
	// Mode is how the server's bytes are read; see Breaches.
	Mode Mode
}

// Publisher is a publishing client. Like OBS it sends all names in all
// commands that have one.
type Publisher struct {
	*Peer
	cfg PublishConfig
}

// Publish speaks over conn, TLS done by the caller, until the server has said
// NetStream.Publish.Start. A refusal is a *StatusError. The Publisher is never
// nil: after an error it tells what was received, and has to be ended with
// Abort.
func Publish(conn net.Conn, cfg PublishConfig) (*Publisher, error) {
	p := &Publisher{newPeer(conn, cfg.Mode), cfg}
	if err := p.start(); err != nil {
		return p, fmt.Errorf("publish: %w", err)
	}
	return p, nil
}

func (p *Publisher) start() error {
	for _, step := range p.steps() {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// steps are the parts of a session, in their order; each waits for its answer.
// There is one for each Phase.
func (p *Publisher) steps() []func() error {
	return []func() error{p.greet, p.open, p.create, p.publish}
}

func (p *Publisher) open() error {
	b := p.builder()
	if n := p.cfg.ChunkSize; n != 0 {
		b = new(Builder).SetChunkSize(n)
	}
	return p.connect(b.Connect(p.cfg.App, p.cfg.TcURL, p.cfg.Connect...))
}

func (p *Publisher) create() error {
	b := p.builder().
		Command(0, "releaseStream", 2, nil, p.cfg.Name).
		Command(0, "FCPublish", 3, nil, p.cfg.Name).
		Command(0, "createStream", 4, nil)
	if err := p.Send(b); err != nil {
		return err
	}
	return p.created(4)
}

func (p *Publisher) publish() error {
	if err := p.Send(p.builder().Command(p.msid, "publish", 5, nil, p.cfg.Name, "live")); err != nil {
		return err
	}
	return p.WaitStatus("NetStream.Publish.Start")
}

func (p *Publisher) builder() *Builder { return new(Builder).WithChunkSize(p.cfg.ChunkSize) }

// WriteVideo sends one video message.
func (p *Publisher) WriteVideo(ts uint32, payload []byte) error {
	return p.Send(p.builder().Video(p.msid, ts, payload))
}

// WriteAudio sends one audio message.
func (p *Publisher) WriteAudio(ts uint32, payload []byte) error {
	return p.Send(p.builder().Audio(p.msid, ts, payload))
}

// WriteData sends one data message, AMF0.
func (p *Publisher) WriteData(ts uint32, values ...any) error {
	return p.Send(p.builder().Data(p.msid, ts, values...))
}

// Stop says FCUnpublish and deleteStream, and leaves the connection open.
func (p *Publisher) Stop() error {
	return p.Send(p.builder().
		Command(0, "FCUnpublish", 6, nil, p.cfg.Name).
		Command(0, "deleteStream", 7, nil, float64(p.msid)))
}

// Close ends the stream as a client does that has the time, and the
// connection with it.
func (p *Publisher) Close() error {
	err := p.Stop()
	p.Abort()
	return err
}
