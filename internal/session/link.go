package session

import (
	"bytes"
	"time"

	"midge/internal/message"
	"midge/internal/packet"
)

// Link is what belongs to one network connection of a session, in 16 bytes.
type Link struct {
	Version packet.Version

	// Hold makes the session send no queued message and no PUBLISH above QoS
	// 0: the client reads too slowly.
	Hold bool

	ReceiveMaximum uint16 // of the client
	inflight       uint16 // PUBLISH of this connection that count against ReceiveMaximum
	received       uint16 // PUBLISH of the client that count against Offer.ReceiveMaximum
	terms          *terms // its own or, if it has asked for nothing, those of many
}

// terms are what client and broker have told each other in CONNECT and CONNACK,
// and what comes of it, in 32 bytes.
type terms struct {
	offer     *Offer
	maxPacket uint32 // the client's Maximum Packet Size, in bytes; 0 means none
	quiet     bool   // Request Problem Information is 0
	mount     uint16 // length of the client's mount point, which it does not see in topics
	aliases
}

// NewLink returns the link for a CONNECT. mount is the length of the client's mount point: the
// topics that Deliver gets begin with it, and those that the client gets don't.
func NewLink(c *packet.Connect, cfg *Config, mount uint16) *Link {
	if cfg.plain == nil {
		cfg.plain = &terms{offer: cfg.Offer}
	}
	l := &Link{Version: c.Version, ReceiveMaximum: 65535, terms: cfg.plain}
	own := terms{offer: cfg.Offer, mount: mount}
	if p := &c.Properties; c.Version == packet.V5 {
		if p.Has(packet.PropReceiveMaximum) {
			l.ReceiveMaximum = p.ReceiveMaximum
		}
		own.quiet, own.maxPacket = p.Has(packet.PropRequestProblemInfo) && !p.RequestProblemInfo, p.MaximumPacketSize
		own.outMax = min(p.TopicAliasMaximum, cfg.AliasesOut)
	}
	if own.mount != 0 || own.quiet || own.maxPacket != 0 || own.outMax != 0 {
		t := own // only this is memory of its own
		l.terms = &t
	}
	return l
}

// Offer is what the client was offered.
func (l *Link) Offer() *Offer { return l.terms.offer }

// MaxPacket is the client's Maximum Packet Size, in bytes; 0 means none.
func (l *Link) MaxPacket() uint32 { return l.terms.maxPacket }

// OwnEncoding reports whether the client can't get the same bytes as others: it takes
// topic aliases, or only packets up to a size.
func (l *Link) OwnEncoding() bool {
	return l.terms.outMax > 0 || l.terms.maxPacket != 0
}

// returnQuota gives the client back what one PUBLISH took of its send quota.
// PUBREL for a message of an earlier connection does not count in this one
// (MQTT 5.0 section 4.9), so that received may be lower than the client thinks,
// never higher.
func (l *Link) returnQuota() {
	if l.received > 0 {
		l.received--
	}
}

// aliases are the topic aliases of a connection (MQTT 5.0 section 3.3.2.3.4).
type aliases struct {
	in     map[uint16][]byte // the client's
	out    map[string]uint16 // ours, first come
	outMax uint16
}

// resolve returns the topic name that an incoming PUBLISH means.
func (l *Link) resolve(p *packet.Publish) ([]byte, error) {
	alias := p.Properties.TopicAlias
	if alias == 0 {
		return p.Topic, nil
	}
	if alias > l.terms.offer.TopicAliasMaximum {
		return nil, &packet.Fault{Code: packet.TopicAliasInvalid, Clause: "v5/MQTT-3.3.2-9", Detail: "topic alias is over the maximum"}
	}
	if len(p.Topic) == 0 {
		if name, ok := l.terms.in[alias]; ok {
			return name, nil
		}
		return nil, &packet.Fault{Code: packet.ProtocolError, Clause: "v5/3.3.2.3.4", Detail: "topic alias was never set"}
	}
	if l.terms.in == nil {
		own := *l.terms // they may be those of others as well
		own.in = map[uint16][]byte{}
		l.terms = &own
	}
	if !bytes.Equal(l.terms.in[alias], p.Topic) {
		l.terms.in[alias] = bytes.Clone(p.Topic)
	}
	return p.Topic, nil
}

// outgoing returns the alias for a topic, 0 if it gets none, and whether the
// client knows it already.
func (a *aliases) outgoing(topic []byte) (alias uint16, known bool) {
	if alias, known = a.out[string(topic)]; known {
		return alias, true
	}
	if len(a.out) >= int(a.outMax) || len(topic) > longestAlias {
		return 0, false
	}
	return uint16(len(a.out) + 1), false
}

// longestAlias is the length of the topic names that get an alias of ours, in
// bytes: the table of a connection takes 16 KiB at most with 16 aliases. Real
// names have 100.
const longestAlias = 1 << 10

func (a *aliases) learn(topic []byte, alias uint16) {
	if a.out == nil {
		a.out = map[string]uint16{}
	}
	a.out[string(topic)] = alias
}

// publish appends a PUBLISH, or nothing and false if it is larger than the
// client allows (MQTT-3.1.2-24). p has what the delivery says of it; see address.
func (l *Link) publish(out []byte, p *packet.Publish, m *message.Message, now time.Duration) ([]byte, bool) {
	if !l.address(p, m, now) {
		return out, false
	}
	return p.Append(out, l.Version), true
}

// address fills in a PUBLISH for the client, or reports false if it is too large for it.
// Topic, payload and what is forwarded unaltered (MQTT-3.3.2-4) are the message's. What
// is left of the Message Expiry Interval (MQTT-3.3.2-6) and a topic alias that the
// client allows (MQTT-3.1.2-26) are added.
func (l *Link) address(p *packet.Publish, m *message.Message, now time.Duration) (ok bool) {
	p.Topic, p.Payload = m.Topic[l.terms.mount:], m.Payload
	var learn uint16
	if l.Version == packet.V5 {
		p.Properties.Forward = m.Properties
		p.Properties.MessageExpiry, p.Properties.HasExpiry = m.Remaining(now)
		if l.terms.outMax > 0 {
			alias, known := l.terms.outgoing(p.Topic)
			p.Properties.TopicAlias = alias
			if known {
				p.Topic = nil
			} else {
				learn = alias
			}
		}
	}
	if maximum := int(l.MaxPacket()); maximum != 0 && p.Size(l.Version) > maximum {
		if learn == 0 {
			return false
		}
		p.Properties.TopicAlias, learn = 0, 0 // it takes three bytes itself at first
		if p.Size(l.Version) > maximum {
			return false
		}
	}
	if learn != 0 {
		l.terms.learn(p.Topic, learn)
	}
	return true
}

// ack appends PUBACK, PUBREC, PUBREL or PUBCOMP with the identifier of its
// PUBLISH (MQTT-2.2.1-5).
func (l *Link) ack(out []byte, t packet.Type, id packet.ID, code packet.ReasonCode) []byte {
	a := packet.Ack{Type: t, ID: id, Code: code}
	return a.Append(out, l.Version)
}
