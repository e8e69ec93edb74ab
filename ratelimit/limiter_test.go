package ratelimit

import (
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// alone returns a Limiter of one edge.
func alone(t *testing.T) *Limiter {
	t.Helper()
	l, err := NewLimiter(LimiterConfig{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	return l
}

func TestBannedAreNotAdmitted(t *testing.T) {
	l := alone(t)
	lim := BanLimits{AuthFailures: Rate{4, time.Hour}, Ban: time.Hour}
	var delays []time.Duration
	for i := range 5 {
		release, err := l.Admit(ip("192.0.2.1"), AdmissionLimits{})
		if err != nil {
			t.Fatal(err)
		}
		release()
		delays = append(delays, l.Failed(ip("192.0.2.1"), lim))
		if banned := l.Bans.Len() == 1; banned != (i == 4) {
			t.Fatalf("failure %d: banned %v", i+1, banned)
		}
	}
	if delays[2] != 0 || delays[3] != tarpitStep {
		t.Errorf("delays %v", delays)
	}
	if _, err := l.Admit(ip("192.0.2.1"), AdmissionLimits{}); err != overBanned {
		t.Errorf("got %v", err)
	}
	if l.Admission.Connections() != 0 {
		t.Error("a banned connection is counted")
	}
	l.Bans.Lift(ip("192.0.2.1"))
	if _, err := l.Admit(ip("192.0.2.1"), AdmissionLimits{}); err != nil {
		t.Error(err)
	}
}
