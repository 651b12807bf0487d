//go:build amd64 || arm64 || loong64 || riscv64

package epoll

import (
	"testing"
	"time"

	"midge/internal/engine"
)

// TestLingers proves that the connection which has lingered longest makes room for
// another one, that those which have ended don't count, and that others end when their
// time is over.
func TestLingers(t *testing.T) {
	l := lingers{max: 2}
	if l.due() != engine.Never {
		t.Errorf("no connection is due at %v", l.due())
	}
	var conns [5]conn
	add := func(i int, want *conn) {
		t.Helper()
		oldest := l.add(&conns[i], time.Duration(i)*time.Second)
		if oldest != want {
			t.Fatalf("connection %d: another one must end: %v", i, oldest != nil)
		}
		if oldest != nil {
			oldest.flags |= dead
		}
	}
	add(0, nil)
	add(1, nil)
	add(2, &conns[0])
	conns[1].flags |= dead
	add(3, nil)
	conns[2].generation++ // its record is used again
	add(4, nil)
	if due := l.due(); due != 3*time.Second {
		t.Errorf("due at %v, want 3s", due)
	}
	var ended []*conn
	expire := func(now time.Duration) {
		ended = nil
		l.expire(now, func(c *conn) { ended = append(ended, c) })
	}
	if expire(3*time.Second - 1); len(ended) != 0 {
		t.Errorf("%d connections end before their time", len(ended))
	}
	if expire(3 * time.Second); len(ended) != 1 || ended[0] != &conns[3] {
		t.Errorf("%d connections end when the time of one is over", len(ended))
	}
	conns[4].flags |= dead
	if expire(time.Hour); len(ended) != 0 || l.due() != engine.Never {
		t.Errorf("%d connections end that have ended; due at %v", len(ended), l.due())
	}
}
