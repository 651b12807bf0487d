package app

import (
	"runtime"

	"midge/internal/broker"
	"midge/internal/settings"
)

// coreConfig is what the core is built from, but for the store.
func (b *Broker) coreConfig(version string) broker.Config {
	return broker.Config{Shards: b.shards(), Refusing: b.files.refusing, Version: version, Buffers: b.buffers, Logger: b.log}
}

// coreSettings are the settings that the core begins with: those of the user, and
// as many connections as there are descriptors for.
func (b *Broker) coreSettings() settings.Core {
	core := b.cfg.Core
	core.Limits.Connections = b.files.connections
	return core
}

// shards is the number of shards in force.
func (b *Broker) shards() int {
	if b.cfg.Shards > 0 {
		return b.cfg.Shards
	}
	return min(shardsPerCore*runtime.NumCPU(), settings.MaxShards)
}
