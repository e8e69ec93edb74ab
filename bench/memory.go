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
		{name: "RSS KiB/connection", verb: "%.1f", ratio: true},
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
		{name: "queued in the kernel KiB", verb: "%.0f"},
	},
	once: stalledOnce,
}

// idleOnce compares the resident memory with few and with many publishers: the
// difference is theirs alone, whatever the process itself needs.
func idleOnce(b *bench, p *peer, round int) ([]float64, error) {
	few, many := b.pick(100, 50), b.pick(600, 200)
	b.origin.setBuffer(4 << 10)
	defer b.origin.setBuffer(originBuffer)
	first, err := b.idlers(p, few, b.pick(3000, 2000))
	defer closeAll(first)
	if err != nil {
		return nil, err
	}
	before, err := readRSS(p.pid())
	if err != nil {
		return nil, err
	}
	rest, err := b.idlers(p, many-few, b.pick(5000, 3000))
	defer closeAll(rest)
	if err != nil {
		return nil, err
	}
	after, err := readRSS(p.pid())
	err = errors.Join(err, allAlive(first), allAlive(rest))
	return []float64{float64(after-before) / 1024 / float64(many-few)}, err
}

// idlers connects n publishers, lets each send a second of media, and waits.
func (b *bench) idlers(p *peer, n, milliseconds int) ([]*client, error) {
	list, err := b.publishers(p, n, nil)
	if err != nil {
		return list, err
	}
	for _, c := range list {
		if err := c.aSecond(); err != nil {
			return list, err
		}
	}
	time.Sleep(time.Duration(milliseconds) * time.Millisecond)
	return list, nil
}

// publishers connects n of them, the origin's side behind gate.
func (b *bench) publishers(p *peer, n int, gate chan struct{}) (list []*client, err error) {
	for range n {
		name := b.name()
		s := b.origin.expect(name, &stream{gate: gate})
		c, err := dial(p.addr, b.tls)
		if err != nil {
			return list, err
		}
		c.stream = s
		list = append(list, c)
		if err := c.publish(name); err != nil {
			return list, err
		}
	}
	return list, nil
}

// allAlive makes sure that those who were counted are still there.
func allAlive(list []*client) error {
	for _, c := range list {
		select {
		case <-c.stream.ended:
			return errors.New("a publisher was thrown out")
		default:
		}
	}
	return nil
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

// stalledOnce compares likewise.
func stalledOnce(b *bench, p *peer, round int) ([]float64, error) {
	few, many := b.pick(10, 5), b.pick(50, 20)
	gate := make(chan struct{})
	defer close(gate)
	first, err := b.stuck(p, few, gate)
	defer closeAll(first)
	if err != nil {
		return nil, err
	}
	before, err := heldBy(p.pid())
	if err != nil {
		return nil, err
	}
	rest, err := b.stuck(p, many-few, gate)
	defer closeAll(rest)
	if err != nil {
		return nil, err
	}
	after, err := heldBy(p.pid())
	err = errors.Join(err, allAlive(first), allAlive(rest))
	each := func(bytes int64) float64 { return float64(bytes) / 1024 / float64(many-few) }
	return []float64{each(after.rss - before.rss), each(after.queued - before.queued)}, err
}

// stuck connects n publishers and lets them send until nothing more is taken.
func (b *bench) stuck(p *peer, n int, gate chan struct{}) ([]*client, error) {
	list, err := b.publishers(p, n, gate)
	if err != nil {
		return list, err
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
	time.Sleep(time.Second)
	return list, err
}

// held is what a process holds: itself, and the kernel in its sockets.
type held struct{ rss, queued int64 }

func heldBy(pid int) (h held, err error) {
	if h.rss, err = readRSS(pid); err != nil {
		return h, err
	}
	h.queued, err = queuedBytes(pid)
	return h, err
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
