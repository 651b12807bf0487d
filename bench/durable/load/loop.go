//go:build linux

package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"syscall"
	"time"
	"unsafe"
)

const (
	readSize  = 256 << 10
	maxEvents = 512
	// connectBatch keeps the connections that a broker has not accepted yet below the backlog of 100 that Mosquitto asks for.
	connectBatch = 50
	// sourcePorts is how many connections share a source address: well below the 28,000 ephemeral ports.
	sourcePorts = 10000
	// setupLimit bounds the time that a batch of handshakes may take.
	setupLimit = 20 * time.Second
)

// A handler hears of what arrives for established connections. Its methods run on the loop's thread; slices are borrowed.
type handler interface {
	// received is called for each PUBLISH, after its acknowledgement has been appended.
	received(c *conn, topic, payload []byte)
	// acknowledged is called for each PUBACK and PUBCOMP.
	acknowledged(c *conn)
}

// conn is one MQTT client.
type conn struct {
	fd      int
	index   int    // in the order of connecting
	in      []byte // the beginning of a packet whose rest is missing
	out     []byte // not yet written
	dirty   bool   // in loop.dirty
	blocked bool   // the kernel's buffer is full: waiting for EPOLLOUT
	acks    int    // CONNACK and SUBACK received
	present bool   // CONNACK said that the session was there
	id      uint16 // last packet identifier used
	flow    int    // the flow that this publisher belongs to
}

// nextID returns the next packet identifier. The window is far below 65,535, so that none is used twice at a time.
func (c *conn) nextID() uint16 {
	if c.id++; c.id == 0 {
		c.id = 1
	}
	return c.id
}

// loop is an epoll loop on one thread. It reads what is ready, lets the handler append to connections, and writes each
// connection once at the end of a turn.
type loop struct {
	handler handler
	target  syscall.SockaddrInet4

	ep     int
	conns  []*conn
	byFD   []*conn
	dirty  []*conn
	events [maxEvents]syscall.EpollEvent
	buf    [readSize]byte
}

func newLoop(target syscall.SockaddrInet4) (*loop, error) {
	ep, err := syscall.EpollCreate1(syscall.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("create epoll: %w", err)
	}
	return &loop{ep: ep, target: target}, nil
}

// A client says how one connection is to be made.
type client struct {
	id      string
	qos     byte     // of the subscriptions
	filters []string // may be empty
	keep    bool     // the session, beyond the connection
}

// connect makes the connections and waits until all their handshakes and subscriptions are acknowledged.
func (l *loop) connect(clients []client) ([]*conn, error) {
	first := len(l.conns)
	for len(clients) > 0 {
		n := min(len(clients), connectBatch)
		if err := l.connectSome(clients[:n]); err != nil {
			return nil, err
		}
		clients = clients[n:]
	}
	return l.conns[first:], nil
}

func (l *loop) connectSome(clients []client) error {
	first := len(l.conns)
	for _, cl := range clients {
		c, err := l.dial()
		if err != nil {
			return fmt.Errorf("connect client %s: %w", cl.id, err)
		}
		c.out = appendConnect(c.out, cl.id, !cl.keep)
		l.touch(c)
	}
	if err := l.await(l.conns[first:], 1); err != nil {
		return fmt.Errorf("wait for CONNACK: %w", err)
	}
	var subscribed []*conn
	for i, cl := range clients {
		if len(cl.filters) > 0 {
			c := l.conns[first+i]
			c.out = appendSubscribe(c.out, c.nextID(), cl.qos, cl.filters)
			l.touch(c)
			subscribed = append(subscribed, c)
		}
	}
	if err := l.await(subscribed, 2); err != nil {
		return fmt.Errorf("wait for SUBACK: %w", err)
	}
	return nil
}

// await turns until each of conns has counted acks.
func (l *loop) await(conns []*conn, acks int) error {
	deadline := time.Now().Add(setupLimit)
	for _, c := range conns {
		for c.acks < acks {
			if time.Now().After(deadline) {
				return errors.New("timed out")
			}
			if err := l.turn(100 * time.Millisecond); err != nil {
				return err
			}
		}
	}
	return nil
}

// leave sends DISCONNECT for each of conns and closes them.
func (l *loop) leave(conns []*conn) error {
	for _, c := range conns {
		c.out = append(c.out, disconnect, 0)
		l.touch(c)
	}
	if err := l.flush(); err != nil {
		return fmt.Errorf("disconnect: %w", err)
	}
	for _, c := range conns {
		if c.blocked {
			return fmt.Errorf("disconnect client %d: no room for the packet", c.index)
		}
		if err := syscall.Close(c.fd); err != nil {
			return fmt.Errorf("close client %d: %w", c.index, err)
		}
		l.byFD[c.fd] = nil
	}
	return nil
}

func (l *loop) dial() (*conn, error) {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	c := &conn{fd: fd, index: len(l.conns)}
	source := syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, byte(2 + c.index/sourcePorts)}}
	const bindAddressNoPort = 24 // IP_BIND_ADDRESS_NO_PORT: the port is chosen when the target is known
	err = errors.Join(
		syscall.SetsockoptInt(fd, syscall.IPPROTO_TCP, syscall.TCP_NODELAY, 1),
		syscall.SetsockoptInt(fd, syscall.SOL_IP, bindAddressNoPort, 1),
		syscall.Bind(fd, &source),
	)
	if err == nil {
		err = syscall.Connect(fd, &l.target)
	}
	if err == nil {
		err = syscall.SetNonblock(fd, true)
	}
	if err == nil {
		err = l.interest(c, syscall.EPOLL_CTL_ADD, syscall.EPOLLIN)
	}
	if err != nil {
		return nil, errors.Join(err, syscall.Close(fd))
	}
	for len(l.byFD) <= fd {
		l.byFD = append(l.byFD, nil)
	}
	l.byFD[fd] = c
	l.conns = append(l.conns, c)
	return c, nil
}

func (l *loop) interest(c *conn, op int, events uint32) error {
	return syscall.EpollCtl(l.ep, op, c.fd, &syscall.EpollEvent{Events: events, Fd: int32(c.fd)})
}

// touch marks c as having output.
func (l *loop) touch(c *conn) {
	if !c.dirty {
		c.dirty = true
		l.dirty = append(l.dirty, c)
	}
}

// turn writes what waits, waits up to timeout for input, handles it, and writes the result.
func (l *loop) turn(timeout time.Duration) error {
	if err := l.flush(); err != nil {
		return err
	}
	n, err := l.wait(timeout)
	if err != nil {
		return err
	}
	for _, e := range l.events[:n] {
		c := l.byFD[e.Fd]
		if e.Events&syscall.EPOLLOUT != 0 {
			c.blocked = false
			if err := l.interest(c, syscall.EPOLL_CTL_MOD, syscall.EPOLLIN); err != nil {
				return fmt.Errorf("stop waiting for room: %w", err)
			}
			l.touch(c)
		}
		if e.Events&^syscall.EPOLLOUT != 0 {
			if err := l.read(c); err != nil {
				return fmt.Errorf("client %d: %w", c.index, err)
			}
		}
	}
	return l.flush()
}

// wait is epoll_pwait2, whose timeout has the resolution that an open loop needs.
func (l *loop) wait(timeout time.Duration) (int, error) {
	const epollPwait2 = 441 // the same on all architectures
	ts := syscall.NsecToTimespec(max(0, timeout.Nanoseconds()))
	n, _, errno := syscall.Syscall6(epollPwait2, uintptr(l.ep), uintptr(unsafe.Pointer(&l.events)), maxEvents,
		uintptr(unsafe.Pointer(&ts)), 0, 0)
	if errno == syscall.EINTR {
		return 0, nil
	}
	if errno != 0 {
		return 0, fmt.Errorf("wait for events: %w", errno)
	}
	return int(n), nil
}

// read reads once; what is left makes the descriptor ready again.
func (l *loop) read(c *conn) error {
	held := copy(l.buf[:], c.in)
	n, _, errno := syscall.RawSyscall(syscall.SYS_READ, uintptr(c.fd), uintptr(unsafe.Pointer(&l.buf[held])), uintptr(readSize-held))
	switch {
	case errno == syscall.EAGAIN || errno == syscall.EINTR:
		return nil
	case errno != 0:
		return fmt.Errorf("read: %w", errno)
	case n == 0:
		return errors.New("the broker closed the connection")
	}
	b := l.buf[:held+int(n)]
	for {
		first, body, size, err := split(b)
		if err != nil {
			return err
		}
		if size == 0 {
			break
		}
		if err := l.packet(c, first, body); err != nil {
			return err
		}
		b = b[size:]
	}
	c.in = append(c.in[:0], b...)
	return nil
}

func (l *loop) packet(c *conn, first byte, body []byte) error {
	if first&typeMask == publish {
		return l.publish(c, first, body)
	}
	if len(body) < 2 {
		return errMalformed
	}
	id := binary.BigEndian.Uint16(body)
	switch first & typeMask {
	case connack:
		if body[1] != accepted {
			return fmt.Errorf("refused with return code %d", body[1])
		}
		c.present = body[0] == 1
		c.acks++
	case suback:
		for _, code := range body[2:] {
			if code >= subackFault {
				return errors.New("subscription refused")
			}
		}
		c.acks++
	case puback, pubcomp:
		l.handler.acknowledged(c)
	case pubrec:
		c.out = appendAck(c.out, pubrel, id)
		l.touch(c)
	case pubrel & typeMask:
		c.out = appendAck(c.out, pubcomp, id)
		l.touch(c)
	default:
		return errMalformed
	}
	return nil
}

func (l *loop) publish(c *conn, first byte, body []byte) error {
	qos, topic, id, payload, err := splitPublish(first, body)
	if err != nil {
		return err
	}
	switch qos {
	case 1:
		c.out = appendAck(c.out, puback, id)
		l.touch(c)
	case 2:
		c.out = appendAck(c.out, pubrec, id)
		l.touch(c)
	}
	l.handler.received(c, topic, payload)
	return nil
}

// flush writes every touched connection once.
func (l *loop) flush() error {
	for _, c := range l.dirty {
		c.dirty = false
		if err := l.write(c); err != nil {
			return fmt.Errorf("client %d: %w", c.index, err)
		}
	}
	l.dirty = l.dirty[:0]
	return nil
}

func (l *loop) write(c *conn) error {
	if c.blocked || len(c.out) == 0 {
		return nil
	}
	n, _, errno := syscall.RawSyscall(syscall.SYS_WRITE, uintptr(c.fd), uintptr(unsafe.Pointer(&c.out[0])), uintptr(len(c.out)))
	if errno != 0 && errno != syscall.EAGAIN {
		return fmt.Errorf("write: %w", errno)
	}
	if errno != 0 {
		n = 0
	}
	c.out = c.out[:copy(c.out, c.out[n:])]
	if len(c.out) > 0 {
		c.blocked = true
		return l.interest(c, syscall.EPOLL_CTL_MOD, syscall.EPOLLIN|syscall.EPOLLOUT)
	}
	return nil
}
