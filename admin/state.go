package admin

import (
	"cmp"
	"encoding/json"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"rtmps-edge/proxy"
)

// play is the action that is not to publish.
const play = "play"

// state appends a State in JSON, on one line. The table of streams is read once.
func (a *Admin) state(p *page) {
	v := a.view(&p.Work)
	defer v.done()
	var c count
	for _, i := range v.list {
		c.add(i)
	}
	p.json(`{"status":`, a.status(c))
	p.b = append(p.b, `,"sessions":`...)
	p.sessions(v, "")
	p.json(`,"origins":`, a.origins())
	p.json(`,"certificates":`, a.certificates())
	p.b = append(p.b, `,"bans":`...)
	p.bans(a.bans(maxStateBans), "")
	p.b = append(p.b, '}')
}

// json appends what is small.
func (p *page) json(key string, v any) {
	text, _ := json.Marshal(v) // nothing that is shown fails
	p.b = append(append(p.b, key...), text...)
	p.Step()
}

// sessions appends a list, in the order in which they started. Each begins with
// line.
func (p *page) sessions(v *view, line string) {
	v.sort(&p.Work, byAge)
	now := time.Now()
	p.b = append(p.b, '[')
	for n, i := range v.list {
		s := session(i, now)
		p.b = appendSession(append(append(p.b, comma(n)...), line...), &s)
		p.Step()
	}
	p.end(len(v.list), line)
}

// end ends a list of n.
func (p *page) end(n int, line string) {
	if n > 0 {
		p.b = append(p.b, line...)
	}
	p.b = append(p.b, ']')
}

// bans appends a list, likewise. After a flood there are very many.
func (p *page) bans(list []Ban, line string) {
	p.b = append(p.b, '[')
	for n := range list {
		p.b = appendBan(append(append(p.b, comma(n)...), line...), &list[n])
		p.Step()
	}
	p.end(len(list), line)
}

// count is how many streams there are of each kind.
type count struct{ publishers, players int }

func (c *count) add(i *proxy.Info) {
	if i.Action == play {
		c.players++
	} else {
		c.publishers++
	}
}

func (a *Admin) status(c count) Status {
	reasons := a.notReady()
	s := Status{Version: a.cfg.Version.Version, Commit: a.cfg.Version.Commit, Started: a.started, Seconds: seconds(time.Since(a.started)),
		Ready: len(reasons) == 0, Reasons: reasons, Draining: a.cfg.Server.Draining(), Connections: a.cfg.Server.Sessions(),
		Publishers: c.publishers, Players: c.players, Banned: a.cfg.Server.Limiter().Bans.Len(), Refused: a.hub.counts()}
	s.BytesIn, s.BytesOut = a.cfg.Server.Bytes()
	return s
}

// address is "" where a client has none, as on a unix socket.
func address(a netip.AddrPort) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}

func session(i *proxy.Info, now time.Time) Session {
	f := &i.Facts
	s := Session{
		ID: i.ID, Action: string(i.Action), Subject: i.Subject, App: i.App, Name: i.Name, Client: address(i.Client), Listener: i.Listener,
		ServerName: i.ServerName, TLS: i.TLS, Authorizer: i.By, Origin: i.Origin, Server: i.Server, Since: i.Since, Seconds: seconds(now.Sub(i.Since)),
		BytesIn: i.BytesIn, BytesOut: i.BytesOut, Bitrate: i.Bitrate, Bitrate10: i.Bitrate10, SilentSeconds: seconds(i.Silent),
		Video: f.Video(), VideoProfile: profileOf(f.Profile, f.Level), Width: f.Width, Height: f.Height, FPS: round(i.FPS), FrameRate: round(f.FrameRate),
		KeyframeSeconds: seconds(f.KeyframeEvery), Audio: f.Audio(), SampleRate: f.SampleRate, Channels: f.Channels,
		VideoTracks: f.VideoTracks, AudioTracks: f.AudioTracks, SyncSeconds: seconds(f.Sync), TimeJumps: f.Jumps, DroppedData: i.Dropped, Held: i.Held,
		Encoder: cmp.Or(f.Encoder, i.Encoder), FlashVer: i.Encoder,
	}
	if s.Subject == "" {
		s.Key = i.Fingerprint
	}
	if i.NameIsKey {
		s.Name = ""
	}
	s.Health, s.Problems = judge(i, now)
	return s
}

func seconds(d time.Duration) float64 { return float64(d.Milliseconds()) / 1000 }

// round keeps two digits behind the point.
func round(f float64) float64 { return float64(int64(f*100+.5)) / 100 }

// profileNames are H.264's, by profile_idc.
var profileNames = map[uint8]string{66: "Baseline", 77: "Main", 88: "Extended", 100: "High", 110: "High 10", 122: "High 4:2:2", 244: "High 4:4:4"}

// profileOf gives H.264's profile and level in words.
func profileOf(profile, level uint8) string {
	if profile == 0 {
		return ""
	}
	return strings.TrimSpace(profileNames[profile] + " " + levelText(level))
}

// levelText is H.264's level as it is written: 31 is 3.1.
func levelText(level uint8) string {
	return strconv.Itoa(int(level/10)) + "." + strconv.Itoa(int(level%10))
}

func (a *Admin) origins() []Origin {
	list := []Origin{}
	for _, o := range a.cfg.Server.Origins() {
		out := Origin{Name: o.Name, Up: o.Up(), Servers: []Server{}}
		for _, s := range o.Servers {
			out.Servers = append(out.Servers, Server{Address: s.Address, Up: s.Up, Checked: s.Checked, Sessions: s.Streams})
		}
		list = append(list, out)
	}
	return list
}

func (a *Admin) certificates() []Certificate {
	list := []Certificate{}
	if a.cfg.Certificates == nil {
		return list
	}
	for _, c := range a.cfg.Certificates() {
		c.DaysLeft = round(time.Until(c.NotAfter).Hours() / 24)
		list = append(list, c)
	}
	return list
}

// maxStateBans is how many bans viewers get each second: after a flood there are a
// hundred thousand, and nobody reads so many.
const maxStateBans = 500

// bans returns so many of them at most, those that last longest.
func (a *Admin) bans(most int) []Ban {
	list := []Ban{}
	all := a.cfg.Server.Limiter().Bans.List()
	for _, b := range all[:min(len(all), most)] {
		list = append(list, banOf(b.Network, b.Since, b.Until, b.Why, b.Count, b.ByHand))
	}
	return list
}

// maxNear is how many addresses near a limit are listed.
const maxNear = 100

func (a *Admin) near() []Near {
	list := []Near{}
	for _, u := range a.cfg.Server.Near(maxNear) {
		list = append(list, Near{Network: networkText(u.Network), Limit: u.Limit, Part: round(u.Part), Connections: u.Connections,
			Streams: u.Streams, Failures: u.Failures, Held: u.Held})
	}
	return list
}

// networkText is a network, or the address that it is.
func networkText(network netip.Prefix) string {
	if network.IsSingleIP() {
		return network.Addr().String()
	}
	return network.String()
}

func banOf(network netip.Prefix, since, until time.Time, why string, count int, byHand bool) Ban {
	return Ban{Network: networkText(network), Since: since, Until: until, Why: why, Count: count, ByHand: byHand}
}
