//go:build !linux || !(amd64 || arm64 || loong64 || riscv64)

package epoll

import (
	"context"
	"fmt"
	"net"
	"runtime"
	"time"

	"midge/internal/engine"
	"midge/internal/engine/loop"
)

// Engine runs shards on event loops. It exists on Linux only.
type Engine struct{ counters loop.Counters }

// New reports that this system has no epoll; use package gonet here.
func New([]engine.Shard, Config) (*Engine, error) {
	return nil, fmt.Errorf("epoll engine on %s/%s: %w", runtime.GOOS, runtime.GOARCH, engine.ErrUnsupported)
}

// Listen reports that this system has no epoll.
func (e *Engine) Listen(at engine.Listener) (net.Addr, error) {
	return nil, fmt.Errorf("listen on %s: %w", at.Address, engine.ErrUnsupported)
}

// Accept does nothing here.
func (e *Engine) Accept(net.Addr, engine.Listener) error { return engine.ErrUnsupported }

// Unlisten does nothing here.
func (e *Engine) Unlisten(net.Addr) error { return engine.ErrUnsupported }

// Connections is 0 here.
func (e *Engine) Connections(int) int { return 0 }

// Decorate does nothing here.
func (e *Engine) Decorate(int, engine.Shard) {}

// Run reports that this system has no epoll.
func (e *Engine) Run(context.Context) error {
	return fmt.Errorf("run epoll engine: %w", engine.ErrUnsupported)
}

// Wake does nothing here.
func (e *Engine) Wake(int) {}

// Post does nothing here.
func (e *Engine) Post(int, func()) {}

// Throttle does nothing here.
func (e *Engine) Throttle(int, bool) {}

// Now is always 0 here.
func (e *Engine) Now() time.Duration { return 0 }

// Describe says that this system has no epoll.
func (e *Engine) Describe() string { return "epoll is not supported here" }

// Counters are all zero here.
func (e *Engine) Counters() *loop.Counters { return &e.counters }
