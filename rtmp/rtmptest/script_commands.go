package rtmptest

import (
	"fmt"
	"strings"
)

// connectAttacks hold the connect themselves.
func connectAttacks() []Attack {
	object := func(ps ...Property) func(b *Builder, t Target) {
		return func(b *Builder, t Target) { b.Command(0, "connect", 1, Object(ps)) }
	}
	app := func(value func(Target) any) func(b *Builder, t Target) {
		return func(b *Builder, t Target) {
			b.Command(0, "connect", 1, Object{{"app", value(t)}, {"tcUrl", t.TcURL}})
		}
	}
	closed := scripts{
		"connect-app-twice": func(b *Builder, t Target) { b.Connect(t.App, t.TcURL, Property{"app", Evil}) },
		"connect-tcurl-twice": func(b *Builder, t Target) {
			b.Connect(t.App, t.TcURL, Property{"tcUrl", "rtmp://" + Evil + "/" + Evil})
		},
		"connect-app-number":      app(func(Target) any { return 1 }),
		"connect-app-object":      app(func(t Target) any { return Object{{"app", t.App}} }),
		"connect-tcurl-number":    func(b *Builder, t Target) { b.Command(0, "connect", 1, Object{{"app", t.App}, {"tcUrl", 5}}) },
		"connect-without-app":     object(Property{"tcUrl", "rtmp://x/y"}),
		"connect-without-object":  func(b *Builder, t Target) { b.Command(0, "connect", 1) },
		"connect-object-a-string": func(b *Builder, t Target) { b.Command(0, "connect", 1, t.App) },
		"connect-name-only":       func(b *Builder, t Target) { b.Command(0, "connect") },
		"connect-txn-a-string":    func(b *Builder, t Target) { b.Command(0, "connect", "1", Object{{"app", t.App}}) },
		"connect-app-nul":         app(func(t Target) any { return t.App + "\x00" + Evil }),
		"connect-app-newline":     app(func(t Target) any { return t.App + "\r\n" + Evil }),
		"connect-app-of-64k":      app(func(t Target) any { return strings.Repeat("a", 60000) }),
		"publish-before-connect":  func(b *Builder, t Target) { b.Command(1, "publish", 5, nil, Evil, "live") },
	}
	refused := scripts{
		"connect-app-evil":          app(func(Target) any { return Evil }),
		"connect-app-dotdot":        app(func(t Target) any { return t.App + "/../" + Evil }),
		"connect-app-other-segment": app(func(t Target) any { return t.App + "/" + Evil }),
		"connect-app-percent":       app(func(t Target) any { return t.App + "%2f" + Evil }),
		"connect-app-quotes":        app(func(t Target) any { return `"` + t.App + `"` }),
	}
	either := scripts{
		"connect-app-upper-case": app(func(t Target) any { return strings.ToUpper(t.App) }),
		"connect-app-slash":      app(func(t Target) any { return t.App + "/" }),
		"connect-app-definst":    app(func(t Target) any { return t.App + "/_definst_" }),
		"connect-app-vhost":      app(func(t Target) any { return t.App + "?vhost=" + Evil }),
		"connect-app-srs-vhost":  app(func(t Target) any { return t.App + "...vhost..." + Evil }),
		"connect-tcurl-vhost": func(b *Builder, t Target) {
			b.Connect(t.App, "rtmp://"+Evil+"/"+t.App+"?vhost="+Evil+"&domain="+Evil)
		},
		"connect-tcurl-other-app": func(b *Builder, t Target) { b.Connect(t.App, "rtmp://x/"+Evil) },
		"connect-tcurl-no-url":    func(b *Builder, t Target) { b.Connect(t.App, "\x00\xff%zz") },
		"connect-tcurl-null":      func(b *Builder, t Target) { b.Command(0, "connect", 1, Object{{"app", t.App}, {"tcUrl", nil}}) },
		"connect-without-tcurl":   func(b *Builder, t Target) { b.Command(0, "connect", 1, Object{{"app", t.App}}) },
		"connect-extra-arguments": func(b *Builder, t Target) {
			b.Command(0, "connect", 1, Object{{"app", t.App}}, Evil, Object{{"app", Evil}})
		},
		"connect-amf3-type-byte-0": func(b *Builder, t Target) { b.Message(3, 0, TypeCommandAMF3, 0, append([]byte{0}, connectAMF(t)...)) },
	}
	out := append(simple(PhaseGreeted, Closed, closed), simple(PhaseGreeted, Either, either)...)
	out = append(out, simple(PhaseGreeted, Refused, refused)...)
	for i := range out {
		out[i].Reaches = PhaseConnected
	}
	return append(out, beforeConnect()...)
}

func connectAMF(t Target) []byte {
	return AMF("connect", 1, Object{{"app", t.App}, {"tcUrl", t.TcURL}})
}

// beforeConnect leaves the connect to the session.
func beforeConnect() []Attack {
	closed := scripts{
		"connect-in-amf3-prefix-3": func(b *Builder, t Target) {
			b.Message(3, 0, TypeCommandAMF3, 0, append([]byte{3}, connectAMF(t)...))
		},
		"connect-twice": func(b *Builder, t Target) { b.Connect(t.App, t.TcURL).Connect(Evil, t.TcURL) },
	}
	either := scripts{
		"early-connect-in-data":          func(b *Builder, t Target) { b.Message(3, 0, TypeData, 0, connectAMF(t)) },
		"early-connect-in-shared-object": func(b *Builder, t Target) { b.Message(3, 0, TypeShared, 0, connectAMF(t)) },
		"media-before-connect":           func(b *Builder, t Target) { b.Video(1, 0, []byte("early")).Audio(1, 0, []byte("early")) },
		"commands-before-connect": func(b *Builder, t Target) {
			b.Command(0, "releaseStream", 2, nil, Evil).Command(0, "createStream", 4, nil)
		},
	}
	return append(simple(PhaseGreeted, Closed, closed), simple(PhaseGreeted, Either, either)...)
}

// nameAttacks are about who is published: what the edge asks about and what
// the origin is told must be one name.
func nameAttacks() []Attack {
	out := simple(PhaseConnected, Closed, scripts{
		"release-and-fcpublish-differ": func(b *Builder, t Target) {
			b.Command(0, "releaseStream", 2, nil, t.Name).Command(0, "FCPublish", 3, nil, Evil)
		},
		"second-connect":      func(b *Builder, t Target) { b.Connect(t.App, t.TcURL) },
		"second-connect-evil": func(b *Builder, t Target) { b.Connect(Evil, "rtmp://x/"+Evil) },
		"create-stream-flood": func(b *Builder, t Target) {
			for i := range 40 {
				b.Command(0, "createStream", i+2, nil)
			}
		},
		"release-flood": func(b *Builder, t Target) {
			for i := range 100 {
				b.Command(0, "releaseStream", i+2, nil, t.Name)
			}
		},
		"play2-at-once": func(b *Builder, t Target) {
			b.Command(0, "createStream", 2, nil).Command(1, "play2", 3, nil, Object{{"streamName", Evil}})
		},
		"command-amf3-value": func(b *Builder, t Target) {
			b.Command(0, "releaseStream", 2, nil, Raw{0x11, 6, 9, 'e', 'v', 'i', 'l'})
		},
	})
	out = append(out, simple(PhaseConnected, Refused, scripts{
		"release-other-name":         func(b *Builder, t Target) { b.Command(0, "releaseStream", 2, nil, Evil) },
		"fcpublish-other-name":       func(b *Builder, t Target) { b.Command(0, "FCPublish", 2, nil, Evil) },
		"fcunpublish-other-name":     func(b *Builder, t Target) { b.Command(0, "FCUnpublish", 2, nil, Evil) },
		"getstreamlength-other-name": func(b *Builder, t Target) { b.Command(0, "getStreamLength", 2, nil, Evil) },
	})...)
	out = append(out, publishNames()...)
	return append(out, namedEverywhere()...)
}

// publishNames deviate only in publish: the names before it were granted.
func publishNames() []Attack {
	all := scripts{
		"publish-name-number":  publishing(func(Target) any { return 5 }),
		"publish-name-null":    publishing(func(Target) any { return nil }),
		"publish-name-object":  publishing(func(t Target) any { return Object{{"name", t.Name}} }),
		"publish-without-name": func(b *Builder, t Target) { b.Command(t.MSID, "publish", 5, nil) },
		"publish-play2":        func(b *Builder, t Target) { b.Command(t.MSID, "play2", 5, nil, Object{{"streamName", Evil}}) },
		"publish-then-play-evil": func(b *Builder, t Target) {
			b.Command(t.MSID, "play", 5, nil, Evil, -2)
		},
		"publish-evil-in-amf3-prefix-1": func(b *Builder, t Target) {
			b.Message(3, 0, TypeCommandAMF3, t.MSID, append([]byte{1}, AMF("publish", 5, nil, Evil, "live")...))
		},
	}
	for name, change := range oddNames {
		all["publish-name-"+name] = publishing(func(t Target) any { return change(t.Name) })
	}
	return simple(PhaseCreated, Closed, all)
}

func publishing(name func(Target) any) func(b *Builder, t Target) {
	return func(b *Builder, t Target) { b.Command(t.MSID, "publish", 5, nil, name(t), "live") }
}

// oddNames turn a granted name into one that some origin takes for another.
var oddNames = map[string]func(string) string{
	"evil":           func(string) string { return Evil },
	"empty":          func(string) string { return "" },
	"upper-case":     strings.ToUpper,
	"nul":            func(n string) string { return n + "\x00" + Evil },
	"nul-at-end":     func(n string) string { return n + "\x00" },
	"quotes":         func(n string) string { return `"` + n + `"` },
	"percent":        func(n string) string { return n + "%2f" + Evil },
	"percent-key":    func(n string) string { return fmt.Sprintf("%%%02x%s", n[0], n[1:]) },
	"slash":          func(n string) string { return n + "/" + Evil },
	"slash-at-start": func(n string) string { return "/" + n },
	"slash-at-end":   func(n string) string { return n + "/" },
	"dotdot":         func(n string) string { return "../" + Evil + "/" + n },
	"hash":           func(n string) string { return n + "#" + Evil },
	"space":          func(n string) string { return n + " " },
	"newline":        func(n string) string { return n + "\n" + Evil },
	"only-query":     func(string) string { return "?vhost=" + Evil },
	"mp4-prefix":     func(n string) string { return "mp4:" + n },
	"flv-suffix":     func(n string) string { return n + ".flv" },
	"very-long":      func(n string) string { return n + strings.Repeat("x", 600) },
	"not-utf8":       func(n string) string { return n + "\xff\xfe" },
}

// namedEverywhere uses the same odd name in all commands: nothing differs, so
// only the grant can stop it.
func namedEverywhere() []Attack {
	sequence := func(change func(string) string) func(b *Builder, t Target) {
		return func(b *Builder, t Target) {
			name := change(t.Name)
			b.Command(0, "releaseStream", 2, nil, name).Command(0, "FCPublish", 3, nil, name)
			b.Command(0, "createStream", 4, nil).Command(t.MSID, "publish", 5, nil, name, "live")
		}
	}
	all := scripts{}
	for name, change := range oddNames {
		all["all-names-"+name] = sequence(change)
	}
	out := simple(PhaseConnected, Closed, all)
	out = append(out, simple(PhaseConnected, Either, scripts{
		"all-names-vhost-query": sequence(func(n string) string { return n + "?vhost=" + Evil + "&domain=" + Evil }),
		"all-names-and-publish-on-stream-0": func(b *Builder, t Target) {
			b.Command(0, "createStream", 4, nil).Command(0, "publish", 5, nil, t.Name, "live")
		},
		"all-names-and-publish-on-stream-77": func(b *Builder, t Target) {
			b.Command(0, "createStream", 4, nil).Command(77, "publish", 5, nil, t.Name, "live")
		},
		"publish-without-create-stream": func(b *Builder, t Target) { b.Command(1, "publish", 5, nil, t.Name, "live") },
		"publish-to-record": func(b *Builder, t Target) {
			b.Command(0, "createStream", 4, nil).Command(t.MSID, "publish", 5, nil, t.Name, "append")
		},
	})...)
	for i := range out {
		out[i].Reaches = PhasePublished
	}
	return out
}

// laterCommandAttacks come when the origin believes that all is settled.
func laterCommandAttacks() []Attack {
	out := simple(PhasePublished, Closed, scripts{
		"later-connect":      func(b *Builder, t Target) { b.Connect(t.App, t.TcURL) },
		"later-connect-evil": func(b *Builder, t Target) { b.Connect(Evil, "rtmp://x/"+Evil) },
		"later-publish-same": func(b *Builder, t Target) { b.Command(t.MSID, "publish", 9, nil, t.Name, "live") },
		"later-publish-evil": func(b *Builder, t Target) { b.Command(t.MSID, "publish", 9, nil, Evil, "live") },
		"later-publish-evil-on-another-stream": func(b *Builder, t Target) {
			b.Command(0, "createStream", 8, nil).Command(2, "publish", 9, nil, Evil, "live")
		},
		"later-publish-evil-on-stream-77": func(b *Builder, t Target) { b.Command(77, "publish", 9, nil, Evil, "live") },
		"later-publish-evil-in-type-17": func(b *Builder, t Target) {
			b.Message(3, 0, TypeCommandAMF3, t.MSID, append([]byte{0}, AMF("publish", 9, nil, Evil, "live")...))
		},
		"later-play-same":  func(b *Builder, t Target) { b.Command(t.MSID, "play", 9, nil, t.Name, -2) },
		"later-play-evil":  func(b *Builder, t Target) { b.Command(t.MSID, "play", 9, nil, Evil, -2) },
		"later-play2-evil": func(b *Builder, t Target) { b.Command(t.MSID, "play2", 9, nil, Object{{"streamName", Evil}}) },
		"later-release-evil": func(b *Builder, t Target) {
			b.Command(0, "releaseStream", 9, nil, Evil)
		},
		"later-fcpublish-evil":   func(b *Builder, t Target) { b.Command(0, "FCPublish", 9, nil, Evil) },
		"later-fcunpublish-evil": func(b *Builder, t Target) { b.Command(0, "FCUnpublish", 9, nil, Evil) },
		"later-republish-after-fcunpublish": func(b *Builder, t Target) {
			b.Command(0, "FCUnpublish", 6, nil, t.Name).Command(0, "FCPublish", 7, nil, Evil)
			b.Command(t.MSID, "publish", 8, nil, Evil, "live")
		},
		"later-republish-after-deletestream": func(b *Builder, t Target) {
			b.Command(0, "deleteStream", 6, nil, float64(t.MSID)).Command(0, "createStream", 7, nil)
			b.Command(t.MSID, "publish", 8, nil, Evil, "live")
		},
		"later-republish-after-closestream": func(b *Builder, t Target) {
			b.Command(t.MSID, "closeStream", 6, nil).Command(t.MSID, "publish", 8, nil, Evil, "live")
		},
		"later-create-stream-flood": func(b *Builder, t Target) {
			for i := range 100 {
				b.Command(0, "createStream", i+10, nil)
			}
		},
	})
	out = append(out, simple(PhasePublished, Either, scripts{
		"later-create-stream":         func(b *Builder, t Target) { b.Command(0, "createStream", 9, nil) },
		"later-release-same":          func(b *Builder, t Target) { b.Command(0, "releaseStream", 9, nil, t.Name) },
		"later-delete-foreign-stream": func(b *Builder, t Target) { b.Command(0, "deleteStream", 9, nil, 99.0) },
		"later-close-foreign-stream":  func(b *Builder, t Target) { b.Command(77, "closeStream", 9, nil) },
		"later-pause-seek-receive": func(b *Builder, t Target) {
			b.Command(t.MSID, "pause", 0, nil, true, 0).Command(t.MSID, "seek", 0, nil, 5).Command(t.MSID, "receiveAudio", 0, nil, false)
		},
		"later-replies-of-a-server": func(b *Builder, t Target) {
			b.Command(0, "_result", 4, nil, 77).Command(0, "_error", 5, nil, Object{{"code", Evil}})
		},
		"later-onstatus-of-a-server": func(b *Builder, t Target) {
			b.Command(t.MSID, "onStatus", 0, nil, Object{{"level", "status"}, {"code", "NetStream.Publish.Start"}, {"description", Evil}})
		},
		"later-reconnect-request": func(b *Builder, t Target) {
			b.Command(0, "onStatus", 0, nil, Object{{"level", "status"}, {"code", "NetConnection.Connect.ReconnectRequest"}, {"tcUrl", "rtmp://" + Evil}})
		},
		"later-command-name-upper-case": func(b *Builder, t Target) { b.Command(t.MSID, "PUBLISH", 9, nil, Evil, "live") },
		"later-command-name-nul":        func(b *Builder, t Target) { b.Command(t.MSID, "publish\x00", 9, nil, Evil, "live") },
		"later-command-name-long-string": func(b *Builder, t Target) {
			b.Command(t.MSID, Raw("\x0c\x00\x00\x00\x07publish"), 9, nil, Evil, "live")
		},
		"later-command-empty":         func(b *Builder, t Target) { b.Message(3, 0, TypeCommand, t.MSID, nil) },
		"later-command-type-17-empty": func(b *Builder, t Target) { b.Message(3, 0, TypeCommandAMF3, t.MSID, nil) },
	})...)
	return append(out, simple(PhasePublished, Survives, scripts{
		"later-unknown-command": func(b *Builder, t Target) { b.Command(t.MSID, "evilExtension", 9, nil, Evil) },
		"later-check-bandwidth": func(b *Builder, t Target) { b.Command(0, "_checkbw", 9, nil) },
	})...)
}
