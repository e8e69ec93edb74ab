package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
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
	var list []*pacer
	defer func() {
		for _, l := range list {
			l.client.raw.Close()
		}
	}()
	for i := range pacedPublishers {
		l, err := newPacer(b, p.addr, config == nil, i)
		if err != nil {
			return nil, err
		}
		list = append(list, l)
	}
	return runPaced(b, p, list)
}

func runPaced(b *bench, p *peer, list []*pacer) ([]float64, error) {
	begin := time.Now()
	warm := 500 * time.Millisecond
	window := time.Duration(b.pick(3000, 1500)) * time.Millisecond
	var measuring atomic.Bool
	var wg sync.WaitGroup
	errs := make(chan error, len(list))
	for _, l := range list {
		l.measuring = &measuring
		wg.Go(func() { errs <- l.run(begin, begin.Add(warm+window+100*time.Millisecond)) })
	}
	time.Sleep(time.Until(begin.Add(warm)))
	measuring.Store(true)
	before, err := p.usage()
	if err != nil {
		return nil, err
	}
	time.Sleep(time.Until(begin.Add(warm + window)))
	after, err := p.usage()
	measuring.Store(false)
	wg.Wait()
	for range list {
		err = errors.Join(err, <-errs)
	}
	if err != nil {
		return nil, err
	}
	var all []float64
	for _, l := range list {
		all = append(all, l.latencies...)
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
	client    *client
	stream    *stream
	feed      *feed
	offset    time.Duration // so that they do not all send at once
	measuring *atomic.Bool
	latencies []float64 // in microseconds; written by the origin's goroutine
}

func newPacer(b *bench, addr string, plain bool, i int) (*pacer, error) {
	l := &pacer{feed: newFeed(interAt4Mbit), offset: time.Duration(i) * time.Second / fps / pacedPublishers}
	name := b.name()
	l.stream = b.origin.expect(name, &stream{tally: newTally(0)})
	l.stream.tally.digest = newChecksum()
	l.stream.tally.whole = l.arrived
	config := b.tls
	if plain {
		config = nil
	}
	var err error
	if l.client, err = dial(addr, config); err != nil {
		return nil, err
	}
	return l, l.client.publish(name)
}

var started = time.Now()

// run sends until the end, and checks that the origin got just that.
func (l *pacer) run(begin, end time.Time) error {
	go l.client.drain()
	sent := newChecksum()
	for {
		typ, at, payload := l.feed.next()
		due := begin.Add(l.offset + time.Duration(at)*time.Millisecond)
		if due.After(end) {
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

// arrived notes how long a message was under way.
func (l *pacer) arrived(in *inbound) {
	if l.measuring == nil || !l.measuring.Load() {
		return
	}
	at := time.Duration(binary.BigEndian.Uint64(in.head[clockAt:]))
	l.latencies = append(slices.Grow(l.latencies, 1), float64(time.Since(started)-at)/1e3)
}
