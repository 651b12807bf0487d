// Package layer puts a protocol between an engine and its shards: it decorates
// engine.Shard. Connections of listeners that speak the protocol are decoded and
// encoded on the way; those of others pass untouched. What is particular to a protocol is a
// Codec (engine/tlslayer, engine/wslayer); what the contract of engine.Conn asks
// of all of them is here. Layers stack: WebSocket over TLS is the one on top of the other.
//
// Input is decoded as far as the inner shard takes it. What it doesn't take stays
// encoded in the engine, but for what one record or one read holds. Output of a
// turn is encoded as a whole when the turn ends.
//
// Files, from the bottom up: layer.go, held.go, conn.go, output.go, end.go,
// input.go, resume.go, shard.go.
package layer

import (
	"time"

	"midge/internal/bufpool"
	"midge/internal/engine"
	"midge/internal/engine/input"
)

// Protocol is what a layer speaks. Its methods are called on the threads of shards.
type Protocol interface {
	// Speaks reports whether connections of the listener speak it.
	Speaks(listener int) bool

	// NewCodec returns the codec of a new connection, which raw carries. It may have put
	// a view of raw in its place: see Conn.Over.
	NewCodec(raw engine.Conn) Codec

	// Turn is called when the output of a shard's turn is encoded. It returns when it
	// wants the next one at the latest; engine.Never if it needs none. See engine.Shard.
	Turn(shard int, now time.Duration) (next time.Duration)
}

// Codec is the protocol on one connection. All of its methods run on the thread of
// the shard that owns the connection.
type Codec interface {
	// Conn is the connection. It lies in the codec.
	Conn() *Conn

	// Begin gets what the peer sends until the codec has called
	// Conn.Established or Conn.Fail, in Begin or in a call that was posted to
	// the shard (see Conn.Post). It returns how many bytes it used.
	Begin(b []byte) (used int)

	// Decode decodes src into dst. It returns how many bytes of src it used and how
	// many of dst it filled. more says that it has stopped because dst had no room for
	// what comes next; it goes on in the next call, whose src may be empty. It fills
	// something before it says so. io.EOF says that the peer has ended its output in order; any
	// other error is a violation, of which Decode has told the peer.
	Decode(src, dst []byte) (used, filled int, more bool, err error)

	// Encode sends out and then body to the peer; body lies in buffer if that is
	// not nil. Both are borrowed.
	Encode(out, body []byte, buffer *bufpool.Buffer)

	// Goodbye tells the peer that there will be no more output.
	Goodbye()

	// Leave is called before another shard gets the connection, and Moved after that.
	Leave()
	Moved()

	// End is called once, when the connection ends: with nil if the inner shard or the codec
	// has ended it.
	End(err error)

	// Peer is that of engine.Conn.
	Peer() engine.Peer
}

// Layer decorates the shards of an engine.
type Layer struct {
	protocol Protocol
	buffers  input.Buffers
	runner   engine.Runner
	shards   []*shard
	nowhere  *shard // whose connections move
}

// New decorates shards. Large buffers come from a pool.
func New(protocol Protocol, shards []engine.Shard, buffers *bufpool.Pool) *Layer {
	l := &Layer{protocol: protocol}
	l.buffers.Large = buffers
	l.nowhere = &shard{layer: l, index: -1}
	for i, inner := range shards {
		l.shards = append(l.shards, &shard{layer: l, index: i, inner: inner})
	}
	return l
}

// Shards are the decorated shards, for the engine.
func (l *Layer) Shards() []engine.Shard {
	all := make([]engine.Shard, len(l.shards))
	for i, s := range l.shards {
		all[i] = s
	}
	return all
}

// Decorate puts another shard between the layer and one of its shards, or takes it away: connections
// that are open stay as they are. Call it on the shard's thread, or before the engine runs.
func (l *Layer) Decorate(shard int, inner engine.Shard) { l.shards[shard].inner = inner }

// Now is the clock of the engine. Call it while that runs.
func (l *Layer) Now() time.Duration { return l.runner.Now() }

// Start tells the layer who runs the shards. Call it before the engine runs.
func (l *Layer) Start(r engine.Runner) { l.runner = r }
