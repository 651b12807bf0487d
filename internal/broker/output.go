package broker

import (
	"midge/internal/bufpool"
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

// shared is the buffer of the publisher's input, if connections can share it for the
// payload of a message instead of getting copies; nil: they can't.
func (s *shard) shared(m *message.Message) *bufpool.Buffer {
	if s.payloadBuffer == nil || !s.payloadBuffer.Holds(m.Payload) {
		return nil
	}
	return s.payloadBuffer
}

// fills reports whether at least half of a buffer is a message's: it may be held until the
// message is acknowledged, so that what is held stays near what is counted.
func fills(buffer *bufpool.Buffer, m *message.Message) bool {
	return 2*len(m.Payload) >= len(buffer.Bytes())
}

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

// putShared sends the head of an encoded PUBLISH, if there is one, and its payload, which lies in a
// buffer that the connection may share. It takes the memory of the head back.
func (s *shard) putShared(c *conn, head, payload []byte, buffer *bufpool.Buffer) {
	if len(head) > 0 {
		size := len(head) + len(payload)
		c.net.SendShared(head, payload, buffer)
		s.count.PacketsSent++
		s.count.PublishSent++
		s.count.BytesSent += uint64(size)
		s.count.PublishBytesSent += uint64(len(payload))
		s.budget.charge(size)
	}
	if s.out = nil; cap(head) <= 64<<10 {
		s.out = head[:0]
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
