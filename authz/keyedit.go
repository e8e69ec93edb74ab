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
)

// newFileMode is for a keys.toml that was not there: nobody else needs it.
const newFileMode = 0o600

var errInline = errors.New("the keys are written key = [{…}]: write them as [[key]], or edit the file by hand")

// ListKeys returns the entries of file in their order. Errors: the file cannot
// be read, or a fault.List.
func ListKeys(file string) ([]Key, error) {
	data, err := readKeysFile(file)
	if err != nil {
		return nil, err
	}
	f, err := parseKeys(file, data)
	if err != nil {
		return nil, err
	}
	return f.keys, nil
}

// AddKey appends k to file, which is made if it is not there. All else in it
// stays as it is, byte by byte. It fails, and changes nothing, if the file has
// faults or k would be one; the error is a fault.List then.
func AddKey(file string, k Key) error {
	return editKeysFile(file, true, func(f *keysFile) ([]byte, error) {
		entry, err := k.checked()
		if err != nil {
			return nil, err
		}
		text := string(f.data)
		if text != "" && !strings.HasSuffix(text, "\n") {
			text += "\n"
		}
		if text != "" {
			text += "\n"
		}
		return []byte(text + entry), nil
	})
}

// RemoveKeys takes the entries out of file for which remove says so, and
// returns how many there were. All else stays as it is, comments too: only the
// lines of an entry go, and the empty line before them if another empty line
// or nothing would follow it. With none to remove, the file is not written. It
// fails, and changes nothing, if the file has faults.
func RemoveKeys(file string, remove func(Key) bool) (n int, err error) {
	err = editKeysFile(file, false, func(f *keysFile) ([]byte, error) {
		var kept []byte
		from := 0
		for i, k := range f.keys {
			if !remove(k) {
				continue
			}
			n++
			start, end := f.lines(i)
			kept = append(kept, f.data[from:start]...)
			if rest := f.data[end:]; len(rest) == 0 || emptyLine(rest) {
				kept = cutEmptyLine(kept)
			}
			from = end
		}
		return append(kept, f.data[from:]...), nil
	})
	return n, err
}

// lines returns where the lines of entry i begin and end: comments and empty
// lines after it are not its own. It must not be inline.
func (f *keysFile) lines(i int) (start, end int) {
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

// editKeysFile replaces file by what edit makes of it, if there is no fault
// before or after. Only one edit runs at a time.
func editKeysFile(file string, create bool, edit func(*keysFile) ([]byte, error)) error {
	if real, err := filepath.EvalSymlinks(file); err == nil {
		file = real // a link stays a link
	}
	unlock, err := lockDirectory(filepath.Dir(file))
	if err != nil {
		return err
	}
	defer unlock()
	old, err := readKeysFile(file)
	if err != nil && !(create && errors.Is(err, os.ErrNotExist)) {
		return err
	}
	f, err := parseKeys(file, old)
	if err != nil {
		return err
	}
	if f.inline {
		return fmt.Errorf("%s: %w", file, errInline)
	}
	data, err := edit(f)
	if err != nil || string(data) == string(old) {
		return err
	}
	if len(data) > MaxKeysFile {
		return fmt.Errorf("%s: would be larger than %d MiB", file, MaxKeysFile>>20)
	}
	if _, err := parseKeys(file, data); err != nil {
		return err
	}
	return replaceFile(file, data)
}

// replaceFile writes data beside file and puts it in its place, so that a
// reader sees the old or the new one, also after a power cut. Mode and owner
// stay: the edge may run as somebody else than the operator.
func replaceFile(file string, data []byte) (err error) {
	tmp, err := os.CreateTemp(filepath.Dir(file), ".keys-*.tmp") // mode 0600
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

// checked is toml, after its faults were looked for. They have no line: the
// entry stands in no file yet.
func (k Key) checked() (string, error) {
	entry, err := k.toml()
	if err != nil {
		return "", err
	}
	_, err = parseKeys("", []byte(entry))
	var faults fault.List
	if errors.As(err, &faults) {
		for i := range faults {
			faults[i].Line = 0
		}
	}
	return entry, err
}

// toml returns k as a [[key]], without what is the default.
func (k Key) toml() (string, error) {
	if k.Hash == (Hash{}) {
		return "", errors.New("a key without hash")
	}
	var b strings.Builder
	line := func(key, value string) { fmt.Fprintf(&b, "%s = %s\n", key, value) }
	text := func(key, value string) {
		if value != "" {
			line(key, quote(value))
		}
	}
	b.WriteString("[[key]]\n")
	line("subject", quote(k.Subject))
	line("hash", quote(k.Hash.Reveal()))
	line("actions", list(k.Actions, func(a Action) string { return string(a) }))
	text("app", k.App)
	text("name", k.Name)
	text("origin", k.Origin)
	if len(k.From) > 0 {
		line("from", list(k.From, netip.Prefix.String))
	}
	when := func(key string, t time.Time) {
		if !t.IsZero() {
			line(key, t.UTC().Format(time.RFC3339Nano))
		}
	}
	when("not_before", k.NotBefore)
	when("expires", k.Expires)
	if k.Bitrate != 0 {
		line("bitrate", quote(bitrate.Format(k.Bitrate)))
	}
	if k.Disabled {
		line("disabled", "true")
	}
	return b.String(), nil
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
