//go:build amd64 || arm64 || loong64 || riscv64

package pebblestore

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"syscall"
	"time"
	"unsafe"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// directWriter writes blocks to a file that is open for direct input and output,
// and returns when they are on disk. The kernel does it by itself (io_submit), and
// reports the end through an eventfd. So the goroutine waits in Go's own poller, as
// one that reads from a connection. A goroutine in fdatasync holds a processor, which
// Go's monitor stays awake to take away; that costs more than the sync.
//
// One goroutine at a time uses it. The zero value is ready for use.
type directWriter struct {
	ready   bool
	refused bool     // by the kernel, a sandbox or the file system: there is no second try
	context uintptr  // io_setup's
	event   *os.File // an eventfd
	eventFD uint32   // of it
	raw     syscall.RawConn
	ended   func(uintptr) bool // for raw.Read: the write has ended
	request ioRequest
	result  ioResult
}

// ioRequest is struct iocb of linux/aio_abi.h.
type ioRequest struct {
	_          uint64 // for whoever asks
	_          uint32 // the kernel's
	writeFlags uint32
	op         uint16
	_          int16 // priority
	fd         uint32
	addr       uint64
	size       uint64
	offset     int64
	_          uint64
	flags      uint32
	eventFD    uint32
}

// ioResult is struct io_event.
type ioResult struct {
	_, _   uint64 // of the request: for whoever asks, and its address
	result int64
	_      int64
}

const (
	opWrite      = 1      // IOCB_CMD_PWRITE
	notifyEvent  = 1      // IOCB_FLAG_RESFD
	writeSynced  = 0x0002 // RWF_DSYNC
	requestDepth = 1
)

// open opens a file for direct input and output, and reports whether write can
// write it then.
func (w *directWriter) open(f vfs.File) bool {
	if !w.ready && !w.refused {
		if err := w.begin(); err != nil {
			w.close()
			w.refused = true
			return false
		}
		w.ready = true
	}
	return w.ready && setDirect(f, true) == nil
}

// giveUp makes an ordinary file of one again: the file system doesn't do it.
func (w *directWriter) giveUp(f vfs.File) {
	w.ready, w.refused = false, true
	_ = setDirect(f, false)
}

func setDirect(f vfs.File, on bool) error {
	flags, _, errno := syscall.Syscall(syscall.SYS_FCNTL, f.Fd(), syscall.F_GETFL, 0)
	if errno != 0 {
		return errno
	}
	if on {
		flags |= syscall.O_DIRECT
	} else {
		flags &^= syscall.O_DIRECT
	}
	if _, _, errno = syscall.Syscall(syscall.SYS_FCNTL, f.Fd(), syscall.F_SETFL, flags); errno != 0 {
		return errno
	}
	return nil
}

func (w *directWriter) begin() error {
	fd, _, errno := syscall.Syscall(syscall.SYS_EVENTFD2, 0, syscall.O_NONBLOCK|syscall.O_CLOEXEC, 0)
	if errno != 0 {
		return fmt.Errorf("eventfd2: %w", errno)
	}
	w.event, w.eventFD = os.NewFile(uintptr(fd), "eventfd"), uint32(fd)
	var err error
	w.raw, err = w.event.SyscallConn()
	if err = errors.Join(err, w.event.SetReadDeadline(time.Time{})); err != nil { // Go's poller has not taken it
		return err
	}
	if _, _, errno := syscall.Syscall(syscall.SYS_IO_SETUP, requestDepth, uintptr(unsafe.Pointer(&w.context)), 0); errno != 0 {
		return fmt.Errorf("io_setup: %w", errno)
	}
	w.ended = func(uintptr) bool {
		var now syscall.Timespec
		n, _, _ := syscall.RawSyscall6(syscall.SYS_IO_GETEVENTS, w.context, 0, 1,
			uintptr(unsafe.Pointer(&w.result)), uintptr(unsafe.Pointer(&now)), 0)
		return n == 1
	}
	return nil
}

// write writes b at an offset, and has it on disk when it returns. It reports
// whether that could be tried at all.
//
// The runtime is told of the call (Syscall), although that wakes its monitor: where a
// file system is frozen for a snapshot, or its journal is full, the kernel lets the
// call wait, and a processor that nobody can take away would stop the whole broker.
func (w *directWriter) write(f vfs.File, b []byte, at int64) (tried bool, err error) {
	w.request = ioRequest{
		op: opWrite, fd: uint32(f.Fd()), writeFlags: writeSynced, flags: notifyEvent, eventFD: w.eventFD,
		addr: uint64(uintptr(unsafe.Pointer(&b[0]))), size: uint64(len(b)), offset: at,
	}
	request := &w.request
	if _, _, errno := syscall.Syscall(syscall.SYS_IO_SUBMIT, w.context, 1, uintptr(unsafe.Pointer(&request))); errno != 0 {
		return false, nil
	}
	if err := w.raw.Read(w.ended); err != nil {
		return true, fmt.Errorf("wait for a write: %w", err)
	}
	runtime.KeepAlive(b)
	switch n := w.result.result; {
	case n == -int64(syscall.EINVAL):
		return false, nil
	case n < 0:
		return true, syscall.Errno(-n)
	default:
		return n == int64(len(b)), nil
	}
}

// close gives everything back. nil has nothing.
func (w *directWriter) close() {
	if w != nil && w.event != nil {
		w.ready, w.refused = false, true
		syscall.Syscall(syscall.SYS_IO_DESTROY, w.context, 0, 0)
		w.event.Close()
		w.event = nil
	}
}
