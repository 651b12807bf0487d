package gonet

import (
	"crypto/tls"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"midge/internal/bufpool"
	"midge/internal/engine"
)

// conn carries a net.Conn on a shard. It implements engine.Conn.
//
// The shard's thread owns the first group of fields; the goroutine that reads
// hands input over while it waits for an answer of the shard (see read).
type conn struct {
	server     *server
	at         *place // that it came to
	state      any
	remote     netip.AddrPort
	out        []byte // of this turn
	chunk      []byte // what the reader has read and is not in rest
	rest       []byte // bytes that Data left unused
	expected   int    // bytes of rest; see Expect. 0: nothing is expected
	moveTo     int    // the shard that Move named, plus 1
	inData     bool   // a call of Data is on
	paused     bool
	resumed    bool // offer is posted
	unanswered bool // the reader waits for an answer
	closing    bool
	aborted    bool
	posted     bool     // flush is posted
	then       []func() // to call when the input that has arrived was offered

	shard    atomic.Int32 // written by the shard that owns it
	arriving atomic.Bool  // moved, and Open is still to be called
	net      net.Conn
	raw      syscall.RawConn // of net, for writeNow; nil: it has none
	input    []byte          // what the reader has read
	answer   chan struct{}   // makes the reader read on
	gone     chan struct{}   // closed when the connection ends for the shard
	inFlight atomic.Int64    // bytes that the writer has not written
	wrote    atomic.Uint64   // bytes that it has written
	report   atomic.Bool     // Drained is due when inFlight is 0
	exhaust  atomic.Bool     // the reader is to report when there is nothing to read

	mu       sync.Mutex
	queue    []byte   // for the writer, which takes it as a whole
	more     [][]byte // goes on behind queue
	spare    []byte   // becomes out
	writing  bool     // the writer runs
	failed   error    // of the writer, which never runs again
	last     bool     // no output follows queue
	written  bool     // nor is any left
	linger   bool     // the socket stays open until the peer closes its end
	peerDone bool     // its input has ended, or is not read any more
}

// halfCloser is a net.Conn with directions that end one by one.
type halfCloser interface {
	CloseRead() error
	CloseWrite() error
}

// lingerTime is how long a closed connection may take to accept its output, as
// engine.Conn.Close promises.
const lingerTime = 2 * time.Second

// maxDiscards bounds how often a peer that keeps sending has its input read
// after the end, in vain.
const maxDiscards = 64

// reportBytes handed to the writer at once make it report that it is done.
const reportBytes = 16 << 10

// maxFreeBytes is the largest buffer that a connection keeps between turns.
const maxFreeBytes = 4 << 10

func (c *conn) handler() engine.Shard { return c.server.shards[c.shard.Load()] }

// post makes the shard that owns c call f. If c moves meanwhile, f follows, and
// waits until the new shard has got Open.
func (c *conn) post(f func()) {
	shard := c.shard.Load()
	c.server.runner.Post(int(shard), func() {
		if c.shard.Load() != shard || c.arriving.Load() {
			c.post(f)
			return
		}
		f()
	})
}

// Send implements engine.Conn.
func (c *conn) Send(head, body []byte) {
	if c.closing || len(head)+len(body) == 0 {
		return
	}
	c.out = append(append(growOutput(c.out, len(head)+len(body)), head...), body...)
	if !c.posted {
		c.posted = true
		c.post(c.flush)
	}
}

// SendShared implements engine.Conn.
func (c *conn) SendShared(head, body []byte, _ *bufpool.Buffer) { c.Send(head, body) }

// Pending implements engine.Conn. A shard that sees output under way gets
// Drained when it is gone: the writer lowers inFlight and then reads report, and this
// sets report and then reads inFlight, so that one of them notices.
func (c *conn) Pending() int {
	n := c.inFlight.Load()
	if n > 0 {
		c.report.Store(true)
		n = c.inFlight.Load()
	}
	return len(c.out) + int(n)
}

// Pause implements engine.Conn.
func (c *conn) Pause() { c.paused = true }

// Resume implements engine.Conn.
func (c *conn) Resume() {
	if !c.paused || c.closing {
		return
	}
	c.paused = false
	if !c.resumed && (c.unanswered || len(c.rest) > 0) {
		c.resumed = true
		c.post(c.offerAgain)
	}
}

// Close implements engine.Conn.
func (c *conn) Close() { c.end(nil) }

// Abort implements engine.Conn.
func (c *conn) Abort() {
	c.out, c.aborted = nil, true
	c.end(nil)
}

// Expect implements engine.Conn.
func (c *conn) Expect(bytes int) { c.expected = bytes }

// InputBuffer implements engine.Conn.
func (c *conn) InputBuffer() *bufpool.Buffer { return nil }

// Move implements engine.Conn.
func (c *conn) Move(shard int) {
	if c.closing || shard == int(c.shard.Load()) {
		return
	}
	if c.moveTo = shard + 1; !c.inData {
		c.move()
	}
}

// Attach implements engine.Conn.
func (c *conn) Attach(state any) { c.state = state }

// Attached implements engine.Conn.
func (c *conn) Attached() any { return c.state }

// Listener implements engine.Conn.
func (c *conn) Listener() int { return c.at.number }

// Remote implements engine.Conn.
func (c *conn) Remote() netip.AddrPort { return c.remote }

// Peer implements engine.Conn.
func (c *conn) Peer() engine.Peer {
	p := engine.Peer{Listener: c.at.name, Remote: c.remote, Local: addressOf(c.net.LocalAddr())}
	if secure, ok := c.net.(interface{ ConnectionState() tls.ConnectionState }); ok {
		state := secure.ConnectionState()
		p.TLS = &state
	}
	return p
}

// addressOf is an address of TCP, the zero value for any other.
func addressOf(a net.Addr) netip.AddrPort {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	ap := tcp.AddrPort()
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}

// open begins the life of c on its shard.
func (c *conn) open() {
	c.handler().Open(c)
	go c.read(c.server.cfg.ReadBuffer)
}

// receive offers the reader's chunk to the shard.
func (c *conn) receive() {
	if c.closing {
		return
	}
	c.unanswered, c.chunk = true, c.input
	c.offer()
}

// fill moves the chunk to rest, as much as is expected there. The reader's buffer
// still holds what is left: it waits for an answer.
func (c *conn) fill() {
	n := len(c.chunk)
	if room := c.expected - len(c.rest); room > 0 {
		n = min(n, room)
		if cap(c.rest) < c.expected {
			c.rest = append(make([]byte, 0, c.expected), c.rest...)
		}
	}
	c.rest = append(c.rest, c.chunk[:n]...)
	c.chunk = c.chunk[n:]
}

// offerAgain offers what is in rest to a shard that has resumed.
func (c *conn) offerAgain() {
	c.resumed = false
	c.offer()
}

// offer calls Data with the bytes there are, and answers the reader.
func (c *conn) offer() {
	for again := len(c.rest) > 0; !c.closing && !c.paused && (again || len(c.chunk) > 0); again = false {
		c.fill()
		expected := c.expected
		c.expected = 0
		c.inData = true
		used := c.handler().Data(c, c.rest)
		if c.inData = false; c.closing {
			return
		}
		if used > 0 { // a record that comes in many pieces must not be moved for each
			c.rest = c.rest[:copy(c.rest, c.rest[used:])]
		} else if c.expected == 0 {
			c.expected = expected
		}
		if len(c.rest) == 0 && cap(c.rest) > maxFreeBytes {
			c.rest = nil
		}
		if c.moveTo > 0 {
			c.move()
			return
		}
	}
	if c.unanswered && !c.closing && !c.paused {
		c.unanswered = false
		c.answer <- struct{}{} // has room: the reader takes one for each chunk
	}
}

// move gives c to the shard that Move named. Output goes first, so that it
// keeps its order.
func (c *conn) move() {
	c.flush()
	to := c.moveTo - 1
	c.moveTo = 0
	c.arriving.Store(true) // before the writer can see the new shard
	c.shard.Store(int32(to))
	c.server.runner.Post(to, func() {
		c.arriving.Store(false)
		c.handler().Open(c)
		c.offer()
	})
}

// flush writes the output of the turn, and hands what the system does not take to
// the writer. A goroutine for each receiver of a message would make whoever is
// next wait for all of them.
func (c *conn) flush() {
	c.posted = false
	if len(c.out) == 0 {
		return
	}
	c.mu.Lock()
	if c.failed != nil {
		c.mu.Unlock()
		c.out = nil
		return
	}
	busy := c.writing
	if !busy {
		c.mu.Unlock() // only flush makes a writer run
		n := writeNow(c.raw, c.out)
		c.wrote.Add(uint64(n))
		if n == len(c.out) {
			c.resetOut()
			return
		}
		c.out = c.out[:copy(c.out, c.out[n:])]
		c.mu.Lock()
	}
	n := len(c.out)
	last := &c.queue
	if len(c.more) > 0 {
		last = &c.more[len(c.more)-1]
	}
	switch {
	case len(*last) == 0:
		c.queue = shrinkOutput(c.out)
		c.out, c.spare = c.spare[:0], nil
	case n < ownPiece && len(*last)+n <= pieceBytes:
		*last = append(*last, c.out...)
		c.out = c.out[:0]
	default:
		c.more = append(c.more, shrinkOutput(c.out))
		c.out = nil
	}
	c.writing = true
	c.mu.Unlock()
	c.resetOut()
	if busy || n >= reportBytes {
		c.report.Store(true)
	}
	c.inFlight.Add(int64(n))
	if !busy {
		c.server.writers.Go(c.write)
	}
}

// resetOut empties the memory for the output of a turn, and gives up what is large.
func (c *conn) resetOut() {
	if c.out = c.out[:0]; cap(c.out) > maxFreeBytes {
		releaseOutput(c.out)
		c.out = nil
	}
}

// write writes until there is nothing to write, or until that fails.
func (c *conn) write() {
	for {
		c.mu.Lock()
		b := c.queue
		if c.queue = nil; len(c.more) > 0 {
			c.queue, c.more[0] = c.more[0], nil
			c.more = c.more[1:]
		} else {
			c.more = nil
		}
		if len(b) == 0 {
			c.writing = false
			last := c.last
			c.mu.Unlock()
			if last {
				c.endOutput()
			}
			return
		}
		c.mu.Unlock()
		err := c.writeAll(b)
		if err != nil {
			c.fail(err)
			return
		}
		if cap(b) <= maxFreeBytes {
			c.mu.Lock()
			c.spare = b[:0]
			c.mu.Unlock()
		} else {
			releaseOutput(b)
		}
		if c.inFlight.Load() == 0 && c.report.Swap(false) {
			c.post(c.drained)
		}
	}
}

// pieceBytes are written at once, so that it shows when a slow peer takes
// something. Output waits in pieces of that size too: what is
// written is given back piece by piece, and nothing is moved to a larger place.
const pieceBytes = 64 << 10

// ownPiece and more of output in one turn are a piece as they are, uncopied.
const ownPiece = 8 << 10

func (c *conn) writeAll(b []byte) error {
	for len(b) > 0 {
		n, err := c.net.Write(b[:min(len(b), pieceBytes)])
		if err != nil {
			return err
		}
		c.wrote.Add(uint64(n))
		c.inFlight.Add(-int64(n))
		b = b[n:]
	}
	return nil
}

// drained calls Drained, unless there is new output by now.
func (c *conn) drained() {
	if !c.closing && len(c.out) == 0 && c.inFlight.Load() == 0 {
		c.handler().Drained(c)
	}
}

// fail ends the output of c. The peer may have said all it had to say before it
// went, so the reader reads on to the end, which comes after what the system
// has. The writer counts as running for ever, so that nothing starts another one.
func (c *conn) fail(err error) {
	c.mu.Lock()
	c.queue, c.more, c.failed = nil, nil, err
	last := c.last
	c.mu.Unlock()
	if half, ok := c.net.(halfCloser); ok && !last {
		half.CloseRead()
		return
	}
	c.release()
}

// end ends c for the shard: Closed comes in a call of its own.
func (c *conn) end(err error) {
	if c.closing {
		return
	}
	c.flush()
	c.closing = true
	close(c.gone)
	c.mu.Lock()
	if c.failed != nil {
		err = c.failed
	}
	c.mu.Unlock()
	c.post(func() {
		c.handler().Closed(c, err)
		c.exhausted()
		c.state, c.rest = nil, nil
		c.hangUp(err)
		c.server.forget(c)
	})
}

// hangUp closes the socket: after the output if the end was in order, and, if
// the shard wanted it, after the peer has closed its end.
func (c *conn) hangUp(err error) {
	if c.aborted || err != nil && err != io.EOF {
		c.release()
		return
	}
	c.net.SetDeadline(time.Now().Add(lingerTime))
	linger := err == nil && c.server.addLingering(c)
	c.mu.Lock()
	c.last, c.linger = true, linger
	writing, failed := c.writing, c.failed
	c.mu.Unlock()
	switch {
	case failed != nil, c.inFlight.Load() > engine.MaxLingeringBytes:
		c.release()
	case !writing:
		c.endOutput()
	}
}

// endOutput shuts our end down after the last output.
func (c *conn) endOutput() {
	half, ok := c.net.(halfCloser)
	c.mu.Lock()
	c.written = true
	over := !ok || !c.linger || c.peerDone
	c.mu.Unlock()
	if over {
		c.release()
		return
	}
	half.CloseWrite()
}

// stopListening closes the socket as soon as the output is written.
func (c *conn) stopListening() {
	c.mu.Lock()
	c.peerDone = true
	over := c.written
	c.mu.Unlock()
	if over {
		c.release()
	}
}

// release closes the socket.
func (c *conn) release() {
	c.net.Close()
	c.server.removeLingering(c)
}
