package ratelimit

import (
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

var tenAMinute = BanLimits{AuthFailures: Rate{10, time.Minute}, Ban: 10 * time.Minute}

// failTo fails n times and wants the last to ban, and no other.
func failTo(t *testing.T, b *Bans, addr string, n int, lim BanLimits) Ban {
	t.Helper()
	for i := 1; ; i++ {
		count, ban, banned := b.Failed(ip(addr), lim)
		if count != i || banned != (i == n) {
			t.Fatalf("failure %d of %d: counted %d, banned %v", i, n, count, banned)
		}
		if banned {
			return ban
		}
	}
}

func TestBanAfterTooManyFailures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := NewBans()
		ban := failTo(t, b, "192.0.2.1", 11, tenAMinute)
		if ban.Network.String() != "192.0.2.1/32" || ban.Why != WhyAuthFailures || ban.Count != 1 || ban.ByHand {
			t.Errorf("got %+v", ban)
		}
		if d := ban.Until.Sub(ban.Since); d != 10*time.Minute || !ban.Since.Equal(time.Now()) {
			t.Errorf("%v from %v", d, ban.Since)
		}
		if !b.Banned(ip("192.0.2.1")) || b.Banned(ip("192.0.2.2")) {
			t.Error("not the one who failed")
		}
		time.Sleep(10*time.Minute - 1)
		if !b.Banned(ip("192.0.2.1")) {
			t.Error("over too early")
		}
		time.Sleep(time.Nanosecond)
		if b.Banned(ip("192.0.2.1")) || len(b.List()) != 0 || b.Len() != 0 {
			t.Error("not over")
		}
	})
}

func TestSlowFailuresAreForgiven(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := NewBans()
		for range 1000 { // an encoder that somebody forgot, trying again every 6 s
			if n, _, banned := b.Failed(ip("192.0.2.1"), tenAMinute); banned || n != 1 {
				t.Fatalf("failure %d, banned %v", n, banned)
			}
			time.Sleep(6 * time.Second)
		}
	})
}

func TestBansDouble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := NewBans()
		for i, want := range []time.Duration{10, 20, 40, 80, 160, 320, 640, 1280, 1440, 1440} {
			ban := failTo(t, b, "192.0.2.1", 11, tenAMinute)
			if d := ban.Until.Sub(ban.Since); d != want*time.Minute || ban.Count != i+1 {
				t.Fatalf("ban %d lasts %v", ban.Count, d)
			}
			time.Sleep(ban.Until.Sub(ban.Since) + BanMemory - 1)
		}
		failTo(t, b, "192.0.2.1", 11, tenAMinute)
		time.Sleep(MaxBan + BanMemory)
		if ban := failTo(t, b, "192.0.2.1", 11, tenAMinute); ban.Count != 1 {
			t.Errorf("after a day without: %+v", ban)
		}
	})
}

func TestFailingOnIsOneBan(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := NewBans()
		failTo(t, b, "192.0.2.1", 11, tenAMinute)
		for range 50 { // let in before the ban
			if _, _, banned := b.Failed(ip("192.0.2.1"), tenAMinute); banned {
				t.Fatal("banned twice")
			}
		}
		if l := b.List(); len(l) != 1 || l[0].Count != 1 {
			t.Errorf("got %+v", l)
		}
	})
}

func TestNoBans(t *testing.T) {
	for name, lim := range map[string]BanLimits{
		"auth_failures = 0": {Ban: time.Minute},
		"ban = 0":           {AuthFailures: Rate{1, time.Minute}},
	} {
		b := NewBans()
		n := 0
		for range 100 {
			var banned bool
			if n, _, banned = b.Failed(ip("192.0.2.1"), lim); banned {
				t.Errorf("%s: banned", name)
			}
		}
		if n < 2 || b.Banned(ip("192.0.2.1")) {
			t.Errorf("%s: %d failures counted", name, n)
		}
	}
}

func TestBanOfIPv6IsItsNetwork(t *testing.T) {
	b := NewBans()
	for i, addr := range []string{"2001:db8::1", "2001:db8::2", "2001:db8::3"} {
		if n, _, _ := b.Failed(ip(addr), tenAMinute); n != i+1 {
			t.Errorf("%s: counted %d", addr, n)
		}
	}
	ban, ok := b.Add(ip("2001:db8::1"), time.Minute, WhyKick)
	if !ok || ban.Network.String() != "2001:db8::/64" {
		t.Errorf("got %+v, %v", ban, ok)
	}
	if !b.Banned(ip("2001:db8::ffff")) || b.Banned(ip("2001:db8:0:1::1")) {
		t.Error("not the /64")
	}
	if !b.Lift(ip("2001:db8::7")) || b.Banned(ip("2001:db8::1")) {
		t.Error("not lifted")
	}
}

func TestHandBans(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := NewBans()
		long, _ := b.Add(ip("192.0.2.1"), time.Hour, strings.Repeat("é", 300))
		if len(long.Why) > maxWhy || !long.ByHand || !strings.HasPrefix(long.Why, "éé") {
			t.Errorf("got %+v", long)
		}
		short, ok := b.Add(ip("192.0.2.1"), time.Minute, "again")
		if !ok || short != long {
			t.Errorf("a shorter ban: got %+v", short)
		}
		if ban, _ := b.Add(ip("192.0.2.2"), 1<<62, ""); ban.Until.Sub(ban.Since) != MaxHandBan {
			t.Errorf("got %+v", ban)
		}
		if l := b.List(); len(l) != 2 || l[0].Network.String() != "192.0.2.2/32" || l[1] != long || b.Len() != 2 {
			t.Errorf("got %+v", l)
		}
		if b.Lift(ip("192.0.2.3")) || !b.Lift(ip("192.0.2.1")) || b.Lift(ip("192.0.2.1")) {
			t.Error("lifting says something else")
		}
		for _, d := range []time.Duration{0, -1} {
			if _, ok := b.Add(ip("192.0.2.9"), d, ""); ok {
				t.Errorf("a ban of %v", d)
			}
		}
	})
}

func TestLiftForgives(t *testing.T) {
	b := NewBans()
	failTo(t, b, "192.0.2.1", 11, tenAMinute)
	b.Lift(ip("192.0.2.1"))
	if ban := failTo(t, b, "192.0.2.1", 11, tenAMinute); ban.Count != 1 {
		t.Errorf("got %+v", ban)
	}
}

func TestNobodyIsBannedWithoutAnAddress(t *testing.T) {
	b := NewBans()
	var none = ip("0.0.0.0").Next().Prev().Prev() // not valid
	if _, _, banned := b.Failed(none, BanLimits{Rate{1, time.Hour}, time.Hour}); banned {
		t.Error("banned")
	}
	if _, ok := b.Add(none, time.Hour, ""); ok || b.Banned(none) || b.Lift(none) {
		t.Error("banned")
	}
}

func TestBansAreBounded(t *testing.T) {
	const entries, more = 1 << 12, 10_000
	synctest.Test(t, func(t *testing.T) {
		b := newBans(entries)
		if _, ok := b.Add(ip("192.0.2.1"), time.Hour, WhyKick); !ok {
			t.Fatal("not banned")
		}
		failTo(t, b, "192.0.2.2", 11, tenAMinute)
		for i := range entries + more {
			b.Failed(nth(i), tenAMinute)
		}
		if n := b.table.len(); n > entries {
			t.Errorf("%d entries", n)
		}
		if !b.Banned(ip("192.0.2.1")) || !b.Banned(ip("192.0.2.2")) {
			t.Error("failures of others lifted a ban")
		}
		for i := range entries + more {
			b.add(nth(i), 24*time.Hour, "", false)
		}
		if n := b.table.len(); n > entries {
			t.Errorf("%d entries", n)
		}
		if !b.Banned(ip("192.0.2.1")) {
			t.Error("bans of others lifted one set by hand")
		}
		time.Sleep(24*time.Hour + BanMemory)
		for i := range 2 * entries {
			b.Failed(nth(i), tenAMinute)
			b.Lift(nth(i))
		}
		if n := b.table.len(); n > entries/10 {
			t.Errorf("%d entries hold nothing and are still there", n)
		}
	})
}

// Whatever the interleaving: one ban per too many failures, and what the list
// says is what Banned says.
func TestBansConcurrently(t *testing.T) {
	b := NewBans()
	lim := BanLimits{Rate{10, time.Hour}, time.Hour}
	var mu sync.Mutex
	bans := map[int]int{}
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			random := rand.New(rand.NewPCG(uint64(w), 2))
			for range 4000 {
				i := random.IntN(50)
				if _, _, banned := b.Failed(nth(i), lim); banned {
					mu.Lock()
					bans[i]++
					mu.Unlock()
				}
				b.Banned(nth(random.IntN(50)))
				if random.IntN(100) == 0 {
					b.List()
				}
			}
		})
	}
	wg.Wait()
	for i := range 50 {
		if bans[i] != 1 || !b.Banned(nth(i)) {
			t.Errorf("address %d: banned %d times", i, bans[i])
		}
	}
	if b.Len() != 50 {
		t.Errorf("%d bans", b.Len())
	}
}

func BenchmarkBanned(b *testing.B) {
	bans := NewBans()
	for i := range 10_000 {
		bans.Add(nth(i), time.Hour, "")
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		bans.Banned(nth(i & 0xffff))
	}
}

func BenchmarkFailed(b *testing.B) {
	bans := NewBans()
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		bans.Failed(nth(i&0xfffff), tenAMinute)
	}
}
