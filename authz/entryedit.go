package authz

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"rtmps-edge/internal/bitrate"
	"rtmps-edge/internal/fault"
	"rtmps-edge/internal/readfile"
)

// newFileMode is for a file that was not there: nobody else needs it.
const newFileMode = 0o600

// list returns the entries of file in their order.
func (f format[E]) list(file string) ([]E, error) {
	data, err := readfile.Read(file, MaxEntriesFile)
	if err != nil {
		return nil, err
	}
	read, err := f.parse(file, data)
	if err != nil {
		return nil, err
	}
	return read.entries, nil
}

// add appends e to file, which is made if it is not there. All else in it
// stays as it is, byte by byte. It fails, and changes nothing, if the file has
// faults or e would be one; the error is a fault.List then.
func (f format[E]) add(file string, e E) error {
	return f.edit(file, true, func(was *entryFile[E]) ([]byte, error) {
		entry, err := f.checked(e)
		if err != nil {
			return nil, err
		}
		text := string(was.data)
		if text != "" && !strings.HasSuffix(text, "\n") {
			text += "\n"
		}
		if text != "" {
			text += "\n"
		}
		return []byte(text + entry), nil
	})
}

// remove takes the entries out of file for which gone says so, and returns how
// many there were. All else stays as it is, comments too: only the lines of an
// entry go, and the empty line before them if another empty line or nothing
// would follow it. With none to remove, the file is not written. It fails, and
// changes nothing, if the file has faults.
func (f format[E]) remove(file string, gone func(E) bool) (n int, err error) {
	err = f.edit(file, false, func(was *entryFile[E]) ([]byte, error) {
		var kept []byte
		from := 0
		for i, e := range was.entries {
			if !gone(e) {
				continue
			}
			n++
			start, end := was.lines(i)
			kept = append(kept, was.data[from:start]...)
			if rest := was.data[end:]; len(rest) == 0 || emptyLine(rest) {
				kept = cutEmptyLine(kept)
			}
			from = end
		}
		return append(kept, was.data[from:]...), nil
	})
	return n, err
}

// lines returns where the lines of entry i begin and end: comments and empty
// lines after it are not its own. It must not be inline.
func (f *entryFile[E]) lines(i int) (start, end int) {
	start, end = f.starts[i], len(f.data)
	if i+1 < len(f.starts) {
		end = f.starts[i+1]
	}
	// A value of several lines ends in its delimiter, so that its last line is
	// neither empty nor a comment.
	for end > start {
		last := start + bytes.LastIndexByte(f.data[start:end-1], '\n') + 1
		line := bytes.TrimSpace(f.data[last:end])
		if len(line) > 0 && line[0] != '#' {
			break
		}
		end = last
	}
	return start, end
}

// lineEnds are the two that TOML has.
var lineEnds = [][]byte{[]byte("\r\n"), []byte("\n")}

// emptyLine reports whether data begins with an empty line.
func emptyLine(data []byte) bool {
	return bytes.HasPrefix(data, lineEnds[0]) || bytes.HasPrefix(data, lineEnds[1])
}

// cutEmptyLine takes the last line away if it is empty.
func cutEmptyLine(data []byte) []byte {
	for _, end := range lineEnds {
		if rest, ok := bytes.CutSuffix(data, end); ok && (len(rest) == 0 || bytes.HasSuffix(rest, lineEnds[1])) {
			return rest
		}
	}
	return data
}

// edit replaces file by what change makes of it, if there is no fault before
// or after. Only one edit runs at a time.
func (f format[E]) edit(file string, create bool, change func(*entryFile[E]) ([]byte, error)) error {
	if real, err := filepath.EvalSymlinks(file); err == nil {
		file = real // a link stays a link
	}
	unlock, err := lockDirectory(filepath.Dir(file))
	if err != nil {
		return err
	}
	defer unlock()
	old, err := readfile.Read(file, MaxEntriesFile)
	if err != nil && !(create && errors.Is(err, os.ErrNotExist)) {
		return err
	}
	was, err := f.parse(file, old)
	if err != nil {
		return err
	}
	if was.inline {
		return fmt.Errorf("%s: the entries are written %s = [{…}]: write them as [[%s]], or edit the file by hand", file, f.table, f.table)
	}
	data, err := change(was)
	if err != nil || string(data) == string(old) {
		return err
	}
	if len(data) > MaxEntriesFile {
		return fmt.Errorf("%s: would be larger than %d MiB", file, MaxEntriesFile>>20)
	}
	if _, err := f.parse(file, data); err != nil {
		return err
	}
	return replaceFile(file, data)
}

// replaceFile writes data beside file and puts it in its place, so that a
// reader sees the old or the new one, also after a power cut. Mode and owner
// stay: the edge may run as somebody else than the operator.
func replaceFile(file string, data []byte) (err error) {
	tmp, err := os.CreateTemp(filepath.Dir(file), "."+filepath.Base(file)+"-*.tmp") // mode 0600
	if err != nil {
		return err
	}
	defer func() {
		_ = tmp.Close() // closed already, unless something failed
		if err != nil {
			_ = os.Remove(tmp.Name())
		}
	}()
	if err := takeOver(tmp, file); err != nil {
		return err
	}
	if _, err := tmp.Write(data); err != nil {
		return err
	}
	if err := tmp.Sync(); err != nil {
		return err
	}
	if err := tmp.Close(); err != nil {
		return err
	}
	if err := os.Rename(tmp.Name(), file); err != nil {
		return err
	}
	return syncDirectory(filepath.Dir(file))
}

// takeOver gives tmp the mode and the owner of file, if there is one.
func takeOver(tmp *os.File, file string) error {
	info, err := os.Stat(file)
	if errors.Is(err, os.ErrNotExist) {
		return tmp.Chmod(newFileMode)
	}
	if err != nil {
		return err
	}
	if err := keepOwner(tmp, info); err != nil {
		return fmt.Errorf("%s: its owner would change: %w", file, err)
	}
	return tmp.Chmod(info.Mode().Perm())
}

// checked is write, after the entry's faults were looked for. They have no
// line: it stands in no file yet.
func (f format[E]) checked(e E) (string, error) {
	entry, err := f.write(e)
	if err != nil {
		return "", err
	}
	_, err = f.parse("", []byte(entry))
	var faults fault.List
	if errors.As(err, &faults) {
		for i := range faults {
			faults[i].Line = 0
		}
	}
	return entry, err
}

// entryText writes one entry.
type entryText struct{ strings.Builder }

func newEntryText(table string) *entryText {
	t := &entryText{}
	fmt.Fprintf(t, "[[%s]]\n", table)
	return t
}

func (t *entryText) line(key, value string) { fmt.Fprintf(t, "%s = %s\n", key, value) }

// text writes a string, unless it is empty.
func (t *entryText) text(key, value string) {
	if value != "" {
		t.line(key, quote(value))
	}
}

func (t *entryText) time(key string, at time.Time) {
	if !at.IsZero() {
		t.line(key, at.UTC().Format(time.RFC3339Nano))
	}
}

// terms writes all but subject and name, which each kind has in its own way.
func (t *entryText) terms(terms Terms) {
	t.line("actions", list(terms.Actions, func(a Action) string { return string(a) }))
	t.text("app", terms.App)
	t.text("origin", terms.Origin)
	if len(terms.From) > 0 {
		t.line("from", list(terms.From, netip.Prefix.String))
	}
	t.time("not_before", terms.NotBefore)
	t.time("expires", terms.Expires)
	if terms.Bitrate != 0 {
		t.line("bitrate", quote(bitrate.Format(terms.Bitrate)))
	}
	if terms.Disabled {
		t.line("disabled", "true")
	}
}

func list[T any](items []T, text func(T) string) string {
	quoted := make([]string, len(items))
	for i, item := range items {
		quoted[i] = quote(text(item))
	}
	return "[" + strings.Join(quoted, ", ") + "]"
}

// quote returns s as a TOML basic string. What is not UTF-8 stays so, and is a
// fault when it is read.
func quote(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for i := range len(s) {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			b.WriteByte('\\')
			b.WriteByte(c)
		case c < ' ' || c == 0x7f:
			fmt.Fprintf(&b, `\u%04X`, c)
		default:
			b.WriteByte(c)
		}
	}
	b.WriteByte('"')
	return b.String()
}
