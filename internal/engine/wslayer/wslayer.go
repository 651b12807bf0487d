// Package wslayer is WebSocket (RFC 6455, MQTT 5.0 section 6) on an event loop, as a
// decorator of engine.Shard. Frames are decoded as they arrive, so that one of any length
// costs no memory; all packets of a turn go out in one frame.
//
// Files, from the bottom up: wslayer.go, frame.go, request.go, codec.go, new.go.
package wslayer

import (
	"log/slog"
	"net/netip"
	"slices"
	"sync/atomic"
)

// Config is what the layer goes by.
type Config struct {
	// Listener returns what holds for a listener, nil for one without WebSocket. It is
	// called for each new connection, on the threads of shards.
	Listener func(listener int) *Listener

	// Log gets what was wrong with a request, at level Debug; nil means slog.Default().
	Log *slog.Logger
}

// Listener is what a listener asks of requests.
type Listener struct {
	Path    string         // of the request; "" means any
	Origins []string       // that pages may have, such as "https://example.org"; none means any
	Proxies []netip.Prefix // whose X-Forwarded-For is believed
}

// trusts reports whether an address is a proxy's that is believed.
func (l *Listener) trusts(a netip.Addr) bool {
	return slices.ContainsFunc(l.Proxies, func(p netip.Prefix) bool { return p.Contains(a) })
}

// Counters are updated when a request was answered. Safe from any goroutine.
type Counters struct {
	Done   atomic.Uint64 // connections that became a WebSocket
	Failed [reasons]atomic.Uint64
}

// Reason is why a connection did not become a WebSocket.
type Reason int

const (
	PlainMQTT  Reason = iota // CONNECT without WebSocket
	TLS                      // a handshake of TLS on a listener without
	NotHTTP                  // anything else that is no request
	BadRequest               // a request that does not ask for a WebSocket, or not rightly
	Path                     // another path
	Origin                   // a page of an origin that may not
	Protocol                 // without the subprotocol mqtt
	TooLong                  // a request without end
	Late                     // the shard closed the connection: it took too long
	reasons    = int(Late) + 1
)

// String is the reason in the words of a counter's name.
func (r Reason) String() string {
	return [reasons]string{"plain mqtt", "tls", "no http", "bad request", "path", "origin", "protocol", "too long", "late"}[r]
}

// explain is what to do about it, "" if there is nothing.
func (r Reason) explain() string {
	switch r {
	case PlainMQTT:
		return "a client speaks MQTT without WebSocket to a WebSocket listener: its address must begin with ws://"
	case TLS:
		return "a client speaks TLS to a listener without: its address must begin with ws://, or the listener's with wss://"
	case Path:
		return "the path of the client's address is not that of the listener"
	case Origin:
		return "the page's origin is not among websocket.origins"
	case Protocol:
		return "the client does not ask for the subprotocol mqtt [MQTT-6.0.0-3]"
	}
	return ""
}
