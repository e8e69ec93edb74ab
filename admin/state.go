package admin

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"rtmps-edge/proxy"
)

// state is all of it. The table of streams is read once.
func (a *Admin) state() State {
	list := a.cfg.Server.List()
	return State{Status: a.status(list), Sessions: sessions(list), Origins: a.origins(), Certificates: a.certificates(), Bans: a.bans()}
}

func (a *Admin) status(list []proxy.Info) Status {
	reasons := a.notReady()
	s := Status{Version: a.cfg.Version.Version, Commit: a.cfg.Version.Commit, Started: a.started, Seconds: seconds(time.Since(a.started)),
		Ready: len(reasons) == 0, Reasons: reasons, Draining: a.cfg.Server.Draining(), Connections: a.cfg.Server.Sessions(), Refused: a.hub.counts()}
	s.BytesIn, s.BytesOut = a.cfg.Server.Bytes()
	for _, i := range list {
		if i.Action == "play" {
			s.Players++
		} else {
			s.Publishers++
		}
	}
	return s
}

// address is "" where a client has none, as on a unix socket.
func address(a netip.AddrPort) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}

// sessions are in the order in which they started.
func sessions(list []proxy.Info) []Session {
	slices.SortFunc(list, func(a, b proxy.Info) int {
		return cmp.Or(a.Since.Compare(b.Since), cmp.Compare(a.ID, b.ID))
	})
	out := make([]Session, len(list))
	now := time.Now()
	for i := range list {
		out[i] = session(&list[i], now)
	}
	return out
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
	return strings.TrimSpace(fmt.Sprintf("%s %d.%d", profileNames[profile], level/10, level%10))
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

func (a *Admin) bans() []Ban {
	list := []Ban{}
	for _, b := range a.cfg.Server.Limiter().Bans.List() {
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
