package authz

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"

	"rtmps-edge/internal/fault"
)

const (
	// MaxKeysFile is the largest keys.toml, in bytes: 50,000 entries and more.
	MaxKeysFile = 16 << 20
	// maxFaults of one file are told: who has more has given the wrong file.
	maxFaults = 100
	// maxShown bytes of a wrong value are repeated in its fault.
	maxShown = 80
)

// readKeysFile returns what is in file, MaxKeysFile bytes at most. It never
// waits: a pipe is refused.
func readKeysFile(file string) ([]byte, error) {
	info, err := os.Stat(file)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: must be a regular file", file)
	}
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, MaxKeysFile+1))
	if err == nil && len(data) > MaxKeysFile {
		err = fmt.Errorf("%s: must not be larger than %d MiB", file, MaxKeysFile>>20)
	}
	return data, err
}

// keysFile is a keys.toml without faults.
type keysFile struct {
	data []byte
	keys []Key
	// starts are the offsets of the lines at which the keys begin.
	starts []int
	// inline says that the keys are written key = [{…}], not [[key]].
	inline bool
}

// parseKeys reads data, the contents of file. The error is a fault.List of all
// that is wrong. It never contains a hash, nor the value of a key that is not
// known: that may be a secret which was put in the wrong place.
func parseKeys(file string, data []byte) (*keysFile, error) {
	var root map[string]any
	if err := toml.Unmarshal(data, &root); err != nil {
		return nil, fault.List{syntaxFault(file, err)}
	}
	at := locate(data)
	var faults fault.List
	for name := range root {
		if name != "key" {
			faults.Add(fault.Fault{File: file, Line: at.root[name], Key: name, Problem: "is not known: must be [[key]]"})
		}
	}
	f := &keysFile{data: data, inline: at.inline}
	tables, ok := keyTables(root)
	if !ok || len(tables) != len(at.entries) {
		faults.Add(fault.Fault{File: file, Line: at.root["key"], Key: "key", Problem: "must be written as [[key]]"})
		return nil, sorted(faults)
	}
	for i, values := range tables {
		e := at.entries[i]
		t := &keyTable{file: file, values: values, at: e, faults: &faults}
		f.keys = append(f.keys, t.key())
		f.starts = append(f.starts, e.start)
	}
	checkDoubles(file, f.keys, &faults)
	return f, sorted(faults)
}

// keyTables returns the entries; not ok if key is something else.
func keyTables(root map[string]any) ([]map[string]any, bool) {
	list, ok := root["key"].([]any)
	if !ok {
		return nil, root["key"] == nil
	}
	tables := make([]map[string]any, len(list))
	for i, v := range list {
		if tables[i], ok = v.(map[string]any); !ok {
			return nil, false
		}
	}
	return tables, true
}

// checkDoubles finds keys that stand twice: which entry decides would depend
// on luck.
func checkDoubles(file string, keys []Key, faults *fault.List) {
	first := make(map[Hash]int, len(keys))
	for _, k := range keys {
		if k.Hash == (Hash{}) {
			continue // has a fault already
		}
		if line, twice := first[k.Hash]; twice {
			faults.Add(fault.Fault{File: file, Line: k.Line, Key: "hash", Problem: fmt.Sprintf("must be another than in line %d: it is the same key", line)})
			continue
		}
		first[k.Hash] = k.Line
	}
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

// syntaxFault keeps the position and the start of the message: the rest quotes
// characters of the file, which may be a secret's.
func syntaxFault(file string, err error) fault.Fault {
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

// locate walks over data, which is valid TOML, and writes down where its keys
// stand: decoding does not tell.
func locate(data []byte) places {
	l := locator{data: data, line: 1, places: places{root: make(map[string]int)}}
	l.parser.Reset(data)
	for l.parser.NextExpression() {
		l.expression(l.parser.Expression())
	}
	return l.places
}

type locator struct {
	places
	parser unstable.Parser
	data   []byte
	// offset has been counted up to, and is in line: offsets only grow.
	offset, line int
	// inKey says that key-values belong to the last entry, inOther that they
	// belong to some other table.
	inKey, inOther bool
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
	l.inKey, l.inOther = false, true
	if name != "key" || n.Kind == unstable.Table && !deep || deep && len(l.entries) == 0 {
		l.root[name] = line
		return
	}
	if deep { // [key.x]: x is a key of the last entry
		key.Next()
		l.note(string(key.Node().Data), line)
		return
	}
	l.inKey, l.inOther = true, false
	l.enter(line)
}

func (l *locator) keyValue(n *unstable.Node) {
	key := n.Key()
	key.Next()
	name, line := string(key.Node().Data), l.lineOf(key.Node())
	switch {
	case l.inKey:
		l.note(name, line)
	case l.inOther:
	case name == "key" && key.IsLast() && n.Value().Kind == unstable.Array:
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
