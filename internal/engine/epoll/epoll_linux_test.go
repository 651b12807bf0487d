//go:build amd64 || arm64 || loong64 || riscv64

package epoll_test

import (
	"testing"

	"midge/internal/engine"
	"midge/internal/engine/enginetest"
	"midge/internal/engine/epoll"
)

func TestEngine(t *testing.T) {
	for _, tt := range []struct {
		name string
		cfg  epoll.Config
	}{
		{"uring", epoll.Config{}},
		{"plain", epoll.Config{NoUring: true}},
		{"one thread", epoll.Config{Threads: 1}},
		{"small buffer", epoll.Config{ReadBuffer: 1}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			enginetest.Run(t, func(t *testing.T, shards []engine.Shard) enginetest.Engine {
				e, err := epoll.New(shards, tt.cfg)
				if err != nil {
					t.Fatal(err)
				}
				addr, err := e.Listen("127.0.0.1:0")
				if err != nil {
					t.Fatal(err)
				}
				return enginetest.Engine{Runner: e, Addr: addr.String(), Run: e.Run}
			})
		})
	}
}
