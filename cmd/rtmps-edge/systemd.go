package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/sirupsen/logrus"
)

const (
	// stopMargin is what stopping takes beside waiting for streams.
	stopMargin = 10 * time.Second
	// stopEver is what systemd is asked for when the wait for streams has no
	// limit: the longest that drain_timeout may be, but for none.
	stopEver = 24 * time.Hour
)

// tellManager tells systemd, where it is the one that started us and asked for it
// (Type=notify), how the service fares.
func tellManager(log *logrus.Logger, state ...string) {
	if _, err := daemon.SdNotify(false, strings.Join(state, "\n")); err != nil {
		log.WithError(err).Warn("systemd cannot be told how the service fares")
	}
}

// tellReady ends a start or a reload.
func tellReady(log *logrus.Logger, status string) {
	tellManager(log, daemon.SdNotifyReady, "STATUS="+status)
}

// tellReloading begins a reload.
func tellReloading(log *logrus.Logger) {
	tellManager(log, daemon.SdNotifyReloading, daemon.SdNotifyMonotonicUsec(), "STATUS=reloading")
}

// tellStopping begins the end, and asks systemd to wait until all streams have had
// their time; TimeoutStopSec of the unit need not know drain_timeout.
func tellStopping(log *logrus.Logger, drain time.Duration) {
	if drain == 0 {
		drain = stopEver
	}
	extend := fmt.Sprintf("EXTEND_TIMEOUT_USEC=%d", (drain + stopMargin).Microseconds())
	tellManager(log, daemon.SdNotifyStopping, extend, "STATUS=waiting for running streams")
}
