package main

import (
	"bytes"
	"errors"
	"fmt"
	"hash"
	"time"
)

var play = scenario{
	name:    "play",
	title:   "Play: one player as fast as the proxy sends, the origin in chunks of 4 KiB",
	rounds:  9,
	columns: ingest.columns,
	once:    playOnce,
}

// playOnce moves one program through p. The player keeps the records as they
// come, and opens them when the clock has stopped.
func playOnce(b *bench, p *peer, round int) ([]float64, error) {
	if b.program == nil {
		b.program = newProgram(b.loadSize())
	}
	name := b.name()
	gate := make(chan struct{})
	b.origin.expect(name, &stream{play: b.program, gate: gate})
	c, err := dial(p.addr, b.tls)
	if err != nil {
		return nil, err
	}
	defer c.raw.Close()
	if err := c.play(name); err != nil {
		return nil, err
	}
	var last time.Time
	begin := time.Now()
	m, err := measure(p, func() (err error) {
		begin = time.Now()
		close(gate)
		b.buf, last, err = c.collect(b.buf, b.program.payload)
		return err
	})
	if err != nil {
		return nil, err
	}
	m.wall = last.Sub(begin)
	c.capture.arrived = b.buf
	if err := c.verify(b.program); err != nil {
		return nil, err
	}
	return m.perGB(b.program.payload), nil
}

// verify reads the program from what was collected.
func (c *client) verify(p *program) error {
	t := newTally(p.payload)
	t.digest = newChecksum()
	c.raw.SetReadDeadline(time.Now()) // nothing is behind what was collected
	err := t.until(c.r)
	if err != nil {
		return fmt.Errorf("the player got %d of %d bytes: %w", t.payload.Load(), p.payload, err)
	}
	if !bytes.Equal(t.digest.Sum(nil), p.sum(newChecksum())) {
		return errors.New("the player did not get what the origin sent")
	}
	return nil
}

// sum is the digest of what a player gets.
func (p *program) sum(h hash.Hash) []byte {
	if p.digest == nil {
		t := newTally(p.payload)
		t.digest = h
		r := newChunkReader(p.reader(), 64<<10)
		r.chunk = originChunk
		_ = t.until(r) // it is our own
		p.digest = h.Sum(nil)
	}
	return p.digest
}
