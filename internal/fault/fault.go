// Package fault holds what is wrong with a file that an operator wrote: where,
// which key, and what is allowed instead. Readers collect all faults of a file
// before they give up, so that one run names them all.
package fault

import (
	"strconv"
	"strings"
)

// Fault is one thing wrong with one file.
type Fault struct {
	File string
	Line int // from 1; 0 = unknown
	Key  string
	// Value is what stands in the file. It must be left empty where it may
	// hold a secret: it is printed.
	Value string
	// Problem says what is allowed.
	Problem string
}

// String gives `file:line: key = "value": problem`. Parts that are empty are
// left out, with their punctuation.
func (f Fault) String() string {
	parts := make([]string, 0, 3)
	if p := f.place(); p != "" {
		parts = append(parts, p)
	}
	if s := f.setting(); s != "" {
		parts = append(parts, s)
	}
	if f.Problem != "" {
		parts = append(parts, f.Problem)
	}
	return strings.Join(parts, ": ")
}

func (f Fault) place() string {
	switch {
	case f.Line <= 0:
		return f.File
	case f.File == "":
		return "line " + strconv.Itoa(f.Line)
	}
	return f.File + ":" + strconv.Itoa(f.Line)
}

func (f Fault) setting() string {
	switch {
	case f.Value == "":
		return f.Key
	case f.Key == "":
		return strconv.Quote(f.Value)
	}
	return f.Key + " = " + strconv.Quote(f.Value)
}

// List is any number of faults; it is an error when it has one.
type List []Fault

// Error gives one fault per line.
func (l List) Error() string {
	lines := make([]string, len(l))
	for i, f := range l {
		lines[i] = f.String()
	}
	return strings.Join(lines, "\n")
}

// Add appends f.
func (l *List) Add(f Fault) { *l = append(*l, f) }

// Err returns nil when there is no fault, else the list itself. Return it, not
// the list: an empty List in an error variable is not nil.
func (l List) Err() error {
	if len(l) == 0 {
		return nil
	}
	return l
}
