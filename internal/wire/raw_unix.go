//go:build unix && !(linux && (amd64 || arm64))

package wire

import "syscall"

const (
	canReadRaw  = true
	canWriteRaw = false
)

// readRaw reads once from a non-blocking descriptor. again means that there is
// nothing to read now; n = 0 without it and without an error is the end.
func readRaw(fd uintptr, p []byte) (n int, again bool, err error) {
	for {
		n, err = syscall.Read(int(fd), p)
		switch err {
		case nil:
			return n, false, nil
		case syscall.EINTR:
			continue
		case syscall.EAGAIN:
			return 0, true, nil
		}
		return 0, false, err
	}
}

func writeRaw(uintptr, [][]byte, bool) (int, bool, error) { panic("wire: not reached") }
