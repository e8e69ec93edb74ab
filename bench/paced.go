package main

import (
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"time"
)

var paced = scenario{
	name:   "paced",
	title:  "Paced: 100 publishers of 4 Mbit/s; latency from an encoder's write to the whole message at the origin",
	rounds: 9,
	columns: []column{
		{name: "CPU %", verb: "%.1f", ratio: true},
		{name: "p50 µs", verb: "%.0f"},
		{name: "p99 µs", verb: "%.0f"},
		{name: "added p50 µs", verb: "%.0f"},
		{name: "added p99 µs", verb: "%.0f", ratio: true},
	},
	direct: true,
	cold:   true,
	once:   pacedOnce,
	derive: addedLatency,
}

const pacedPublishers = 100

// pacedOnce lets all publishers stream for a while, and looks at the part of
// it in which all do.
func pacedOnce(b *bench, p *peer, _ int) ([]float64, error) {
	b.origin.setBuffer(32 << 10)
	defer b.origin.setBuffer(originBuffer)
	config := b.tls
	if p.cmd == nil {
		config = nil
	}
	e := &ear{}
	list, err := b.pacers(place{addr: p.addr, config: config, heard: e.hear}, pacedPublishers)
	defer closePacers(list)
	if err != nil {
		return nil, err
	}
	return runPaced(b, p, list, e)
}

// pacers connects n of them, each under a name of its own.
func (b *bench) pacers(at place, n int) (list []*pacer, err error) {
	for i := range n {
		at.name = b.name()
		at.key = at.name
		l, err := newPacer(b, at, time.Duration(i)*time.Second/fps/time.Duration(n))
		if err != nil {
			return list, err
		}
		list = append(list, l)
	}
	return list, nil
}

func closePacers(list []*pacer) {
	for _, l := range list {
		l.client.raw.Close()
	}
}

func runPaced(b *bench, p *peer, list []*pacer, e *ear) ([]float64, error) {
	begin := time.Now()
	warm := 500 * time.Millisecond
	window := time.Duration(b.pick(3000, 1500)) * time.Millisecond
	var wg sync.WaitGroup
	errs := make(chan error, len(list))
	for _, l := range list {
		end := begin.Add(warm + window + 100*time.Millisecond)
		wg.Go(func() { errs <- l.run(begin, func(due time.Time) bool { return due.After(end) }) })
	}
	time.Sleep(time.Until(begin.Add(warm)))
	e.listen(true)
	before, err := p.usage()
	if err != nil {
		return nil, err
	}
	time.Sleep(time.Until(begin.Add(warm + window)))
	after, err := p.usage()
	all := e.listen(false)
	wg.Wait()
	for range list {
		err = errors.Join(err, <-errs)
	}
	if err != nil {
		return nil, err
	}
	cpu := 100 * after.minus(before).cpu.Seconds() / window.Seconds()
	nothing := 0.0 // for derive
	return []float64{cpu, quantile(all, 0.5), quantile(all, 0.99), nothing, nothing}, nil
}

// usage of no process at all is none.
func (p *peer) usage() (usage, error) {
	if p.cmd == nil {
		return usage{}, nil
	}
	return readUsage(p.pid())
}

// addedLatency takes away what it takes without a proxy in the same round.
func addedLatency(t *table) {
	for _, k := range t.kinds {
		for i, row := range t.rows[k.name] {
			none := t.rows[direct.name][i]
			row[3], row[4] = row[1]-none[1], row[2]-none[2]
		}
	}
}

// pacer is one publisher that keeps to the times of its messages.
type pacer struct {
	client *client
	stream *stream
	feed   *feed
	offset time.Duration // so that they do not all send at once
}

// place is where a publisher publishes.
type place struct {
	from      string // its address; "" = any
	addr      string
	config    *tls.Config // nil: without TLS
	key, name string      // what it asks for; what the origin sees
	heard     func(*inbound)
}

func newPacer(b *bench, at place, offset time.Duration) (*pacer, error) {
	l := &pacer{feed: newFeed(interAt4Mbit), offset: offset}
	l.stream = b.origin.expect(at.name, &stream{tally: newTally(0)})
	l.stream.tally.digest = newChecksum()
	l.stream.tally.whole = at.heard
	var err error
	if l.client, err = dialFrom(at.from, at.addr, at.config); err != nil {
		return nil, err
	}
	if err := l.client.publish(at.key); err != nil {
		l.client.raw.Close()
		return nil, err
	}
	return l, nil
}

var started = time.Now()

// run sends until it is over, and checks that the origin got just that.
func (l *pacer) run(begin time.Time, over func(due time.Time) bool) error {
	go l.client.drain()
	sent := newChecksum()
	for {
		typ, at, payload := l.feed.next()
		due := begin.Add(l.offset + time.Duration(at)*time.Millisecond)
		if over(due) {
			break
		}
		time.Sleep(time.Until(due))
		binary.BigEndian.PutUint64(payload[clockAt:], uint64(time.Since(started)))
		if err := l.client.send(typ, at, payload); err != nil {
			return err
		}
		digestHeader(sent, typ, at, len(payload))
		sent.Write(payload)
	}
	l.client.finish()
	if err := arrived(l.stream.ended); err != nil {
		return err
	}
	if !bytes.Equal(sent.Sum(nil), l.stream.tally.digest.Sum(nil)) {
		return fmt.Errorf("the origin did not get what was sent: %d bytes came", l.stream.tally.payload.Load())
	}
	return nil
}

// ear notes how long messages were under way, while it listens. The origin's
// goroutines share it.
type ear struct {
	mu    sync.Mutex
	on    bool
	taken []float64 // in microseconds
}

func (e *ear) hear(in *inbound) {
	took := time.Since(started) - time.Duration(binary.BigEndian.Uint64(in.head[clockAt:]))
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.on {
		e.taken = append(e.taken, float64(took)/1e3)
	}
}

// listen begins anew, or ends with what was heard.
func (e *ear) listen(on bool) (taken []float64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	taken, e.taken, e.on = e.taken, nil, on
	return taken
}
