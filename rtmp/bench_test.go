package rtmp

import (
	"bytes"
	"io"
	"testing"

	"rtmps-edge/internal/wire"
	"rtmps-edge/rtmp/rtmptest"
)

// These measure by themselves what bench/ measures as a whole:
//
//	go test -run '^$' -bench . -benchmem ./rtmp ./proxy

// endless is a peer that sends the same media for ever, and takes everything.
type endless struct {
	loop []byte
	at   int
	step int // how much one read gives at most
}

func (e *endless) ReadBuf(b *wire.Buf) (int, error) {
	space := b.Space()
	n := copy(space[:min(len(space), e.step)], e.loop[e.at:])
	e.at = (e.at + n) % len(e.loop)
	b.Extend(n)
	return n, nil
}

func (e *endless) WriteBufs([][]byte, bool) error { return nil }

func (e *endless) Read([]byte) (int, error)    { panic("ReadBuf is there") }
func (e *endless) Write(p []byte) (int, error) { return len(p), nil }

// chunked is a second of video of 4 Mbit/s with sound, in chunks of that size.
func chunked(size int) []byte {
	b := built()
	b.SetChunkSize(size)
	skip := len(b.Bytes())
	for frame := range uint32(30) {
		video := make([]byte, 15_390)
		video[0], video[1] = 0x27, 1
		if frame == 0 {
			video[0] = 0x17
		}
		b.Video(1, frame*33, video)
		sound := make([]byte, 372)
		sound[0], sound[1] = 0xAF, 1
		b.Audio(1, frame*33, sound)
	}
	return b.Bytes()[skip:]
}

// running is a relay of that media, as proxy sets it up.
func running(size, step int) *relay {
	peer := &endless{loop: chunked(size), step: step}
	src, dst := pair(nil, &endless{}, false, Limits{ChunkSize: 1 << 20})
	src.rw, src.wr = peer, peer
	src.rd.chunkSize = uint32(size)
	dst.w.chunk = outChunkSize
	src.KeepFacts()
	src.Pace(func(int) (int, error) { return 0, nil })
	return &relay{src: src, dst: dst}
}

func (r *relay) turn(t testing.TB) {
	if err := r.src.fill(); err != nil {
		t.Fatal(err)
	}
	if err := r.drain(); err != nil {
		t.Fatal(err)
	}
}

// A chunk that is relayed allocates nothing, be it a part of what was read or one
// of many. What is read at once is written at once here: with the race detector,
// pools forget now and then.
func TestRelayAllocatesNothing(t *testing.T) {
	for _, size := range []int{128, 4096, 65536} {
		for _, step := range []int{100, size, copyFirst, min(32*size, wire.BufSize)} {
			r := running(size, step)
			turns := len(r.src.wr.(*endless).loop)/step + 1
			for range turns {
				r.turn(t)
			}
			if n := testing.AllocsPerRun(turns, func() { r.turn(t) }); n != 0 {
				t.Errorf("chunks of %d, reads of %d: %v allocations", size, step, n)
			}
		}
	}
}

func BenchmarkRelay(b *testing.B) {
	for _, c := range []struct {
		name       string
		size, step int
	}{
		{"chunks of 4096, as OBS", 4096, wire.BufSize},
		{"chunks of 4096, one a read", 4096, 4096},
		{"chunks of 128", 128, wire.BufSize},
		{"chunks of 65536", 65536, wire.BufSize},
	} {
		b.Run(c.name, func(b *testing.B) {
			r := running(c.size, c.step)
			r.turn(b)
			before := r.src.Received()
			b.ReportAllocs()
			for b.Loop() {
				r.turn(b)
			}
			b.SetBytes((r.src.Received() - before) / int64(b.N))
		})
	}
}

func BenchmarkReader(b *testing.B) {
	for _, size := range []int{128, 4096, 65536} {
		b.Run(sizeName(size), func(b *testing.B) {
			in := chunked(size)
			rd := reader{chunkSize: uint32(size), limit: func(uint8) (int, error) { return 16 << 20, nil }}
			peer := &endless{loop: in, step: wire.BufSize}
			var buf wire.Buf
			b.ReportAllocs()
			total := 0
			for b.Loop() {
				n, _ := peer.ReadBuf(&buf)
				total += n
				for ok := true; ok; {
					var err error
					if _, ok, err = rd.next(&buf); err != nil {
						b.Fatal(err)
					}
				}
			}
			b.SetBytes(int64(total / b.N))
		})
	}
}

func sizeName(n int) string {
	return map[int]string{128: "chunks of 128", 4096: "chunks of 4096", 65536: "chunks of 65536"}[n]
}

// metadata is what encoders send: AMF0 with a dozen properties.
func metadata() []byte {
	o := Object{}
	for _, key := range []string{"duration", "fileSize", "width", "height", "videocodecid", "videodatarate", "framerate",
		"audiocodecid", "audiodatarate", "audiosamplerate", "audiosamplesize", "audiochannels"} {
		o = append(o, Property{key, 1280.0})
	}
	o = append(o, Property{"stereo", true}, Property{"encoder", "obs-output module (libobs version 30.2.3)"})
	return appendAMF(nil, "@setDataFrame", "onMetaData", o)
}

func BenchmarkAMF0(b *testing.B) {
	in := metadata()
	b.Run("read", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := newDecoder(in, true).all(); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("write", func(b *testing.B) {
		values, _ := newDecoder(in, true).all()
		var out []byte
		b.ReportAllocs()
		for b.Loop() {
			out = appendAMF(out[:0], values...)
		}
	})
}

// BenchmarkAccept is a client's dialogue from its first byte to Start.
func BenchmarkAccept(b *testing.B) {
	in := connected()
	in.Command(0, "releaseStream", 2, nil, "key").Command(0, "FCPublish", 3, nil, "key").Command(0, "createStream", 4, nil)
	in.Command(1, "publish", 5, nil, "key", "live")
	said := in.Bytes()
	b.ReportAllocs()
	for b.Loop() {
		p, err := Accept(&script{Reader: bytes.NewReader(said)}, Limits{})
		if err != nil {
			b.Fatal(err)
		}
		c, err := p.Approve()
		if err != nil {
			b.Fatal(err)
		}
		c.Release()
	}
}

// BenchmarkOpen is the dialogue with an origin.
func BenchmarkOpen(b *testing.B) {
	said := originSays()
	b.ReportAllocs()
	for b.Loop() {
		rw := struct {
			io.Reader
			io.Writer
		}{bytes.NewReader(said), io.Discard}
		c, err := Open(rw, Target{Action: Publish, App: "live", Name: "alice", TcURL: "rtmp://h/live"}, Limits{})
		if err != nil {
			b.Fatal(err)
		}
		c.Release()
	}
}

// originSays is all that an origin answers.
func originSays() []byte {
	b := greeting() // S0, S1 and S2 are as long
	b.Control(typeWindowAckSize, 5_000_000).SetPeerBandwidth(5_000_000).SetChunkSize(4096)
	b.Command(0, "_result", txnConnect, rtmptest.Object{}, rtmptest.Object{})
	b.Command(0, "_result", txnCreate, nil, 1)
	b.Command(1, "onStatus", 0, nil, rtmptest.Object{{Key: "level", Value: "status"}, {Key: "code", Value: "NetStream.Publish.Start"}})
	return b.Bytes()
}
