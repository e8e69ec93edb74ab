package config

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/sirupsen/logrus"

	"rtmps-edge/internal/glob"
	"rtmps-edge/internal/tomlfile"
	"rtmps-edge/proxy"
	"rtmps-edge/ratelimit"
)

// Bounds of values. They keep typing errors from becoming hours or gigabytes.
const (
	maxTimeout = time.Hour

	// An edge must not leave its cluster for a scheduler's pause; and encoders give
	// up after 5 s.
	minRedisTimeout = 10 * time.Millisecond
	maxRedisTimeout = 4 * time.Second
	maxCount        = 1 << 20
	minChunkSize    = 4096 // what OBS sets: less would refuse it
	maxChunkSize    = 0xFFFFFF
	minMessage      = 64 << 10
	maxMessage      = 16 << 20 // the length field has 24 bits
	minOriginSize   = 128      // the protocol's own chunk size
)

// read takes the whole file apart, one table after the other.
func (c *Config) read(t *tomlfile.Table) {
	c.readLog(t.Table("log"))
	for _, o := range t.Tables("origin") { // first: others name them
		c.readOrigin(o)
	}
	for _, l := range t.Tables("listener") {
		c.readListener(l)
	}
	c.readTLS(t.Table("tls"))
	for _, r := range t.Tables("route") {
		c.readRoute(r)
	}
	c.readAuthz(t.Table("authz"))
	c.readLimits(t.Table("limits"))
	c.readAdmin(t.Table("admin"))
	for _, n := range t.Tables("notify") {
		c.readNotify(n)
	}
	c.readCluster(t.Table("cluster"))
	t.End()
	c.readWhole(t)
}

// readWhole finds what is missing.
func (c *Config) readWhole(t *tomlfile.Table) {
	if !t.Has("listener") {
		t.Missing("listener", "there must be at least one, such as [[listener]] with address = \":1936\"")
	}
	if !t.Has("origin") {
		t.Missing("origin", "there must be at least one, such as [[origin]] with servers = [\"127.0.0.1:1935\"]")
	}
}

func (c *Config) readLog(t *tomlfile.Table) {
	level := c.Log.Level.String()
	tomlfile.OneOf(t, "level", &level, "trace", "debug", "info", "warn", "error")
	c.Log.Level, _ = logrus.ParseLevel(level)
	tomlfile.OneOf(t, "format", &c.Log.Format, "text", "json")
	t.End()
}

// originName reads the name of an origin; "" is none.
func (c *Config) originName(t *tomlfile.Table, key string, dst *string) {
	t.String(key, dst)
	if *dst != "" && !slices.ContainsFunc(c.Origins, func(o *proxy.Origin) bool { return o.Name == *dst }) {
		t.Fault(key, "must be the name of an [[origin]]")
	}
}

func (c *Config) readOrigin(t *tomlfile.Table) {
	o := &proxy.Origin{Name: "main", Servers: []string{"127.0.0.1:1935"}, Balance: proxy.BalanceStream,
		DialTimeout: proxy.DefaultDialTimeout, HealthEvery: proxy.DefaultHealthEvery}
	t.String("name", &o.Name)
	if o.Name == "" {
		t.Fault("name", "must not be empty")
	}
	if slices.ContainsFunc(c.Origins, func(p *proxy.Origin) bool { return p.Name == o.Name }) {
		t.Fault("name", "must not stand in two origins")
	}
	tomlfile.List(t, "servers", &o.Servers, func(s string) (string, error) { return s, proxy.ValidServer(s) })
	if len(o.Servers) == 0 {
		t.Fault("servers", "must have at least one, such as [\"127.0.0.1:1935\"]")
	}
	tomlfile.OneOf(t, "balance", &o.Balance, proxy.BalanceStream, proxy.BalanceLeast, proxy.BalanceRoundRobin, proxy.BalanceFirst)
	t.String("tcurl", &o.TcURL)
	if o.TcURL != "" && !strings.HasPrefix(o.TcURL, "rtmp") {
		t.Fault("tcurl", "must begin with rtmp:// or rtmps://; {server} {app} {name} {host} are filled in")
	}
	t.Duration("dial_timeout", &o.DialTimeout, 10*time.Millisecond, maxTimeout)
	t.Duration("health_every", &o.HealthEvery, 0, maxTimeout)
	t.Bool("drop_empty", &o.DropEmpty)
	codecs := []string{"*"}
	tomlfile.List(t, "fourcc", &codecs, fourCC)
	c.codecs(codecs)
	t.Size("chunk_size", &o.ChunkSize, minOriginSize, maxChunkSize)
	t.Size("message_size", &o.MessageSize, minMessage, maxMessage)
	t.Text("client_ip", &o.ClientIP)
	t.End()
	c.Origins = append(c.Origins, o)
}

func fourCC(s string) (string, error) {
	if s == "*" || len(s) == 4 && !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r > '~' }) {
		return s, nil
	}
	return "", fmt.Errorf("must be a FourCC of four characters, such as \"hvc1\", \"av01\" or \"Opus\", or \"*\" for all")
}

// codecs keeps what every origin takes: the client is told before it is known to
// which one it goes.
func (c *Config) codecs(list []string) {
	all := &c.Limits.RTMP.FourCC
	switch {
	case *all == nil || slices.Contains(*all, "*"):
		*all = list
	case !slices.Contains(list, "*"):
		*all = slices.DeleteFunc(slices.Clone(*all), func(s string) bool { return !slices.Contains(list, s) })
	}
}

func (c *Config) readRoute(t *tomlfile.Table) {
	r := proxy.Route{}
	for key, dst := range map[string]*string{"server": &r.Server, "app": &r.App} {
		t.String(key, dst)
		if err := glob.Valid(*dst); err != nil {
			t.Fault(key, err.Error())
		}
	}
	r.Server = strings.ToLower(r.Server)
	if !t.Has("origin") {
		t.Missing("origin", "must be the name of an [[origin]]")
	}
	c.originName(t, "origin", &r.Origin)
	t.End()
	c.Routes = append(c.Routes, r)
	if name := strings.TrimPrefix(r.Server, "*."); name != "" && !strings.ContainsAny(name, "*?[") {
		c.dialed(t, "server", r.Server, r.Server)
	}
}

func (c *Config) readLimits(t *tomlfile.Table) {
	l := &c.Limits
	t.Int("connections", &l.Admission.Connections, 0, maxCount)
	t.Int("connections_per_ip", &l.Admission.ConnectionsPerIP, 0, maxCount)
	t.Text("connect_rate_per_ip", &l.Admission.ConnectRatePerIP)
	t.Duration("setup_timeout", &l.SetupTimeout, 0, maxTimeout)
	t.Duration("idle_timeout", &l.IdleTimeout, 0, 24*time.Hour)
	t.Text("publish_bitrate", (*ratelimit.Bitrate)(&l.PublishBitrate))
	t.Text("play_bitrate", (*ratelimit.Bitrate)(&l.PlayBitrate))
	t.Text("bitrate_per_ip", (*ratelimit.Bitrate)(&l.Streams.BitratePerIP))
	over := "shape"
	tomlfile.OneOf(t, "over_bitrate", &over, "shape", "end")
	l.EndOverBitrate = over == "end"
	t.Int("handshakes", &l.Handshakes, 0, maxCount)
	t.Int("streams_per_ip", &l.Streams.PerIP, 0, maxCount)
	t.Int("streams_per_subject", &l.Streams.PerSubject, 0, maxCount)
	t.Duration("max_duration", &l.MaxDuration, 0, 10*365*24*time.Hour)
	t.Text("auth_failures", &l.Bans.AuthFailures)
	t.Duration("ban", &l.Bans.Ban, 0, ratelimit.MaxBan)
	limit(t, "chunk_size", &l.RTMP.ChunkSize, minChunkSize, maxChunkSize)
	limit(t, "message_size", &l.RTMP.MessageSize, minMessage, maxMessage)
	t.Duration("drain_timeout", &l.DrainTimeout, 0, 24*time.Hour)
	t.End()
}

func (c *Config) readCluster(t *tomlfile.Table) {
	t.Secret("redis", &c.Redis)
	t.Duration("timeout", &c.RedisTimeout, minRedisTimeout, maxRedisTimeout)
	c.clusterLines = map[string]int{"redis": t.Line("redis"), "timeout": t.Line("timeout")}
	if !c.Redis.Empty() {
		if err := ratelimit.CheckRedis(c.Redis); err != nil {
			key := "redis"
			if !t.Has(key) {
				key = "redis_file"
			}
			t.Fault(key, err.Error())
		}
	}
	t.End()
}

// limit reads a size, of which 0 means as much as the protocol allows.
func limit(t *tomlfile.Table, key string, dst *int, least, most int) {
	if t.Zero(key) {
		*dst = most
		return
	}
	t.Size(key, dst, least, most)
}
