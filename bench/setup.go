package main

import (
	"errors"
	"sync"
	"time"
)

var setup = scenario{
	name:    "setup",
	title:   "Setup: TCP, TLS and RTMP up to publish accepted, and the end; the edge checks a stream key",
	rounds:  15,
	wants:   wants{keys: keyCount},
	columns: []column{{name: "CPU ms", verb: "%.2f", ratio: true}, {name: "wall ms", verb: "%.1f"}},
	once:    setupOnce,
}

// setupWorkers connect at the same time. It divides keyCount, so that each has
// keys of its own.
const setupWorkers = 4

// keyCount keys take turns, so that no setup has to wait until the edge has
// taken leave of the one before under the same name.
const keyCount = 16

func setupOnce(b *bench, p *peer, round int) ([]float64, error) {
	n := b.pick(1600, 100)
	b.origin.setBuffer(4 << 10)
	defer b.origin.setBuffer(originBuffer)
	m, err := measure(p, func() error {
		var wg sync.WaitGroup
		errs := make(chan error, setupWorkers)
		for w := range setupWorkers {
			wg.Go(func() {
				for i := w; i < n; i += setupWorkers {
					if err := b.setupOne(p, keyText(i%keyCount)); err != nil {
						errs <- err
						return
					}
				}
			})
		}
		wg.Wait()
		close(errs)
		var all error
		for err := range errs {
			all = errors.Join(all, err)
		}
		return all
	})
	each := time.Duration(n)
	return []float64{ms(m.cpu / each), ms(m.wall / each)}, err
}

func ms(d time.Duration) float64 { return float64(d) / 1e6 }

func (b *bench) setupOne(p *peer, key string) error {
	c, err := dial(p.addr, b.tls)
	if err != nil {
		return err
	}
	defer c.raw.Close()
	if err := c.publish(key); err != nil {
		return err
	}
	c.finish()
	return nil
}
