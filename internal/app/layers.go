package app

import (
	"slices"
	"sync"

	"midge/internal/broker"
	"midge/internal/engine"
)

// layers are those that there are, from the top down; nil where no listener has needed one so
// far. Connections of listeners without cost nothing then. One that is there stays.
type layers [layerKinds]*layered

// addLayers adds the layers that listeners need. It reports whether it has added any.
func (b *Broker) addLayers(to layers, shards []engine.Shard, listeners []*listener) (_ *layers, added bool) {
	for kind := range layerKinds {
		if to[kind] != nil || !slices.ContainsFunc(listeners, func(l *listener) bool { return l.needs(kind) }) {
			continue
		}
		var l layered
		switch kind {
		case webSocketLayer:
			l = webSocket(shards, b.buffers, b.webSocketOf, b.log)
		case tlsLayer:
			l = secure(shards, b.buffers, b.tlsOf, budgetOf(b.cfg.Limits.Memory), b.log)
		default:
			l = proxied(b.core, shards, b.proxyOf, b.log)
		}
		to[kind], added = &l, true
	}
	return &to, added
}

// stack puts the layers one above the other on a shard, the core at the top. It returns what
// the engine is to run.
func (l *layers) stack(shard int, top engine.Shard) engine.Shard {
	for _, layer := range l {
		if layer != nil {
			layer.decorate(shard, top)
			top = layer.shards[shard]
		}
	}
	return top
}

// startLayers tells the layers who runs the shards, but for those that know.
func (b *Broker) startLayers(all *layers, but layers) {
	for kind, l := range all {
		if l != nil && but[kind] == nil {
			l.start(b.network)
		}
	}
}

// followLayers adds, between turns, the layers that listeners need. Connections that are
// open stay as they are. When it returns all shards have them.
func (b *Broker) followLayers(listeners []*listener) {
	shards := b.core.Shards()
	before := *b.layers.Load()
	next, added := b.addLayers(before, shards, listeners)
	if !added {
		return
	}
	b.startLayers(next, before)
	b.layers.Store(next)
	var stacked sync.WaitGroup
	stacked.Add(len(shards))
	for i := range shards {
		b.network.Post(i, func() {
			b.network.Decorate(i, next.stack(i, shards[i]))
			stacked.Done()
		})
	}
	stacked.Wait()
}

// countLayers adds what the layers have counted.
func (b *Broker) countLayers(c *broker.Counters) {
	for _, l := range b.layers.Load() {
		if l != nil {
			l.count(c)
		}
	}
}

// count adds what others than the core have counted.
func (b *Broker) count(c *broker.Counters) {
	b.countLayers(c)
	a := b.counted
	c.HookAsked += a.HookAsked.Load()
	c.HookFailed += a.HookFailed.Load()
	c.HookRemembered += a.HookRemembered.Load()
	c.HookUnavailable += a.HookUnavailable.Load()
	c.HookBusy += a.HookBusy.Load()
	c.KeysFailed += a.KeysFailed.Load()
	c.BrokenAccess += b.reloads.brokenAccess.Load()
	c.BansFailed += b.bans.failed.Load()
	c.Reloads += b.reloads.done.Load()
	c.ReloadsFailed += b.reloads.failed.Load()
}
