package admin

import (
	"net/http"
	"net/http/pprof"
)

// profiles are Go's own, which may show what is in memory: on a TCP address they
// need a token to be set.
func (a *Admin) profiles(unix bool) []route {
	list := []route{
		{path: "/debug/pprof/{profile...}", handler: pprof.Index},
		{path: "/debug/pprof/cmdline", handler: pprof.Cmdline},
		{path: "/debug/pprof/profile", handler: pprof.Profile},
		{path: "/debug/pprof/symbol", handler: pprof.Symbol},
		{path: "/debug/pprof/trace", handler: pprof.Trace},
	}
	for i := range list {
		h := list[i].handler
		list[i].method, list[i].long = "GET", true
		list[i].handler = func(w http.ResponseWriter, q *http.Request) {
			if !unix && a.token.Load().Empty() {
				fail(w, http.StatusForbidden, "profiles need a token_file in [admin]")
				return
			}
			h(w, q)
		}
	}
	return list
}
