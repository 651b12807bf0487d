package broker

import (
	"cmp"
	"time"

	"midge/internal/engine"
	"midge/internal/packet"
)

// conn is a network connection, before and after CONNECT. A shard holds at
// least one for each client, so it is kept small and has no buffers.
//
// Its fields fill 96 bytes; one more byte would cost 16.
type conn struct {
	net       engine.Conn
	client    *client // nil before CONNECT
	route     *route  // of the last topic that was published to
	timer     timer   // before CONNECT: its deadline; after it: keep-alive
	lastInput uint32  // when the last packet came, in ticks of the wheel, rounded up
	buffered  uint32  // bytes that Data left unused; see keepRest
	keepAlive uint16  // in force, seconds; 0: none
	version   packet.Version
	pace      pace
	encoding  encoding
	closing   bool // nothing is read or sent any more
	waits     waits
	passage   passage
}

// encoding is with whom a connection shares the encoded forms of QoS 0 messages.
type encoding uint8

const (
	sharedByAll   encoding = iota // that have no mount point
	sharedByMount                 // by those with its mount point
	notShared                     // it takes topic aliases, or only small packets
)

// pace is how a client keeps up with its messages.
type pace uint8

const (
	inTime pace = iota
	slow        // QoS 1 and 2 wait in the session until Drained
	looked      // slow, and release has looked at it once
)

// waits are the reasons why a connection is paused: nothing is read from it
// before the last of them has ended. The engine keeps what has arrived, one
// buffer at most, and offers it then.
type waits uint8

const (
	forAnswer    waits = 1 << iota // CONNECT has no answer; nothing is sent either. See connecting
	forRoom                        // a publisher, for mailboxes or the disk; see shard.stall
	forTurn                        // it has used up its work in this turn; see turnWork
	forWalk                        // retained messages are due to it; see walker
	forEnvelopes                   // UNSUBSCRIBE, for what was routed before it; see afterEnvelopes
	forMemory                      // the rest of a packet; see arrivals
	forDisk                        // what it is promised takes too much; see maxPromised
	forLeave                       // to send its next packet: it sends too much in a time (see meter), or somebody is asked whether it may (see asking.go)
)

// pause stops reading from a connection, for a reason.
func (s *shard) pause(c *conn, why waits) {
	c.waits |= why
	c.net.Pause()
}

// resume ends a reason for a pause. The client's silence counts from the end of
// the last, for nobody has listened to it.
func (s *shard) resume(c *conn, why waits) {
	if c.closing || c.waits&why == 0 {
		return
	}
	if c.waits &^= why; c.waits == 0 {
		c.noteInput(s.now)
		c.net.Resume()
	}
}

// maxPacket is the client's Maximum Packet Size, in bytes.
func (s *shard) maxPacket(c *conn) int {
	limit := uint32(0)
	switch {
	case c.client != nil && c.client.session.Link != nil:
		limit = c.client.session.Link.MaxPacket()
	case c.version == packet.V5: // s.packets.connect is being refused
		limit = s.packets.connect.Properties.MaximumPacketSize
	}
	return int(cmp.Or(limit, packet.MaxSize))
}

// connOf finds what Open made for a network connection.
func connOf(n engine.Conn) *conn { return n.Attached().(*conn) }

func (c *conn) name() string {
	if c.client == nil {
		return ""
	}
	return c.client.id
}

// noteInput takes note of a packet.
func (c *conn) noteInput(now time.Duration) { c.lastInput = uint32(now/tick) + 1 }
