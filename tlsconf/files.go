package tlsconf

import (
	"bytes"
	"context"
	"crypto/tls"
	"slices"
	"sync"
	"time"

	"rtmps-edge/internal/fault"
	"rtmps-edge/internal/filewatch"
)

// Pair names a certificate, followed by its chain, and its key: two PEM files,
// or one that holds both.
type Pair struct{ Cert, Key string }

// Check reads a pair as NewFiles does. The error is a fault.List.
func (p Pair) Check() error { _, err := pairOf(p); return err }

// FilesConfig is what NewFiles needs.
type FilesConfig struct {
	Options
	// Pairs are served by the server name that a client sends. The first is
	// for clients that send none, or one that no certificate is for. A name
	// may have a certificate of each kind of key; the client decides.
	Pairs []Pair
}

// Files is a Source of certificates that others keep up to date on disk.
type Files struct {
	endpoint
	pairs []Pair

	mu        sync.Mutex // guards what follows, and is held while files are read
	loaded    []*tls.Certificate
	toldPairs []string // what was last logged as wrong with each
}

// NewFiles reads all pairs. The error is a fault.List.
func NewFiles(c FilesConfig) (*Files, error) {
	f := &Files{pairs: c.Pairs, toldPairs: make([]string, len(c.Pairs))}
	faults := faultsOf(f.open(c.Options))
	if len(c.Pairs) == 0 {
		faults.Add(fault.Fault{Key: "certificate", Problem: "there must be at least one"})
	}
	certs, err := readPairs(c.Pairs)
	faults = append(faults, faultsOf(err)...)
	if err := faults.Err(); err != nil {
		return nil, err
	}
	f.loaded = certs
	f.table.Store(newTable(certs))
	return f, nil
}

func readPairs(pairs []Pair) ([]*tls.Certificate, error) {
	var faults fault.List
	certs := make([]*tls.Certificate, len(pairs))
	for i, p := range pairs {
		var err error
		certs[i], err = pairOf(p)
		faults = append(faults, faultsOf(err)...)
	}
	return certs, faults.Err()
}

// Reload implements Source. One file with a fault, and all stays as it was.
func (f *Files) Reload(context.Context) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	certs, err := readPairs(f.pairs)
	faults := faultsOf(err)
	clients, err := f.readClients()
	faults = append(faults, faultsOf(err)...)
	if faults.Err() == nil {
		faults = worseFaults(f.pairs, f.loaded, certs)
	}
	if err := faults.Err(); err != nil {
		return err
	}
	f.loaded = certs
	f.table.Store(newTable(certs))
	f.clients.Store(clients)
	return nil
}

// worseFaults finds certificates that clients refuse, as they do not refuse
// those in use: an old file that was put back, or the leaf without its chain.
func worseFaults(pairs []Pair, old, now []*tls.Certificate) fault.List {
	var faults fault.List
	for i, p := range pairs {
		faults = append(faults, faultsOf(notWorse(p, old[i], now[i]))...)
	}
	return faults
}

func notWorse(p Pair, old, now *tls.Certificate) error {
	if sameCertificate(old, now) {
		return nil
	}
	if f, ok := worse(describe(old), describe(now), nil); ok {
		return faulty(p.Cert, f.Text+"; the one before it serves on ("+f.Cure+")")
	}
	return nil
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// Watch reads the files again when they change, until ctx is done. A pair that
// is half written, or does not match, leaves the one before it in use. Run it
// once.
func (f *Files) Watch(ctx context.Context) {
	filewatch.Run(ctx, filewatch.Config{
		Files: f.watched,
		Look:  f.look,
		Warn:  f.warnLate,
	})
}

func (f *Files) watched() []string {
	var files []string
	for _, p := range f.pairs {
		files = append(files, p.Cert, p.Key)
	}
	if f.opts.ClientAuth != Off {
		files = append(files, f.opts.ClientCA)
	}
	return files
}

func (f *Files) look() {
	f.lookAtPairs()
	f.lookAtClients()
}

// lookAtPairs takes over each pair that is new and whole.
func (f *Files) lookAtPairs() {
	f.mu.Lock()
	defer f.mu.Unlock()
	certs := make([]*tls.Certificate, len(f.loaded))
	changed := false
	for i, p := range f.pairs {
		certs[i] = f.renewed(i, p)
		changed = changed || certs[i] != f.loaded[i]
	}
	if changed {
		f.loaded = certs
		f.table.Store(newTable(certs))
	}
}

// renewed returns the certificate of pair i as it is on disk, or the one in use
// if that is the same or cannot be used.
func (f *Files) renewed(i int, p Pair) *tls.Certificate {
	old := f.loaded[i]
	now, err := pairOf(p)
	if err == nil {
		err = notWorse(p, old, now)
	}
	f.toldPairs[i] = f.tell(f.toldPairs[i], err)
	if err != nil || sameCertificate(old, now) {
		return old
	}
	f.opts.Log.WithFields(map[string]any{"certificate": nameOf(now.Leaf), "until": stamp(now.Leaf.NotAfter)}).
		Info("the certificate was read again and serves new connections")
	return now
}

// sameCertificate compares what is sent; a chain or an OCSP answer can change
// on its own.
func sameCertificate(a, b *tls.Certificate) bool {
	return slices.EqualFunc(a.Certificate, b.Certificate, bytes.Equal) && bytes.Equal(a.OCSPStaple, b.OCSPStaple)
}
