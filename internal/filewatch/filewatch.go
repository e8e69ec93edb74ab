// Package filewatch tells when files may have changed. It looks at
// directories, so that a file that is replaced or a link that is turned is
// noticed, and polls besides: network file systems tell nobody.
package filewatch

import (
	"context"
	"time"

	"github.com/fsnotify/fsnotify"
)

// Defaults of Config.
const (
	// DefaultQuiet must pass without an event before files are looked at, so
	// that most are read only once they are written whole.
	DefaultQuiet = 200 * time.Millisecond
	// DefaultPatience is how long events are waited out: a directory in which
	// something happens all the time must not hide a change.
	DefaultPatience = 2 * time.Second
	// DefaultPoll is how often files are looked at in any case.
	DefaultPoll = 30 * time.Second
)

// Config says what is watched. Files and Look are required.
type Config struct {
	// Files are the paths that matter. It is asked before each look, as what
	// is watched may change with what is read.
	Files func() []string
	// Look reads the files and finds out whether anything is new. It is called
	// at the start, after events and at each poll, from Run's goroutine; most
	// calls find nothing.
	Look func()
	// Warn hears that events cannot be had and only the poll is left. nil:
	// nobody hears.
	Warn func(error)

	// 0 = the defaults above.
	Quiet, Patience, Poll time.Duration
}

// Run watches until ctx is done.
func Run(ctx context.Context, cfg Config) {
	cfg = cfg.withDefaults()
	w, err := fsnotify.NewWatcher()
	if err != nil {
		cfg.Warn(err)
		cfg.Look()
		cfg.follow(ctx, nil, nil, func() {})
		return
	}
	defer func() { _ = w.Close() }()
	update := func() { point(w, cfg.Files()) }
	update()
	cfg.Look() // what changed before the directories were watched
	cfg.follow(ctx, w.Events, w.Errors, update)
}

func (c Config) withDefaults() Config {
	if c.Quiet == 0 {
		c.Quiet = DefaultQuiet
	}
	if c.Patience == 0 {
		c.Patience = DefaultPatience
	}
	if c.Poll == 0 {
		c.Poll = DefaultPoll
	}
	if c.Warn == nil {
		c.Warn = func(error) {}
	}
	return c
}

// follow looks when a burst of events is over, and once in a while.
func (c Config) follow(ctx context.Context, events <-chan fsnotify.Event, errs <-chan error, update func()) {
	poll := time.NewTicker(c.Poll)
	defer poll.Stop()
	var b burst
	for {
		select {
		case <-ctx.Done():
			return
		case e := <-events:
			if e.Op != fsnotify.Chmod { // reading changes times, no more
				b.event(c.Quiet, c.Patience)
			}
			continue
		case <-errs: // events were lost
			b.event(c.Quiet, c.Patience)
			continue
		case <-b.over():
			b = burst{}
		case <-poll.C:
		}
		update()
		c.Look()
	}
}

// burst says when a run of events is over. The zero value waits for the first.
type burst struct {
	first time.Time
	timer *time.Timer
}

func (b *burst) event(quiet, patience time.Duration) {
	if b.timer == nil {
		b.first, b.timer = time.Now(), time.NewTimer(quiet)
		return
	}
	b.timer.Reset(max(0, min(quiet, patience-time.Since(b.first))))
}

func (b *burst) over() <-chan time.Time {
	if b.timer == nil {
		return nil
	}
	return b.timer.C
}
