package app

import (
	"midge/internal/engine"
	"midge/internal/engine/proxylayer"
	"midge/internal/tlsconfig"
)

// fronts are what the layers go by, by the number of a listener. They don't change: others
// take their place.
type fronts struct {
	tls       map[int]*tlsconfig.Config
	webSocket map[int]any // as the part has made it
	proxy     map[int]*proxylayer.Listener
}

// frontsOf works out what the layers go by.
func frontsOf(listeners []*listener) (*fronts, error) {
	f := &fronts{map[int]*tlsconfig.Config{}, map[int]any{}, map[int]*proxylayer.Listener{}}
	for _, l := range listeners {
		if l.tls != nil {
			f.tls[l.number] = l.tls
		}
		if l.needs(webSocketLayer) {
			w, err := webSocketOf(l.Listener)
			if err != nil {
				return nil, err
			}
			f.webSocket[l.number] = w
		}
		if l.needs(proxyLayer) {
			f.proxy[l.number] = &proxylayer.Listener{Proxies: l.Listener.Listener.Proxies(), Timeout: l.Limits.ConnectTimeout}
		}
	}
	return f, nil
}

// tlsOf is the TLS of a listener, nil without.
func (b *Broker) tlsOf(number int) *tlsconfig.Config { return b.fronts.Load().tls[number] }

// revoked says whether the certificate of a connection has been revoked by now.
func (b *Broker) revoked(n engine.Conn) error {
	c := b.tlsOf(n.Listener())
	if c == nil || !c.Revokes() {
		return nil
	}
	return c.Revoked(n.Peer().TLS)
}

func (b *Broker) webSocketOf(number int) any { return b.fronts.Load().webSocket[number] }

func (b *Broker) proxyOf(number int) *proxylayer.Listener { return b.fronts.Load().proxy[number] }

// makeListeners makes those to begin with.
func (b *Broker) makeListeners() error {
	for number := range b.cfg.Listeners {
		l, err := newListener(&b.cfg.Listeners[number], number)
		if err != nil {
			return err
		}
		b.listeners = append(b.listeners, l)
	}
	f, err := frontsOf(b.listeners)
	b.fronts.Store(f)
	return err
}
