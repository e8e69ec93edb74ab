package main

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"
)

var idle = scenario{
	name:   "idle",
	title:  "Idle: publishers that have sent a second of media and then nothing, after 5 s",
	rounds: 2,
	fresh:  true,
	columns: []column{
		{name: "KiB/connection", verb: "%.1f", ratio: true},
		{name: "connections", verb: "%.0f"},
	},
	once: idleOnce,
}

var stalled = scenario{
	name:   "stalled",
	title:  "Stalled: publishers at full speed toward an origin that reads nothing",
	rounds: 2,
	fresh:  true,
	columns: []column{
		{name: "RSS KiB/connection", verb: "%.0f", ratio: true},
		{name: "and in the kernel KiB", verb: "%.0f"},
	},
	once: stalledOnce,
}

// idleOnce compares the resident memory before and with the publishers.
func idleOnce(b *bench, p *peer, round int) ([]float64, error) {
	n := b.pick(500, 150)
	b.origin.setBuffer(4 << 10)
	defer b.origin.setBuffer(originBuffer)
	before, err := b.baseline(p)
	if err != nil {
		return nil, err
	}
	list, err := b.publishers(p, n, nil)
	defer closeAll(list)
	if err != nil {
		return nil, err
	}
	for _, c := range list {
		if err := c.aSecond(); err != nil {
			return nil, err
		}
	}
	time.Sleep(time.Duration(b.pick(5000, 3000)) * time.Millisecond)
	after, err := readRSS(p.pid())
	return []float64{float64(after-before) / 1024 / float64(n), float64(n)}, err
}

// baseline is what the process needs after it has served one publisher.
func (b *bench) baseline(p *peer) (int64, error) {
	if err := b.setupOne(p, b.name()); err != nil {
		return 0, err
	}
	time.Sleep(500 * time.Millisecond)
	return readRSS(p.pid())
}

// publishers connects n of them, the origin's side behind gate.
func (b *bench) publishers(p *peer, n int, gate chan struct{}) (list []*client, err error) {
	for range n {
		name := b.name()
		b.origin.expect(name, &stream{gate: gate})
		c, err := dial(p.addr, b.tls)
		if err != nil {
			return list, err
		}
		list = append(list, c)
		if err := c.publish(name); err != nil {
			return list, err
		}
	}
	return list, nil
}

func closeAll(list []*client) {
	for _, c := range list {
		c.raw.Close()
	}
}

// aSecond sends a second of a stream at once.
func (c *client) aSecond() error {
	f := newFeed(interSize)
	for f.frame < fps {
		typ, time, payload := f.next()
		if err := c.send(typ, time, payload); err != nil {
			return err
		}
	}
	return nil
}

func stalledOnce(b *bench, p *peer, round int) ([]float64, error) {
	n := b.pick(50, 20)
	before, err := b.baseline(p)
	if err != nil {
		return nil, err
	}
	gate := make(chan struct{})
	defer close(gate)
	list, err := b.publishers(p, n, gate)
	defer closeAll(list)
	if err != nil {
		return nil, err
	}
	var wg sync.WaitGroup
	errs := make(chan error, n)
	for _, c := range list {
		wg.Go(func() { errs <- c.untilStuck() })
	}
	wg.Wait()
	for range list {
		err = errors.Join(err, <-errs)
	}
	if err != nil {
		return nil, err
	}
	time.Sleep(time.Second)
	after, err := readRSS(p.pid())
	if err != nil {
		return nil, err
	}
	queued, err := queuedBytes(p.pid())
	each := func(bytes int64) float64 { return float64(bytes) / 1024 / float64(n) }
	return []float64{each(after - before), each(queued)}, err
}

// untilStuck sends until nothing was taken for a second.
func (c *client) untilStuck() error {
	f := newFeed(interSize)
	for range 50_000 {
		c.raw.SetWriteDeadline(time.Now().Add(time.Second))
		typ, at, payload := f.next()
		err := c.send(typ, at, payload)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return nil
		}
		if err != nil {
			return err
		}
	}
	return errors.New("the proxy takes 500 MB for an origin that reads none of it")
}

// queuedBytes adds up what the kernel holds in the sockets of a process: what
// was not sent on yet, and what was not read.
func queuedBytes(pid int) (sum int64, err error) {
	own, err := sockets(pid)
	if err != nil {
		return 0, err
	}
	for _, file := range []string{"tcp", "tcp6"} {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/%s", pid, file))
		if err != nil {
			return 0, err
		}
		for line := range strings.Lines(string(b)) {
			f := strings.Fields(line)
			if len(f) < 10 || !own[f[9]] || f[3] != established {
				continue
			}
			var tx, rx int64
			if _, err := fmt.Sscanf(f[4], "%x:%x", &tx, &rx); err != nil {
				return 0, err
			}
			sum += tx + rx
		}
	}
	return sum, nil
}

const established = "01" // in /proc/net/tcp

// sockets returns the inodes of a process's sockets.
func sockets(pid int) (map[string]bool, error) {
	dir := fmt.Sprintf("/proc/%d/fd", pid)
	list, err := os.ReadDir(dir)
	own := map[string]bool{}
	for _, e := range list {
		to, _ := os.Readlink(dir + "/" + e.Name())
		if inode, ok := strings.CutPrefix(to, "socket:["); ok {
			own[strings.TrimSuffix(inode, "]")] = true
		}
	}
	return own, err
}
