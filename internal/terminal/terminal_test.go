package terminal

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

func TestColoursOnATerminalOnly(t *testing.T) {
	t.Setenv("NO_COLOR", "")
	t.Setenv("TERM", "xterm")
	// The other side of a pseudo-terminal is a terminal too, and needs no
	// program that holds it.
	tty, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tty.Close() }()
	file, err := os.Create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	reader, pipe, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _, _ = reader.Close(), pipe.Close() }()

	if got := Colours(tty).Good("ok"); got != "\x1b[32mok\x1b[0m" {
		t.Errorf("on a terminal: %q", got)
	}
	if got := Colours(tty).Bad(""); got != "" {
		t.Errorf("nothing is painted: %q", got)
	}
	if Colours(file).Good("ok") != "ok" || Colours(pipe).Bad("no") != "no" || Colours(new(bytes.Buffer)).Faint("x") != "x" {
		t.Error("colours in a file, a pipe or a buffer")
	}
	t.Setenv("TERM", "dumb")
	if Colours(tty).Doubtful("x") != "x" {
		t.Error("colours on a dumb terminal")
	}
	t.Setenv("TERM", "xterm")
	t.Setenv("NO_COLOR", "1")
	if Colours(tty).Strong("x") != "x" {
		t.Error("colours in spite of NO_COLOR")
	}
}

func TestPlain(t *testing.T) {
	for text, want := range map[string]string{
		"":                     "",
		"plain ~ text":         "plain ~ text",
		"Übertragung – läuft":  "Übertragung – läuft",
		"\x1b[2Jgone":          `\x1b[2Jgone`,
		"a\r\nok   forged":     `a\r\nok   forged`,
		"tab\there":            `tab\there`,
		"\x00\x7f\u0085\u202e": `\x00\x7f\u0085\u202e`,
		"bad \xff\xfe utf":     `bad \xff\xfe utf`,
		"it's \\ \"quoted\"":   "it's \\ \"quoted\"",
		"\u2028":               `\u2028`,
	} {
		if got := Plain(text); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

func FuzzPlain(f *testing.F) {
	for _, s := range []string{"", "text", "\x1b]0;title\a", "\xff\u202e\r\n"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		for _, r := range Plain(s) {
			if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 || r == 0x202e {
				t.Errorf("%q leaves %q", s, r)
			}
		}
	})
}
