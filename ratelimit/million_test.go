package ratelimit

import (
	"runtime"
	"testing"
	"time"
)

// million is how many addresses an attacker has in these benchmarks.
const million = 1_000_000

// BenchmarkMillionAdmissions tells what one entry takes where a million are kept,
// and what there is in truth after a million addresses have come.
func BenchmarkMillionAdmissions(b *testing.B) {
	lim := AdmissionLimits{ConnectionsPerIP: 64, ConnectRatePerIP: Rate{1, MaxRatePer}}
	for name, entries := range map[string]int{"kept": 2 * million, "bounded": MaxAdmissionEntries} {
		b.Run(name, func(b *testing.B) {
			fill(b, func() (func(int), func() int) {
				a := newAdmission(entries)
				return func(i int) {
					if release, err := a.Admit(nth(i), lim); err == nil {
						release()
					}
				}, a.peers.len
			})
		})
	}
}

// BenchmarkMillionBans does so with addresses that have sent a wrong key.
func BenchmarkMillionBans(b *testing.B) {
	lim := BanLimits{AuthFailures: Rate{1, MaxRatePer}, Ban: time.Hour}
	for name, entries := range map[string]int{"kept": 2 * million, "bounded": MaxBanEntries} {
		b.Run(name, func(b *testing.B) {
			fill(b, func() (func(int), func() int) {
				bans := newBans(entries)
				return func(i int) { bans.Failed(nth(i), lim) }, bans.table.len
			})
		})
	}
}

// fill has a million addresses come to what make returns, and tells of the heap
// that is held by the entries then.
func fill(b *testing.B, make func() (visit func(int), entries func() int)) {
	for b.Loop() {
		before := heapInUse()
		visit, entries := make()
		for i := range million {
			visit(i)
		}
		held := heapInUse() - before
		b.ReportMetric(float64(held)/float64(entries()), "B/entry")
		b.ReportMetric(float64(entries()), "entries")
		b.ReportMetric(float64(held)/(1<<20), "MiB")
	}
}

func heapInUse() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
