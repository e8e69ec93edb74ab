package admin

import (
	"crypto/sha256"
	"crypto/subtle"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"rtmps-edge/internal/secret"
)

// OwnHeader must be in requests that change something and carry no bearer token:
// a page of another site cannot make a browser send it.
const OwnHeader = "X-Rtmps-Edge"

// policy is what the dashboard's page may load and do: its own files, no more.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// guard is before every handler.
func (a *Admin) guard(r route, unix bool) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		setHeaders(w.Header())
		q.Body = http.MaxBytesReader(w, q.Body, maxBody)
		c := http.NewResponseController(w)
		if r.long { // it sets its own
			_ = c.SetReadDeadline(time.Time{})
		} else {
			_ = c.SetWriteDeadline(time.Now().Add(requestTimeout))
		}
		if !r.open {
			if status, why := a.refuse(r, q, unix); status != 0 {
				if status == http.StatusUnauthorized {
					w.Header().Add("WWW-Authenticate", `Bearer realm="rtmps-edge"`)
					w.Header().Add("WWW-Authenticate", `Basic realm="rtmps-edge: any name, the token as password", charset="UTF-8"`)
				}
				fail(w, status, why)
				return
			}
		}
		r.handler(w, q)
	})
}

func setHeaders(h http.Header) {
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Security-Policy", policy)
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
}

// refuse returns 0 for a request that may go on.
func (a *Admin) refuse(r route, q *http.Request, unix bool) (status int, why string) {
	token := *a.token.Load()
	bearer, known := authorized(q, token)
	switch {
	case !known:
		return http.StatusUnauthorized, "a token is needed: the contents of [admin] token_file, as \"Authorization: Bearer TOKEN\""
	case token.Empty() && !unix && !localHost(q.Host):
		return http.StatusMisdirectedRequest, "the host name is not one of this machine; by other names, set token_file in [admin]"
	case !r.page && crossSite(q):
		return http.StatusForbidden, "a page of another site may not ask for this"
	case r.effect && !bearer && !deliberate(q, token, unix):
		return http.StatusForbidden, "this changes something: send a bearer token, or the header \"" + OwnHeader + ": 1\""
	}
	return 0, ""
}

// authorized reports whether the request carries the token, if there is one, and
// whether it does so in a way that no browser does by itself.
func authorized(q *http.Request, token secret.Text) (bearer, known bool) {
	if token.Empty() {
		return false, true
	}
	if text, ok := cutScheme(q.Header.Get("Authorization"), "Bearer "); ok && same(text, token) {
		return true, true
	}
	_, password, ok := q.BasicAuth()
	return false, ok && same(password, token)
}

func cutScheme(header, scheme string) (rest string, ok bool) {
	if len(header) < len(scheme) || !strings.EqualFold(header[:len(scheme)], scheme) {
		return "", false
	}
	return strings.TrimSpace(header[len(scheme):]), true
}

// same compares in constant time, the length included.
func same(text string, token secret.Text) bool {
	a, b := sha256.Sum256([]byte(text)), sha256.Sum256([]byte(token.Reveal()))
	return subtle.ConstantTimeCompare(a[:], b[:]) == 1
}

// localHost tells requests for this machine from those that another site's DNS
// has led here: an address cannot be faked so, a name can.
func localHost(host string) bool {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = strings.TrimSuffix(strings.ToLower(host), ".")
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return true
	}
	_, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil
}

// crossSite reports whether a browser says that another site is behind it.
func crossSite(q *http.Request) bool {
	switch q.Header.Get("Sec-Fetch-Site") {
	case "cross-site", "same-site":
		return true
	case "same-origin", "none":
		return false
	}
	origin := q.Header.Get("Origin")
	if origin == "" {
		return false
	}
	u, err := url.Parse(origin)
	return err != nil || u.Host != q.Host
}

// deliberate reports whether no page can have made a browser send the request
// without the user's knowing. The pages in nginx-rtmp's shape change things by
// GET, as their users' scripts do, which no browser is allowed to.
func deliberate(q *http.Request, token secret.Text, unix bool) bool {
	if unix || q.Header.Get(OwnHeader) != "" {
		return true
	}
	if q.Method != http.MethodGet || !token.Empty() {
		return false
	}
	return q.Header.Get("Sec-Fetch-Site") == "" && q.Header.Get("Referer") == "" && !strings.HasPrefix(q.UserAgent(), "Mozilla/")
}
