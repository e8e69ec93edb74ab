package main

import (
	"crypto/tls"
	"errors"
	"fmt"
	"os"
	"slices"
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
	rounds  int // at most
	wants   wants
	own     bool // for the edge alone
	fresh   bool // every round has a process of its own: memory does not come back
	direct  bool // measured without a proxy, too
	cold    bool // no round is needed to warm up
	// once measures one peer in one round; round 0 warms up, and its figures
	// do not count.
	once func(b *bench, p *peer, round int) ([]float64, error)
	// parts, if there are any, are rows of which each has all columns; once
	// returns them one after the other.
	parts []string
	// derive makes columns out of those of other rows.
	derive func(*table)
	// alone does all by itself, without peers and rounds.
	alone func(b *bench) error
}

var scenarios = []scenario{ingest, play, paced, setup, handshakes, idle, stalled, floods, observe, costs}

// direct stands for no proxy at all.
var direct = kind{name: "(none)"}

// scenario runs the rounds of s, each peer in turn, and prints their medians.
func (b *bench) scenario(s scenario) error {
	if s.alone != nil {
		return s.alone(b)
	}
	kinds := b.kinds
	if s.direct {
		kinds = append([]kind{direct}, kinds...)
	}
	if s.own {
		kinds = slices.DeleteFunc(slices.Clone(kinds), func(k kind) bool { return !k.edge })
	}
	t := newTable(s.title, s.columns, s.rows(kinds))
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

// rows are the names of a table's rows.
func (s scenario) rows(kinds []kind) (rows []kind) {
	for _, k := range kinds {
		for _, part := range s.parts {
			rows = append(rows, kind{name: k.name + ", " + part})
		}
	}
	if s.parts == nil {
		return kinds
	}
	return rows
}

// add puts what once has returned into its rows.
func (s scenario) add(t *table, k kind, values []float64) {
	for i, row := range s.rows([]kind{k}) {
		n := len(s.columns)
		t.add(row.name, values[i*n:(i+1)*n])
	}
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
		s.add(t, k, values)
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
	return start(k, b.dir, b.origin.addr(), s.wants)
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
