package ratelimit

import (
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	// bitsTTL is how long what an edge wants is believed.
	bitsTTL = 3500 * time.Millisecond
	// bitsPerScript is how many addresses one script looks at, so that none
	// keeps Redis from the others for long.
	bitsPerScript = 100
)

// bitOps tell what the addresses with streams here want, and give this edge its
// part of their bit rates. d is the time since the last call.
func (c *Cluster) bitOps(m *membership, d time.Duration) []op {
	all := c.local.Streams.demands(d)
	var ops []op
	for some := range slices.Chunk(all, bitsPerScript) {
		args := []any{m.id, bitsTTL.Milliseconds()}
		for _, d := range some {
			args = append(args, d.peer.prefix().String(), d.want)
		}
		ops = append(ops, evaluation(bitsScript, func(answer string) { c.divide(some, answer) }, args...))
	}
	return ops
}

// divide takes the answer to bitsScript.
func (c *Cluster) divide(asked []demand, answer string) {
	for i, line := range strings.Split(answer, "\n") {
		if i >= len(asked) {
			return
		}
		var others []int64
		for f := range strings.FieldsSeq(line) {
			if n, err := strconv.ParseInt(f, 10, 64); err == nil {
				others = append(others, n)
			}
		}
		d := asked[i]
		c.local.Streams.share(d.peer, partOf(d.limit, d.want, others))
	}
}

// partOf divides limit among those who want parts of it. If there is enough, each
// gets what it wants, and an equal part of the rest; else the smallest wants are
// met first, and what is left is divided equally among the greedy. All who
// reckon with the same wants come to parts that make up the limit. It is never 0.
func partOf(limit, mine int64, others []int64) int64 {
	wants := append(slices.Clone(others), mine)
	slices.Sort(wants)
	left := limit
	for i, want := range wants {
		equal := left / int64(len(wants)-i)
		if want > equal {
			return max(1, min(mine, equal))
		}
		left -= want
	}
	return max(1, mine+left/int64(len(wants)))
}
