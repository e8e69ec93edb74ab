package admin

import (
	"fmt"
	"net/http"
	"time"
)

// Health is the answer of /healthz and /readyz.
type Health struct {
	OK      bool     `json:"ok"`
	Reasons []string `json:"reasons"`
}

// healthz says that the program runs: who restarts it when it does not answer
// must not do so because an origin is away.
func (a *Admin) healthz(w http.ResponseWriter, _ *http.Request) {
	reply(w, http.StatusOK, Health{OK: true, Reasons: []string{}})
}

// readyz says whether new clients should come here.
func (a *Admin) readyz(w http.ResponseWriter, _ *http.Request) {
	h := Health{Reasons: a.notReady()}
	h.OK = len(h.Reasons) == 0
	status := http.StatusOK
	if !h.OK {
		status = http.StatusServiceUnavailable
	}
	reply(w, status, h)
}

// notReady returns why no client should come.
func (a *Admin) notReady() []string {
	reasons := []string{}
	if a.cfg.Server.Draining() {
		reasons = append(reasons, "draining")
	}
	if a.noOrigin() {
		reasons = append(reasons, "no origin healthy")
	}
	return append(reasons, a.expired()...)
}

// noOrigin reports whether health checks have found every server of every origin
// to be down. One that is not checked may be well.
func (a *Admin) noOrigin() bool {
	for _, o := range a.cfg.Server.Origins() {
		for _, s := range o.Servers {
			if s.Up || !s.Checked {
				return false
			}
		}
	}
	return true
}

// expired returns the certificates that have expired, if no other is left.
func (a *Admin) expired() (reasons []string) {
	if a.cfg.Certificates == nil {
		return nil
	}
	for _, c := range a.cfg.Certificates() {
		if time.Now().Before(c.NotAfter) {
			return nil
		}
		reasons = append(reasons, fmt.Sprintf("certificate expired: %s, on %s", c.Name, c.NotAfter.UTC().Format(time.DateOnly)))
	}
	return reasons
}
