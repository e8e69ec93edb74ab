// Package corpus holds real RTMP sessions for tests: what OBS, FFmpeg,
// GStreamer and librtmp sent to nginx-rtmp, SRS, MediaMTX, gortmplib and
// ffmpeg -listen, and what those answered. Neither end is ours, so a test that
// reads them judges our code by somebody else's bytes.
//
// Every file is one direction of one TCP connection from its first byte, the
// handshake included; of RTMPS sessions it is the plaintext. index.json says
// what each session is, and how many messages of each type an independent
// parser and tshark counted in it.
package corpus

import (
	"bytes"
	"compress/gzip"
	"embed"
	"encoding/json"
	"io"
	"path"
	"sync"
	"testing"
)

//go:embed index.json testdata
var files embed.FS

// Session is what one run of one client left behind.
type Session struct {
	Name   string
	Client string // program and version
	Origin string
	Action string // "publish" or "play"
	// App and Stream are what stood in connect and in publish or play, as
	// the client sent them: its query included.
	App    string
	Stream string
	// HandshakeOnly: the client left before it had sent a message.
	HandshakeOnly bool
	// Conn is the session's first connection.
	Conn
	// Later are the connections that the client made after that: for
	// authentication, or to try again.
	Later []Conn
}

// Conns gives all connections of the session in their order.
func (s Session) Conns() []Conn { return append([]Conn{s.Conn}, s.Later...) }

// Conn is one connection. The slices are shared by all tests: they must not
// be written to.
type Conn struct {
	C2S, S2C []byte
	// C2SCounts and S2CCounts are the numbers of whole messages by message
	// type id.
	C2SCounts, S2CCounts map[uint8]int
	// C2SRest counts bytes at the end of C2S that are no whole chunk.
	C2SRest int
}

// Sessions gives the whole corpus, sorted by name. It is unpacked once.
func Sessions(tb testing.TB) []Session {
	tb.Helper()
	all, err := load()
	if err != nil {
		tb.Fatalf("corpus: %v", err)
	}
	return all
}

// Get gives the one session of that name.
func Get(tb testing.TB, name string) Session {
	tb.Helper()
	for _, s := range Sessions(tb) {
		if s.Name == name {
			return s
		}
	}
	tb.Fatalf("corpus: no session %q", name)
	return Session{}
}

// Publishing gives the sessions whose client set out to publish and got past
// the handshake.
func Publishing(tb testing.TB) []Session {
	tb.Helper()
	return filter(Sessions(tb), "publish")
}

// Playing gives the sessions whose client asked to play.
func Playing(tb testing.TB) []Session {
	tb.Helper()
	return filter(Sessions(tb), "play")
}

func filter(all []Session, action string) []Session {
	var out []Session
	for _, s := range all {
		if s.Action == action && !s.HandshakeOnly {
			out = append(out, s)
		}
	}
	return out
}

// entry and its parts are index.json.
type entry struct {
	Name          string `json:"name"`
	Client        string `json:"client"`
	Origin        string `json:"origin"`
	Action        string `json:"action"`
	App           string `json:"app"`
	Stream        string `json:"stream"`
	HandshakeOnly bool   `json:"handshake_only"`
	Connections   []struct {
		Dir string    `json:"dir"`
		C2S direction `json:"c2s"`
		S2C direction `json:"s2c"`
	} `json:"connections"`
}

type direction struct {
	Messages map[uint8]int `json:"messages"`
	Rest     int           `json:"rest"`
}

var load = sync.OnceValues(func() ([]Session, error) {
	raw, err := files.ReadFile("index.json")
	if err != nil {
		return nil, err
	}
	var entries []entry
	if err := json.Unmarshal(raw, &entries); err != nil {
		return nil, err
	}
	out := make([]Session, len(entries))
	for i, e := range entries {
		if out[i], err = e.session(); err != nil {
			return nil, err
		}
	}
	return out, nil
})

func (e entry) session() (Session, error) {
	s := Session{Name: e.Name, Client: e.Client, Origin: e.Origin, Action: e.Action,
		App: e.App, Stream: e.Stream, HandshakeOnly: e.HandshakeOnly}
	for i, ec := range e.Connections {
		c := Conn{C2SCounts: ec.C2S.Messages, S2CCounts: ec.S2C.Messages, C2SRest: ec.C2S.Rest}
		var err error
		dir := path.Join("testdata", e.Name, ec.Dir)
		if c.C2S, err = unpack(path.Join(dir, "c2s.gz")); err != nil {
			return s, err
		}
		if c.S2C, err = unpack(path.Join(dir, "s2c.gz")); err != nil {
			return s, err
		}
		if i == 0 {
			s.Conn = c
		} else {
			s.Later = append(s.Later, c)
		}
	}
	return s, nil
}

func unpack(name string) ([]byte, error) {
	packed, err := files.ReadFile(name)
	if err != nil {
		return nil, err
	}
	z, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, err
	}
	return io.ReadAll(z)
}
