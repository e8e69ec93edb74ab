//go:build linux || darwin || freebsd || netbsd || openbsd || dragonfly

package authz

import (
	"os"
	"syscall"
)

// lockDirectory waits until no other edit runs in dir, of any process. The
// kernel gives the lock back if the process dies, and there is no lock file
// that could stay behind.
func lockDirectory(dir string) (unlock func(), err error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	if err := flock(f); err != nil {
		_ = f.Close()
		return nil, &os.PathError{Op: "lock", Path: dir, Err: err}
	}
	return func() { _ = f.Close() }, nil
}

func flock(f *os.File) error {
	for {
		if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != syscall.EINTR {
			return err
		}
	}
}

// keepOwner gives tmp the owner of the file that info describes.
func keepOwner(tmp *os.File, info os.FileInfo) error {
	mine, err := tmp.Stat()
	if err != nil {
		return err
	}
	was, ok1 := info.Sys().(*syscall.Stat_t)
	is, ok2 := mine.Sys().(*syscall.Stat_t)
	if !ok1 || !ok2 || was.Uid == is.Uid && was.Gid == is.Gid {
		return nil
	}
	return tmp.Chown(int(was.Uid), int(was.Gid))
}

// syncDirectory makes a rename in dir outlast a power cut.
func syncDirectory(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}
