package authz

import (
	"errors"
	"fmt"

	"rtmps-edge/internal/fault"
)

// Key is one entry of keys.toml: who may do what with one stream key. It holds
// the key's hash only, and does not print that. Its Name "" means the subject.
type Key struct {
	Terms
	Hash Hash

	// Plain says that the file holds the key itself. Line is where the entry
	// begins, from 1. Both are set by reading, and ignored by AddKey.
	Plain bool
	Line  int
}

// keysFormat is keys.toml.
var keysFormat = format[Key]{table: "key", read: readKey, check: checkKeys, write: Key.toml}

// ListKeys returns the entries of file in their order. Errors: the file cannot
// be read, or a fault.List.
func ListKeys(file string) ([]Key, error) { return keysFormat.list(file) }

// AddKey appends k to file, which is made if it is not there. All else in it
// stays as it is, byte by byte. It fails, and changes nothing, if the file has
// faults or k would be one; the error is a fault.List then.
func AddKey(file string, k Key) error { return keysFormat.add(file, k) }

// RemoveKeys takes the entries out of file for which remove says so, and
// returns how many there were. All else stays as it is, comments too: only the
// lines of an entry go, and the empty line before them if another empty line
// or nothing would follow it. With none to remove, the file is not written. It
// fails, and changes nothing, if the file has faults.
func RemoveKeys(file string, remove func(Key) bool) (n int, err error) {
	return keysFormat.remove(file, remove)
}

func readKey(t *entryTable) Key {
	k := Key{Line: t.at.line}
	k.Hash, k.Plain = t.hash()
	k.Terms = t.terms("")
	k.Name = t.text("name")
	return k
}

// hash never tells what it has read.
func (t *entryTable) hash() (h Hash, plain bool) {
	v, _ := t.take("hash")
	s, _ := v.(string)
	h, plain, err := parseHash(s)
	if err != nil {
		t.fault("hash", nil, err.Error())
	}
	return h, plain
}

// checkKeys finds keys that stand twice, as which entry decides would depend
// on luck, and more slow hashes than can be tried.
func checkKeys(file string, keys []Key, faults *fault.List) {
	first, slow := make(map[Hash]int, len(keys)), 0
	for _, k := range keys {
		if k.Hash == (Hash{}) {
			continue // has a fault already
		}
		if line, twice := first[k.Hash]; twice {
			faults.Add(fault.Fault{File: file, Line: k.Line, Key: "hash", Problem: fmt.Sprintf("must be another than in line %d: it is the same key", line)})
			continue
		}
		first[k.Hash] = k.Line
		if k.Hash.slow == "" {
			continue
		}
		if slow++; slow > MaxSlowKeys {
			faults.Add(fault.Fault{File: file, Line: k.Line, Key: "hash", Problem: fmt.Sprintf("must be sha256: more than %d argon2id hashes in a file cannot be tried for each unknown key", MaxSlowKeys)})
		}
	}
}

// toml returns k as a [[key]], without what is the default.
func (k Key) toml() (string, error) {
	if k.Hash == (Hash{}) {
		return "", errors.New("a key without hash")
	}
	t := newEntryText("key")
	t.line("subject", quote(k.Subject))
	t.line("hash", quote(k.Hash.Reveal()))
	t.text("name", k.Name)
	t.terms(k.Terms)
	return t.String(), nil
}
