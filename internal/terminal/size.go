package terminal

import (
	"io"
	"os"
)

// Of a terminal that does not tell its size.
const (
	usualColumns = 80
	usualRows    = 24
)

// Size returns the columns and rows of the terminal w, or the usual ones.
func Size(w io.Writer) (columns, rows int) {
	if f, ok := w.(*os.File); ok {
		if columns, rows = size(f); columns > 0 && rows > 0 {
			return columns, rows
		}
	}
	return usualColumns, usualRows
}
