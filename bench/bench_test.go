package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"rtmps-edge/config"
)

// What the harness writes it reads back as the same media: otherwise a digest at
// the origin would prove nothing.
func TestChunksComeBack(t *testing.T) {
	const size = 1 << 20
	for _, chunk := range []int{128, 4096, 65536} {
		var wire bytes.Buffer
		w := newChunkWriter(&wire)
		if err := w.setChunk(chunk); err != nil {
			t.Fatal(err)
		}
		sent := writeFeed(w, newFeed(interSize), size)
		payload, want := describe(size, newDigest())
		got := newTally(payload)
		got.digest = newDigest()
		if err := got.until(newChunkReader(&wire, 4096)); err != nil {
			t.Fatal(err)
		}
		if sent != payload || !bytes.Equal(got.digest.Sum(nil), want) {
			t.Errorf("chunks of %d: %d bytes of %d, or other ones", chunk, sent, payload)
		}
	}
}

// A digest that does not see what changed would prove nothing either.
func TestDigestsDiffer(t *testing.T) {
	digest := func(change func(typ *byte, time *uint32, p []byte)) []byte {
		h := newChecksum()
		typ, time, p := newFeed(interSize).next()
		change(&typ, &time, p)
		digestHeader(h, typ, time, len(p))
		h.Write(p)
		return h.Sum(nil)
	}
	plain := digest(func(*byte, *uint32, []byte) {})
	for name, change := range map[string]func(*byte, *uint32, []byte){
		"type":    func(typ *byte, _ *uint32, _ []byte) { *typ++ },
		"time":    func(_ *byte, time *uint32, _ []byte) { *time++ },
		"payload": func(_ *byte, _ *uint32, p []byte) { p[len(p)-1] ^= 1 },
	} {
		if bytes.Equal(digest(change), plain) {
			t.Errorf("another %s has the same digest", name)
		}
	}
}

// A program can be repeated: times go on, and its sum is what a player gets.
func TestProgramRepeats(t *testing.T) {
	p := newProgram(10 << 20)
	if p.loops < 2 {
		t.Fatalf("%d loops", p.loops)
	}
	var all bytes.Buffer
	if err := p.send(&all); err != nil {
		t.Fatal(err)
	}
	r := newChunkReader(&all, 4096)
	r.chunk = originChunk
	got := newTally(p.payload)
	got.digest = newChecksum()
	last := map[byte]uint32{}
	got.whole = func(in *inbound) {
		if in.time < last[in.typ] {
			t.Fatalf("the time of type %d goes back from %d to %d", in.typ, last[in.typ], in.time)
		}
		last[in.typ] = in.time
	}
	if err := got.until(r); err != nil {
		t.Fatal(err)
	}
	if got.payload.Load() != p.payload || !bytes.Equal(got.digest.Sum(nil), p.sum(newChecksum())) {
		t.Error("other media than it says")
	}
}

// The edge takes the configuration that it is measured with.
func TestEdgeConfiguration(t *testing.T) {
	for _, w := range []wants{{}, {keys: keyCount}, floods.wants, observe.wants} {
		dir := t.TempDir()
		if _, err := writeCertificate(dir); err != nil {
			t.Fatal(err)
		}
		for name, text := range edgeFiles(site{dir: dir, listen: "127.0.0.1:0", origin: "127.0.0.1:1935", wants: w}) {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := config.Load(filepath.Join(dir, "edge.toml")); err != nil {
			t.Errorf("%+v: %v", w, err)
		}
	}
}

func TestMedianAndRatio(t *testing.T) {
	for _, c := range []struct {
		in   []float64
		want float64
	}{{[]float64{3}, 3}, {[]float64{9, 1, 5}, 5}, {[]float64{4, 1, 2, 100}, 3}} {
		if got := median(c.in); got != c.want {
			t.Errorf("median of %v: %v", c.in, got)
		}
	}
	if got := quantile([]float64{5, 1, 4, 2, 3}, 0.5); got != 3 {
		t.Errorf("quantile: %v", got)
	}
	// Each round is held against the same round of the reference.
	table := newTable("", []column{{}}, []kind{{name: "edge"}, nginx})
	for _, row := range [][2]float64{{1, 2}, {10, 20}, {3, 6}} {
		table.add("edge", []float64{row[0]})
		table.add("nginx", []float64{row[1]})
	}
	if got := table.ratio("edge", 0); got != 0.5 {
		t.Errorf("ratio %v", got)
	}
}
