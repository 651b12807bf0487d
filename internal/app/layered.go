package app

import (
	"fmt"

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

// needsPart is the error of a listener that a part which was left out carries.
func needsPart(l *config.Listener, part string) error {
	return fmt.Errorf("listen on %s: this binary was built without the part %s; 'make build' builds all parts", l.Listener.Address, part)
}
