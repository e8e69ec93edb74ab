package authz

import (
	"context"
	"path/filepath"
	"slices"
	"time"

	"github.com/fsnotify/fsnotify"
)

const (
	// watchQuiet must pass without a change before the file is read, so that
	// one is not read which an editor has written half.
	watchQuiet = 200 * time.Millisecond
	// watchPatience is how long changes are waited out: a directory in which
	// something changes all the time must not keep a removed key alive.
	watchPatience = 2 * time.Second
	// watchPoll is how often the file is looked at in any case: network file
	// systems tell nobody, and a directory may be replaced as a whole.
	watchPoll = 30 * time.Second
)

// Watch reads the file again whenever it has changed, until ctx is done. It
// looks at directories, so that a file that is replaced, or a link that is
// turned, is noticed. A file with faults changes nothing. Run it once.
func (k *Keys) Watch(ctx context.Context) {
	w, err := fsnotify.NewWatcher()
	if err != nil {
		k.cfg.Warn("changes of " + k.cfg.File + " are noticed late: " + err.Error())
		k.follow(ctx, nil, nil, func() {})
		return
	}
	defer w.Close()
	d := &directories{file: k.cfg.File, watcher: w}
	d.update()
	k.check() // what has changed before the directories were watched
	k.follow(ctx, w.Events, w.Errors, d.update)
}

// follow looks at the file when events say so, and once in a while.
func (k *Keys) follow(ctx context.Context, events <-chan fsnotify.Event, errs <-chan error, update func()) {
	poll := time.NewTicker(watchPoll)
	defer poll.Stop()
	var d debounce
	for {
		select {
		case <-ctx.Done():
			return
		case <-events:
			d.event()
			continue
		case <-errs: // events were lost
			d.event()
			continue
		case <-d.due():
			d = debounce{}
		case <-poll.C:
		}
		update()
		k.check()
	}
}

// check reads the file, and does nothing unless there is something new in it:
// another content, or another error.
func (k *Keys) check() {
	data, err := readKeysFile(k.cfg.File)
	now := fingerprint(data, err)
	k.mu.Lock()
	same := now == k.seen
	k.seen = now
	k.mu.Unlock()
	if same {
		return
	}
	var apply func()
	if err == nil {
		apply, err = k.prepare(data)
	}
	if err == nil {
		apply()
	}
	k.cfg.OnReload(err)
}

// debounce says when a burst of events is over. The zero value waits for the
// first one.
type debounce struct {
	first time.Time
	timer *time.Timer
}

func (d *debounce) event() {
	if d.timer == nil {
		d.first, d.timer = time.Now(), time.NewTimer(watchQuiet)
		return
	}
	d.timer.Reset(min(watchQuiet, watchPatience-time.Since(d.first)))
}

func (d *debounce) due() <-chan time.Time {
	if d.timer == nil {
		return nil
	}
	return d.timer.C
}

// directories are those in which a change may concern the file: its own, and
// that of the file which it links to.
type directories struct {
	file    string
	watcher *fsnotify.Watcher
}

// update follows a link that was turned. What cannot be watched is polled.
func (d *directories) update() {
	want := []string{filepath.Dir(d.file)}
	if real, err := filepath.EvalSymlinks(d.file); err == nil {
		want = append(want, filepath.Dir(real))
	}
	for _, dir := range d.watcher.WatchList() {
		if !slices.Contains(want, dir) {
			_ = d.watcher.Remove(dir)
		}
	}
	for _, dir := range want {
		_ = d.watcher.Add(dir)
	}
}
