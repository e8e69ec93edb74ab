package ratelimit

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/sirupsen/logrus"

	"rtmps-edge/internal/secret"
)

const (
	// edgeTTL is how long the others believe an edge alive after its last beat:
	// the names of one that died are free after so long.
	edgeTTL = 12 * time.Second
	// beatEvery is how often an edge says that it lives: one beat may be lost,
	// and the next.
	beatEvery = 3 * time.Second
	// tickEvery is how often the edges tell each other their bit rates.
	tickEvery = time.Second
	// DefaultAdmitTimeout is how long a client waits for Redis. A healthy one
	// answers within a millisecond; with one that does not, the edge decides
	// alone.
	DefaultAdmitTimeout = 300 * time.Millisecond
	// leastBatchTimeout is the same for what no client waits for, unless a client
	// waits longer.
	leastBatchTimeout = 2 * time.Second
	// firstBackoff and its limit are the pauses between two attempts to join:
	// short, because until then the edges do not know of each other.
	firstBackoff = 200 * time.Millisecond
	mostBackoff  = 5 * time.Second
	// settled is how long Redis must have been well for the pauses to begin
	// anew.
	settled = 30 * time.Second
	// maxOps is how much that was to be told to Redis may wait for it: more
	// than all leases of a big edge given back at once.
	maxOps = 1 << 16
	// poolSize is how many connections to Redis one edge holds at most.
	poolSize = 16
)

// ClusterConfig says how edges find each other.
type ClusterConfig struct {
	// URL is redis://[user:password@]host[:port][/db] or rediss://….
	URL secret.Text
	Log *logrus.Logger // nil: silent
	// AdmitTimeout is how long a client waits for Redis. 0 = DefaultAdmitTimeout.
	AdmitTimeout time.Duration
	// OnState hears when Redis can be used and when it cannot any more. It must
	// return soon.
	OnState func(up bool)
}

var errRedisURL = errors.New("must be redis://[user:password@]host[:port][/database] or rediss://…")

// CheckRedis says what is wrong with the address of a Redis server, without
// repeating it.
func CheckRedis(url secret.Text) error {
	if _, err := redis.ParseURL(url.Reveal()); err != nil {
		return errRedisURL
	}
	return nil
}

// PingRedis asks a Redis server whether it is there.
func PingRedis(ctx context.Context, url secret.Text) error {
	client, err := newClient(url, leastBatchTimeout)
	if err != nil {
		return err
	}
	defer func() { _ = client.Close() }()
	ctx, cancel := context.WithTimeout(ctx, leastBatchTimeout)
	defer cancel()
	return client.Ping(ctx).Err()
}

func newClient(url secret.Text, patience time.Duration) (*redis.Client, error) {
	options, err := redis.ParseURL(url.Reveal())
	if err != nil {
		return nil, errRedisURL
	}
	silence()
	options.Protocol, options.DisableIdentity = 2, true // what every server understands
	options.MaxRetries = -1                             // a membership ends instead
	options.DialTimeout, options.ReadTimeout, options.WriteTimeout = patience, patience, patience
	options.ContextTimeoutEnabled = true
	options.PoolSize, options.MaxIdleConns = poolSize, poolSize
	return redis.NewClient(options), nil
}

// Cluster lets the limits, bans and names of several edges hold together, by a
// Redis that they share. While that is slow or gone, each edge goes on with its
// own limits; when it returns, the edges tell it what they hold, and what was
// admitted twice meanwhile is resolved by the duplicate rule.
//
// The time with Redis is divided into memberships. Whatever goes wrong ends
// one; the next begins with telling everything anew, under a new id, so that
// nothing of the old one counts any more.
type Cluster struct {
	config ClusterConfig
	client *redis.Client
	// patience is how long an answer is waited for that no client waits for.
	patience time.Duration
	handover time.Duration
	base     string // names this process
	born     time.Time
	local    *Limiter

	// former are the memberships that have ended and are not given up yet, by
	// their ids. It belongs to the goroutine that joins.
	former []string

	onKick  atomic.Pointer[func(id string, ban time.Duration) bool]
	current atomic.Pointer[membership] // nil while Redis cannot be used
	state   atomic.Int32               // what was said of it last

	mu     sync.Mutex
	leases map[uint64]*held           // all of this edge, told to Redis or not
	last   uint64                     // number of the newest lease
	epoch  uint64                     // number of the newest membership
	lifted map[peer]bool              // bans that were lifted while Redis was gone
	owed   []op                       // what was given back meanwhile: at most maxOps
	kicks  map[string][]chan struct{} // who waits to hear that a session was ended

	stop  context.CancelFunc
	ended chan struct{}
}

// membership is an uninterrupted time with Redis.
type membership struct {
	id     string // of this edge, while it lasts
	epoch  uint64
	since  time.Time
	ctx    context.Context
	cancel context.CancelFunc
	events *redis.PubSub
	queue  opQueue
	wg     sync.WaitGroup
	// stirred is when tick was last seen to run, in Unix milliseconds: of the wall
	// clock, which goes on while a machine is suspended. 0 before the first time.
	stirred atomic.Int64
}

// stir notes that this edge runs.
func (m *membership) stir(now time.Time) { m.stirred.Store(now.UnixMilli()) }

// stoodStill reports whether this edge has not run for so long that the others may
// have thought it dead. Waiting for Redis does not take so long.
func (m *membership) stoodStill(now time.Time) bool {
	at := m.stirred.Load()
	return at > 0 && now.UnixMilli()-at >= edgeTTL.Milliseconds()/2
}

// newCluster connects to nothing yet; run does.
func newCluster(config ClusterConfig, local *Limiter) (*Cluster, error) {
	if config.AdmitTimeout <= 0 {
		config.AdmitTimeout = DefaultAdmitTimeout
	}
	patience := max(config.AdmitTimeout, leastBatchTimeout)
	client, err := newClient(config.URL, patience)
	if err != nil {
		return nil, err
	}
	if config.Log == nil {
		config.Log = logrus.New()
		config.Log.SetOutput(io.Discard)
	}
	var id [8]byte
	_, _ = rand.Read(id[:]) // never fails
	return &Cluster{config: config, client: client, patience: patience, handover: handover, base: hex.EncodeToString(id[:]), born: time.Now(), local: local,
		leases: map[uint64]*held{}, lifted: map[peer]bool{}, kicks: map[string][]chan struct{}{}}, nil
}

// silence keeps the library from writing to the standard error: what it would
// say, a Cluster says once.
var silence = sync.OnceFunc(func() { redis.SetLogger(quiet{}) })

type quiet struct{}

func (quiet) Printf(context.Context, string, ...any) {}

// run joins, and joins again, until close.
func (c *Cluster) run() {
	ctx, cancel := context.WithCancel(context.Background())
	c.stop, c.ended = cancel, make(chan struct{})
	go func() {
		defer close(c.ended)
		c.keepJoined(ctx)
	}()
}

// close leaves the others, who may have this edge's names at once.
func (c *Cluster) close() {
	if c.stop != nil {
		c.stop()
		<-c.ended
	}
	_ = c.client.Close()
}

// Up reports whether Redis can be used now.
func (c *Cluster) Up() bool { return c != nil && c.current.Load() != nil }

func (c *Cluster) keepJoined(ctx context.Context) {
	pause := firstBackoff
	for ctx.Err() == nil {
		m, err := c.join(ctx)
		switch {
		case err == nil:
			c.serve(ctx, m)
			if time.Since(m.since) >= settled {
				pause = firstBackoff
			}
		case ctx.Err() == nil:
			c.report(stateDown, err)
		}
		sleepUntil(ctx, pause)
		pause = min(2*pause, mostBackoff)
	}
}

// fail ends a membership.
func (c *Cluster) fail(m *membership, err error) { c.failAt(m, err, time.Now()) }

func (c *Cluster) failAt(m *membership, err error, now time.Time) {
	if c.current.CompareAndSwap(m, nil) && m.ctx.Err() == nil { // else it is being closed
		if m.stoodStill(now) { // whatever was noticed of it first
			err = errPaused
		}
		if err == errLapsed || err == errPaused {
			c.humble()
		}
		m.cancel()
		c.report(stateDown, err)
	}
}

// What is said of Redis: at first nothing.
const (
	stateDown int32 = 1 + iota
	stateUp
)

// report tells when the state has changed, and only then.
func (c *Cluster) report(state int32, err error) {
	if c.state.Swap(state) == state {
		return
	}
	if state == stateUp {
		c.config.Log.Info("Redis can be used: limits hold across all edges")
	} else {
		c.config.Log.WithError(err).Warn("Redis cannot be used: streams go on, and this edge's own limits hold until it can")
	}
	if c.config.OnState != nil {
		c.config.OnState(state == stateUp)
	}
}

// sleepUntil sleeps for d or until ctx is done.
func sleepUntil(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// eval runs a script that a client waits for. Any error ends the membership.
func (c *Cluster) eval(m *membership, s lua, args ...any) (string, error) {
	ctx, cancel := context.WithTimeout(m.ctx, c.config.AdmitTimeout)
	defer cancel()
	answer, err := s.EvalSha(ctx, c.client, []string{prefix}, args...).Text()
	if err == nil && answer == answerGone {
		err = errLapsed
	}
	if err != nil {
		c.fail(m, err)
	}
	return answer, err
}

var (
	errLapsed = errors.New("this edge was forgotten")
	errPaused = errors.New("this edge has stood still")
	errBehind = errors.New("too much waits to be told")
)

// op is something to tell Redis that nobody waits for.
type op struct {
	add  func(context.Context, redis.Pipeliner) redis.Cmder
	done func(redis.Cmder) // with the answer; may be nil
	// owed says that the next membership tells it if this one does not. To tell
	// it twice, and late, must do no harm.
	owed bool
}

// opQueue holds ops until they are sent, many at once.
type opQueue struct {
	mu     sync.Mutex
	ops    []op
	flying []op // are being sent
	closed bool
	more   chan struct{} // has one when ops is not empty
}

// add queues ops, unless the queue is closed, and reports whether there are not
// too many.
func (q *opQueue) add(ops []op) (added, fit bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return false, true
	}
	q.ops = append(q.ops, ops...)
	return true, len(q.ops) <= maxOps
}

// take returns what is queued; sent must be called when it is sent.
func (q *opQueue) take() []op {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.flying, q.ops = q.ops, nil
	return q.flying
}

func (q *opQueue) sent() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.flying = nil
}

func (q *opQueue) busy() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.ops)+len(q.flying) > 0
}

// close returns what was not sent, or perhaps not. Nothing is added any more.
func (q *opQueue) close() (waiting, flying []op) {
	q.mu.Lock()
	defer q.mu.Unlock()
	waiting, flying = q.ops, q.flying
	q.ops, q.flying, q.closed = nil, nil, true
	return waiting, flying
}

// tell queues ops. Without a membership all but what is owed is forgotten: the
// next begins with telling everything.
func (c *Cluster) tell(ops ...op) {
	m, added, fit := (*membership)(nil), false, false
	for !added {
		if m = c.current.Load(); m == nil {
			if c.owe(ops) {
				return
			}
			continue // one has begun
		}
		added, fit = m.queue.add(ops) // not if it has just ended
	}
	if !fit {
		c.fail(m, errBehind)
	}
	select {
	case m.queue.more <- struct{}{}:
	default:
	}
}

// owe keeps what is owed of ops for the next membership, unless that has begun.
// What is too much expires in Redis by itself.
func (c *Cluster) owe(ops []op) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.current.Load() != nil {
		return false
	}
	for _, o := range ops {
		if o.owed && len(c.owed) < maxOps {
			c.owed = append(c.owed, o)
		}
	}
	return true
}

// catchUp waits until what was given back before is, so that it does not stand
// in the way of what is taken next. As a rule there is nothing to wait for.
func (c *Cluster) catchUp(m *membership) {
	if !m.queue.busy() {
		return
	}
	done := make(chan struct{})
	last := command("PING")
	last.done = func(redis.Cmder) { close(done) }
	c.tell(last)
	t := time.NewTimer(c.config.AdmitTimeout)
	defer t.Stop()
	select {
	case <-done:
	case <-m.ctx.Done():
	case <-t.C:
	}
}

// flush sends what is queued until the membership ends.
func (c *Cluster) flush(m *membership) {
	for {
		select {
		case <-m.queue.more:
		case <-m.ctx.Done():
			return
		}
		ops := m.queue.take()
		if err := c.send(m.ctx, ops); err != nil {
			c.fail(m, err)
			return
		}
		m.queue.sent()
	}
}

// maxPipe is how many commands one round trip takes along.
const maxPipe = 1000

// send runs ops in as few round trips as is sensible.
func (c *Cluster) send(ctx context.Context, ops []op) error {
	for len(ops) > 0 {
		n := min(len(ops), maxPipe)
		if err := c.sendSome(ctx, ops[:n]); err != nil {
			return err
		}
		ops = ops[n:]
	}
	return nil
}

func (c *Cluster) sendSome(ctx context.Context, ops []op) error {
	ctx, cancel := context.WithTimeout(ctx, c.patience)
	defer cancel()
	pipe := c.client.Pipeline()
	commands := make([]redis.Cmder, len(ops))
	for i, o := range ops {
		commands[i] = o.add(ctx, pipe)
	}
	_, _ = pipe.Exec(ctx) // gives the first error only
	for _, cmd := range commands {
		if err := cmd.Err(); err != nil && !errors.Is(err, redis.Nil) {
			return err
		}
	}
	for i, o := range ops {
		if o.done != nil {
			o.done(commands[i])
		}
	}
	return nil
}

// command makes an op of one command.
func command(args ...any) op {
	return op{add: func(ctx context.Context, p redis.Pipeliner) redis.Cmder { return p.Do(ctx, args...) }}
}

// evaluation makes an op of one script.
func evaluation(s lua, done func(answer string), args ...any) op {
	o := op{add: func(ctx context.Context, p redis.Pipeliner) redis.Cmder {
		return s.EvalSha(ctx, p, []string{prefix}, args...)
	}}
	if done != nil {
		o.done = func(cmd redis.Cmder) {
			answer, _ := cmd.(*redis.Cmd).Text()
			done(answer)
		}
	}
	return o
}
