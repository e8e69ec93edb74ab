package ratelimit

import "testing"

func fullShard(t *testing.T) *shard[peer, entry] {
	t.Helper()
	s := &shard[peer, entry]{entries: map[peer]entry{}, most: 100}
	for i := range uint64(100) {
		s.entries[peer{net: i}] = entry{count: 1}
	}
	return s
}

func TestFullOfPinnedEntries(t *testing.T) {
	s := fullShard(t)
	if _, ok := s.find(peer{net: 1}, 0); !ok {
		t.Error("a known peer is not found")
	}
	if _, ok := s.find(peer{v6: true}, 0); ok {
		t.Error("there is no room for another")
	}
	s.entries[peer{net: 7}] = entry{connects: bucket{100}}
	if _, ok := s.find(peer{v6: true}, 0); !ok || len(s.entries) != 99 {
		t.Errorf("the only idle entry must go; %d are left", len(s.entries))
	}
}

func TestEvictForgetsLeast(t *testing.T) {
	idle := func(fullAt int64) entry { return entry{connects: bucket{fullAt}} }
	s := shard[peer, entry]{entries: map[peer]entry{{net: 1}: idle(50), {net: 2}: idle(40), {net: 3}: {count: 1}, {net: 4}: idle(60)}}
	if !s.evict(10) {
		t.Fatal("nothing to evict")
	}
	if _, still := s.entries[peer{net: 2}]; still || len(s.entries) != 3 {
		t.Errorf("left: %v", s.entries)
	}
}

func TestNetwork(t *testing.T) {
	for addr, want := range map[string]string{
		"192.0.2.1": "192.0.2.1/32", "::ffff:192.0.2.1": "192.0.2.1/32",
		"2001:db8:1:2:3:4:5:6": "2001:db8:1:2::/64", "fe80::1%eth0": "fe80::/64",
	} {
		if got := Network(ip(addr)).String(); got != want {
			t.Errorf("%s: got %s, want %s", addr, got, want)
		}
	}
}
