//go:build amd64 || arm64 || loong64 || riscv64

package epoll

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"midge/internal/engine"
)

// sockets are those that accept connections.
type sockets struct {
	// mu guards what follows. The first thread holds it while it accepts a connection, so that
	// no socket is closed under its hands.
	mu     sync.Mutex
	all    map[int32]*socket // by number
	last   int32             // number
	runs   bool              // the first thread waits for connections
	closed bool
}

// socket is one that accepts connections.
type socket struct {
	fd       int
	number   int32 // among all that the engine has had
	listener uint8 // engine.Listener.Number of connections that come
	addr     net.Addr
	watched  bool // the first thread waits for its connections
}

// listening is a thread's part in accepting connections.
type listening struct {
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

// Listen opens a socket and returns the address it got. The kernel keeps connections
// waiting until Run, or until Accept if the engine runs already. Safe from any goroutine.
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
	s := &socket{fd: fd}
	switch sa := sa.(type) {
	case *syscall.SockaddrInet4:
		s.addr = &net.TCPAddr{IP: append(net.IP(nil), sa.Addr[:]...), Port: sa.Port}
	case *syscall.SockaddrInet6:
		s.addr = &net.TCPAddr{IP: append(net.IP(nil), sa.Addr[:]...), Port: sa.Port, Zone: zone}
	case *syscall.SockaddrUnix:
		s.addr = &net.UnixAddr{Name: sa.Name, Net: "unix"}
	}
	e.sockets.mu.Lock()
	defer e.sockets.mu.Unlock()
	if e.sockets.closed {
		closeFD(fd)
		return nil, fmt.Errorf("listen on %q: %w", addr, net.ErrClosed)
	}
	e.sockets.last++
	s.number = e.sockets.last
	e.sockets.all[s.number] = s
	e.name(s, at)
	return s.addr, nil
}

// name has the connections to a socket that come from now on be those of a listener. The
// caller holds the lock.
func (e *Engine) name(s *socket, at engine.Listener) {
	_, local := s.addr.(*net.UnixAddr)
	name := at.Name
	for _, x := range e.sockets.all { // a listener without a name is called as its first socket
		if known := e.names[at.Number].Load(); name == "" && x != s && int(x.listener) == at.Number && known != nil {
			name = *known
		}
	}
	name = cmp.Or(name, s.addr.String())
	e.names[at.Number].Store(&name)
	e.local[at.Number].Store(local)
	s.listener = uint8(at.Number)
}

// Accept has connections to a socket come, from now on as those of a listener: at is it, of
// which only Number and Name count. Safe from any goroutine while the engine runs.
func (e *Engine) Accept(addr net.Addr, at engine.Listener) error {
	e.sockets.mu.Lock()
	defer e.sockets.mu.Unlock()
	s := e.sockets.find(addr)
	if s == nil {
		return fmt.Errorf("accept on %v: %w", addr, net.ErrClosed)
	}
	e.name(s, at)
	if e.sockets.runs {
		return e.watch(s)
	}
	return nil
}

// Unlisten closes a socket. Its connections stay. Safe from any goroutine.
func (e *Engine) Unlisten(addr net.Addr) error {
	e.sockets.mu.Lock()
	s := e.sockets.find(addr)
	if s == nil {
		e.sockets.mu.Unlock()
		return fmt.Errorf("close %v: %w", addr, net.ErrClosed)
	}
	delete(e.sockets.all, s.number)
	if s.watched {
		control(e.pollers[0].top, syscall.EPOLL_CTL_DEL, s.fd, 0, 0, 0)
	}
	e.sockets.mu.Unlock()
	closeFD(s.fd) // which resets those that wait, and may take a moment
	return nil
}

// Connections is how many connections of listeners with a number there are. Without any, and
// without a socket, the number may be another listener's. Safe from any goroutine.
func (e *Engine) Connections(number int) int { return int(e.open[number].Load()) }

// Decorate has a shard be called by way of another one. Call it on the shard's thread.
func (e *Engine) Decorate(shard int, with engine.Shard) { e.shards[shard].handler = with }

// find returns the socket with an address, nil if there is none.
func (l *sockets) find(addr net.Addr) *socket {
	for _, s := range l.all {
		if s.addr.Network() == addr.Network() && s.addr.String() == addr.String() {
			return s
		}
	}
	return nil
}

// watch makes the first thread accept the connections to a socket. The caller holds the lock.
func (e *Engine) watch(s *socket) error {
	if s.watched {
		return nil
	}
	s.watched = true
	if err := control(e.pollers[0].top, syscall.EPOLL_CTL_ADD, s.fd, epollIn, s.number, kindListen); err != nil {
		return fmt.Errorf("watch listener %s: %w", s.addr, err)
	}
	return nil
}

// watchAll makes the first thread accept connections.
func (e *Engine) watchAll() error {
	e.sockets.mu.Lock()
	defer e.sockets.mu.Unlock()
	e.sockets.runs = true
	for _, s := range e.sockets.all {
		if err := e.watch(s); err != nil {
			return err
		}
	}
	return nil
}

// closeAll closes all sockets.
func (l *sockets) closeAll() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	for _, s := range l.all {
		closeFD(s.fd)
	}
	l.all = nil
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

// due is when the thread must accept again.
func (l *listening) due() time.Duration {
	if l.resumeAt > 0 {
		return l.resumeAt
	}
	return engine.Never
}

// accept takes new connections to a socket and spreads them over the shards.
func (p *poller) accept(socket int32) {
	p.left = true
	for range acceptsPerTurn {
		fd, listener, errno := p.engine.sockets.accept(socket)
		switch errno {
		case 0:
			p.welcome(fd, listener)
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

// accept accepts a connection to a socket. One that was closed has none.
func (l *sockets) accept(socket int32) (fd int32, listener uint8, errno syscall.Errno) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.all[socket]
	if s == nil {
		return -1, 0, syscall.EAGAIN
	}
	fd, errno = accept(s.fd)
	return fd, s.listener, errno
}

// welcome gives a new connection to a shard, in turn.
func (p *poller) welcome(fd int32, listener uint8) {
	e := p.engine
	id, c := e.slab.Get()
	c.id, c.fd, c.flags, c.listener = id, fd, 0, listener
	e.counters.Accepts.Add(1)
	e.counters.Open.Add(1)
	e.open[listener].Add(1)
	s := e.shards[int(e.nextConn.Add(1)-1)%len(e.shards)]
	c.shard = s
	if p.thread.Holds(s.Shard) {
		s.adopt(c, false)
		return
	}
	e.loop.Post(s.Index(), func() { s.adopt(c, false) })
}

// watchFor has epoll report events of all sockets, or none.
func (p *poller) watchFor(events uint32) {
	l := &p.engine.sockets
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range l.all {
		if s.watched {
			control(p.top, syscall.EPOLL_CTL_MOD, s.fd, events, s.number, kindListen)
		}
	}
}

// pauseAccepts stops accepting for a while: there is no descriptor for another
// connection, and the kernel would report the waiting one without end.
func (p *poller) pauseAccepts(errno syscall.Errno) {
	e := p.engine
	e.counters.Refused.Add(1)
	p.watchFor(0)
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
	p.watchFor(epollIn)
}
