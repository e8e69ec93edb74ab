package ratelimit

import (
	"hash/maphash"
	"math"
	"sync"
	"time"
)

const (
	// tableShards part a table, so that cores seldom wait for each other.
	tableShards = 64
	// sweepPerVisit entries are looked at on each visit and dropped if nothing
	// is left to remember: more than one a visit, so that the table shrinks
	// faster than it grows, and needs no goroutine.
	sweepPerVisit = 4
	// evictScan entries are looked at for the best one to forget when the
	// table is full; the search goes on only while none may go.
	evictScan = 16
	// pinned is the worth of an entry that may not be forgotten.
	pinned = math.MaxInt64
)

// kept is what a table remembers of one key.
type kept interface {
	// forgettable says that a new entry would be no different.
	forgettable(now int64) bool
	// worth orders the entries of a full table: of two, the smaller is
	// forgotten first.
	worth(now int64) int64
}

// table is a map that never holds more than so many entries, whoever makes them
// up. It starts no goroutine.
type table[K comparable, V kept] struct {
	start    time.Time // entries count nanoseconds from here
	seed     maphash.Seed
	perShard int
	shards   [tableShards]shard[K, V]
}

func newTable[K comparable, V kept](entries int) *table[K, V] {
	t := &table[K, V]{start: time.Now(), seed: maphash.MakeSeed(), perShard: entries / tableShards}
	for i := range t.shards {
		t.shards[i].entries = make(map[K]V)
		t.shards[i].most = t.perShard
	}
	return t
}

// now is the time that entries count in. It never goes back.
func (t *table[K, V]) now() int64 { return int64(time.Since(t.start)) }

// when turns a time of entries into a date.
func (t *table[K, V]) when(at int64) time.Time { return t.start.Add(time.Duration(at)) }

// of returns the shard of k.
func (t *table[K, V]) of(k K) *shard[K, V] {
	return &t.shards[maphash.Comparable(t.seed, k)%tableShards]
}

// each calls f for all entries. f must not use the table.
func (t *table[K, V]) each(f func(K, V)) {
	for i := range t.shards {
		s := &t.shards[i]
		s.mu.Lock()
		for k, v := range s.entries {
			f(k, v)
		}
		s.mu.Unlock()
	}
}

// len returns how many entries there are.
func (t *table[K, V]) len() int {
	n := 0
	for i := range t.shards {
		t.shards[i].mu.Lock()
		n += len(t.shards[i].entries)
		t.shards[i].mu.Unlock()
	}
	return n
}

// shard is a part of a table. Its methods need mu.
type shard[K comparable, V kept] struct {
	mu      sync.Mutex
	entries map[K]V
	most    int
}

// find returns the entry of k, or a new one. It is not ok when the table is
// full of entries that may not go.
func (s *shard[K, V]) find(k K, now int64) (V, bool) {
	v, ok := s.entries[k]
	if ok || len(s.entries) < s.most {
		return v, true
	}
	return v, s.evict(now)
}

// put stores v, unless there is nothing to remember.
func (s *shard[K, V]) put(k K, v V, now int64) {
	if v.forgettable(now) {
		delete(s.entries, k)
		return
	}
	s.entries[k] = v
}

// sweep drops a few entries that hold nothing. Maps are walked from a random
// place, so all get their turn.
func (s *shard[K, V]) sweep(now int64) {
	n := 0
	for k, v := range s.entries {
		if v.forgettable(now) {
			delete(s.entries, k)
		}
		if n++; n >= sweepPerVisit {
			return
		}
	}
}

// evict drops one entry: of those it looks at, the one that is worth least.
func (s *shard[K, V]) evict(now int64) bool {
	var victim K
	best, n := int64(pinned), 0
	for k, v := range s.entries {
		if w := v.worth(now); w < best {
			victim, best = k, w
		}
		if n++; best < pinned && (n >= evictScan || v.forgettable(now)) {
			break
		}
	}
	if best < pinned {
		delete(s.entries, victim)
	}
	return best < pinned
}
