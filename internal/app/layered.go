package app

import (
	"midge/internal/broker"
	"midge/internal/config"
	"midge/internal/engine"
)

// layered are the shards with a layer between them and the engine.
type layered struct {
	shards []engine.Shard
	start  func(engine.Runner)
	count  func(*broker.Counters) // adds what the layer has counted
}

// schemeOf is the scheme of a listener's address.
func schemeOf(l *config.Listener) string { return l.Addresses[0].Scheme }
