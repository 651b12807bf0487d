//go:build amd64 || arm64 || loong64 || riscv64

package epoll

import (
	"errors"
	"os"
	"runtime"
	"syscall"
	"time"

	"midge/internal/engine"
)

// This file is about how the first thread waits; the others are always busy.
//
// A busy thread is locked to its goroutine and waits in a system call. With few
// messages that is dear. Go's monitor sees a goroutine in a system call and stays
// awake to take its processor away, and the thread has to get one again with each
// message: at 100 messages a second that is two thirds of the broker's time.
//
// So the first thread is calm as long as it has little to do. Then its goroutine isn't locked, and
// waits in Go's own poller, as a goroutine does that reads from a connection. The
// thread that polls runs it as soon as there is an event. The monitor sleeps, no
// other thread is woken, and nothing holds a processor that others want.
//
// What Go's poller watches is the gate: an epoll descriptor with nothing in it but
// the thread's top. It is open (reports input) while the thread is calm. The top could be
// watched without it, but to put that into Go's poller and to take it out again, the
// kernel would walk through all connections each time.

const (
	// busyShare is the part of a window in which a calm thread has had work, as a
	// divisor, from which on it is busy.
	busyShare = 4

	// A busy thread is calm again after minBusy without that. The time doubles up
	// to maxBusy if it was calm for less than the eightfold, since a ring has to be
	// made anew each time. Guesses.
	minBusy = time.Second
	maxBusy = 64 * time.Second
)

// calm is a thread's part in waiting calmly. Only the first one has a gate.
type calm struct {
	on    bool
	ended bool     // the loop has
	gate  *os.File // nil: never calm
	raw   syscall.RawConn
	fd    int                       // of gate
	step  func(uintptr) (done bool) // for raw.Read
	armed time.Duration             // the deadline of gate, which is not later than anything is due

	since     time.Duration // when it became calm or busy
	lastCause time.Duration // to be busy
	term      time.Duration // how long it stays busy without a cause
}

// openGate makes the gate, closed.
func (p *poller) openGate() error {
	fd, err := syscall.EpollCreate1(syscall.EPOLL_CLOEXEC)
	if err != nil {
		return os.NewSyscallError("epoll_create1", err)
	}
	err = errors.Join(
		os.NewSyscallError("epoll_ctl", control(fd, syscall.EPOLL_CTL_ADD, p.top, 0, 0, 0)),
		os.NewSyscallError("fcntl", syscall.SetNonblock(fd, true)), // or NewFile keeps it out of Go's poller
	)
	if err != nil {
		closeFD(fd)
		return err
	}
	c := &p.calm
	c.fd, c.gate, c.term = fd, os.NewFile(uintptr(fd), "epoll"), minBusy
	c.raw, err = c.gate.SyscallConn()
	if err = errors.Join(err, c.disarm()); err != nil { // Go's poller has not taken it
		c.gate.Close()
		c.gate = nil
		return err
	}
	c.step = func(uintptr) bool { return p.turnsUntilIdle() }
	return nil
}

// setGate lets the gate report the given events of the top.
func (c *calm) setGate(top int, events uint32) {
	if err := control(c.fd, syscall.EPOLL_CTL_MOD, top, events, 0, 0); err != nil {
		panic("epoll: turn gate: " + err.Error()) // two descriptors of ours
	}
}

// goCalm lets go of the thread, and of what only that one may use.
func (p *poller) goCalm(now time.Duration) {
	if p.ring != nil {
		p.ring.close()
		p.ring = nil
	}
	c := &p.calm
	c.setGate(p.top, epollIn)
	c.on, c.since = true, now
	runtime.UnlockOSThread()
}

// goBusy takes a thread.
func (p *poller) goBusy(now time.Duration) {
	runtime.LockOSThread()
	c := &p.calm
	c.setGate(p.top, 0)
	if now-c.since < 8*c.term {
		c.term = min(2*c.term, maxBusy)
	} else {
		c.term = minBusy
	}
	c.on, c.since, c.lastCause = false, now, now
	p.cpu = threadTime() // of this thread, from now on
}

// adapt makes the first thread calm or busy after a window, of which it worked so
// much.
func (p *poller) adapt(end, working, elapsed time.Duration) {
	c := &p.calm
	if c.gate == nil {
		return
	}
	if working >= elapsed/busyShare {
		c.lastCause = end
	}
	switch {
	case c.on && c.lastCause == end:
		p.goBusy(end)
	case !c.on && end-c.lastCause >= c.term:
		p.goCalm(end)
	}
}

// turnsCalmly gives the thread its turns while it is calm. It reports false if the loop
// has ended.
//
// Read calls step, and again when Go's poller has seen an event since step was called
// last. So no event is lost: what becomes ready during a step ends the wait that
// follows. Mostly nothing else is ready then, and step need not look before it returns: a
// socket from which less was read than there was room for is empty, and whatever
// comes makes a new event. In all other cases left is set.
func (p *poller) turnsCalmly() (ok bool) {
	c := &p.calm
	for c.on && !c.ended {
		if c.raw.Read(c.step) != nil { // the deadline has passed
			c.disarm()
		}
	}
	return !c.ended
}

// disarm takes the deadline away.
func (c *calm) disarm() error {
	c.armed = engine.Never
	return c.gate.SetReadDeadline(time.Time{})
}

// turnsUntilIdle gives the thread its turns until there is nothing to do. It reports true if the
// thread is to be calm no longer.
func (p *poller) turnsUntilIdle() (done bool) {
	c := &p.calm
	for {
		p.left = false
		p.found = pollEvents(p.top, p.topEvents)
		p.thread.Turn()
		if !c.on {
			return true
		}
		until, ok := p.thread.Due()
		if !ok {
			c.ended = true
			return true
		}
		if until <= p.thread.End() || p.left {
			continue
		}
		if until = min(until, p.thread.End()+time.Hour); until < c.armed {
			c.armed = until
			c.gate.SetReadDeadline(p.engine.loop.Time(until))
		}
		return false
	}
}
