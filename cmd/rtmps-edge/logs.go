package main

import (
	"net/netip"
	"strings"
	"time"

	"github.com/sirupsen/logrus"

	"rtmps-edge/config"
	"rtmps-edge/proxy"
)

// maxDetail is how much of an error's text one log line holds, in bytes: an
// origin may say much.
const maxDetail = 300

func setLog(log *logrus.Logger, c config.Log) {
	log.SetLevel(c.Level)
	if c.Format == "json" {
		log.SetFormatter(&logrus.JSONFormatter{TimestampFormat: time.RFC3339Nano})
		return
	}
	log.SetFormatter(&logrus.TextFormatter{FullTimestamp: true, TimestampFormat: time.RFC3339})
}

// usualFields are as many as a line of a stream has.
const usualFields = 16

// logObserver writes the lines of the contract: one when a stream starts, one
// when it ends, one per refusal. There is no credential in an Event.
type logObserver struct{ log *logrus.Logger }

func newLogObserver(log *logrus.Logger) logObserver { return logObserver{log} }

// Observe implements proxy.Observer.
func (o logObserver) Observe(e proxy.Event) {
	if e.Kind == proxy.Accepted && !o.log.IsLevelEnabled(logrus.DebugLevel) {
		return
	}
	fields := make(logrus.Fields, usualFields)
	fields["session"], fields["client"] = e.Session, clientText(e.Client)
	switch e.Kind {
	case proxy.Accepted:
		fields["listener"] = e.Listener
		o.line(fields).Debug("accepted")
	case proxy.Refused:
		about(fields, e)
		fields["stage"], fields["reason"] = e.Stage, e.Reason
		if e.Offer != "" {
			fields["offered"] = e.Offer
		}
		o.line(fields).Log(refusalLevel(e), "refused")
	case proxy.Started:
		about(fields, e)
		o.line(fields).Info("stream started")
	case proxy.Ended:
		about(fields, e)
		ended(fields, e)
		o.line(fields).Info("stream ended")
	case proxy.Banned:
		o.line(logrus.Fields{"client": e.Ban.Network.String(), "reason": e.Ban.Why,
			"until": e.Ban.Until.Format(time.RFC3339), "count": e.Ban.Count}).Warn("banned")
	}
}

// line takes the fields as they are, where WithFields would copy them.
func (o logObserver) line(fields logrus.Fields) *logrus.Entry {
	return &logrus.Entry{Logger: o.log, Data: fields}
}

// refusalLevel keeps the rounds of a login, which are no refusals, out of the log.
func refusalLevel(e proxy.Event) logrus.Level {
	if e.Reason == proxy.ReasonLogin {
		return logrus.DebugLevel
	}
	return logrus.InfoLevel
}

// clientText is what stands for a client: those on a unix socket have no address.
func clientText(a netip.AddrPort) string {
	if !a.IsValid() {
		return "unix"
	}
	return a.String()
}

// about adds what is known of the stream.
func about(fields logrus.Fields, e proxy.Event) {
	name := e.Name
	if e.NameIsKey {
		name = ""
	}
	known := func(key, value string) {
		if value != "" {
			fields[key] = value
		}
	}
	known("subject", e.Subject)
	known("action", string(e.Action))
	known("app", e.App)
	known("name", name)
	known("origin", e.Origin)
	known("server", e.Server)
	known("server_name", e.ServerName)
	known("tls", e.TLS)
	known("encoder", e.Encoder)
	if e.Subject == "" && e.Fingerprint != "" {
		fields["key"] = e.Fingerprint
	}
	if e.Err != nil {
		fields["detail"] = clip(e.Err.Error())
	}
	if hint := e.Hint(); hint != "" {
		fields["hint"] = hint
	}
}

func ended(fields logrus.Fields, e proxy.Event) {
	seconds := e.Duration.Seconds()
	fields["side"], fields["reason"] = e.Side, e.Reason
	fields["bytes_in"], fields["bytes_out"] = e.BytesIn, e.BytesOut
	fields["seconds"] = float64(e.Duration.Milliseconds()) / 1000
	if seconds > 0 {
		fields["bitrate"] = int64(float64(max(e.BytesIn, e.BytesOut)) * 8 / seconds)
	}
}

func clip(s string) string {
	if len(s) <= maxDetail {
		return s
	}
	return strings.ToValidUTF8(s[:maxDetail], "") + "…"
}
