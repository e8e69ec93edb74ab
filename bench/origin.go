package main

import (
	"net"
	"sync"
)

// origin is the least RTMP server that encoders and players accept. It runs
// in the harness, so that it knows to the byte and the nanosecond what came.
type origin struct {
	ln      net.Listener
	mu      sync.Mutex
	streams map[string]*stream
	buffer  int // of each connection's reader
}

// stream says what to do with the stream of one name.
type stream struct {
	tally *tally        // of what is published
	gate  chan struct{} // not nil: read, or send, only when it is closed
	play  *program      // what a player gets
	ended chan struct{} // closed when the connection is over
}

func startOrigin() (*origin, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	o := &origin{ln: ln, streams: map[string]*stream{}, buffer: originBuffer}
	go o.serve()
	return o, nil
}

func (o *origin) addr() string { return o.ln.Addr().String() }

func (o *origin) serve() {
	for {
		c, err := o.ln.Accept()
		if err != nil {
			return
		}
		go o.connection(c)
	}
}

// expect announces a stream, before anybody publishes or plays it.
func (o *origin) expect(name string, s *stream) *stream {
	s.ended = make(chan struct{})
	o.mu.Lock()
	defer o.mu.Unlock()
	o.streams[name] = s
	return s
}

// take gives each announced stream to one connection; who comes unannounced is
// read and forgotten.
func (o *origin) take(name string) *stream {
	o.mu.Lock()
	defer o.mu.Unlock()
	s := o.streams[name]
	delete(o.streams, name)
	if s == nil {
		s = &stream{ended: make(chan struct{})}
	}
	if s.tally == nil {
		s.tally = newTally(0)
	}
	return s
}

// setBuffer is for scenarios with many connections, where a large buffer each
// would only fill memory.
func (o *origin) setBuffer(n int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.buffer = n
}

func (o *origin) connection(c net.Conn) {
	defer c.Close()
	o.mu.Lock()
	r := newChunkReader(c, o.buffer)
	o.mu.Unlock()
	if shakeServer(r.br, c) != nil {
		return
	}
	p := &peerConn{r: r, w: newChunkWriter(c)}
	action, name, err := p.untilStream()
	if err != nil {
		return
	}
	s := o.take(name)
	defer close(s.ended)
	if p.start(action) != nil {
		return
	}
	if s.gate != nil {
		<-s.gate
	}
	if s.play != nil && action == "play" {
		go s.play.send(c)
	}
	s.tally.run(r)
}

// peerConn is the origin's side of one connection.
type peerConn struct {
	r *chunkReader
	w *chunkWriter
}

// untilStream answers commands up to publish or play.
func (p *peerConn) untilStream() (action, name string, err error) {
	for {
		in, err := p.r.message()
		if err != nil {
			return "", "", err
		}
		if in.typ != typeCommand {
			continue
		}
		v, err := parseAMF(in.body)
		if err != nil || len(v) < 2 {
			return "", "", errAMF
		}
		command, _ := v[0].(string)
		if (command == "publish" || command == "play") && len(v) > 3 {
			name, _ = v[3].(string)
			return command, name, nil
		}
		if err := p.answer(command, v[1]); err != nil {
			return "", "", err
		}
	}
}

// answer is silent where nginx-rtmp is: releaseStream, FCPublish and the like.
func (p *peerConn) answer(command string, id any) error {
	switch command {
	case "connect":
		return p.w.together(func() { p.connected(id) })
	case "createStream":
		return p.w.command(0, "_result", id, nil, 1.0)
	}
	return nil
}

const originChunk = 4096 // as nginx-rtmp sends

// originBuffer lets one read of the origin take many chunks.
const originBuffer = 256 << 10

func (p *peerConn) connected(id any) {
	p.w.message(2, 5, 0, 0, []byte{0, 0x4C, 0x4B, 0x40})
	p.w.message(2, 6, 0, 0, []byte{0, 0x4C, 0x4B, 0x40, 2})
	p.w.setChunk(originChunk)
	p.w.command(0, "_result", id,
		[]pair{{"fmsVer", "FMS/3,0,1,123"}, {"capabilities", 31.0}},
		[]pair{{"level", "status"}, {"code", "NetConnection.Connect.Success"},
			{"description", "Connection succeeded."}, {"objectEncoding", 0.0}})
}

func (p *peerConn) start(action string) error {
	code := "NetStream.Publish.Start"
	if action == "play" {
		code = "NetStream.Play.Start"
	}
	return p.w.together(func() {
		p.w.message(2, 4, 0, 0, []byte{0, 0, 0, 0, 0, 1})
		p.w.command(1, "onStatus", 0.0, nil,
			[]pair{{"level", "status"}, {"code", code}, {"description", "Started."}})
	})
}
