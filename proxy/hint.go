package proxy

import (
	"errors"
	"io"
	"syscall"

	"rtmps-edge/internal/hello"
)

// leftAtOnce is for clients that look at the certificate after the handshake.
const leftAtOnce = "the client went away after the TLS handshake, before it asked for anything: some (ffmpeg -tls_verify 1) do so when they do not believe the certificate; so do health checks"

// ofLimits is for limits that keep clients out.
const ofLimits = "a limit in [limits]: if such clients are wanted, raise it; \"rtmps-edge bans near\" shows who is near one"

// notAvailable is for origins that do not answer.
const notAvailable = "the RTMP server does not answer: does it run, and is this its address as seen from here? \"rtmps-edge check\" asks it"

// refusalHints say what to do about a refusal, by its stage and reason. TLS has
// its own.
var refusalHints = map[Stage]map[string]string{
	StageAdmit: {
		"network":             "deny_from in [authz] has its network",
		"banned":              "\"rtmps-edge bans lift ADDRESS\" lets it come again; \"rtmps-edge bans\" tells why it was banned",
		"connections":         ofLimits,
		"connections_per_ip":  ofLimits,
		"connect_rate_per_ip": ofLimits,
		"proxy header":        "a balancer that proxy_protocol names sends no PROXY header, or a broken one: turn it on there, or take it out of the list",
	},
	StageRTMP: {
		"protocol": "what it sent is not RTMP as it should be; detail says where",
	},
	StageAuthorize: {
		"denied":              "the credential is wrong, expired or disabled, or not for this app: \"rtmps-edge key list\" shows who may what, \"rtmps-edge verify\" explains signed keys",
		"unknown app":         "no key and no route is for this app, the part after the host in the encoder's server address",
		"network":             "publish_from, play_from or the key does not have its network",
		"unavailable":         "nobody could say whether the credential is good: is the webhook or the token issuer running?",
		"streams_per_ip":      ofLimits,
		"streams_per_subject": ofLimits,
	},
	StageOrigin: {
		reasonDuplicate:  "another encoder publishes this name: \"rtmps-edge sessions\" shows from where; duplicate in [authz] says what becomes of the second",
		"refused":        "the RTMP server did not accept the stream: its own log says why",
		"no such origin": "a key or a backend names an origin that is not configured",
		"unreachable":    notAvailable,
		"timeout":        notAvailable,
		"lost":           notAvailable,
		"reset":          notAvailable,
		"closed":         notAvailable,
		"error":          notAvailable,
	},
}

// clientEndHints say what an end by the client means that it did not announce.
var clientEndHints = map[string]string{
	"closed":        "it closed the connection in good order, without saying in RTMP that its stream is over",
	"cut":           "it closed without TLS's goodbye: it was killed, or something on the way closed the connection",
	"reset":         "it was killed, or a firewall or NAT on the way has forgotten the connection",
	"lost":          "nothing comes back from it any more: its line is dead",
	"idle":          "it was connected, and sent nothing for idle_timeout",
	"stalled":       "it takes nothing any more: its line is too thin, or its player hangs",
	"protocol":      "it sent what it must not send; detail says what, and where",
	"tls":           "what came is no TLS, or an alert: something on the way changes bytes, or the encoder is broken",
	"second stream": "it asked for another stream on the same connection, which is not served",
}

// Hint says in a sentence, without its full stop, what a refusal or an end means
// and what can be done; "" where its reason says all.
func (e *Event) Hint() string {
	switch {
	case e.Kind == Refused && e.Stage == StageTLS:
		return hello.Cause(e.Reason).Cure()
	case e.Kind == Refused && e.Stage == StageRTMP && e.TLS != "" && e.Encoder == "" && hungUpOn(e.Err):
		return leftAtOnce
	case e.Kind == Refused:
		return refusalHints[e.Stage][e.Reason]
	case e.Kind == Ended && e.Side == SideClient:
		return clientEndHints[e.Reason]
	case e.Kind == Ended && e.Side == SideOrigin && e.Reason != "finished":
		return "the RTMP server ended it: its own log says why"
	}
	return ""
}

// hungUpOn knows errors of connections that the client has closed.
func hungUpOn(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET)
}
