// Package readfile reads small files that an operator names, and does not let
// a wrong name hurt: it neither waits for a pipe nor fills the memory.
package readfile

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
)

// ErrKind is wrapped by Read when the path is something else than a file.
var ErrKind = errors.New("must be a regular file")

// ErrSize is wrapped by Read when the file is larger than allowed.
var ErrSize = errors.New("is too large")

// Read returns what is in the file at path, limit bytes at most. Errors of the
// file system are *fs.PathError and name the path.
func Read(path string, limit int64) ([]byte, error) {
	f, err := open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(data)) > limit {
		return nil, &fs.PathError{Op: "read", Path: path, Err: fmt.Errorf("%w: at most %d bytes are allowed", ErrSize, limit)}
	}
	return data, nil
}

// Check reports whether Read could open the file at path.
func Check(path string) error {
	f, err := open(path)
	if err != nil {
		return err
	}
	return f.Close()
}

// open asks what the path is before it opens it: opening a pipe waits for who
// writes to it.
func open(path string) (*os.File, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, &fs.PathError{Op: "open", Path: path, Err: ErrKind}
	}
	return os.Open(path)
}

// Reason gives an error of Read without the path, for who names it already.
func Reason(err error) string {
	var p *fs.PathError
	if !errors.As(err, &p) {
		return err.Error()
	}
	if errors.Is(p.Err, fs.ErrNotExist) {
		return "there is no such file"
	}
	return p.Err.Error()
}
