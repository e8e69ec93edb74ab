package authz

import (
	"errors"
	"strings"
)

// How clients send a key, and how it is read.
//
// OBS and librtmp decode the percent escapes of a key once before they send
// it; ffmpeg and GStreamer send it as it was typed. So this package reads what
// a credential says in two ways: with each value decoded once, and as it was
// sent. Each reading is judged whole, and what it says is all that counts
// after: values of the two are never mixed, nothing is decoded twice, and what
// was checked is what is used. In both:
//
//   - a query is split at '&' and '=' before anything is decoded, so that an
//     escaped separator separates nothing, and names are not decoded at all;
//   - '+' is a plus: encoders do not send forms, and base64 has it;
//   - an escape that is none ("%zz") leaves its whole value as it is;
//   - a stream name must be a CanonicalName in the end, which has no '%', so
//     that nobody behind the edge finds anything more to decode.

// maxQuery is the longest query that is looked at, in bytes. An RTMP client
// has 1 KiB for the stream name and as much for the app, with their queries.
const maxQuery = 4096

// unescape decodes percent escapes, once. It returns s as it is if one of them
// is malformed.
func unescape(s string) string {
	if !strings.Contains(s, "%") {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '%' {
			b.WriteByte(s[i])
			continue
		}
		c, ok := escaped(s[i:])
		if !ok {
			return s
		}
		b.WriteByte(c)
		i += 2
	}
	return b.String()
}

// escaped returns the byte that the escape at the start of s stands for.
func escaped(s string) (c byte, ok bool) {
	if len(s) < 3 || s[0] != '%' {
		return 0, false
	}
	high, ok1 := hexDigit(s[1])
	low, ok2 := hexDigit(s[2])
	return high<<4 | low, ok1 && ok2
}

func hexDigit(c byte) (byte, bool) {
	switch {
	case '0' <= c && c <= '9':
		return c - '0', true
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10, true
	case 'A' <= c && c <= 'F':
		return c - 'A' + 10, true
	}
	return 0, false
}

// param is one parameter of a query. raw is all of it as it was sent.
type param struct{ name, value, raw string }

// params are the parameters of a query in their order.
type params []param

// parseQuery splits q. With decode, values are decoded once.
func parseQuery(q string, decode bool) params {
	var list params
	for part := range strings.SplitSeq(q, "&") {
		if part == "" {
			continue
		}
		name, value, _ := strings.Cut(part, "=")
		if decode {
			value = unescape(value)
		}
		list = append(list, param{name, value, part})
	}
	return list
}

// errTwice names no parameter: it may be told with one that does.
var errTwice = errors.New("stands there twice")

// one returns the value of the parameter, and whether there is one. What
// stands there twice may be read in two ways: that is an error.
func (p params) one(name string) (value string, ok bool, err error) {
	for _, q := range p {
		if q.name != name {
			continue
		}
		if ok {
			return "", true, &paramError{name, errTwice}
		}
		value, ok = q.value, true
	}
	return value, ok, nil
}

// has reports whether there is any of the parameters.
func (p params) has(names ...string) bool {
	for _, q := range p {
		for _, n := range names {
			if q.name == n {
				return true
			}
		}
	}
	return false
}

// paramError says what is wrong with a parameter, without its value.
type paramError struct {
	name string // as this package knows it, never a client's text
	err  error
}

func (e *paramError) Error() string { return "the parameter " + e.name + " " + e.err.Error() }
func (e *paramError) Unwrap() error { return e.err }

// reading is one way to read the credential of a Request.
type reading struct {
	action    Action
	app, name string
	params    params
	request   Request
	decoded   bool
}

// readings returns the ways in which r can be read: decoded first. They are
// one if there is nothing to decode. None: the query is too long to look at.
func readings(r Request) []reading {
	key, query := r.Key.Reveal(), r.Query.Reveal()
	if len(query) > maxQuery {
		return nil
	}
	all := []reading{{r.Action, r.App, unescape(key), parseQuery(query, true), r, true}}
	if strings.Contains(key, "%") || strings.Contains(query, "%") {
		all = append(all, reading{r.Action, r.App, key, parseQuery(query, false), r, false})
	}
	return all
}
