//go:build amd64 || arm64 || loong64 || riscv64

package epoll

import (
	"sync"
	"syscall"

	"midge/internal/bufpool"
	"midge/internal/engine/input"
)

// pending is output of a connection that waits to be written: bytes of its own, and
// between them bodies in buffers that are shared, such as a publisher's input.
type pending struct {
	b      []byte          // its own
	memory []byte          // that is kept for the next user
	mem    *bufpool.Buffer // that b lies in, nil if that is memory
	bodies []body          // in the order of their places
	size   int             // bytes in all
}

// body is a body between the bytes of a pending output.
type body struct {
	at     int             // bytes of its own before it
	bytes  []byte          // what is not written of it
	buffer *bufpool.Buffer // that they lie in, retained
}

// isSmall reports whether bytes are less than half of the buffer that they lie in.
func isSmall(bytes []byte, buffer *bufpool.Buffer) bool {
	return len(bytes) < len(buffer.Bytes())/2
}

// maxFreePending is the largest memory that is kept for the next user, in bytes: as much as
// there is before output is written early.
const maxFreePending = earlyBytes + directBytes

// pendings are used again. The garbage collector takes what nobody uses.
type pendings struct{ pool sync.Pool }

func (p *pendings) get() *pending {
	if o, ok := p.pool.Get().(*pending); ok {
		return o
	}
	return &pending{}
}

func (p *pendings) put(o *pending) {
	o.releaseBodies()
	if o.mem != nil {
		o.mem.Release()
	}
	o.b, o.mem, o.size = o.memory[:0], nil, 0
	p.pool.Put(o)
}

func (o *pending) releaseBodies() {
	for i := range o.bodies {
		o.bodies[i].buffer.Release()
	}
	clear(o.bodies)
	o.bodies = o.bodies[:0]
}

// add appends a copy of head and then body.
func (o *pending) add(pool *bufpool.Pool, head, body []byte) {
	n := len(head) + len(body)
	o.size += n
	if need := len(o.b) + n; need > cap(o.b) {
		o.grow(pool, need)
	}
	o.b = append(append(o.b, head...), body...)
}

// grow makes room for so many bytes of its own.
func (o *pending) grow(pool *bufpool.Pool, need int) {
	size := max(need, 2*cap(o.b), 512)
	if need <= maxFreePending {
		o.memory = make([]byte, 0, min(size, maxFreePending))
		o.b = append(o.memory, o.b...)
		return
	}
	mem := pool.Get(size)
	b := append(mem.Bytes()[:0], o.b...)
	if o.mem != nil {
		o.mem.Release()
	}
	o.b, o.mem = b, mem
}

// share appends a copy of head, and then of a body in a buffer, which it retains, what
// is left behind the first sent bytes.
func (o *pending) share(pool *bufpool.Pool, head, bytes []byte, sent int, buffer *bufpool.Buffer) {
	o.add(pool, head, nil)
	buffer.Retain()
	o.bodies = append(o.bodies, body{len(o.b), bytes[sent:], buffer})
	o.size += len(bytes) - sent
}

// compact gives up buffers that hold much more memory than anybody counts: of bodies that
// are small in theirs, or of which little is left, and its own. What is left is copied.
func (o *pending) compact(pool *bufpool.Pool) {
	small := 0
	for i := range o.bodies {
		if d := &o.bodies[i]; isSmall(d.bytes, d.buffer) {
			small += len(d.bytes)
		}
	}
	if small == 0 && (o.mem == nil || cap(o.b) < input.MaxWaste*len(o.b)) {
		return
	}
	all := pending{size: o.size}
	all.grow(pool, len(o.b)+small)
	at := 0
	for _, d := range o.bodies {
		all.b = append(all.b, o.b[at:d.at]...)
		at = d.at
		if isSmall(d.bytes, d.buffer) {
			all.b = append(all.b, d.bytes...)
			d.buffer.Release()
			continue
		}
		all.bodies = append(all.bodies, body{len(all.b), d.bytes, d.buffer})
	}
	all.b = append(all.b, o.b[at:]...)
	if o.mem != nil {
		o.mem.Release()
	}
	*o = all
}

// written forgets the first n bytes.
func (o *pending) written(n int) {
	o.size -= n
	own, bodies := 0, 0 // that are written
	for i := range o.bodies {
		d := &o.bodies[i]
		part := min(n, d.at-own)
		own += part
		if n -= part; own < d.at {
			break
		}
		part = min(n, len(d.bytes))
		d.bytes = d.bytes[part:]
		if n -= part; len(d.bytes) > 0 {
			break
		}
		d.buffer.Release()
		bodies++
	}
	if bodies == len(o.bodies) {
		own += n
	}
	left := copy(o.bodies, o.bodies[bodies:])
	clear(o.bodies[left:])
	o.bodies = o.bodies[:left]
	for i := range o.bodies {
		o.bodies[i].at -= own
	}
	o.b = o.b[:copy(o.b, o.b[own:])]
}

// maxPieces of an output are written with one call.
const maxPieces = 64

// gather is what one call writes. A thread keeps one, so that its address is stable.
type gather struct {
	msg syscall.Msghdr
	iov [maxPieces]syscall.Iovec
	n   int
}

func (g *gather) add(b []byte) {
	if len(b) > 0 && g.n < maxPieces {
		g.iov[g.n].Base = &b[0]
		g.iov[g.n].SetLen(len(b))
		g.n++
	}
}

// send writes what was added.
func (g *gather) send(fd int32) (int, syscall.Errno) {
	g.msg.Iov, g.msg.Iovlen = &g.iov[0], uint64(g.n)
	n, errno := sendGathered(fd, &g.msg)
	clear(g.iov[:g.n])
	g.n = 0
	return n, errno
}

// sendTwo writes head and then body.
func (g *gather) sendTwo(fd int32, head, body []byte) (int, syscall.Errno) {
	g.add(head)
	g.add(body)
	return g.send(fd)
}

// sendPending writes an output, or the beginning of one in many pieces.
func (g *gather) sendPending(fd int32, o *pending) (int, syscall.Errno) {
	if len(o.bodies) == 0 {
		return send(fd, o.b)
	}
	own := 0
	for i := range o.bodies {
		d := &o.bodies[i]
		g.add(o.b[own:d.at])
		g.add(d.bytes)
		own = d.at
	}
	g.add(o.b[own:])
	return g.send(fd)
}
