// Package notify tells backends over HTTP what happens on the edge: streams that
// start and end, clients that are refused, addresses that are banned.
//
// It never keeps a stream waiting: events go into queues of bounded length, and
// what does not fit is dropped and counted. What a backend does not take is sent
// again, more and more seldom, for about half a minute.
package notify

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-retryablehttp"
	"github.com/sirupsen/logrus"

	"rtmps-edge/internal/fault"
	"rtmps-edge/internal/hooksig"
	"rtmps-edge/internal/secret"
	"rtmps-edge/proxy"
)

const (
	// lanes are the queues of a backend: one for refusals and bans, so that a
	// flood of them delays no stream's events, the others for streams. All of
	// one stream go through one, so that they arrive in their order.
	lanes = 5
	// laneLength is how many events wait in each: those of some hundred streams
	// that start or end within a minute. A backend that is away for so long misses
	// an event or two of each lane, which were tried all the while, and no more.
	laneLength = 512
	// tryTimeout bounds one try, tries is how many there are, and firstPause
	// the pause after the first; it doubles up to lastPause.
	tryTimeout = 5 * time.Second
	tries      = 6
	firstPause = time.Second
	lastPause  = 15 * time.Second
	// complainEvery is how often the log says, at most, that events are dropped,
	// and that they are given up.
	complainEvery = time.Minute
	// keepIdle is how long a connection is kept for the next event: less than
	// common servers keep theirs.
	keepIdle = 55 * time.Second
	// maxAnswer is how much of an answer is read, in bytes: all of most, so that
	// the connection can be used again. maxAnswerHeader bounds its header.
	maxAnswer       = 4 << 10
	maxAnswerHeader = 32 << 10
)

// Names of events.
const (
	StreamStarted = "stream_started"
	StreamEnded   = "stream_ended"
	Refused       = "refused"
	Banned        = "banned"
)

// Events returns the names of all events.
func Events() []string { return []string{StreamStarted, StreamEnded, Refused, Banned} }

var names = map[proxy.Kind]string{proxy.Started: StreamStarted, proxy.Ended: StreamEnded, proxy.Refused: Refused, proxy.Banned: Banned}

// Dialects.
const (
	Native = "native"
	Nginx  = "nginx-rtmp"
	SRS    = "srs"
)

// Dialects returns the names of all dialects.
func Dialects() []string { return []string{Native, Nginx, SRS} }

// Results of an event, as metrics call them.
const (
	Sent    = "sent"
	Failed  = "failed"  // given up
	Dropped = "dropped" // there was no room, or no time
)

// Config says who is told what. The zero value of each field but URL is its
// default.
type Config struct {
	// URL is http or https. It may hold a password, and is not printed but for
	// its host.
	URL string
	// Events are those that are told. nil = streams that start and end.
	Events []string
	// Dialect is one of Dialects(). "" = native. The others can tell of streams
	// only.
	Dialect string
	// Secret signs what is sent, in every dialect, as package hooksig does. Empty =
	// nothing is signed.
	Secret secret.Text
	// CA is a PEM bundle that https is verified with. Empty = the system's.
	CA []byte
}

// Options are what a Notifier needs of the program.
type Options struct {
	Log *logrus.Logger // required
	// Count hears of each event what became of it. nil: nobody hears.
	Count func(result string)
}

// Notifier tells one backend. It is a proxy.Observer, safe for concurrent use.
// Its goroutines live only as long as there is something to tell.
type Notifier struct {
	cfg     Config
	opts    Options
	host    string // of the URL, for the log
	dialect dialect
	client  *retryablehttp.Client
	ctx     context.Context // ends what is under way
	cancel  context.CancelFunc
	lanes   [lanes]lane

	mu      sync.Mutex
	closed  bool
	working sync.WaitGroup // lanes that are being emptied
	dropped complaint
	failed  complaint
}

// complaint is what the log says of events that were not told: of the first at
// once, of those after it every complainEvery. The Notifier's mu guards it.
type complaint struct {
	text   string
	events int   // that it was not said of
	why    error // of the last; nil: the text says it
	said   time.Time
}

// New checks cfg. The error is a fault.List whose keys are named as in
// edge.toml. No connection is made.
func New(cfg Config, opts Options) (*Notifier, error) {
	if cfg.Events == nil {
		cfg.Events = []string{StreamStarted, StreamEnded}
	}
	if cfg.Dialect == "" {
		cfg.Dialect = Native
	}
	if opts.Count == nil {
		opts.Count = func(string) {}
	}
	u, roots, err := check(cfg)
	if err != nil {
		return nil, err
	}
	n := &Notifier{cfg: cfg, opts: opts, host: u.Host, dialect: dialects[cfg.Dialect],
		dropped: complaint{text: "events were dropped that a backend did not take in time"},
		failed:  complaint{text: "a backend was not told of events"}}
	n.client = n.newClient(roots)
	n.ctx, n.cancel = context.WithCancel(context.Background())
	return n, nil
}

func check(cfg Config) (u *url.URL, roots *x509.CertPool, err error) {
	var faults fault.List
	u, err = url.Parse(cfg.URL)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.Fragment != "" {
		faults.Add(fault.Fault{Key: "url", Problem: "must be an http or https URL"}) // it may hold a password
	}
	if _, ok := dialects[cfg.Dialect]; !ok {
		faults.Add(fault.Fault{Key: "dialect", Value: cfg.Dialect, Problem: "must be one of " + strings.Join(Dialects(), ", ")})
	}
	for _, e := range cfg.Events {
		switch {
		case !slices.Contains(Events(), e):
			faults.Add(fault.Fault{Key: "events", Value: e, Problem: "must be one of " + strings.Join(Events(), ", ")})
		case (e == Refused || e == Banned) && cfg.Dialect != Native:
			faults.Add(fault.Fault{Key: "events", Value: e, Problem: "can be told in the native dialect only"})
		}
	}
	if len(cfg.CA) > 0 {
		roots = x509.NewCertPool()
		if !roots.AppendCertsFromPEM(cfg.CA) {
			faults.Add(fault.Fault{Key: "ca", Problem: "must have certificates in PEM"})
		}
	}
	return u, roots, faults.Err()
}

func (n *Notifier) newClient(roots *x509.CertPool) *retryablehttp.Client {
	c := retryablehttp.NewClient()
	c.Logger = nil
	c.RetryMax, c.RetryWaitMin, c.RetryWaitMax = tries-1, firstPause, lastPause
	c.ErrorHandler = retryablehttp.PassthroughErrorHandler
	c.CheckRetry, c.Backoff = again, pause
	c.PrepareRetry = n.sign
	c.HTTPClient = &http.Client{
		Timeout: tryTimeout,
		Transport: &http.Transport{
			Proxy:               nil, // an environment variable must not see who streams
			DialContext:         (&net.Dialer{Timeout: tryTimeout}).DialContext,
			TLSClientConfig:     &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
			TLSHandshakeTimeout: tryTimeout,
			MaxConnsPerHost:     lanes,
			MaxIdleConnsPerHost: lanes,
			IdleConnTimeout:     keepIdle,
			DisableCompression:  true,

			MaxResponseHeaderBytes: maxAnswerHeader,
		},
		// A redirect is an answer: it must not lead this edge elsewhere.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return c
}

// again reports whether an event is sent again: nothing was answered, or that the
// backend cannot at the moment.
func again(ctx context.Context, r *http.Response, err error) (bool, error) {
	switch {
	case ctx.Err() != nil:
		return false, ctx.Err()
	case err != nil:
		return true, nil
	}
	return r.StatusCode >= 500 || r.StatusCode == http.StatusTooManyRequests || r.StatusCode == http.StatusRequestTimeout, nil
}

// pause is how long to wait before the next try. A backend may ask for more, but
// not for ever, and not for less: a date that has passed is no reason to hurry.
func pause(least, most time.Duration, try int, r *http.Response) time.Duration {
	own := retryablehttp.DefaultBackoff(least, most, try, nil)
	return min(max(own, retryablehttp.DefaultBackoff(least, most, try, r)), most)
}

// Observe implements proxy.Observer. It does not wait.
func (n *Notifier) Observe(e proxy.Event) {
	name := names[e.Kind]
	if name == "" || e.Expected() || !slices.Contains(n.cfg.Events, name) {
		return
	}
	m := n.dialect(e, name)
	n.mu.Lock()
	defer n.mu.Unlock()
	l := &n.lanes[laneOf(e)]
	if n.closed || len(l.queue) >= laneLength {
		n.drop(1)
		return
	}
	l.queue = append(l.queue, m)
	if !l.working {
		l.working = true
		n.working.Go(func() { n.work(l) })
	}
}

func laneOf(e proxy.Event) int {
	if e.Kind == proxy.Refused || e.Kind == proxy.Banned {
		return 0
	}
	h := fnv.New32a()
	_, _ = h.Write([]byte(e.Session))
	return 1 + int(h.Sum32()%(lanes-1))
}

// lane is one queue. Its fields are guarded by the Notifier's mu.
type lane struct {
	queue   []message
	working bool
}

// message is what is sent.
type message struct {
	contentType string
	body        []byte
}

// work sends what is in a lane, and ends when nothing is.
func (n *Notifier) work(l *lane) {
	for {
		m, ok := n.next(l)
		if !ok {
			return
		}
		err := n.send(m)
		switch {
		case err == nil:
			n.opts.Count(Sent)
		case n.ctx.Err() != nil:
			n.mu.Lock()
			n.drop(1)
			n.mu.Unlock()
		default:
			n.mu.Lock()
			n.fail(err)
			n.mu.Unlock()
		}
	}
}

// next takes the oldest message, or ends the lane's work.
func (n *Notifier) next(l *lane) (m message, ok bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.ctx.Err() != nil {
		n.drop(len(l.queue))
		l.queue = nil
	}
	if len(l.queue) == 0 {
		l.queue, l.working = nil, false // give the memory back
		return m, false
	}
	m, l.queue = l.queue[0], l.queue[1:]
	return m, true
}

// drop counts events that nobody will hear of. It needs n.mu.
func (n *Notifier) drop(count int) {
	for range count {
		n.opts.Count(Dropped)
	}
	n.dropped.events += count
	n.complain(&n.dropped, false)
}

// fail counts an event that was given up. It needs n.mu.
func (n *Notifier) fail(why error) {
	n.opts.Count(Failed)
	n.failed.events++
	n.failed.why = why
	n.complain(&n.failed, false)
}

// complain says c, unless it was said lately and that is not the last time. It
// needs n.mu.
func (n *Notifier) complain(c *complaint, last bool) {
	now := time.Now()
	if c.events == 0 || !last && now.Sub(c.said) < complainEvery {
		return
	}
	line := n.opts.Log.WithFields(logrus.Fields{"host": n.host, "events": c.events})
	if c.why != nil {
		line = line.WithError(c.why)
	}
	line.Warn(c.text)
	c.events, c.said = 0, now
}

// send sends m until it is taken, or for so many tries. The error holds no URL.
func (n *Notifier) send(m message) error {
	q, err := retryablehttp.NewRequestWithContext(n.ctx, http.MethodPost, n.cfg.URL, m.body)
	if err != nil {
		return fmt.Errorf("the URL cannot be used")
	}
	q.Header.Set("Content-Type", m.contentType)
	q.Header.Set("User-Agent", "rtmps-edge")
	if err := n.sign(q.Request); err != nil {
		return err
	}
	r, err := n.client.Do(q)
	if err != nil {
		return withoutTexts(err)
	}
	_, _ = io.CopyN(io.Discard, r.Body, maxAnswer)
	_ = r.Body.Close()
	if r.StatusCode/100 != 2 {
		return fmt.Errorf("it answers with status %d", r.StatusCode)
	}
	return nil
}

// sign signs q, each time that it is sent. It must not be sent without.
func (n *Notifier) sign(q *http.Request) error {
	r, err := q.GetBody()
	if err != nil {
		return err
	}
	body, err := io.ReadAll(r) // it is in memory
	if err != nil {
		return err
	}
	hooksig.Set(q, body, n.cfg.Secret, time.Now())
	return nil
}

// withoutTexts says why there is no answer, without the URL, which may hold a
// password, and without what was answered, which may repeat it.
func withoutTexts(err error) error {
	var network *net.OpError
	var cert *tls.CertificateVerificationError
	var timeout interface{ Timeout() bool }
	switch {
	case errors.As(err, &cert):
		return fmt.Errorf("its certificate is not trusted: %w", cert.Err)
	case errors.As(err, &timeout) && timeout.Timeout():
		return errors.New("it does not answer in time")
	case errors.As(err, &network):
		return network
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return errors.New("it hangs up")
	}
	return errors.New("it does not speak what its URL says")
}

// Close tells what is waiting until ctx is done; the rest is dropped. Events that
// come later are dropped, too.
func (n *Notifier) Close(ctx context.Context) {
	n.mu.Lock()
	n.closed = true
	n.mu.Unlock()
	stop := context.AfterFunc(ctx, n.cancel)
	n.working.Wait()
	stop()
	n.cancel()
	n.mu.Lock()
	n.complain(&n.dropped, true)
	n.complain(&n.failed, true)
	n.mu.Unlock()
	n.client.HTTPClient.CloseIdleConnections()
}
