package main

import (
	"bytes"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"time"
)

// patience is how long a load may take before the run is given up.
const patience = 60 * time.Second

var ingest = scenario{
	name:   "ingest",
	title:  "Ingest: one publisher as fast as the proxy takes it, one TLS record per 4 KiB chunk",
	rounds: 9,
	columns: []column{
		{name: "CPU s/GB", verb: "%.3f", ratio: true},
		{name: "MB/s", verb: "%.0f"},
		{name: "busy", verb: "%.0f%%"},
	},
	once: ingestOnce,
}

// loadSize is how much media one round moves.
func (b *bench) loadSize() int64 { return int64(b.pick(256, 64)) << 20 }

// ingestOnce moves one load through p. The first round's digest is SHA-256;
// the others' is CRC-32C, so that it does not keep the origin from being
// faster than the proxy.
func ingestOnce(b *bench, p *peer, round int) ([]float64, error) {
	digest := newDigest
	if round > 0 {
		digest = newChecksum
	}
	payload, want := describe(b.loadSize(), digest())
	name := b.name()
	s := b.origin.expect(name, &stream{tally: newTally(payload)})
	s.tally.digest = digest()
	c, err := dial(p.addr, b.tls)
	if err != nil {
		return nil, err
	}
	defer c.raw.Close()
	if err := c.publish(name); err != nil {
		return nil, err
	}
	if b.buf, err = c.prepare(b.buf, b.loadSize()); err != nil {
		return nil, err
	}
	go c.drain()
	m, err := measure(p, func() error {
		if err := c.blast(b.buf); err != nil {
			return err
		}
		return arrived(s.tally.reached)
	})
	if err != nil {
		return nil, err
	}
	c.finish()
	if err := arrived(s.ended); err != nil {
		return nil, err
	}
	if !bytes.Equal(s.tally.digest.Sum(nil), want) {
		return nil, errors.New("the origin did not get what was sent")
	}
	return m.perGB(payload), nil
}

func newChecksum() hash.Hash { return crc32.New(crc32.MakeTable(crc32.Castagnoli)) }

// describe returns how much media prepare sends, and its digest.
func describe(size int64, h hash.Hash) (payload int64, sum []byte) {
	f := newFeed(interSize)
	for payload < size {
		typ, time, p := f.next()
		digestHeader(h, typ, time, len(p))
		h.Write(p)
		payload += int64(len(p))
	}
	return payload, h.Sum(nil)
}

// measurement is what a load cost.
type measurement struct {
	usage
	wall time.Duration
	busy time.Duration // what the proxy took while the wall clock ran
}

// measure reads the proxy's clock around f, when it has come to rest.
func measure(p *peer, f func() error) (m measurement, err error) {
	before, err := settled(p.pid())
	if err != nil {
		return m, err
	}
	begin := time.Now()
	if err := f(); err != nil {
		return m, err
	}
	m.wall = time.Since(begin)
	end, err := readUsage(p.pid())
	if err != nil {
		return m, err
	}
	m.busy = end.minus(before).cpu
	after, err := settled(p.pid())
	m.usage = after.minus(before)
	return m, err
}

// perGB gives the columns of ingest and play. busy near 100 % shows that the
// proxy was the limit, not the load.
func (m measurement) perGB(payload int64) []float64 {
	gb := float64(payload) / 1e9
	return []float64{m.cpu.Seconds() / gb, gb * 1e3 / m.wall.Seconds(),
		100 * m.busy.Seconds() / m.wall.Seconds()}
}

func arrived(c <-chan struct{}) error {
	select {
	case <-c:
		return nil
	case <-time.After(patience):
		return fmt.Errorf("nothing more came within %v", patience)
	}
}
