package admin

import (
	"encoding/xml"
	"strconv"
	"strings"
	"testing"
	"time"
)

// What nginx-rtmp 1.2.2 writes for one publisher and one player, as a reader
// sees it: elements by their path, and "#" where only a number is read.
var nginxPaths = map[string]string{
	"nginx_version": "", "nginx_rtmp_version": "", "built": "time", "pid": "#", "uptime": "#", "naccepted": "#",
	"bw_in": "#", "bytes_in": "#", "bw_out": "#", "bytes_out": "#",
	"server/application/name":        "",
	"server/application/live/stream": "", "server/application/live/nclients": "#",
	"stream/name": "", "stream/time": "#", "stream/bw_in": "#", "stream/bytes_in": "#", "stream/bw_out": "#", "stream/bytes_out": "#",
	"stream/bw_audio": "#", "stream/bw_video": "#", "stream/nclients": "#", "stream/publishing": "", "stream/active": "",
	"stream/client/id": "#", "stream/client/address": "", "stream/client/time": "#", "stream/client/flashver": "", "stream/client/dropped": "#",
	"stream/client/avsync": "#", "stream/client/timestamp": "#", "stream/client/publishing": "", "stream/client/active": "",
	"stream/meta/video/width": "#", "stream/meta/video/height": "#", "stream/meta/video/frame_rate": "#", "stream/meta/video/codec": "",
	"stream/meta/video/profile": "", "stream/meta/video/compat": "#", "stream/meta/video/level": "decimal",
	"stream/meta/audio/codec": "", "stream/meta/audio/profile": "", "stream/meta/audio/channels": "#", "stream/meta/audio/sample_rate": "#",
}

// node is any element.
type node struct {
	XMLName xml.Name
	Text    string `xml:",chardata"`
	Nodes   []node `xml:",any"`
}

// find returns the elements at a path.
func (n node) find(path string) (list []node) {
	name, rest, deeper := strings.Cut(path, "/")
	for _, c := range n.Nodes {
		switch {
		case c.XMLName.Local != name:
		case deeper:
			list = append(list, c.find(rest)...)
		default:
			list = append(list, c)
		}
	}
	return list
}

func (e *edge) stat() node {
	e.t.Helper()
	r, body := e.do("GET", "/stat")
	if r.StatusCode != 200 || !strings.HasPrefix(r.Header.Get("Content-Type"), "text/xml") {
		e.t.Fatalf("%s %v", r.Status, r.Header)
	}
	var n node
	if err := xml.Unmarshal([]byte(body), &n); err != nil || n.XMLName.Local != "rtmp" {
		e.t.Fatalf("%v in %s", err, body)
	}
	return n
}

func TestStatHasWhatNginxHas(t *testing.T) {
	t.Parallel()
	e := newEdge(t, nil)
	if n := e.stat(); len(n.find("server")) > 1 {
		t.Errorf("%+v", n)
	}
	e.live("one")
	e.play("one")
	e.live("two")
	n := e.stat()
	for path, kind := range nginxPaths {
		full := path
		if rest, ok := strings.CutPrefix(path, "stream/"); ok {
			full = "server/application/live/stream/" + rest
		}
		found := n.find(full)
		if len(found) == 0 {
			t.Errorf("there is no %s", full)
		}
		for _, f := range found {
			var err error
			switch kind {
			case "#":
				_, err = strconv.ParseInt(f.Text, 10, 64)
			case "decimal":
				_, err = strconv.ParseFloat(f.Text, 64)
			case "time":
				_, err = time.Parse("Jan _2 2006 15:04:05", f.Text)
			}
			if err != nil {
				t.Errorf("%s: %v", path, err)
			}
		}
	}
	streams := n.find("server/application/live/stream")
	if len(streams) != 2 || len(n.find("server")) != 1 || len(n.find("server/application")) != 1 {
		t.Fatalf("%+v", n)
	}
	one := streams[0]
	for path, want := range map[string]string{"name": "one", "nclients": "2", "meta/video/codec": "H264", "meta/video/level": "3.1",
		"meta/video/width": "1280", "meta/audio/codec": "AAC", "meta/audio/profile": "LC", "meta/audio/sample_rate": "48000"} {
		if got := one.find(path); len(got) != 1 || got[0].Text != want {
			t.Errorf("%s: %+v, want %s", path, got, want)
		}
	}
	if clients := one.find("client"); len(clients) != 2 || len(one.find("client/publishing")) != 1 || clients[0].find("address")[0].Text != "127.0.0.1" {
		t.Errorf("%+v", clients)
	}
}

func TestStatEscapes(t *testing.T) {
	t.Parallel()
	e := newEdge(t, nil)
	e.live("hostile")
	names := e.stat().find("server/application/live/stream/name")
	if len(names) != 1 || names[0].Text != strings.ReplaceAll(hostile, "\x1b", "\ufffd") {
		t.Errorf("%+v", names)
	}
}

func TestDropEndsWhatNginxWould(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ path, n, left string }{
		{"publisher?app=live&name=one", "1", "player one, two"},
		{"publisher?app=live", "2", "player one"},
		{"subscriber?app=live&name=one", "1", "one, two"},
		{"client?app=live&name=one", "2", "two"},
		{"client?app=live&addr=127.0.0.1", "3", ""},
		{"client?app=live&addr=127.0.0.2", "0", "one, player one, two"},
		{"client?app=live&clientid=ID", "1", "one, player one"},
		{"client?app=other", "0", "one, player one, two"},
		{"client?app=", "0", "one, player one, two"},
	} {
		t.Run(c.path, func(t *testing.T) {
			t.Parallel()
			e := newEdge(t, nil)
			e.live("one")
			e.play("one")
			e.live("two")
			path := strings.ReplaceAll(c.path, "ID", e.clientOf("two"))
			if r, body := e.do("GET", "/control/drop/"+path); r.StatusCode != 200 || body != c.n {
				t.Errorf("%s: %s %s", path, r.Status, body)
			}
			var left []string
			var list []Session
			e.get("/api/v1/sessions", &list)
			for _, s := range list {
				name := s.Name
				if s.Action == "play" {
					name = "player " + name
				}
				left = append(left, name)
			}
			if got := strings.Join(left, ", "); got != c.left {
				t.Errorf("left are %s", got)
			}
		})
	}
}

// clientOf is a stream's id in /stat.
func (e *edge) clientOf(name string) string {
	for _, s := range e.stat().find("server/application/live/stream") {
		if s.find("name")[0].Text == name {
			return s.find("client/id")[0].Text
		}
	}
	e.t.Fatal("no such stream")
	return ""
}
