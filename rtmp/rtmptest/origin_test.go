package rtmptest_test

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"

	. "rtmps-edge/rtmp/rtmptest"
)

func dial(t *testing.T, o *Origin) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", o.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

var asking = PublishConfig{App: "live", TcURL: "rtmp://127.0.0.1/live", Name: "key?token=a", ChunkSize: 4096}

func publish(t *testing.T, o *Origin, cfg PublishConfig) *Publisher {
	t.Helper()
	p, err := Publish(dial(t, o), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Abort)
	return p
}

func noBreaches(t *testing.T, got []error) {
	t.Helper()
	if len(got) != 0 {
		t.Errorf("breaches: %v", got)
	}
}

func TestPublisherAndOrigin(t *testing.T) {
	o := NewOrigin(t, OriginConfig{ChunkSize: 60000, PingOnStart: true})
	p := publish(t, o, asking)
	big := bytes.Repeat([]byte("frame"), 20000)
	for _, err := range []error{
		p.WriteData(0, "@setDataFrame", "onMetaData", ECMAArray{{"width", 320}}),
		p.WriteVideo(0, []byte{0x17, 0}),
		p.WriteAudio(1, nil),
		p.WriteVideo(0x1234567, big),
		p.Close(),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	c := o.Conn(t, 0)
	if _, err := c.WaitEnd(); err != nil {
		t.Fatal(err)
	}
	checkPublished(t, c, big)
	noBreaches(t, p.Breaches())
	if p.MSID() != 5 {
		t.Errorf("message stream %d", p.MSID())
	}
}

func checkPublished(t *testing.T, c *OriginConn, big []byte) {
	t.Helper()
	if c.App() != "live" || c.TcURL() != asking.TcURL || !c.Started() {
		t.Errorf("app %q tcUrl %q started %v", c.App(), c.TcURL(), c.Started())
	}
	want := "[{releaseStream key?token=a} {FCPublish key?token=a} {publish key?token=a} {FCUnpublish key?token=a}]"
	if got := fmt.Sprint(c.Names()); got != want {
		t.Errorf("names %s", got)
	}
	msgs := c.Messages()
	last := msgs[slices.IndexFunc(msgs, func(m Message) bool { return m.Timestamp == 0x1234567 })]
	if !bytes.Equal(last.Payload, big) || last.Type != TypeVideo || last.StreamID != 5 || last.Chunks != 25 {
		t.Errorf("big frame: %v", last)
	}
	if got := c.Media(); len(got) != 3 {
		t.Errorf("media %v", got)
	}
	if raw := c.Raw(); len(raw) < HandshakeLen+len(big) || raw[0] != 3 {
		t.Errorf("%d raw bytes", len(raw))
	}
}

func TestPublisherAnswersPings(t *testing.T) {
	o := NewOrigin(t, OriginConfig{})
	publish(t, o, asking)
	c := o.Conn(t, 0)
	if err := c.Ping(99); err != nil {
		t.Fatal(err)
	}
	_, err := c.WaitMessages(1, "pong", func(m Message) bool {
		event, v, ok := m.Event()
		return ok && event == EventPingResponse && v == 99
	})
	if err != nil {
		t.Error(err)
	}
}

func TestAcknowledgementsAreSentWhenAsked(t *testing.T) {
	o := NewOrigin(t, OriginConfig{WindowAckSize: 1000, Play: []Message{{Type: TypeVideo, Payload: make([]byte, 5000)}}})
	p := play(t, o, PlayConfig{App: "live", Name: "key"})
	if _, err := p.WaitMedia(1); err != nil {
		t.Fatal(err)
	}
	_, err := o.Conn(t, 0).WaitMessages(1, "acknowledgement", func(m Message) bool { return m.Type == TypeAck })
	if err != nil {
		t.Error(err)
	}
}

func TestRefusals(t *testing.T) {
	no := &StatusError{"error", "NetStream.Publish.BadName", "Already publishing"}
	for name, cfg := range map[string]OriginConfig{
		"connect": {RefuseConnect: no}, "publish": {RefusePublish: no},
	} {
		_, err := Publish(dial(t, NewOrigin(t, cfg)), asking)
		var got *StatusError
		if !errors.As(err, &got) || *got != *no {
			t.Errorf("%s: %v", name, err)
		}
	}
	_, err := Play(dial(t, NewOrigin(t, OriginConfig{RefusePlay: no})), PlayConfig{App: "live", Name: "k"})
	if got := (*StatusError)(nil); !errors.As(err, &got) {
		t.Errorf("play: %v", err)
	}
}

func TestOriginClosesAtEachStep(t *testing.T) {
	for _, step := range []Step{StepAccept, StepHandshake, StepConnect, StepCreateStream, StepPublish} {
		_, err := Publish(dial(t, NewOrigin(t, OriginConfig{CloseAt: step})), asking)
		if err == nil {
			t.Errorf("%s: published", step)
		}
	}
	o := NewOrigin(t, OriginConfig{CloseAt: StepMedia})
	p := publish(t, o, asking)
	if err := p.WriteVideo(0, []byte{1}); err != nil {
		t.Fatal(err)
	}
	if _, err := p.WaitEnd(); err != nil {
		t.Error(err)
	}
}

func TestOriginHangs(t *testing.T) {
	for _, step := range []Step{StepAccept, StepHandshake, StepConnect, StepCreateStream, StepPublish} {
		conn := dial(t, NewOrigin(t, OriginConfig{HangAt: step}))
		done := make(chan error, 1)
		go func() {
			p, err := Publish(conn, asking)
			p.Abort()
			done <- err
		}()
		// Nothing tells that nothing happens: only the client's own end shows.
		conn.Close()
		if err := <-done; err == nil {
			t.Errorf("%s: published", step)
		}
	}
}

func TestOriginRecordsWhileItHangs(t *testing.T) {
	o := NewOrigin(t, OriginConfig{HangAt: StepPublish})
	conn := dial(t, o)
	done := make(chan error, 1)
	go func() {
		p, err := Publish(conn, asking)
		p.Abort()
		done <- err
	}()
	c := o.Conn(t, 0)
	_, err := c.WaitMessages(1, "publish", func(m Message) bool {
		cmd, _ := m.Command()
		return cmd.Name == "publish"
	})
	if err != nil || c.Started() {
		t.Errorf("%v, started %v", err, c.Started())
	}
	c.Close()
	if err := <-done; err == nil {
		t.Error("published")
	}
}

func TestOriginStopsReading(t *testing.T) {
	o := NewOrigin(t, OriginConfig{StopReadingAfter: 8})
	p := publish(t, o, asking)
	for range 200 {
		// More than any buffer between the two ends at last blocks the writer,
		// so this stops at a number that surely fits.
		if err := p.WriteVideo(0, make([]byte, 100)); err != nil {
			t.Fatal(err)
		}
	}
	c := o.Conn(t, 0)
	if _, err := c.WaitMedia(1); err != nil {
		t.Fatal(err)
	}
	if c.Ended() != nil {
		t.Error("it closed")
	}
}

func TestOriginAnswersAsToldTo(t *testing.T) {
	o := NewOrigin(t, OriginConfig{Answer: func(c *OriginConn, cmd Command, _ Message) bool {
		if cmd.Name == "createStream" {
			c.Send(new(Builder).Command(0, "_result", cmd.Txn, nil, 77))
		}
		return cmd.Name == "createStream"
	}})
	if p := publish(t, o, asking); p.MSID() != 77 {
		t.Errorf("message stream %d", p.MSID())
	}
}

func TestStrictOriginFindsWhatAClientDoesWrong(t *testing.T) {
	o := NewOrigin(t, OriginConfig{Unchecked: true})
	p := publish(t, o, asking)
	if err := p.Send(new(Builder).Message(9, 0, TypeVideo, 5, []byte("x"))); err != nil {
		t.Fatal(err)
	}
	c := o.Conn(t, 0)
	if _, err := c.WaitMedia(1); err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(c.Breaches()); !strings.Contains(got, "chunk stream 9") {
		t.Errorf("breaches %s", got)
	}
}

func play(t *testing.T, o *Origin, cfg PlayConfig) *Player {
	t.Helper()
	p, err := Play(dial(t, o), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Abort)
	return p
}

func TestPlayerAndOrigin(t *testing.T) {
	media := []Message{
		{Type: TypeVideo, Payload: bytes.Repeat([]byte("v"), 10000)},
		{Type: TypeAudio, Timestamp: 3, Payload: bytes.Repeat([]byte("a"), 700)},
		{Type: TypeVideo, Timestamp: 0x1000001, Payload: []byte("later")},
	}
	for _, cfg := range []OriginConfig{
		{Play: media, Unpublish: true},
		{Play: media, Unpublish: true, ChunkSize: 4096, CloseAfterPlay: true},
		{Play: media, Unpublish: true, ChunkSize: 500, Interleave: true},
	} {
		o := NewOrigin(t, cfg)
		pc := PlayConfig{App: "live", Name: "key"}
		if cfg.Interleave {
			pc.Mode = Lenient
		}
		p := play(t, o, pc)
		if err := p.WaitStatus("NetStream.Play.UnpublishNotify"); err != nil {
			t.Fatal(err)
		}
		got := MediaOf(p.Received())
		if len(got) != 3 || !slices.Contains(got, media[0].Media()) || !slices.Contains(got, media[1].Media()) {
			t.Errorf("got %v", got)
		}
		noBreaches(t, p.Breaches())
		p.Close()
	}
}

func TestPlayerStopsReading(t *testing.T) {
	o := NewOrigin(t, OriginConfig{Play: []Message{{Type: TypeVideo, Payload: make([]byte, 64<<20>>4)}}})
	p := play(t, o, PlayConfig{App: "live", Name: "key", StopReadingAfter: 7})
	o.Conn(t, 0).Close()
	if p.Ended() != nil {
		t.Errorf("it went on reading: %v", p.Ended())
	}
}

func TestWaitsSayWhatTheyWaitFor(t *testing.T) {
	o := NewOrigin(t, OriginConfig{CloseAt: StepCreateStream})
	_, err := Publish(dial(t, o), asking)
	if err == nil || !strings.Contains(err.Error(), "createStream's result") {
		t.Errorf("got %v", err)
	}
}
