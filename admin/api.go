package admin

import (
	"encoding/json"
	"errors"
	"math"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"rtmps-edge/internal/fault"
	"rtmps-edge/proxy"
)

// kick is the reason of an end by hand.
const kick = "kick"

// defaultBan is how long an address is banned by hand unless it is said.
const defaultBan = 10 * time.Minute

func reply(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	_ = e.Encode(v) // whoever asked may be gone
}

func fail(w http.ResponseWriter, status int, why string) { reply(w, status, Failure{Error: why}) }

func (a *Admin) getStatus(p *page, _ *http.Request) {
	var c count
	a.cfg.Server.Each(func(i *proxy.Info) {
		c.add(i)
		p.Step()
	})
	reply(p, http.StatusOK, a.status(c))
}

// getSessions answers with one stream a line.
func (a *Admin) getSessions(p *page, _ *http.Request) {
	v := a.view(&p.Work)
	defer v.done()
	p.header.Set("Content-Type", "application/json")
	p.sessions(v, "\n")
	p.b = append(p.b, '\n')
}

func (a *Admin) getSession(w http.ResponseWriter, q *http.Request) {
	if i, ok := a.cfg.Server.Find(q.PathValue("id")); ok {
		reply(w, http.StatusOK, session(&i, time.Now()))
		return
	}
	fail(w, http.StatusNotFound, "there is no such session; it may have ended")
}

func (a *Admin) deleteSession(w http.ResponseWriter, q *http.Request) {
	id := q.PathValue("id")
	d, ok := duration(w, q, "ban", 0)
	if !ok {
		return
	}
	if d > 0 {
		if ban, ok := a.cfg.Server.KickAndBan(id, d); ok {
			b := banOf(ban.Network, ban.Since, ban.Until, ban.Why, ban.Count, ban.ByHand)
			a.log(q, "session "+id+" kicked, "+b.Network+" banned")
			reply(w, http.StatusOK, Done{Done: "the session ends, and its address is banned", Ban: &b})
			return
		}
	}
	if !a.cfg.Server.Kick(id, kick) {
		a.kickElsewhere(w, q, id, d)
		return
	}
	a.log(q, "session "+id+" kicked")
	done := "the session ends"
	if d > 0 {
		done += "; its address is none that can be banned"
	}
	reply(w, http.StatusOK, Done{Done: done})
}

// kickElsewhere asks the other edges of a cluster, if there is one.
func (a *Admin) kickElsewhere(w http.ResponseWriter, q *http.Request, id string, ban time.Duration) {
	found, err := a.cfg.Server.KickAnywhere(q.Context(), id, ban)
	switch {
	case found:
		a.log(q, "session "+id+" kicked at another edge")
		reply(w, http.StatusOK, Done{Done: "the session ends at another edge"})
	case err != nil:
		fail(w, http.StatusServiceUnavailable, "this edge has no such session, and the others cannot be asked now")
	default:
		fail(w, http.StatusNotFound, "there is no such session; it may have ended")
	}
}

// duration reads a parameter, or answers what is wrong with it.
func duration(w http.ResponseWriter, q *http.Request, key string, d time.Duration) (time.Duration, bool) {
	text := q.URL.Query().Get(key)
	if text == "" {
		return d, true
	}
	d, err := time.ParseDuration(text)
	if err != nil || d <= 0 {
		fail(w, http.StatusBadRequest, key+" must be a duration, such as 10m or 24h")
		return 0, false
	}
	return d, true
}

func (a *Admin) getOrigins(w http.ResponseWriter, _ *http.Request) {
	reply(w, http.StatusOK, a.origins())
}

func (a *Admin) getCertificates(w http.ResponseWriter, _ *http.Request) {
	reply(w, http.StatusOK, a.certificates())
}

func (a *Admin) getNear(w http.ResponseWriter, _ *http.Request) { reply(w, http.StatusOK, a.near()) }

// getBans answers with one ban a line.
func (a *Admin) getBans(p *page, _ *http.Request) {
	p.header.Set("Content-Type", "application/json")
	p.bans(a.bans(math.MaxInt), "\n")
	p.b = append(p.b, '\n')
}

func (a *Admin) postBan(w http.ResponseWriter, q *http.Request) {
	addr, ok := banned(w, q)
	if !ok {
		return
	}
	d, ok := duration(w, q, "for", defaultBan)
	if !ok {
		return
	}
	why := q.URL.Query().Get("why")
	if why == "" {
		why = "by hand"
	}
	b, ok := a.cfg.Server.Limiter().Bans.Add(addr, d, why)
	if !ok {
		fail(w, http.StatusConflict, "the address cannot be banned: there are too many bans")
		return
	}
	ban := banOf(b.Network, b.Since, b.Until, b.Why, b.Count, b.ByHand)
	a.log(q, ban.Network+" banned")
	reply(w, http.StatusOK, Done{Done: "the address is banned", Ban: &ban})
}

func (a *Admin) deleteBan(w http.ResponseWriter, q *http.Request) {
	addr, ok := banned(w, q)
	switch {
	case !ok:
	case a.cfg.Server.Limiter().Bans.Lift(addr):
		a.log(q, "ban of "+addr.String()+" lifted")
		reply(w, http.StatusOK, Done{Done: "the ban is lifted"})
	default:
		fail(w, http.StatusNotFound, "the address is not banned")
	}
}

// banned reads the address, or network, of a ban from the path, or answers what
// is wrong with it.
func banned(w http.ResponseWriter, q *http.Request) (netip.Addr, bool) {
	text := q.PathValue("ip")
	if p, err := netip.ParsePrefix(text); err == nil {
		return p.Addr().Unmap(), true
	}
	addr, err := netip.ParseAddr(text)
	if err != nil {
		fail(w, http.StatusBadRequest, "must be an IP address, such as /api/v1/bans/192.0.2.1")
		return addr, false
	}
	return addr.Unmap().WithZone(""), true
}

func (a *Admin) getEvents(w http.ResponseWriter, _ *http.Request) {
	list, _ := a.hub.since(0, hubSize)
	reply(w, http.StatusOK, list)
}

func (a *Admin) postReload(w http.ResponseWriter, q *http.Request) {
	err := a.cfg.Reload(q.Context())
	if err == nil {
		reply(w, http.StatusOK, Done{Done: "the configuration was read again and is in force"})
		return
	}
	f := Failure{Error: "not reloaded, the configuration in force stays"}
	var faults fault.List
	if errors.As(err, &faults) {
		for _, one := range faults {
			f.Faults = append(f.Faults, one.String())
		}
	} else {
		f.Faults = strings.Split(err.Error(), "\n")
	}
	reply(w, http.StatusUnprocessableEntity, f)
}

func (a *Admin) postDrain(w http.ResponseWriter, q *http.Request) {
	a.log(q, "drain was asked for")
	a.cfg.Drain()
	reply(w, http.StatusAccepted, Done{Done: "nothing is accepted any more; the edge exits when its streams have ended"})
}

// log notes who changed what.
func (a *Admin) log(q *http.Request, what string) {
	a.cfg.Log.WithField("by", q.RemoteAddr).Info("admin: " + what)
}
