package layer

import (
	"net/netip"
	"sync/atomic"

	"midge/internal/bufpool"
	"midge/internal/engine"
)

// Conn is a connection that speaks the protocol, as the inner shard sees it. It
// implements engine.Conn. Only the thread that holds the token of its shard uses it,
// but for Post. It is small, and lies in its codec: there are many that do nothing.
type Conn struct {
	raw   engine.Conn           // the engine's, or that of the layer below; the codec is attached to it
	home  atomic.Pointer[shard] // the layer's nowhere while it moves
	state any                   // what the inner shard attached
	held  *held                 // nil if there is nothing
	flags flags

	// Small is the codec's. It lies in what would be a gap.
	Small [4]byte
}

type flags uint8

const (
	established flags = 1 << iota // the peer has begun as the protocol asks
	paused                        // the inner shard wants no Data
	resuming                      // resume is posted
	more                          // the codec may have decoded more than was taken
	ended                         // the peer has ended its output
	closing                       // the raw connection ends; no Data, no Send
	dirty                         // is in shard.dirty
	draining                      // drainLater is posted
)

func (c *Conn) has(f flags) bool { return c.flags&f != 0 }

// Raw is the connection that carries c.
func (c *Conn) Raw() engine.Conn { return c.raw }

// codec is the one that c lies in.
func (c *Conn) codec() Codec { return c.raw.Attached().(Codec) }

// Shard is the index of the shard that owns c.
func (c *Conn) Shard() int { return c.home.Load().index }

// Paused reports whether the inner shard wants no Data.
func (c *Conn) Paused() bool { return c.has(paused) }

// Protocol is what c speaks.
func (c *Conn) Protocol() Protocol { return c.home.Load().layer.protocol }

// Over puts raw in the place of the connection that carries c, of which it is a view.
func (c *Conn) Over(raw engine.Conn) { c.raw = raw }

// Post makes the thread of the shard that owns c call f before its next turn, unless c
// moves meanwhile: then the codec gets Moved. Safe from any goroutine.
func (c *Conn) Post(f func()) {
	if s := c.home.Load(); s != s.layer.nowhere {
		s.layer.runner.Post(s.index, func() {
			if c.home.Load() == s {
				f()
			}
		})
	}
}

// Attach implements engine.Conn.
func (c *Conn) Attach(state any) { c.state = state }

// Attached implements engine.Conn.
func (c *Conn) Attached() any { return c.state }

// Listener implements engine.Conn.
func (c *Conn) Listener() int { return c.raw.Listener() }

// Remote implements engine.Conn.
func (c *Conn) Remote() netip.AddrPort { return c.raw.Remote() }

// Peer implements engine.Conn.
func (c *Conn) Peer() engine.Peer { return c.codec().Peer() }

// Acked implements engine.Conn. It counts encoded bytes.
func (c *Conn) Acked() uint64 { return c.raw.Acked() }

// Pending implements engine.Conn. It counts encoded bytes, and those that are not encoded yet.
func (c *Conn) Pending() int {
	return c.raw.Pending() + len(c.unsent())
}

// InputBuffer implements engine.Conn.
func (c *Conn) InputBuffer() *bufpool.Buffer { return c.home.Load().inputBuffer }

// Expect implements engine.Conn.
func (c *Conn) Expect(bytes int) {
	c.home.Load().expected = bytes
	if in := c.unread(); in != nil {
		in.Expected = bytes
	}
}

// Exhaust implements engine.Conn.
func (c *Conn) Exhaust(then func()) { c.raw.Exhaust(then) }
