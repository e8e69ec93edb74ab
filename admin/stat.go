package admin

import (
	"encoding/xml"
	"fmt"
	"iter"
	"net/http"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"rtmps-edge/proxy"
)

// clientID is a session's number where numbers are wanted.
func clientID(id string) uint64 {
	n, _ := strconv.ParseUint(id, 16, 64) // session ids are hexadecimal
	return n
}

// stat is the page in the shape of nginx-rtmp's /stat, for what was made to read
// that: the same elements in the same order.
func (a *Admin) stat(p *page, _ *http.Request) {
	v := a.view(&p.Work)
	defer v.done()
	v.sort(&p.Work, byStream)
	p.header.Set("Content-Type", "text/xml; charset=utf-8")
	a.statHead(p, v)
	if len(v.list) > 0 {
		p.b = xmlOpen(p.b, "server")
		for app := range together(v.list, func(a, b *proxy.Info) bool { return a.App == b.App }) {
			statApp(p, app)
		}
		p.b = xmlClose(p.b, "server")
	}
	p.b = xmlClose(p.b, "rtmp")
}

// together yields what stands together in the list.
func together(list []*proxy.Info, same func(a, b *proxy.Info) bool) iter.Seq[[]*proxy.Info] {
	return func(yield func([]*proxy.Info) bool) {
		for len(list) > 0 {
			n := 1
			for n < len(list) && same(list[0], list[n]) {
				n++
			}
			if !yield(list[:n]) {
				return
			}
			list = list[n:]
		}
	}
}

// statHead is the edge as a whole.
func (a *Admin) statHead(p *page, v *view) {
	var bitsIn, bitsOut int64
	for _, i := range v.list {
		if i.Action == play {
			bitsOut += i.Bitrate
		} else {
			bitsIn += i.Bitrate
		}
	}
	in, out := a.cfg.Server.Bytes()
	b := xmlOpen(append(p.b, xml.Header...), "rtmp")
	b = xmlText(b, "nginx_version", "rtmps-edge "+a.cfg.Version.Version)
	b = xmlText(b, "nginx_rtmp_version", a.cfg.Version.Version)
	b = xmlText(b, "compiler", "go")
	b = xmlText(b, "built", builtAt(a.started))
	b = xmlInt(b, "pid", int64(os.Getpid()))
	b = xmlInt(b, "uptime", int64(time.Since(a.started).Seconds()))
	b = xmlInt(b, "naccepted", int64(a.hub.accepted.Load()))
	b = xmlInt(b, "bw_in", bitsIn)
	b = xmlInt(b, "bytes_in", in)
	b = xmlInt(b, "bw_out", bitsOut)
	p.b = xmlInt(b, "bytes_out", out)
}

// statApp is one app, of which there is at least one client.
func statApp(p *page, list []*proxy.Info) {
	b := xmlText(xmlOpen(p.b, "application"), "name", list[0].App)
	p.b = xmlOpen(b, "live")
	for stream := range together(list, func(a, b *proxy.Info) bool { return statName(a) == statName(b) }) {
		statStream(p, stream)
	}
	b = xmlInt(p.b, "nclients", int64(len(list)))
	p.b = xmlClose(xmlClose(b, "live"), "application")
}

// statStream is one stream: who publishes it, and its players.
func statStream(p *page, list []*proxy.Info) {
	var of statSum
	for _, i := range list {
		of.add(i)
	}
	b := xmlText(xmlOpen(p.b, "stream"), "name", statName(list[0]))
	b = xmlInt(b, "time", of.time)
	b = xmlInt(b, "bw_in", of.bitsIn)
	b = xmlInt(b, "bytes_in", of.bytesIn)
	b = xmlInt(b, "bw_out", of.bitsOut)
	b = xmlInt(b, "bytes_out", of.bytesOut)
	b = xmlInt(b, "bw_audio", of.bitsAudio)
	p.b = xmlInt(b, "bw_video", of.bitsVideo)
	for _, i := range list {
		p.b = statClient(p.b, i)
		p.Step()
	}
	b = p.b
	if of.publisher != nil {
		b = statMeta(b, of.publisher)
	}
	b = xmlInt(b, "nclients", int64(len(list)))
	b = xmlIf(b, "publishing", of.publisher != nil)
	b = xmlIf(b, "active", of.active)
	p.b = xmlClose(b, "stream")
}

// builtAt is when the program's source was committed, in nginx-rtmp's form, or
// else a time that is known.
func builtAt(t time.Time) string {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "vcs.time" {
				if v, err := time.Parse(time.RFC3339, s.Value); err == nil {
					t = v
				}
			}
		}
	}
	return t.UTC().Format("Jan _2 2006 15:04:05")
}

// statName is a stream's name, or what stands for it if it may be a credential.
func statName(i *proxy.Info) string {
	if i.NameIsKey {
		return "key-" + i.Fingerprint
	}
	return i.Name
}

// statSum is what a stream's clients have together.
type statSum struct {
	time, bitsIn, bytesIn, bitsOut, bytesOut, bitsVideo, bitsAudio int64
	active                                                         bool
	publisher                                                      *proxy.Info
}

func (s *statSum) add(i *proxy.Info) {
	s.time = max(s.time, time.Since(i.Since).Milliseconds())
	s.active = s.active || i.Silent < stillAfter
	if i.Action == play {
		s.bitsOut += i.Bitrate
		s.bytesOut += i.BytesOut
		return
	}
	s.publisher, s.bitsIn, s.bytesIn = i, i.Bitrate, i.BytesIn
	if all := i.Facts.VideoBytes + i.Facts.AudioBytes; all > 0 {
		s.bitsVideo = int64(float64(i.Bitrate) * float64(i.Facts.VideoBytes) / float64(all))
		s.bitsAudio = i.Bitrate - s.bitsVideo
	}
}

// statClient is one client.
func statClient(b []byte, i *proxy.Info) []byte {
	b = xmlOpen(b, "client")
	b = strconv.AppendUint(xmlOpen(b, "id"), clientID(i.ID), 10)
	b = xmlText(xmlClose(b, "id"), "address", i.Client.Addr().String())
	b = xmlInt(b, "time", time.Since(i.Since).Milliseconds())
	b = xmlText(b, "flashver", i.Encoder)
	b = xmlInt(b, "dropped", i.Dropped)
	b = xmlInt(b, "avsync", i.Facts.Sync.Milliseconds())
	b = xmlInt(b, "timestamp", int64(i.Facts.Time))
	b = xmlIf(b, "publishing", i.Action != play)
	b = xmlIf(b, "active", i.Silent < stillAfter)
	return xmlClose(b, "client")
}

// statMeta is what the stream is, as far as its publisher has told.
func statMeta(b []byte, i *proxy.Info) []byte {
	f := &i.Facts
	b = xmlOpen(b, "meta")
	if f.VideoCodec != 0 {
		b = xmlInt(xmlOpen(b, "video"), "width", int64(f.Width))
		b = xmlInt(b, "height", int64(f.Height))
		b = xmlInt(b, "frame_rate", int64(f.FrameRate))
		b = xmlText(b, "codec", strings.ReplaceAll(f.Video(), ".", ""))
		if name := profileNames[f.Profile]; name != "" {
			b = xmlText(b, "profile", name)
		}
		b = xmlInt(b, "compat", int64(f.Compat))
		if f.Level > 0 {
			b = xmlText(b, "level", levelText(f.Level))
		}
		b = xmlClose(b, "video")
	}
	if f.AudioCodec != 0 {
		b = xmlText(xmlOpen(b, "audio"), "codec", f.Audio())
		if name := aacNames[f.AACType]; name != "" {
			b = xmlText(b, "profile", name)
		}
		b = xmlNotZero(b, "channels", f.Channels)
		b = xmlNotZero(b, "sample_rate", f.SampleRate)
		b = xmlClose(b, "audio")
	}
	return xmlClose(b, "meta")
}

// aacNames are nginx-rtmp's, by AAC's audio object type.
var aacNames = map[uint8]string{1: "Main", 2: "LC", 3: "SSR", 4: "LTP", 5: "SBR", 29: "PS"}

// drop ends what nginx-rtmp's control page would: the publisher, the players, or
// all, of a stream or an app; and says how many.
func (a *Admin) drop(w http.ResponseWriter, q *http.Request) {
	what, args := q.PathValue("what"), q.URL.Query()
	if what != "publisher" && what != "subscriber" && what != "client" {
		fail(w, http.StatusNotFound, "must be /control/drop/publisher, …/subscriber or …/client")
		return
	}
	if !args.Has("app") {
		fail(w, http.StatusBadRequest, "must name the app: ?app=NAME, and to end one stream only, name=NAME")
		return
	}
	n := 0
	for _, i := range a.cfg.Server.List() {
		if chosen(&i, what, args.Get) && a.cfg.Server.Kick(i.ID, kick) {
			n++
		}
	}
	a.log(q, fmt.Sprintf("%d sessions dropped", n))
	w.Header().Set("Content-Type", "text/plain")
	_, _ = fmt.Fprint(w, n)
}

// chosen reports whether a stream is one of those to be dropped. An argument that
// is not given matches all.
func chosen(i *proxy.Info, what string, arg func(string) string) bool {
	is := func(key, value string) bool { return arg(key) == "" || arg(key) == value }
	publishes := i.Action != play
	return i.App == arg("app") && is("name", statName(i)) && is("addr", i.Client.Addr().String()) && is("clientid", strconv.FormatUint(clientID(i.ID), 10)) &&
		(what == "client" || publishes == (what == "publisher"))
}
