package proxy

import (
	"crypto/tls"
	"net/netip"
	"time"

	"rtmps-edge/authz"
	"rtmps-edge/ratelimit"
	"rtmps-edge/rtmp"
)

// Policy is all that a reload may change. It is never modified once it was
// given to a Server: a reload builds another and swaps it in.
type Policy struct {
	// TLS is used for listeners that require it. It must not be nil if there
	// is such a listener.
	TLS *tls.Config

	// Publish and Play answer for each action; nil refuses it altogether.
	Publish, Play authz.Authorizer
	// Password judges logins in connect; nil = nobody logs in. PasswordOnly
	// says that nobody gets in without one.
	Password     *authz.Password
	PasswordOnly bool
	// PublishFrom and PlayFrom are the networks that may do each; empty = any.
	PublishFrom, PlayFrom []netip.Prefix
	// DenyFrom are the networks that are closed before TLS.
	DenyFrom []netip.Prefix

	// Duplicate is for a second publisher of one name.
	Duplicate Duplicate
	// Recheck asks the authorizer again so often while a stream runs. 0 = never.
	Recheck time.Duration

	// Origins has at least one member; the first is the default.
	Origins []*Origin
	Routes  []Route

	Limits Limits
}

// Limits are the bounds of a session. For each, zero means no limit.
type Limits struct {
	RTMP rtmp.Limits
	// Admission holds the limits that are judged before TLS.
	Admission ratelimit.AdmissionLimits
	// SetupTimeout runs from accept to publish or play accepted.
	SetupTimeout time.Duration
	// IdleTimeout ends a publisher from whom nothing was received so long.
	IdleTimeout time.Duration
	// Bans say when an address is kept out for a while.
	Bans ratelimit.BanLimits
	// Handshakes is how many TLS handshakes are worked at, at once and in all;
	// 0 = ratelimit.HandshakesPerCore × cores.
	Handshakes int
	// Streams holds the limits that are judged when a stream was authorized,
	// and the bit rate of an address.
	Streams ratelimit.StreamLimits
	// PublishBitrate and PlayBitrate are in bits per second and per stream.
	PublishBitrate, PlayBitrate int64
	// EndOverBitrate ends a stream that was above its bit rate, or its
	// address's, for 10 s. Until then, and otherwise, it is held to it.
	EndOverBitrate bool
	// MaxDuration ends a stream that has lasted so long.
	MaxDuration time.Duration
	// DrainTimeout is how long Shutdown waits for running streams.
	DrainTimeout time.Duration
}

// Origin is one plain-RTMP server, or several that hold the same streams.
type Origin struct {
	Name string
	// Servers are tried one after the other. Each is "host:port", "rtmp://host:port" or
	// "rtmps://host:port"; names are resolved at each dial.
	Servers []string
	// Balance is the order in which they are tried. "" = as they stand.
	Balance Balance
	// HealthEvery is how often each is checked. 0 = never: a server that fails
	// is tried last for a while.
	HealthEvery time.Duration
	// ClientIP says how the servers are told the client's address.
	ClientIP ClientIP
	// TcURL is the tcUrl that the origin sees; {server}, {app}, {name} and
	// {host} are filled in. "" means rtmp://SERVER/APP.
	TcURL string
	// DialTimeout bounds one TCP (and TLS) connect. 0 = 3 s.
	DialTimeout time.Duration
	// DropEmpty drops audio and video messages of length zero, for origins
	// that close on them (MediaMTX).
	DropEmpty bool
	// ChunkSize is the chunk size that the edge writes with. 0 = 65536.
	ChunkSize int
	// MessageSize is the largest message that the origin takes. 0 = any.
	MessageSize int
	// TLS is used for rtmps:// servers; nil = the system's roots.
	TLS *tls.Config
}

// Route sends the streams that match to an origin. Patterns are globs; ""
// matches all.
type Route struct {
	Server string // TLS server name
	App    string
	Origin string
}

// authorizer returns who answers for an action; nil refuses it altogether.
func (p *Policy) authorizer(a authz.Action) authz.Authorizer {
	if a == authz.Play {
		return p.Play
	}
	return p.Publish
}
