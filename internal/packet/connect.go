package packet

import (
	"encoding/binary"
	"fmt"
)

// Connect is the CONNECT packet (MQTT 5.0 section 3.1).
type Connect struct {
	// Version is what the client speaks. After a fault it is the version in
	// which to answer with CONNACK, or 0 if there is no telling.
	Version    Version
	Bridge     bool       // the level has bit 7 set: so bridges of Mosquitto say what they are
	CleanStart bool       // before 5.0: Clean Session
	KeepAlive  uint16     // seconds; 0 means none
	Properties Properties // 5.0 only
	ClientID   []byte     // may be empty, which asks the server for one (not in 3.1)
	HasWill    bool
	Will       Will   // if HasWill
	UserName   []byte // nil means absent
	Password   []byte // nil means absent
}

// Will is the will message in a CONNECT.
type Will struct {
	QoS        QoS
	Retain     bool
	Topic      []byte
	Payload    []byte
	Delay      uint32            // seconds; 5.0 only
	Properties PublishProperties // 5.0 only; topic alias and subscription identifiers don't belong here
}

const (
	connectReserved   = 1 << 0
	connectCleanStart = 1 << 1
	connectWill       = 1 << 2
	connectWillQoS    = 3 << 3
	connectWillRetain = 1 << 5
	connectPassword   = 1 << 6
	connectUserName   = 1 << 7
)

// bridge is the bit of a protocol level that Connect.Bridge stands for.
const bridge = 0x80

// Decode reads the packet, which tells the version itself. Version is set also
// if Decode returns a fault: an UnsupportedProtocolVersion, for example, comes
// with V311 if that is closest to what the client asked for.
func (p *Connect) Decode(first byte, body []byte) error {
	user, ids := p.Properties.User, p.Properties.SubscriptionIDs
	gathered := p.Will.Properties.gathered
	*p = Connect{}
	p.Properties.User, p.Properties.SubscriptionIDs = user, ids
	p.Will.Properties.gathered = gathered

	r := reader{v: V5, t: CONNECT, b: body}
	p.readProtocol(&r)
	if r.err == nil {
		if err := CheckFirst(r.v, first); err != nil {
			return err
		}
	}
	flags := r.byte()
	p.checkFlags(&r, flags)
	p.CleanStart = flags&connectCleanStart != 0
	p.KeepAlive = r.uint16()
	p.Properties.read(&r)
	p.ClientID = r.str("MQTT-3.1.3-4", "MQTT-3.1.3-4")
	if flags&connectWill != 0 {
		p.HasWill = true
		p.Will.QoS = QoS(flags & connectWillQoS >> 3)
		p.Will.Retain = flags&connectWillRetain != 0
		p.Will.read(&r)
	}
	if r.v == V31 && len(r.b) == 0 {
		flags &^= connectUserName // in 3.1 the length overrules the flags (v31 section 3.1)
	}
	if flags&connectUserName != 0 {
		p.UserName = r.str("MQTT-3.1.3-12", "MQTT-3.1.3-11")
	}
	if r.v == V31 && len(r.b) == 0 {
		flags &^= connectPassword
	}
	if flags&connectPassword != 0 {
		p.Password = r.binary()
	}
	p.checkClientID(&r)
	return r.done()
}

// readProtocol reads protocol name and level.
func (p *Connect) readProtocol(r *reader) {
	name := r.binary()
	level := r.byte()
	if r.err != nil {
		return
	}
	if v := Version(level &^ bridge); level&bridge != 0 && v >= V31 && v <= V5 {
		p.Bridge, level = true, uint8(v)
	}
	switch {
	case string(name) == "MQIsdp":
		p.Version = V31
	case string(name) == "MQTT" && level == uint8(V5):
		p.Version = V5
	case string(name) == "MQTT": // of a version to come only its CONNACK of 3.1.1 is known
		p.Version = V311
	default:
		if v := Version(level); v >= V31 && v <= V5 {
			p.Version, r.v = v, v
		}
		r.fail(UnsupportedProtocolVersion, "MQTT-3.1.2-1", "MQTT-3.1.2-1", "protocol name is neither MQTT nor MQIsdp")
		return
	}
	r.v = p.Version
	if level != uint8(p.Version) {
		r.fail(UnsupportedProtocolVersion, "MQTT-3.1.2-2", "MQTT-3.1.2-2", fmt.Sprintf("protocol level %d of %s is not supported", level, name))
	}
}

func (p *Connect) checkFlags(r *reader, flags byte) {
	will := flags&connectWill != 0
	qos := flags & connectWillQoS >> 3
	switch {
	case r.v == V31:
		if will && qos == 3 {
			r.malformed("will QoS is 3")
		}
	case flags&connectReserved != 0:
		r.fail(MalformedPacket, "MQTT-3.1.2-3", "MQTT-3.1.2-3", "reserved connect flag is set")
	case !will && qos != 0:
		r.fail(MalformedPacket, "MQTT-3.1.2-11", "MQTT-3.1.2-13", "will QoS without will")
	case !will && flags&connectWillRetain != 0:
		r.fail(MalformedPacket, "MQTT-3.1.2-13", "MQTT-3.1.2-15", "will retain without will")
	case qos == 3:
		r.fail(MalformedPacket, "MQTT-3.1.2-12", "MQTT-3.1.2-14", "will QoS is 3")
	case r.v == V311 && flags&connectPassword != 0 && flags&connectUserName == 0:
		r.fail(MalformedPacket, "", "MQTT-3.1.2-22", "password without user name")
	}
}

func (p *Connect) checkClientID(r *reader) {
	if r.err != nil {
		return
	}
	n := len(p.ClientID)
	switch {
	case r.v == V31 && n == 0:
		r.fail(ClientIdentifierNotValid, "", "", "client identifier is empty")
	case r.v == V311 && n == 0 && !p.CleanStart:
		r.fail(ClientIdentifierNotValid, "", "MQTT-3.1.3-8", "empty client identifier without clean session")
	}
}

func (w *Will) read(r *reader) {
	w.Properties.reset()
	if r.v == V5 {
		wire := r.take(int(r.varint()))
		if r.err == nil {
			if err := w.Properties.decode(CONNECT, wire, &w.Delay); err != nil {
				r.err, r.b = err, nil
			}
		}
	}
	w.Topic = r.str("MQTT-3.1.3-11", "MQTT-3.1.3-10")
	switch {
	case r.err != nil:
	case len(w.Topic) == 0:
		r.fail(TopicNameInvalid, "MQTT-4.7.3-1", "MQTT-4.7.3-1", "will topic is empty")
	case hasWildcard(w.Topic):
		r.fail(TopicNameInvalid, "MQTT-4.7.0-1", "MQTT-4.7.1-1", "will topic contains a wildcard")
	}
	w.Payload = r.binary()
}

// Append appends the packet to dst, as the Version in it says.
func (p *Connect) Append(dst []byte) []byte {
	name := "MQTT"
	if p.Version == V31 {
		name = "MQIsdp"
	}
	dst = append(dst, firstByte(CONNECT))
	at := len(dst)
	dst = appendBinary(dst, []byte(name))
	level := byte(p.Version)
	if p.Bridge {
		level |= bridge
	}
	dst = append(dst, level, p.flags())
	dst = binary.BigEndian.AppendUint16(dst, p.KeepAlive)
	dst = p.Properties.appendTo(dst, p.Version)
	dst = appendBinary(dst, p.ClientID)
	if p.HasWill {
		dst = p.Will.appendTo(dst, p.Version)
	}
	if p.UserName != nil {
		dst = appendBinary(dst, p.UserName)
	}
	if p.Password != nil {
		dst = appendBinary(dst, p.Password)
	}
	return insertLength(dst, at)
}

func (p *Connect) flags() (flags byte) {
	if p.CleanStart {
		flags |= connectCleanStart
	}
	if p.HasWill {
		flags |= connectWill | byte(p.Will.QoS)<<3
		if p.Will.Retain {
			flags |= connectWillRetain
		}
	}
	if p.UserName != nil {
		flags |= connectUserName
	}
	if p.Password != nil {
		flags |= connectPassword
	}
	return flags
}

func (w *Will) appendTo(dst []byte, v Version) []byte {
	if v == V5 {
		at := len(dst)
		dst = w.Properties.appendTo(dst)
		if w.Delay != 0 {
			dst = binary.BigEndian.AppendUint32(append(dst, byte(PropWillDelay)), w.Delay)
		}
		dst = insertLength(dst, at)
	}
	dst = appendBinary(dst, w.Topic)
	return appendBinary(dst, w.Payload)
}
