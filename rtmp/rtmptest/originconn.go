package rtmptest

import (
	"encoding/binary"
	"fmt"
	"io"
	"sync"
	"time"
)

// OriginConn is one connection that an Origin has accepted.
type OriginConn struct {
	*tape
	*link
	cfg OriginConfig

	players sync.WaitGroup
	acks    acks
	hung    bool // only used by serve
	started bool // under tape.mu
}

// Connect gives the command object of the first connect, nil before it came.
func (c *OriginConn) Connect() Object {
	if all := ConnectIn(c.Messages()); len(all) > 0 {
		return all[0]
	}
	return nil
}

// App gives the first connect's app.
func (c *OriginConn) App() string { return c.Connect().Str("app") }

// TcURL gives the first connect's tcUrl.
func (c *OriginConn) TcURL() string { return c.Connect().Str("tcUrl") }

// Names gives every stream name that came, with the command that carried it.
func (c *OriginConn) Names() []NameSeen { return NamesIn(c.Messages()) }

// Media gives the audio and video that came so far.
func (c *OriginConn) Media() []Media { return MediaOf(c.Messages()) }

// Commands gives the names of the commands that came so far.
func (c *OriginConn) Commands() []string {
	var out []string
	for _, m := range c.Messages() {
		if cmd, ok := m.Command(); ok {
			out = append(out, cmd.Name)
		}
	}
	return out
}

// Started tells whether publish or play was granted.
func (c *OriginConn) Started() bool {
	c.tape.mu.Lock()
	defer c.tape.mu.Unlock()
	return c.started
}

// WaitStarted waits for that.
func (c *OriginConn) WaitStarted() error {
	ok := c.wait(func() bool { return c.started || c.end != nil })
	if c.Started() {
		return nil
	}
	if !ok {
		return fmt.Errorf("no publish and no play within %v", Patience)
	}
	return fmt.Errorf("the connection ended before publish or play: %w", c.Ended())
}

// Close ends the connection.
func (c *OriginConn) Close() { c.shut() }

// Ping sends a ping request.
func (c *OriginConn) Ping(value uint32) error {
	return c.Send(new(Builder).UserControl(EventPingRequest, value))
}

// Status sends an onStatus.
func (c *OriginConn) Status(s *StatusError) error {
	return c.Send(c.builder().Command(c.cfg.MSID, "onStatus", 0, nil, s.object()))
}

// Unpublish tells a player that the publisher has gone.
func (c *OriginConn) Unpublish() error {
	return c.Status(&StatusError{"status", "NetStream.Play.UnpublishNotify", "gone"})
}

// Play sends media to a player, one message after the other.
func (c *OriginConn) Play(msgs ...Message) error {
	for _, m := range msgs {
		if err := c.Send(c.builder().Interleave(c.addressed(m))); err != nil {
			return err
		}
	}
	return nil
}

func (c *OriginConn) builder() *Builder { return new(Builder).WithChunkSize(c.cfg.ChunkSize) }

// addressed puts m on the connection's message stream and on a chunk stream.
func (c *OriginConn) addressed(m Message) Message {
	m.StreamID = c.cfg.MSID
	if m.CSID == 0 {
		m.CSID = map[uint8]uint32{TypeAudio: CSIDAudio, TypeVideo: CSIDVideo}[m.Type]
	}
	if m.CSID == 0 {
		m.CSID = CSIDData
	}
	return m
}

// serve is the whole life of the connection.
func (c *OriginConn) serve() {
	err := c.converse()
	c.finish(err)
	c.Close()
	c.players.Wait()
}

func (c *OriginConn) converse() error {
	if c.fails(StepAccept) {
		return errStep
	}
	if c.hung {
		<-c.closed
		return errStep
	}
	if err := c.handshake(); err != nil {
		return err
	}
	buf := make([]byte, 64<<10)
	for {
		n, err := c.conn.Read(buf)
		if n > 0 {
			if err := c.heard(buf[:n]); err != nil {
				return err
			}
		}
		if err != nil {
			return err
		}
	}
}

// errStep ends a connection as the configuration has told it to.
var errStep = fmt.Errorf("closed by its configuration: %w", io.EOF)

// fails does what the configuration says about a step: true means to close.
func (c *OriginConn) fails(s Step) bool {
	c.hung = c.hung || c.cfg.HangAt == s
	return c.cfg.CloseAt == s
}

func (c *OriginConn) handshake() error {
	c0, err := c.readRaw(1)
	if err == nil && c0[0] != 3 {
		c.fault("handshake version %d", c0[0])
		return fmt.Errorf("handshake version %d", c0[0])
	}
	if err != nil {
		return fmt.Errorf("C0: %w", err)
	}
	c1, err := c.readRaw(handshakeSize)
	if err != nil {
		return fmt.Errorf("C1: %w", err)
	}
	c.judgeC1(c1)
	if c.fails(StepHandshake) {
		return errStep
	}
	if !c.hung {
		s1 := new(Builder).C0C1(3).Bytes()
		if err := c.write(append(s1, c1...)); err != nil {
			return err
		}
	}
	if _, err := c.readRaw(handshakeSize); err != nil {
		return fmt.Errorf("C2: %w", err)
	}
	return nil
}

// readRaw reads n bytes that are no chunks, and records what came of them.
func (c *OriginConn) readRaw(n int) ([]byte, error) {
	b := make([]byte, n)
	n, err := io.ReadFull(c.conn, b)
	c.recordRaw(b[:n])
	return b, err
}

// judgeC1 holds an edge's handshake against the simple form. Real clients
// send digests.
func (c *OriginConn) judgeC1(c1 []byte) {
	if version := binary.BigEndian.Uint32(c1[4:]); version != 0 && c.cfg.Mode == Strict {
		c.fault("C1 with version %08x: no simple handshake", version)
	}
}

// heard records bytes and answers the messages that they complete.
func (c *OriginConn) heard(b []byte) error {
	msgs, err := c.feed(b)
	if n, due := c.acks.due(len(b)); due && !c.hung {
		c.Send(new(Builder).Control(TypeAck, n))
	}
	for _, m := range msgs {
		if c.cfg.Judge != nil {
			if err := c.cfg.Judge(c, m); err != nil {
				return err
			}
		}
		if err := c.message(m); err != nil {
			return err
		}
	}
	if err != nil {
		return err
	}
	if n := c.cfg.StopReadingAfter; n > 0 && len(c.Messages()) >= n {
		<-c.closed
		return errStep
	}
	return nil
}

func (c *OriginConn) message(m Message) error {
	switch {
	case m.IsMedia():
		if c.fails(StepMedia) {
			return errStep
		}
	case m.Type == TypeWindowAckSize && len(m.Payload) == 4:
		c.acks.window = binary.BigEndian.Uint32(m.Payload)
	case m.Type == TypeUserControl:
		if event, value, _ := m.Event(); event == EventPingRequest && !c.hung {
			return c.Send(new(Builder).UserControl(EventPingResponse, value))
		}
	default:
		if cmd, ok := m.Command(); ok {
			return c.command(cmd, m)
		}
	}
	return nil
}

func (c *OriginConn) command(cmd Command, m Message) error {
	if c.fails(Step(cmd.Name)) {
		return errStep
	}
	if c.hung || c.cfg.Answer != nil && c.cfg.Answer(c, cmd, m) {
		return nil
	}
	switch cmd.Name {
	case "connect":
		return c.answerConnect(cmd)
	case "createStream":
		return c.Send(c.builder().Command(0, "_result", cmd.Txn, nil, float64(c.cfg.MSID)))
	case "publish":
		return c.answerPublish()
	case "play":
		return c.answerPlay()
	case "releaseStream", "FCPublish", "FCSubscribe", "getStreamLength":
		if cmd.Txn != 0 {
			return c.Send(c.builder().Command(0, "_result", cmd.Txn, nil))
		}
	}
	return nil
}

func (c *OriginConn) answerConnect(cmd Command) error {
	if r := c.cfg.RefuseConnect; r != nil {
		return c.Send(new(Builder).Command(0, "_error", cmd.Txn, nil, r.object()))
	}
	b := new(Builder).Control(TypeWindowAckSize, c.cfg.WindowAckSize).SetPeerBandwidth(c.cfg.WindowAckSize)
	if n := c.cfg.ChunkSize; n != 0 {
		b.SetChunkSize(n)
	}
	return c.Send(b.Command(0, "_result", cmd.Txn,
		Object{{"fmsVer", "FMS/3,0,1,123"}, {"capabilities", 31}},
		Object{{"level", "status"}, {"code", "NetConnection.Connect.Success"},
			{"description", "Connection succeeded."}, {"objectEncoding", 0}}))
}

func (c *OriginConn) answerPublish() error {
	if c.cfg.RefusePublish != nil {
		return c.Status(c.cfg.RefusePublish)
	}
	return c.start("NetStream.Publish.Start")
}

func (c *OriginConn) answerPlay() error {
	if c.cfg.RefusePlay != nil {
		return c.Status(c.cfg.RefusePlay)
	}
	if err := c.start("NetStream.Play.Start"); err != nil {
		return err
	}
	// On its own, so that a player that reads slowly is still heard.
	c.players.Go(c.playAll)
	return nil
}

func (c *OriginConn) start(code string) error {
	b := c.builder().UserControl(EventStreamBegin, c.cfg.MSID).
		Command(c.cfg.MSID, "onStatus", 0, nil, Object{{"level", "status"}, {"code", code}, {"description", "Start"}})
	if c.cfg.PingOnStart {
		b.UserControl(EventPingRequest, 4711)
	}
	err := c.Send(b)
	c.update(func() { c.started = true })
	return err
}

func (c *OriginConn) playAll() {
	var err error
	if t := c.cfg.Transcript; t != nil {
		err = c.write(t.Raw)
	} else if c.cfg.Interleave {
		err = c.playInterleaved()
	} else {
		err = c.Play(c.cfg.Play...)
	}
	if err == nil && c.cfg.Unpublish {
		err = c.Unpublish()
	}
	if err == nil && c.cfg.CloseAfterPlay {
		c.linger()
	}
}

// linger closes without a reset: the player must get all that was sent, so its
// own end is awaited.
func (c *OriginConn) linger() {
	if half, ok := c.conn.(interface{ CloseWrite() error }); ok {
		half.CloseWrite()
		timer := time.AfterFunc(Patience, c.Close)
		<-c.closed
		timer.Stop()
		return
	}
	c.Close()
}

// playInterleaved mixes runs of messages on different chunk streams.
func (c *OriginConn) playInterleaved() error {
	for rest := c.cfg.Play; len(rest) > 0; {
		var run []Message
		used := map[uint32]bool{}
		for len(rest) > 0 {
			m := c.addressed(rest[0])
			if used[m.CSID] {
				break
			}
			used[m.CSID] = true
			run, rest = append(run, m), rest[1:]
		}
		if err := c.Send(c.builder().Interleave(run...)); err != nil {
			return err
		}
	}
	return nil
}
