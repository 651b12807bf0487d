//go:build !386

package engine

import (
	"encoding/binary"
	"syscall"
	"unsafe"
)

// AckedBytes is how many bytes the peer of a TCP socket has acknowledged. ok is
// false if the kernel does not say.
func AckedBytes(fd uintptr) (n uint64, ok bool) {
	const ackedAt = 120 // tcpi_bytes_acked in struct tcp_info, since Linux 4.1
	var info [ackedAt + 8]byte
	size := uint32(len(info))
	_, _, errno := syscall.RawSyscall6(syscall.SYS_GETSOCKOPT, fd, syscall.IPPROTO_TCP, syscall.TCP_INFO,
		uintptr(unsafe.Pointer(&info[0])), uintptr(unsafe.Pointer(&size)), 0)
	if errno != 0 || int(size) < len(info) {
		return 0, false
	}
	return binary.NativeEndian.Uint64(info[ackedAt:]), true
}
