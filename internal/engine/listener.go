package engine

// Listener is a place where an engine accepts connections, as it is told to.
type Listener struct {
	// Number is what Conn.Listener says of connections that come here. Whoever
	// makes the listeners numbers them, below MaxListeners, in the order in which it
	// makes them. A listener with several addresses has one number.
	Number int

	// Name is Peer.Listener of them; "" means the address.
	Name string

	// Network and Address are those of net.Listen: "tcp", or "tcp4" or "tcp6" for one
	// version of IP, and ":1883" (IPv4 and IPv6), "127.0.0.1:0" or "[::1]:1883".
	Network, Address string
}

// MaxListeners have numbers that fit an engine's record of a connection.
const MaxListeners = 256
