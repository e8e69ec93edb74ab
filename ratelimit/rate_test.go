package ratelimit

import (
	"testing"
	"time"
)

func TestParseRate(t *testing.T) {
	for s, want := range map[string]Rate{
		"0": {}, "10/s": {10, time.Second}, "10/m": {10, time.Minute}, "5/h": {5, time.Hour},
		"3/90s": {3, 90 * time.Second}, "1000000/24h": {MaxRateEvents, MaxRatePer},
	} {
		got, err := ParseRate(s)
		if err != nil || got != want {
			t.Errorf("%q: got %v, %v", s, got, err)
		}
		if back, err := ParseRate(got.String()); err != nil || back != got {
			t.Errorf("%q is written as %q, which gives %v, %v", s, got.String(), back, err)
		}
	}
}

func TestParseRateRefuses(t *testing.T) {
	for _, s := range []string{"", "10", "/s", "10/", "0/s", "-1/s", "+1/s", "1.5/s", "10/S", "10/d", "10/s ", " 10/s", "10/0s",
		"10/-1s", "10/999ms", "10/25h", "1000001/s", "99999999999999999999/s", "1/s/s"} {
		if got, err := ParseRate(s); err == nil {
			t.Errorf("%q: got %v", s, got)
		}
	}
}

func TestRateIsNeverRoundedUp(t *testing.T) {
	for _, r := range []Rate{{3, time.Second}, {7, time.Second}, {999_999, time.Second}, {1, time.Hour}} {
		if got := r.interval() * time.Duration(r.Events); got < r.Per {
			t.Errorf("%v: %d events take %v", r, r.Events, got)
		}
	}
}

func TestText(t *testing.T) {
	var r Rate
	var b Bitrate
	if err := r.UnmarshalText([]byte("10/m")); err != nil {
		t.Fatal(err)
	}
	if err := b.UnmarshalText([]byte("8Mbit")); err != nil {
		t.Fatal(err)
	}
	if r.UnmarshalText([]byte("x")) == nil || b.UnmarshalText([]byte("x")) == nil {
		t.Error("nonsense is read")
	}
	rt, _ := r.MarshalText()
	bt, _ := b.MarshalText()
	if string(rt) != "10/m" || string(bt) != "8Mbit" {
		t.Errorf("got %s and %s", rt, bt)
	}
}
