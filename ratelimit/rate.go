// Package ratelimit counts and paces clients: how many connections at once and
// how often, and how fast a stream is read. It holds its state in memory and
// starts no goroutine.
package ratelimit

import (
	"errors"
	"strconv"
	"strings"
	"time"
)

// Bounds of a Rate that can be written. They keep the arithmetic of Admission
// far from overflow: 2 × MaxRatePer fits many times into an int64 of
// nanoseconds, and an interval of one event is never below 1 µs.
const (
	MaxRateEvents = 1_000_000
	MinRatePer    = time.Second
	MaxRatePer    = 24 * time.Hour
)

// Rate is so many events in so much time. The zero Rate means no limit.
type Rate struct {
	Events int           // 1 to MaxRateEvents
	Per    time.Duration // MinRatePer to MaxRatePer
}

var errRate = errors.New(`must be "0" or events per time, such as "10/s", "10/m", "5/h" or "3/90s": 1 to 1000000 events, 1s to 24h`)

// ratePers are the short names of times, as in "10/m".
var ratePers = map[string]time.Duration{"s": time.Second, "m": time.Minute, "h": time.Hour}

// ParseRate reads "10/s", "10/m", "5/h", "3/90s" (any Go duration), or "0" for
// no limit. The error says so without repeating s.
func ParseRate(s string) (Rate, error) {
	if s == "0" {
		return Rate{}, nil
	}
	events, per, ok := strings.Cut(s, "/")
	n, err := strconv.ParseUint(events, 10, 32)
	if !ok || err != nil || n < 1 || n > MaxRateEvents {
		return Rate{}, errRate
	}
	d, err := parsePer(per)
	if err != nil || d < MinRatePer || d > MaxRatePer {
		return Rate{}, errRate
	}
	return Rate{Events: int(n), Per: d}, nil
}

func parsePer(s string) (time.Duration, error) {
	if d, ok := ratePers[s]; ok {
		return d, nil
	}
	return time.ParseDuration(s)
}

// String gives what ParseRate reads.
func (r Rate) String() string {
	if r.none() {
		return "0"
	}
	for name, d := range ratePers {
		if d == r.Per {
			return strconv.Itoa(r.Events) + "/" + name
		}
	}
	return strconv.Itoa(r.Events) + "/" + r.Per.String()
}

// MarshalText gives what ParseRate reads.
func (r Rate) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// UnmarshalText is ParseRate. After an error, r is as before.
func (r *Rate) UnmarshalText(text []byte) error {
	n, err := ParseRate(string(text))
	if err == nil {
		*r = n
	}
	return err
}

func (r Rate) none() bool { return r.Events <= 0 || r.Per <= 0 }

// interval is the time of one event, rounded up: never more than r.
func (r Rate) interval() time.Duration {
	n := time.Duration(r.Events)
	return (r.Per + n - 1) / n
}
