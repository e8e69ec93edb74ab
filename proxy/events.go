package proxy

import (
	"net/netip"
	"time"

	"rtmps-edge/authz"
	"rtmps-edge/internal/hello"
	"rtmps-edge/ratelimit"
)

// Kind tells Events apart.
type Kind uint8

// Each Accepted is followed by exactly one Refused or Started, each Started by
// exactly one Ended, all of the same session.
const (
	Accepted Kind = iota + 1
	Refused
	Started
	Ended
	// Banned is of an address and of no session: it stands outside this order.
	Banned
)

// Stage is the part of the session's straight line in which it was refused.
type Stage string

// The stages in their order.
const (
	StageAdmit     Stage = "admit"     // a balancer's header, limits and networks, before TLS
	StageTLS       Stage = "tls"       // TLS handshake
	StageRTMP      Stage = "rtmp"      // RTMP handshake and commands
	StageAuthorize Stage = "authorize" // the authorizer's answer
	StageOrigin    Stage = "origin"    // dialing and opening the origin
	StageApprove   Stage = "approve"   // telling the client
)

// Side is who ended a running stream.
type Side string

// The sides.
const (
	SideClient Side = "client"
	SideOrigin Side = "origin"
	SideEdge   Side = "edge"
)

// Event is what happened to one session. Strings that come from the client are
// its own text: an Observer escapes them as its output needs. There is never a
// credential in an Event: App has no query, Name is the granted one.
type Event struct {
	Kind     Kind
	Time     time.Time
	Session  string // unique in this process
	Listener string // its configured address
	// Client is the client's own address. It is not valid for a client on a
	// unix socket. In Accepted it is the peer's, also where that is a balancer
	// which has still to tell for whom it speaks.
	Client     netip.AddrPort
	ServerName string // TLS server name, "" without one
	TLS        string // "TLS 1.3" …, "" on a plain listener
	Encoder    string // flashVer of the client

	// Known from the moment the client has asked.
	Action authz.Action
	App    string
	// Fingerprint stands for the credential, in refusals.
	Fingerprint string

	// Known from the moment the request was granted.
	Subject string
	By      string // the authorizer that decided, as the configuration calls it
	Name    string
	// NameIsKey says that a publisher without a subject was granted the name
	// that it sent: for an origin that decides itself, or a backend, that is the
	// stream key, and not for logs.
	NameIsKey bool
	Origin    string
	Server    string // the origin's server that took the stream

	// Refused.
	Stage Stage
	// Offer is what a client offered whose TLS handshake failed, in a line; ""
	// if it did not come so far.
	Offer string
	// Ended.
	Side Side
	// Refused and Ended: a short fixed phrase in lower case, safe as a label.
	Reason string
	// Err is the cause in detail, for the log; may be nil.
	Err error

	// Took is how long the stages took that were passed, and the one that
	// failed; from the moment of Refused or Started.
	Took Took

	// Ended: payload as it passed through the edge.
	BytesIn, BytesOut int64 // received from the client; sent to the client
	Duration          time.Duration

	// Banned. Only Kind, Time, Client and this are set.
	Ban ratelimit.Ban
}

// Expected reports whether a refusal is a step of something that goes well, and
// nothing that an operator is told of: the rounds of a login, and a certificate
// authority that looks for the answer to its challenge.
func (e *Event) Expected() bool {
	return e.Kind == Refused && (e.Reason == ReasonLogin || e.Reason == string(hello.Answered))
}

// Took is how long the stages of a session's setup took. Zero: not reached.
type Took struct {
	TLS       time.Duration // the handshake
	Authorize time.Duration
	Origin    time.Duration // dialing the server that took the stream, until it had accepted it
	Setup     time.Duration // all, from accept to Started
}

// Observer hears every Event, in the order of each session, from the session's
// own goroutine: it must return soon and must not panic.
type Observer interface{ Observe(Event) }
