//go:build unix

package gonet

import (
	"net"
	"sync"
	"syscall"
)

// writer writes what the system takes now. It is used again and again, so that a
// write allocates nothing.
type writer struct {
	b   []byte
	n   int
	try func(fd uintptr) bool
}

var writers = sync.Pool{New: func() any {
	w := &writer{}
	w.try = func(fd uintptr) bool {
		for {
			n, err := syscall.Write(int(fd), w.b)
			if err == syscall.EINTR {
				continue
			}
			if err == nil {
				w.n = n
			}
			return true
		}
	}
	return w
}}

// rawOf is how writeNow gets at the socket; nil if it can't.
func rawOf(nc net.Conn) syscall.RawConn {
	sc, ok := nc.(syscall.Conn)
	if !ok {
		return nil
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return nil
	}
	return raw
}

// writeNow writes as much as the system takes without waiting, and returns how
// much that was. What is wrong with a socket, a write that waits will report.
func writeNow(raw syscall.RawConn, b []byte) int {
	if raw == nil {
		return 0
	}
	w := writers.Get().(*writer)
	w.b, w.n = b, 0
	_ = raw.Write(w.try)
	n := w.n
	w.b = nil
	writers.Put(w)
	return n
}
