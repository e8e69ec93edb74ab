package main

import (
	"bytes"
	"encoding/binary"
	"io"
)

// chunkWriter writes each chunk with one Write, as librtmp and so OBS do:
// over TLS that makes one record of every chunk.
type chunkWriter struct {
	w     io.Writer
	chunk int
	used  [64]bool
	last  [64]uint32 // the time of the last message of each chunk stream
	buf   []byte
}

func newChunkWriter(w io.Writer) *chunkWriter { return &chunkWriter{w: w, chunk: 128} }

// message writes one message. Times must not go back and stay below 0xFFFFFF.
func (w *chunkWriter) message(csid int, typ byte, msid, time uint32, payload []byte) error {
	w.buf = w.header(w.buf[:0], csid, typ, msid, time, len(payload))
	for {
		n := min(w.chunk, len(payload))
		w.buf = append(w.buf, payload[:n]...)
		if _, err := w.w.Write(w.buf); err != nil {
			return err
		}
		if payload = payload[n:]; len(payload) == 0 {
			return nil
		}
		w.buf = append(w.buf[:0], 3<<6|byte(csid))
	}
}

// header is of type 0 once per chunk stream, then of type 1.
func (w *chunkWriter) header(b []byte, csid int, typ byte, msid, time uint32, length int) []byte {
	first := !w.used[csid]
	stamp := time
	if !first {
		stamp -= w.last[csid]
		b = append(b, 1<<6)
	} else {
		b = append(b, 0)
	}
	w.used[csid], w.last[csid] = true, time
	b[0] |= byte(csid)
	b = append24(b, stamp)
	b = append(append24(b, uint32(length)), typ)
	if first {
		b = binary.LittleEndian.AppendUint32(b, msid)
	}
	return b
}

func (w *chunkWriter) command(msid uint32, values ...any) error {
	return w.message(3, typeCommand, msid, 0, appendAMF(nil, values...))
}

// setChunk tells the peer the chunk size, then uses it.
func (w *chunkWriter) setChunk(size int) error {
	err := w.message(2, typeChunkSize, 0, 0, binary.BigEndian.AppendUint32(nil, uint32(size)))
	w.chunk = size
	return err
}

// together sends what f writes with a single Write.
func (w *chunkWriter) together(f func()) error {
	direct := w.w
	var all bytes.Buffer
	w.w = &all
	f()
	w.w = direct
	_, err := direct.Write(all.Bytes())
	return err
}

func append24(b []byte, n uint32) []byte { return append(b, byte(n>>16), byte(n>>8), byte(n)) }
