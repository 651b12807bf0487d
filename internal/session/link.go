package session

import (
	"bytes"
	"time"

	"midge/internal/packet"
)

// Link is what belongs to one network connection of a session.
type Link struct {
	Version        packet.Version
	ReceiveMaximum uint16 // of the client
	MaxPacket      uint32 // of the client, in bytes; 0 means none

	// Hold makes the session send no queued message and no PUBLISH above QoS
	// 0: the client reads too slowly.
	Hold bool

	quiet    bool   // Request Problem Information is 0
	resend   bool   // some exchanges of earlier connections are unsent
	inflight uint16 // PUBLISH of this connection that hold the window
	pending  uint16 // PUBLISH above QoS 0 of this connection that hold the client's quota
	aliases  *aliases
}

// NewLink returns the link for a CONNECT.
func NewLink(c *packet.Connect, cfg *Config) *Link {
	l := &Link{Version: c.Version, ReceiveMaximum: 65535, resend: true}
	if c.Version != packet.V5 {
		return l
	}
	p := &c.Properties
	l.quiet = p.Has(packet.PropRequestProblemInfo) && !p.RequestProblemInfo
	if p.Has(packet.PropReceiveMaximum) {
		l.ReceiveMaximum = p.ReceiveMaximum
	}
	if p.Has(packet.PropMaximumPacketSize) {
		l.MaxPacket = p.MaximumPacketSize
	}
	if p.Has(packet.PropTopicAliasMaximum) && p.TopicAliasMaximum > 0 && cfg.AliasesOut > 0 {
		l.aliases = &aliases{outMax: min(p.TopicAliasMaximum, cfg.AliasesOut)}
	}
	return l
}

// settle gives the client its quota for one PUBLISH back. What it released of
// an earlier connection does not count in this one (MQTT 5.0 section 4.9), so
// that pending may be lower than the client thinks, never higher.
func (l *Link) settle() {
	if l.pending > 0 {
		l.pending--
	}
}

// aliases are the topic aliases of a connection (MQTT 5.0 section 3.3.2.3.4).
type aliases struct {
	in     map[uint16][]byte // the client's
	out    map[string]uint16 // ours, first come
	outMax uint16
}

// resolve returns the topic name that an incoming PUBLISH means.
func (l *Link) resolve(p *packet.Publish, maximum uint16) ([]byte, error) {
	alias := p.Properties.TopicAlias
	if alias == 0 {
		return p.Topic, nil
	}
	if alias > maximum {
		return nil, &packet.Fault{Code: packet.TopicAliasInvalid, Clause: "v5/MQTT-3.3.2-9", Detail: "topic alias is over the maximum"}
	}
	if len(p.Topic) == 0 {
		if l.aliases != nil {
			if name, ok := l.aliases.in[alias]; ok {
				return name, nil
			}
		}
		return nil, &packet.Fault{Code: packet.ProtocolError, Clause: "v5/3.3.2.3.4", Detail: "topic alias was never set"}
	}
	if l.aliases == nil {
		l.aliases = &aliases{}
	}
	if l.aliases.in == nil {
		l.aliases.in = map[uint16][]byte{}
	}
	if !bytes.Equal(l.aliases.in[alias], p.Topic) {
		l.aliases.in[alias] = bytes.Clone(p.Topic)
	}
	return p.Topic, nil
}

// outgoing returns the alias for a topic, 0 if it gets none, and whether the
// client knows it already.
func (a *aliases) outgoing(topic []byte) (alias uint16, known bool) {
	if a == nil {
		return 0, false
	}
	if alias, known = a.out[string(topic)]; known {
		return alias, true
	}
	if len(a.out) >= int(a.outMax) {
		return 0, false
	}
	return uint16(len(a.out) + 1), false
}

func (a *aliases) learn(topic []byte, alias uint16) {
	if a.out == nil {
		a.out = map[string]uint16{}
	}
	a.out[string(topic)] = alias
}

// publish appends a PUBLISH, or nothing and false if it is larger than the
// client allows (MQTT-3.1.2-24).
func (l *Link) publish(out []byte, e *entry, id packet.ID, dup bool, now time.Duration) ([]byte, bool) {
	m := e.m
	p := packet.Publish{Dup: dup, QoS: e.qos, Retain: e.retain, ID: id, Topic: m.Topic, Payload: m.Payload}
	var learn uint16
	if l.Version == packet.V5 {
		p.Properties.Forward = m.Properties
		p.Properties.SubscriptionIDs = e.subIDs
		p.Properties.MessageExpiry, p.Properties.HasExpiry = m.Remaining(now)
		if alias, known := l.aliases.outgoing(m.Topic); alias != 0 {
			p.Properties.TopicAlias = alias
			if known {
				p.Topic = nil
			} else {
				learn = alias
			}
		}
	}
	if l.MaxPacket != 0 && p.Size(l.Version) > int(l.MaxPacket) {
		if learn == 0 {
			return out, false
		}
		p.Properties.TopicAlias, learn = 0, 0 // it takes three bytes itself at first
		if p.Size(l.Version) > int(l.MaxPacket) {
			return out, false
		}
	}
	if learn != 0 {
		l.aliases.learn(m.Topic, learn)
	}
	return p.Append(out, l.Version), true
}

// Apart reports whether the client can't get the same bytes as others: it takes
// topic aliases, or only packets up to a size.
func (l *Link) Apart() bool { return l.aliases != nil && l.aliases.outMax > 0 || l.MaxPacket != 0 }

func (l *Link) ack(out []byte, t packet.Type, id packet.ID, code packet.ReasonCode) []byte {
	a := packet.Ack{Type: t, ID: id, Code: code}
	return a.Append(out, l.Version)
}
