package app

import (
	"slices"

	"midge/internal/broker"
	"midge/internal/config"
	"midge/internal/engine"
)

// addLayers puts what the schemes of the listeners ask for between the engine and the
// shards: WebSocket above TLS. Listeners without cost nothing, and if none has a layer there is none.
func (b *Broker) addLayers(shards []engine.Shard) ([]engine.Shard, error) {
	b.layers = nil
	add := func(l layered) {
		b.layers = append(b.layers, l)
		shards = l.shards
	}
	if b.anyListener("ws", "wss") {
		l, err := webSocket(shards, b.buffers, b.cfg.Listeners, b.log)
		if err != nil {
			return nil, err
		}
		add(l)
	}
	if b.anyListener("tls", "wss") {
		add(secure(shards, b.buffers, b.certificates, b.log))
	}
	return shards, nil
}

// anyListener reports whether a listener has one of the schemes.
func (b *Broker) anyListener(schemes ...string) bool {
	return slices.ContainsFunc(b.cfg.Listeners, func(l config.Listener) bool { return slices.Contains(schemes, schemeOf(&l)) })
}

// startLayers tells the layers who runs the shards.
func (b *Broker) startLayers() {
	for _, l := range b.layers {
		l.start(b.network)
	}
}

// countLayers adds what the layers have counted.
func (b *Broker) countLayers(c *broker.Counters) {
	for _, l := range b.layers {
		l.count(c)
	}
}
