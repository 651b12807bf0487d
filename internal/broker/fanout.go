package broker

import (
	"midge/internal/message"
	"midge/internal/packet"
	"midge/internal/session"
	"midge/internal/store"
)

// write puts a message on disk for those of its receivers that are stored, and
// returns its key, 0 if there are none. sole reports whether there is one.
func (s *shard) write(receivers []receiver, m *message.Message, from *client, key message.Key) (_ message.Key, sole bool) {
	n := 0
	s.disk.receivers = s.disk.receivers[:0]
	for i := range receivers {
		rc := &receivers[i]
		if !rc.Client.stored() {
			continue
		}
		g := rc.GrantFrom(from)
		if g == nil || g.QoS == 0 {
			continue
		}
		n++
		s.disk.receivers = store.AppendReceiver(s.disk.receivers, &store.Receiver{
			Session: rc.Client.session.Number, QoS: min(m.QoS, g.QoS), Retain: m.Retain && g.RetainAsPublished, IDs: g.IDs,
		})
	}
	return s.disk.putReceivers(n, m, key), n == 1
}

// deliverLocal gives a message to its receivers on this shard, at the lower of its
// QoS and the granted one (MQTT-3.8.4-8), and with RETAIN only where a subscription
// asks for it (MQTT-3.3.1-12, MQTT-3.3.1-13). from is the
// client that published it if it is one of this shard; key is for receivers
// that are on disk.
func (s *shard) deliverLocal(receivers []receiver, m *message.Message, from *client, key message.Key) {
	s.work += len(receivers) * (1 + len(m.Payload)>>12)
	s.beginDelivery(m)
	var sole bool
	if key != 0 {
		key, sole = s.write(receivers, m, from, key)
	}
	for i := range receivers {
		rc := &receivers[i]
		g := rc.GrantFrom(from)
		if g == nil {
			continue
		}
		retain := m.Retain && g.RetainAsPublished
		qos := min(m.QoS, g.QoS)
		if qos > 0 && key == 0 && rc.Client.stored() {
			// Above QoS 0 nobody has stored the message: when it was routed, the
			// client had no subscription above QoS 0. So it gets what that one
			// granted; MQTT-3.8.4-4 wants nothing lost when it is replaced.
			qos = 0
		}
		if qos > 0 || len(g.IDs) > 0 {
			s.enqueue(rc.Client, session.Delivery{QoS: qos, Retain: retain, SubscriptionIDs: g.IDs, Key: key, Sole: sole})
		} else {
			s.deliverDirect(rc.Client, m, retain)
		}
	}
}

// fanout is what the receivers of a message share, for as long as it is delivered.
type fanout struct {
	frames  frames
	mounted frames         // of receivers with a mount point, the last one that came
	head    packet.Publish // memory of what is encoded
	cloner  session.Cloner
}

// frames are the encoded forms of a QoS 0 message without its payload, built
// once for all receivers.
type frames struct {
	heads [4][]byte // by 5.0 or not, and retained or not
	built [4]bool   // heads that are of this message
	large bool      // one of them is over maxReusedFrame
	mount int       // length of the mount point that is left out of the topic
}

func (f *frames) reset() {
	f.built = [4]bool{}
	if !f.large {
		return
	}
	for i := range f.heads {
		if cap(f.heads[i]) > maxReusedFrame {
			f.heads[i] = nil
		}
	}
	f.large = false
}

// maxReusedFrame is the size in bytes of an encoded form whose memory is used again. Heads
// are topic and properties; some are as large as a packet can be.
const maxReusedFrame = 4 << 10

// below returns the frames of receivers with a mount point of so many bytes. All with the same
// get a message one after the other, as a rule: only mount points within each
// other have names in common.
func (f *fanout) below(mount int) *frames {
	if f.mounted.mount != mount {
		f.mounted.reset()
		f.mounted.mount = mount
	}
	return &f.mounted
}

func (s *shard) frame(f *frames, m *message.Message, v packet.Version, retain bool) []byte {
	i := 0
	if v == packet.V5 {
		i = 2
	}
	if retain {
		i++
	}
	head := &f.heads[i]
	if !f.built[i] {
		p := &s.fanout.head
		*p = packet.Publish{Topic: m.Topic[f.mount:], Payload: m.Payload, Retain: retain}
		p.Properties.Forward = m.Properties
		p.Properties.MessageExpiry, p.Properties.HasExpiry = m.Remaining(s.now)
		*head, _ = p.AppendHead((*head)[:0], v)
		f.built[i] = true
		f.large = f.large || cap(*head) > maxReusedFrame
	}
	return *head
}

// deliverDirect sends a QoS 0 message that needs nothing of the session.
func (s *shard) deliverDirect(c *client, m *message.Message, retain bool) {
	to := c.online()
	if to == nil {
		s.count.DroppedAway++
		return
	}
	if m.Expired(s.now) {
		s.count.DroppedExpired++
		return
	}
	frames := &s.fanout.frames
	if to.encoding != sharedByAll {
		if to.encoding == notShared {
			s.enqueue(c, session.Delivery{Retain: retain})
			return
		}
		frames = s.fanout.below(c.Mount())
	}
	if n := to.net.Pending(); n > s.budget.pending && !s.budget.takes(n, m) {
		s.dropPending(n)
		return
	}
	head := s.frame(frames, m, to.version, retain)
	size := len(head) + len(m.Payload)
	if buffer := s.shared(m); buffer != nil {
		to.net.SendShared(head, m.Payload, buffer)
	} else {
		to.net.Send(head, m.Payload)
	}
	s.budget.charge(size)
	s.count.PacketsSent++
	s.count.PublishSent++
	s.count.BytesSent += uint64(size)
	s.count.PublishBytesSent += uint64(len(m.Payload))
}

// beginDelivery begins the delivery of a message: frames and a clone are shared by
// all that get it from this shard.
func (s *shard) beginDelivery(m *message.Message) {
	s.fanout.frames.reset()
	s.fanout.mounted.reset()
	s.fanout.cloner = session.Cloner{Borrowed: m}
}
