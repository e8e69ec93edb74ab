package authz

import (
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// scheme is one way to sign a stream key.
type scheme interface {
	// read finds out what a key says. The error is errNotSigned if it has none
	// of the scheme's parameters; else it says what is malformed, without any
	// value. The names have been judged.
	read(k reading) (claim, error)
	// sign returns the query of a key. The error completes "a … key".
	sign(q SignRequest, sec string) (query string, err error)
	// oneSegment says that a name with a slash could be taken for another name
	// in another app, because only their path is signed.
	oneSegment() bool
}

// errNotSigned means that the key is none of the scheme's.
var errNotSigned = errors.New("the key is not signed in this way")

func notSigned(missing string) error {
	return fmt.Errorf("%w: it has no parameter %s", errNotSigned, missing)
}

// claim is what a key says, believed or not.
type claim struct {
	given []byte                  // the signature
	sum   func(sec string) []byte // what it should be
	from  []netip.Prefix          // where it may be used; empty = anywhere
	begin time.Time               // zero = at once
	end   time.Time               // when it can no longer be used; zero = never
	ends  time.Time               // when the stream must end; zero = it may run on
	other func(a Action) claim    // the same for another action, to explain; or nil
}

// verdict is what became of a key.
type verdict struct {
	unknown bool   // none of this scheme's
	why     string // why it is refused; "" = it is good
	read    reading
	claim   claim
	by      *signingSecret // who signed it; nil = nobody known
	number  int            // by's place in the file, from 1
}

// judge tries each reading of r. The first that verifies decides; else why the
// first is refused.
func (s *Signed) judge(r Request, now time.Time) verdict {
	refused := verdict{unknown: true}
	if !s.isFor(r) || r.Key.Empty() {
		return refused
	}
	for _, k := range readings(r) {
		v := s.judgeReading(k, now)
		if !v.unknown && v.why == "" {
			return v
		}
		if refused.unknown || v.by != nil && refused.by == nil {
			refused = v
		}
	}
	return refused
}

// judgeReading looks at the signature before anything that it covers.
func (s *Signed) judgeReading(k reading, now time.Time) verdict {
	v := verdict{read: k}
	c, err := s.readClaim(k)
	if err != nil {
		v.unknown, v.why = errors.Is(err, errNotSigned), err.Error()
		return v
	}
	v.claim = c
	for i, sec := range *s.secrets.Load() { // all of them: how long it takes tells nothing
		if same := subtle.ConstantTimeCompare(c.given, c.sum(sec.Reveal())) == 1; same && v.by == nil {
			v.by, v.number = sec, i+1
		}
	}
	v.why = s.refusal(v, now)
	return v
}

// readClaim judges the names: what was signed must be what the origin sees.
func (s *Signed) readClaim(k reading) (claim, error) {
	c, err := s.scheme.read(k)
	if errors.Is(err, errNotSigned) {
		return c, err
	}
	if why := checkNames(k.app, k.name, s.scheme.oneSegment()); why != "" {
		return c, errors.New(why)
	}
	return c, err
}

// checkNames says what is wrong with names that are to be signed; "" if
// nothing is.
func checkNames(app, name string, oneSegment bool) string {
	switch {
	case !CanonicalName(app):
		return "the app has characters that origins read differently"
	case !CanonicalName(name):
		return "the name has characters that origins read differently"
	case oneSegment && strings.Contains(name, "/"):
		return "the name has a slash: this scheme cannot tell it from a name in another app"
	}
	return ""
}

func (s *Signed) refusal(v verdict, now time.Time) string {
	c := v.claim
	past := func(t time.Time) bool { return !t.IsZero() && !now.Before(t) }
	switch {
	case v.by == nil:
		return "the signature does not match"
	case now.Add(s.cfg.ClockSkew).Before(c.begin):
		return "not yet valid"
	case past(c.end) && v.read.request.Running == 0, past(c.ends): // a stream that runs may have begun in time
		return "expired"
	case len(c.from) > 0 && !contains(c.from, v.read.request.Client.Addr()):
		return "not from this address"
	}
	return ""
}

// required returns a parameter that must be there when others of the scheme
// are.
func (k reading) required(name string) (string, error) {
	v, ok, err := k.params.one(name)
	if err == nil && !ok {
		err = &paramError{name, errors.New("is missing")}
	}
	return v, err
}

// digest reads a parameter that is size bytes in hex digits.
func (k reading) digest(name string, size int) ([]byte, error) {
	v, err := k.required(name)
	if err != nil {
		return nil, err
	}
	return hexDigest(name, v, size)
}

func hexDigest(name, v string, size int) ([]byte, error) {
	sum, err := hex.DecodeString(v)
	if err != nil || len(sum) != size {
		return nil, &paramError{name, fmt.Errorf("must end in %d hex digits", 2*size)}
	}
	return sum, nil
}

// unixTime reads a time as schemes write it: exactly ten digits, the years
// 2001 to 2286. Where a name and a time are hashed side by side, another length
// would move digits from the one to the other: "cam1" until 2033 would be "cam"
// until 2500.
func unixTime(name, v string) (time.Time, error) {
	n, err := strconv.ParseUint(v, 10, 64)
	if err != nil || len(v) != 10 || v[0] == '0' {
		return time.Time{}, &paramError{name, errors.New("must have a time of 10 digits, in seconds since 1970")}
	}
	return time.Unix(int64(n), 0), nil
}

// hexTime reads a time of exactly eight hex digits, for the same reason.
func hexTime(name, v string) (time.Time, error) {
	n, err := strconv.ParseUint(v, 16, 64)
	if err != nil || len(v) != 8 || v[0] == '0' {
		return time.Time{}, &paramError{name, errors.New("must have a time of 8 hex digits, in seconds since 1970")}
	}
	return time.Unix(int64(n), 0), nil
}

// Errors of sign, which complete "a … key".
var (
	errNeedsEnd     = errors.New("needs a time at which it expires, from 2001 to 2106")
	errNoBegin      = errors.New("cannot say from when on it is good")
	errNoAddress    = errors.New("cannot be bound to an address")
	errNeedsAddress = errors.New("needs the address that it is bound to")
	errNoEnd        = errors.New("cannot expire: leave the time out, and change the secret to end it")
)

// lastUnix is the last time of all schemes: eight hex digits.
const lastUnix = 1<<32 - 1

// plainEnd checks a request of a scheme that knows an end and nothing else.
func (q SignRequest) plainEnd() error {
	switch {
	case q.Expires.Unix() < 1e9 || q.Expires.Unix() > lastUnix:
		return errNeedsEnd
	case !q.NotBefore.IsZero():
		return errNoBegin
	case q.Address.IsValid():
		return errNoAddress
	}
	return nil
}
