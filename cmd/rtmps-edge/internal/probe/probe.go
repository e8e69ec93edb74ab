// Package probe plays encoder toward an RTMP or RTMPS server, one step after the
// other, and says what is wrong with the first that fails and what to do.
package probe

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"time"
)

const (
	// DefaultTimeout bounds the whole probe: an encoder gives up sooner.
	DefaultTimeout = 20 * time.Second
	// DefaultSettle is how long a stream must last after it was accepted.
	// nginx-rtmp says yes and hangs up at once where "deny publish" holds.
	DefaultSettle = time.Second
	// dialTimeout is for one address: a host may have several, of which the
	// last is the one that works.
	dialTimeout = 5 * time.Second
	// helloTimeout is for a port that says nothing to a ClientHello or to C0
	// and C1. Real servers answer within two round trips.
	helloTimeout = 5 * time.Second
	// secondLook is for a second connection that finds out what else a port
	// speaks.
	secondLook = 3 * time.Second
)

// Config says what is probed and how.
type Config struct {
	Target Target
	// Roots are the authorities to trust; nil: those of this system.
	Roots *x509.CertPool
	// Certificate is shown to servers that ask for one.
	Certificate *tls.Certificate
	// Insecure goes on with a server's certificate that is not good.
	Insecure bool
	// Timeout and Settle replace the defaults.
	Timeout, Settle time.Duration
	// Heard is told each step as it ends. What it is told holds no key.
	Heard func(Step)

	// For tests; nil and 0: the machine's, helloTimeout and secondLook.
	resolver      *net.Resolver
	hello, second time.Duration
}

func (c Config) withDefaults() Config {
	for d, preset := range map[*time.Duration]time.Duration{
		&c.Timeout: DefaultTimeout, &c.Settle: DefaultSettle, &c.hello: helloTimeout, &c.second: secondLook,
	} {
		if *d == 0 {
			*d = preset
		}
	}
	if c.resolver == nil {
		c.resolver = net.DefaultResolver
	}
	return c
}

// Step is one part of the way of an encoder.
type Step struct {
	Name string `json:"step"`
	// OK: the next step can be tried.
	OK           bool    `json:"ok"`
	Milliseconds float64 `json:"milliseconds"`
	// Detail is what was found, where something was.
	Detail   string    `json:"detail,omitempty"`
	Failures []Finding `json:"failures,omitempty"`
	Warnings []Finding `json:"warnings,omitempty"`

	// What machines may want to know.
	Addresses  []string   `json:"addresses,omitempty"`
	TLS        string     `json:"tls,omitempty"`
	Cipher     string     `json:"cipher,omitempty"`
	NotAfter   *time.Time `json:"not_after,omitempty"`
	DaysLeft   *int       `json:"days_left,omitempty"`
	StatusCode string     `json:"status_code,omitempty"` // the server's, as "NetStream.Publish.Denied"
}

// Names of steps.
const (
	stepDNS         = "DNS"
	stepTCP         = "TCP"
	stepTLS         = "TLS"
	stepCertificate = "certificate"
	stepHandshake   = "handshake"
	stepConnect     = "connect"
	stepLogin       = "login"
	stepPublish     = "publish"
)

// Finding is one thing that is wrong or doubtful.
type Finding struct {
	Problem Problem `json:"problem"`
	Text    string  `json:"text"` // what was seen
	Cure    string  `json:"cure"` // what to do about it, in full sentences
}

// Run goes through the steps up to the first that fails. It reports whether
// publishing was accepted. The stream is ended at once.
func Run(ctx context.Context, c Config) bool {
	c = c.withDefaults()
	ctx, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	p := &prober{Config: c}
	p.deadline, _ = ctx.Deadline()
	return p.run(ctx)
}

// prober is one probe under way.
type prober struct {
	Config
	deadline time.Time // of the whole
	begin    time.Time // of the step under way
	address  string    // that answered
	asked    bool      // for a client certificate
	step     string    // of the RTMP dialogue that is under way
	login    login
}

func (p *prober) run(ctx context.Context) bool {
	p.begin = time.Now()
	addresses, ok := p.lookUp(ctx)
	if !ok {
		return false
	}
	raw, ok := p.dial(ctx, addresses)
	if !ok {
		return false
	}
	defer func() { _ = raw.Close() }()
	conn := &ear{Conn: raw}
	if p.Target.Secure {
		c, ok := p.encrypt(ctx, conn)
		if !ok {
			return false
		}
		conn = &ear{Conn: c}
	}
	err := p.publish(conn)
	for err != nil && p.goesOn(err) {
		if conn, err = p.again(ctx); err == nil {
			err = p.publish(conn)
			_ = conn.Close()
		}
	}
	return err == nil || p.notPublished(ctx, conn, err)
}

// end reports a step and begins the next. A step with failures has failed.
func (p *prober) end(s Step) bool {
	if s.Milliseconds == 0 {
		s.Milliseconds = p.took()
	}
	s.OK = len(s.Failures) == 0
	for _, list := range [][]Finding{s.Failures, s.Warnings} {
		for i := range list {
			if list[i].Cure == "" {
				list[i].Cure = list[i].Problem.cure(p.Target)
			}
		}
	}
	p.Heard(s)
	p.begin = time.Now()
	return s.OK
}

// took is how long the step under way has lasted so far.
func (p *prober) took() float64 {
	return float64(time.Since(p.begin).Microseconds()) / 1000
}

// fail ends a step with one failure.
func (p *prober) fail(step string, problem Problem, text string) bool {
	return p.end(Step{Name: step, Failures: []Finding{{Problem: problem, Text: text}}})
}

// within bounds what happens on c from now on, but never beyond the whole.
func (p *prober) within(c net.Conn, d time.Duration) {
	t := time.Now().Add(d)
	if t.After(p.deadline) {
		t = p.deadline
	}
	_ = c.SetDeadline(t)
}

// ear keeps the first bytes that a peer sends: they tell what it speaks.
type ear struct {
	net.Conn
	first []byte
}

// earSize is enough for a line of greeting.
const earSize = 64

func (e *ear) Read(b []byte) (int, error) {
	n, err := e.Conn.Read(b)
	if room := earSize - len(e.first); room > 0 {
		e.first = append(e.first, b[:min(n, room)]...)
	}
	return n, err
}
