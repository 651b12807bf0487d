package app

import (
	"fmt"
	"slices"

	"midge/internal/config"
	"midge/internal/engine"
	"midge/internal/tlsconfig"
)

// listener is one of the configuration, in one shape, with the number that its connections
// have. One that gets another shape, such as TLS, is another listener: its connections
// stay what they are.
type listener struct {
	*config.Listener // as it is in force
	number           int
	tls              *tlsconfig.Config // nil: without TLS
	gone             bool              // there are only connections that came before
}

// fits reports whether a listener of the configuration is this one, perhaps with other
// settings and addresses.
func (l *listener) fits(c *config.Listener) bool {
	return !l.gone && l.Name() == c.Name() && schemeOf(l.Listener) == schemeOf(c) && l.needs(proxyLayer) == (&listener{Listener: c}).needs(proxyLayer)
}

// needs reports whether connections of the listener need a layer.
func (l *listener) needs(layer layerKind) bool {
	switch scheme := schemeOf(l.Listener); layer {
	case webSocketLayer:
		return scheme == "ws" || scheme == "wss"
	case tlsLayer:
		return scheme == "tls" || scheme == "wss"
	default:
		return len(l.Listener.Listener.ProxyProtocol) > 0
	}
}

// alpn is the protocol that clients of TLS agree to.
func (l *listener) alpn() string {
	if schemeOf(l.Listener) == "wss" {
		return "http/1.1"
	}
	return "mqtt"
}

// at is the listener for the engine.
func (l *listener) at() engine.Listener {
	return engine.Listener{Number: l.number, Name: l.Name(), Mode: l.Listener.Listener.FileMode()}
}

// newListener makes a listener of the configuration, and reads its certificates.
func newListener(c *config.Listener, number int) (*listener, error) {
	l := &listener{Listener: c, number: number}
	if !l.needs(tlsLayer) {
		return l, nil
	}
	var err error
	if l.tls, err = tlsconfig.New(l.Name(), &l.TLS, l.alpn()); err != nil {
		return nil, fmt.Errorf("listen on %s: %w", c.Listener.Address, err)
	}
	return l, nil
}

// freeNumber returns a number that no listener has, and no connection.
func freeNumber(n network, taken []*listener) (int, error) {
	for number := range engine.MaxListeners {
		used := slices.ContainsFunc(taken, func(l *listener) bool { return l.number == number })
		if !used && n.Connections(number) == 0 {
			return number, nil
		}
	}
	return 0, fmt.Errorf("there are %d listeners, with those that are gone and still have connections, and no more can be told apart", engine.MaxListeners)
}
