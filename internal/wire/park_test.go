package wire

import (
	"bytes"
	"testing"
)

// filled returns a Buf with n unread bytes behind some that were read.
func filled(n int) *Buf {
	b := &Buf{}
	b.Extend(copy(b.Space(), bytes.Repeat([]byte{'x'}, 7)))
	b.Consume(7)
	space := b.Space()
	for i := range n {
		space[i] = byte(i)
	}
	b.Extend(n)
	return b
}

func TestParkKeepsShortRests(t *testing.T) {
	for _, n := range []int{0, 1, keepSize - 1, keepSize, keepSize + 1, BufSize} {
		b := filled(n)
		want := bytes.Clone(b.Bytes())
		for range 2 { // a second time changes nothing
			b.Park()
			if parked := b.s == nil; parked != (n <= keepSize) {
				t.Errorf("%d bytes: parked %v", n, parked)
			}
			if !bytes.Equal(b.Bytes(), want) || b.Len() != n {
				t.Errorf("%d bytes: other bytes after Park", n)
			}
		}
		b.Release()
	}
}

func TestParkedBytesAreConsumedAndAddedTo(t *testing.T) {
	b := filled(10)
	defer b.Release()
	b.Park()
	b.Consume(4)
	b.Park()
	space := b.Space()
	if len(space) != BufSize-6 {
		t.Errorf("room for %d", len(space))
	}
	b.Extend(copy(space, "ab"))
	if !bytes.Equal(b.Bytes(), []byte{4, 5, 6, 7, 8, 9, 'a', 'b'}) {
		t.Errorf("% x", b.Bytes())
	}
}

func TestSpaceOfAFullBuf(t *testing.T) {
	b := filled(BufSize)
	defer b.Release()
	if n := len(b.Space()); n != 0 {
		t.Errorf("room for %d", n)
	}
	b.Consume(1) // what was read makes room
	if n := len(b.Space()); n != 1 || b.Bytes()[0] != 1 {
		t.Errorf("room for %d", n)
	}
}

func TestReleasedBufIsEmpty(t *testing.T) {
	for _, parked := range []bool{false, true} {
		b := filled(5)
		if parked {
			b.Park()
		}
		b.Release()
		if b.Len() != 0 || len(b.Bytes()) != 0 || b.s != nil {
			t.Errorf("parked %v: %d bytes", parked, b.Len())
		}
	}
}
