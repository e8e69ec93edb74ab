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
