package rtmp

// Kinds of messages that carry a stream.
const (
	Audio = typeAudio
	Video = typeVideo
	Data  = typeData
)

// Message is a whole audio, video or data message.
type Message struct {
	Type    uint8
	Time    uint32 // milliseconds, modulo 2^32
	Payload []byte
}

// ReadMessage returns the next message that carries the stream, for programs
// that serve streams themselves instead of relaying them. Payload is valid
// until the next call. ErrFinished is the good end.
func (c *Conn) ReadMessage() (Message, error) {
	for {
		m, err := c.nextMessage()
		if err != nil {
			return Message{}, err
		}
		switch m.typ {
		case typeAudio, typeVideo, typeData:
			return Message{m.typ, m.time, m.payload}, nil
		case typeCommand, typeCommandAMF3:
			if _, err := c.later(m); err != nil {
				return Message{}, err
			}
		}
	}
}

// WriteMessages writes whole messages with one write.
func (c *Conn) WriteMessages(list ...Message) error {
	c.w.mu.Lock()
	defer c.w.unlock()
	for _, m := range list {
		c.w.message(m.Type, m.Time, c.msid, m.Payload)
	}
	return c.w.flush()
}
