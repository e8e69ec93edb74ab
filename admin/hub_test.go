package admin

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"rtmps-edge/proxy"
)

// longEvent is one with much text.
var longEvent = proxy.Event{Kind: proxy.Refused, Time: time.Now(), Client: netip.MustParseAddrPort("192.0.2.1:1"), Stage: proxy.StageOrigin,
	Reason: "refused", App: strings.Repeat("a", 255), Err: errors.New(strings.Repeat("ü", 10_000))}

func TestTheHubKeepsTheLatest(t *testing.T) {
	t.Parallel()
	h := newHub()
	if list, _ := h.since(0, 10); list == nil || len(list) != 0 {
		t.Errorf("%+v", list)
	}
	_, more := h.since(0, 10)
	h.observe(proxy.Event{Kind: proxy.Refused, Reason: proxy.ReasonLogin})
	h.observe(proxy.Event{Kind: proxy.Accepted})
	for range hubSize + 5 {
		h.observe(longEvent)
	}
	select {
	case <-more:
	default:
		t.Error("nobody is told of an event")
	}
	for _, c := range []struct {
		since uint64
		most  int
		first uint64
		n     int
	}{
		{0, 1000, 6, hubSize}, {0, 3, hubSize + 3, 3}, {hubSize + 3, 10, hubSize + 4, 2}, {hubSize + 5, 10, 0, 0}, {hubSize + 500, 10, 0, 0},
	} {
		list, _ := h.since(c.since, c.most)
		if len(list) != c.n || c.n > 0 && (list[0].Number != c.first || list[c.n-1].Number != hubSize+5) {
			t.Errorf("since %d: %d events", c.since, len(list))
		}
	}
	list, _ := h.since(0, 1)
	if d := list[0].Detail; len(d) > maxDetail+len("…") || !utf8.ValidString(d) {
		t.Errorf("detail of %d bytes", len(d))
	}
}

func TestKindsOfRefusalAreBounded(t *testing.T) {
	t.Parallel()
	h := newHub()
	for i := range 10 * maxKinds {
		h.observe(proxy.Event{Kind: proxy.Refused, Stage: proxy.StageTLS, Reason: fmt.Sprint(i)})
	}
	list, sum := h.counts(), int64(0)
	for _, r := range list {
		sum += r.Count
	}
	if len(list) > maxKinds+1 || sum != 10*maxKinds || list[0].Reason != "other" {
		t.Errorf("%d kinds, %d refusals", len(list), sum)
	}
}
