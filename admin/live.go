package admin

import (
	"encoding/json"
	"fmt"
	"net/http"
	"time"
)

const (
	// stateEvery is how often the state of everything is sent.
	stateEvery = time.Second
	// stateShare is the part of the time that making it may take: with
	// thousands of streams it is sent less often.
	stateShare = 20
	// batch is how many events are sent at once; of more, the newest.
	batch = 50
	// sendTimeout is how long a viewer may take to read what is sent.
	sendTimeout = 10 * time.Second
)

// getLive sends, as server-sent events, "state" again and again, and "event" as
// they happen.
func (a *Admin) getLive(w http.ResponseWriter, q *http.Request) {
	select {
	case a.viewers <- struct{}{}:
		defer func() { <-a.viewers }()
	default:
		fail(w, http.StatusServiceUnavailable, "there are too many viewers")
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	v := &viewer{a: a, w: w, c: http.NewResponseController(w)}
	v.run(q)
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
			if v.send("state", v.a.state()) != nil {
				return
			}
			state = now.Add(max(stateEvery, stateShare*time.Since(now)))
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
	for _, e := range list {
		v.seen = e.Number
		if err := v.write("event", e); err != nil {
			return nil, err
		}
	}
	if len(list) == 0 {
		return more, nil
	}
	return more, v.c.Flush()
}

func (v *viewer) send(name string, data any) error {
	if err := v.write(name, data); err != nil {
		return err
	}
	return v.c.Flush()
}

// write writes one event. JSON has no line breaks, which would end it.
func (v *viewer) write(name string, data any) error {
	text, err := json.Marshal(data)
	if err != nil {
		return err
	}
	_ = v.c.SetWriteDeadline(time.Now().Add(sendTimeout))
	_, err = fmt.Fprintf(v.w, "event: %s\ndata: %s\n\n", name, text)
	return err
}
