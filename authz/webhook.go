package authz

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"rtmps-edge/internal/fault"
	"rtmps-edge/internal/secret"
)

// Bounds and defaults of webhooks.
const (
	// defaultWebhookTimeout is all the time that an answer may take: waiting
	// for a place, connecting, retries, and the body.
	defaultWebhookTimeout = 3 * time.Second
	// MaxWebhookTimeout keeps an answer before GStreamer gives up, after 5 s.
	MaxWebhookTimeout = 3900 * time.Millisecond
	// defaultInFlight is how many questions a backend is asked at once: more
	// than the workers of a common one.
	defaultInFlight = 256
	// MaxInFlight is how many that may be at the most.
	MaxInFlight = 10_000
	// maxWebhookCache is the longest time for which an answer is remembered.
	maxWebhookCache = time.Hour
	// lastKept is how long the last answer is kept for on_failure = "last": a
	// day of outage. lastEntries is of how many credentials.
	lastKept    = 24 * time.Hour
	lastEntries = 20_000
	// cacheEntries is how many answers are remembered at once.
	cacheEntries = 20_000
)

// What a webhook answers when its backend does not.
const (
	FailDeny  = "deny"
	FailAllow = "allow"
	FailLast  = "last"
)

// WebhookConfig configures a Webhook. The zero value of each field but URL is
// its default.
type WebhookConfig struct {
	// URL is asked about all that is not named otherwise below, by http or
	// https. It may hold a password, and is not printed but for its host.
	URL string
	// PlayURL is asked about players. "" = URL.
	PlayURL string
	// DoneURL hears of published streams that are over, PlayDoneURL of played
	// ones. "" = where the question went; "none" = nobody.
	DoneURL, PlayDoneURL string
	// Dialect is one of Dialects(). "" = native.
	Dialect string
	// Method is "post" or "get": nginx-rtmp. "" = post.
	Method string
	// Raw passes the client's parameters on even where they have the names of
	// the dialect's own: nginx-rtmp, for backends that rely on it.
	Raw bool
	// Timeout bounds an answer in all. 0 = 3 seconds.
	Timeout time.Duration
	// Secret signs all that is sent, ome in its own way, the others as package
	// hooksig does. Empty = nothing is signed.
	Secret secret.Text
	// CA is a PEM bundle that https is verified with. Empty = the system's.
	CA []byte
	// Cache is how long answers are remembered. 0 = not at all.
	Cache time.Duration
	// OnFailure is FailDeny, FailAllow or FailLast. "" = FailDeny.
	OnFailure string
	// InFlight is how many questions the backend is asked at once. 0 = 256.
	InFlight int
	// ServerID names this edge to the backend: srs. "" = one per process.
	ServerID string

	// Warn hears, in one line, what the operator should know. nil: nobody.
	Warn func(string)
}

// Webhook is the Authorizer that asks a backend over HTTP, in the dialect of
// the server that the backend was written for. It is safe for concurrent use.
// Keep one over reloads that do not change its configuration: it holds
// connections and answers.
type Webhook struct {
	cfg     WebhookConfig
	dialect dialect
	client  *backend
	cache   *answers // nil = nothing is remembered
	last    *answers // nil = not configured
	done    *closings
}

// dialect is how one kind of backend is talked to.
type dialect interface {
	// ask makes the message that asks about q.
	ask(q question) message
	// judge reads the answer. The Grant needs App, Name and what else the
	// backend said. Errors: ErrDenied, ErrUnknown, errUnusable, or any other
	// if it is no answer.
	judge(q question, a reply) (Grant, error)
	// done makes the message that q, which was granted as name, is over. Not
	// ok: the dialect has none.
	done(q question, g Grant) (m message, ok bool)
}

// question is a Request as dialects need it.
type question struct {
	Request
	key, query string
	tcURL      string // as the edge would have it: no credential, the app that is authorized
	host       string // that the client asked for; "" = unknown
}

// Dialects returns the names of all dialects.
func Dialects() []string { return []string{"native", "nginx-rtmp", "srs", "mediamtx", "ome"} }

// NewWebhook checks cfg. The error is a fault.List whose keys are named as in
// edge.toml. No connection is made.
func NewWebhook(cfg WebhookConfig) (*Webhook, error) {
	cfg = cfg.withDefaults()
	faults := cfg.faults()
	roots := readRoots(cfg.CA, "ca", &faults)
	if err := faults.Err(); err != nil {
		return nil, err
	}
	w := &Webhook{cfg: cfg, dialect: cfg.dialect(), client: newBackend(cfg, roots)}
	if cfg.Cache > 0 {
		w.cache = newAnswers(cfg.Cache, cacheEntries)
	}
	if cfg.OnFailure == FailLast {
		w.last = newAnswers(lastKept, lastEntries)
	}
	w.done = newClosings(w.client, cfg.Warn)
	return w, nil
}

func (c WebhookConfig) withDefaults() WebhookConfig {
	set := func(s *string, value string) {
		if *s == "" {
			*s = value
		}
	}
	set(&c.Dialect, "native")
	set(&c.Method, "post")
	set(&c.OnFailure, FailDeny)
	set(&c.PlayURL, c.URL)
	set(&c.DoneURL, c.URL)
	set(&c.PlayDoneURL, c.PlayURL)
	set(&c.ServerID, processID)
	if c.Timeout == 0 {
		c.Timeout = defaultWebhookTimeout
	}
	if c.InFlight == 0 {
		c.InFlight = defaultInFlight
	}
	if c.Warn == nil {
		c.Warn = func(string) {}
	}
	return c
}

// faults says what is wrong with c, whose defaults are set.
func (c WebhookConfig) faults() fault.List {
	var faults fault.List
	note := func(key, value, problem string) {
		faults.Add(fault.Fault{Key: key, Value: value, Problem: problem})
	}
	urlOf := func(key, text string, is bool) {
		u, err := url.Parse(text)
		if is && (err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.Fragment != "") {
			note(key, "", "must be an http or https URL") // it may hold a password
		}
	}
	urlOf("url", c.URL, true)
	urlOf("play_url", c.PlayURL, c.PlayURL != c.URL)
	urlOf("done_url", c.DoneURL, c.DoneURL != c.URL && c.DoneURL != "none")
	urlOf("play_done_url", c.PlayDoneURL, c.PlayDoneURL != c.PlayURL && c.PlayDoneURL != "none")
	oneOf := func(key, value string, words ...string) {
		for _, w := range words {
			if value == w {
				return
			}
		}
		note(key, value, "must be one of "+strings.Join(words, ", "))
	}
	oneOf("dialect", c.Dialect, Dialects()...)
	oneOf("method", c.Method, "post", "get")
	oneOf("on_failure", c.OnFailure, FailDeny, FailAllow, FailLast)
	if c.Method == "get" && c.Dialect != "nginx-rtmp" {
		note("method", c.Method, "must be post, but with nginx-rtmp")
	}
	if c.Timeout < 10*time.Millisecond || c.Timeout > MaxWebhookTimeout {
		note("timeout", c.Timeout.String(), fmt.Sprintf("must be from 10ms to %s: encoders give up after 5s", MaxWebhookTimeout))
	}
	if c.Cache < 0 || c.Cache > maxWebhookCache {
		note("cache", c.Cache.String(), fmt.Sprintf("must be from 0 to %s", maxWebhookCache))
	}
	if c.InFlight < 1 || c.InFlight > MaxInFlight {
		note("in_flight", fmt.Sprint(c.InFlight), fmt.Sprintf("must be from 1 to %d", MaxInFlight))
	}
	return faults
}

func (c WebhookConfig) dialect() dialect {
	switch c.Dialect {
	case "nginx-rtmp":
		return nginxDialect{c}
	case "srs":
		return srsDialect{c}
	case "mediamtx":
		return mediaMTXDialect{c}
	case "ome":
		return omeDialect{c}
	}
	return nativeDialect{c}
}

// errUnusable is a fault for which on_failure does not stand in: the backend
// answered, with something that cannot be done. Its text is the operator's.
var errUnusable = errors.New("the webhook's answer cannot be used")

// Authorize asks the backend, or remembers what it said. Errors: ErrUnknown if
// it says that the credential is none of its; ErrDenied; a fault, if there was
// no answer and on_failure did not stand in for it.
func (w *Webhook) Authorize(ctx context.Context, r Request) (Grant, error) {
	if why := unfit(r); why != "" {
		return Grant{}, fmt.Errorf("%w: %s", ErrDenied, why)
	}
	if r.Running == 0 {
		if v, ok := w.cache.get(r, true); ok {
			return v.grant, v.err
		}
	}
	q := newQuestion(r)
	g, err := w.ask(ctx, q)
	if ctx.Err() != nil {
		return Grant{}, ctx.Err() // the client has left: no answer is needed
	}
	if resultOf(err) == Failed {
		return w.failed(r, err)
	}
	w.cache.put(r, true, g, err)
	w.last.put(r, false, g, err)
	if err == nil && r.Running == 0 {
		g.OnEnd = w.closing(q, g)
	}
	return g, err
}

// unfit says why a backend is not asked about r; "" if it is.
func unfit(r Request) string {
	switch {
	case r.Key.Empty():
		return "no stream name"
	case !CanonicalName(r.App):
		return "the app has characters that origins read differently"
	case len(r.Key.Reveal())+len(r.Query.Reveal()) > maxQuery:
		return fmt.Sprintf("a name and query of more than %d bytes", maxQuery)
	}
	for _, text := range []string{r.Key.Reveal(), r.Query.Reveal()} {
		if strings.ContainsFunc(text, isControl) {
			return "control characters in the name or the query"
		}
	}
	return ""
}

// ask puts the question and judges the answer.
func (w *Webhook) ask(ctx context.Context, q question) (Grant, error) {
	ctx, cancel := context.WithTimeout(ctx, w.cfg.Timeout)
	defer cancel()
	a, err := w.client.ask(ctx, w.dialect.ask(q))
	if err != nil {
		return Grant{}, err
	}
	g, err := w.dialect.judge(q, a)
	if err != nil {
		return Grant{}, err
	}
	g.By = ByWebhook
	return g, checkGranted(q, &g)
}

// checkGranted completes a Grant: the name is the client's own, unless the
// backend said another. What the origin sees is canonical in any case: backends
// are known to repeat what a client sent.
func checkGranted(q question, g *Grant) error {
	given := g.Name != ""
	switch {
	case !given:
		g.Name = q.key
	case g.Subject == "" && q.Action == Publish: // unlike the client's, it is no credential
		g.Subject = g.Name
	}
	switch {
	case !given && q.Running > 0: // it has its name since it began
		return nil
	case !g.Expires.IsZero() && !time.Now().Before(g.Expires):
		return fmt.Errorf("%w: expired", ErrDenied)
	case !CanonicalName(g.Name) && given:
		return fmt.Errorf("%w: the name that it gives must be one that all origins read alike: letters, digits and . _ ~ - between single slashes", errUnusable)
	case !CanonicalName(g.Name):
		return fmt.Errorf("%w: the backend gives no other name, and the client's has characters that origins read differently", ErrDenied)
	case g.App != "" && !CanonicalName(g.App):
		return fmt.Errorf("%w: the app that it gives must be one that all origins read alike", errUnusable)
	case strings.ContainsFunc(g.Subject, isControl) || len(g.Subject) > MaxKeyLength:
		return fmt.Errorf("%w: the subject must be at most %d bytes without control characters", errUnusable, MaxKeyLength)
	}
	return nil
}

// failed stands in for an answer, as on_failure says.
func (w *Webhook) failed(r Request, err error) (Grant, error) {
	if errors.Is(err, errUnusable) {
		return Grant{}, err
	}
	switch w.cfg.OnFailure {
	case FailAllow:
		if name := r.Key.Reveal(); CanonicalName(name) {
			w.cfg.Warn("a stream is granted by on_failure, as the webhook could not be asked: " + err.Error())
			return Grant{Name: name, By: ByWebhook}, nil
		}
	case FailLast:
		if v, ok := w.last.get(r, false); ok {
			w.cfg.Warn("the last answer is used by on_failure, as the webhook could not be asked: " + err.Error())
			return v.grant, v.err
		}
	}
	return Grant{}, err
}

// Flush waits until all that is to be said of streams that are over was said,
// or ctx is done.
func (w *Webhook) Flush(ctx context.Context) error { return w.done.flush(ctx) }

// Close gives the connections back that are not in use. What w has granted goes
// on, and its end is told.
func (w *Webhook) Close() { w.client.close() }
