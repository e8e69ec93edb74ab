package readfile

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

func TestRead(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "f")
	if err := os.WriteFile(file, []byte("12345"), 0o600); err != nil {
		t.Fatal(err)
	}
	if data, err := Read(file, 5); err != nil || string(data) != "12345" {
		t.Errorf("got %q, %v", data, err)
	}
	if _, err := Read(file, 4); !errors.Is(err, ErrSize) {
		t.Errorf("one byte too many: %v", err)
	}
	if _, err := Read(dir, 5); !errors.Is(err, ErrKind) {
		t.Errorf("a directory: %v", err)
	}
	if _, err := Read(filepath.Join(dir, "none"), 5); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("nothing: %v", err)
	} else if got := Reason(err); got != "there is no such file" {
		t.Errorf("reason %q", got)
	}
}
