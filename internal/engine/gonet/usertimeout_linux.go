package gonet

import (
	"net"
	"syscall"
	"time"

	"midge/internal/engine"
)

// setUserTimeout bounds the time that output waits for an answer of the peer's
// system.
func setUserTimeout(tcp *net.TCPConn) {
	const tcpUserTimeout = 18 // TCP_USER_TIMEOUT of linux/tcp.h
	raw, err := tcp.SyscallConn()
	if err != nil {
		return
	}
	raw.Control(func(fd uintptr) {
		syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, tcpUserTimeout, int(engine.UserTimeout/time.Millisecond))
	})
}
