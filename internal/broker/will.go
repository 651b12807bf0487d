package broker

import (
	"time"

	"midge/internal/message"
	"midge/internal/packet"
	"midge/internal/store"
)

// will is a will message (MQTT 5.0 section 3.1.2.5) that waits for the end of
// its connection, or for its delay.
type will struct {
	message *message.Message
	delay   time.Duration
	due     time.Duration // once the connection has ended
	expiry  time.Duration // Message Expiry Interval, from its publication; 0: none
	number  uint64        // in the store, 0 if it is not there
}

// newWill keeps the will of a CONNECT, nil if it has none.
func (s *shard) newWill(p *packet.Connect, id string) *will {
	if !p.HasWill {
		return nil
	}
	pw := &p.Will
	name := pw.Topic
	if mount, _ := store.SplitID(id); mount != "" {
		name = s.fullName(mount, name)
	}
	m := message.Message{
		Topic: name, Payload: pw.Payload, Properties: pw.Properties.Forward,
		QoS: pw.QoS, Retain: pw.Retain, Publisher: id,
	}
	w := &will{message: m.Clone(), delay: time.Duration(pw.Delay) * time.Second}
	if pw.Properties.HasExpiry {
		w.expiry = max(time.Duration(pw.Properties.MessageExpiry)*time.Second, 1)
	}
	return w
}

// publishWill publishes the will of a client if it has one, once (MQTT-3.1.2-10), and
// with RETAIN if the client asked for it (MQTT-3.1.2-14, MQTT-3.1.2-15).
func (s *shard) publishWill(cl *client) {
	w := cl.will()
	if w == nil {
		return
	}
	cl.rare.will = nil
	m := *w.message
	if w.expiry > 0 {
		m.Expire(s.now, uint32(w.expiry/time.Second))
	}
	s.retain(&m)
	from := cl
	if now := s.clients.Get(cl.id); now != nil {
		from = now // a will from before a crash has outlived its session; No Local goes by the client id (MQTT-3.8.3-3)
	}
	r, _ := s.routes.Route(m.Topic)
	s.route(&m, r, from)
	if w.number == 0 {
		return
	}
	if s.planned.remote {
		// A start publishes the will again until all have it: at QoS 2 nobody may keep it then.
		s.disk.turn().Undecided(s.planned.seq, true)
	}
	s.disk.turn().FinallyDeleteWill(w.number)
}

// setWill gives a client another will or none (MQTT-3.1.2-7). Wills are on disk whatever the
// session: a crash must not keep them from being published.
func (s *shard) setWill(cl *client, w *will) {
	if w == nil && cl.will() == nil {
		return
	}
	if old := cl.will(); old != nil && old.number != 0 {
		s.disk.turn().DeleteWill(old.number)
	}
	cl.need().will = w
	if w == nil || s.b.cfg.Store == nil {
		return
	}
	w.number = s.b.cfg.Store.NextSeq()
	s.disk.turn().PutWill(&store.Will{Number: w.number, ClientID: cl.id, Delay: w.delay, Expiry: w.expiry, Message: *w.message})
}
