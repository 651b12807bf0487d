package broker

import (
	"fmt"
	"log/slog"
	"runtime/debug"

	"midge/internal/packet"
)

// guard is deferred by Data. A panic before the packet that is on has changed
// anything ends its connection: what a shard keeps is whole then, and only the
// packet is to blame. Later, promises may be half made: a message routed to some
// of its receivers, a record written that memory knows nothing of. Going on could
// acknowledge what is not safe, so the process ends, and the next start reads
// from disk what was promised.
func (s *shard) guard(c *conn, used *int, all int) {
	v := recover()
	if v == nil {
		return
	}
	if !s.intact {
		panic(fmt.Sprintf("midge: shard %d: %v from client %q at %s: %v", s.index, packet.TypeOf(s.first), c.name(), remoteText(c.net.Remote()), v))
	}
	s.count.Panics++
	s.log.Error("a fault in Midge ended a connection; please report it", "shard", s.index, "packet", packet.TypeOf(s.first).String(),
		"client", c.name(), "remote", remoteText(c.net.Remote()), "panic", fmt.Sprint(v), slog.String("stack", string(debug.Stack())))
	*used = all
	s.end(c, packet.ImplementationSpecificError, "internal error")
}

// guardTurn is deferred by Turn, which changes what many clients share.
func (s *shard) guardTurn() {
	if v := recover(); v != nil {
		panic(fmt.Sprintf("midge: shard %d: in its turn: %v", s.index, v))
	}
}
