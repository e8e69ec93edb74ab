package admin

import (
	"cmp"
	"context"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"rtmps-edge/internal/polite"
	"rtmps-edge/proxy"
)

const (
	// lookWait is how long a look waits until others have had theirs. With what
	// a look takes, on a busy machine too, it is less than requestTimeout.
	lookWait = 5 * time.Second
	// piece is how much of an answer is written at once, in bytes: the kernel
	// takes a part of a slice for it.
	piece = 32 << 10
	// compares is after how many comparisons a sort steps aside.
	compares = 64
)

// page is an answer for which all streams are looked at. It is made in memory, so
// that one who reads slowly holds up nobody else who looks.
type page struct {
	polite.Work
	header http.Header
	status int
	b      []byte
}

// pages are used again: with a thousand streams, one has a megabyte.
var pages = sync.Pool{New: func() any { return new(page) }}

func newPage(h http.Header) *page {
	p := pages.Get().(*page)
	*p = page{header: h, status: http.StatusOK, b: p.b[:0]}
	return p
}

func (p *page) Header() http.Header    { return p.header }
func (p *page) WriteHeader(status int) { p.status = status }
func (p *page) Write(b []byte) (int, error) {
	p.b = append(p.b, b...)
	p.Step()
	return len(b), nil
}

// send writes the page to who has asked for it, who may be gone.
func (p *page) send(w http.ResponseWriter) {
	w.Header().Set("Content-Length", strconv.Itoa(len(p.b)))
	w.WriteHeader(p.status)
	for part := range slices.Chunk(p.b, piece) {
		if _, err := w.Write(part); err != nil {
			return
		}
		p.Step()
	}
}

// gate lets those who look at all streams do so one after the other: streams wait
// for one of them at most, however many there are.
type gate chan struct{}

func newGate() gate { return make(gate, 1) }

// enter reports whether one may look before the wait is over.
func (g gate) enter(ctx context.Context) bool {
	t := time.NewTimer(lookWait)
	defer t.Stop()
	select {
	case g <- struct{}{}:
		return true
	case <-ctx.Done():
	case <-t.C:
	}
	return false
}

func (g gate) leave() { <-g }

// look makes a handler of one that looks at all streams.
func (a *Admin) look(f func(*page, *http.Request)) http.HandlerFunc {
	return func(w http.ResponseWriter, q *http.Request) {
		if !a.gate.enter(q.Context()) {
			fail(w, http.StatusServiceUnavailable, "others look at all streams, and take long: ask again")
			return
		}
		p := newPage(w.Header())
		defer pages.Put(p)
		func() {
			defer a.gate.leave()
			f(p, q)
		}()
		p.send(w)
	}
}

// view is all streams as one look finds them: each is there as it was at one
// moment, or not at all.
type view struct {
	infos []proxy.Info
	list  []*proxy.Info
}

// views are used again, as pages are.
var views = sync.Pool{New: func() any { return new(view) }}

func (a *Admin) view(w *polite.Work) *view {
	v := views.Get().(*view)
	a.cfg.Server.Each(func(i *proxy.Info) {
		v.infos = append(v.infos, *i)
		w.Step()
	})
	for i := range v.infos {
		v.list = append(v.list, &v.infos[i])
	}
	return v
}

// done ends the use of v and of all that it lists.
func (v *view) done() {
	clear(v.infos) // its texts would be kept
	clear(v.list)
	v.infos, v.list = v.infos[:0], v.list[:0]
	views.Put(v)
}

func (v *view) sort(w *polite.Work, compare func(a, b *proxy.Info) int) {
	n := 0
	slices.SortFunc(v.list, func(a, b *proxy.Info) int {
		if n++; n%compares == 0 {
			w.Step()
		}
		return compare(a, b)
	})
}

// byAge is the order in which streams have started.
func byAge(a, b *proxy.Info) int {
	return cmp.Or(a.Since.Compare(b.Since), strings.Compare(a.ID, b.ID))
}

// byStream puts streams of one app together, and in it those of one name.
func byStream(a, b *proxy.Info) int {
	if c := cmp.Or(strings.Compare(a.App, b.App), strings.Compare(statName(a), statName(b))); c != 0 {
		return c
	}
	return strings.Compare(a.ID, b.ID)
}
