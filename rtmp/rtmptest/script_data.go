package rtmptest

import (
	"bytes"
	"fmt"
	"strings"
)

// disguises are commands that nginx-rtmp and others execute wherever they
// find them.
func disguises(t Target) map[string][]byte {
	return map[string][]byte{
		"publish":       AMF("publish", 9, nil, Evil, "live"),
		"play":          AMF("play", 9, nil, Evil, -2),
		"closestream":   AMF("closeStream", 9, nil),
		"deletestream":  AMF("deleteStream", 9, nil, float64(t.MSID)),
		"connect":       AMF("connect", 9, Object{{"app", Evil}}),
		"releasestream": AMF("releaseStream", 9, nil, Evil),
		"fcpublish":     AMF("FCPublish", 9, nil, Evil),
	}
}

// disguiseAttacks put commands where commands do not belong.
func disguiseAttacks() []Attack {
	out := simple(PhasePublished, Survives, scripts{
		"data-name-unknown":      data("onEvil", Evil),
		"data-name-case":         data("@setdataframe", "onMetaData", Object{{"x", Evil}}),
		"data-name-nul":          data("onMetaData\x00", Evil),
		"data-name-empty":        data("", Evil),
		"data-frame-of-command":  data("@setDataFrame", "closeStream", 0),
		"data-frame-cleared":     data("@clearDataFrame", "onMetaData"),
		"data-frame-of-metadata": data("@setDataFrame", "onMetaData", ECMAArray{{"width", 1}, {"encoder", "x"}}),
		"data-on-other-streams": func(b *Builder, t Target) {
			b.Data(0, 0, "onMetaData", ECMAArray{{"width", 1}}).Data(77, 0, "closeStream", 0, nil)
		},
	})
	for name := range disguises(Target{}) {
		out = append(out, disguised(name)...)
	}
	return append(out, simple(PhasePublished, Either, scripts{
		"data-empty":                func(b *Builder, t Target) { b.Message(4, 0, TypeData, t.MSID, nil) },
		"data-amf3-empty":           func(b *Builder, t Target) { b.Message(4, 0, TypeDataAMF3, t.MSID, nil) },
		"data-name-number":          data(5, "closeStream"),
		"data-name-long-string":     data(Raw("\x0c\x00\x00\x00\x0bcloseStream"), 0, nil),
		"data-name-cut":             func(b *Builder, t Target) { b.Message(4, 0, TypeData, t.MSID, []byte("\x02\x00\x0bclose")) },
		"data-name-amf3":            data(Raw{0x11, 6, 9, 'e', 'v', 'i', 'l'}),
		"data-status-of-a-server":   data("onStatus", Object{{"code", "NetStream.Data.Start"}}),
		"data-two-names-in-a-frame": data("@setDataFrame", Object{{"onMetaData", "closeStream"}}),
		"data-then-hidden-message": func(b *Builder, t Target) {
			b.Data(t.MSID, 0, "onMetaData", Object{{"w", 1}}, Raw(new(Builder).Command(1, "publish", 1, nil, Evil).Bytes()))
		},
		"data-of-300-kilobytes": data("onMetaData", Object{{"x", strings.Repeat("x", 300<<10)}}),
		"sample-access-and-cuepoint": func(b *Builder, t Target) {
			b.Data(t.MSID, 0, "|RtmpSampleAccess", true, true).Data(t.MSID, 0, "onCuePoint", Object{{"name", "c"}})
		},
	})...)
}

func data(values ...any) func(b *Builder, t Target) {
	return func(b *Builder, t Target) { b.Data(t.MSID, 5, values...) }
}

// disguised is one command in each type that is not its own.
func disguised(name string) []Attack {
	in := func(typ uint8, prefix ...byte) func(b *Builder, t Target) {
		return func(b *Builder, t Target) {
			b.Message(40, 5, typ, t.MSID, append(bytes.Clone(prefix), disguises(t)[name]...))
		}
	}
	at := func(suffix string, want Want, build func(b *Builder, t Target)) Attack {
		return Attack{Name: name + "-in-" + suffix, Phase: PhasePublished, Want: want, Build: build}
	}
	return []Attack{
		at("data", Survives, in(TypeData)),
		at("amf3-data", Survives, in(TypeDataAMF3, 0)),
		at("amf3-data-with-prefix-3", Either, in(TypeDataAMF3, 3)),
		at("amf3-data-without-prefix", Either, in(TypeDataAMF3)),
		at("amf3-shared-object", Either, in(TypeSharedAMF3, 0)),
		at("shared-object", Either, in(TypeShared)),
		at("amf3-command-with-prefix-3", Closed, in(TypeCommandAMF3, 3)),
		at("amf3-command-without-prefix", Closed, in(TypeCommandAMF3)),
		at("audio", Survives, in(TypeAudio)),
	}
}

// aggregateAttacks hide messages in messages.
func aggregateAttacks() []Attack {
	aggregate := func(subs ...SubMessage) func(b *Builder, t Target) {
		return func(b *Builder, t Target) { b.Message(40, 5, TypeAggregate, t.MSID, Aggregate(subs...)) }
	}
	raw := func(p []byte) func(b *Builder, t Target) {
		return func(b *Builder, t Target) { b.Message(40, 5, TypeAggregate, t.MSID, p) }
	}
	evil := AMF("publish", 9, nil, Evil, "live")
	video := SubMessage{TypeVideo, 7, []byte("video")}
	closed := scripts{
		"aggregate-of-command":       aggregate(video, SubMessage{TypeCommand, 7, evil}),
		"aggregate-of-amf3-command":  aggregate(SubMessage{TypeCommandAMF3, 7, append([]byte{0}, evil...)}),
		"aggregate-of-shared-object": aggregate(SubMessage{TypeShared, 7, evil}),
		"aggregate-of-aggregate":     aggregate(SubMessage{TypeAggregate, 7, Aggregate(SubMessage{TypeCommand, 7, evil})}),
		"aggregate-of-chunk-size":    aggregate(video, SubMessage{TypeSetChunkSize, 7, []byte{0, 0, 0, 1}}),
		"aggregate-of-abort":         aggregate(SubMessage{TypeAbort, 7, []byte{0, 0, 0, 3}}),
		"aggregate-with-lying-size":  raw([]byte{TypeVideo, 0xFF, 0xFF, 0xFF, 0, 0, 0, 0, 0, 0, 0, 1}),
		"aggregate-cut":              raw(Aggregate(video)[:7]),
		"aggregate-nested-1000-deep": raw(nested(1000)),
	}
	either := scripts{
		"aggregate-empty":            raw(nil),
		"aggregate-of-media":         aggregate(video, SubMessage{TypeAudio, 9, []byte("audio")}),
		"aggregate-of-metadata":      aggregate(SubMessage{TypeData, 7, AMF("onMetaData", ECMAArray{{"width", 1}})}),
		"aggregate-of-data-command":  aggregate(SubMessage{TypeData, 7, evil}),
		"aggregate-without-pointer":  raw(Aggregate(video)[:16]),
		"aggregate-with-other-times": aggregate(SubMessage{TypeVideo, 1 << 31, []byte("a")}, SubMessage{TypeVideo, 0, []byte("b")}),
	}
	return append(simple(PhasePublished, Closed, closed), simple(PhasePublished, Either, either)...)
}

func nested(depth int) []byte {
	var p []byte
	for range depth {
		p = Aggregate(SubMessage{TypeAggregate, 0, p})
	}
	return p
}

// amfAttacks are values that break decoders.
func amfAttacks() []Attack {
	with := func(values ...any) func(b *Builder, t Target) {
		return func(b *Builder, t Target) {
			b.Command(0, "connect", 1, Raw("\x03\x00\x03app"), t.App, Raw("\x00\x05tcUrl"), t.TcURL, Raw("\x00\x01x"), Raw(AMF(values...)), Raw{0, 0, 9})
		}
	}
	deepObject := Raw(strings.Repeat("\x03\x00\x01a", 2000) + "\x05" + strings.Repeat("\x00\x00\x09", 2000))
	deepArray := Raw(strings.Repeat("\x0a\x00\x00\x00\x01", 2000) + "\x05")
	var many Object
	for i := range 2000 {
		many = append(many, Property{fmt.Sprint("k", i), nil})
	}
	closed := scripts{
		"amf-deep-object":        with(deepObject),
		"amf-deep-array":         with(deepArray),
		"amf-array-count-lies":   with(Raw("\x0a\xff\xff\xff\xff\x05")),
		"amf-string-length-lies": func(b *Builder, t Target) { b.Command(0, "connect", 1, Raw("\x03\x00\x03app\x02\xff\xffx")) },
		"amf-long-string-lies":   with(Raw("\x0c\xff\xff\xff\xffx")),
		"amf-object-without-end": func(b *Builder, t Target) {
			b.Command(0, "connect", 1, Raw("\x03\x00\x03app"), t.App, Raw("\x00\x05tcUrl"), t.TcURL)
		},
		"amf-empty-key":      with(Raw("\x03\x00\x00\x05\x00\x00\x09")),
		"amf-movieclip":      with(Raw{4}),
		"amf-recordset":      with(Raw{0x0e}),
		"amf-unknown-marker": with(Raw{0x42}),
		"amf-avmplus":        with(Raw{0x11, 0x0a, 0x0b, 1, 1}),
		"amf-number-cut":     func(b *Builder, t Target) { b.Message(3, 0, TypeCommand, 0, []byte("\x02\x00\x07connect\x00\x3f")) },
		"amf-name-cut":       func(b *Builder, t Target) { b.Message(3, 0, TypeCommand, 0, []byte("\x02\x00\x07conn")) },
		"amf-nan-transaction": func(b *Builder, t Target) {
			b.Command(0, "connect", Raw("\x00\x7f\xf8\x00\x00\x00\x00\x00\x01"), Object{{"app", t.App}})
		},
		"amf-command-of-one-byte": func(b *Builder, t Target) { b.Message(3, 0, TypeCommand, 0, []byte{2}) },
	}
	either := scripts{
		"amf-reference":        with(Raw{7, 0, 0}),
		"amf-date":             with(Date(5)),
		"amf-xml":              with(Raw("\x0f\x00\x00\x00\x01x")),
		"amf-typed-object":     with(Raw("\x10\x00\x01c\x00\x00\x09")),
		"amf-ecma-count-lies":  with(Raw("\x08\xff\xff\xff\xff\x00\x01a\x05\x00\x00\x09")),
		"amf-2000-properties":  with(many),
		"amf-duplicate-others": with(Object{{"y", 1}, {"y", Evil}}),
	}
	out := append(simple(PhaseGreeted, Closed, closed), simple(PhaseGreeted, Either, either)...)
	for i := range out {
		out[i].Reaches = PhaseConnected
	}
	return append(out, metadataAttacks(deepObject, deepArray)...)
}

// metadataAttacks are the same where encoders are sloppier.
func metadataAttacks(deepObject, deepArray Raw) []Attack {
	out := simple(PhasePublished, Survives, scripts{
		"metadata-count-lies": data("onMetaData", Raw("\x08\xff\xff\xff\xff\x00\x01a\x05\x00\x00\x09")),
	})
	return append(out, simple(PhasePublished, Either, scripts{
		"metadata-deep-object":  data("onMetaData", deepObject),
		"metadata-deep-array":   data("onMetaData", deepArray),
		"metadata-without-end":  data("onMetaData", Raw("\x08\x00\x00\x00\x01\x00\x01a\x05")),
		"metadata-array-lies":   data("onMetaData", Raw("\x0a\xff\xff\xff\xff\x05")),
		"metadata-exotic":       data("onMetaData", Object{{"d", Date(5)}, {"x", Raw("\x0f\x00\x00\x00\x01x")}, {"t", Raw("\x10\x00\x01c\x00\x00\x09")}}),
		"metadata-amf3":         data("onMetaData", Raw{0x11, 0x0a, 0x0b, 1, 1}),
		"metadata-reference":    data("onMetaData", Object{{"r", Raw{7, 0, 0}}}),
		"metadata-string-lies":  data("onMetaData", Raw("\x02\xff\xffx")),
		"metadata-unsupported":  data("onMetaData", Raw{0x0d}),
		"metadata-nothing-else": data("onMetaData"),
	})...)
}

// volumeAttacks try to make the edge keep or do too much.
func volumeAttacks() []Attack {
	out := simple(PhaseGreeted, Closed, scripts{
		"volume-command-of-128-kilobytes": func(b *Builder, t Target) {
			b.Command(0, "connect", 1, Object{{"app", strings.Repeat("x", 128<<10)}})
		},
		"volume-length-lies-before-connect": func(b *Builder, t Target) {
			b.Message(3, 0, TypeCommand, 0, make([]byte, 200<<10))
		},
		"volume-partial-messages-before-connect": partials(40),
	})
	out = append(out, simple(PhasePublished, Closed, scripts{
		"volume-partial-messages": partials(40),
		"volume-chunk-streams": func(b *Builder, t Target) {
			for i := range uint32(200) {
				b.Message(100+i, 5, TypeVideo, t.MSID, []byte("x"))
			}
		},
		"volume-later-command-of-128-kilobytes": func(b *Builder, t Target) {
			b.Command(0, "unknown", 0, strings.Repeat("x", 128<<10))
		},
	})...)
	return append(out, simple(PhasePublished, Either, scripts{
		"volume-pings": func(b *Builder, t Target) {
			for i := range uint32(2000) {
				b.UserControl(EventPingRequest, i)
			}
		},
		"volume-acknowledgements": func(b *Builder, t Target) {
			for i := range uint32(2000) {
				b.Control(TypeAck, i)
			}
		},
		"volume-empty-media": func(b *Builder, t Target) {
			for range 2000 {
				b.Audio(t.MSID, 5, nil)
			}
		},
		"volume-unknown-commands": func(b *Builder, t Target) {
			for range 1000 {
				b.Command(0, "unknown", 0, nil)
			}
		},
		"volume-largest-length": func(b *Builder, t Target) {
			b.Header0(40, 5, maxMessage, TypeVideo, t.MSID).Raw(make([]byte, b.chunkSize())...)
		},
	})...)
}

// partials begins messages on many chunk streams and finishes none.
func partials(n uint32) func(b *Builder, t Target) {
	return func(b *Builder, t Target) {
		for i := range n {
			b.Header0(64+i, 5, 9000, TypeCommand, t.MSID).Raw(make([]byte, b.chunkSize())...)
		}
	}
}
