package main

import (
	"crypto/tls"
	"errors"
	"fmt"
	"os"
)

// bench is one run of the harness.
type bench struct {
	kinds   []kind
	dir     string
	tls     *tls.Config // of clients
	origin  *origin
	rounds  int
	quick   bool
	buf     []byte // for encrypted load, used again and again
	program *program
	number  int // makes stream names that differ
	quiet   quiet
}

func newBench(o options, kinds []kind) (*bench, error) {
	dir, err := os.MkdirTemp("", "rtmps-edge-bench-")
	if err != nil {
		return nil, err
	}
	b := &bench{kinds: kinds, dir: dir, rounds: o.rounds, quick: o.quick}
	if b.quick {
		b.rounds = min(b.rounds, 2)
	}
	if b.tls, err = writeCertificate(dir); err != nil {
		return nil, err
	}
	b.origin, err = startOrigin()
	return b, err
}

// scenario is one kind of load.
type scenario struct {
	name    string
	title   string
	columns []column
	rounds  int  // at most
	keys    bool // the edge asks for stream keys
	fresh   bool // every round has a process of its own: memory does not come back
	direct  bool // measured without a proxy, too
	cold    bool // no round is needed to warm up
	// once measures one peer in one round; round 0 warms up, and its figures
	// do not count.
	once func(b *bench, p *peer, round int) ([]float64, error)
	// derive makes columns out of those of other rows.
	derive func(*table)
}

var scenarios = []scenario{ingest, play, paced, setup, handshakes, idle, stalled}

// direct stands for no proxy at all.
var direct = kind{name: "(none)"}

// scenario runs the rounds of s, each peer in turn, and prints their medians.
func (b *bench) scenario(s scenario) error {
	kinds := b.kinds
	if s.direct {
		kinds = append([]kind{direct}, kinds...)
	}
	t := newTable(s.title, s.columns, kinds)
	peers := map[string]*peer{}
	defer func() {
		for _, p := range peers {
			p.stop()
		}
	}()
	rounds := min(b.rounds, s.rounds)
	b.quiet = quiet{repeats: repeatsEach * rounds * len(kinds)}
	first := 0
	if s.fresh || s.cold {
		first = 1
	}
	for round := first; round <= rounds; round++ {
		for i := range kinds {
			k := kinds[(i+round)%len(kinds)]
			if err := b.turn(s, k, peers, t, round); err != nil {
				return fmt.Errorf("%s: %w", k.name, err)
			}
		}
	}
	if s.derive != nil {
		s.derive(t)
	}
	t.print(os.Stdout)
	if q := b.quiet; q.loud > 0 {
		fmt.Printf("  %d of %d measurements were disturbed by others on this machine\n", q.loud, q.taken)
	}
	return nil
}

// turn is one peer in one round.
func (b *bench) turn(s scenario, k kind, peers map[string]*peer, t *table, round int) (err error) {
	p := peers[k.name]
	if p == nil {
		if p, err = b.start(s, k); err != nil {
			return err
		}
		peers[k.name] = p
	}
	var values []float64
	once := func() error {
		values, err = s.once(b, p, round)
		return errors.Join(err, p.alive())
	}
	if s.fresh { // it cannot be repeated, and others do not disturb it
		err = once()
	} else {
		err = b.quiet.watch(p, once)
	}
	if err != nil {
		return fmt.Errorf("%w; its last words: %s", err, p.lastWords())
	}
	if round > 0 {
		t.add(k.name, values)
	}
	if s.fresh {
		p.stop()
		delete(peers, k.name)
	}
	return nil
}

func (b *bench) start(s scenario, k kind) (*peer, error) {
	if k.name == direct.name {
		return &peer{kind: k, addr: b.origin.addr()}, nil
	}
	return start(k, b.dir, b.origin.addr(), s.keys)
}

// name makes a stream name.
func (b *bench) name() string {
	b.number++
	return fmt.Sprintf("bench-%d", b.number)
}

// pick returns the smaller figure in a quick run.
func (b *bench) pick(normal, quick int) int {
	if b.quick {
		return quick
	}
	return normal
}
