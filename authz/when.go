package authz

import (
	"errors"
	"strconv"
	"strings"
	"time"
)

// MaxDays is the longest time that ParseTime takes in days: a hundred years.
const MaxDays = 36_500

var errWhen = errors.New(`must be a time as 2027-01-01T00:00:00Z, a date as 2027-01-01 (its beginning in UTC), or how long from now, as 720h or 30d`)

// ParseTime reads a moment as people type it: RFC 3339, a date (its beginning
// in UTC), or a time from now on that is more than nothing, such as "90m",
// "720h" or "30d" (at most MaxDays). It gives whole seconds, in UTC. The error
// says what is allowed without repeating s.
func ParseTime(s string, now time.Time) (time.Time, error) {
	for _, layout := range []string{time.RFC3339, time.DateOnly} {
		if t, err := time.Parse(layout, s); err == nil {
			return t.UTC().Truncate(time.Second), nil
		}
	}
	d, err := parseDays(s)
	if err != nil {
		d, err = time.ParseDuration(s)
	}
	if err != nil || d <= 0 {
		return time.Time{}, errWhen
	}
	return now.Add(d).UTC().Truncate(time.Second), nil
}

func parseDays(s string) (time.Duration, error) {
	number, ok := strings.CutSuffix(s, "d")
	n, err := strconv.ParseUint(number, 10, 16)
	if !ok || err != nil || n > MaxDays {
		return 0, errWhen
	}
	return time.Duration(n) * 24 * time.Hour, nil
}
