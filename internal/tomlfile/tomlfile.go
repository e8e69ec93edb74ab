// Package tomlfile reads TOML that people write: every value knows its line,
// every fault is found in one go, and what nobody asked for is a fault too.
package tomlfile

import (
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"

	"rtmps-edge/internal/fault"
)

const (
	// maxShown is how much of a value a fault shows, in bytes.
	maxShown = 80
	// maxFaults is how many faults are told: more help nobody.
	maxFaults = 50
)

// Table is one table of a file. Its readers take a key's value each, note what
// is wrong with it, and leave dst as it was if the key is missing or wrong: dst
// holds the default. End notes the keys that no reader took.
type Table struct {
	doc    *document
	name   string // dotted, without indexes: for people
	path   string // dotted, with indexes: for lines
	line   int    // 0 if the table is not in the file
	values map[string]any
	known  map[string]bool
}

// document is what all tables of one file share.
type document struct {
	file   string
	lines  map[string]int
	faults fault.List
}

// Parse reads data as the contents of file. The error is a fault.List.
func Parse(file string, data []byte) (*Table, error) {
	d := &document{file: file}
	values := map[string]any{}
	if err := toml.Unmarshal(data, &values); err != nil {
		return nil, fault.List{SyntaxFault(file, err)}
	}
	d.lines = locate(data)
	return &Table{doc: d, line: 1, values: values, known: map[string]bool{}}, nil
}

// SyntaxFault keeps the position and the start of a TOML error's message: the
// rest quotes characters of the file, which may be a secret's.
func SyntaxFault(file string, err error) fault.Fault {
	f := fault.Fault{File: file, Problem: "must be TOML"}
	var decode *toml.DecodeError
	if !errors.As(err, &decode) {
		return f
	}
	f.Line, _ = decode.Position()
	message := strings.TrimPrefix(decode.Error(), "toml: ")
	message, _, _ = strings.Cut(message, " U+")
	message, _, _ = strings.Cut(message, ": ")
	f.Problem += ": " + strings.TrimSuffix(message, ":")
	return f
}

// Err returns the faults of the whole file so far, in the order of its lines.
func (t *Table) Err() error {
	faults := t.doc.faults
	slices.SortStableFunc(faults, func(a, b fault.Fault) int {
		switch { // faults without a line last
		case a.Line == 0 || b.Line == 0:
			return b.Line - a.Line
		}
		return a.Line - b.Line
	})
	if n := len(faults) - maxFaults; n > 0 {
		faults = append(faults[:maxFaults:maxFaults], fault.Fault{File: t.doc.file, Problem: fmt.Sprintf("and %d faults more", n)})
	}
	return faults.Err()
}

// Present reports whether the table stands in the file.
func (t *Table) Present() bool { return t.line > 0 }

// Has reports whether key has a value in the file.
func (t *Table) Has(key string) bool { _, ok := t.values[key]; return ok }

// Name returns the dotted name of key, for people.
func (t *Table) Name(key string) string { return join(t.name, key) }

// Line returns where key stands, or else where the table begins; 0 = nowhere.
func (t *Table) Line(key string) int {
	if n := t.doc.lines[join(t.path, key)]; n > 0 {
		return n
	}
	return t.line
}

// Fault notes what is wrong with a key. Its value is shown, unless it may hold
// a secret.
func (t *Table) Fault(key, problem string) {
	f := fault.Fault{File: t.doc.file, Line: t.Line(key), Key: join(t.name, key), Problem: problem}
	if v, ok := t.values[key]; ok {
		f.Value = shown(key, v)
	}
	t.doc.faults.Add(f)
}

// Missing notes that a key is needed, or that its default does not do.
func (t *Table) Missing(key, problem string) {
	t.known[key] = true
	t.doc.faults.Add(fault.Fault{File: t.doc.file, Line: t.Line(key), Key: join(t.name, key), Problem: problem})
}

// Zero reports whether the value of key is 0 or "0".
func (t *Table) Zero(key string) bool {
	v, ok := t.take(key)
	return ok && (v == int64(0) || v == "0")
}

// Adopt notes the faults that somebody else found in what was read from t: those
// without a file are of its keys. An error that is no fault.List is one of the
// table.
func (t *Table) Adopt(err error) {
	var list fault.List
	if !errors.As(err, &list) {
		if err != nil {
			t.doc.faults.Add(fault.Fault{File: t.doc.file, Line: t.line, Key: t.name, Problem: err.Error()})
		}
		return
	}
	for _, f := range list {
		if f.File == "" {
			f.File, f.Line, f.Key = t.doc.file, t.Line(f.Key), join(t.name, f.Key)
		}
		t.doc.faults.Add(f)
	}
}

// AdoptFiles notes what somebody else found in files that keys of t name, where
// they are named: keys are by file. A key that has a fault already gets no
// other: it is the same one, or comes of it.
func (t *Table) AdoptFiles(err error, keys map[string]string) {
	var list fault.List
	if !errors.As(err, &list) {
		t.Adopt(err)
		return
	}
	told := len(t.doc.faults)
	for _, f := range list {
		key, ok := keys[f.File]
		switch {
		case !ok:
			t.doc.faults.Add(f)
		case !t.faulty(key, told):
			t.Fault(key, f.Problem)
		}
	}
}

// faulty reports whether one of the first n faults is of key.
func (t *Table) faulty(key string, n int) bool {
	return slices.ContainsFunc(t.doc.faults[:n], func(f fault.Fault) bool {
		return f.File == t.doc.file && f.Key == join(t.name, key) && f.Line == t.Line(key)
	})
}

// Add notes faults of another file that this one names.
func (t *Table) Add(list fault.List) { t.doc.faults = append(t.doc.faults, list...) }

// secretWords are parts of the keys whose values may be secrets, also when they
// are misspelt.
var secretWords = []string{"secr", "pas", "tok", "hash", "cred", "auth_key", "redis"}

// shown gives the beginning of a value, or nothing where it may be a secret.
func shown(key string, value any) string {
	for _, word := range secretWords {
		if strings.Contains(key, word) && !strings.HasSuffix(key, "_file") {
			return ""
		}
	}
	s := fmt.Sprint(value)
	if strings.Contains(s, "@") && strings.Contains(s, "://") {
		return ""
	}
	if len(s) > maxShown {
		s = strings.ToValidUTF8(s[:maxShown], "") + "…"
	}
	return s
}

// take returns the value of key and marks the key as known.
func (t *Table) take(key string) (any, bool) {
	t.known[key] = true
	v, ok := t.values[key]
	return v, ok
}

// NotBuilt marks keys that the documentation has and this program has not.
func (t *Table) NotBuilt(keys ...string) {
	for _, key := range keys {
		if _, ok := t.take(key); ok {
			t.Fault(key, "is not built yet: leave it out")
		}
	}
}

// Table returns a table below t; one that is not in the file is empty.
func (t *Table) Table(key string) *Table {
	v, ok := t.take(key)
	values, isTable := v.(map[string]any)
	sub := t.sub(key, join(t.path, key), values)
	if ok && !isTable {
		t.Fault(key, fmt.Sprintf("must be a table: [%s]", sub.name))
	}
	if !ok || !isTable {
		sub.line = 0
	}
	return sub
}

// Tables returns the tables of an array; none is no fault.
func (t *Table) Tables(key string) []*Table {
	v, ok := t.take(key)
	list, isList := v.([]any)
	var tables []*Table
	for i, item := range list {
		values, isTable := item.(map[string]any)
		if !isTable {
			isList = false
			break
		}
		tables = append(tables, t.sub(key, fmt.Sprintf("%s[%d]", join(t.path, key), i), values))
	}
	if ok && !isList {
		t.Fault(key, fmt.Sprintf("must be tables: [[%s]]", join(t.name, key)))
		return nil
	}
	return tables
}

func (t *Table) sub(key, path string, values map[string]any) *Table {
	s := &Table{doc: t.doc, name: join(t.name, key), path: path, values: values, known: map[string]bool{}}
	if s.line = t.doc.lines[path]; s.line == 0 {
		s.line = t.line
	}
	return s
}

// End notes every key that no reader took, and names those that there are.
func (t *Table) End() {
	for _, key := range slices.Sorted(maps.Keys(t.values)) {
		if !t.known[key] {
			t.Fault(key, "is not known here; the keys are "+strings.Join(t.Keys(), ", "))
		}
	}
}

// Keys returns the keys that readers asked for, in alphabetical order.
func (t *Table) Keys() []string { return slices.Sorted(maps.Keys(t.known)) }

// Path makes a path of the file one that can be opened from anywhere.
func (t *Table) Path(p string) string {
	if p == "" || filepath.IsAbs(p) {
		return p
	}
	return filepath.Join(filepath.Dir(t.doc.file), p)
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}
