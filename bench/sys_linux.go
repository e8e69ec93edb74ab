package main

import (
	"os"
	"syscall"
	"time"
	"unsafe"
)

// processClock reads CLOCK_PROCESS_CPUTIME_ID of another process; the kernel
// makes the clock's number of the complement of the pid.
func processClock(pid int) (time.Duration, error) {
	const schedClock = 2
	id := int32(^pid)<<3 | schedClock
	var t syscall.Timespec
	_, _, e := syscall.Syscall(syscall.SYS_CLOCK_GETTIME, uintptr(id), uintptr(unsafe.Pointer(&t)), 0)
	if e != 0 {
		return 0, os.NewSyscallError("clock_gettime", e)
	}
	return time.Duration(t.Nano()), nil
}

// onCore makes the calling thread, and what it executes, run on one core.
func onCore(n int) error {
	var mask [16]uint64
	mask[n/64] = 1 << (n % 64)
	_, _, e := syscall.RawSyscall(syscall.SYS_SCHED_SETAFFINITY, 0, unsafe.Sizeof(mask), uintptr(unsafe.Pointer(&mask)))
	if e != 0 {
		return os.NewSyscallError("sched_setaffinity", e)
	}
	return nil
}

// raiseFiles lets this process and its children hold many connections. Setting
// it by hand is what makes Go leave it raised for children.
func raiseFiles() {
	var l syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l) == nil {
		l.Cur = l.Max
		syscall.Setrlimit(syscall.RLIMIT_NOFILE, &l)
	}
}

// notOutliving ends a child when the harness dies, however it dies.
func notOutliving() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}

func execSelf(path string, args, env []string) error { return syscall.Exec(path, args, env) }
