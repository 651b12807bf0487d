package broker

import (
	"midge/internal/message"
	"midge/internal/packet"
)

// send sends answers: what the client has asked for by packets of its own.
func (s *shard) send(c *conn, out []byte) {
	if c.pace != inTime {
		s.slow.answered(c, len(out))
	}
	s.put(c, out)
}

// headRoom is what the packet of a message may have beyond what the message is accounted
// with, but for many subscription identifiers, in bytes.
const headRoom = 256

// outFor returns memory to encode a message in, for put: for a large one in a buffer that
// connections may share.
func (s *shard) outFor(m *message.Message) []byte {
	if m.Size() < copyBelow {
		return s.out[:0]
	}
	s.outBuffer = s.b.cfg.Buffers.Get(m.Size() + headRoom)
	return s.outBuffer.Bytes()[:0]
}

// releaseOut is the end of what outFor began.
func (s *shard) releaseOut() {
	if s.outBuffer != nil {
		s.outBuffer.Release()
		s.outBuffer = nil
	}
}

// put sends encoded packets and takes the memory that they are in back.
func (s *shard) put(c *conn, out []byte) {
	shared := s.outBuffer != nil && (len(out) == 0 || s.outBuffer.Holds(out))
	if len(out) > 0 {
		if shared {
			c.net.SendShared(nil, out, s.outBuffer)
		} else {
			c.net.Send(out, nil)
		}
		s.countSent(out)
		s.work += len(out) >> 8
		s.budget.charge(len(out))
	}
	switch {
	case shared:
	case cap(out) <= 64<<10:
		s.out = out[:0]
	default:
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
