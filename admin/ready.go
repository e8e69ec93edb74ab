package admin

import (
	"fmt"
	"net/http"
	"slices"
	"time"
)

// Health is the answer of /healthz and /readyz.
type Health struct {
	OK       bool     `json:"ok"`
	Reasons  []string `json:"reasons"`
	Warnings []string `json:"warnings"` // what does not keep clients away, or not all
}

// healthz says that the program runs: who restarts it when it does not answer
// must not do so because an origin is away.
func (a *Admin) healthz(w http.ResponseWriter, _ *http.Request) {
	reply(w, http.StatusOK, Health{OK: true, Reasons: []string{}, Warnings: []string{}})
}

// readyz says whether new clients should come here.
func (a *Admin) readyz(w http.ResponseWriter, _ *http.Request) {
	h := Health{Reasons: a.notReady(), Warnings: a.warnings()}
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
	return append(reasons, a.noCertificate()...)
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

// noCertificate returns what is wrong with all certificates, if none is left
// that is well.
func (a *Admin) noCertificate() []string {
	old, well := a.expired()
	if well > 0 {
		return nil
	}
	return append(old, a.missing()...)
}

// warnings returns what is wrong with some certificates.
func (a *Admin) warnings() []string {
	warnings := []string{}
	old, well := a.expired()
	if well > 0 {
		warnings = append(warnings, append(old, a.missing()...)...)
	}
	for _, name := range a.pending() {
		if end := a.ending(name); time.Now().Before(end) {
			warnings = append(warnings, fmt.Sprintf("certificate not renewed so far: %s, which ends on %s", name, end.UTC().Format(time.DateOnly)))
		}
	}
	return warnings
}

// expired returns the certificates that have, and how many have not.
func (a *Admin) expired() (old []string, well int) {
	for _, c := range a.served() {
		if time.Now().Before(c.NotAfter) {
			well++
		} else {
			old = append(old, fmt.Sprintf("certificate expired: %s, on %s", c.Name, c.NotAfter.UTC().Format(time.DateOnly)))
		}
	}
	return old, well
}

// missing returns the names that have no certificate at all.
func (a *Admin) missing() (reasons []string) {
	for _, name := range a.pending() {
		if a.ending(name).IsZero() {
			reasons = append(reasons, "no certificate yet: "+name)
		}
	}
	return reasons
}

// ending is when the last certificate for a name ends; zero: there is none.
func (a *Admin) ending(name string) (end time.Time) {
	for _, c := range a.served() {
		if slices.Contains(c.Names, name) && c.NotAfter.After(end) {
			end = c.NotAfter
		}
	}
	return end
}

func (a *Admin) served() []Certificate {
	if a.cfg.Certificates == nil {
		return nil
	}
	return a.cfg.Certificates()
}

func (a *Admin) pending() []string {
	if a.cfg.Pending == nil {
		return nil
	}
	return a.cfg.Pending()
}
