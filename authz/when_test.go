package authz

import (
	"testing"
	"time"
)

func TestParseTime(t *testing.T) {
	now := time.Date(2026, 2, 3, 4, 5, 6, 7, time.FixedZone("", 3600))
	for s, want := range map[string]string{
		"2027-01-01T00:00:00Z":      "2027-01-01T00:00:00Z",
		"2027-01-01T00:00:00+02:00": "2026-12-31T22:00:00Z",
		"2027-01-01":                "2027-01-01T00:00:00Z",
		"720h":                      "2026-03-05T03:05:06Z",
		"30d":                       "2026-03-05T03:05:06Z",
		"1h30m":                     "2026-02-03T04:35:06Z",
		"36500d":                    "2126-01-10T03:05:06Z",
	} {
		if got, err := ParseTime(s, now); err != nil || got.Format(time.RFC3339Nano) != want {
			t.Errorf("%s: got %v, %v; want %s", s, got, err, want)
		}
	}
	for _, s := range []string{"", "0", "0d", "-1d", "+1d", "1.5d", "36501d", "d", "1w", "-1h", "0h", "tomorrow", "2027-13-01", "2027-01-01 00:00:00", "2027-01-01T00:00:00", "9999999h"} {
		if got, err := ParseTime(s, now); err == nil {
			t.Errorf("%q: got %v", s, got)
		}
	}
}
