package engine

import (
	"io/fs"
	"os"
)

// Listener is a place where an engine accepts connections, as it is told to.
type Listener struct {
	// Number is what Conn.Listener says of connections that come here. Whoever
	// makes the listeners numbers them, below MaxListeners, in the order in which it
	// makes them. A listener with several addresses has one number.
	Number int

	// Name is Peer.Listener of them; "" means the address.
	Name string

	// Network and Address are those of net.Listen: "tcp", or "tcp4" or "tcp6" for one
	// version of IP, and ":1883" (IPv4 and IPv6), "127.0.0.1:0" or "[::1]:1883"; or "unix" and
	// a path, at which there must be nothing. Whoever listens there removes the file.
	Network, Address string

	// Mode is that of the file of a Unix socket. It has no more at any time.
	Mode fs.FileMode

	// Socket listens already, and Address is what it was asked for; nil: the engine opens
	// one. The engine uses a copy.
	Socket *os.File
}

// MaxListeners have numbers that fit an engine's record of a connection.
const MaxListeners = 256
