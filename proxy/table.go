package proxy

import (
	"net/netip"
	"time"

	"rtmps-edge/authz"
	"rtmps-edge/rtmp"
)

// Info is one running stream, as it was when List was called. Texts that come
// from the client are its own: whoever shows them escapes them.
type Info struct {
	ID        string // Event.Session
	Action    authz.Action
	Subject   string
	App, Name string // as granted
	// NameIsKey: Name may be a credential; Fingerprint stands for it.
	NameIsKey   bool
	Fingerprint string
	Client      netip.AddrPort
	Listener    string
	ServerName  string
	TLS         string
	By          string // the authorizer that granted it
	Origin      string
	Server      string // of the origin
	Encoder     string // flashVer
	Since       time.Time

	BytesIn, BytesOut int64 // from the client, to the client
	// Bitrate is the stream's in bits per second, over the last second or two;
	// Bitrate10 over the last ten. FPS is measured over as long.
	Bitrate, Bitrate10 int64
	FPS                float64
	// Silent is how long the stream has not moved.
	Silent time.Duration
	// Held: the stream sends more than its bit rate, or its address's, lets pass.
	Held bool
	// Dropped counts data messages that were not passed on.
	Dropped int64
	// Facts are what the stream says of itself.
	Facts rtmp.Facts
}

// List returns the streams that run, in no order. One that is being said goodbye
// to is over.
func (s *Server) List() []Info {
	var list []Info
	s.Each(func(i *Info) { list = append(list, *i) })
	return list
}

// Each calls f with each stream that runs, in no order, as it is when its turn
// comes: one that has ended by then is left out. No lock is held meanwhile, so
// that f may take its time. What it is given is its own until it returns.
func (s *Server) Each(f func(*Info)) {
	var i Info
	for _, n := range s.all() {
		if r := n.running.Load(); r != nil && !n.isEnded() {
			i = n.info(r, time.Now())
			f(&i)
		}
	}
}

// Find returns one running stream.
func (s *Server) Find(id string) (Info, bool) {
	for _, n := range s.all() {
		if r := n.running.Load(); n.event.Session == id && r != nil && !n.isEnded() {
			return n.info(r, time.Now()), true
		}
	}
	return Info{}, false
}

// info may read what of the event does not change once the stream runs.
func (s *session) info(r *running, now time.Time) Info {
	e := &s.event
	i := Info{
		ID: e.Session, Action: e.Action, Subject: e.Subject, App: e.App, Name: e.Name, NameIsKey: e.NameIsKey, Fingerprint: e.Fingerprint, Client: e.Client, Listener: e.Listener,
		ServerName: e.ServerName, TLS: e.TLS, By: e.By, Origin: e.Origin, Server: e.Server, Encoder: e.Encoder, Since: r.since,
		BytesIn: r.client.Received(), BytesOut: r.client.Sent(), Dropped: r.from().Dropped(), Facts: r.from().Facts(),
	}
	i.Bitrate, i.Bitrate10, i.FPS, i.Silent = r.meter.read(now)
	i.Held = r.held()
	return i
}

// moved counts what look tells the stream's speed by.
func (r *running) moved() (bytes int64, frames uint64) {
	bytes = r.client.Received()
	if r.action == authz.Play {
		bytes = r.client.Sent()
	}
	return bytes, r.from().Facts().Frames
}

// from is the leg that the stream comes from.
func (r *running) from() *rtmp.Conn {
	if r.action == authz.Play {
		return r.origin
	}
	return r.client
}

// Kick ends a session, whatever it is at. The reason is a short fixed phrase. It
// reports whether there is such a session.
func (s *Server) Kick(id, reason string) bool {
	for _, n := range s.all() {
		if n.event.Session == id {
			n.stop(SideEdge, reason, nil)
			return true
		}
	}
	return false
}

// OriginInfo is one origin of the policy in force.
type OriginInfo struct {
	Name    string
	Servers []ServerInfo
}

// ServerInfo is how one server of an origin is.
type ServerInfo struct {
	Address string
	Up      bool // or not known to be down
	Checked bool // by a health check, at least once
	Streams int  // that run there, or are being opened
}

// Up reports whether any server of the origin is.
func (o OriginInfo) Up() bool {
	for _, s := range o.Servers {
		if s.Up {
			return true
		}
	}
	return false
}

// Origins returns the origins of the policy in force, in its order.
func (s *Server) Origins() []OriginInfo {
	var list []OriginInfo
	for _, o := range s.Policy().Origins {
		info := OriginInfo{Name: o.Name}
		for _, address := range o.Servers {
			known := s.servers.of(address)
			info.Servers = append(info.Servers, ServerInfo{Address: address, Up: known.well(o.HealthEvery > 0),
				Checked: known.judged.Load(), Streams: int(known.streams.Load())})
		}
		list = append(list, info)
	}
	return list
}

// Draining reports whether Shutdown was called.
func (s *Server) Draining() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closing
}

// Bytes returns how much all streams, those that ended too, have received from
// and sent to clients. It never goes down.
func (s *Server) Bytes() (in, out int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	in, out = s.bytes[0], s.bytes[1]
	for n := range s.sessions {
		if r := n.running.Load(); r != nil && !r.counted {
			in += r.client.Received()
			out += r.client.Sent()
		}
	}
	return in, out
}

// count adds what an ended stream has moved to the sum, once: until then, Bytes
// finds it in the table. It needs s.mu.
func (s *Server) count(r *running) {
	if !r.counted {
		s.bytes[0] += r.client.Received()
		s.bytes[1] += r.client.Sent()
		r.counted = true
	}
}
