package rtmptest

import (
	"fmt"
	"net"
	"sync"
	"time"
)

// bell is a lock that wakes who waits for a change of what it guards.
type bell struct {
	mu      sync.Mutex
	changed chan struct{} // closed and replaced at every change
}

// update changes what is guarded and wakes everybody.
func (b *bell) update(change func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	change()
	if b.changed != nil {
		close(b.changed)
		b.changed = nil
	}
}

// wait blocks until cond holds, which is asked with the lock held; it gives
// false when Patience is over.
func (b *bell) wait(cond func() bool) bool {
	timer := time.NewTimer(Patience)
	defer timer.Stop()
	for {
		ok, changed := b.ask(cond)
		if ok {
			return true
		}
		select {
		case <-changed:
		case <-timer.C:
			return false
		}
	}
}

func (b *bell) ask(cond func() bool) (bool, <-chan struct{}) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.changed == nil {
		b.changed = make(chan struct{})
	}
	return cond(), b.changed
}

// tape records one direction of one connection.
type tape struct {
	bell
	parser *Parser
	raw    []byte
	msgs   []Message
	faults []error // found outside of the parser: in the handshake
	end    error   // why the direction ended; nil while it has not
}

func newTape(mode Mode) *tape {
	return &tape{parser: NewParser(mode)}
}

// feed records chunk bytes and returns the messages that they complete. The
// error is the parser's: nothing can be read after it.
func (t *tape) feed(b []byte) (fresh []Message, err error) {
	t.update(func() {
		t.raw = append(t.raw, b...)
		t.parser.Write(b)
		for {
			m, ok, perr := t.parser.Next()
			if perr != nil || !ok {
				err = perr
				break
			}
			fresh = append(fresh, m)
		}
		t.msgs = append(t.msgs, fresh...)
	})
	return fresh, err
}

// recordRaw records bytes that are no chunks.
func (t *tape) recordRaw(b []byte) {
	t.update(func() { t.raw = append(t.raw, b...) })
}

func (t *tape) fault(format string, args ...any) {
	t.update(func() { t.faults = append(t.faults, fmt.Errorf(format, args...)) })
}

// finish says that nothing more comes. The first reason stays.
func (t *tape) finish(err error) {
	t.update(func() {
		if t.end == nil {
			t.end = err
		}
	})
}

// Raw gives all bytes that came in, the handshake included.
func (t *tape) Raw() []byte {
	t.mu.Lock()
	defer t.mu.Unlock()
	return append([]byte(nil), t.raw...)
}

// Messages gives all whole messages that came in so far.
func (t *tape) Messages() []Message {
	t.mu.Lock()
	defer t.mu.Unlock()
	return append([]Message(nil), t.msgs...)
}

// Breaches gives all that was wrong with what came in so far.
func (t *tape) Breaches() []error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return append(append([]error(nil), t.faults...), t.parser.Breaches()...)
}

// Ended gives why nothing more comes in, nil while something may.
func (t *tape) Ended() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.end
}

// WaitEnd waits until the other side has ended the connection, and gives how;
// it gives an error of its own if that does not happen.
func (t *tape) WaitEnd() (end error, err error) {
	if !t.wait(func() bool { return t.end != nil }) {
		return nil, fmt.Errorf("the connection did not end within %v", Patience)
	}
	return t.Ended(), nil
}

// WaitMessages waits for n messages that match and gives them all. It fails
// when the connection ends before, or Patience does; it gives what there is
// even then.
func (t *tape) WaitMessages(n int, what string, match func(Message) bool) ([]Message, error) {
	var found []Message
	seen, ended := 0, error(nil)
	ok := t.wait(func() bool {
		for ; seen < len(t.msgs); seen++ {
			if match(t.msgs[seen]) {
				found = append(found, t.msgs[seen])
			}
		}
		ended = t.end
		return len(found) >= n || ended != nil
	})
	switch {
	case len(found) >= n:
		return found, nil
	case ok:
		return found, fmt.Errorf("waiting for %s: %d of %d when the connection ended: %w", what, len(found), n, ended)
	}
	return found, fmt.Errorf("waiting for %s: %d of %d within %v", what, len(found), n, Patience)
}

// WaitMedia waits for n audio and video messages.
func (t *tape) WaitMedia(n int) ([]Message, error) {
	return t.WaitMessages(n, "media", Message.IsMedia)
}

// link writes to a connection from several goroutines, each message whole.
type link struct {
	conn net.Conn
	mu   sync.Mutex
	once sync.Once
	// closed is closed with the connection, for who waits without reading.
	closed chan struct{}
}

func newLink(conn net.Conn) *link { return &link{conn: conn, closed: make(chan struct{})} }

// Send writes what b holds, as it is.
func (l *link) Send(b *Builder) error { return l.write(b.Bytes()) }

func (l *link) write(p []byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.conn.SetWriteDeadline(time.Now().Add(Patience))
	_, err := l.conn.Write(p)
	return err
}

func (l *link) shut() {
	l.once.Do(func() {
		close(l.closed)
		l.conn.Close()
	})
}

// acks counts what came in, to acknowledge it as the other side has asked.
type acks struct {
	window uint32 // 0: never asked
	total  uint32
	acked  uint32
}

// due gives the acknowledgement to send after n more bytes, if there is one.
func (a *acks) due(n int) (uint32, bool) {
	a.total += uint32(n)
	if a.window == 0 || a.total-a.acked < a.window/2 {
		return 0, false
	}
	a.acked = a.total
	return a.total, true
}
