package rtmp

import (
	"errors"
	"slices"
	"testing"

	"rtmps-edge/rtmp/rtmptest"
)

// TestAcceptIf: a judge hears connect before it is answered. What he refuses is
// said with connect's own number, in one write, and with no chunk size set.
func TestAcceptIf(t *testing.T) {
	b := greeting().Command(0, "connect", 7, rtmptest.Object{{Key: "app", Value: "live?authmod=adobe&user=u"}, {Key: "tcUrl", Value: "rtmp://h/live?x"}})
	rw := says(b)
	refusal := &StatusError{Code: "NetConnection.Connect.Rejected", Description: "[ AccessManager.Reject ] : [ code=403 need auth; authmod=adobe ] : "}
	var heard Request
	p, err := AcceptIf(rw, Limits{}, func(r Request) *StatusError { heard = r; return refusal })
	if !errors.Is(err, refusal) || p != nil {
		t.Errorf("%v, %v", p, err)
	}
	if heard.App != "live" || heard.AppQuery.Reveal() != "authmod=adobe&user=u" || heard.TcURL.Reveal() != "rtmp://h/live?x" || heard.Action != "" {
		t.Errorf("the judge heard app %q", heard.App)
	}
	want := []string{"0: _error 7 [<nil> [{level error} {code NetConnection.Connect.Rejected} {description " + refusal.Description + "}]]"}
	if got := text(rw.heard(t, true)); !slices.Equal(got, want) || rw.writes != 2 {
		t.Errorf("the client heard %q in %d writes", got, rw.writes)
	}

	rw = says(connected().Command(1, "publish", 5, nil, "key", "live"))
	p, err = AcceptIf(rw, Limits{}, func(Request) *StatusError { return nil })
	if err != nil || p.Request.Action != Publish {
		t.Fatalf("%v", err)
	}
	if got := text(rw.heard(t, true)); !slices.Equal(got, welcomed) {
		t.Errorf("the client heard %q", got)
	}
	_ = p.Reject(refusal)
}
