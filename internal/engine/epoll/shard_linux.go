//go:build amd64 || arm64 || loong64 || riscv64

package epoll

import (
	"io"
	"os"
	"slices"
	"syscall"
	"time"

	"midge/internal/bufpool"
	"midge/internal/engine"
	"midge/internal/engine/loop"
)

// shard is what the engine keeps for one engine.Shard. The thread that holds the
// shard's token uses it, nobody else. It implements loop.Conns.
type shard struct {
	*loop.Shard
	engine  *Engine
	poller  *poller // of the last thread that held the token
	handler engine.Shard
	ep      int // epoll descriptor of its connections

	dirty   []*conn // have output of this turn
	doomed  []doom  // were closed, and Closed is still to be called
	resumed []*conn // are to be offered their input again
	moving  *conn   // asked to be moved during the Data or posted call that is on
	moveTo  int

	mostRead    int             // bytes that are read at once; see Engine.Sip
	expected    int             // what the Data call that is on has passed to Conn.Expect
	inputBuffer *bufpool.Buffer // that its bytes lie in; nil: in one that is not shared

	exhausts []exhaust // whose input is to be offered as far as it has arrived

	arena loop.Arena // messages of this turn

	lingers []linger // in order of their deadlines; at most Config.Lingering of all shards together, since no limit of connections counts them
	freed   []*conn  // records to give back at the end of the turn
}

// doom is a connection that is about to get Closed with err.
type doom struct {
	c   *conn
	err error
}

// exhaust is a call of Conn.Exhaust that is on.
type exhaust struct {
	c          *conn
	generation uint32
	left       int // bytes that may be received for it; 0: there is no more
	then       func()
}

// linger is a connection that has got Closed and is not closed.
type linger struct {
	c          *conn
	generation uint32
	deadline   time.Duration
}

// lingerTime is how long a closed connection may take to accept its output
// and to close its end, as engine.Conn.Close promises.
const lingerTime = 2 * time.Second

const (
	// mostDiscards bounds how often a peer that keeps sending has its input read
	// after the end, in vain.
	mostDiscards = 64
)

// ready handles the events of the shard's sockets.
func (s *shard) ready() {
	p := s.poller
	n := pollEvents(s.ep, p.connEvents)
	for i := range n {
		ev := &p.connEvents[i]
		c := s.engine.slab.At(ev.Fd)
		switch {
		case c.has(lingering):
			s.continueLinger(c, ev.Events)
		case c.has(closing | dead):
		default:
			s.event(c, ev.Events)
		}
	}
	if n > 0 {
		s.Schedule()
	}
}

func (s *shard) event(c *conn, events uint32) {
	if events&epollOut != 0 && c.has(blocked) {
		s.write(c)
		if c.Pending() == 0 && !c.has(closing|broken) {
			s.handler.Drained(c)
		}
	}
	if events&(epollIn|epollBad) == 0 || c.has(closing) {
		return
	}
	if !c.has(paused) {
		s.receive(c)
		return
	}
	if events&epollBad != 0 {
		c.mute()
		return
	}
	c.arm() // the pause took effect only now
}

// receive reads once from c, offers what there is to the shard, and returns how
// much was read. Once is enough: epoll reports what is left in the next turn,
// after the others.
func (s *shard) receive(c *conn) int {
	p := s.poller
	own := c.in != nil && len(c.in.b) > p.frontBytes // read behind it instead of copying it
	if c.in == nil && c.large > 0 && s.mostRead == s.engine.cfg.ReadBuffer {
		c.in, own = s.engine.newLargeInput(int(c.large)), true
	}
	var b []byte
	kept := 0
	if own {
		kept = len(c.in.b)
		b = c.in.grow(s.engine.pool)
	} else {
		b = p.read.Bytes()[:s.engine.cfg.ReadBuffer]
		most := s.mostRead
		if c.in != nil {
			kept = copy(b, c.in.b)
			if most += kept; c.in.most > kept {
				most = min(most, c.in.most)
			}
		}
		b = b[:min(len(b), most)]
	}
	n, errno := recv(c.fd, b[kept:])
	if n <= 0 || errno != 0 {
		if own && kept == 0 {
			s.dropInput(c)
		}
		switch {
		case errno == 0:
			s.doom(c, c.end())
		case errno != syscall.EAGAIN:
			s.doom(c, os.NewSyscallError("recv", errno))
		}
		return 0
	}
	p.tally.Receives++
	p.tally.BytesIn += uint64(n)
	b = b[:kept+n]
	if own {
		c.in.b = b
		s.offer(c, b, c.in.mem)
		return n
	}
	s.offer(c, b, p.read)
	if p.read.Shared() {
		p.renewRead()
	}
	return n
}

// end is why the input of c has ended.
func (c *conn) end() error {
	if c.has(broken) {
		return os.NewSyscallError("send", syscall.Errno(c.note))
	}
	return io.EOF
}

// offer calls Data with b, which lies in mem or, if that is nil, in c.in.b, and
// keeps what the shard does not use.
func (s *shard) offer(c *conn, b []byte, mem *bufpool.Buffer) {
	s.expected, s.inputBuffer = 0, mem
	used := s.handler.Data(c, b)
	s.inputBuffer = nil
	if c.has(closing) {
		s.moving = nil
		s.dropInput(c)
		return
	}
	if rest := b[used:]; len(rest) == 0 {
		if c.large = 0; mem != nil && c.in != nil && c.in.mem == mem && len(b) >= largeBytes {
			c.large = uint32(len(b))
		}
		s.dropInput(c)
	} else {
		s.keep(c, rest)
		if used > 0 || s.expected > 0 {
			c.in.most = s.expected
		}
	}
	s.move()
}

// move gives the connection that asked for it during the call that has returned
// to its new shard.
func (s *shard) move() {
	c := s.moving
	if s.moving = nil; c != nil && !c.has(closing|dead) {
		s.transfer(c, s.engine.shards[s.moveTo])
	}
}

// keep stores the bytes that Data left unused. They may lie in c.in.b.
func (s *shard) keep(c *conn, rest []byte) {
	in := c.in
	need := max(len(rest), s.expected)
	switch {
	case in == nil:
		in = s.engine.newInput(need)
	case len(rest) == len(in.b) && &rest[0] == &in.b[0]: // there they are
		return
	case in.mem == nil && need >= largeBytes,
		in.mem != nil && in.mem.Shared(),            // with messages that are still read
		cap(in.b) > keptBytes && need < cap(in.b)/4: // don't hold a large buffer for a small rest
		in = s.engine.newInput(need)
		in.most = c.in.most
		defer s.engine.buffers.put(c.in)
	}
	in.b = append(in.b[:0], rest...)
	c.in = in
}

func (s *shard) dropInput(c *conn) {
	if c.in != nil {
		s.engine.buffers.put(c.in)
		c.in = nil
	}
}

// transfer gives c to another shard.
func (s *shard) transfer(c *conn, to *shard) {
	s.poller.tally.Moves++
	if !c.has(muted) {
		if err := control(s.ep, syscall.EPOLL_CTL_DEL, int(c.fd), 0, 0, 0); err != nil {
			s.doom(c, os.NewSyscallError("epoll_ctl", err))
			return
		}
	}
	if c.size > 0 {
		s.promote(c)
	}
	remove := func(list []*conn) []*conn {
		if i := slices.Index(list, c); i >= 0 {
			return slices.Delete(list, i, i+1)
		}
		return list
	}
	wasDirty := c.has(dirty)
	if wasDirty {
		s.dirty = remove(s.dirty)
	}
	if c.has(resumed) {
		s.resumed = remove(s.resumed)
	}
	c.flags &^= dirty | resumed | muted | armedIn | armedOut
	c.shard = to
	if s.poller.thread.Holds(to.Shard) {
		to.adopt(c, wasDirty)
		return
	}
	s.engine.loop.Post(to.Index(), func() { to.adopt(c, wasDirty) })
}

// adopt makes c a connection of this shard; it is in no epoll set now.
func (s *shard) adopt(c *conn, wasDirty bool) {
	c.shard = s
	want := c.wants()
	if err := control(s.ep, syscall.EPOLL_CTL_ADD, int(c.fd), want.events(), c.id, kindConn); err != nil {
		s.handler.Open(c)
		s.doom(c, os.NewSyscallError("epoll_ctl", err))
		return
	}
	c.flags |= want
	if wasDirty {
		s.markDirty(c)
	}
	s.Schedule()
	s.handler.Open(c)
	if c.in != nil && !c.has(paused|closing) {
		s.offer(c, c.in.b, c.in.mem)
	}
}

// doom ends c: it hears no more, and gets Closed with err when the call that
// is on has returned.
func (s *shard) doom(c *conn, err error) {
	if c.has(closing | dead) {
		return
	}
	c.flags |= closing
	s.doomed = append(s.doomed, doom{c, err})
	s.Schedule()
}

// Turn implements loop.Conns.
func (s *shard) Turn(now time.Duration) (next time.Duration) {
	s.runPosts()
	s.settle()
	next = s.handler.Turn(now)
	if len(s.resumed)+len(s.doomed) > 0 || s.exhausting() {
		s.Schedule()
	}
	s.expireLingers(now)
	if len(s.lingers) > 0 {
		next = min(next, s.lingers[0].deadline)
	}
	return next
}

// Output implements loop.Conns.
func (s *shard) Output() int { return len(s.dirty) }

// runPosts calls what was posted so far.
func (s *shard) runPosts() {
	for _, f := range s.Posts() {
		f()
		s.move()
	}
}

// settle offers their input again to resumed connections, and buries the
// doomed ones.
func (s *shard) settle() {
	list := s.resumed
	s.resumed = nil
	for _, c := range list {
		c.flags &^= resumed
		if c.has(paused | closing) {
			continue
		}
		c.arm()
		if c.in != nil {
			s.offer(c, c.in.b, c.in.mem)
		}
	}
	for len(s.doomed) > 0 {
		list := s.doomed
		s.doomed = nil
		for _, d := range list {
			s.bury(d.c, d.err)
		}
	}
	if len(s.exhausts) > 0 {
		s.exhaustAll()
	}
}

// exhaustAll receives once for each call of Exhaust, and ends those with nothing
// to receive. A paused connection has its say when it goes on.
func (s *shard) exhaustAll() {
	list := s.exhausts
	s.exhausts = nil
	for _, x := range list {
		if x.on() {
			if x.left > 0 && !x.c.has(paused) {
				n := s.receive(x.c)
				if x.left -= n; n == 0 {
					x.left = 0
				}
			}
			if x.left > 0 || x.c.has(paused|resumed|closing) {
				s.exhausts = append(s.exhausts, x)
				continue
			}
		}
		x.then()
	}
}

// on tells that the connection has not got Closed.
func (x *exhaust) on() bool {
	return x.c.generation == x.generation && !x.c.has(lingering|dead)
}

// exhausting tells whether the next turn can receive for a call of Exhaust.
func (s *shard) exhausting() bool {
	return slices.ContainsFunc(s.exhausts, func(x exhaust) bool { return !x.on() || !x.c.has(paused) })
}

// bury calls Closed and closes the socket, or lets it linger.
func (s *shard) bury(c *conn, err error) {
	if err == nil || err == io.EOF {
		if !c.has(blocked) {
			s.write(c)
		}
	} else {
		s.dropOutput(c)
	}
	s.dropInput(c)
	s.handler.Closed(c, err)
	c.state = nil
	s.engine.counters.Open.Add(-1)
	if err != nil || c.has(broken|aborted) || c.Pending() > engine.MostLingeringBytes {
		s.free(c)
		return
	}
	c.flags = c.flags&^paused | lingering
	c.note = 0
	s.makeRoom()
	s.lingers = append(s.lingers, linger{c, c.generation, s.engine.loop.Now() + lingerTime})
	s.continueLinger(c, 0)
}

// makeRoom lets the socket that has lingered longest go if another one would
// be too many.
func (s *shard) makeRoom() {
	alive := func(l linger) bool { return l.c.generation == l.generation && !l.c.has(dead) }
	most := s.engine.cfg.Lingering / len(s.engine.shards)
	if len(s.lingers) < most {
		return
	}
	s.lingers = slices.DeleteFunc(s.lingers, func(l linger) bool { return !alive(l) })
	if len(s.lingers) == most {
		s.free(s.lingers[0].c)
		s.lingers = slices.Delete(s.lingers, 0, 1)
	}
}

// continueLinger sends what is left, says to the peer that nothing follows,
// and waits for the peer to close its end: a socket that is closed with unread
// input is reset, and the peer could lose the last packet it was sent.
func (s *shard) continueLinger(c *conn, events uint32) {
	if c.Pending() > 0 {
		n, errno := send(c.fd, s.pending(c))
		if s.sent(c, n, errno); c.has(broken) {
			s.free(c)
			return
		}
	}
	if c.Pending() == 0 && !c.has(finished) {
		c.flags |= finished
		shutdownWrite(c.fd)
	}
	// What is wrong with a socket is reported until it is closed, and so is that
	// both ends are shut down.
	if events&syscall.EPOLLERR != 0 || events&epollBad != 0 && c.has(deaf) || s.discard(c) {
		s.free(c)
		return
	}
	c.arm()
}

// discard reads input of a connection that lingers, and tells whether nothing
// more is to be waited for. It ends listening to a peer that sends on and on,
// or that has no more to say and is still to be sent to: both would be reported
// without end.
func (s *shard) discard(c *conn) (over bool) {
	if c.has(deaf) {
		return false
	}
	n, errno := recv(c.fd, s.poller.read.Bytes())
	switch {
	case errno == syscall.EAGAIN:
		return false
	case errno != 0, n == 0 && c.has(finished):
		return true
	}
	if c.note++; n == 0 || c.note == mostDiscards {
		c.flags |= deaf
	}
	return false
}

// expireLingers closes the sockets whose time is over.
func (s *shard) expireLingers(now time.Duration) {
	i := 0
	for ; i < len(s.lingers); i++ {
		l := s.lingers[i]
		if l.c.generation == l.generation && !l.c.has(dead) {
			if l.deadline > now {
				break
			}
			s.free(l.c)
		}
	}
	s.lingers = slices.Delete(s.lingers, 0, i)
}

// free closes the socket of c and gives its record back.
func (s *shard) free(c *conn) {
	s.dropOutput(c)
	s.dropInput(c)
	closeFD(int(c.fd))
	c.flags = c.flags&dirty | closing | dead
	s.freed = append(s.freed, c)
}

// release gives the records of closed connections back. Neither an event nor
// a list refers to them any more.
func (s *shard) release() {
	for i, c := range s.freed {
		*c = conn{id: c.id, generation: c.generation + 1, flags: dead}
		s.engine.slab.Put(c.id)
		s.freed[i] = nil
	}
	s.freed = s.freed[:0]
}
