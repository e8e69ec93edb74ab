package authz

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"

	"rtmps-edge/internal/fault"
	"rtmps-edge/internal/tomlfile"
)

const (
	// MaxEntriesFile is the largest keys.toml, users.toml or certificates.toml,
	// in bytes: 50,000 entries and more.
	MaxEntriesFile = 16 << 20
	// maxFaults of one file are told: who has more has given the wrong file.
	maxFaults = 100
	// maxShown bytes of a wrong value are repeated in its fault.
	maxShown = 80
)

// format is how entries of one kind stand in a file.
type format[E any] struct {
	table string // [[table]]
	read  func(*entryTable) E
	// check finds what is wrong with entries beside each other.
	check func(file string, entries []E, faults *fault.List)
	// write returns an entry as the file has it, without what is the default.
	write func(E) (string, error)
}

// entryFile is a file without faults.
type entryFile[E any] struct {
	data    []byte
	entries []E
	// starts are the offsets of the lines at which the entries begin.
	starts []int
	// inline says that the entries are written key = [{…}], not [[key]].
	inline bool
}

// parse reads data, the contents of file. The error is a fault.List of all
// that is wrong. It never contains a hash, nor the value of a key that is not
// known: that may be a secret which was put in the wrong place.
func (f format[E]) parse(file string, data []byte) (*entryFile[E], error) {
	var root map[string]any
	if err := toml.Unmarshal(data, &root); err != nil {
		return nil, fault.List{tomlfile.SyntaxFault(file, err)}
	}
	at := locate(f.table, data)
	var faults fault.List
	for name := range root {
		if name != f.table {
			faults.Add(fault.Fault{File: file, Line: at.root[name], Key: name, Problem: "is not known: must be [[" + f.table + "]]"})
		}
	}
	tables, ok := entryTables(root, f.table)
	if !ok || len(tables) != len(at.entries) {
		faults.Add(fault.Fault{File: file, Line: at.root[f.table], Key: f.table, Problem: "must be written as [[" + f.table + "]]"})
		return nil, sorted(faults)
	}
	read := &entryFile[E]{data: data, inline: at.inline}
	for i, values := range tables {
		t := &entryTable{file: file, table: f.table, values: values, at: at.entries[i], faults: &faults}
		read.entries = append(read.entries, f.read(t))
		read.starts = append(read.starts, t.at.start)
		t.rest()
	}
	f.check(file, read.entries, &faults)
	return read, sorted(faults)
}

// entryTables returns the entries; not ok if the key is something else.
func entryTables(root map[string]any, table string) ([]map[string]any, bool) {
	list, ok := root[table].([]any)
	if !ok {
		return nil, root[table] == nil
	}
	tables := make([]map[string]any, len(list))
	for i, v := range list {
		if tables[i], ok = v.(map[string]any); !ok {
			return nil, false
		}
	}
	return tables, true
}

// sorted returns the faults by line, not more than maxFaults, or nil.
func sorted(faults fault.List) error {
	slices.SortStableFunc(faults, func(a, b fault.Fault) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), strings.Compare(a.Key, b.Key))
	})
	if n := len(faults) - maxFaults; n > 0 {
		faults = append(faults[:maxFaults], fault.Fault{File: faults[0].File, Problem: fmt.Sprintf("and %d faults more", n)})
	}
	return faults.Err()
}

// places say where things stand in a file.
type places struct {
	root    map[string]int // line of each key outside of tables
	entries []place
	inline  bool
}

// place says where one entry stands.
type place struct {
	start int // offset of its line
	line  int
	keys  map[string]int // line of each of its keys
}

// locate walks over data, which is valid TOML, and writes down where the
// entries [[table]] and their keys stand: decoding does not tell.
func locate(table string, data []byte) places {
	l := locator{table: table, data: data, line: 1, places: places{root: make(map[string]int)}}
	l.parser.Reset(data)
	for l.parser.NextExpression() {
		l.expression(l.parser.Expression())
	}
	return l.places
}

type locator struct {
	places
	table  string
	parser unstable.Parser
	data   []byte
	// offset has been counted up to, and is in line: offsets only grow.
	offset, line int
	// inEntry says that key-values belong to the last entry, inOther that they
	// belong to some other table.
	inEntry, inOther bool
}

func (l *locator) expression(n *unstable.Node) {
	switch n.Kind {
	case unstable.KeyValue:
		l.keyValue(n)
	case unstable.Table, unstable.ArrayTable:
		l.header(n)
	}
}

func (l *locator) header(n *unstable.Node) {
	key := n.Key()
	key.Next()
	name, line, deep := string(key.Node().Data), l.lineOf(key.Node()), !key.IsLast()
	l.inEntry, l.inOther = false, true
	if name != l.table || n.Kind == unstable.Table && !deep || deep && len(l.entries) == 0 {
		l.root[name] = line
		return
	}
	if deep { // [key.x]: x is a key of the last entry
		key.Next()
		l.note(string(key.Node().Data), line)
		return
	}
	l.inEntry, l.inOther = true, false
	l.enter(line)
}

func (l *locator) keyValue(n *unstable.Node) {
	key := n.Key()
	key.Next()
	name, line := string(key.Node().Data), l.lineOf(key.Node())
	switch {
	case l.inEntry:
		l.note(name, line)
	case l.inOther:
	case name == l.table && key.IsLast() && n.Value().Kind == unstable.Array:
		l.root[name] = line
		l.inlineEntries(n.Value())
	default:
		l.root[name] = line
	}
}

// inlineEntries walks over key = [{…}, {…}].
func (l *locator) inlineEntries(array *unstable.Node) {
	l.inline = true
	for it := array.Children(); it.Next(); {
		if it.Node().Kind != unstable.InlineTable {
			continue
		}
		l.enter(l.lineOf(it.Node()))
		for kv := it.Node().Children(); kv.Next(); {
			key := kv.Node().Key()
			key.Next()
			l.note(string(key.Node().Data), l.lineOf(key.Node()))
		}
	}
}

func (l *locator) enter(line int) {
	start := bytes.LastIndexByte(l.data[:l.offset], '\n') + 1
	l.entries = append(l.entries, place{start: start, line: line, keys: make(map[string]int)})
}

// note keeps the first line of a key of the last entry.
func (l *locator) note(name string, line int) {
	keys := l.entries[len(l.entries)-1].keys
	if _, ok := keys[name]; !ok {
		keys[name] = line
	}
}

func (l *locator) lineOf(n *unstable.Node) int {
	if to := int(n.Raw.Offset); to > l.offset {
		l.line += bytes.Count(l.data[l.offset:to], []byte{'\n'})
		l.offset = to
	}
	return l.line
}
