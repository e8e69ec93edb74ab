package rtmptest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"testing"
	"time"
)

// attackChunkSize is what attacking sessions set before connect.
const attackChunkSize = 4096

// RunAttack plays one attack against an edge and checks what the edge made of
// it. dial gives a new connection to the edge, TLS done; origin is where the
// edge brings t's streams, and must not be used by anybody else meanwhile. The
// edge's limits must allow two connections in quick succession, and no ban.
//
// After the script it checks, besides a.Want, that the origin saw nothing but
// the canonical form, one app and one name, and that the next publisher is
// served as if nothing had been.
//
// The name in t must be without a query, and hold a letter.
func RunAttack(tb testing.TB, dial func() net.Conn, origin *Origin, t Target, a Attack) {
	tb.Helper()
	r := &attackRun{tb: tb, origin: origin, target: t, attack: a, before: len(origin.Conns())}
	if r.target.MSID == 0 {
		r.target.MSID = 1
	}
	if a.Phase == PhaseStart {
		r.atStart(dial())
	} else {
		r.play(dial())
	}
	r.checkOrigin()
	r.nextIsServed(dial)
}

type attackRun struct {
	tb     testing.TB
	origin *Origin
	target Target
	attack Attack
	before int // connections of the origin before the attack
	pub    *Publisher
}

func (r *attackRun) errorf(format string, args ...any) {
	r.tb.Helper()
	r.tb.Errorf("attack %s: %s", r.attack.Name, fmt.Sprintf(format, args...))
}

func (r *attackRun) script() *Builder {
	b := new(Builder).WithChunkSize(attackChunkSize)
	if r.attack.Phase == PhaseStart || r.attack.Phase == PhaseGreeted {
		b.WithChunkSize(128)
	}
	r.attack.Build(b, r.target)
	return b
}

// atStart plays a script that is no handshake: the edge can only close.
func (r *attackRun) atStart(conn net.Conn) {
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(Patience))
	// It may close while this writes.
	conn.Write(r.script().Bytes())
	_, err := io.Copy(io.Discard, conn)
	if ne := net.Error(nil); errors.As(err, &ne) && ne.Timeout() {
		r.errorf("the edge did not end the session")
	}
	if n := len(r.origin.Conns()); n != r.before {
		r.errorf("the edge went to the origin")
	}
}

// play brings a session to the attack's phase, sends the script and judges
// what comes of it.
func (r *attackRun) play(conn net.Conn) {
	r.pub = r.publisher(conn)
	defer r.pub.Abort()
	steps := r.pub.steps()
	for _, step := range steps[:r.attack.Phase] {
		if err := step(); err != nil {
			r.tb.Fatalf("attack %s: the session before it: %v", r.attack.Name, err)
		}
	}
	if r.pub.msid != 0 {
		r.target.MSID = r.pub.msid
	}
	b := r.script()
	err := r.pub.Send(b)
	switch r.attack.Want {
	case Closed:
		r.expectClosed()
	case Survives:
		if err == nil {
			err = r.goOn(steps, b)
		}
		r.expectSurvival(err)
	case Either:
		if err == nil && r.goOn(steps, b) == nil {
			r.hangUp()
		}
		r.expectClosed()
	case Refused:
		if err == nil && r.goOn(steps, b) == nil {
			r.errorf("the client got its stream")
		}
		r.expectClosed()
	}
	for _, err := range r.pub.Breaches() {
		r.errorf("to the client: %v", err)
	}
}

func (r *attackRun) publisher(conn net.Conn) *Publisher {
	t := r.target
	return &Publisher{newPeer(conn, Strict), PublishConfig{App: t.App, TcURL: t.TcURL, Name: t.Name, ChunkSize: attackChunkSize}}
}

// goOn takes the session from where the script has left it to the media.
func (r *attackRun) goOn(steps []func() error, b *Builder) error {
	r.pub.cfg.ChunkSize = b.chunkSize()
	at := r.attack.after()
	if r.attack.Phase < PhaseConnected && at == PhaseConnected {
		if _, err := r.pub.awaitResult("connect's result", 1); err != nil {
			return err
		}
	}
	if r.attack.Phase == PhaseGreeted && at == PhaseGreeted {
		// Open sets the size anew.
		r.pub.cfg.ChunkSize = attackChunkSize
	}
	if r.attack.Phase < PhasePublished && at == PhasePublished {
		return r.pub.WaitStatus("NetStream.Publish.Start")
	}
	for _, step := range steps[at:] {
		if err := step(); err != nil {
			return err
		}
	}
	return r.pub.WriteVideo(0, r.marker())
}

// marker is told apart from all other media.
func (r *attackRun) marker() []byte { return []byte("marker of " + r.attack.Name) }

// hangUp ends the client's side, for attacks that the edge may have ended or
// not.
func (r *attackRun) hangUp() {
	if half, ok := r.pub.conn.(interface{ CloseWrite() error }); ok && half.CloseWrite() == nil {
		return
	}
	r.pub.shut()
}

// expectClosed waits for the edge to end the session, on both sides.
func (r *attackRun) expectClosed() {
	if _, err := r.pub.WaitEnd(); err != nil {
		r.errorf("%v; the edge said %v", err, r.pub.Messages())
	}
	if r.attack.Want != Either && r.attack.Phase < PhasePublished && r.started() {
		r.errorf("the edge said Publish.Start")
	}
	for _, c := range r.conns() {
		if _, err := c.WaitEnd(); err != nil {
			r.errorf("at the origin: %v", err)
		}
	}
}

func (r *attackRun) started() bool {
	return slices.ContainsFunc(r.pub.Messages(), func(m Message) bool {
		cmd, ok := m.Command()
		return ok && cmd.Info().Str("code") == "NetStream.Publish.Start"
	})
}

// expectSurvival waits for the media that followed the script. sent is what
// became of sending it.
func (r *attackRun) expectSurvival(sent error) {
	if sent != nil {
		r.errorf("the session did not survive: %v", sent)
		return
	}
	c := r.origin.Conn(r.tb, r.before)
	for _, p := range append(slices.Clone(r.attack.Delivers), r.marker()) {
		_, err := c.WaitMessages(1, "what the script and its session sent", func(m Message) bool {
			return m.IsMedia() && bytes.Equal(m.Payload, p)
		})
		if err != nil {
			r.errorf("%.30q: %v; the edge said %v", p, err, r.pub.Messages())
			return
		}
	}
	r.pub.Close()
	if _, err := c.WaitEnd(); err != nil {
		r.errorf("at the origin, after the session: %v", err)
	}
}

// conns gives the origin's connections since the attack began.
func (r *attackRun) conns() []*OriginConn { return r.origin.Conns()[r.before:] }

func (r *attackRun) checkOrigin() {
	conns := r.conns()
	if len(conns) > 1 {
		r.errorf("%d connections to the origin", len(conns))
	}
	for _, c := range conns {
		for _, err := range Canonical(c, r.target) {
			r.errorf("at the origin: %v", err)
		}
	}
}

// nextIsServed makes sure that the attack has left nothing behind.
func (r *attackRun) nextIsServed(dial func() net.Conn) {
	at := len(r.origin.Conns())
	pub := r.publish(dial)
	if pub == nil {
		return
	}
	defer pub.Abort()
	err := pub.WriteVideo(0, r.marker())
	if err == nil {
		_, err = r.origin.Conn(r.tb, at).WaitMedia(1)
	}
	if err != nil {
		r.errorf("the next publisher: %v", err)
	}
	pub.Close()
	if _, err := r.origin.Conn(r.tb, at).WaitEnd(); err != nil {
		r.errorf("the next publisher's end: %v", err)
	}
}

// publish tries until the edge has let go of the attacker's name: the ends of
// its connections were seen, but not the end of its book-keeping.
func (r *attackRun) publish(dial func() net.Conn) *Publisher {
	for begin := time.Now(); ; time.Sleep(5 * time.Millisecond) {
		pub := r.publisher(dial())
		err := pub.start()
		if err == nil {
			return pub
		}
		pub.Abort()
		var refused *StatusError
		taken := errors.As(err, &refused) && refused.Code == "NetStream.Publish.BadName"
		if !taken || time.Since(begin) > Patience {
			r.errorf("the next publisher: %v", err)
			return nil
		}
	}
}

// dataNames are what an origin may be told in data messages.
var dataNames = []string{"@setDataFrame", "onMetaData", "onTextData", "onCuePoint", "onFI", "|RtmpSampleAccess"}

// Canonical gives everything that an origin's connection must not have seen
// from an edge: breaches of the form, more than one connect, publish or play,
// other apps or names than the target's, data that nobody may send, and Evil
// outside of media.
func Canonical(c *OriginConn, t Target) []error {
	return append(c.Breaches(), CanonicalContent(c.Messages(), t)...)
}

// CanonicalContent is Canonical for messages that were read already: all but
// the breaches of the form.
func CanonicalContent(msgs []Message, t Target) (errs []error) {
	counts := map[string]int{}
	for _, m := range msgs {
		if cmd, ok := m.Command(); ok {
			counts[cmd.Name]++
		}
		errs = append(errs, canonicalContent(m)...)
	}
	if n := counts["publish"] + counts["play"]; n > 1 || counts["connect"] > 1 || counts["createStream"] > 1 || counts["play2"] > 0 {
		errs = append(errs, fmt.Errorf("commands %v", counts))
	}
	for _, o := range ConnectIn(msgs) {
		if app := o.Str("app"); app != t.OriginApp {
			errs = append(errs, fmt.Errorf("connect with app %q, want %q", app, t.OriginApp))
		}
	}
	for _, n := range NamesIn(msgs) {
		if n.Name != t.OriginName {
			errs = append(errs, fmt.Errorf("%s with name %q, want %q", n.Command, n.Name, t.OriginName))
		}
	}
	return errs
}

func canonicalContent(m Message) (errs []error) {
	if m.IsMedia() {
		return nil
	}
	if bytes.Contains(bytes.ToLower(m.Payload), []byte(Evil)) {
		errs = append(errs, fmt.Errorf("%q in %v", Evil, m))
	}
	if m.Type != TypeData {
		return errs
	}
	v, err := m.Values()
	if err != nil || len(v) == 0 {
		return append(errs, fmt.Errorf("data that cannot be read: %v", m))
	}
	if name, _ := v[0].(string); !slices.Contains(dataNames, name) {
		errs = append(errs, fmt.Errorf("data %q", name))
	}
	return errs
}
