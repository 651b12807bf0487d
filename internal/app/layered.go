package app

import (
	"midge/internal/broker"
	"midge/internal/config"
	"midge/internal/engine"
)

// layerKind is a layer between the engine and the core.
type layerKind int

const (
	webSocketLayer layerKind = iota // next to the core
	tlsLayer
	proxyLayer // next to the engine
	layerKinds
)

// layered are the shards with a layer between them and the engine.
type layered struct {
	shards   []engine.Shard
	start    func(engine.Runner)
	decorate func(shard int, inner engine.Shard) // exchanges what the layer is above of
	count    func(*broker.Counters)              // adds what the layer has counted
}

// schemeOf is the scheme of a listener's address.
func schemeOf(l *config.Listener) string { return l.Addresses[0].Scheme }
