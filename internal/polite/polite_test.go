package polite

import (
	"testing"
	"testing/synctest"
	"time"
)

// work steps once per piece for as long as it is to take without rests.
func (w *Work) work(piece, all time.Duration) {
	for done := time.Duration(0); done < all; done += piece {
		time.Sleep(piece) // stands for what keeps the processor busy
		w.Step()
	}
}

func TestShortWorkTakesNoRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var w Work
		w.work(10*time.Microsecond, slice)
		if w.Rested() != 0 {
			t.Errorf("rested for %s", w.Rested())
		}
	})
}

func TestLongWorkRests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var w Work
		begin := time.Now()
		w.work(10*time.Microsecond, 10*slice+10*time.Microsecond)
		if w.Rested() != 10*rest {
			t.Errorf("rested for %s, want %s", w.Rested(), 10*rest)
		}
		if took, want := time.Since(begin), 10*(slice+rest)+10*time.Microsecond; took != want {
			t.Errorf("took %s, want %s", took, want)
		}
	})
}

// Work that gets no end gives up being polite.
func TestPatienceEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var w Work
		w.work(slice, 2*patience)
		if most := patience / (slice + rest) * rest; w.Rested() > most || w.Rested() < most-rest {
			t.Errorf("rested for %s, want %s", w.Rested(), most)
		}
	})
}
