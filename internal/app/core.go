package app

import (
	"runtime"

	"midge/internal/broker"
	"midge/internal/config"
	"midge/internal/settings"
)

// coreConfig is what the core is built from, but for the store.
func (b *Broker) coreConfig(version string) broker.Config {
	return broker.Config{Shards: b.shards(), Refusing: b.files.refusing, Version: version, Buffers: b.buffers, Logger: b.log}
}

// coreSettings are the settings that the core gets: those of the user, and as many
// connections as there are descriptors for.
func (b *Broker) coreSettings(cfg *config.Loaded, connections int) settings.Core {
	core := cfg.Core
	core.Limits.Connections = connections
	core.Listeners = map[int]settings.ListenerLimits{}
	for _, l := range b.listeners {
		if l.Sets("limits.") || l.MountPoint != "" || l.Listener.Listener.TotalMessageRate > 0 || l.Listener.Listener.TotalByteRate > 0 {
			core.Listeners[l.number] = limitsOf(l.Listener)
		}
	}
	return core
}

// limitsOf are those of a listener that has some of its own.
func limitsOf(l *config.Listener) settings.ListenerLimits {
	limits := settings.ListenerLimits{Limits: l.Limits, Mounts: l.MountPoint != ""}
	if l.Sets("limits.connections") {
		limits.Own = &l.Limits.Connections
	}
	if l.Sets("limits.connections_per_ip") {
		limits.OwnPerIP = &l.Limits.ConnectionsPerIP
	}
	if l.Sets("limits.connect_rate") {
		limits.OwnConnectRate = &l.Limits.ConnectRate
	}
	if l.Sets("limits.connect_rate_per_ip") {
		limits.OwnConnectRatePerIP = &l.Limits.ConnectRatePerIP
	}
	limits.TotalMessageRate, limits.TotalByteRate = l.Listener.TotalMessageRate, l.Listener.TotalByteRate
	return limits
}

// shards is the number of shards in force.
func (b *Broker) shards() int {
	if b.cfg.Shards > 0 {
		return b.cfg.Shards
	}
	return min(shardsPerCore*runtime.NumCPU(), settings.MaxShards)
}
