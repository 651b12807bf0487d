package broker

import (
	"midge/internal/packet"
)

// send sends answers: what the client has asked for by packets of its own.
func (s *shard) send(c *conn, out []byte) {
	if c.pace != inTime {
		s.slow.answered(c, len(out))
	}
	s.put(c, out)
}

// put sends encoded packets and takes the memory that they are in back.
func (s *shard) put(c *conn, out []byte) {
	if len(out) > 0 {
		c.net.Send(out, nil)
		s.countSent(out)
		s.work += len(out) >> 8
		s.budget.charge(len(out))
	}
	if cap(out) <= 64<<10 {
		s.out = out[:0]
	} else {
		s.out = nil
	}
}

// countSent counts the packets in out, which are whole.
func (s *shard) countSent(out []byte) {
	s.count.BytesSent += uint64(len(out))
	for len(out) > 0 {
		n, size := int(out[1]), 2+int(out[1])
		if n > 0x7f { // its length has more than a byte
			var body []byte
			if _, body, size, _ = packet.Split(out, packet.MaxSize); size == 0 {
				return
			}
			n = len(body)
		}
		s.count.PacketsSent++
		if packet.TypeOf(out[0]) == packet.PUBLISH {
			s.count.PublishSent++
			s.count.PublishBytesSent += uint64(n)
		}
		out = out[size:]
	}
}
