package authz

import (
	"context"
	"crypto/sha256"
	"sync"

	"rtmps-edge/internal/filewatch"
	"rtmps-edge/internal/readfile"
)

// reloader reads a file of an Authorizer again when it has changed. Fields are
// set once, before use.
type reloader struct {
	file  string
	limit int64 // bytes
	// load finds what is wrong with data, and returns what takes it into use,
	// which cannot fail. The mutex is held while that runs.
	load func(data []byte) (apply func(), err error)
	// onReload hears how each reading that Watch began has ended.
	onReload func(error)
	warn     func(string)

	mu   sync.Mutex // one reading is taken into use at a time
	seen string     // what the last reading saw, good or bad: see fingerprint
}

// begin reads the file for the first time.
func (r *reloader) begin() error {
	if r.warn == nil {
		r.warn = func(string) {}
	}
	if r.onReload == nil {
		r.onReload = func(error) {}
	}
	return r.Reload()
}

// Reload reads the file again. After an error nothing has changed. Else what
// is gone from the file, or would be refused now, is revoked; all other grants
// keep their Grant.Revoked.
func (r *reloader) Reload() error {
	apply, err := r.Prepare()
	if err == nil {
		apply()
	}
	return err
}

// Prepare is the first half of Reload, for who has more to reload and must not
// change anything if the rest fails: it reads the file and finds its faults,
// apply does the rest and cannot fail.
func (r *reloader) Prepare() (apply func(), err error) {
	data, err := readfile.Read(r.file, r.limit)
	if err != nil {
		return nil, err
	}
	return r.prepare(data)
}

func (r *reloader) prepare(data []byte) (apply func(), err error) {
	change, err := r.load(data)
	if err != nil {
		return nil, err
	}
	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.seen = fingerprint(data, nil)
		change()
	}, nil
}

// Watch reads the file again whenever it has changed, until ctx is done. A
// file with faults changes nothing. Run it once.
func (r *reloader) Watch(ctx context.Context) {
	filewatch.Run(ctx, filewatch.Config{
		Files: func() []string { return []string{r.file} },
		Look:  r.look,
		Warn:  func(err error) { r.warn("changes of " + r.file + " are noticed late: " + err.Error()) },
	})
}

// look reads the file, and does nothing unless there is something new in it:
// another content, or another error.
func (r *reloader) look() {
	data, err := readfile.Read(r.file, r.limit)
	if !r.isNew(fingerprint(data, err)) {
		return
	}
	var apply func()
	if err == nil {
		apply, err = r.prepare(data)
	}
	if err == nil {
		apply()
	}
	r.onReload(err)
}

func (r *reloader) isNew(now string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	same := now == r.seen
	r.seen = now
	return !same
}

// fingerprint stands for what a reading saw. It is kept instead of the data,
// which may hold secrets in plain text.
func fingerprint(data []byte, err error) string {
	if err != nil {
		return err.Error()
	}
	sum := sha256.Sum256(data)
	return string(sum[:])
}
