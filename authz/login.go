package authz

import (
	"crypto/md5"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"strings"
	"time"

	"rtmps-edge/internal/secret"
)

// The two ways to log in while connecting. Each takes three connections: the
// first is refused with the name of the way, the second with a challenge, the
// third brings the response. They are old and rest on MD5: that is good enough
// only inside TLS.
const (
	modAdobe = "adobe"
	modLLNW  = "llnw"
)

// Login is what Connect makes of a connect command.
type Login struct {
	// User has logged in; "" = nobody has.
	User string
	// Refusal is what the client has to be told as description of connect's
	// error; "" = it may go on. It holds nothing secret.
	Refusal string
	// Guess says that a wrong response was given.
	Guess bool
}

// NeedLogin is the Refusal of a client that did not try to log in, where it has
// to.
const NeedLogin = "[ AccessManager.Reject ] : [ code=403 need auth; authmod=adobe ] : "

// Connect judges the text behind the app's first question mark, app without it.
// A client that does not try to log in gets the zero Login.
func (p *Password) Connect(app string, query secret.Text) Login {
	own, f := loginFields(query.Reveal())
	user := f["user"]
	switch mod := f["authmod"]; {
	case mod == "":
		return Login{}
	case mod != modAdobe && mod != modLLNW, userProblem(user) != "":
		return Login{Refusal: NeedLogin}
	case f["response"] == "":
		return Login{Refusal: p.challenge(mod, user)}
	case mod == modAdobe:
		return p.adobe(user, f)
	default:
		return p.llnw(user, appsOf(app, own), f)
	}
}

// WithoutLogin is a query without what Connect reads in it.
func WithoutLogin(query secret.Text) secret.Text {
	own, _ := loginFields(query.Reveal())
	return secret.New(own)
}

// maxLoginFields is more than any client sends.
const maxLoginFields = 16

// loginFields parts a query into the client's own and the fields of its login,
// which begin at authmod: at the start, or behind a query of the client's own.
// Nothing in them is escaped. The first of two fields counts.
func loginFields(query string) (own string, fields map[string]string) {
	start := 0
	for {
		i := strings.Index(query[start:], "authmod=")
		if i < 0 {
			return query, nil
		}
		start += i
		if start == 0 || query[start-1] == '?' || query[start-1] == '&' {
			break
		}
		start++
	}
	fields = map[string]string{}
	for n, field := range strings.Split(query[start:], "&") {
		key, value, _ := strings.Cut(field, "=")
		if _, twice := fields[key]; !twice && n < maxLoginFields {
			fields[key] = value
		}
	}
	return query[:max(0, start-1)], fields
}

// challenge is the answer to a client that says who it wants to be. It is the
// same for users that there are not.
func (p *Password) challenge(mod, user string) string {
	token := p.seal.seal(mod, user, time.Now())
	if mod == modLLNW {
		return "[ AccessManager.Reject ] : [ authmod=llnw ] : ?reason=needauth&user=" + user + "&nonce=" + token
	}
	return "[ AccessManager.Reject ] : [ authmod=adobe ] : ?reason=needauth&user=" + user +
		"&salt=" + p.seal.salt(user) + "&challenge=" + token[:8] + "&opaque=" + token
}

// passwordOf returns one for every user, so that all cost the same.
func (p *Password) passwordOf(user string) (password string, known bool) {
	if e := (*p.users.Load())[user]; e != nil {
		return e.password.Reveal(), true
	}
	return p.nobody.Reveal(), false
}

// adobe judges a response of authmod=adobe: base64(MD5(base64(MD5(user + salt +
// password)) + opaque + the client's challenge)).
func (p *Password) adobe(user string, f map[string]string) Login {
	token := f["opaque"]
	failed := Login{Refusal: "[ AccessManager.Reject ] : [ authmod=adobe ] : ?reason=authfailed&opaque=" + p.seal.salt(user), Guess: true}
	fresh := p.seal.open(modAdobe, user, token, time.Now())
	password, known := p.passwordOf(user)
	want := adobeResponse(user, p.seal.salt(user), password, token, f["challenge"])
	if !equal(f["response"], want) || !known || !fresh {
		return failed
	}
	return Login{User: user}
}

func adobeResponse(user, salt, password, opaque, challenge string) string {
	h1 := md5.Sum([]byte(user + salt + password))
	r := md5.Sum([]byte(base64.StdEncoding.EncodeToString(h1[:]) + opaque + challenge))
	return base64.StdEncoding.EncodeToString(r[:])
}

// llnw judges a response of authmod=llnw, a digest as in HTTP (RFC 2617) with
// the fixed realm "live" and the app as its URI. Clients differ in whether their
// own query belongs to the app: apps are the readings.
func (p *Password) llnw(user string, apps []string, f map[string]string) Login {
	token := f["nonce"]
	failed := Login{Refusal: "[ AccessManager.Reject ] : [ authmod=llnw ] : ?reason=authfail", Guess: true}
	fresh := p.seal.open(modLLNW, user, token, time.Now())
	password, known := p.passwordOf(user)
	good := false
	for _, app := range apps {
		good = equal(f["response"], llnwResponse(user, password, app, token, f["nc"], f["cnonce"])) || good
	}
	if !good || !known || !fresh {
		return failed
	}
	return Login{User: user}
}

func llnwResponse(user, password, app, nonce, nc, cnonce string) string {
	if !strings.Contains(app, "/") {
		app += "/_definst_"
	}
	ha1, ha2 := hexMD5(user+":live:"+password), hexMD5("publish:/"+app)
	return hexMD5(ha1 + ":" + nonce + ":" + nc + ":" + cnonce + ":auth:" + ha2)
}

// appsOf are the readings of what the client has hashed as its app.
func appsOf(app, own string) []string {
	if own == "" {
		return []string{app}
	}
	return []string{app, app + "?" + own}
}

func hexMD5(s string) string {
	sum := md5.Sum([]byte(s))
	return hex.EncodeToString(sum[:])
}

func equal(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }
