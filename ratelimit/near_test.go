package ratelimit

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestNear(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := alone(t)
		lim := NearLimits{
			Admission: AdmissionLimits{ConnectionsPerIP: 10},
			Streams:   StreamLimits{PerIP: 4, BitratePerIP: 8_000_000},
			Bans:      BanLimits{AuthFailures: Rate{10, time.Minute}, Ban: time.Hour},
		}
		many := func(addr string, connections, streams, failures int) {
			for range connections {
				if _, err := l.Admit(ip(addr), lim.Admission); err != nil {
					t.Fatal(err)
				}
			}
			for range streams {
				if _, err := l.Stream(t.Context(), StreamRequest{Addr: ip(addr)}, lim.Streams); err != nil {
					t.Fatal(err)
				}
			}
			for range failures {
				l.Failed(ip(addr), lim.Bans)
			}
		}
		many("192.0.2.1", 4, 1, 4) // near to nothing
		many("192.0.2.2", 9, 0, 0)
		many("192.0.2.3", 1, 2, 0)
		many("192.0.2.4", 1, 0, 7)
		many("192.0.2.5", 1, 0, 11) // banned
		many("2001:db8::1", 1, 1, 0)
		l.Streams.peers[peerOf(ip("2001:db8::1"))].pacer.charge(10 << 20)
		time.Sleep(time.Millisecond)
		list := l.Near(lim, 10)
		want := []Usage{
			{Network(ip("2001:db8::")), 1, 1, 0, true, 1, LimitBitratePerIP},
			{Network(ip("192.0.2.2")), 9, 0, 0, false, 0.9, ReasonConnectionsPerIP},
			{Network(ip("192.0.2.4")), 1, 0, 7, false, 0.7, WhyAuthFailures},
			{Network(ip("192.0.2.3")), 1, 2, 0, false, 0.5, ReasonStreamsPerIP},
		}
		for i, w := range want {
			if i >= len(list) || list[i] != w {
				t.Fatalf("got %+v\nwant %+v", list, want)
			}
		}
		if len(list) != len(want) {
			t.Errorf("got %+v", list)
		}
		if list := l.Near(lim, 2); len(list) != 2 || list[0] != want[0] {
			t.Errorf("got %+v", list)
		}
		if list := l.Near(NearLimits{}, 10); len(list) != 1 || list[0].Limit != LimitBitratePerIP {
			t.Errorf("without limits: %+v", list)
		}
	})
}
