// Package liveorigin is the RTMP server that the demo publishes to and plays
// from: streams live in memory, nothing is stored, nobody is asked for a key.
package liveorigin

import (
	"bytes"
	"net"
	"sync"
	"time"

	"rtmps-edge/internal/wire"
	"rtmps-edge/rtmp"
)

const (
	// queueLength is how many messages wait for a player: some seconds. One
	// that falls farther behind is closed.
	queueLength = 512
	// groupLength is how many messages since a key frame are kept for those
	// who join, so that they see a picture at once.
	groupLength = 1024
	// setupTimeout and writeTimeout: everything is on this machine.
	setupTimeout = 10 * time.Second
	writeTimeout = 10 * time.Second
)

// Server holds the streams. The zero value is ready.
type Server struct {
	mu      sync.Mutex
	streams map[string]*stream
}

// stream is one name: at most one publisher, any number of players.
type stream struct {
	publisher bool
	headers   []rtmp.Message // metadata and sequence headers, one of each kind
	group     []rtmp.Message // since the last key frame
	players   map[chan rtmp.Message]bool
}

// Serve accepts until ln is closed.
func (s *Server) Serve(ln net.Listener) {
	for {
		c, err := ln.Accept()
		if err != nil {
			return
		}
		go s.serve(c)
	}
}

func (s *Server) serve(nc net.Conn) {
	defer func() { _ = nc.Close() }()
	_ = nc.SetDeadline(time.Now().Add(setupTimeout))
	c := wire.New(nc)
	p, err := rtmp.Accept(c, rtmp.Limits{})
	if err != nil {
		return
	}
	name := p.Request.App + "/" + p.Request.Name.Reveal()
	st := s.join(name)
	defer s.leave(name, st)
	if p.Request.Action == rtmp.Play {
		s.play(nc, p, st)
		return
	}
	s.publish(nc, p, st)
}

func (s *Server) publish(nc net.Conn, p *rtmp.Pending, st *stream) {
	s.mu.Lock()
	taken := st.publisher
	st.publisher = true
	s.mu.Unlock()
	if taken {
		_ = p.Reject(&rtmp.StatusError{Code: "NetStream.Publish.BadName", Description: "The name is in use."})
		return
	}
	defer s.unpublish(st)
	c, err := p.Approve()
	if err != nil {
		return
	}
	_ = nc.SetDeadline(time.Time{})
	for {
		m, err := c.ReadMessage()
		if err != nil {
			return
		}
		m.Payload = bytes.Clone(m.Payload)
		s.broadcast(st, m)
	}
}

func (s *Server) play(nc net.Conn, p *rtmp.Pending, st *stream) {
	c, err := p.Approve()
	if err != nil {
		return
	}
	_ = nc.SetDeadline(time.Time{})
	queue := make(chan rtmp.Message, queueLength)
	s.mu.Lock()
	past := append(append([]rtmp.Message{}, st.headers...), st.group...)
	st.players[queue] = true
	s.mu.Unlock()
	defer s.drop(st, queue)
	go func() { // the player's own words; its end ends the stream
		for {
			if _, err := c.ReadMessage(); err != nil {
				_ = nc.Close()
				s.drop(st, queue)
				return
			}
		}
	}()
	if c.WriteMessages(past...) != nil {
		return
	}
	for m := range queue {
		_ = nc.SetWriteDeadline(time.Now().Add(writeTimeout))
		if c.WriteMessages(m) != nil {
			return
		}
	}
	_ = c.End(nil)
}

func (s *Server) join(name string) *stream {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.streams == nil {
		s.streams = map[string]*stream{}
	}
	st := s.streams[name]
	if st == nil {
		st = &stream{players: map[chan rtmp.Message]bool{}}
		s.streams[name] = st
	}
	return st
}

// leave forgets a stream that nobody uses.
func (s *Server) leave(name string, st *stream) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !st.publisher && len(st.players) == 0 && s.streams[name] == st {
		delete(s.streams, name)
	}
}

func (s *Server) drop(st *stream, queue chan rtmp.Message) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if st.players[queue] {
		delete(st.players, queue)
		close(queue)
	}
}

// unpublish ends the stream of all players.
func (s *Server) unpublish(st *stream) {
	s.mu.Lock()
	defer s.mu.Unlock()
	st.publisher, st.headers, st.group = false, nil, nil
	for q := range st.players {
		delete(st.players, q)
		close(q)
	}
}

func (s *Server) broadcast(st *stream, m rtmp.Message) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case isHeader(m):
		st.keepHeader(m)
	case isKeyFrame(m):
		st.group = append(st.group[:0:0], m)
	case len(st.group) > 0 && len(st.group) < groupLength:
		st.group = append(st.group, m)
	}
	for q := range st.players {
		select {
		case q <- m:
		default: // too far behind
			delete(st.players, q)
			close(q)
		}
	}
}

// keepHeader replaces the header of the same kind.
func (st *stream) keepHeader(m rtmp.Message) {
	for i, h := range st.headers {
		if h.Type == m.Type {
			st.headers[i] = m
			return
		}
	}
	st.headers = append(st.headers, m)
}

// isHeader tells metadata and sequence headers (FLV tags, and Enhanced RTMP
// v2 "ExVideoTagHeader", "ExAudioTagHeader").
func isHeader(m rtmp.Message) bool {
	p := m.Payload
	if m.Type == rtmp.Data || len(p) < 2 {
		return m.Type == rtmp.Data
	}
	if m.Type == rtmp.Video {
		return p[0]&0x80 != 0 && p[0]&15 == 0 || p[0]&0x80 == 0 && (p[0]&15 == 7 || p[0]&15 == 12) && p[1] == 0
	}
	return p[0]>>4 == 10 && p[1] == 0 || p[0]>>4 == 9 && p[0]&15 == 0
}

func isKeyFrame(m rtmp.Message) bool {
	return m.Type == rtmp.Video && len(m.Payload) > 0 && m.Payload[0]>>4&7 == 1
}
