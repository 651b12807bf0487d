// Package engine is the contract between the broker's shards and whatever
// moves their bytes: event loops over epoll on Linux (engine/epoll), or
// goroutines on every system (engine/gonet). It holds the types both sides
// share and no engine.
//
// # Who runs what
//
// A shard owns its connections and everything they touch, and has no locks. A
// shard is not a thread: at any moment exactly one thread holds the shard's
// token and runs it, and the engine may move the shard to another thread
// between two turns. Every method of Shard, and every method of a Conn, runs
// on the thread that holds the token of the shard that owns the connection.
// Only Runner.Wake may be called from anywhere.
//
// # A turn
//
// An engine reads the ready sockets of a shard and calls Data for each; it
// calls Turn once, in which the shard drains its mailbox and runs its timers;
// it writes every connection that got output, once. A shard that is woken (see
// Runner.Wake) gets a turn although no socket of it is ready.
//
// Files, from the bottom up: engine.go, listener.go, acked_linux.go, acked_other.go.
package engine

import (
	"context"
	"crypto/tls"
	"errors"
	"net/netip"
	"time"

	"midge/internal/bufpool"
)

// Conn is one network connection, as the shard that owns it sees it.
type Conn interface {
	// Send appends head and then body to the connection's output, which the
	// engine writes at the end of the turn. Both are borrowed: the engine
	// copies what it can't write before Send returns. body may be nil. Send
	// on a closed connection does nothing.
	Send(head, body []byte)

	// SendShared is Send for a body that lies in a buffer: the engine may retain that
	// instead of copying what it can't write at once.
	SendShared(head, body []byte, buffer *bufpool.Buffer)

	// Pending is the number of output bytes that are not yet in the kernel.
	// What was sent during this turn counts.
	Pending() int

	// Acked is how many bytes of output the peer has acknowledged so far: a number
	// that changes when it takes more, if the system counts that. It costs a
	// system call.
	Acked() uint64

	// Pause stops Data for this connection until Resume. Bytes that Data left
	// unused are buffered and offered again after Resume. Both are idempotent.
	Pause()
	Resume()

	// Expect sets how many bytes, counted from the first one that Data leaves
	// unused, the engine may buffer of a packet that has not arrived as a whole: it
	// makes room for so many and reads no more, unless that is less than it reads
	// of any connection at once. So the shard decides what a peer that only announces a
	// large packet costs. It holds until Data uses a byte.
	// Without it the room doubles when it is full.
	Expect(bytes int)

	// InputBuffer is the buffer that the bytes of the Data call that is on lie in, nil if
	// there is none that can be shared. Who retains it may read those bytes until he
	// releases it. It is the whole buffer that stays in memory.
	InputBuffer() *bufpool.Buffer

	// Close sends what is pending as far as the kernel takes it within a
	// short time (lingering at most two seconds, with at most
	// MaxLingeringBytes), then closes. What the peer sends meanwhile is thrown
	// away, so that it can read the last packet. The shard gets Closed exactly
	// once, at the earliest after the call that is on now has returned, and no
	// Data or Drained before it.
	Close()

	// Abort closes at once and forgets what is pending: for a peer whose output
	// must not hold memory any longer. Closed comes as after Close.
	Abort()

	// Exhaust offers to Data what has arrived, as far as the shard takes it, until
	// the system has no more, or MaxExhausted bytes have been offered. Then it
	// calls then, from a call of its own. With a paused connection it waits for
	// Resume. then is called once, also if the connection ends: after Closed. So a
	// shard that closes a connection for the peer's next one can first receive all
	// of it.
	Exhaust(then func())

	// Move gives the connection to another shard, with the bytes that the
	// current Data call does not report as used, or that no call has. Call it
	// only from Data of this connection or from a call that was posted to its
	// shard (Runner.Post), and return at once: this shard gets no more calls
	// for the connection and must not touch it any more. The other shard gets Open
	// and then Data with those bytes, unless the connection is paused. Attach
	// and Pause survive the move. A connection with a call of Exhaust can't move.
	Move(shard int)

	// Attach stores what the shard wants to find again; Attached returns it,
	// nil at first.
	Attach(state any)
	Attached() any

	// Listener is the number of the listener that accepted the connection: see
	// Listener.Number. It costs nothing, and does not change.
	Listener() int

	// Remote is the peer's address. The zero value stands for a peer without
	// one (a Unix socket), or one that has gone. It may cost a system call.
	Remote() netip.AddrPort

	// Peer is all that is known of the peer, for whoever decides what it may
	// do. It may cost system calls and memory. Call it only after Data: before,
	// it could wait for a handshake of TLS.
	Peer() Peer
}

// Peer is who is at the other end of a connection, and how it got here.
type Peer struct {
	Listener string               // the name of the listener that accepted it; its address if it has none, as Addr of a net.Listener writes it
	Remote   netip.AddrPort       // see Conn.Remote
	Local    netip.AddrPort       // ours that it came to; the zero value as for Remote
	TLS      *tls.ConnectionState // nil: without TLS
}

// Shard is what an engine runs. The broker implements it.
type Shard interface {
	// Open gives c to the shard: it was accepted, or another shard has moved it
	// here.
	Open(c Conn)

	// Data offers the bytes received and not yet used, at least one. b is
	// borrowed until Data returns. The shard returns how many bytes it used;
	// the engine buffers the rest and offers it again in front of the next
	// bytes that arrive. A shard that wants no more calls Pause or Close.
	Data(c Conn, b []byte) (used int)

	// Drained is called when Pending has fallen to zero, after a turn that ended
	// with output that the kernel did not take.
	Drained(c Conn)

	// Closed is called when c has ended; err is nil if the shard closed it itself,
	// and io.EOF if the peer closed it in order. It is the last call for c. If
	// the peer ended it, Data has offered before what the system had received;
	// so for a paused connection it comes after Resume.
	Closed(c Conn, err error)

	// Turn lets the shard drain its mailbox and run its timers. now is
	// monotonic, counted from the start of the engine. Turn returns when it
	// wants the next call at the latest, on the same clock; Never if it needs
	// none.
	Turn(now time.Duration) (next time.Duration)
}

// Never is the time at which nothing is due.
const Never = time.Duration(1<<63 - 1)

// Runner runs shards. An engine that owns threads implements it.
type Runner interface {
	// Run runs the shards until ctx is cancelled, closes their connections,
	// and returns after its last thread has ended. It returns nil after a
	// cancellation.
	Run(ctx context.Context) error

	// Wake makes the shard get a turn soon, also if it is on one now. Safe
	// from any goroutine and cheap when the shard is about to run anyway: one
	// system call at most, and only if the shard's thread sleeps.
	Wake(shard int)

	// Post makes the shard's thread call f before the shard's next Turn, and
	// wakes the shard. Calls from one goroutine keep their order. Safe from
	// any goroutine; f costs an allocation, so it is for events of
	// connections that have a goroutine of their own, not for messages.
	Post(shard int, f func())

	// Throttle makes the engine read at most ThrottledBytes at once, or about as
	// little as it can, from connections of the shard of which nothing is expected,
	// until it is called again with false: what a shard leaves unused of each read
	// adds up over many connections. Call it from the shard's thread.
	Throttle(shard int, on bool)

	// Now is the clock that Turn is called with. Safe from any goroutine.
	Now() time.Duration
}

// The keep-alive of TCP notices a peer that has vanished and that no keep-alive of
// MQTT watches over: after KeepAliveIdle of silence it is asked each
// KeepAliveInterval, and KeepAliveProbes without an answer end the connection. A
// router's table of connections keeps it for that. UserTimeout does the same
// while output waits for an answer, which takes 15 minutes otherwise; so it is
// what all of the other three take.
const (
	KeepAliveIdle     = time.Minute
	KeepAliveInterval = 15 * time.Second
	KeepAliveProbes   = 8
	UserTimeout       = KeepAliveIdle + KeepAliveProbes*KeepAliveInterval
)

// MaxLingering is the largest number of sockets that an engine keeps open
// after Closed, so that output gets to the peer. No limit of connections counts
// them. One more closes the one that has waited longest. An engine can be told
// to keep fewer.
const MaxLingering = 256

// MaxLingeringBytes is the most output that a connection takes with it after
// Close, in bytes. A peer that is further behind does not get to the last packet
// in that time, and its output must not hold memory that nobody counts.
const MaxLingeringBytes = 128 << 10

// ThrottledBytes is how much an engine reads at once after Runner.Throttle, in bytes.
const ThrottledBytes = 1 << 10

// MaxExhausted bounds what Exhaust offers of a peer that sends on and on, in
// bytes: more than the buffer of a socket holds.
const MaxExhausted = 8 << 20

// ErrUnsupported is returned by constructors of engines that this operating
// system or kernel does not carry, wrapped with the reason.
var ErrUnsupported = errors.New("engine not supported here")
