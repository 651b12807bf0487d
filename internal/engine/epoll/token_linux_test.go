//go:build amd64 || arm64 || loong64 || riscv64

package epoll

import (
	"slices"
	"syscall"
	"testing"
	"time"

	"midge/internal/engine"
)

// opened is an engine.Shard that counts its connections.
type opened struct{ n int }

func (o *opened) Open(engine.Conn)                      { o.n++ }
func (*opened) Data(_ engine.Conn, b []byte) int        { return len(b) }
func (*opened) Drained(engine.Conn)                     {}
func (*opened) Closed(engine.Conn, error)               {}
func (*opened) Turn(time.Duration) (next time.Duration) { return engine.Never }

// TestTokenUnderWay proves that a thread leaves a shard alone until the note
// with its token has arrived, and that nothing is forgotten meanwhile. No thread
// runs here: the test takes each step itself.
func TestTokenUnderWay(t *testing.T) {
	handler := &opened{}
	e, err := New([]engine.Shard{handler, &opened{}}, Config{Threads: 2})
	if err != nil {
		t.Fatal(err)
	}
	defer e.closeDescriptors()
	home, other, s := e.threads[0], e.threads[1], e.shards[0]
	isFree := func(step string) {
		t.Helper()
		if home.holds(s) || other.holds(s) || slices.Contains(home.run, s) || slices.Contains(other.run, s) {
			t.Fatalf("%s: somebody uses the shard whose token is under way", step)
		}
	}
	read := func(to *thread) {
		t.Helper()
		to.takeNotes()
		if !to.holds(s) || !slices.Equal(to.run, []*shard{s}) {
			t.Fatalf("the token has arrived, but the shard doesn't get its turn: %v", to.run)
		}
		to.runTurns()
		if s.queued || s.signalled.Load() {
			t.Fatal("the shard's turn is not over")
		}
	}

	// A wake-up overtakes the token.
	home.give(s, other)
	token := other.inbox
	other.inbox = nil
	e.Wake(0)
	other.takeNotes()
	isFree("woken")
	other.push(token[0])
	read(other)

	// A connection comes while the token is on its way home.
	other.give(s, home)
	pair, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Close(pair[0])
	defer syscall.Close(pair[1])
	home.welcome(int32(pair[0]), &listener{})
	isFree("connected")
	read(home)
	if handler.n != 1 {
		t.Errorf("%d connections opened, want 1", handler.n)
	}
}
