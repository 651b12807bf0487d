package app

import (
	"slices"

	"midge/internal/broker"
	"midge/internal/config"
	"midge/internal/engine"
	"midge/internal/engine/proxylayer"
)

// addProxies puts the PROXY protocol in front of shards, if a listener has it.
func (b *Broker) addProxies(shards []engine.Shard) []engine.Shard {
	if !slices.ContainsFunc(b.cfg.Listeners, func(l config.Listener) bool { return len(l.Listener.ProxyProtocol) > 0 }) {
		return shards
	}
	b.followProxies(b.cfg)
	b.proxies = proxylayer.New(shards, proxylayer.Config{
		Listener: func(n int) *proxylayer.Listener { return (*b.proxied.Load())[n] },
		Enter:    b.core.Reserve, Leave: b.core.Unreserve, Log: b.log,
	})
	return b.proxies.Shards()
}

// followProxies works out what the layer goes by.
func (b *Broker) followProxies(cfg *config.Loaded) {
	listeners := make([]*proxylayer.Listener, len(cfg.Listeners)) // by number
	for i := range cfg.Listeners {
		if l := &cfg.Listeners[i]; len(l.Listener.ProxyProtocol) > 0 {
			listeners[i] = &proxylayer.Listener{Proxies: l.Listener.Proxies(), Timeout: l.Limits.ConnectTimeout}
		}
	}
	b.proxied.Store(&listeners)
}

// count adds what others than the core have counted.
func (b *Broker) count(c *broker.Counters) {
	b.countLayers(c)
	if b.proxies != nil {
		n := b.proxies.Counters()
		c.RefusedProxy += n.Untrusted.Load() + n.Invalid.Load() + n.Late.Load()
		c.RefusedConnections += n.Full.Load()
	}
	a := b.counted
	c.HookAsked += a.HookAsked.Load()
	c.HookFailed += a.HookFailed.Load()
	c.HookRemembered += a.HookRemembered.Load()
	c.HookUnavailable += a.HookUnavailable.Load()
	c.HookBusy += a.HookBusy.Load()
	c.KeysFailed += a.KeysFailed.Load()
	c.Reloads += b.reloads.done.Load()
	c.ReloadsFailed += b.reloads.failed.Load()
}
