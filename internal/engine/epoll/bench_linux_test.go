//go:build amd64 || arm64 || loong64 || riscv64

package epoll_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"midge/internal/engine"
	"midge/internal/engine/epoll"
)

// crowd is an engine.Shard that sends what one connection says to all.
type crowd struct {
	echo
	conns map[engine.Conn]bool
}

func (c *crowd) Open(n engine.Conn)            { c.conns[n] = true }
func (c *crowd) Closed(n engine.Conn, _ error) { delete(c.conns, n) }

func (c *crowd) Data(_ engine.Conn, b []byte) int {
	for n := range c.conns {
		n.Send(b, nil)
	}
	return len(b)
}

// connect runs an engine until the end of the benchmark, and connects clients to it.
func connect(b *testing.B, clients, shards int, handler func() engine.Shard) []net.Conn {
	b.Helper()
	handlers := make([]engine.Shard, shards)
	for i := range handlers {
		handlers[i] = handler()
	}
	e, err := epoll.New(handlers, epoll.Config{})
	if err != nil {
		b.Fatal(err)
	}
	addr, err := e.Listen(engine.Listener{Network: "tcp", Address: "127.0.0.1:0"})
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		if err := e.Run(ctx); err != nil {
			b.Error(err)
		}
	})
	conns := make([]net.Conn, clients)
	b.Cleanup(func() {
		for _, c := range conns {
			if c != nil {
				c.Close()
			}
		}
		cancel()
		running.Wait()
	})
	for i := range conns {
		if conns[i], err = net.Dial("tcp", addr.String()); err != nil {
			b.Fatal(err)
		}
	}
	for e.Counters().Open.Load() < int64(clients) {
		time.Sleep(time.Millisecond)
	}
	return conns
}

// exchange says something on each of the first connections, and reads it from all.
func exchange(b *testing.B, senders, receivers []net.Conn, message []byte) {
	for _, c := range senders {
		if _, err := c.Write(message); err != nil {
			b.Fatal(err)
		}
	}
	answer := make([]byte, len(message))
	for _, c := range receivers {
		if _, err := io.ReadFull(c, answer); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkEcho is a message on each of some connections, and its echo.
func BenchmarkEcho(b *testing.B) {
	for _, clients := range []int{1, 100} {
		for _, size := range []int{64, 32 << 10} {
			b.Run(fmt.Sprintf("clients=%d/bytes=%d", clients, size), func(b *testing.B) {
				conns := connect(b, clients, 8, func() engine.Shard { return echo{} })
				message := make([]byte, size)
				b.ReportAllocs()
				for b.Loop() {
					exchange(b, conns, conns, message)
				}
			})
		}
	}
}

// BenchmarkFanOut is a message to 1,000 connections.
func BenchmarkFanOut(b *testing.B) {
	for _, size := range []int{64, 1 << 10} {
		b.Run(fmt.Sprint("bytes=", size), func(b *testing.B) {
			conns := connect(b, 1000, 1, func() engine.Shard { return &crowd{conns: map[engine.Conn]bool{}} })
			message := make([]byte, size)
			b.ReportAllocs()
			for b.Loop() {
				exchange(b, conns[:1], conns, message)
			}
		})
	}
}
