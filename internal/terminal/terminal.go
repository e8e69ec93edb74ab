// Package terminal tells a terminal from a pipe, gives colours to the one and
// none to the other, and makes text of strangers safe to print on both.
package terminal

import (
	"io"
	"os"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Is reports whether w is a terminal. A character device that is none, such as
// /dev/null, counts as one: nobody reads there what would be too much.
func Is(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// Palette colours text. The zero value leaves it as it is.
type Palette struct{ on bool }

// Colours is the palette for w. Whoever sets NO_COLOR, or says that the terminal
// is dumb, gets none.
func Colours(w io.Writer) Palette {
	return Palette{Is(w) && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"}
}

// Good is for what is well.
func (p Palette) Good(s string) string { return p.paint("32", s) }

// Doubtful is for what somebody should look at.
func (p Palette) Doubtful(s string) string { return p.paint("33", s) }

// Bad is for what is not well.
func (p Palette) Bad(s string) string { return p.paint("1;31", s) }

// Faint is for what is there for completeness.
func (p Palette) Faint(s string) string { return p.paint("2", s) }

// Strong is for headings.
func (p Palette) Strong(s string) string { return p.paint("1", s) }

func (p Palette) paint(code, s string) string {
	if !p.on || s == "" {
		return s
	}
	return "\x1b[" + code + "m" + s + "\x1b[0m"
}

// Plain returns s with everything escaped that a terminal would not show as a
// character: what a stranger sends must not move the cursor or forge a line.
func Plain(s string) string {
	if plain(s) {
		return s
	}
	var b strings.Builder
	for len(s) > 0 {
		r, n := utf8.DecodeRuneInString(s)
		switch {
		case r == utf8.RuneError && n == 1:
			b.WriteString(`\x` + strconv.FormatUint(uint64(s[0])|0x100, 16)[1:])
		case strconv.IsGraphic(r):
			b.WriteRune(r)
		default:
			b.WriteString(strings.Trim(strconv.QuoteRuneToGraphic(r), "'"))
		}
		s = s[n:]
	}
	return b.String()
}

func plain(s string) bool {
	for _, r := range s {
		if r < ' ' || r > '~' {
			return false
		}
	}
	return true
}
