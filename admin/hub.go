package admin

import (
	"cmp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"rtmps-edge/proxy"
)

const (
	// hubSize is how many events are kept for who comes later.
	hubSize = 256
	// maxKinds is how many kinds of refusal are counted apart.
	maxKinds = 100
	// maxDetail bounds the text of an error, in bytes: an origin may say much.
	maxDetail = 300
)

// hub keeps the latest events. Those who follow them ask for what is new: a slow
// one costs nothing, and misses some.
type hub struct {
	mu      sync.Mutex
	ring    [hubSize]Event
	n       uint64        // events so far
	more    chan struct{} // closed at the next one
	refused map[kind]*Refused

	accepted atomic.Uint64
}

type kind struct{ stage, reason string }

func newHub() *hub { return &hub{more: make(chan struct{}), refused: map[kind]*Refused{}} }

// names are those of the events that are kept.
var names = map[proxy.Kind]string{proxy.Started: "stream_started", proxy.Ended: "stream_ended", proxy.Refused: "refused", proxy.Banned: "banned"}

func (h *hub) observe(e proxy.Event) {
	if e.Kind == proxy.Accepted {
		h.accepted.Add(1)
	}
	name, ok := names[e.Kind]
	if !ok || e.Expected() {
		return
	}
	out := eventOf(name, e)
	h.mu.Lock()
	defer h.mu.Unlock()
	if e.Kind == proxy.Refused {
		h.count(out)
	}
	h.add(out)
}

// add needs h.mu.
func (h *hub) add(e Event) {
	h.n++
	e.Number = h.n
	h.ring[h.n%hubSize] = e
	close(h.more)
	h.more = make(chan struct{})
}

// count needs h.mu.
func (h *hub) count(e Event) {
	k := kind{e.Stage, e.Reason}
	r := h.refused[k]
	if r == nil {
		if len(h.refused) >= maxKinds {
			k = kind{e.Stage, "other"}
		}
		if r = h.refused[k]; r == nil {
			r = &Refused{Stage: k.stage, Reason: k.reason}
			h.refused[k] = r
		}
	}
	r.Count++
	r.Last = e.Time
}

// counts returns what was refused, the most frequent first.
func (h *hub) counts() []Refused {
	h.mu.Lock()
	defer h.mu.Unlock()
	list := []Refused{}
	for _, r := range h.refused {
		list = append(list, *r)
	}
	slices.SortFunc(list, func(a, b Refused) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Stage, b.Stage), cmp.Compare(a.Reason, b.Reason))
	})
	return list
}

// since returns the events after that number, at most so many of the newest, in
// their order, and a channel that is closed when there is another.
func (h *hub) since(number uint64, most int) (list []Event, more <-chan struct{}) {
	h.mu.Lock()
	defer h.mu.Unlock()
	n := min(h.n-min(number, h.n), uint64(most), hubSize)
	list = make([]Event, 0, n)
	for i := h.n - n + 1; i <= h.n; i++ {
		list = append(list, h.ring[i%hubSize])
	}
	return list, h.more
}

func eventOf(name string, e proxy.Event) Event {
	out := Event{
		Time: e.Time, Event: name, Session: e.Session, Client: address(e.Client), Listener: e.Listener, ServerName: e.ServerName, TLS: e.TLS,
		Encoder: e.Encoder, Action: string(e.Action), Subject: e.Subject, App: e.App, Name: e.Name, Origin: e.Origin, Server: e.Server,
		Stage: string(e.Stage), Side: string(e.Side), Reason: e.Reason, BytesIn: e.BytesIn, BytesOut: e.BytesOut, Seconds: seconds(e.Duration),
		Hint: e.Hint(),
	}
	if e.Subject == "" {
		out.Key = e.Fingerprint
	}
	if e.NameIsKey {
		out.Name = ""
	}
	if e.Kind == proxy.Banned {
		out.Client = banOf(e.Ban.Network, time.Time{}, time.Time{}, "", 0, false).Network
		out.Detail = "until " + e.Ban.Until.UTC().Format(time.DateTime) + " UTC"
	}
	if e.Err != nil {
		out.Detail = clip(e.Err.Error())
	}
	return out
}

func clip(s string) string {
	if len(s) <= maxDetail {
		return s
	}
	return strings.ToValidUTF8(s[:maxDetail], "") + "…"
}

// pause bounds how often live events are sent: what happens meanwhile goes
// together.
const pause = 250 * time.Millisecond
