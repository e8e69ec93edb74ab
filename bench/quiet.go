package main

import (
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Others on the machine slow a proxy down: they take its core, or the caches
// that both share. A measurement during which they took more than foreignLimit of
// the two cores is made again, as long as there are repeats left.
const (
	foreignLimit = 0.08
	repeatsEach  = 1 // for each figure, on the average
)

// quiet watches what others do.
type quiet struct {
	repeats int // left
	loud    int // figures that had to be taken all the same
	taken   int
}

// watch runs f again until nobody disturbed it.
func (q *quiet) watch(p *peer, f func() error) error {
	for {
		begin, busy, own := time.Now(), coresBusy(), ownTime(p)
		if err := f(); err != nil {
			return err
		}
		others := coresBusy() - busy - (ownTime(p) - own)
		loud := others.Seconds() > foreignLimit*2*time.Since(begin).Seconds()
		if loud && q.repeats > 0 {
			q.repeats--
			continue
		}
		q.taken++
		if loud {
			q.loud++
		}
		return nil
	}
}

// coresBusy is how long the two cores have worked for anybody.
func coresBusy() time.Duration {
	const tick = 10 * time.Millisecond // USER_HZ is 100 everywhere
	b, _ := os.ReadFile("/proc/stat")
	busy := int64(0)
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		if len(f) < 9 || f[0] != "cpu"+strconv.Itoa(loadCore) && f[0] != "cpu"+strconv.Itoa(proxyCore) {
			continue
		}
		for i, v := range f[1:9] { // user nice system idle iowait irq softirq steal
			if n, _ := strconv.ParseInt(v, 10, 64); i != 3 && i != 4 {
				busy += n
			}
		}
	}
	return time.Duration(busy) * tick
}

// ownTime is what the proxy and this program have used.
func ownTime(p *peer) time.Duration {
	var own syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &own)
	t := time.Duration(own.Utime.Nano() + own.Stime.Nano())
	if u, err := p.usage(); err == nil {
		t += u.cpu
	}
	return t
}
