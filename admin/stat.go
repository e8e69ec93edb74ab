package admin

import (
	"cmp"
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"os"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"

	"rtmps-edge/proxy"
)

// The page in the shape of nginx-rtmp's /stat, for what was made to read that.
type (
	statPage struct {
		XMLName      xml.Name  `xml:"rtmp"`
		Version      string    `xml:"nginx_version"`
		RTMPVersion  string    `xml:"nginx_rtmp_version"`
		Compiler     string    `xml:"compiler"`
		Built        string    `xml:"built"`
		PID          int       `xml:"pid"`
		Uptime       int64     `xml:"uptime"` // in seconds
		Accepted     uint64    `xml:"naccepted"`
		BitsIn       int64     `xml:"bw_in"`
		BytesIn      int64     `xml:"bytes_in"`
		BitsOut      int64     `xml:"bw_out"`
		BytesOut     int64     `xml:"bytes_out"`
		Applications []statApp `xml:"server>application"`
	}
	statApp struct {
		Name    string       `xml:"name"`
		Streams []statStream `xml:"live>stream"`
		Clients int          `xml:"live>nclients"`
	}
	statStream struct {
		Name       string       `xml:"name"`
		Time       int64        `xml:"time"` // in milliseconds
		BitsIn     int64        `xml:"bw_in"`
		BytesIn    int64        `xml:"bytes_in"`
		BitsOut    int64        `xml:"bw_out"`
		BytesOut   int64        `xml:"bytes_out"`
		BitsAudio  int64        `xml:"bw_audio"`
		BitsVideo  int64        `xml:"bw_video"`
		Clients    []statClient `xml:"client"`
		Meta       *statMeta    `xml:"meta"`
		Count      int          `xml:"nclients"`
		Publishing *struct{}    `xml:"publishing"`
		Active     *struct{}    `xml:"active"`
	}
	statClient struct {
		ID         uint64    `xml:"id"`
		Address    string    `xml:"address"`
		Time       int64     `xml:"time"`
		FlashVer   string    `xml:"flashver"`
		Dropped    int64     `xml:"dropped"`
		Sync       int64     `xml:"avsync"`
		Timestamp  uint32    `xml:"timestamp"`
		Publishing *struct{} `xml:"publishing"`
		Active     *struct{} `xml:"active"`
	}
	statMeta struct {
		Video *statVideo `xml:"video"`
		Audio *statAudio `xml:"audio"`
	}
	statVideo struct {
		Width   int    `xml:"width"`
		Height  int    `xml:"height"`
		Rate    int    `xml:"frame_rate"`
		Codec   string `xml:"codec"`
		Profile string `xml:"profile,omitempty"`
		Compat  uint8  `xml:"compat"`
		Level   string `xml:"level,omitempty"`
	}
	statAudio struct {
		Codec    string `xml:"codec"`
		Profile  string `xml:"profile,omitempty"`
		Channels int    `xml:"channels,omitempty"`
		Rate     int    `xml:"sample_rate,omitempty"`
	}
)

// yes is an element that is there or not.
var yes = &struct{}{}

// clientID is a session's number where numbers are wanted.
func clientID(id string) uint64 {
	n, _ := strconv.ParseUint(id, 16, 64) // session ids are hexadecimal
	return n
}

func (a *Admin) stat(w http.ResponseWriter, _ *http.Request) {
	list := a.cfg.Server.List()
	p := statPage{Version: "rtmps-edge " + a.cfg.Version.Version, RTMPVersion: a.cfg.Version.Version, Compiler: "go", Built: builtAt(a.started),
		PID: os.Getpid(), Uptime: int64(time.Since(a.started).Seconds()), Accepted: a.hub.accepted.Load(), Applications: applications(list)}
	p.BytesIn, p.BytesOut = a.cfg.Server.Bytes()
	for _, i := range list {
		if i.Action == "play" {
			p.BitsOut += i.Bitrate
		} else {
			p.BitsIn += i.Bitrate
		}
	}
	w.Header().Set("Content-Type", "text/xml; charset=utf-8")
	_, _ = io.WriteString(w, xml.Header)
	_ = xml.NewEncoder(w).Encode(p)
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

// applications puts streams of one app together, and in it those of one name.
func applications(list []proxy.Info) []statApp {
	slices.SortFunc(list, func(a, b proxy.Info) int {
		return cmp.Or(strings.Compare(a.App, b.App), strings.Compare(statName(&a), statName(&b)), strings.Compare(a.ID, b.ID))
	})
	var apps []statApp
	for n := range list {
		i := &list[n]
		if len(apps) == 0 || apps[len(apps)-1].Name != i.App {
			apps = append(apps, statApp{Name: i.App})
		}
		app := &apps[len(apps)-1]
		if k := len(app.Streams); k == 0 || app.Streams[k-1].Name != statName(i) {
			app.Streams = append(app.Streams, statStream{Name: statName(i)})
		}
		app.Streams[len(app.Streams)-1].add(i)
		app.Clients++
	}
	return apps
}

// statName is a stream's name, or what stands for it if it may be a credential.
func statName(i *proxy.Info) string {
	if i.NameIsKey {
		return "key-" + i.Fingerprint
	}
	return i.Name
}

// add adds one client to the stream.
func (s *statStream) add(i *proxy.Info) {
	age := time.Since(i.Since).Milliseconds()
	c := statClient{ID: clientID(i.ID), Address: i.Client.Addr().String(), Time: age, FlashVer: i.Encoder, Dropped: i.Dropped,
		Sync: i.Facts.Sync.Milliseconds(), Timestamp: i.Facts.Time}
	if i.Silent < stillAfter {
		c.Active, s.Active = yes, yes
	}
	s.Time = max(s.Time, age)
	if i.Action == "play" {
		s.BitsOut += i.Bitrate
		s.BytesOut += i.BytesOut
	} else {
		s.publisher(i)
		c.Publishing = yes
	}
	s.Clients = append(s.Clients, c)
	s.Count++
}

// publisher takes what the stream is from who sends it.
func (s *statStream) publisher(i *proxy.Info) {
	f := &i.Facts
	s.Publishing = yes
	s.BitsIn, s.BytesIn = i.Bitrate, i.BytesIn
	if all := f.VideoBytes + f.AudioBytes; all > 0 {
		s.BitsVideo = int64(float64(i.Bitrate) * float64(f.VideoBytes) / float64(all))
		s.BitsAudio = i.Bitrate - s.BitsVideo
	}
	m := &statMeta{}
	if f.VideoCodec != 0 {
		m.Video = &statVideo{Width: f.Width, Height: f.Height, Rate: int(f.FrameRate), Codec: strings.ReplaceAll(f.Video(), ".", ""),
			Profile: profileNames[f.Profile], Compat: f.Compat}
		if f.Level > 0 {
			m.Video.Level = fmt.Sprintf("%d.%d", f.Level/10, f.Level%10)
		}
	}
	if f.AudioCodec != 0 {
		m.Audio = &statAudio{Codec: f.Audio(), Profile: aacNames[f.AACType], Channels: f.Channels, Rate: f.SampleRate}
	}
	s.Meta = m
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
	publishes := i.Action != "play"
	return i.App == arg("app") && is("name", statName(i)) && is("addr", i.Client.Addr().String()) && is("clientid", strconv.FormatUint(clientID(i.ID), 10)) &&
		(what == "client" || publishes == (what == "publisher"))
}
