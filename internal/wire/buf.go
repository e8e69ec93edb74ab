// Package wire moves bytes between sockets and pooled buffers: read-ahead
// below TLS, gathered writes, and no buffer held by a connection that waits.
package wire

import "sync"

const (
	// BufSize is the size of a pooled buffer. One read fetches up to so much:
	// fewer system calls than one per TLS record, and two such buffers still
	// fit the cache of one core. Half of it costs a tenth more per byte; twice
	// as much saves another twentieth, but is held for a peer that stalls.
	BufSize = 128 << 10

	// keepSize is what a Buf keeps by itself while it waits for more. It holds
	// the longest incomplete chunk header (3 + 11 + 4 bytes, and the 4 that are
	// peeked at behind it) with room to spare.
	keepSize = 24
)

type storage [BufSize]byte

var pool = sync.Pool{New: func() any { return new(storage) }}

// Buf is a window onto received bytes. Its storage comes from a pool when there
// is something to hold and goes back when there is not. The zero value is
// empty. It has one owner and is not safe for concurrent use.
type Buf struct {
	s    *storage
	r, w int
	held int            // of the unread bytes, how many at the end are not shown yet
	keep [keepSize]byte // the unread rest while s and shrunk are nil: keep[:w], r = 0
	// shrunk is the unread rest in a place of its own size, after Shrink: all of
	// it, r = 0.
	shrunk []byte
}

// Bytes returns the unread bytes, but for those that are held back. They are
// valid until the next fill or Release.
func (b *Buf) Bytes() []byte {
	if b.s == nil {
		return b.rest()[b.r : b.w-b.held]
	}
	return b.s[b.r : b.w-b.held]
}

// rest is where the bytes are while there is no storage.
func (b *Buf) rest() []byte {
	if b.shrunk != nil {
		return b.shrunk
	}
	return b.keep[:]
}

// Len returns how many bytes are unread and not held back.
func (b *Buf) Len() int { return b.w - b.r - b.held }

// Hold holds the last n unread bytes back: until Show, it is as if they had not
// come yet. It panics if there are fewer.
func (b *Buf) Hold(n int) {
	if n < 0 || n > b.w-b.r {
		panic("wire: Hold beyond the buffer")
	}
	b.held = n
}

// Held returns how many bytes are held back.
func (b *Buf) Held() int { return b.held }

// Show ends the holding of the first n of the bytes that are held back.
func (b *Buf) Show(n int) { b.held -= min(n, b.held) }

// Consume marks n bytes as read. It panics if there are fewer.
func (b *Buf) Consume(n int) {
	if n < 0 || n > b.Len() {
		panic("wire: Consume beyond the buffer")
	}
	b.r += n
}

// Space returns room for more bytes, after moving the unread ones to the
// front; storage is taken from the pool if there is none. It is empty only when
// BufSize bytes are unread.
func (b *Buf) Space() []byte {
	switch {
	case b.s == nil:
		s := pool.Get().(*storage)
		b.w = copy(s[:], b.rest()[b.r:b.w])
		b.r, b.s, b.shrunk = 0, s, nil
	case b.r > 0:
		b.w = copy(b.s[:], b.s[b.r:b.w])
		b.r = 0
	}
	return b.s[b.w:]
}

// Extend adds the first n bytes of what Space returned to the unread ones.
func (b *Buf) Extend(n int) { b.w += n }

// Park gives the storage back to the pool if the unread rest is small enough
// to be kept without it. It is called before a wait of unknown length.
func (b *Buf) Park() {
	if b.s == nil || b.w-b.r > keepSize {
		return
	}
	b.w = copy(b.keep[:], b.s[b.r:b.w])
	b.r = 0
	pool.Put(b.s)
	b.s = nil
}

// Shrink is Park for peers that are not trusted yet: whatever is unread gets a
// place of its own size, at the price of an allocation and two copies.
func (b *Buf) Shrink() {
	if b.s == nil || b.w-b.r <= keepSize {
		b.Park()
		return
	}
	b.shrunk = append([]byte(nil), b.s[b.r:b.w]...)
	b.r, b.w = 0, len(b.shrunk)
	pool.Put(b.s)
	b.s = nil
}

// Release forgets the unread bytes and gives the storage back.
func (b *Buf) Release() {
	if b.s != nil {
		pool.Put(b.s)
		b.s = nil
	}
	b.r, b.w, b.held, b.shrunk = 0, 0, 0, nil
}
