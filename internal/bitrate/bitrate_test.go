package bitrate

import (
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	for s, want := range map[string]int64{
		"0": 0, "0kbit": 0, "8000": 8000, "8000bit": 8000, "500kbit": 500_000, "8Mbit": 8_000_000,
		"1Gbit": 1_000_000_000, "2.5Mbit": 2_500_000, "0.001kbit": 1, "1000Gbit": Max, "08Mbit": 8_000_000,
	} {
		if got, err := Parse(s); err != nil || got != want {
			t.Errorf("%q: got %d, %v; want %d", s, got, err, want)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for _, s := range []string{
		"", " ", "8 Mbit", "8mbit", "8MBit", "8Mb", "8M", "-1", "+1", "1e6", "0x10", "1_000", "bit", "Mbit", ".5Mbit", "5.Mbit",
		"1.5", "1.0005kbit", "1.5.5Mbit", "1001Gbit", "9223372036854775808", "99999999999999999999Gbit", "٣",
		strings.Repeat("0", maxText+1),
	} {
		if got, err := Parse(s); err != ErrSyntax {
			t.Errorf("%q: got %d, %v; want %v", s, got, err, ErrSyntax)
		}
	}
}

func TestFormat(t *testing.T) {
	for n, want := range map[int64]string{0: "0", 1: "1", 8001: "8001", 500_000: "500kbit", 8_000_000: "8Mbit", 2_500_000: "2500kbit", Max: "1000Gbit"} {
		if got := Format(n); got != want {
			t.Errorf("%d: got %q, want %q", n, got, want)
		}
		if back, err := Parse(Format(n)); err != nil || back != n {
			t.Errorf("%d comes back as %d, %v", n, back, err)
		}
	}
}
