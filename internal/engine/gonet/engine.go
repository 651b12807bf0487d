package gonet

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"sync"
	"syscall"

	"midge/internal/engine"
)

// Engine is Threads with listeners.
type Engine struct {
	*Threads
	server *server

	mu      sync.Mutex
	sockets []*socket
	serving context.Context // nil before Run
	broken  context.CancelCauseFunc
	ended   bool           // Run accepts no more
	accepts sync.WaitGroup // of sockets
}

// socket is one that an Engine listens on.
type socket struct {
	net.Listener
	place    placed
	accepted bool // somebody accepts its connections
	closed   bool // by Unlisten
}

// NewEngine returns an engine for the shards. It starts nothing; see Run.
func NewEngine(shards []engine.Shard, cfg Config) *Engine {
	t := New(shards, cfg)
	return &Engine{Threads: t, server: newServer(t, shards, cfg)}
}

// Describe says in a few words what the engine does, for the banner.
func (e *Engine) Describe() string {
	return fmt.Sprintf("goroutine, one or two for each connection, %d shards", len(e.shards))
}

// Listen opens a socket and returns the address it got. The kernel keeps connections
// waiting until Run, or until Accept if the engine runs already. Safe from any goroutine.
func (e *Engine) Listen(at engine.Listener) (net.Addr, error) {
	if at.Number < 0 || at.Number >= engine.MaxListeners {
		return nil, fmt.Errorf("listen on %q: number %d of a listener is not below %d", at.Address, at.Number, engine.MaxListeners)
	}
	l, err := open(at)
	if err != nil {
		return nil, err
	}
	s := &socket{Listener: l}
	s.place.set(at, l.Addr())
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.ended {
		return nil, errors.Join(net.ErrClosed, l.Close())
	}
	e.sockets = append(e.sockets, s)
	return l.Addr(), nil
}

// Accept has connections to a socket come, from now on as those of a listener: at is it, of
// which only Number and Name count. Safe from any goroutine while the engine runs.
func (e *Engine) Accept(addr net.Addr, at engine.Listener) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	s := e.find(addr)
	if s == nil || e.ended {
		return fmt.Errorf("accept on %v: %w", addr, net.ErrClosed)
	}
	s.place.set(at, addr)
	if e.serving != nil && !s.accepted {
		e.accept(s)
	}
	return nil
}

// Unlisten closes a socket. Its connections stay. Safe from any goroutine.
func (e *Engine) Unlisten(addr net.Addr) error {
	e.mu.Lock()
	s := e.find(addr)
	if s != nil {
		s.closed = true
		e.sockets = slices.DeleteFunc(e.sockets, func(x *socket) bool { return x == s })
	}
	e.mu.Unlock()
	if s == nil {
		return fmt.Errorf("close %v: %w", addr, net.ErrClosed)
	}
	return s.Close()
}

// Connections is how many connections of listeners with a number there are. Without any, and
// without a socket, the number may be another listener's. Safe from any goroutine.
func (e *Engine) Connections(number int) int { return e.server.open(number) }

// Decorate has a shard be called by way of another one. Call it on the shard's thread.
func (e *Engine) Decorate(shard int, with engine.Shard) {
	e.Threads.shards[shard].handler = with
	e.server.shards[shard] = with
}

// find returns the socket with an address, nil if there is none.
func (e *Engine) find(addr net.Addr) *socket {
	i := slices.IndexFunc(e.sockets, func(s *socket) bool {
		return s.Addr().Network() == addr.Network() && s.Addr().String() == addr.String()
	})
	if i < 0 {
		return nil
	}
	return e.sockets[i]
}

// accept starts to accept the connections of a socket.
func (e *Engine) accept(s *socket) {
	s.accepted = true
	e.accepts.Go(func() {
		err := e.server.acceptAll(e.serving, s, &s.place)
		e.mu.Lock()
		closed := s.closed
		e.mu.Unlock()
		if err != nil && !closed {
			e.broken(err)
		}
		if !closed {
			s.Close()
		}
	})
}

// Run runs the shards, and on them the connections of all listeners, which end
// before the shards do. The first socket that breaks ends the others, and its error is
// returned.
func (e *Engine) Run(ctx context.Context) error {
	running, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	threads := make(chan error, 1)
	go func() { threads <- e.Threads.Run(running) }()

	serving, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	e.mu.Lock()
	e.serving, e.broken = serving, stop
	for _, s := range e.sockets {
		e.accept(s)
	}
	e.mu.Unlock()
	<-serving.Done()
	e.mu.Lock()
	e.ended = true
	for _, s := range e.sockets {
		s.Close()
	}
	e.mu.Unlock()
	e.accepts.Wait()
	e.server.closeAll()
	end()
	broken := context.Cause(serving)
	if errors.Is(broken, context.Canceled) {
		broken = nil
	}
	return errors.Join(broken, <-threads)
}

// open opens a listening socket, or copies one that is open.
func open(at engine.Listener) (net.Listener, error) {
	if at.Socket != nil {
		return net.FileListener(at.Socket)
	}
	if at.Network != "unix" {
		return net.Listen(at.Network, at.Address)
	}
	cfg := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error {
		return raw.Control(func(fd uintptr) { narrow(fd, at.Mode) })
	}}
	l, err := cfg.Listen(context.Background(), at.Network, at.Address)
	if err != nil {
		return nil, err
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	if at.Address[0] != '@' {
		err = os.Chmod(at.Address, at.Mode.Perm())
	}
	if err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}
