//go:build amd64 || arm64 || loong64 || riscv64

package epoll

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"syscall"
	"time"

	"midge/internal/engine"
)

// listener is a socket that accepts connections.
type listener struct {
	fd     int
	index  int // in Engine.listeners
	number uint8
	addr   net.Addr
}

// listening is a thread's part in accepting connections.
type listening struct {
	watched  []*listener
	resumeAt time.Duration // when to accept again; 0 unless paused
	logAfter time.Duration // don't complain about descriptors before
}

const (
	// acceptsPerTurn keeps a crowd of new connections from starving the
	// others.
	acceptsPerTurn = 64

	// acceptPause is how long nobody is accepted after the descriptors ran
	// out.
	acceptPause = 100 * time.Millisecond

	// complainEvery bounds the log lines about that.
	complainEvery = time.Minute
)

// Listen opens a listener and returns the address it got. Call it before
// Run; the kernel keeps connections waiting until then.
func (e *Engine) Listen(at engine.Listener) (net.Addr, error) {
	addr := at.Address
	if at.Number < 0 || at.Number >= engine.MaxListeners {
		return nil, fmt.Errorf("listen on %q: number %d of a listener is not below %d", addr, at.Number, engine.MaxListeners)
	}
	fd, zone, err := e.openSocket(at)
	if err != nil {
		return nil, fmt.Errorf("listen on %q: %w", addr, err)
	}
	sa, err := syscall.Getsockname(fd)
	if err != nil {
		closeFD(fd)
		return nil, fmt.Errorf("listen on %q: %w", addr, os.NewSyscallError("getsockname", err))
	}
	l := &listener{fd: fd, index: len(e.listeners), number: uint8(at.Number)}
	switch sa := sa.(type) {
	case *syscall.SockaddrInet4:
		l.addr = &net.TCPAddr{IP: append(net.IP(nil), sa.Addr[:]...), Port: sa.Port}
	case *syscall.SockaddrInet6:
		l.addr = &net.TCPAddr{IP: append(net.IP(nil), sa.Addr[:]...), Port: sa.Port, Zone: zone}
	case *syscall.SockaddrUnix:
		l.addr = &net.UnixAddr{Name: sa.Name, Net: "unix"}
		e.local[at.Number] = true
	}
	e.names[at.Number] = cmp.Or(e.names[at.Number], at.Name, l.addr.String())
	e.listeners = append(e.listeners, l)
	return l.addr, nil
}

// openSocket opens a socket that listens. zone is that of its address.
func (e *Engine) openSocket(at engine.Listener) (fd int, zone string, err error) {
	switch {
	case at.Socket != nil:
		fd, err = adoptSocket(at.Socket)
		return fd, "", err
	case at.Network == "unix":
		fd, err = e.listenUnix(at.Address, at.Mode)
		return fd, "", err
	}
	if _, _, err := net.SplitHostPort(at.Address); err != nil {
		return -1, "", err
	}
	a, err := net.ResolveTCPAddr(at.Network, at.Address)
	if err != nil {
		return -1, "", err
	}
	fd, err = e.listenSocket(at.Network, a)
	return fd, a.Zone, err
}

// adoptSocket takes over a socket that listens already.
func adoptSocket(f *os.File) (int, error) {
	raw, err := f.SyscallConn()
	if err != nil {
		return -1, err
	}
	fd := -1
	failed := raw.Control(func(of uintptr) { fd, err = dupSocket(int(of)) })
	if err := errors.Join(failed, err); err != nil {
		return -1, err
	}
	sa, err := syscall.Getsockname(fd)
	if err == nil {
		if _, local := sa.(*syscall.SockaddrUnix); !local {
			err = setOptions(fd, tcpOptions)
		}
		if errors.Is(err, syscall.ENOPROTOOPT) { // one of Multipath TCP doesn't have all of them
			err = nil
		}
	}
	if err == nil {
		err = syscall.SetNonblock(fd, true)
	}
	if err != nil {
		closeFD(fd)
		return -1, err
	}
	return fd, nil
}

// listenUnix opens a Unix socket. A name that begins with @ has no file.
func (e *Engine) listenUnix(path string, mode fs.FileMode) (int, error) {
	fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_NONBLOCK|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, os.NewSyscallError("socket", err)
	}
	err = os.NewSyscallError("fchmod", syscall.Fchmod(fd, uint32(mode.Perm()))) // which the file gets, less what umask takes away
	if err == nil {
		err = os.NewSyscallError("bind", syscall.Bind(fd, &syscall.SockaddrUnix{Name: path}))
	}
	if err == nil && path[0] != '@' {
		err = os.Chmod(path, mode.Perm())
	}
	if err == nil {
		err = os.NewSyscallError("listen", syscall.Listen(fd, e.cfg.Backlog))
	}
	if err != nil {
		closeFD(fd)
		return -1, err
	}
	return fd, nil
}

// listenSocket opens a socket that listens on a: on both IP versions if network
// and a name none and the system has IPv6.
func (e *Engine) listenSocket(network string, a *net.TCPAddr) (int, error) {
	if ip4 := a.IP.To4(); ip4 != nil || network == "tcp4" {
		sa := &syscall.SockaddrInet4{Port: a.Port}
		copy(sa.Addr[:], ip4)
		return e.bindSocket(syscall.AF_INET, false, sa)
	}
	sa := &syscall.SockaddrInet6{Port: a.Port}
	if a.IP != nil {
		sa.Addr = [16]byte(a.IP.To16())
		if a.Zone != "" {
			ifi, err := net.InterfaceByName(a.Zone)
			if err != nil {
				return -1, err
			}
			sa.ZoneId = uint32(ifi.Index)
		}
	}
	only := network == "tcp6" || sa.Addr != [16]byte{}
	fd, err := e.bindSocket(syscall.AF_INET6, only, sa)
	if a.IP == nil && !only && (errors.Is(err, syscall.EAFNOSUPPORT) || errors.Is(err, syscall.EADDRNOTAVAIL)) {
		return e.bindSocket(syscall.AF_INET, false, &syscall.SockaddrInet4{Port: a.Port})
	}
	return fd, err
}

// option is an option of a socket.
type option struct{ level, name, value int }

// tcpOptions are those that accepted sockets inherit.
var tcpOptions = []option{
	{syscall.SOL_SOCKET, syscall.SO_KEEPALIVE, 1},
	{syscall.IPPROTO_TCP, syscall.TCP_KEEPIDLE, int(engine.KeepAliveIdle / time.Second)},
	{syscall.IPPROTO_TCP, syscall.TCP_KEEPINTVL, int(engine.KeepAliveInterval / time.Second)},
	{syscall.IPPROTO_TCP, syscall.TCP_KEEPCNT, engine.KeepAliveProbes},
	{syscall.IPPROTO_TCP, tcpUserTimeout, int(engine.UserTimeout / time.Millisecond)},
	{syscall.IPPROTO_TCP, syscall.TCP_NODELAY, 1},
}

func setOptions(fd int, options []option) error {
	for _, o := range options {
		if err := syscall.SetsockoptInt(fd, o.level, o.name, o.value); err != nil {
			return os.NewSyscallError("setsockopt", err)
		}
	}
	return nil
}

// bindSocket opens a listening socket. only makes one of IPv6 leave IPv4
// alone. Accepted sockets inherit its options.
func (e *Engine) bindSocket(family int, only bool, sa syscall.Sockaddr) (int, error) {
	fd, err := syscall.Socket(family, syscall.SOCK_STREAM|syscall.SOCK_NONBLOCK|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, os.NewSyscallError("socket", err)
	}
	options := append([]option{{syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1}}, tcpOptions...)
	if family == syscall.AF_INET6 {
		value := 0
		if only {
			value = 1
		}
		options = append(options, option{syscall.IPPROTO_IPV6, syscall.IPV6_V6ONLY, value})
	}
	if err := setOptions(fd, options); err != nil {
		closeFD(fd)
		return -1, err
	}
	if err := syscall.Bind(fd, sa); err != nil {
		closeFD(fd)
		return -1, os.NewSyscallError("bind", err)
	}
	if err := syscall.Listen(fd, e.cfg.Backlog); err != nil {
		closeFD(fd)
		return -1, os.NewSyscallError("listen", err)
	}
	return fd, nil
}

// listen makes the thread accept the listener's connections.
func (p *poller) listen(l *listener) error {
	p.watched = append(p.watched, l)
	return control(p.top, syscall.EPOLL_CTL_ADD, l.fd, epollIn, int32(l.index), kindListen)
}

// due is when the thread must accept again.
func (l *listening) due() time.Duration {
	if l.resumeAt > 0 {
		return l.resumeAt
	}
	return engine.Never
}

// accept takes new connections and spreads them over the shards.
func (p *poller) accept(l *listener) {
	p.left = true
	for range acceptsPerTurn {
		fd, errno := accept(l.fd)
		switch errno {
		case 0:
			p.welcome(fd, l)
		case syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM:
			p.pauseAccepts(errno)
			return
		case syscall.EAGAIN:
			return
		}
		// Everything else is the fate of one connection that ended before it
		// was accepted (accept(2)).
	}
}

// welcome gives a new connection to a shard, in turn.
func (p *poller) welcome(fd int32, l *listener) {
	e := p.engine
	id, c := e.slab.Get()
	c.id, c.fd, c.flags, c.listener = id, fd, 0, l.number
	e.counters.Accepts.Add(1)
	e.counters.Open.Add(1)
	s := e.shards[int(e.nextConn.Add(1)-1)%len(e.shards)]
	c.shard = s
	if p.thread.Holds(s.Shard) {
		s.adopt(c, false)
		return
	}
	e.loop.Post(s.Index(), func() { s.adopt(c, false) })
}

// pauseAccepts stops accepting for a while: there is no descriptor for another
// connection, and the kernel would report the waiting one without end.
func (p *poller) pauseAccepts(errno syscall.Errno) {
	e := p.engine
	e.counters.Refused.Add(1)
	for _, l := range p.watched {
		control(p.top, syscall.EPOLL_CTL_MOD, l.fd, 0, int32(l.index), kindListen)
	}
	p.resumeAt = p.thread.Now() + acceptPause
	if p.thread.Now() < p.logAfter {
		return
	}
	p.logAfter = p.thread.Now() + complainEvery
	var limit syscall.Rlimit
	syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit)
	text := "cannot accept connections: file descriptors used up, raise the limit of open files (RLIMIT_NOFILE, ulimit -n)"
	if errno != syscall.EMFILE {
		text = "cannot accept connections: the system is out of files or memory"
	}
	e.cfg.Log.Error(text, "error", errno, "rlimit_nofile", limit.Cur, "connections", e.counters.Open.Load())
}

// resumeAccepts ends the pause when its time is over.
func (p *poller) resumeAccepts() {
	if p.resumeAt == 0 || p.thread.Now() < p.resumeAt {
		return
	}
	p.resumeAt, p.left = 0, true
	for _, l := range p.watched {
		control(p.top, syscall.EPOLL_CTL_MOD, l.fd, epollIn, int32(l.index), kindListen)
	}
}
