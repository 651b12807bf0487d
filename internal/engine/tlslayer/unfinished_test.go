package tlslayer

import (
	"crypto/tls"
	"testing"
	"time"

	"midge/internal/bufpool"
	"midge/internal/engine"
	"midge/test/engines"
)

// still is a raw connection on which nothing moves.
type still struct {
	engine.Conn
	state  any
	closed bool
}

func (c *still) Attach(state any) { c.state = state }
func (c *still) Attached() any    { return c.state }
func (*still) Listener() int      { return 0 }
func (*still) Pause()             {}
func (*still) Resume()            {}
func (c *still) Close()           { c.closed = true }

// clock is a Runner that has a clock and nothing else.
type clock struct {
	engine.Runner
	now time.Duration
}

func (c *clock) Now() time.Duration { return c.now }

// silent is an engine.Shard that wants nothing.
type silent struct{ engines.Shard }

func (*silent) Data(_ engine.Conn, b []byte) int { return len(b) }

// TestUnfinished has more records wait for their rest than there is room for. Those that have
// waited long end, until there is room again; one whose reading is paused does not, and one that
// has begun another record doesn't yet.
func TestUnfinished(t *testing.T) {
	l := New([]engine.Shard{&silent{}}, bufpool.New(0), Config{TLS: func(int) *tls.Config { return &tls.Config{} }, Unfinished: 25_000})
	c := &clock{}
	l.Start(c)
	rest := append([]byte{23, 3, 3, 0x23, 0x28}, make([]byte, 8000)...) // of 9,005 bytes
	var all []*still
	var modes []*standard
	for range 5 {
		raw := &still{}
		l.Shards()[0].Open(raw)
		k := raw.state.(*codec).mode.(*standard)
		k.over = true // the handshake
		all, modes = append(all, raw), append(modes, k)
	}
	closed := func(want ...bool) {
		t.Helper()
		for i, c := range all {
			if c.closed != want[i] {
				t.Errorf("at %v: connection %d is closed: %v", l.Now(), i, c.closed)
			}
		}
	}
	turn := func(at, next time.Duration) {
		t.Helper()
		c.now = at
		if got := l.Turn(0, at); got != next {
			t.Errorf("at %v: the next turn is at %v, want %v", at, got, next)
		}
	}
	for _, k := range modes[:2] {
		l.await(k.conn, &k.unfinished, rest, false)
	}
	turn(patience, engine.Never) // there is room
	for _, k := range modes[2:] {
		l.await(k.conn, &k.unfinished, rest, false)
	}
	l.await(modes[4].conn, &modes[4].unfinished, rest[:smallBytes], false) // small: it counts for nothing
	modes[0].conn.Pause()
	turn(patience+lookEvery, patience+2*lookEvery)
	closed(false, true, false, false, false)
	l.await(modes[2].conn, &modes[2].unfinished, rest, true)
	modes[0].conn.Resume()
	turn(2*patience, 2*patience+lookEvery)
	closed(false, true, false, true, false)
	if n := l.counters.Unfinished.Load(); n != 2 {
		t.Errorf("%d are counted", n)
	}
	for _, k := range modes {
		k.Leave()
	}
	if n := l.unfinished.Load(); n != 0 || len(l.shards[0].unfinished) != 0 {
		t.Errorf("%d bytes of %d remain", n, len(l.shards[0].unfinished))
	}
}
