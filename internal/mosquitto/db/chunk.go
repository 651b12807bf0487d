package db

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"
	"unicode/utf8"

	"midge/internal/packet"
	"midge/internal/topic"
)

// magic begins a file.
var magic = []byte("\x00\xb5\x00mosquitto db\x00\x00\x00\x00")

// The kinds of chunks.
const (
	kindConfig       = 1
	kindMessage      = 2
	kindDelivery     = 3
	kindRetained     = 4
	kindSubscription = 5
	kindClient       = 6
)

// parser is the state of Parse.
type parser struct {
	file    *File
	clients map[string]bool
}

// Parse reads a file. What it returns borrows b. Errors are of type Damaged.
func Parse(b []byte) (*File, error) {
	if len(b) < len(magic)+4 || !bytes.HasPrefix(b, magic[:15]) {
		return nil, &Damaged{0, "this is no persistence file of Mosquitto"}
	}
	p := &parser{&File{Messages: map[uint64]*Message{}}, map[string]bool{}}
	switch n := binary.BigEndian.Uint32(b[len(magic):]); {
	case n == 5 || n == 6:
		p.file.Format = int(n)
	case n < 5:
		return nil, &Damaged{len(magic), fmt.Sprintf("format %d is of a Mosquitto before 1.6; start Mosquitto 2 on the file and stop it, and it writes format 6", n)}
	default:
		return nil, &Damaged{len(magic), fmt.Sprintf("format %d is newer than those that are known, 5 and 6", n)}
	}
	for at := len(magic) + 4; at < len(b); {
		rest := b[at:]
		if len(rest) < 8 {
			return nil, &Damaged{at, "the file ends within the header of a chunk"}
		}
		kind, length := binary.BigEndian.Uint32(rest), binary.BigEndian.Uint32(rest[4:])
		if uint64(length) > uint64(len(rest)-8) {
			return nil, &Damaged{at, fmt.Sprintf("a chunk of %d bytes, and %d are left", length, len(rest)-8)}
		}
		if fault := p.chunk(kind, rest[8:8+length]); fault != "" {
			return nil, &Damaged{at, fault}
		}
		at += 8 + int(length)
	}
	p.finish()
	return p.file, nil
}

// chunk reads a chunk, and says what is wrong with it.
func (p *parser) chunk(kind uint32, body []byte) (fault string) {
	r := reader{b: body}
	name := ""
	switch kind {
	case kindConfig:
		name, fault = "configuration", p.config(&r)
	case kindMessage:
		name, fault = "message", p.message(&r)
	case kindDelivery:
		name, fault = "delivery", p.delivery(&r)
	case kindRetained:
		name = "retained message"
		p.file.Retained = append(p.file.Retained, r.memory64())
	case kindSubscription:
		name, fault = "subscription", p.subscription(&r)
	case kindClient:
		name, fault = "client", p.client(&r)
	default:
		return fmt.Sprintf("a chunk of the unknown kind %d", kind)
	}
	switch {
	case r.broken:
		return name + ": the chunk ends before its last field"
	case fault != "":
		return name + ": " + fault
	case len(r.b) > 0:
		return fmt.Sprintf("%s: %d bytes too many", name, len(r.b))
	}
	return ""
}

// config reads the chunk that describes the writer.
func (p *parser) config(r *reader) string {
	r.take(8) // number of the last message
	r.take(1) // whether it was written at the end
	if size := r.u8(); size != 8 && !r.broken {
		return fmt.Sprintf("numbers of messages have %d bytes, not 8", size)
	}
	r.b = nil // what fills the structure up to the writer's alignment
	return ""
}

func (p *parser) message(r *reader) string {
	number := r.memory64()
	m := &Message{}
	expires, ok := r.time()
	payload := int(r.u32())
	r.take(2) // the packet identifier
	publisher, user, name := int(r.u16()), int(r.u16()), int(r.u16())
	r.take(2) // the port of the listener
	m.QoS, m.Retain, m.Expires = packet.QoS(r.u8()), r.u8() != 0, expires
	m.Publisher = string(r.take(publisher))
	r.take(user)
	m.Topic = r.take(name)
	m.Payload = r.take(payload)
	if r.broken {
		return ""
	}
	if len(r.b) > 0 {
		wire, fault := properties(r)
		if fault != "" {
			return fault
		}
		m.Properties = wire
	}
	switch err := topic.ValidName(m.Topic, topic.Limits{}); {
	case err != nil:
		return err.Error()
	case m.QoS > 2:
		return fmt.Sprintf("QoS %d", m.QoS)
	case !ok:
		return "a time that is not within two centuries"
	case !validID(m.Publisher) && m.Publisher != "":
		return "the client id of its publisher is not valid"
	case p.file.Messages[number] != nil:
		return fmt.Sprintf("the number %d is another one's, too", number)
	}
	p.file.Messages[number] = m
	return ""
}

// propertiesOf reads the properties that take the rest of a chunk.
func propertiesOf(r *reader) (p packet.Properties, fault string) {
	n, shift := 0, 0
	for {
		b := r.u8()
		n |= int(b&0x7f) << shift
		if shift += 7; b < 0x80 || shift > 21 {
			break
		}
	}
	if n != len(r.b) || r.broken {
		return p, "the length of the properties is not that of the rest"
	}
	if err := p.Parse(packet.PUBLISH, r.take(n)); err != nil {
		return p, err.Error()
	}
	return p, ""
}

// properties are those that receivers get unaltered.
func properties(r *reader) (wire []byte, fault string) {
	p, fault := propertiesOf(r)
	if fault != "" {
		return nil, fault
	}
	p.Unset(packet.PropMessageExpiry, packet.PropTopicAlias)
	p.SubscriptionIDs = nil
	return p.AppendWire(nil), ""
}

func (p *parser) delivery(r *reader) string {
	d := Delivery{Message: r.memory64(), ID: packet.ID(r.u16())}
	id := int(r.u16())
	d.QoS, d.State = packet.QoS(r.u8()), State(r.u8())
	d.Retain = r.u8()&0xf0 != 0
	d.Incoming = r.u8() == 0
	d.ClientID = string(r.take(id))
	if r.broken {
		return ""
	}
	if len(r.b) > 0 {
		props, fault := propertiesOf(r)
		if fault != "" {
			return fault
		}
		d.IDs = props.SubscriptionIDs
	}
	switch {
	case d.QoS > 2:
		return fmt.Sprintf("QoS %d", d.QoS)
	case d.State < PublishQoS0 || d.State > Queued:
		return fmt.Sprintf("the unknown state %d", d.State)
	case d.State != Queued && d.QoS > 0 && d.ID == 0:
		return "it is under way without a packet identifier"
	case !validID(d.ClientID):
		return "the client id is not valid"
	}
	p.file.Deliveries = append(p.file.Deliveries, d)
	return ""
}

func (p *parser) subscription(r *reader) string {
	s := Subscription{ID: r.u32()}
	id, filter := int(r.u16()), int(r.u16())
	s.QoS = packet.QoS(r.u8())
	options := r.u8()
	s.NoLocal, s.RetainAsPublished = options&4 != 0, options&8 != 0
	r.fill(id + filter)
	s.ClientID, s.Filter = string(r.take(id)), string(r.take(filter))
	if r.broken {
		return ""
	}
	switch err := topic.ValidFilter(s.Filter, topic.Limits{}); {
	case err != nil:
		return err.Error()
	case s.QoS > 2:
		return fmt.Sprintf("QoS %d", s.QoS)
	case s.ID > 268_435_455:
		return fmt.Sprintf("the subscription identifier %d", s.ID)
	case !validID(s.ClientID):
		return "the client id is not valid"
	}
	p.file.Subscriptions = append(p.file.Subscriptions, s)
	return ""
}

func (p *parser) client(r *reader) string {
	ends, ok := r.time()
	c := Client{Ends: ends, Expiry: r.u32()}
	r.take(2) // the last packet identifier
	id, user := int(r.u16()), 0
	if p.file.Format >= 6 {
		r.take(2) // the port of the listener
		user = int(r.u16())
	}
	r.fill(id + user)
	c.ID = string(r.take(id))
	r.take(user)
	if r.broken {
		return ""
	}
	switch {
	case !ok:
		return "a time that is not within two centuries"
	case !validID(c.ID):
		return "the client id is not valid"
	case p.clients[c.ID]:
		return fmt.Sprintf("%q is there twice", c.ID)
	}
	p.clients[c.ID] = true
	p.file.Clients = append(p.file.Clients, c)
	return ""
}

func validID(id string) bool {
	return id != "" && utf8.ValidString(id) && !strings.ContainsRune(id, 0)
}

// finish leaves out what names a message that is not there, as Mosquitto does
// when it reads the file.
func (p *parser) finish() {
	f := p.file
	deliveries, retained := f.Deliveries[:0], f.Retained[:0]
	for _, d := range f.Deliveries {
		if f.Messages[d.Message] != nil {
			deliveries = append(deliveries, d)
		}
	}
	for _, n := range f.Retained {
		if f.Messages[n] != nil {
			retained = append(retained, n)
		}
	}
	f.Gone = len(f.Deliveries) - len(deliveries) + len(f.Retained) - len(retained)
	f.Deliveries, f.Retained = deliveries, retained
}
