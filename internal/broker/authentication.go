package broker

import (
	"midge/internal/packet"
)

// Enhanced authentication (MQTT 5.0 section 4.12): a client names a method in CONNECT.
// Then the Authenticator may ask it something in AUTH, once or more, before it decides;
// and once it is connected the client may authenticate again with the same method.

// maxRounds is how many times a client may be asked something before it is decided.
// SCRAM does it once, Kerberos twice. Guess.
const maxRounds = 8

// authWork is the work of an AUTH packet: what it asks for costs about as much as a
// CONNECT, at least some signatures or hashes.
const authWork = 256

// authentication is the enhanced authentication of a connection.
type authentication struct {
	c        *conn
	method   string
	assigned bool // the client identifier is one of ours

	// Of the exchange that is on:
	next     func(data []byte, done func(Verdict)) // takes the client's answer; nil: none is expected
	question *question                             // that waits for its answer
	rounds   int                                   // of AUTH from the client
	timer    timer                                 // when it has to be over, once the client is connected
}

// authentications are those of clients that are connected.
type authentications map[*conn]*authentication

// running reports whether an exchange is on.
func (a *authentication) running() bool { return a.next != nil || a.question != nil }

// describe fills in the properties of AUTH and CONNACK (MQTT-4.12.0-5).
func (a *authentication) describe(p *packet.Properties, data []byte) {
	p.AuthMethod = []byte(a.method)
	p.Set(packet.PropAuthMethod)
	if data != nil {
		p.AuthData = data
		p.Set(packet.PropAuthData)
	}
}

// check looks at an AUTH packet from the client. It has to have the reason code that is
// expected (MQTT-4.12.0-3) and the method of CONNECT (MQTT-4.12.1-1).
func (a *authentication) check(p *packet.Auth, size, limit int) error {
	wrong := func(clause, detail string) error {
		return fault(packet.V5, packet.ProtocolError, clause, "", detail)
	}
	switch {
	case size > limit:
		return fault(packet.V5, packet.PacketTooLarge, "3.2.2.3.6", "", "AUTH is larger than limits.connect_size")
	case p.Code == packet.Success:
		return wrong("3.15.2.1", "AUTH with Success from a client")
	case !p.Properties.Has(packet.PropAuthMethod):
		return wrong("3.15.2.2.2", "AUTH without an authentication method")
	case string(p.Properties.AuthMethod) != a.method:
		return wrong("MQTT-4.12.1-1", "AUTH with another authentication method than CONNECT")
	case p.Code == packet.ContinueAuthentication && a.next == nil:
		return wrong("MQTT-4.12.0-3", "AUTH that goes on with an authentication, and nobody has asked for it")
	case p.Code == packet.Reauthenticate && a.running():
		return wrong("MQTT-4.12.0-3", "AUTH that begins an authentication while another one is on")
	}
	return nil
}

// dataOf is the Authentication Data of an AUTH packet; nil if there is none. It is
// borrowed.
func dataOf(p *packet.Properties) []byte {
	switch {
	case !p.Has(packet.PropAuthData):
		return nil
	case p.AuthData == nil:
		return []byte{}
	}
	return p.AuthData
}

// takeNext returns what takes the client's answer, which it does once.
func (a *authentication) takeNext() (next func([]byte, func(Verdict))) {
	next, a.next = a.next, nil
	a.rounds++
	return next
}

// keepAuthentication keeps what a client needs that may authenticate again; nil: it
// can't.
func (s *shard) keepAuthentication(a *authentication) {
	if a == nil {
		return
	}
	if s.enhanced == nil {
		s.enhanced = authentications{}
	}
	a.rounds = 0
	a.timer.owner = a
	s.enhanced[a.c] = a
}

// forgetAuthentication is called when a connection ends.
func (s *shard) forgetAuthentication(c *conn) {
	if a := s.enhanced[c]; a != nil {
		s.timers.stop(&a.timer)
		if a.question != nil {
			a.question.gone.Store(true)
		}
		delete(s.enhanced, c)
	}
}
