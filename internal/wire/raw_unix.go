//go:build unix

package wire

import "syscall"

const canReadRaw = true

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
