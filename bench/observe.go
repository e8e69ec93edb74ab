package main

import (
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// looks are all that shows every stream.
var looks = []string{"/metrics", "/api/v1/sessions", "/stat", "/api/v1/status"}

// observe is what it costs to look at many sessions, and what those feel of it.
var observe = scenario{
	name:   "observe",
	title:  "Observe: 1,000 sessions are looked at; 50 of them stream 4 Mbit/s while latency is measured, as with paced",
	rounds: 3,
	wants:  wants{look: true},
	own:    true,
	cold:   true,
	columns: []column{
		{name: "CPU ms each", verb: "%.2f"},
		{name: "wall ms", verb: "%.2f"},
		{name: "KiB", verb: "%.0f"},
		{name: "CPU %", verb: "%.1f"},
		{name: "p50 µs", verb: "%.0f"},
		{name: "p99 µs", verb: "%.0f"},
	},
	parts: append(append([]string{}, looks...), "streams", "streams, all this each second"),
	once:  observeOnce,
}

const observeStreams = 50

func observeOnce(b *bench, p *peer, _ int) ([]float64, error) {
	b.origin.setBuffer(4 << 10)
	defer b.origin.setBuffer(originBuffer)
	idlers, err := b.publishers(p, b.pick(1000, 200)-observeStreams, nil)
	defer closeAll(idlers)
	if err != nil {
		return nil, err
	}
	for _, c := range idlers {
		typ, at, payload := newFeed(interSize).next() // a keyframe, so that there is something to show
		if err := c.send(typ, at, payload); err != nil {
			return nil, err
		}
	}
	b.origin.setBuffer(32 << 10)
	e := &ear{}
	list, err := b.pacers(place{addr: p.addr, config: b.tls, heard: e.hear}, observeStreams)
	defer closePacers(list)
	if err != nil {
		return nil, err
	}
	var values []float64
	for _, path := range looks {
		row, err := lookCosts(b, p, path)
		if err != nil {
			return nil, err
		}
		values = append(values, row...)
	}
	rows, err := b.watched(p, list, e)
	return append(values, rows...), errors.Join(err, allAlive(idlers))
}

// lookCosts is what one look takes of the processor.
func lookCosts(b *bench, p *peer, path string) ([]float64, error) {
	n := b.pick(20, 10)
	size := 0
	m, err := measure(p, func() error {
		for range n {
			var err error
			if size, err = p.lookAt(path); err != nil {
				return err
			}
		}
		return nil
	})
	each, no := time.Duration(n), math.NaN()
	return []float64{ms(m.cpu / each), ms(m.wall / each), float64(size) / 1024, no, no, no}, err
}

func (p *peer) lookAt(path string) (size int, err error) {
	r, err := http.Get("http://" + p.admin + path)
	if err != nil {
		return 0, err
	}
	defer r.Body.Close()
	n, err := io.Copy(io.Discard, r.Body)
	if err == nil && r.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", path, r.Status)
	}
	return int(n), err
}

// watched lets the streams run, first unseen, then under the eyes of somebody
// who looks at everything each second.
func (b *bench) watched(p *peer, list []*pacer, e *ear) ([]float64, error) {
	window := time.Duration(b.pick(5000, 2000)) * time.Millisecond
	var over atomic.Bool
	var wg sync.WaitGroup
	errs := make(chan error, len(list))
	begin := time.Now()
	for _, l := range list {
		wg.Go(func() { errs <- l.run(begin, func(time.Time) bool { return over.Load() }) })
	}
	time.Sleep(500 * time.Millisecond)
	unseen, err := e.during(p, func() error { time.Sleep(window); return nil })
	seen, err2 := e.during(p, func() error { return p.lookEachSecond(window) })
	over.Store(true)
	wg.Wait()
	for range list {
		err = errors.Join(err, <-errs)
	}
	no := math.NaN()
	values := append([]float64{no, no, no}, unseen...)
	return append(append(values, no, no, no), seen...), errors.Join(err, err2)
}

func (p *peer) lookEachSecond(window time.Duration) error {
	for end := time.Now().Add(window); time.Now().Before(end); {
		next := time.Now().Add(time.Second)
		for _, path := range looks {
			if _, err := p.lookAt(path); err != nil {
				return err
			}
		}
		time.Sleep(time.Until(next))
	}
	return nil
}
