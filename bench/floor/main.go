//go:build linux

// Command floor is the raw send loop behind the least that passes for a broker: it accepts every CONNECT and SUBSCRIBE
// and writes each PUBLISH, as it came, to all connections that have subscribed, with one write(2) for each. What it costs
// per delivery is what the kernel costs; a broker that writes cannot be cheaper on one thread.
//
// It is for the fanout scenario of load only: it does not look at topics, and packets must arrive whole.
package main

import (
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"syscall"
	"unsafe"
)

const (
	connect   = 0x10
	publish   = 0x30
	subscribe = 0x80
	typeMask  = 0xf0
)

func main() {
	listen := flag.String("listen", "127.0.0.1:1885", "`address` to listen on")
	flag.Parse()
	if err := serve(*listen); err != nil {
		fmt.Fprintln(os.Stderr, "floor:", err)
		os.Exit(1)
	}
}

// floor is the state of the one thread.
type floor struct {
	ep, listener int
	subscribers  []int
	events       [512]syscall.EpollEvent
	buf          [64 << 10]byte
}

// serve runs until it fails or the process is killed.
func serve(address string) error {
	at, err := netip.ParseAddrPort(address)
	if err != nil || !at.Addr().Is4() {
		return fmt.Errorf("address %q: want IPv4:port", address)
	}
	f := new(floor)
	if f.ep, err = syscall.EpollCreate1(0); err != nil {
		return fmt.Errorf("create epoll: %w", err)
	}
	if f.listener, err = syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_NONBLOCK, 0); err != nil {
		return fmt.Errorf("create socket: %w", err)
	}
	err = errors.Join(
		syscall.SetsockoptInt(f.listener, syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1),
		syscall.SetsockoptInt(f.listener, syscall.IPPROTO_TCP, syscall.TCP_NODELAY, 1), // accepted sockets inherit it
		syscall.Bind(f.listener, &syscall.SockaddrInet4{Addr: at.Addr().As4(), Port: int(at.Port())}),
		syscall.Listen(f.listener, 4096),
		f.add(f.listener),
	)
	for err == nil {
		err = f.turn()
	}
	return err
}

func (f *floor) add(fd int) error {
	return syscall.EpollCtl(f.ep, syscall.EPOLL_CTL_ADD, fd, &syscall.EpollEvent{Events: syscall.EPOLLIN, Fd: int32(fd)})
}

func (f *floor) turn() error {
	n, err := syscall.EpollWait(f.ep, f.events[:], -1)
	if errors.Is(err, syscall.EINTR) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("wait for events: %w", err)
	}
	for _, e := range f.events[:n] {
		fd := int(e.Fd)
		if fd == f.listener {
			err = f.accept()
		} else {
			err = f.read(fd)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (f *floor) accept() error {
	fd, _, err := syscall.Accept4(f.listener, syscall.SOCK_NONBLOCK)
	if err != nil {
		return fmt.Errorf("accept: %w", err)
	}
	return f.add(fd)
}

func (f *floor) read(fd int) error {
	n, err := syscall.Read(fd, f.buf[:])
	if n <= 0 || err != nil {
		return syscall.Close(fd) // the load has ended
	}
	switch f.buf[0] & typeMask {
	case connect:
		_, err = syscall.Write(fd, []byte{0x20, 2, 0, 0})
	case subscribe:
		f.subscribers = append(f.subscribers, fd)
		_, err = syscall.Write(fd, []byte{0x90, 3, 0, 1, 0})
	case publish:
		for _, to := range f.subscribers {
			_, _, errno := syscall.RawSyscall(syscall.SYS_WRITE, uintptr(to), uintptr(unsafe.Pointer(&f.buf)), uintptr(n))
			if errno != 0 {
				return fmt.Errorf("write: %w", errno)
			}
		}
	}
	return err
}
