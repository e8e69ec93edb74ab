// Package config reads edge.toml: every key has a default, every fault is
// found in one go and says where it is and what is allowed.
package config

import (
	"crypto/sha256"
	"io/fs"
	"slices"
	"time"

	"github.com/sirupsen/logrus"

	"rtmps-edge/admin"
	"rtmps-edge/internal/fault"
	"rtmps-edge/internal/readfile"
	"rtmps-edge/internal/secret"
	"rtmps-edge/internal/tomlfile"
	"rtmps-edge/notify"
	"rtmps-edge/proxy"
	"rtmps-edge/ratelimit"
	"rtmps-edge/rtmp"
)

// MaxFile is the largest edge.toml, in bytes.
const MaxFile = 1 << 20

// Config is a whole edge.toml. Paths in it can be opened from anywhere.
type Config struct {
	File      string
	Sum       [sha256.Size]byte // of the file's contents
	Log       Log
	Listeners []Listener
	TLS       TLS
	Origins   []*proxy.Origin
	Routes    []proxy.Route
	Authz     Authz
	Limits    proxy.Limits
	// Redis is the URL of what the edges of a cluster share; empty: this edge is
	// alone.
	Redis secret.Text
	// RedisTimeout is how long a client waits for it.
	RedisTimeout time.Duration
	clusterLines map[string]int // of its keys
	Admin        Admin
	Notify       []notify.Config
	// Dialed are the names by which clients are known to reach the edge.
	Dialed []Dialed

	certificates []place // of each of TLS.Certificates
	names        place   // of what the certificates of other sources are for
}

// Dialed is a name in a route or a listener, and where it stands.
type Dialed struct {
	Name string
	place
}

// place is where a setting stands in the file.
type place struct {
	line       int
	key, value string
}

// Log says what is logged and how.
type Log struct {
	Level  logrus.Level
	Format string // "text" or "json"
}

// Listener is one [[listener]].
type Listener struct {
	// Address is host:port, where host may be a go-sockaddr template, or
	// "unix:" and a path that can be opened from anywhere, or "systemd:" and the
	// name or number of a socket that systemd has opened.
	Address   string
	TLS       string // TLSRequired, TLSOptional or TLSOff
	Balancers proxy.Balancers
	UnixMode  fs.FileMode // of a unix socket: who may connect
	Origin    string      // "" = by route
	Line      int         // where it stands in the file
}

// What addresses of listeners begin with that are not host:port.
const (
	UnixPrefix    = "unix:"
	SystemdPrefix = "systemd:"
)

// Values of Listener.TLS.
const (
	TLSRequired = "required"
	TLSOptional = "optional" // RTMPS and RTMP on one port
	TLSOff      = "off"
)

// NeedsTLS reports whether any listener does.
func (c *Config) NeedsTLS() bool {
	return slices.ContainsFunc(c.Listeners, func(l Listener) bool { return l.TLS != TLSOff })
}

// Default returns what an empty file means, but for the listener and the
// origin, of which there must be one each.
func Default() *Config {
	return &Config{
		Log:          Log{Level: logrus.InfoLevel, Format: "text"},
		TLS:          defaultTLS(),
		Authz:        defaultAuthz(),
		Admin:        Admin{Listen: admin.DefaultListen},
		RedisTimeout: ratelimit.DefaultAdmitTimeout,
		Limits: proxy.Limits{
			RTMP: rtmp.Limits{ChunkSize: 65536, MessageSize: 16 << 20},
			Admission: ratelimit.AdmissionLimits{
				ConnectionsPerIP: 64,
				ConnectRatePerIP: ratelimit.Rate{Events: 10, Per: time.Second},
			},
			Streams:      ratelimit.StreamLimits{PerIP: 16, PerSubject: 4},
			Bans:         ratelimit.BanLimits{AuthFailures: ratelimit.Rate{Events: 10, Per: time.Minute}, Ban: 10 * time.Minute},
			SetupTimeout: 10 * time.Second,
			IdleTimeout:  time.Minute,
			DrainTimeout: 30 * time.Second,
		},
	}
}

// Load reads file. The error is a fault.List of all that is wrong with it, or
// that of reading it.
func Load(file string) (*Config, error) {
	data, err := readfile.Read(file, MaxFile)
	if err != nil {
		return nil, err
	}
	return Parse(file, data)
}

// SumOf returns what Config.Sum would be for file as it is now.
func SumOf(file string) ([sha256.Size]byte, error) {
	data, err := readfile.Read(file, MaxFile)
	return sha256.Sum256(data), err
}

// Parse reads data as the contents of file. The error is a fault.List.
func Parse(file string, data []byte) (*Config, error) {
	t, err := tomlfile.Parse(file, data)
	if err != nil {
		return nil, err
	}
	c := Default()
	c.File, c.Sum = file, sha256.Sum256(data)
	c.read(t)
	if err := t.Err(); err != nil {
		return nil, err
	}
	return c, nil
}

// FaultOfName makes a fault of a name by which clients reach the edge.
func (c *Config) FaultOfName(name, problem string) fault.Fault {
	for _, d := range c.Dialed {
		if d.Name == name {
			return c.Fault(d.line, d.key, d.value, problem)
		}
	}
	return c.FaultOfCertificate(-1, problem)
}

// FaultOfCertificate makes a fault of the certificate with this number among
// those of the source; -1 is none of them.
func (c *Config) FaultOfCertificate(n int, problem string) fault.Fault {
	at := c.names
	if n >= 0 && n < len(c.certificates) {
		at = c.certificates[n]
	}
	return c.Fault(at.line, at.key, at.value, problem)
}

// ClusterChanged makes faults of what [cluster] has that the running edge does not:
// it joins its cluster at the start only.
func (c *Config) ClusterChanged(running *Config) (faults fault.List) {
	const problem = "cannot change while the edge runs: restart it"
	if !c.Redis.Equal(running.Redis) {
		faults = append(faults, c.Fault(c.clusterLines["redis"], "cluster.redis", "", problem))
	}
	if !c.Redis.Empty() && c.RedisTimeout != running.RedisTimeout {
		faults = append(faults, c.Fault(c.clusterLines["timeout"], "cluster.timeout", c.RedisTimeout.String(), problem))
	}
	return faults
}

// Fault makes a fault of this file that was found later than by Load.
func (c *Config) Fault(line int, key, value, problem string) fault.Fault {
	return fault.Fault{File: c.File, Line: line, Key: key, Value: value, Problem: problem}
}
