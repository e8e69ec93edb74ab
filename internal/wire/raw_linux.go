//go:build linux && (amd64 || arm64)

package wire

import (
	"sync"
	"syscall"
	"unsafe"
)

const (
	canReadRaw  = true
	canWriteRaw = true
)

// The calls here do not tell the scheduler that they enter the kernel. On
// descriptors that never block they are as short as a copy, while the telling
// wakes a thread of the runtime each time that the program was idle: with a
// hundred paced streams that is a tenth of all the work. It also is what lets
// the runtime interrupt goroutines that never wait, so long writes do it.
const longWrite = 32 << 10

// maxVector is how many slices one system call takes; a writer gathers no more.
const maxVector = 128

type vector [maxVector]syscall.Iovec

var vectors = sync.Pool{New: func() any { return new(vector) }}

// readRaw reads once from a non-blocking descriptor. again means that there is
// nothing to read now; n = 0 without it and without an error is the end.
func readRaw(fd uintptr, p []byte) (n int, again bool, err error) {
	for {
		n, _, e := syscall.RawSyscall6(syscall.SYS_RECVFROM, fd, uintptr(unsafe.Pointer(&p[0])), uintptr(len(p)), 0, 0, 0)
		if e != syscall.EINTR {
			return outcome(n, e)
		}
	}
}

// writeRaw writes once as much as there is room for. again means that there is
// no room now.
func writeRaw(fd uintptr, bufs [][]byte, more bool) (n int, again bool, err error) {
	if len(bufs) == 1 && len(bufs[0]) > 0 && len(bufs[0]) < longWrite {
		return sendRaw(fd, bufs[0], more)
	}
	v := vectors.Get().(*vector)
	defer vectors.Put(v)
	filled, total := v.fill(bufs)
	defer clear(v[:filled]) // the pool must keep nothing alive
	m := syscall.Msghdr{Iov: &v[0], Iovlen: uint64(filled)}
	flags := uintptr(syscall.MSG_NOSIGNAL)
	if more {
		flags |= syscall.MSG_MORE
	}
	for {
		n, e := sendmsg(fd, &m, flags, total >= longWrite)
		if e != syscall.EINTR {
			return outcome(n, e)
		}
	}
}

// sendRaw is writeRaw for one short slice.
func sendRaw(fd uintptr, p []byte, more bool) (n int, again bool, err error) {
	flags := uintptr(syscall.MSG_NOSIGNAL)
	if more {
		flags |= syscall.MSG_MORE
	}
	for {
		n, _, e := syscall.RawSyscall6(syscall.SYS_SENDTO, fd, uintptr(unsafe.Pointer(&p[0])), uintptr(len(p)), flags, 0, 0)
		if e != syscall.EINTR {
			return outcome(n, e)
		}
	}
}

// fill makes v of bufs, as far as it goes.
func (v *vector) fill(bufs [][]byte) (filled, total int) {
	for _, b := range bufs {
		if len(b) == 0 {
			continue
		}
		if filled == len(v) {
			break
		}
		v[filled].Base = &b[0]
		v[filled].SetLen(len(b))
		filled++
		total += len(b)
	}
	return filled, total
}

func sendmsg(fd uintptr, m *syscall.Msghdr, flags uintptr, long bool) (uintptr, syscall.Errno) {
	if long {
		n, _, e := syscall.Syscall(syscall.SYS_SENDMSG, fd, uintptr(unsafe.Pointer(m)), flags)
		return n, e
	}
	n, _, e := syscall.RawSyscall(syscall.SYS_SENDMSG, fd, uintptr(unsafe.Pointer(m)), flags)
	return n, e
}

func outcome(n uintptr, e syscall.Errno) (int, bool, error) {
	switch e {
	case 0:
		return int(n), false, nil
	case syscall.EAGAIN:
		return 0, true, nil
	}
	return 0, false, e
}
