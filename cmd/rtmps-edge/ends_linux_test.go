package main

import (
	"cmp"
	"context"
	"errors"
	"net"
	"syscall"

	"golang.org/x/sys/unix"

	"rtmps-edge/rtmp/rtmptest"
)

// endingsOfLinux are those that only Linux lets a test cause.
func endingsOfLinux() []ending {
	return []ending{{side: "client", reason: "lost", detail: "timed out", at: impatient, end: deadLine}}
}

// impatient opens a listener on whose connections the kernel gives up after half a
// second, not a quarter of an hour (tcp(7), TCP_USER_TIMEOUT).
func impatient(s *site) string {
	s.t.Helper()
	var lc net.ListenConfig
	lc.SetMultipathTCP(false) // which does not know of that
	lc.Control = func(_, _ string, c syscall.RawConn) error {
		var inner error
		err := c.Control(func(fd uintptr) { inner = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, 500) })
		return errors.Join(err, inner)
	}
	ln, err := lc.Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		s.t.Fatal(err)
	}
	return s.serve(ln)
}

// deadLine lets nothing reach the client any more (socket(7), SO_ATTACH_FILTER),
// which then asks for an answer.
func deadLine(r *stream) error {
	raw, err := r.tcp.SyscallConn()
	if err != nil {
		return err
	}
	nothing := []unix.SockFilter{{Code: unix.BPF_RET | unix.BPF_K, K: 0}}
	var inner error
	err = raw.Control(func(fd uintptr) {
		inner = unix.SetsockoptSockFprog(int(fd), unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: 1, Filter: &nothing[0]})
	})
	return cmp.Or(err, inner, r.p.Send(new(rtmptest.Builder).UserControl(rtmptest.EventPingRequest, 1)))
}
