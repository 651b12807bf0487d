// Package loop moves the bytes of many outgoing connections on one goroutine:
// over epoll on Linux for plain TCP, and over goroutines for TLS, WebSocket
// and other systems.
//
// The goroutine that calls Turn owns the loop. It runs all of Handler's
// methods, and it alone may call the loop's methods and touch its
// connections.
//
// Files, from the bottom up: loop.go, handshake.go, goroutines.go,
// poller_linux.go, poller_other.go, new.go.
package loop

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/netip"
	"time"
)

// Handler hears what happens to connections.
type Handler interface {
	// Opened is called when a connection is there: the handshakes of TCP, TLS and
	// WebSocket are done.
	Opened(c *Conn)
	// Data offers the bytes that were received and not yet used; they are
	// borrowed. It returns how many it used: the rest is offered again with
	// more behind it.
	Data(c *Conn, b []byte) (used int)
	// Closed is called when a connection could not be made or has ended, other
	// than by Close. err is never nil; it is io.EOF if the peer ended it in
	// order.
	Closed(c *Conn, err error)
}

// Conn is an outgoing connection. Its zero value is closed; Dial opens it, and
// it may be dialed again after it was closed.
type Conn struct {
	// Index is for the handler to find its own.
	Index int
	// Out is what is to be written: append to it and call Touch. At the end
	// of the turn the loop writes what the kernel takes.
	Out []byte
	// ReadRate limits reading to so many bytes per second; 0 means no limit.
	// Throttle changes it on an open connection.
	ReadRate int

	in      []byte // received and unused
	dirty   bool   // in the loop's list of connections with output
	blocked bool   // the last output isn't written yet

	fd         int32 // of epoll; 0 means none
	generation int32 // tells events of fd from those of its earlier owners
	connecting bool
	slow       bool // in the loop's list of throttled connections

	link *link // of goroutines; nil means none
}

// Open reports whether the connection is open or being opened.
func (c *Conn) Open() bool { return c.fd != 0 || c.link != nil }

// Loop is a network loop.
type Loop interface {
	// Dial begins to open a connection. Handler.Opened or Handler.Closed
	// follow in a later turn.
	Dial(c *Conn)
	// Touch marks a connection that has output.
	Touch(c *Conn)
	// Close writes what the kernel takes at once and closes. The handler
	// hears nothing more of the connection.
	Close(c *Conn)
	// Throttle changes the rate at which a connection is read.
	Throttle(c *Conn, bytesPerSecond int)
	// Turn writes what is to be written, waits for up to wait for something
	// to happen, hands it to the handler, and writes again.
	Turn(wait time.Duration) error
	// Shut closes all connections and frees the loop.
	Shut() error
	// Engine is "epoll" or "goroutines".
	Engine() string
}

// Config says where connections go.
type Config struct {
	Address netip.AddrPort
	// Sources are the local addresses to connect from; a connection takes
	// the next after PortsPerSource connections. Empty leaves it to the
	// system.
	Sources        []netip.Addr
	PortsPerSource int
	TLS            *tls.Config // nil for none
	WebSocket      string      // the URL of a WebSocket; empty for none
	// Goroutines asks for goroutines also where there is epoll.
	Goroutines bool
	// Dial, if not nil, replaces the system's network; it implies goroutines.
	Dial func(ctx context.Context) (net.Conn, error)
}

// source is the local address of the nth connection; the zero value means
// any.
func (c *Config) source(n int) netip.Addr {
	if len(c.Sources) == 0 {
		return netip.Addr{}
	}
	return c.Sources[n/max(1, c.PortsPerSource)%len(c.Sources)]
}

// slowEvery is how often throttled connections are read.
const slowEvery = 100 * time.Millisecond

// slowShare is how much a throttled connection reads at a time.
func slowShare(bytesPerSecond int) int {
	return max(1, int(int64(bytesPerSecond)*int64(slowEvery)/int64(time.Second)))
}

// describe names the peer in an error.
func describe(address netip.AddrPort, err error) error {
	return fmt.Errorf("connect to %v: %w", address, err)
}
