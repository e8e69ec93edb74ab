package authz

import (
	"context"
	"fmt"
	"sync"
	"time"
)

const (
	// maxClosings is how many closing events wait; more are dropped.
	maxClosings = 4096
	// closers send them at once: they must not take the backend's time from
	// those who wait for an answer.
	closers = 4
	// closingTimeout bounds one try, closingTries is how many there are, and
	// closingPause the pause after the first; it doubles. A backend that
	// restarts within a minute hears of everything.
	closingTimeout = 5 * time.Second
	closingTries   = 5
	closingPause   = 2 * time.Second
)

// closings tells a backend what is over. Its goroutines live only as long as
// there is something to tell.
type closings struct {
	backend *backend
	warn    func(string)

	mu      sync.Mutex
	queue   []message
	workers int
	idle    chan struct{} // closed when all is told; nil if nobody waits
}

func newClosings(b *backend, warn func(string)) *closings {
	return &closings{backend: b, warn: warn}
}

// closing is the Ender of one grant.
type closing struct {
	w    *Webhook
	q    question
	g    Grant
	once sync.Once
}

// closing returns who tells the backend that g is over; nil if the dialect has
// no word for it, or nobody is to hear it.
func (w *Webhook) closing(q question, g Grant) Ender {
	if w.doneURL(q.Action) == "none" {
		return nil
	}
	if _, ok := w.dialect.done(q, g); !ok {
		return nil
	}
	return &closing{w: w, q: q, g: g}
}

// Ended queues the closing event. It does not wait.
func (c *closing) Ended() {
	c.once.Do(func() {
		if m, ok := c.w.dialect.done(c.q, c.g); ok {
			c.w.done.tell(m)
		}
	})
}

func (w *Webhook) doneURL(a Action) string {
	if a == Play {
		return w.cfg.PlayDoneURL
	}
	return w.cfg.DoneURL
}

func (c *closings) tell(m message) {
	c.mu.Lock()
	full := len(c.queue) >= maxClosings
	if !full {
		c.queue = append(c.queue, m)
		if c.workers < closers {
			c.workers++
			go c.work()
		}
	}
	c.mu.Unlock()
	if full {
		c.warn(fmt.Sprintf("the webhook was not told that a stream is over: %d such events are waiting already", maxClosings))
	}
}

// work tells what is queued, and ends when nothing is.
func (c *closings) work() {
	for {
		m, ok := c.next()
		if !ok {
			return
		}
		if err := c.send(m); err != nil {
			c.warn("the webhook was not told that a stream is over: " + err.Error())
		}
	}
}

// next takes the oldest message, or the worker off the list.
func (c *closings) next() (m message, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.queue) > 0 {
		m, c.queue = c.queue[0], c.queue[1:]
		return m, true
	}
	c.queue = nil // give the memory back
	if c.workers--; c.workers == 0 && c.idle != nil {
		close(c.idle)
		c.idle = nil
	}
	return m, false
}

// send tries until something is answered, whatever that is.
func (c *closings) send(m message) error {
	pause := closingPause
	for try := 1; ; try++ {
		ctx, cancel := context.WithTimeout(context.Background(), closingTimeout)
		_, err := c.backend.send(ctx, m)
		cancel()
		if err == nil || try == closingTries {
			return err
		}
		time.Sleep(pause)
		pause *= 2
	}
}

// flush waits until everything was told.
func (c *closings) flush(ctx context.Context) error {
	c.mu.Lock()
	if c.workers == 0 {
		c.mu.Unlock()
		return nil
	}
	if c.idle == nil {
		c.idle = make(chan struct{})
	}
	idle := c.idle
	c.mu.Unlock()
	select {
	case <-idle:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
