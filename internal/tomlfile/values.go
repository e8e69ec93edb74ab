package tomlfile

import (
	"encoding"
	"fmt"
	"strconv"
	"strings"
	"time"

	"rtmps-edge/internal/readfile"
	"rtmps-edge/internal/secret"
)

// String reads text.
func (t *Table) String(key string, dst *string) {
	v, ok := t.take(key)
	if !ok {
		return
	}
	s, isText := v.(string)
	if !isText {
		t.Fault(key, "must be text in quotes")
		return
	}
	*dst = s
}

// OneOf reads text that is one of words.
func OneOf[S ~string](t *Table, key string, dst *S, words ...S) {
	v, ok := t.take(key)
	if !ok {
		return
	}
	s, _ := v.(string)
	for _, w := range words {
		if s == string(w) {
			*dst = w
			return
		}
	}
	quoted := make([]string, len(words))
	for i, w := range words {
		quoted[i] = strconv.Quote(string(w))
	}
	t.Fault(key, "must be one of "+strings.Join(quoted, ", "))
}

// Bool reads true or false.
func (t *Table) Bool(key string, dst *bool) {
	v, ok := t.take(key)
	if !ok {
		return
	}
	b, isBool := v.(bool)
	if !isBool {
		t.Fault(key, "must be true or false, without quotes")
		return
	}
	*dst = b
}

// Int reads a whole number from least to most.
func (t *Table) Int(key string, dst *int, least, most int) {
	v, ok := t.take(key)
	if !ok {
		return
	}
	n, isInt := v.(int64)
	if !isInt || n < int64(least) || n > int64(most) {
		t.Fault(key, fmt.Sprintf("must be a whole number from %d to %d", least, most))
		return
	}
	*dst = int(n)
}

// Duration reads a Go duration from least to most; "0" is allowed if least is 0.
func (t *Table) Duration(key string, dst *time.Duration, least, most time.Duration) {
	v, ok := t.take(key)
	if !ok {
		return
	}
	s, _ := v.(string)
	if n, isInt := v.(int64); isInt && n == 0 {
		s = "0"
	}
	d, err := time.ParseDuration(s)
	if err != nil || d < least || d > most {
		from := least.String()
		if least == 0 {
			from = `"0"`
		}
		t.Fault(key, fmt.Sprintf("must be a time such as \"10s\" or \"5m\", from %s to %s", from, most))
		return
	}
	*dst = d
}

// Size reads a number of bytes, such as 65536, "64KiB" or "16MiB", from least
// to most.
func (t *Table) Size(key string, dst *int, least, most int) {
	v, ok := t.take(key)
	if !ok {
		return
	}
	n, err := int64(0), error(nil)
	switch v := v.(type) {
	case int64:
		n = v
	case string:
		n, err = parseSize(v)
	default:
		err = errSize
	}
	if err != nil || n < int64(least) || n > int64(most) {
		t.Fault(key, fmt.Sprintf("must be a size such as 65536, \"64KiB\" or \"16MiB\", from %d to %d bytes", least, most))
		return
	}
	*dst = int(n)
}

var errSize = fmt.Errorf("not a size")

func parseSize(s string) (int64, error) {
	unit := int64(1)
	for suffix, u := range map[string]int64{"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30} {
		if rest, ok := strings.CutSuffix(s, suffix); ok {
			s, unit = rest, u
		}
	}
	n, err := strconv.ParseUint(s, 10, 32)
	if err != nil {
		return 0, errSize
	}
	return int64(n) * unit, nil
}

// Text reads what dst itself reads from text. Whole numbers are read as their
// digits.
func (t *Table) Text(key string, dst encoding.TextUnmarshaler) {
	v, ok := t.take(key)
	if !ok {
		return
	}
	s, isText := v.(string)
	if n, isInt := v.(int64); isInt {
		s, isText = strconv.FormatInt(n, 10), true
	}
	if !isText {
		t.Fault(key, "must be text in quotes")
		return
	}
	if err := dst.UnmarshalText([]byte(s)); err != nil {
		t.Fault(key, err.Error())
	}
}

// List reads a list of text, each item by parse, whose errors say what is
// allowed.
func List[T any](t *Table, key string, dst *[]T, parse func(string) (T, error)) {
	v, ok := t.take(key)
	if !ok {
		return
	}
	list, isList := v.([]any)
	if !isList {
		t.Fault(key, "must be a list of texts in brackets")
		return
	}
	result := []T{}
	for _, item := range list {
		s, isText := item.(string)
		if !isText {
			t.Fault(key, "must be a list of texts in brackets")
			return
		}
		x, err := parse(s)
		if err != nil {
			t.Fault(key, fmt.Sprintf("%q: %v", s, err))
			continue
		}
		result = append(result, x)
	}
	*dst = result
}

// Strings reads a list of text.
func (t *Table) Strings(key string, dst *[]string) {
	List(t, key, dst, func(s string) (string, error) { return s, nil })
}

// MaxSecret is the longest secret, in bytes.
const MaxSecret = 4 << 10

// Secret reads a secret from key, or from the file that key_file names: its
// first line. It is never shown.
func (t *Table) Secret(key string, dst *secret.Text) {
	text, file := "", ""
	t.String(key, &text)
	t.File(key+"_file", &file)
	switch {
	case text != "" && file != "":
		t.Fault(key, "must not stand beside "+key+"_file")
	case text != "":
		*dst = secret.New(text)
	case file != "" && readfile.Check(file) == nil:
		data, err := readfile.Read(file, MaxSecret)
		line, _, _ := strings.Cut(string(data), "\n")
		if line = strings.TrimRight(line, "\r"); err != nil || line == "" {
			t.Fault(key+"_file", fmt.Sprintf("must have a secret of 1 to %d bytes in its first line", MaxSecret))
			return
		}
		*dst = secret.New(line)
	}
}

// File reads the path of a file, relative to the file that names it, and
// notes a fault if it cannot be read. "" is no file.
func (t *Table) File(key string, dst *string) {
	before := *dst
	t.String(key, dst)
	if *dst == "" || *dst == before && !t.Has(key) {
		return
	}
	*dst = t.Path(*dst)
	if err := readfile.Check(*dst); err != nil {
		t.Fault(key, "must be a file that can be read: "+readfile.Reason(err))
	}
}
