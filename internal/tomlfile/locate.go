package tomlfile

import (
	"bytes"
	"fmt"

	"github.com/pelletier/go-toml/v2/unstable"
)

// locate walks over data, which is valid TOML, and writes down the line of each
// table and key, by dotted path with indexes: decoding does not tell.
func locate(data []byte) map[string]int {
	l := &locator{data: data, line: 1, lines: map[string]int{}, counts: map[string]int{}}
	l.parser.Reset(data)
	for l.parser.NextExpression() {
		l.expression(l.parser.Expression())
	}
	return l.lines
}

type locator struct {
	parser unstable.Parser
	data   []byte
	lines  map[string]int
	counts map[string]int // members of each array of tables so far
	table  string         // path of the current table
	// offset has been counted up to, and is in line: offsets only grow.
	offset, line int
}

func (l *locator) expression(n *unstable.Node) {
	switch n.Kind {
	case unstable.KeyValue:
		l.keyValue(l.table, n)
	case unstable.Table:
		l.table = l.header(n, false)
	case unstable.ArrayTable:
		l.table = l.header(n, true)
	}
}

// header returns the path of a [table] or [[table]], with the index of the last
// member of each array on the way.
func (l *locator) header(n *unstable.Node, array bool) string {
	path, line := "", 0
	for key := n.Key(); key.Next(); {
		line = l.lineOf(key.Node())
		path = join(path, string(key.Node().Data))
		if key.IsLast() && array {
			l.counts[path]++
		}
		if i := l.counts[path]; i > 0 {
			path = fmt.Sprintf("%s[%d]", path, i-1)
		}
		l.note(path, line)
	}
	return path
}

func (l *locator) keyValue(table string, n *unstable.Node) {
	path := table
	for key := n.Key(); key.Next(); {
		path = join(path, string(key.Node().Data))
		l.note(path, l.lineOf(key.Node()))
	}
	l.value(path, n.Value())
}

// value walks over inline tables, alone or in an array.
func (l *locator) value(path string, n *unstable.Node) {
	switch n.Kind {
	case unstable.InlineTable:
		for it := n.Children(); it.Next(); {
			l.keyValue(path, it.Node())
		}
	case unstable.Array:
		i := 0
		for it := n.Children(); it.Next(); i++ {
			l.value(fmt.Sprintf("%s[%d]", path, i), it.Node())
		}
	}
}

// note keeps the first line of a path.
func (l *locator) note(path string, line int) {
	if _, ok := l.lines[path]; !ok {
		l.lines[path] = line
	}
}

func (l *locator) lineOf(n *unstable.Node) int {
	if to := int(n.Raw.Offset); to > l.offset {
		l.line += bytes.Count(l.data[l.offset:to], []byte{'\n'})
		l.offset = to
	}
	return l.line
}
