package proxy

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
)

func TestHints(t *testing.T) {
	for _, c := range []struct {
		e    Event
		want string
	}{
		{Event{Kind: Refused, Stage: StageTLS, Reason: "plain RTMP"}, "rtmps://"},
		{Event{Kind: Refused, Stage: StageRTMP, Reason: "closed", TLS: "TLS 1.3", Err: io.EOF}, "do not believe the certificate"},
		{Event{Kind: Refused, Stage: StageRTMP, Reason: "closed", TLS: "TLS 1.3", Encoder: "FMLE/3.0", Err: io.EOF}, ""},
		{Event{Kind: Refused, Stage: StageRTMP, Reason: "closed", Err: io.EOF}, ""},
		{Event{Kind: Refused, Stage: StageAuthorize, Reason: "denied"}, "key list"},
		{Event{Kind: Refused, Stage: StageOrigin, Reason: "unreachable"}, "rtmps-edge check"},
		{Event{Kind: Refused, Stage: StageAdmit, Reason: "connections_per_ip"}, "[limits]"},
		{Event{Kind: Started}, ""},
		{Event{Kind: Ended, Side: SideClient, Reason: "finished"}, ""},
		{Event{Kind: Ended, Side: SideClient, Reason: "reset"}, "NAT"},
		{Event{Kind: Ended, Side: SideOrigin, Reason: "reset"}, "its own log"},
		{Event{Kind: Ended, Side: SideOrigin, Reason: "finished"}, ""},
		{Event{Kind: Ended, Side: SideEdge, Reason: "kick"}, ""},
	} {
		if got := c.e.Hint(); !strings.Contains(got, c.want) || (c.want == "") != (got == "") {
			t.Errorf("%+v: %q", c.e, got)
		}
	}
	hints := []string{leftAtOnce}
	for _, m := range refusalHints {
		for _, h := range m {
			hints = append(hints, h)
		}
	}
	for _, h := range clientEndHints {
		hints = append(hints, h)
	}
	for _, h := range hints {
		if h == "" || strings.HasSuffix(h, ".") || len(h) > 200 {
			t.Errorf("%q", h)
		}
	}
}

// A server that has no address, or nothing listens there, is not to be mistaken
// for one that answers badly.
func TestUnreachable(t *testing.T) {
	dial := func(err error) error {
		return fmt.Errorf("192.0.2.1:1935: %w", &net.OpError{Op: "dial", Net: "tcp", Err: err})
	}
	for want, err := range map[string]error{
		"unreachable": errors.Join(dial(os.NewSyscallError("connect", syscall.ECONNREFUSED)), dial(&net.DNSError{Name: "origin", IsNotFound: true})),
		"lost":        dial(os.NewSyscallError("connect", syscall.EHOSTUNREACH)),
		"error":       dial(errors.New("something else")),
	} {
		if got := causeOf(err); got != want {
			t.Errorf("%v: %s, want %s", err, got, want)
		}
	}
}
