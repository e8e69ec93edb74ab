package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"sync/atomic"
	"time"

	"rtmps-edge/internal/polite"
)

const (
	// stateEvery is how often the state of everything is sent.
	stateEvery = time.Second
	// stateShare is the part of the time that making it may take: with
	// thousands of streams it is sent less often.
	stateShare = 20
	// batch is how many events are sent at once; of more, the newest.
	batch = 50
	// sendTimeout is how long a viewer may take to read one piece of what is sent.
	sendTimeout = 10 * time.Second
)

// getLive sends, as server-sent events, "state" again and again, and "event" as
// they happen.
func (a *Admin) getLive(w http.ResponseWriter, q *http.Request) {
	select {
	case a.viewers <- struct{}{}:
		defer a.left()
	default:
		fail(w, http.StatusServiceUnavailable, "there are too many viewers")
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	v := &viewer{a: a, w: w, c: http.NewResponseController(w)}
	v.run(q)
}

// left makes room for another viewer. After the last one nothing is kept.
func (a *Admin) left() {
	if <-a.viewers; len(a.viewers) == 0 {
		a.frames.last.Store(nil)
	}
}

// frame is the state as viewers get it, at a time.
type frame struct {
	at   time.Time
	text []byte
	cost time.Duration // what it took of a processor
}

// frames lets several viewers have the same one.
type frames struct{ last atomic.Pointer[frame] }

// get returns the last one, if it is new enough.
func (f *frames) get() *frame {
	if last := f.last.Load(); last != nil && time.Since(last.at) < stateEvery/2 {
		return last
	}
	return nil
}

// frame returns the state as one event; nil if others look for too long.
func (a *Admin) frame(ctx context.Context) *frame {
	if f := a.frames.get(); f != nil {
		return f
	}
	if !a.gate.enter(ctx) {
		return nil
	}
	defer a.gate.leave()
	if f := a.frames.get(); f != nil { // somebody made one meanwhile
		return f
	}
	p := newPage(nil)
	defer pages.Put(p)
	f := &frame{at: time.Now()}
	p.b = append(p.b, "event: state\ndata: "...)
	a.state(p)
	p.b = append(p.b, "\n\n"...)
	f.text = bytes.Clone(p.b)
	f.cost = time.Since(f.at) - p.Rested()
	a.frames.last.Store(f)
	return f
}

// viewer is one connection that follows.
type viewer struct {
	a    *Admin
	w    http.ResponseWriter
	c    *http.ResponseController
	seen uint64 // number of the latest event that was sent
}

func (v *viewer) run(q *http.Request) {
	for state := time.Now(); ; {
		if now := time.Now(); !now.Before(state) {
			state = now.Add(stateEvery)
			if f := v.a.frame(q.Context()); f != nil {
				if v.send(f.text) != nil {
					return
				}
				state = now.Add(max(stateEvery, stateShare*f.cost))
			}
		}
		more, err := v.events()
		if err != nil {
			return
		}
		if !v.wait(q, time.Until(state), more) {
			_, _ = v.events() // of an edge that ends: how its last streams did
			return
		}
	}
}

// wait returns when there is something to send, or the time has come. It reports
// whether the viewer is still there.
func (v *viewer) wait(q *http.Request, d time.Duration, more <-chan struct{}) bool {
	t := time.NewTimer(min(pause, d))
	defer t.Stop()
	select {
	case <-q.Context().Done():
		return false
	case <-t.C:
	}
	if d -= pause; d <= 0 {
		return true
	}
	t.Reset(d)
	select {
	case <-q.Context().Done():
		return false
	case <-more:
	case <-t.C:
	}
	return true
}

// events sends what is new.
func (v *viewer) events() (more <-chan struct{}, err error) {
	list, more := v.a.hub.since(v.seen, batch)
	if len(list) == 0 {
		return more, nil
	}
	var b []byte
	for _, e := range list {
		v.seen = e.Number
		text, err := json.Marshal(e)
		if err != nil {
			return nil, err
		}
		b = fmt.Appendf(b, "event: event\ndata: %s\n\n", text) // JSON has no line breaks, which would end it
	}
	return more, v.send(b)
}

// send writes events, piece by piece: who reads slowly and does read stays.
func (v *viewer) send(text []byte) error {
	var w polite.Work
	for part := range slices.Chunk(text, piece) {
		_ = v.c.SetWriteDeadline(time.Now().Add(sendTimeout))
		if _, err := v.w.Write(part); err != nil {
			return err
		}
		w.Step()
	}
	return v.c.Flush()
}
