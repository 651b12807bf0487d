package broker

import (
	"cmp"
	"fmt"
	"strconv"
	"time"
	"unicode/utf8"

	"midge/internal/packet"
	"midge/internal/store"
)

// assign makes a client id that no session has (MQTT-3.1.3-6, MQTT-3.2.2-16), of
// this shard, so that the connection can stay.
func (s *shard) assign() string {
	for {
		id := "midge-" + s.b.process + "-" + strconv.FormatUint(s.b.names.Add(1), 36)
		if shardOf([]byte(id), len(s.b.shards)) == s.index {
			return id
		}
	}
}

// checkConnect looks at what a CONNECT asks for beyond its form, whoever it is
// (MQTT-3.1.4-2).
func (s *shard) checkConnect(p *packet.Connect) error {
	if err := s.checkStrict(p); err != nil {
		return err
	}
	if !p.HasWill {
		return nil
	}
	w := &p.Will
	if err := s.checkName(w.Topic); err != nil {
		s.count.RefusedTopics++
		return fault(p.Version, packet.TopicNameInvalid, "3.1.3.3", "3.1.3.2", "will topic: "+err.Error())
	}
	if w.Retain && !s.settings.retains && p.Version == packet.V5 {
		return fault(p.Version, packet.RetainNotSupported, "MQTT-3.2.2-13", "", "will with RETAIN although retained messages are off")
	}
	return nil
}

// checkStrict looks at what only strict settings refuse.
func (s *shard) checkStrict(p *packet.Connect) error {
	strict, limit := &s.settings.Strict, s.settings.Session.KeepAlive
	if p.Version == packet.V31 && strict.ClientIDs {
		if n := utf8.RuneCount(p.ClientID); n > 23 {
			return fault(p.Version, packet.ClientIdentifierNotValid, "", "3.1", fmt.Sprintf("client identifier has %d characters and not 1 to 23", n))
		}
	}
	if p.Version != packet.V5 && strict.KeepAlive && limit > 0 {
		if asked := time.Duration(p.KeepAlive) * time.Second; asked == 0 || asked > limit {
			return fault(p.Version, packet.ClientIdentifierNotValid, "", "3.1.2.10", fmt.Sprintf("Keep Alive of %v, the most is %v", asked, limit))
		}
	}
	return nil
}

// cantPromise reports whether CONNECT asks for something durable while nothing gets
// on disk.
func (s *shard) cantPromise(p *packet.Connect, id string) bool {
	return s.disk.failing() != nil && s.needsDisk(p, id)
}

// mustWait reports whether CONNACK must wait for the disk. It does for the end of an
// older session as well, which a crash must not bring back.
func (s *shard) mustWait(p *packet.Connect, id string) bool {
	return s.b.cfg.Store != nil && s.needsDisk(p, id)
}

// needsDisk reports whether CONNECT asks for something durable.
func (s *shard) needsDisk(p *packet.Connect, id string) bool {
	if cl := s.clients.Get(id); cl != nil && cl.stored() {
		return s.disk.failing() == nil || s.b.cfg.Store.Failed() || !s.changesNothing(cl, p)
	}
	return s.expiryOf(p) > 0 || p.HasWill
}

// changesNothing reports whether CONNECT asks for nothing that is not on disk: it resumes a
// session that is, and changes nothing of it. So who reads can come back while
// the disk is full.
func (s *shard) changesNothing(cl *client, p *packet.Connect) bool {
	over := cl.away != nil && cl.away.ends <= s.now
	return cl.persisted && !over && !p.CleanStart && !p.HasWill && cl.will() == nil && s.expiryOf(p) == cl.expiry
}

// numberFor is the place in the store of the new session that a CONNECT begins.
func (s *shard) numberFor(p *packet.Connect) uint64 {
	if s.b.cfg.Store == nil || s.expiryOf(p) == 0 {
		return 0
	}
	return s.b.cfg.Store.NextSession()
}

// connack appends the CONNACK that accepts a CONNECT, and returns the Keep Alive
// in force. It appends nothing if the client takes no packet as large as that
// (MQTT-3.1.2-24).
func (s *shard) connack(out []byte, j *connecting, present bool) (_ []byte, keepAlive time.Duration) {
	ack, p := &s.packets.accepted, &s.packets.connect
	*ack = packet.Connack{SessionPresent: present}
	keepAlive = s.keepAlive(p, ack)
	s.connackProperties(p, j.assignedID(), s.settings.admit(j.c.net).packetSize, ack)
	if j.enhanced != nil {
		j.enhanced.describe(&ack.Properties, j.data)
	}
	limit := uint32(packet.MaxSize)
	if p.Version == packet.V5 {
		limit = cmp.Or(p.Properties.MaximumPacketSize, limit)
	}
	return ack.AppendWithin(out, p.Version, int(limit)), keepAlive
}

// assignedID is the client id that CONNACK has, "" for none.
func (j *connecting) assignedID() string {
	if !j.assigned {
		return ""
	}
	_, id := store.SplitID(j.id)
	return id
}

// cantAnswer reports whether the client takes no packet as large as the CONNACK that
// accepts it.
func (s *shard) cantAnswer(j *connecting) bool {
	p := &s.packets.connect
	if p.Version != packet.V5 || p.Properties.MaximumPacketSize == 0 {
		return false
	}
	answer, _ := s.connack(s.out[:0], j, false)
	return len(answer) == 0
}

// connackProperties has for a 5.0 client where the broker differs from what an
// absent property means (MQTT-3.1.3-7, MQTT-3.1.2-28).
func (s *shard) connackProperties(p *packet.Connect, assigned string, packetSize int, ack *packet.Connack) {
	if p.Version != packet.V5 {
		return
	}
	f, a := s.settings, &ack.Properties
	if limit := f.Session.ReceiveMaximum; limit < 65535 {
		a.ReceiveMaximum = uint16(limit)
		a.Set(packet.PropReceiveMaximum)
	}
	if packetSize < packet.MaxSize {
		a.MaximumPacketSize = uint32(packetSize)
		a.Set(packet.PropMaximumPacketSize)
	}
	if limit := f.Limits.TopicAliases; limit > 0 {
		a.TopicAliasMaximum = uint16(limit)
		a.Set(packet.PropTopicAliasMaximum)
	}
	if !f.retains {
		a.RetainAvailable = false
		a.Set(packet.PropRetainAvailable)
	}
	if expiry := s.expiryOf(p); expiry != p.Properties.SessionExpiry {
		a.SessionExpiry = expiry
		a.Set(packet.PropSessionExpiry)
	}
	if assigned != "" {
		a.AssignedClientID = []byte(assigned)
		a.Set(packet.PropAssignedClientID)
	}
	if p.Properties.RequestResponseInfo && f.Session.ResponseInformation != "" {
		a.ResponseInfo = []byte(f.Session.ResponseInformation)
		a.Set(packet.PropResponseInfo)
	}
}
