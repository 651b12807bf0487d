package broker

import (
	"cmp"
	"fmt"
	"hash/fnv"
	"log/slog"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"

	"midge/internal/packet"
	"midge/internal/session"
)

// shardOf is the shard where a session lives.
func shardOf(clientID []byte, shards int) int {
	h := fnv.New64a()
	h.Write(clientID)
	sum := h.Sum64()
	return int((sum ^ sum>>32) % uint64(shards))
}

// join runs a CONNECT (MQTT 5.0 section 3.1.4). It reports false if the packet
// is to be offered again: the connection moves to the shard of its client id,
// it waits for its turn (see contest), Access is thinking, or the connection that
// it takes over from is heard out.
func (s *shard) join(c *conn, first byte, body []byte) (done bool) {
	p := &s.connect
	err := p.Decode(first, body)
	c.version = p.Version
	if err != nil {
		s.fault(c, err)
		return true
	}
	if s.refused(c) {
		return true
	}
	j := s.joining[c]
	if j == nil && s.refuseForMemory(c) {
		return true
	}
	var assigned string
	if len(p.ClientID) == 0 {
		if assigned = s.assign(); j != nil {
			assigned = j.assigned
		}
		p.ClientID = []byte(assigned)
	}
	if to := shardOf(p.ClientID, len(s.b.shards)); to != s.index {
		s.giveAway(c, to)
		return false
	}
	if err := s.checkConnect(p); err != nil {
		s.fault(c, err)
		return true
	}
	id := string(p.ClientID)
	if s.cantAnswer(p, assigned) {
		s.count.RefusedSize++
		s.note(c, slog.LevelWarn, clientRefused, id, packet.PacketTooLarge, "its Maximum Packet Size is too small for CONNACK", "v5/MQTT-3.1.2-24")
		s.close(c, "Maximum Packet Size is too small for CONNACK")
		return true
	}
	if j == nil {
		if wait := s.wait(id); wait > 0 {
			s.holdBack(c, id, assigned, wait)
			return false
		}
	} else if j.queued {
		s.pause(c, forAnswer) // it has sent more, which we don't pile up
		return false
	}
	var code packet.ReasonCode
	switch {
	case s.cantPromise(p, id):
		code = packet.ServerUnavailable
		if p.Version == packet.V5 {
			code = packet.QuotaExceeded
		}
		s.count.RefusedStore++
		s.refuse(c, code, "the disk is full or has failed")
		return true
	case j == nil || !j.asked:
		var now bool
		if code, now = s.ask(c, p, id, assigned); !now {
			return false
		}
	case !j.answered:
		return false
	default:
		code = j.code
	}
	if code.Failed() {
		s.count.RefusedAccess++
		s.refuse(c, code, "access was denied")
		return true
	}
	if s.hearOut(c, id, assigned, code) {
		return false
	}
	s.admit(c, p, id, assigned)
	return true
}

// assign makes a client id (MQTT-3.1.3-6) of this shard, so that the connection
// can stay.
func (s *shard) assign() string {
	for {
		id := "midge-" + s.b.process + "-" + strconv.FormatUint(s.b.names.Add(1), 36)
		if shardOf([]byte(id), len(s.b.shards)) == s.index {
			return id
		}
	}
}

// giveAway moves a connection to another shard, before CONNECT is answered.
func (s *shard) giveAway(c *conn, to int) {
	s.intact = false
	delete(s.unconnected, c)
	s.timers.stop(&c.timer)
	s.count.Connections--
	c.net.Move(to)
}

// checkConnect looks at what a CONNECT asks for beyond its form.
func (s *shard) checkConnect(p *packet.Connect) error {
	if p.Properties.Has(packet.PropAuthMethod) {
		return fault(p.Version, packet.BadAuthenticationMethod, "MQTT-4.12.0-1", "", "authentication method is not known")
	}
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
	switch {
	case reserved(w.Topic, string(p.ClientID)), !s.b.cfg.Access.Publish(string(p.ClientID), w.Topic):
		s.count.RefusedAccess++
		return fault(p.Version, packet.NotAuthorized, "3.1.3.3", "3.1.3.2", "will topic is not for this client")
	case w.Retain && !s.settings.retains && p.Version == packet.V5:
		return fault(p.Version, packet.RetainNotSupported, "MQTT-3.2.2-13", "", "will with RETAIN although retained messages are off")
	}
	return nil
}

// checkStrict looks at what only strict settings refuse.
func (s *shard) checkStrict(p *packet.Connect) error {
	strict, most := &s.settings.Strict, s.settings.Session.KeepAlive
	if p.Version == packet.V31 && strict.ClientIDs {
		if n := utf8.RuneCount(p.ClientID); n > 23 {
			return fault(p.Version, packet.ClientIdentifierNotValid, "", "3.1", fmt.Sprintf("client identifier has %d characters and not 1 to 23", n))
		}
	}
	if p.Version != packet.V5 && strict.KeepAlive && most > 0 {
		if asked := time.Duration(p.KeepAlive) * time.Second; asked == 0 || asked > most {
			return fault(p.Version, packet.ClientIdentifierNotValid, "", "3.1.2.10", fmt.Sprintf("Keep Alive of %v, the most is %v", asked, most))
		}
	}
	return nil
}

// ask asks Access. now is false while it thinks; the connection is paused until
// then, and CONNECT offered again.
func (s *shard) ask(c *conn, p *packet.Connect, id, assigned string) (code packet.ReasonCode, now bool) {
	r := Request{ClientID: id, UserName: p.UserName, Password: p.Password, Remote: c.net.Remote()}
	code, now = s.b.cfg.Access.Connect(r, func(code packet.ReasonCode) {
		s.b.runner.Post(s.index, func() {
			s.tell()
			if j := s.joining[c]; j != nil {
				j.answered, j.code = true, code
				s.resume(c, forAnswer)
			}
		})
	})
	if !now {
		s.joining[c] = &joining{id: id, assigned: assigned, asked: true}
		s.pause(c, forAnswer)
	}
	return code, now
}

// cantPromise tells that CONNECT asks for something durable while nothing gets
// on disk.
func (s *shard) cantPromise(p *packet.Connect, id string) bool {
	return s.failing() != nil && s.needsDisk(p, id)
}

// mustWait tells that CONNACK must wait for the disk. It does for the end of an
// older session as well, which a crash must not bring back.
func (s *shard) mustWait(p *packet.Connect, id string) bool {
	return s.b.cfg.Store != nil && s.needsDisk(p, id)
}

// needsDisk tells that CONNECT asks for something durable.
func (s *shard) needsDisk(p *packet.Connect, id string) bool {
	if cl := s.clients[id]; cl != nil && cl.stored() {
		return s.failing() == nil || s.b.cfg.Store.Failed() || !s.goesOn(cl, p)
	}
	return s.expiryOf(p) > 0 || p.HasWill
}

// goesOn tells that CONNECT asks for nothing that is not on disk: it resumes a
// session that is, and changes nothing of it. So who reads can come back while
// the disk is full.
func (s *shard) goesOn(cl *client, p *packet.Connect) bool {
	over := cl.away != nil && cl.away.ends <= s.now
	return cl.kept && !over && !p.CleanStart && !p.HasWill && cl.will() == nil && s.expiryOf(p) == cl.expiry
}

// admit accepts a connection: it takes over from an older one, resumes or
// begins the session, and answers, once what it promises is on disk.
func (s *shard) admit(c *conn, p *packet.Connect, id, assigned string) {
	s.intact = false
	s.work += setupWork
	wait := s.mustWait(p, id)
	if old := s.clients[id]; old != nil && old.conn != nil {
		s.takenOver(id)
		s.end(old.conn, packet.SessionTakenOver, "another connection uses the client id") // MQTT-3.1.4-3
	}
	if cl := s.clients[id]; cl != nil && cl.away != nil {
		s.timers.stop(&cl.away.timer)
		cl.away.expire(s) // what is due by now comes first, whenever the wheel turns
	}
	cl := s.clients[id]
	if cl != nil && p.CleanStart {
		s.endSession(cl) // MQTT-3.1.2-4
		cl = nil
	}
	present := cl != nil
	if present {
		s.back(cl)
		s.count.Disconnected--
	} else {
		cl = &client{id: id, session: session.New(&s.session, s.numberFor(p))}
		s.clients[id] = cl
	}
	expiry := s.expiryOf(p)
	cl.expiry = expiry
	s.writeSession(cl, 0)
	s.setWill(cl, newWill(p, id)) // MQTT-3.1.3-9
	cl.setBridge(p.Bridge && p.Version != packet.V5)
	cl.conn, c.client = c, cl
	link := session.NewLink(p, &s.session)
	c.apart = link.Apart()
	delete(s.joining, c)
	s.connected(c)
	s.count.Connects++
	s.count.Connected++
	s.timers.stop(&c.timer)

	answer, keepAlive := s.connack(s.out[:0], p, assigned, present)
	c.keepAlive = uint16(keepAlive / time.Second)
	if !wait {
		s.welcome(c, link, answer)
	} else {
		s.pause(c, forAnswer)
		later := slices.Clone(answer)
		s.promise(promise{c: c, then: func() {
			cl.kept = cl.stored()
			s.resume(c, forAnswer)
			s.welcome(c, link, later)
		}})
	}
	if s.logsConnections() {
		s.logConnection(clientConnects, id, slog.String("remote", remoteText(c.net.Remote())), slog.String("version", c.version.String()),
			slog.Bool("session_present", present), slog.Int("keep_alive", int(c.keepAlive)))
	}
}

// numberFor is the place in the store of the new session that a CONNECT begins.
func (s *shard) numberFor(p *packet.Connect) uint64 {
	if s.b.cfg.Store == nil || s.expiryOf(p) == 0 {
		return 0
	}
	return s.b.cfg.Store.NextSession()
}

// welcome sends CONNACK, and what the session has for the client.
func (s *shard) welcome(c *conn, link *session.Link, answer []byte) {
	cl := c.client
	cl.session.Attach(link)
	s.setOnline(cl, true)
	s.send(c, answer)
	c.hear(s.now)
	if c.keepAlive > 0 {
		s.timers.start(&c.timer, s.now+c.patience())
	}
	out, dropped := cl.session.Resume(s.out[:0], s.roomFor(c), s.now)
	s.pumped(c, out, dropped)
}

// connected takes c out of the connections before CONNECT. After a storm it
// gives back the memory that so many of them took.
func (s *shard) connected(c *conn) {
	delete(s.unconnected, c)
	s.crowd = max(s.crowd, len(s.unconnected))
	if len(s.unconnected) == 0 && s.crowd > 64 {
		s.unconnected, s.crowd = map[*conn]struct{}{}, 0
	}
}

// expiryOf is how long the session outlives its connection, in seconds. Before 5.0 a
// session without Clean Session never ends.
func (s *shard) expiryOf(p *packet.Connect) uint32 {
	switch {
	case p.Version == packet.V5:
		return s.capExpiry(p.Properties.SessionExpiry)
	case p.CleanStart:
		return 0
	}
	return s.capExpiry(never)
}

// keepAlive is the Keep Alive in force; 0 means none.
func (s *shard) keepAlive(p *packet.Connect, ack *packet.Connack) time.Duration {
	asked := time.Duration(p.KeepAlive) * time.Second
	most := s.settings.Session.KeepAlive
	if p.Version != packet.V5 || most == 0 || asked > 0 && asked <= most {
		return asked
	}
	ack.Properties.ServerKeepAlive = uint16(most / time.Second)
	ack.Properties.Set(packet.PropServerKeepAlive)
	return most
}

// connack appends the CONNACK that accepts a CONNECT, and returns the Keep Alive
// in force. It appends nothing if the client takes no packet as large as that
// (MQTT-3.1.2-24).
func (s *shard) connack(out []byte, p *packet.Connect, assigned string, present bool) (_ []byte, keepAlive time.Duration) {
	ack := &s.accepted
	*ack = packet.Connack{SessionPresent: present}
	keepAlive = s.keepAlive(p, ack)
	s.connackProperties(p, assigned, ack)
	most := uint32(packet.MaxSize)
	if p.Version == packet.V5 {
		most = cmp.Or(p.Properties.MaximumPacketSize, most)
	}
	return ack.AppendWithin(out, p.Version, int(most)), keepAlive
}

// cantAnswer tells that the client takes no packet as large as the CONNACK that
// accepts it.
func (s *shard) cantAnswer(p *packet.Connect, assigned string) bool {
	if p.Version != packet.V5 || p.Properties.MaximumPacketSize == 0 {
		return false
	}
	answer, _ := s.connack(s.out[:0], p, assigned, false)
	return len(answer) == 0
}

// connackProperties tells a 5.0 client where the broker differs from what an
// absent property means.
func (s *shard) connackProperties(p *packet.Connect, assigned string, ack *packet.Connack) {
	if p.Version != packet.V5 {
		return
	}
	f, a := s.settings, &ack.Properties
	if most := f.Session.ReceiveMaximum; most < 65535 {
		a.ReceiveMaximum = uint16(most)
		a.Set(packet.PropReceiveMaximum)
	}
	if f.packetSize < packet.MaxSize {
		a.MaximumPacketSize = uint32(f.packetSize)
		a.Set(packet.PropMaximumPacketSize)
	}
	if most := f.Limits.TopicAliases; most > 0 {
		a.TopicAliasMaximum = uint16(most)
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

// refuse answers CONNECT with a failure, if the version has a word for it, and
// closes.
func (s *shard) refuse(c *conn, code packet.ReasonCode, reason string) {
	s.refuseFor(c, code, reason, "")
}

// refuseLater refuses a CONNECT that was read before, and is not in s.connect
// any more.
func (s *shard) refuseLater(c *conn, j *joining, reason string) {
	s.note(c, slog.LevelWarn, clientRefused, j.id, packet.ServerUnavailable, reason, "")
	ack := packet.Connack{Code: packet.ServerUnavailable}
	s.send(c, ack.Append(s.out[:0], c.version))
	s.close(c, reason)
}

// refuseFor is refuse with the clause of the standard that asks for it, "" for
// none.
func (s *shard) refuseFor(c *conn, code packet.ReasonCode, reason, clause string) {
	id := ""
	if c.version != 0 {
		id = string(s.connect.ClientID)
	}
	s.note(c, slog.LevelWarn, clientRefused, id, code, reason, clause)
	if c.version != 0 {
		ack := packet.Connack{Code: code}
		if reason != "" && c.version == packet.V5 {
			ack.Properties.ReasonString = []byte(reason)
			ack.Properties.Set(packet.PropReasonString)
		}
		s.send(c, ack.AppendWithin(s.out[:0], c.version, s.most(c)))
	}
	s.close(c, reason)
}
