package rtmp

import (
	"io"
	"strings"
	"unicode"

	"rtmps-edge/internal/secret"
)

// Request is what a client asked for. Its texts are the client's own: bounded,
// free of control bytes, and otherwise not to be trusted.
type Request struct {
	Action Action
	// App is the app up to its first '?', without a slash or the default
	// instance "/_definst_" at its end.
	App string
	// AppQuery is what followed; it may hold a credential.
	AppQuery secret.Text
	// Name is the stream name as it was sent, its query included: a credential.
	Name secret.Text
	// Mode is "live", "record" or "append" (SPEC §7.2.2.6), for publish.
	Mode string
	// TcURL is the client's tcUrl; it may hold a credential. Never for the origin.
	TcURL secret.Text
	// Encoder is the client's flashVer, at most 64 bytes of it.
	Encoder string
	// Enhanced are the client's Enhanced RTMP capabilities.
	Enhanced Enhanced
}

// Pending is a client that has asked and not been answered.
type Pending struct {
	Request Request
	c       *Conn
}

// Accept serves a new client from its first byte to its publish or play
// command, which it leaves unanswered. It does not close rw, and sets no
// deadline: that is the caller's. Errors are those of rw, *ProtocolError, and
// ErrFinished from a client that gives up.
func Accept(rw io.ReadWriter, lim Limits) (*Pending, error) { return AcceptIf(rw, lim, nil) }

// AcceptIf is Accept with a judge who hears the request as far as connect tells
// it, before connect is answered. His refusal is said as connect's error, and
// returned; the caller closes, but not before the client had time to read.
func AcceptIf(rw io.ReadWriter, lim Limits, judge func(Request) *StatusError) (*Pending, error) {
	c := newConn(rw, lim)
	if err := c.acceptHandshake(); err != nil {
		c.in.Release()
		return nil, err
	}
	a := &acceptor{c: c, judge: judge}
	err := a.untilAsked()
	if e := c.flush(); err == nil {
		err = e
	}
	if err != nil {
		c.in.Release()
		return nil, err
	}
	return &Pending{a.req, c}, nil
}

// Approve tells the client that its stream has started. Only the Conn that it
// returns can be relayed.
func (p *Pending) Approve() (*Conn, error) {
	c := p.c
	c.action, c.setup, c.sendsData = p.Request.Action, false, p.Request.Action == Publish
	say := []message{userEvent(eventStreamBegin, c.msid)}
	if c.action == Play {
		say = append(say, onStatus("status", "NetStream.Play.Reset", "The stream is played from its start."),
			onStatus("status", "NetStream.Play.Start", "The stream plays."))
	} else {
		say = append(say, onStatus("status", "NetStream.Publish.Start", "The stream is being published."))
	}
	if err := c.send(say...); err != nil {
		c.in.Release()
		return nil, err
	}
	return c, nil
}

// Reject tells the client why it is refused. The caller closes the connection,
// but not before the client had time to read.
func (p *Pending) Reject(e *StatusError) error {
	defer p.c.in.Release()
	return p.c.send(onStatus("error", e.Code, e.Description))
}

// Rejection returns what Reject would say, for a caller that says it later. The
// Pending can be forgotten.
func (p *Pending) Rejection(e *StatusError) []byte {
	defer p.c.in.Release()
	return p.c.encode(onStatus("error", e.Code, e.Description))
}

// acceptor leads the dialogue up to publish or play.
type acceptor struct {
	c         *Conn
	connected bool
	judge     func(Request) *StatusError // nil: every connect is taken
	commands  int
	creates   int
	req       Request
}

// untilAsked leads it. Answers may be left in the queue.
func (a *acceptor) untilAsked() error {
	for a.req.Action == "" {
		m, err := a.c.nextMessage()
		if err == nil {
			err = a.message(m)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (a *acceptor) message(m message) error {
	if m.typ == typeData || m.typ == typeDataAMF3 {
		return nil // metadata of a hasty client
	}
	call, err := parseCall(m)
	if err != nil {
		return err
	}
	if a.commands++; a.commands > maxSetupCommands {
		return breach("more than %d commands before publish or play", maxSetupCommands)
	}
	if !a.connected {
		if call.name != "connect" {
			return breach("a command before connect")
		}
		return a.connect(call)
	}
	return a.command(call)
}

// connect reads the connect command (SPEC §7.2.1.1) and answers it.
func (a *acceptor) connect(call call) error {
	var o Object
	if len(call.args) > 0 {
		o, _ = call.args[0].(Object)
	}
	if o == nil {
		return breach("connect without a command object")
	}
	for _, key := range connectKeys {
		if o.count(key) > 1 {
			return breach("connect says %s twice", key)
		}
	}
	app, ok := o.Get("app").(string)
	tcURL, ok2 := optional[string](o, "tcUrl")
	encoder, ok3 := optional[string](o, "flashVer")
	_, ok4 := optional[string](o, "type")
	_, ok5 := optional[float64](o, "objectEncoding")
	if !ok || !ok2 || !ok3 || !ok4 || !ok5 {
		return breach("connect with a property of a wrong type")
	}
	if !plain(app, maxNameAndQuery) || !plain(tcURL, maxNameAndQuery) {
		return breach("connect with an app or tcUrl that is too long or has control bytes")
	}
	app, query, _ := strings.Cut(app, "?")
	// Origins cut these off; what is authorized must be what they see.
	app = strings.TrimSuffix(strings.TrimSuffix(app, "/"), "/_definst_")
	if len(app) > maxApp {
		return breach("an app of more than %d bytes", maxApp)
	}
	enhanced, err := parseEnhanced(o)
	if err != nil {
		return err
	}
	a.connected = true
	a.req = Request{App: app, AppQuery: secret.New(query), TcURL: secret.New(tcURL),
		Encoder: printable(encoder), Enhanced: enhanced}
	if a.judge != nil {
		if refused := a.judge(a.req); refused != nil {
			return a.refuse(call.txn, refused)
		}
	}
	return a.c.queue(a.welcome(call.txn, enhanced)...)
}

// refuse answers connect with an error. No chunk size is set before it: OBS
// keeps that over its next connections, where it does not hold. OBS also needs
// the connect's own number, and crashes on an empty description.
func (a *acceptor) refuse(txn float64, e *StatusError) error {
	said := status("error", e.Code, e.Description)
	if err := a.c.queue(command("_error", txn, nil, said)); err != nil {
		return err
	}
	return e
}

// connectKeys are the properties of connect of which origins disagree whether
// the first or the last counts.
var connectKeys = []string{"app", "tcUrl", "type", "flashVer", "objectEncoding",
	"fourCcList", "videoFourCcInfoMap", "audioFourCcInfoMap", "capsEx"}

// optional returns the zero T where key is missing or null; ok is false where
// it is of another type.
func optional[T any](o Object, key string) (v T, ok bool) {
	if o.Get(key) == nil {
		return v, true
	}
	v, ok = o.Get(key).(T)
	return v, ok
}

// plain reports whether s is of at most n bytes and has no control characters.
func plain(s string, n int) bool {
	return len(s) <= n && strings.IndexFunc(s, unicode.IsControl) < 0
}

// maxEncoder is how much is kept of a client's own name: real ones have 60 bytes.
const maxEncoder = 64

// printable makes text that nothing depends on fit to be shown.
func printable(s string) string {
	s = strings.ToValidUTF8(s[:min(len(s), maxEncoder)], "")
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return -1
		}
		return r
	}, s)
}

// welcome answers connect.
func (a *acceptor) welcome(txn float64, e Enhanced) []message {
	info := status("status", "NetConnection.Connect.Success", "Connection succeeded.")
	info = append(info, Property{"objectEncoding", 0})
	if !e.empty() {
		info = append(info, forwards(a.c.lim.FourCC).properties()...)
	}
	return []message{
		controlMessage(typeWindowAckSize, serverWindow),
		controlMessage(typeSetPeerBandwidth, serverWindow, 2),
		controlMessage(typeSetChunkSize, uint32(min(outChunkSize, a.c.lim.ChunkSize))), // ffmpeg sets the same
		command("_result", txn, Object{{"fmsVer", "FMS/3,0,1,123"}, {"capabilities", 31}}, info),
	}
}

// command serves what may come after connect.
func (a *acceptor) command(call call) error {
	switch call.name {
	case "connect":
		return breach("a second connect")
	case "publish", "play":
		return a.ask(call)
	case "play2":
		return breach("play2 is not served")
	case "createStream":
		if a.creates++; a.creates > maxCreateStream {
			return breach("createStream more than %d times", maxCreateStream)
		}
		a.c.msid = 1
		return a.c.queue(command("_result", call.txn, nil, 1))
	case "releaseStream", "FCPublish", "FCUnpublish", "FCSubscribe", "getStreamLength":
		if err := a.c.sameName(call); err != nil {
			return err
		}
		if call.txn == 0 {
			return nil
		}
		return a.c.queue(command("_result", call.txn, nil))
	case "deleteStream", "closeStream":
		return ErrFinished
	case "_result", "_error", "onStatus":
		return nil
	}
	if call.txn == 0 {
		return nil
	}
	return a.c.queue(command("_error", call.txn, nil,
		status("error", "NetConnection.Call.Failed", "This command is not served.")))
}

// sameName holds the command's stream name against the first that the client
// said: origins differ in which of them they obey. The command's own name is
// known by now, and may stand in an error.
func (c *Conn) sameName(call call) error {
	name, ok := call.text(1)
	if !ok {
		return breach("%s without a stream name", call.name)
	}
	if !plain(name, maxNameAndQuery) {
		return breach("a stream name that is too long or has control characters")
	}
	if !c.named {
		c.name, c.named = secret.New(name), true
	}
	if c.name.Reveal() != name {
		return breach("%s with another stream name than before", call.name)
	}
	return nil
}

// ask reads publish (SPEC §7.2.2.6) or play (§7.2.2.1).
func (a *acceptor) ask(call call) error {
	if a.c.msid == 0 {
		a.c.msid = 1 // some players do not wait for createStream
	}
	if err := a.c.sameName(call); err != nil {
		return err
	}
	mode := "live"
	if call.name == "publish" && len(call.args) > 2 {
		s, ok := call.text(2)
		switch {
		case !ok:
			return breach("publish with a type that is not a string")
		case s == "record" || s == "append":
			mode = s
		case s != "live" && s != "":
			return breach("publish with an unknown type")
		}
	}
	a.req.Name, a.req.Mode = a.c.name, mode
	a.req.Action = Action(call.name)
	return nil
}
