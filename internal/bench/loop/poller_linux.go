//go:build !386

package loop

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"syscall"
	"time"
	"unsafe"
)

const (
	readSize  = 256 << 10
	maxEvents = 512
)

// poller is a loop over epoll. Connections are non-blocking sockets. It reads
// each ready one once a turn and writes each touched one once a turn; while
// the handler allocates nothing, neither does the loop.
type poller struct {
	cfg     Config
	handler Handler
	peer    syscall.Sockaddr
	family  int

	ep         int
	byFD       []*Conn
	generation int32
	dialed     int
	dirty      []*Conn
	slow       []*Conn
	nextSlow   time.Time
	failed     []failure // dials that failed at once, for the next turn
	events     [maxEvents]syscall.EpollEvent
	buf        []byte
	coarse     bool // no epoll_pwait2: the kernel is older than 5.11
}

type failure struct {
	conn *Conn
	err  error
}

func newPoller(cfg Config, h Handler) (Loop, error) {
	ep, err := syscall.EpollCreate1(syscall.EPOLL_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	l := &poller{cfg: cfg, handler: h, ep: ep, buf: make([]byte, readSize)}
	l.peer, l.family = sockaddr(cfg.Address)
	return l, nil
}

func sockaddr(a netip.AddrPort) (syscall.Sockaddr, int) {
	if a.Addr().Unmap().Is4() {
		return &syscall.SockaddrInet4{Addr: a.Addr().Unmap().As4(), Port: int(a.Port())}, syscall.AF_INET
	}
	return &syscall.SockaddrInet6{Addr: a.Addr().As16(), Port: int(a.Port())}, syscall.AF_INET6
}

func (l *poller) Engine() string { return "epoll" }

func (l *poller) Dial(c *Conn) {
	if err := l.dial(c); err != nil {
		l.failed = append(l.failed, failure{c, describe(l.cfg.Address, err)})
	}
}

func (l *poller) dial(c *Conn) error {
	fd, err := syscall.Socket(l.family, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC|syscall.SOCK_NONBLOCK, 0)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	err = l.options(fd, c)
	if err == nil {
		if err = syscall.Connect(fd, l.peer); errors.Is(err, syscall.EINPROGRESS) {
			err = nil
		}
	}
	l.generation++
	c.fd, c.generation, c.connecting, c.blocked = int32(fd), l.generation, true, true
	c.in, c.slow = c.in[:0], false
	if err == nil {
		err = l.interest(c, syscall.EPOLL_CTL_ADD)
	}
	if err != nil {
		c.fd = 0
		return errors.Join(err, syscall.Close(fd))
	}
	for len(l.byFD) <= fd {
		l.byFD = append(l.byFD, nil)
	}
	l.byFD[fd] = c
	return nil
}

func (l *poller) options(fd int, c *Conn) error {
	err := syscall.SetsockoptInt(fd, syscall.IPPROTO_TCP, syscall.TCP_NODELAY, 1)
	if c.ReadRate > 0 {
		// A small window, so that the peer feels that nobody reads.
		err = errors.Join(err, syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_RCVBUF, 4096))
	}
	if source := l.cfg.source(l.dialed); source.IsValid() {
		const bindAddressNoPort = 24 // IP_BIND_ADDRESS_NO_PORT: the port is chosen when the target is known
		local, _ := sockaddr(netip.AddrPortFrom(source, 0))
		err = errors.Join(err, syscall.SetsockoptInt(fd, syscall.SOL_IP, bindAddressNoPort, 1))
		if bound := syscall.Bind(fd, local); bound != nil {
			err = errors.Join(err, fmt.Errorf("from source address %v: %w", source, bound))
		}
	}
	l.dialed++
	return err
}

// interest sets the events that c waits for, edge-triggered: the kernel then
// neither looks again at sockets that were read, nor wants to hear which ones
// have output.
func (l *poller) interest(c *Conn, op int) error {
	e := syscall.EpollEvent{Events: syscall.EPOLLOUT | syscall.EPOLLRDHUP | edgeTriggered, Fd: c.fd, Pad: c.generation}
	if c.ReadRate == 0 {
		e.Events |= syscall.EPOLLIN
	}
	return os.NewSyscallError("epoll_ctl", syscall.EpollCtl(l.ep, op, int(c.fd), &e))
}

// edgeTriggered is EPOLLET as Linux has it; the constant of package syscall is
// negative.
const edgeTriggered = 1 << 31

func (l *poller) Touch(c *Conn) {
	if !c.dirty {
		c.dirty = true
		l.dirty = append(l.dirty, c)
	}
}

func (l *poller) Close(c *Conn) {
	if c.fd == 0 {
		return
	}
	if !c.blocked && len(c.Out) > 0 {
		_, _ = syscall.Write(int(c.fd), c.Out) // what is not taken now is given up
	}
	l.drop(c)
}

func (l *poller) drop(c *Conn) {
	l.byFD[c.fd] = nil
	_ = syscall.Close(int(c.fd)) // a socket; there is nothing to do about an error
	c.fd, c.Out, c.blocked, c.connecting = 0, c.Out[:0], false, false
}

func (l *poller) fail(c *Conn, err error) {
	l.drop(c)
	l.handler.Closed(c, err)
}

func (l *poller) Throttle(c *Conn, bytesPerSecond int) {
	c.ReadRate = bytesPerSecond
	if c.fd == 0 || c.connecting {
		return
	}
	l.follow(c)
	if err := l.interest(c, syscall.EPOLL_CTL_MOD); err != nil {
		l.fail(c, err)
	}
}

// follow puts a throttled connection on the list of those.
func (l *poller) follow(c *Conn) {
	if c.ReadRate > 0 && !c.slow {
		c.slow = true
		l.slow = append(l.slow, c)
	}
}

func (l *poller) Turn(wait time.Duration) error {
	l.flush()
	if len(l.slow) > 0 {
		wait = min(wait, max(0, time.Until(l.nextSlow)))
	}
	if len(l.failed) > 0 {
		wait = 0
	}
	n, err := l.wait(wait)
	if err != nil {
		return err
	}
	for _, f := range l.failed {
		l.handler.Closed(f.conn, f.err)
	}
	l.failed = l.failed[:0]
	for _, e := range l.events[:n] {
		if c := l.byFD[e.Fd]; c != nil && c.generation == e.Pad {
			l.event(c, e.Events)
		}
	}
	if len(l.slow) > 0 && !time.Now().Before(l.nextSlow) {
		l.readSlow()
	}
	l.flush()
	return nil
}

func (l *poller) event(c *Conn, events uint32) {
	if c.connecting && !l.connected(c) {
		return
	}
	if c.blocked && events&syscall.EPOLLOUT != 0 {
		c.blocked = false
		l.Touch(c)
	}
	if events&^syscall.EPOLLOUT == 0 || c.ReadRate > 0 && events&syscall.EPOLLERR == 0 {
		return
	}
	// Data and the end may come in one event; then it is read to the end.
	ending := events&(syscall.EPOLLRDHUP|syscall.EPOLLHUP|syscall.EPOLLERR) != 0
	for generation := c.generation; c.fd != 0 && c.generation == generation; {
		if n, full := l.read(c, len(l.buf)); !full && (n == 0 || !ending) {
			return
		}
	}
}

// connected ends the handshake of TCP; false if it failed.
func (l *poller) connected(c *Conn) bool {
	errno, err := syscall.GetsockoptInt(int(c.fd), syscall.SOL_SOCKET, syscall.SO_ERROR)
	if err == nil && errno != 0 {
		err = syscall.Errno(errno)
	}
	if err != nil {
		l.fail(c, describe(l.cfg.Address, err))
		return false
	}
	c.connecting, c.blocked = false, false
	l.follow(c)
	l.handler.Opened(c)
	return c.fd != 0
}

// wait is epoll_pwait2, whose timeout has the resolution that an open loop
// needs.
func (l *poller) wait(timeout time.Duration) (int, error) {
	if l.coarse {
		n, err := syscall.EpollWait(l.ep, l.events[:], int((timeout+time.Millisecond-1)/time.Millisecond))
		if errors.Is(err, syscall.EINTR) {
			return 0, nil
		}
		return n, os.NewSyscallError("epoll_wait", err)
	}
	const epollPwait2 = 441 // the same on all architectures
	ts := syscall.NsecToTimespec(max(0, timeout.Nanoseconds()))
	n, _, errno := syscall.RawSyscall6(epollPwait2, uintptr(l.ep), uintptr(unsafe.Pointer(&l.events)), maxEvents,
		uintptr(unsafe.Pointer(&ts)), 0, 0)
	switch errno {
	case 0:
		return int(n), nil
	case syscall.EINTR:
		return 0, nil
	case syscall.ENOSYS:
		l.coarse = true
		return l.wait(timeout)
	}
	return 0, os.NewSyscallError("epoll_pwait2", errno)
}

// read reads once, up to limit bytes; full if there may be more. The
// raw system calls don't tell Go's scheduler, which a call that can't block
// need not; recvfrom and sendto are shorter ways through the kernel than read
// and write.
func (l *poller) read(c *Conn, limit int) (n int, full bool) {
	held := copy(l.buf, c.in)
	limit = min(limit, len(l.buf)-held)
	got, _, errno := syscall.RawSyscall6(syscall.SYS_RECVFROM, uintptr(c.fd), uintptr(unsafe.Pointer(&l.buf[held])), uintptr(limit), 0, 0, 0)
	switch {
	case errno == syscall.EINTR:
		return 0, true
	case errno == syscall.EAGAIN:
		return 0, false
	case errno != 0:
		l.fail(c, os.NewSyscallError("recvfrom", errno))
		return 0, false
	case got == 0:
		l.fail(c, io.EOF)
		return 0, false
	}
	generation := c.generation
	b := l.buf[:held+int(got)]
	b = b[l.handler.Data(c, b):]
	if c.fd == 0 || c.generation != generation {
		return 0, false // closed by the handler
	}
	c.in = append(c.in[:0], b...)
	if len(c.in) > len(l.buf)/2 {
		l.buf = make([]byte, 2*len(l.buf)) // for a packet that is larger
	}
	return int(got), int(got) == limit
}

// readSlow reads the share of each throttled connection.
func (l *poller) readSlow() {
	l.nextSlow = time.Now().Add(slowEvery)
	slow := l.slow[:0]
	for _, c := range l.slow {
		if c.fd != 0 && c.ReadRate > 0 {
			l.read(c, slowShare(c.ReadRate))
		}
		if c.fd != 0 && c.ReadRate > 0 {
			slow = append(slow, c)
		} else {
			c.slow = false
		}
	}
	l.slow = slow
}

// flush writes every touched connection once.
func (l *poller) flush() {
	for i := 0; i < len(l.dirty); i++ { // a handler that hears of a failure may touch others
		c := l.dirty[i]
		c.dirty = false
		if c.fd != 0 && !c.blocked && len(c.Out) > 0 {
			l.write(c)
		}
	}
	l.dirty = l.dirty[:0]
}

func (l *poller) write(c *Conn) {
	n, _, errno := syscall.RawSyscall6(syscall.SYS_SENDTO, uintptr(c.fd), uintptr(unsafe.Pointer(&c.Out[0])), uintptr(len(c.Out)), syscall.MSG_NOSIGNAL, 0, 0)
	if errno != 0 && errno != syscall.EAGAIN {
		l.fail(c, os.NewSyscallError("sendto", errno))
		return
	}
	if errno != 0 {
		n = 0
	}
	c.Out = c.Out[:copy(c.Out, c.Out[n:])]
	c.blocked = len(c.Out) > 0 // until the kernel has room, of which an event tells
}

func (l *poller) Shut() error {
	for _, c := range l.byFD {
		if c != nil {
			l.drop(c)
		}
	}
	if err := syscall.Close(l.ep); err != nil {
		return fmt.Errorf("close epoll: %w", err)
	}
	return nil
}
