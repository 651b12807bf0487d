//go:build unix

package gonet

import (
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"time"
)

// readNow reads what has arrived, and returns errNothing if there is nothing.
func readNow(nc net.Conn, b []byte) (n int, err error) {
	sc, ok := nc.(syscall.Conn)
	if !ok {
		return readSoon(nc, b)
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return 0, err
	}
	var got error
	read := func(fd uintptr) bool {
		for {
			if n, got = syscall.Read(int(fd), b); got != syscall.EINTR {
				return true
			}
		}
	}
	for {
		err = raw.Read(read)
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			break
		}
		nc.SetReadDeadline(time.Time{}) // the one of Exhaust
	}
	switch {
	case err != nil:
		return 0, err
	case got == syscall.EAGAIN:
		return 0, errNothing
	case got != nil:
		return 0, os.NewSyscallError("read", got)
	case n == 0:
		return 0, io.EOF
	}
	return n, nil
}
