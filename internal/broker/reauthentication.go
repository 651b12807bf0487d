package broker

import (
	"cmp"
	"sync/atomic"

	"midge/internal/packet"
	"midge/internal/store"
)

// handleAuth runs an AUTH packet of a client that is connected (MQTT 5.0 section
// 4.12.1): it authenticates again, and all else goes on meanwhile.
func (s *shard) handleAuth(c *conn, first byte, body []byte) error {
	p := &s.packets.auth
	if err := p.Decode(c.version, first, body); err != nil {
		return err
	}
	a := s.enhanced[c]
	if a == nil {
		return fault(c.version, packet.ProtocolError, "MQTT-4.12.0-7", "", "AUTH although CONNECT had no authentication method")
	}
	at := s.settings.admit(c.net)
	if err := a.check(p, len(body), at.connectSize); err != nil {
		return err
	}
	s.work += authWork
	data := dataOf(&p.Properties)
	if p.Code == packet.ContinueAuthentication {
		next := a.takeNext()
		s.askAgain(a, func(_ *atomic.Bool, done func(Verdict)) { next(data, done) })
		return nil
	}
	a.rounds = 0
	s.timers.start(&a.timer, s.now+at.connectTimeout)
	_, id := store.SplitID(c.client.id)
	r := Request{Peer: c.net.Peer(), ClientID: id, Assigned: a.assigned, Method: a.method, Data: data, Again: true, Version: c.version}
	s.askAgain(a, func(gone *atomic.Bool, done func(Verdict)) {
		if s.authenticator == nil { // nobody decides since
			done(Verdict{Code: packet.NotAuthorized, Refusal: UnknownMethod, Reason: "there is no authentication method here any more"})
			return
		}
		r.Gone = gone
		s.authenticator.Connect(r, done)
	})
	return nil
}

// askAgain has the Authenticator decide about a client that is connected.
func (s *shard) askAgain(a *authentication, about func(gone *atomic.Bool, done func(Verdict))) {
	q := &question{}
	a.question = q
	now := q.ask(s, about, func() {
		if s.enhanced[a.c] == a { // the connection is there still
			s.readClock()
			s.judgeAgain(a, &q.verdict)
		}
	})
	if now {
		s.judgeAgain(a, &q.verdict)
	}
}

// judgeAgain does what a verdict about a client that is connected says. A failure ends
// the connection (MQTT-4.12.1-2).
func (s *shard) judgeAgain(a *authentication, v *Verdict) {
	c := a.c
	cl := c.client
	mount, id := store.SplitID(cl.id)
	a.question = nil
	fails := func(code packet.ReasonCode, refusal Refusal, reason string) {
		*refusal.of(&s.count)++
		if !code.AllowedIn(packet.DISCONNECT) {
			code = packet.NotAuthorized
		}
		s.end(c, code, "re-authentication: "+reason)
	}
	switch {
	case v.Next != nil && a.rounds == maxRounds:
		fails(packet.NotAuthorized, NoRight, "it has taken too many AUTH packets")
	case v.Next != nil:
		if a.next = v.Next; !s.sendAuth(a, packet.ContinueAuthentication, v.Data) {
			fails(packet.NotAuthorized, NoRight, "the client's Maximum Packet Size is too small for AUTH")
		}
	case v.Code.Failed():
		fails(v.Code, v.Refusal, cmp.Or(v.Reason, "access was denied"))
	case v.Principal != cl.Identity().Name():
		fails(packet.NotAuthorized, WrongCredentials, "it is somebody else than at CONNECT, whose session this is")
	case v.ClientID != "" && v.ClientID != id:
		fails(packet.NotAuthorized, ForeignIdentifier, "it has another client identifier than at CONNECT")
	case v.MountPoint != mount:
		fails(packet.NotAuthorized, NoRight, "it has another mount point than at CONNECT")
	default:
		s.timers.stop(&a.timer)
		s.count.Reauthenticated++
		s.identify(cl, v.identity())
		s.lapseAt(c, v.Expires)
		if !s.sendAuth(a, packet.Success, v.Data) {
			fails(packet.NotAuthorized, NoRight, "the client's Maximum Packet Size is too small for AUTH")
		}
	}
}

// sendAuth sends an AUTH packet. It reports false if the client takes none as large.
func (s *shard) sendAuth(a *authentication, code packet.ReasonCode, data []byte) bool {
	out := s.authPacket(a.c, a, code, data)
	s.send(a.c, out)
	return len(out) > 0
}

// expire implements expirer: an authentication has not come to its end.
func (a *authentication) expire(s *shard) {
	s.count.RefusedAccess++
	s.end(a.c, packet.NotAuthorized, "re-authentication: it was not over within limits.connect_timeout")
}
