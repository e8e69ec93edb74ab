package proxy

import (
	"testing"
	"time"
)

func TestMeter(t *testing.T) {
	m, now := &meter{}, time.Unix(1000, 0)
	bytes, frames, asked := int64(0), uint64(0), 0
	look := func() {
		m.tick(now, func() (int64, uint64) { asked++; return bytes, frames })
	}
	read := func(bits, bits10 int64, fps float64, silent time.Duration) {
		t.Helper()
		if b, b10, f, s := m.read(now); b != bits || b10 != bits10 || f != fps || s != silent {
			t.Errorf("%d and %d bits per second, %v frames per second, silent for %s", b, b10, f, s)
		}
	}
	read(0, 0, 0, 0)
	for range 40 { // 20 s
		look()
		now, bytes, frames = now.Add(watchEvery), bytes+500, frames+15
	}
	if asked != 20 {
		t.Errorf("asked %d times", asked)
	}
	read(8000, 8000, 30, sampleEvery)
	for range 10 { // 5 s without anything
		look()
		now = now.Add(watchEvery)
	}
	read(0, 4800, 18, 5*time.Second)
	for range 20 {
		look()
		now = now.Add(watchEvery)
	}
	read(0, 0, 0, 15*time.Second)
}
