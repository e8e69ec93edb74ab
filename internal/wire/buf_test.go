package wire

import "testing"

func TestHold(t *testing.T) {
	var b Buf
	defer b.Release()
	add := func(s string) { b.Extend(copy(b.Space(), s)) }
	add("abc")
	add("defgh")
	b.Hold(5)
	if string(b.Bytes()) != "abc" || b.Len() != 3 || b.Held() != 5 {
		t.Errorf("shown %q, %d held", b.Bytes(), b.Held())
	}
	b.Consume(2)
	b.Show(2)
	if string(b.Bytes()) != "cde" || b.Held() != 3 {
		t.Errorf("shown %q, %d held", b.Bytes(), b.Held())
	}
	b.Park() // it fits what a Buf keeps by itself
	if string(b.Bytes()) != "cde" || b.Held() != 3 {
		t.Errorf("parked: shown %q, %d held", b.Bytes(), b.Held())
	}
	b.Show(100)
	if string(b.Bytes()) != "cdefgh" || b.Held() != 0 {
		t.Errorf("shown %q, %d held", b.Bytes(), b.Held())
	}
	b.Hold(1)
	b.Release()
	if b.Len() != 0 || b.Held() != 0 {
		t.Errorf("released: %d unread, %d held", b.Len(), b.Held())
	}
}

func TestHeldBytesAreNotConsumed(t *testing.T) {
	for name, f := range map[string]func(*Buf){
		"Hold too much":    func(b *Buf) { b.Hold(4) },
		"Hold less than 0": func(b *Buf) { b.Hold(-1) },
		"Consume held":     func(b *Buf) { b.Hold(2); b.Consume(2) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: no panic", name)
				}
			}()
			var b Buf
			defer b.Release()
			b.Extend(copy(b.Space(), "abc"))
			f(&b)
		}()
	}
}

func TestShrink(t *testing.T) {
	var b Buf
	defer b.Release()
	add := func(s string) { b.Extend(copy(b.Space(), s)) }
	const first, second = "0123456789012345678901234567890123456789", "abc"
	add("xx" + first)
	b.Consume(2)
	b.Shrink()
	if b.s != nil || len(b.shrunk) != len(first) || string(b.Bytes()) != first || b.Len() != len(first) {
		t.Fatalf("shrunk to %q", b.Bytes())
	}
	b.Consume(10)
	b.Shrink() // nothing to do
	b.Park()
	if string(b.Bytes()) != first[10:] {
		t.Errorf("then %q", b.Bytes())
	}
	add(second)
	if b.shrunk != nil || string(b.Bytes()) != first[10:]+second {
		t.Errorf("grown to %q", b.Bytes())
	}
	b.Consume(b.Len() - 5)
	b.Shrink()
	if b.s != nil || b.shrunk != nil || string(b.Bytes()) != "89"+second {
		t.Errorf("parked %q", b.Bytes())
	}
	add(first)
	b.Shrink()
	b.Release()
	if b.Len() != 0 || b.shrunk != nil {
		t.Error("something is left after Release")
	}
}
