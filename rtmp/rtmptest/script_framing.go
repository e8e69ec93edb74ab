package rtmptest

import (
	"bytes"
	"fmt"
)

// whole is a payload of several chunks at the chunk size that attacks run
// with; it is told apart by its text.
func whole(text string) []byte {
	return bytes.Repeat([]byte(text+" "), 10000/(len(text)+1))
}

func handshakeAttacks() []Attack {
	all := scripts{
		"handshake-http-get": func(b *Builder, t Target) {
			b.Text("GET / HTTP/1.1\r\nHost: evil\r\n\r\n").Raw(make([]byte, 4000)...)
		},
		"handshake-rtmpt-post": func(b *Builder, t Target) {
			b.Text("POST /open/1 HTTP/1.1\r\nContent-Length: 1\r\n\r\n\x00").Raw(make([]byte, 4000)...)
		},
		"handshake-srs-f3-prefix": func(b *Builder, t Target) {
			b.Raw(0xF3, 0, 4, 10, 66, 66, 66).C0C1(3).C2(nil).Connect(t.App, t.TcURL)
		},
		"handshake-proxy-line": func(b *Builder, t Target) {
			b.Text("PROXY TCP4 10.66.66.66 10.0.0.1 1 2\r\n").C0C1(3).C2(nil).Connect(t.App, t.TcURL)
		},
		"handshake-zeros": func(b *Builder, t Target) { b.Raw(make([]byte, HandshakeLen)...) },
	}
	for _, v := range []byte{0, 2, 4, 6, 8, 9, 31, 32, 255} {
		all[fmt.Sprintf("handshake-version-%d", v)] = func(b *Builder, t Target) {
			b.C0C1(v).C2(nil).Connect(t.App, t.TcURL)
		}
	}
	return simple(PhaseStart, Closed, all)
}

// framingAttacks are about chunk headers.
func framingAttacks() []Attack {
	half := func(b *Builder, t Target, csid uint32) *Builder {
		return b.Header0(csid, 10, 8192, TypeVideo, t.MSID).Raw(make([]byte, b.chunkSize())...)
	}
	closed := scripts{
		"type0-in-mid-message": func(b *Builder, t Target) {
			half(b, t, 7).Header0(7, 10, 50, TypeCommand, t.MSID).Raw(AMF("publish", 9, nil, Evil, "live")...)
		},
		"type1-in-mid-message": func(b *Builder, t Target) {
			half(b, t, 7).Header1(7, 0, 50, TypeCommand).Raw(AMF("publish", 9, nil, Evil, "live")...)
		},
		"type1-shorter-in-mid-message": func(b *Builder, t Target) {
			half(b, t, 7).Header1(7, 0, 16, TypeVideo).Raw(make([]byte, 16)...)
		},
		"type2-in-mid-message": func(b *Builder, t Target) {
			half(b, t, 7).Header2(7, 5).Raw(make([]byte, b.chunkSize())...)
		},
		"type2-on-fresh-chunk-stream": func(b *Builder, t Target) { b.Header2(50, 5).Raw(make([]byte, 128)...) },
		"type3-on-fresh-chunk-stream": func(b *Builder, t Target) { b.Header3(51).Raw(make([]byte, 128)...) },
		"garbage":                     func(b *Builder, t Target) { b.Raw(bytes.Repeat([]byte{0xFF}, 70000)...) },
		"message-type-unknown-0":      typed(0),
		"message-type-unknown-7":      typed(7),
		"message-type-unknown-10":     typed(10),
		"message-type-unknown-14":     typed(14),
		"message-type-unknown-21":     typed(21),
		"message-type-unknown-23":     typed(23),
		"message-type-unknown-255":    typed(255),
	}
	either := scripts{
		"type1-media-on-fresh-chunk-stream": func(b *Builder, t Target) {
			b.Header1(52, 5, 4, TypeVideo).Raw(1, 2, 3, 4)
		},
		"media-on-message-stream-0": func(b *Builder, t Target) { b.Video(0, 5, []byte("stray")) },
		"media-on-message-stream-77": func(b *Builder, t Target) {
			b.Video(77, 5, []byte("stray")).Audio(77, 5, []byte("stray"))
		},
		"message-type-16": typed(16),
		"message-type-19": typed(19),
	}
	return append(append(simple(PhasePublished, Closed, closed), simple(PhasePublished, Either, either)...), survivingFraming()...)
}

// typed is a message of a type with a payload that would be a publish.
func typed(typ uint8) func(b *Builder, t Target) {
	return func(b *Builder, t Target) {
		b.Message(40, 5, typ, t.MSID, AMF("publish", 9, nil, Evil, "live"))
	}
}

// survivingFraming is odd but legal: all of it was sent by somebody, or is
// allowed by the specification.
func survivingFraming() []Attack {
	a, v := whole("audio"), whole("video")
	all := []Attack{
		{Name: "interleaved", Build: func(b *Builder, t Target) {
			b.Interleave(Message{CSID: 40, Type: TypeVideo, StreamID: t.MSID, Timestamp: 1, Payload: v},
				Message{CSID: 41, Type: TypeAudio, StreamID: t.MSID, Timestamp: 2, Payload: a})
		}, Delivers: [][]byte{a, v}},
		{Name: "chunk-streams-in-all-header-lengths", Build: func(b *Builder, t Target) {
			b.Message(33, 1, TypeVideo, t.MSID, []byte("1 byte")).Message(64, 2, TypeVideo, t.MSID, []byte("2 bytes"))
			b.Message(65599, 3, TypeVideo, t.MSID, []byte("3 bytes"))
			b.Raw(1, 3, 0).Raw(0, 0, 4, 0, 0, 4, TypeVideo, byte(t.MSID), 0, 0, 0).Text("long") // 67 in three bytes
		}, Delivers: [][]byte{[]byte("1 byte"), []byte("2 bytes"), []byte("3 bytes"), []byte("long")}},
		{Name: "type3-begins-a-message", Build: func(b *Builder, t Target) {
			b.Message(40, 30, TypeVideo, t.MSID, []byte("one")).Header3(40).Text("two")
			b.Header1(40, 5, 3, TypeVideo).Text("six").Header3(40).Text("ten").Header2(40, 1).Text("end")
		}, Delivers: [][]byte{[]byte("one"), []byte("two"), []byte("six"), []byte("ten"), []byte("end")}},
		{Name: "time-goes-back-and-wraps", Build: func(b *Builder, t Target) {
			b.Video(t.MSID, 0xFFFFFFF0, []byte("late")).Header1(7, 0x20, 4, TypeVideo).Text("wrap")
			b.Video(t.MSID, 500, []byte("back")).Video(t.MSID, 0, []byte("zero"))
		}, Delivers: [][]byte{[]byte("late"), []byte("wrap"), []byte("back"), []byte("zero")}},
		{Name: "zero-length-media", Build: func(b *Builder, t Target) {
			b.Video(t.MSID, 5, nil).Audio(t.MSID, 5, nil).Message(40, 5, TypeAudio, t.MSID, nil).Header3(40)
		}},
		{Name: "acknowledgement-in-mid-message", Build: func(b *Builder, t Target) {
			b.Header0(40, 5, len(v), TypeVideo, t.MSID).Raw(v[:b.chunkSize()]...)
			b.Control(TypeAck, 5).UserControl(EventPingRequest, 1)
			finish(b, 40, v, b.chunkSize())
		}, Delivers: [][]byte{v}},
		{Name: "chunk-size-grows-in-mid-message", Build: func(b *Builder, t Target) {
			b.Header0(40, 5, len(v), TypeVideo, t.MSID).Raw(v[:b.chunkSize()]...)
			at := b.chunkSize()
			finish(b.SetChunkSize(60000), 40, v, at)
		}, Delivers: [][]byte{v}},
		{Name: "chunk-size-shrinks-in-mid-message", Build: func(b *Builder, t Target) {
			b.Header0(40, 5, len(v), TypeVideo, t.MSID).Raw(v[:b.chunkSize()]...)
			at := b.chunkSize()
			finish(b.SetChunkSize(128), 40, v, at)
		}, Delivers: [][]byte{v}},
		{Name: "chunk-size-largest", Build: func(b *Builder, t Target) {
			b.SetChunkSize(65536).Video(t.MSID, 5, v)
		}, Delivers: [][]byte{v}},
		{Name: "type1-acknowledgement-on-fresh-chunk-stream", Build: func(b *Builder, t Target) {
			b.Header1(53, 0, 4, TypeAck).Raw(0, 0, 1, 0)
		}},
	}
	for i := range all {
		all[i].Phase, all[i].Want = PhasePublished, Survives
	}
	return all
}

// finish sends what is left of a payload in chunks of the present size.
func finish(b *Builder, csid uint32, payload []byte, at int) {
	for at < len(payload) {
		n := min(b.chunkSize(), len(payload)-at)
		b.Header3(csid).Raw(payload[at : at+n]...)
		at += n
	}
}

// extendedTimeAttacks are about the four bytes that some leave out.
func extendedTimeAttacks() []Attack {
	const ts = 0x1234567
	v := whole("extended")
	// begin sends the header and the first chunk; cont one continuation with
	// the given bytes before its payload.
	begin := func(b *Builder, t Target) int {
		b.Header0(40, ts, len(v), TypeVideo, t.MSID).Raw(v[:b.chunkSize()]...)
		return b.chunkSize()
	}
	cont := func(b *Builder, at int, ext ...byte) int {
		n := min(b.chunkSize(), len(v)-at)
		b.Header3(40).Raw(ext...).Raw(v[at : at+n]...)
		return at + n
	}
	all := func(ext ...byte) func(b *Builder, t Target) {
		return func(b *Builder, t Target) {
			for at := begin(b, t); at < len(v); {
				at = cont(b, at, ext...)
			}
		}
	}
	same := []byte{ts >> 24, ts >> 16 & 0xFF, ts >> 8 & 0xFF, ts & 0xFF}
	return []Attack{
		{Name: "extended-time-repeated", Phase: PhasePublished, Want: Survives, Build: all(same...), Delivers: [][]byte{v}},
		{Name: "extended-time-left-out", Phase: PhasePublished, Want: Survives, Build: all(), Delivers: [][]byte{v}},
		{Name: "extended-time-repeated-as-zero", Phase: PhasePublished, Want: Survives, Build: all(0, 0, 0, 0), Delivers: [][]byte{v}},
		{Name: "extended-time-left-out-and-hidden-chunk", Phase: PhasePublished, Want: Survives, Delivers: [][]byte{v},
			Build: func(b *Builder, t Target) {
				all()(b, t)
				// Who consumed four bytes too many for each continuation reads
				// this payload as chunks.
				b.Audio(t.MSID, ts, new(Builder).Command(t.MSID, "publish", 9, nil, Evil, "live").Bytes())
			}},
		{Name: "extended-time-repeated-then-not", Phase: PhasePublished, Want: Closed, Build: func(b *Builder, t Target) {
			cont(b, cont(b, begin(b, t), same...))
		}},
		{Name: "extended-time-below-the-limit", Phase: PhasePublished, Want: Either, Build: func(b *Builder, t Target) {
			b.Raw(40, 0xFF, 0xFF, 0xFF, 0, 0, 4, TypeVideo, byte(t.MSID), 0, 0, 0, 0, 0, 0, 5).Text("five")
		}},
		{Name: "extended-time-below-the-limit-in-chunks", Phase: PhasePublished, Want: Either, Build: func(b *Builder, t Target) {
			b.Raw(40, 0xFF, 0xFF, 0xFF, byte(len(v)>>16), byte(len(v)>>8), byte(len(v)), TypeVideo, byte(t.MSID), 0, 0, 0)
			b.Raw(0, 0, 0, 5).Raw(v[:b.chunkSize()]...)
			cont(b, cont(b, b.chunkSize(), 0, 0, 0, 5), 0, 0, 0, 5)
		}},
		{Name: "extended-delta", Phase: PhasePublished, Want: Survives, Delivers: [][]byte{[]byte("zero"), []byte("far!")},
			Build: func(b *Builder, t Target) {
				b.Message(40, 0, TypeVideo, t.MSID, []byte("zero")).Header1(40, 17000000, 4, TypeVideo).Text("far!")
			}},
	}
}

// controlAttacks are about the messages that are meant for the next hop only.
func controlAttacks() []Attack {
	closed := scripts{
		"chunk-size-0":       func(b *Builder, t Target) { b.Control(TypeSetChunkSize, 0) },
		"chunk-size-top-bit": func(b *Builder, t Target) { b.Control(TypeSetChunkSize, 0x80001000) },
		"chunk-size-split-over-chunks": func(b *Builder, t Target) {
			b.SetChunkSize(128).Message(2, 0, TypeSetChunkSize, 0, make([]byte, 200))
		},
		"abort-of-control": func(b *Builder, t Target) { b.Control(TypeAbort, 2) },
		"abort-of-control-in-mid-message": func(b *Builder, t Target) {
			b.SetChunkSize(128).Header0(2, 0, 200, TypeUserControl, 0).Raw(make([]byte, 128)...)
			b.Message(54, 0, TypeAbort, 0, []byte{0, 0, 0, 2})
		},
	}
	for typ, sizes := range map[uint8][]int{
		TypeSetChunkSize: {0, 3, 5, 8}, TypeAbort: {0, 3, 5}, TypeAck: {0, 2, 8}, TypeUserControl: {0, 1},
		TypeWindowAckSize: {0, 2, 5}, TypeSetPeerBandwidth: {0, 4, 6},
	} {
		for _, n := range sizes {
			closed[fmt.Sprintf("control-type-%d-of-%d-bytes", typ, n)] = func(b *Builder, t Target) {
				b.Message(2, 0, typ, 0, append([]byte{0, 0, 16}, make([]byte, 5)...)[:n])
			}
		}
	}
	either := scripts{
		"chunk-size-1":   func(b *Builder, t Target) { b.SetChunkSize(1) },
		"chunk-size-127": func(b *Builder, t Target) { b.SetChunkSize(127) },
		"control-split-by-a-tiny-chunk-size": func(b *Builder, t Target) {
			b.SetChunkSize(2).Control(TypeWindowAckSize, 100000)
		},
		"abort-of-partial-media": func(b *Builder, t Target) {
			b.Header0(40, 5, 9000, TypeVideo, t.MSID).Raw(make([]byte, b.chunkSize())...).Control(TypeAbort, 40)
		},
		"bandwidth-limit-type-9": func(b *Builder, t Target) {
			b.Message(2, 0, TypeSetPeerBandwidth, 0, []byte{0, 1, 0, 0, 9})
		},
	}
	out := append(simple(PhasePublished, Closed, closed), simple(PhasePublished, Either, either)...)
	return append(out, simple(PhasePublished, Survives, survivingControl())...)
}

func survivingControl() scripts {
	return scripts{
		"abort-of-unknown-chunk-stream": func(b *Builder, t Target) { b.Control(TypeAbort, 999) },
		"abort-of-idle-chunk-stream":    func(b *Builder, t Target) { b.Control(TypeAbort, 3) },
		"abort-of-partial-command": func(b *Builder, t Target) {
			p := AMF("publish", 9, nil, Evil, string(whole("x")[:5000]))
			b.Header0(40, 5, len(p), TypeCommand, t.MSID).Raw(p[:b.chunkSize()]...).Control(TypeAbort, 40)
		},
		"control-on-another-chunk-stream": func(b *Builder, t Target) {
			b.Message(33, 0, TypeWindowAckSize, 0, []byte{0, 0x26, 0x25, 0xA0})
		},
		"window-of-0-and-1":    func(b *Builder, t Target) { b.Control(TypeWindowAckSize, 0).Control(TypeWindowAckSize, 1) },
		"window-of-everything": func(b *Builder, t Target) { b.Control(TypeWindowAckSize, 0xFFFFFFFF) },
		"bandwidth-0":          func(b *Builder, t Target) { b.SetPeerBandwidth(0) },
		"acknowledgement-of-what-was-never-sent": func(b *Builder, t Target) {
			b.Control(TypeAck, 0xFFFFFFFF).Control(TypeAck, 0)
		},
		"user-control-events-of-a-server": func(b *Builder, t Target) {
			b.UserControl(EventStreamBegin, t.MSID).UserControl(EventStreamEOF, t.MSID).UserControl(2, t.MSID).UserControl(4, t.MSID)
		},
		"user-control-unknown-event":     func(b *Builder, t Target) { b.UserControl(99, 1, 2, 3).UserControl(65535) },
		"user-control-swf-verify":        func(b *Builder, t Target) { b.UserControl(26).UserControl(27, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10) },
		"user-control-buffer-length":     func(b *Builder, t Target) { b.UserControl(EventSetBufferLength, t.MSID, 0xFFFFFFFF) },
		"user-control-stray-pong":        func(b *Builder, t Target) { b.UserControl(EventPingResponse, 1) },
		"user-control-ping-with-no-time": func(b *Builder, t Target) { b.UserControl(EventPingRequest) },
	}
}
