package ratelimit

// bucket holds events that may come at once. It is one number: it is full at
// any time after fullAt, and one event emptier for each interval that fullAt
// lies ahead. The zero bucket is full.
type bucket struct {
	fullAt int64 // nanoseconds of the table's time
}

func (b bucket) full(now int64) bool { return b.fullAt <= now }

// charge takes one event out of the bucket of size events, if one is in it.
func (b *bucket) charge(r Rate, size int, now int64) bool {
	if r.none() {
		return true
	}
	interval := int64(r.interval())
	whole := int64(size) * interval
	// A bucket is at most empty, also after a reload to a higher rate.
	b.fullAt = min(max(b.fullAt, now), now+whole)
	if b.fullAt+interval > now+whole {
		return false
	}
	b.fullAt += interval
	return true
}

// taken is how many events the bucket lacks, rounded up.
func (b bucket) taken(r Rate, now int64) int {
	if r.none() || b.full(now) {
		return 0
	}
	interval := int64(r.interval())
	return int((b.fullAt - now + interval - 1) / interval)
}
