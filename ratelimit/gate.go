package ratelimit

import (
	"container/list"
	"context"
	"runtime"
	"sync"
)

const (
	// HandshakesPerCore times the cores is how many TLS handshakes are worked
	// at, if the limit is 0: enough to keep the cores busy, few enough that a
	// running stream's turn comes within some 20 ms.
	HandshakesPerCore = 32
	// queuePerPlace times the limit may wait for a place; more are refused at
	// once, because they would not be served before their time is up.
	queuePerPlace = 32
)

// ReasonHandshakes is that of a Refusal by a Gate.
const ReasonHandshakes = "handshakes"

var overHandshakes = &Refusal{ReasonHandshakes}

// Gate lets so many do heavy work at once; the others wait for their turn, in
// the order in which they came. The work is meant to be all computing: who
// waits for a peer leaves the Gate meanwhile, so that a slow peer takes
// nobody's place. It is safe for concurrent use.
type Gate struct {
	mu    sync.Mutex
	limit int
	busy  int
	queue list.List // of chan struct{}, closed when the place is given
}

// NewGate returns a Gate with limit places; 0 = HandshakesPerCore × cores.
func NewGate(limit int) *Gate {
	g := &Gate{}
	g.SetLimit(limit)
	return g
}

// SetLimit changes the number of places; 0 = HandshakesPerCore × cores. Who
// holds a place keeps it.
func (g *Gate) SetLimit(limit int) {
	if limit <= 0 {
		limit = HandshakesPerCore * runtime.GOMAXPROCS(0)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.limit = limit
	g.serve()
}

// Enter waits for a place. It fails with a *Refusal when too many wait, and
// with ctx's error. After it returned nil, the caller must call Leave.
func (g *Gate) Enter(ctx context.Context) error {
	g.mu.Lock()
	if g.busy < g.limit && g.queue.Len() == 0 {
		g.busy++
		g.mu.Unlock()
		return nil
	}
	if g.queue.Len() >= queuePerPlace*g.limit {
		g.mu.Unlock()
		return overHandshakes
	}
	turn := make(chan struct{})
	place := g.queue.PushBack(turn)
	g.mu.Unlock()
	select {
	case <-turn:
		return nil
	case <-ctx.Done():
		return g.giveUp(place, ctx.Err())
	}
}

// giveUp leaves the queue, unless the turn came at the last moment.
func (g *Gate) giveUp(place *list.Element, err error) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	select {
	case <-place.Value.(chan struct{}):
		return nil
	default:
		g.queue.Remove(place)
		return err
	}
}

// Leave gives a place back.
func (g *Gate) Leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.busy--
	g.serve()
}

// serve gives free places to those who wait. It needs mu.
func (g *Gate) serve() {
	for g.busy < g.limit && g.queue.Len() > 0 {
		close(g.queue.Remove(g.queue.Front()).(chan struct{}))
		g.busy++
	}
}

// Busy returns how many places are taken, and how many wait for one.
func (g *Gate) Busy() (busy, waiting int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.busy, g.queue.Len()
}
