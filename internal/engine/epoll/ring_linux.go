//go:build amd64 || arm64 || loong64 || riscv64

package epoll

import (
	"errors"
	"fmt"
	"runtime"
	"sync/atomic"
	"syscall"
	"unsafe"
)

// ring is an io_uring that sends. One thread creates and uses it, and the
// kernel insists on that (IORING_SETUP_SINGLE_ISSUER). It holds addresses of
// Go memory only between send and submit, while the caller keeps that memory
// reachable; Go does not move it.
type ring struct {
	fd     int
	rings  []byte // mapped: heads, tails and completions
	table  []byte // mapped: submissions
	sqHead *uint32
	sqTail *uint32
	cqHead *uint32
	cqTail *uint32
	cqes   unsafe.Pointer
	sqSize uint32
	sqMask uint32
	cqMask uint32
	tail   uint32 // submissions written
	sent   uint32 // submissions that the kernel has taken

	enterFD    uintptr // fd, or its number among the registered ones
	enterFlags uintptr
}

// ringEntries is the size of a batch. More than 256 gained nothing
// (bench/results/engine.md).
const ringEntries = 256

// Numbers of linux/io_uring.h; the system calls have them on every port of Go
// that this file is built for.
const (
	sysRingSetup    = 425
	sysRingEnter    = 426
	sysRingRegister = 427

	setupCQSize       = 1 << 3
	setupSubmitAll    = 1 << 7
	setupSingleIssuer = 1 << 12
	setupDeferTaskrun = 1 << 13
	setupNoSQArray    = 1 << 16

	enterGetEvents      = 1 << 0
	enterRegisteredRing = 1 << 4

	registerRingFDs   = 20
	unregisterRingFDs = 21

	opSend = 26

	offsetSQEs = 0x10000000
)

// ringParams is struct io_uring_params.
type ringParams struct {
	sqEntries, cqEntries, flags, sqThreadCPU, sqThreadIdle, features, wqFD uint32
	reserved                                                               [3]uint32
	sq                                                                     struct {
		head, tail, mask, entries, flags, dropped, array, reserved uint32
		userAddr                                                   uint64
	}
	cq struct {
		head, tail, mask, entries, overflow, cqes, flags, reserved uint32
		userAddr                                                   uint64
	}
}

// submission is struct io_uring_sqe.
type submission struct {
	op       uint8
	flags    uint8
	ioprio   uint16
	fd       int32
	offset   uint64
	addr     uint64
	size     uint32
	msgFlags uint32
	userData uint64
	unused   [3]uint64
}

// completion is struct io_uring_cqe.
type completion struct {
	userData uint64
	result   int32
	flags    uint32
}

// newRing creates a ring for batches of n sends, a power of two.
func newRing(n uint32) (*ring, error) {
	p := ringParams{
		flags:     setupSingleIssuer | setupDeferTaskrun | setupCQSize | setupSubmitAll | setupNoSQArray,
		cqEntries: 2 * n,
	}
	fd, _, errno := syscall.Syscall(sysRingSetup, uintptr(n), uintptr(unsafe.Pointer(&p)), 0)
	if errno == syscall.EINVAL { // before Linux 6.6: without the last flag
		p = ringParams{flags: p.flags &^ setupNoSQArray, cqEntries: 2 * n}
		fd, _, errno = syscall.Syscall(sysRingSetup, uintptr(n), uintptr(unsafe.Pointer(&p)), 0)
	}
	switch errno {
	case 0:
	case syscall.EINVAL:
		return nil, errors.New("the kernel is older than Linux 6.1")
	case syscall.ENOSYS:
		return nil, errors.New("the kernel has none, or a sandbox hides it")
	case syscall.EPERM, syscall.EACCES:
		return nil, errors.New("not permitted (sysctl kernel.io_uring_disabled, or seccomp)")
	default:
		return nil, fmt.Errorf("io_uring_setup: %w", errno)
	}
	r := &ring{fd: int(fd), enterFD: fd}
	if err := r.mapMemory(&p); err != nil {
		r.close()
		return nil, err
	}
	r.register()
	return r, nil
}

// mapMemory maps what the kernel shares.
func (r *ring) mapMemory(p *ringParams) error {
	size := max(p.sq.array+4*p.sqEntries, p.cq.cqes+p.cqEntries*uint32(unsafe.Sizeof(completion{})))
	const prot, flags = syscall.PROT_READ | syscall.PROT_WRITE, syscall.MAP_SHARED | syscall.MAP_POPULATE
	var err error
	if r.rings, err = syscall.Mmap(r.fd, 0, int(size), prot, flags); err != nil {
		return fmt.Errorf("map rings of io_uring: %w", err)
	}
	if r.table, err = syscall.Mmap(r.fd, offsetSQEs, int(p.sqEntries)*int(unsafe.Sizeof(submission{})), prot, flags); err != nil {
		return fmt.Errorf("map submissions of io_uring: %w", err)
	}
	word := func(offset uint32) *uint32 { return (*uint32)(unsafe.Pointer(&r.rings[offset])) }
	r.sqHead, r.sqTail, r.sqMask = word(p.sq.head), word(p.sq.tail), *word(p.sq.mask)
	r.cqHead, r.cqTail, r.cqMask = word(p.cq.head), word(p.cq.tail), *word(p.cq.mask)
	r.cqes = unsafe.Pointer(&r.rings[p.cq.cqes])
	r.sqSize = p.sqEntries
	if p.flags&setupNoSQArray == 0 {
		for i := range p.sqEntries {
			*word(p.sq.array + 4*i) = i
		}
	}
	return nil
}

// register spares the kernel looking up the descriptor at each submission.
// Where it is refused, the descriptor itself does.
func (r *ring) register() {
	if u := (ringUpdate{offset: 1<<32 - 1, data: uint64(r.fd)}); r.update(registerRingFDs, &u) {
		r.enterFD, r.enterFlags = uintptr(u.offset), enterRegisteredRing
	}
}

// ringUpdate is struct io_uring_rsrc_update.
type ringUpdate struct {
	offset, reserved uint32
	data             uint64
}

func (r *ring) update(how uintptr, u *ringUpdate) bool {
	n, _, errno := syscall.Syscall6(sysRingRegister, uintptr(r.fd), how, uintptr(unsafe.Pointer(u)), 1, 0, 0)
	return errno == 0 && n == 1
}

// close gives everything back. The thread that made the ring calls it, and may
// make another one.
func (r *ring) close() {
	if r.enterFlags&enterRegisteredRing != 0 {
		r.update(unregisterRingFDs, &ringUpdate{offset: uint32(r.enterFD)})
	}
	if r.rings != nil {
		syscall.Munmap(r.rings)
	}
	if r.table != nil {
		syscall.Munmap(r.table)
	}
	closeFD(r.fd)
}

// queued is the number of sends that wait for submit.
func (r *ring) queued() uint32 { return r.tail - r.sent }

// full reports whether submit must come before the next send.
func (r *ring) full() bool { return r.queued() == r.sqSize }

// send adds a send of b, which must stay as it is until submit has returned.
func (r *ring) send(fd int32, b []byte, userData uint64) {
	*r.sqe(r.tail) = submission{
		op:       opSend,
		fd:       fd,
		addr:     uint64(uintptr(unsafe.Pointer(&b[0]))),
		size:     uint32(len(b)),
		msgFlags: sendFlags,
		userData: userData,
	}
	r.tail++
}

// submit carries out what was added and calls done for each send with the
// number of bytes or a negative errno. The sends don't block, so that each has
// ended when the call of the kernel returns; should one not have, submit waits
// for it. If the kernel refuses the call itself, what it has not taken is done
// with EAGAIN, and the ring is of no use any more.
func (r *ring) submit(done func(userData uint64, result int32)) error {
	atomic.StoreUint32(r.sqTail, r.tail)
	open := r.queued()
	for open > 0 {
		unsent := r.queued()
		wait := uintptr(0)
		if unsent == 0 {
			wait = 1
		}
		n, _, errno := syscall.RawSyscall6(sysRingEnter, r.enterFD, uintptr(unsent), wait,
			enterGetEvents|r.enterFlags, 0, 0)
		switch errno {
		case 0:
			r.sent += uint32(n)
		case syscall.EINTR, syscall.EAGAIN, syscall.EBUSY:
		default:
			for ; r.sent != r.tail; r.sent++ {
				done(r.sqe(r.sent).userData, -int32(syscall.EAGAIN))
			}
			return fmt.Errorf("io_uring_enter: %w", errno)
		}
		head, tail := atomic.LoadUint32(r.cqHead), atomic.LoadUint32(r.cqTail)
		for ; head != tail; head++ {
			cqe := *(*completion)(unsafe.Add(r.cqes, uintptr(head&r.cqMask)*unsafe.Sizeof(completion{})))
			done(cqe.userData, cqe.result)
			open--
		}
		atomic.StoreUint32(r.cqHead, head)
	}
	return nil
}

// sqe is the submission with a number, counted from the first one.
func (r *ring) sqe(n uint32) *submission {
	return (*submission)(unsafe.Add(unsafe.Pointer(&r.table[0]), uintptr(n&r.sqMask)*unsafe.Sizeof(submission{})))
}

// probeRing sends a byte over a ring of its own, and says why it can't.
func probeRing() error {
	runtime.LockOSThread() // the ring belongs to one thread
	defer runtime.UnlockOSThread()
	r, err := newRing(4)
	if err != nil {
		return err
	}
	defer r.close()
	pair, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_NONBLOCK|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("socketpair: %w", err)
	}
	defer closeFD(pair[0])
	defer closeFD(pair[1])
	r.send(int32(pair[0]), []byte{1}, 1)
	var result int32
	if err := r.submit(func(_ uint64, res int32) { result = res }); err != nil {
		return err
	}
	if result != 1 {
		return fmt.Errorf("send: %w", syscall.Errno(-result))
	}
	return nil
}
