package rtmp

import "time"

// allowance is what a peer may still do: so many times at once, and then so
// many times per second. It looks at the clock only when it is used up, so that
// counting costs next to nothing. The zero value is ready.
type allowance struct {
	left  float64
	since time.Time // when left was filled last
}

// spend takes one, and reports whether there was one.
func (a *allowance) spend(perSecond, burst float64) bool {
	if a.left < 1 {
		a.fill(perSecond, burst)
	}
	if a.left < 1 {
		return false
	}
	a.left--
	return true
}

func (a *allowance) fill(perSecond, burst float64) {
	now := time.Now()
	gain := burst
	if !a.since.IsZero() {
		gain = perSecond * now.Sub(a.since).Seconds()
	}
	a.left = min(a.left+gain, burst)
	a.since = now
}
