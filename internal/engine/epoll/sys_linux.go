//go:build amd64 || arm64 || loong64 || riscv64

package epoll

import (
	"encoding/binary"
	"net/netip"
	"os"
	"syscall"
	"time"
	"unsafe"
)

// The calls of the event loop. Those that never block use RawSyscall, which
// spares the runtime's bookkeeping; the one that blocks uses Syscall, so that
// the runtime can give the thread's place to other goroutines meanwhile.

const (
	epollIn  = syscall.EPOLLIN
	epollOut = syscall.EPOLLOUT
	epollEnd = syscall.EPOLLRDHUP // the peer sends no more: with epollIn, until that is turned off
	epollBad = syscall.EPOLLERR | syscall.EPOLLHUP
	epollET  = 1 << 31

	tcpUserTimeout = 18 // TCP_USER_TIMEOUT of linux/tcp.h

	sendFlags = syscall.MSG_DONTWAIT | syscall.MSG_NOSIGNAL
)

// pollEvents returns events of the epoll descriptor without blocking.
func pollEvents(ep int, evs []syscall.EpollEvent) int {
	n, _, errno := syscall.RawSyscall6(syscall.SYS_EPOLL_PWAIT, uintptr(ep),
		uintptr(unsafe.Pointer(&evs[0])), uintptr(len(evs)), 0, 0, 0)
	if errno != 0 { // only EINTR is possible
		return 0
	}
	return int(n)
}

// awaitEvents waits for events at most ms milliseconds, -1 for ever.
func awaitEvents(ep int, evs []syscall.EpollEvent, ms int) int {
	n, _, errno := syscall.Syscall6(syscall.SYS_EPOLL_PWAIT, uintptr(ep),
		uintptr(unsafe.Pointer(&evs[0])), uintptr(len(evs)), uintptr(ms), 0, 0)
	if errno != 0 { // only EINTR is possible
		return 0
	}
	return int(n)
}

// control calls epoll_ctl; the two words of data come back with the events.
func control(ep, op, fd int, events uint32, data, kind int32) error {
	ev := syscall.EpollEvent{Events: events, Fd: data, Pad: kind}
	_, _, errno := syscall.RawSyscall6(syscall.SYS_EPOLL_CTL, uintptr(ep), uintptr(op), uintptr(fd),
		uintptr(unsafe.Pointer(&ev)), 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}

func recv(fd int32, b []byte) (int, syscall.Errno) {
	for {
		n, _, errno := syscall.RawSyscall6(syscall.SYS_RECVFROM, uintptr(fd),
			uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)), syscall.MSG_DONTWAIT, 0, 0)
		if errno == syscall.EINTR {
			continue
		}
		return int(n), errno
	}
}

func send(fd int32, b []byte) (int, syscall.Errno) {
	for {
		n, _, errno := syscall.RawSyscall6(syscall.SYS_SENDTO, uintptr(fd),
			uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)), sendFlags, 0, 0)
		if errno == syscall.EINTR {
			continue
		}
		return int(n), errno
	}
}

// sendGathered sends what msg refers to.
func sendGathered(fd int32, msg *syscall.Msghdr) (int, syscall.Errno) {
	for {
		n, _, errno := syscall.RawSyscall(syscall.SYS_SENDMSG, uintptr(fd), uintptr(unsafe.Pointer(msg)), sendFlags)
		if errno == syscall.EINTR {
			continue
		}
		return int(n), errno
	}
}

// accept returns the next connection of a listener and the peer's address.
func accept(fd int) (int32, syscall.Errno) {
	nfd, _, errno := syscall.RawSyscall6(syscall.SYS_ACCEPT4, uintptr(fd), 0, 0, syscall.SOCK_NONBLOCK|syscall.SOCK_CLOEXEC, 0, 0)
	return int32(nfd), errno
}

// getname calls getpeername(2) or getsockname(2).
func getname(which uintptr, fd int32, sa *syscall.RawSockaddrAny) syscall.Errno {
	size := uint32(unsafe.Sizeof(*sa))
	_, _, errno := syscall.RawSyscall(which, uintptr(fd), uintptr(unsafe.Pointer(sa)), uintptr(unsafe.Pointer(&size)))
	return errno
}

// dupSocket returns another descriptor of a socket.
func dupSocket(fd int) (int, error) {
	n, _, errno := syscall.RawSyscall(syscall.SYS_FCNTL, uintptr(fd), syscall.F_DUPFD_CLOEXEC, 0)
	if errno != 0 {
		return -1, os.NewSyscallError("dup", errno)
	}
	return int(n), nil
}

func closeFD(fd int) {
	syscall.RawSyscall(syscall.SYS_CLOSE, uintptr(fd), 0, 0)
}

func shutdownWrite(fd int32) {
	syscall.RawSyscall(syscall.SYS_SHUTDOWN, uintptr(fd), syscall.SHUT_WR, 0)
}

func shutdownBoth(fd int32) {
	syscall.RawSyscall(syscall.SYS_SHUTDOWN, uintptr(fd), syscall.SHUT_RDWR, 0)
}

// eventfd returns a descriptor that wakes a thread which waits for it.
func eventfd() (int, error) {
	fd, _, errno := syscall.RawSyscall(syscall.SYS_EVENTFD2, 0, syscall.O_NONBLOCK|syscall.O_CLOEXEC, 0)
	if errno != 0 {
		return -1, errno
	}
	return int(fd), nil
}

func signal(efd int) {
	one := uint64(1)
	syscall.RawSyscall(syscall.SYS_WRITE, uintptr(efd), uintptr(unsafe.Pointer(&one)), 8)
}

// threadTime is the processor time that the calling thread has had.
func threadTime() time.Duration {
	const clockThreadCPU = 3
	var ts syscall.Timespec
	syscall.RawSyscall(syscall.SYS_CLOCK_GETTIME, clockThreadCPU, uintptr(unsafe.Pointer(&ts)), 0)
	return time.Duration(ts.Nano())
}

// socketName asks the kernel for the peer's address or ours: it is wanted once
// in a connection's life, and memory for it would be held all the time. which is
// the system call that tells it, sa is scratch.
func socketName(which uintptr, fd int32, sa *syscall.RawSockaddrAny) netip.AddrPort {
	if getname(which, fd, sa) != 0 {
		return netip.AddrPort{}
	}
	switch sa.Addr.Family {
	case syscall.AF_INET:
		in := (*syscall.RawSockaddrInet4)(unsafe.Pointer(sa))
		return netip.AddrPortFrom(netip.AddrFrom4(in.Addr), networkOrder(in.Port))
	case syscall.AF_INET6:
		in := (*syscall.RawSockaddrInet6)(unsafe.Pointer(sa))
		return netip.AddrPortFrom(netip.AddrFrom16(in.Addr).Unmap(), networkOrder(in.Port))
	}
	return netip.AddrPort{}
}

// networkOrder converts a port as it lies in memory.
func networkOrder(port uint16) uint16 {
	var b [2]byte
	binary.NativeEndian.PutUint16(b[:], port)
	return binary.BigEndian.Uint16(b[:])
}
