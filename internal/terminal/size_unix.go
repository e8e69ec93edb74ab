//go:build unix

package terminal

import (
	"os"

	"golang.org/x/sys/unix"
)

// size returns 0 where f is no terminal.
func size(f *os.File) (columns, rows int) {
	ws, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ)
	if err != nil {
		return 0, 0
	}
	return int(ws.Col), int(ws.Row)
}
