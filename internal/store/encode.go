package store

import (
	"encoding/binary"
	"fmt"
	"math"
	"strings"
	"time"

	"midge/internal/message"
	"midge/internal/packet"
)

// errDamaged is wrapped by all errors about records that make no sense.
var errDamaged = fmt.Errorf("%w record", ErrDamaged)

// reader decodes a record. After the first piece that is not there, it is
// broken and gives nothing but zeros.
type reader struct {
	b      []byte
	broken bool
}

func (r *reader) byte() byte {
	if len(r.b) == 0 {
		r.broken = true
		return 0
	}
	v := r.b[0]
	r.b = r.b[1:]
	return v
}

func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.broken, r.b = true, nil
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) bytes() []byte {
	n := r.uvarint()
	if n > uint64(len(r.b)) {
		r.broken, r.b = true, nil
		return nil
	}
	v := r.b[:n:n]
	r.b = r.b[n:]
	return v
}

// err is nil if the record was whole.
func (r *reader) err() error {
	if r.broken {
		return errDamaged
	}
	return nil
}

func appendBytes(dst, b []byte) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(b))), b...)
}

func appendString(dst []byte, s string) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(s))), s...)
}

// The bits of a message's first byte, above the two of its QoS.
const (
	bitRetain   = 1 << 2
	bitExpires  = 1 << 3
	bitInterval = 1 << 4
)

// appendEnd appends when a message ends, and the interval that was asked for.
func appendEnd(dst []byte, m *message.Message, l timeline) []byte {
	dst = binary.AppendUvarint(dst, l.stamp(m.Expires))
	return binary.AppendUvarint(dst, uint64(m.Interval))
}

// end reads when a message ends, and the interval if it is there.
func (r *reader) end(l timeline, interval bool) (expires time.Duration, seconds uint32) {
	expires, seconds = l.engine(r.uvarint()), math.MaxUint32
	if interval {
		n := r.uvarint()
		if n > math.MaxUint32 {
			r.broken = true
		}
		seconds = uint32(n)
	}
	if expires == 0 {
		seconds = 0
	}
	return expires, seconds
}

// appendMessage appends a message; it takes the rest of the record.
func appendMessage(dst []byte, m *message.Message, l timeline) []byte {
	flags := byte(m.QoS)
	if m.Retain {
		flags |= bitRetain
	}
	if m.Expires != 0 {
		flags |= bitExpires | bitInterval
	}
	dst = append(dst, flags)
	if m.Expires != 0 {
		dst = appendEnd(dst, m, l)
	}
	dst = appendBytes(dst, m.Topic)
	dst = appendString(dst, m.Publisher)
	dst = appendBytes(dst, m.Properties)
	return append(dst, m.Payload...)
}

// decodeMessage reads what appendMessage wrote. The message borrows b.
func decodeMessage(b []byte, l timeline) (m message.Message, err error) {
	r := reader{b: b}
	flags := r.byte()
	m.QoS, m.Retain = packet.QoS(flags&3), flags&bitRetain != 0
	if flags&bitExpires != 0 {
		m.Expires, m.Interval = r.end(l, flags&bitInterval != 0)
	}
	m.Topic = r.bytes()
	m.Publisher = string(r.bytes())
	m.Properties = r.bytes()
	m.Payload = r.b
	if m.QoS > 2 || len(m.Topic) == 0 {
		r.broken = true
	}
	return m, r.err()
}

// Session is the record of a session that outlives its connections.
type Session struct {
	Number   uint64 // never given to another session
	ClientID string
	Expiry   uint32        // Session Expiry Interval, seconds
	Left     time.Duration // when its connection ended, on the engine's clock; 0: it is connected
	Sent     uint64        // a QoS 1 message with this number, or a higher one, was not sent before; 0: not known
}

// queueMark begins the client id of the session that is the queue of a shared
// subscription. No client can have such an id: strings of MQTT hold no U+0000
// (MQTT-1.5.4-2).
const queueMark = "\x00"

// QueueID is the client id of the session that is the queue of a shared
// subscription, whose filter begins with $share.
func QueueID(filter string) string { return queueMark + filter }

// QueueOf returns the filter of the shared subscription whose queue the session
// of a client id is; ok is false for the sessions of clients.
func QueueOf(clientID string) (filter string, ok bool) { return strings.CutPrefix(clientID, queueMark) }

// mountMark stands behind the mount point of a client in its id.
const mountMark = "\x00"

// MountedID is the id that a client with a mount point has: the same client identifier
// with another one is another client.
func MountedID(mount, clientID string) string {
	if mount == "" {
		return clientID
	}
	return mount + mountMark + clientID
}

// SplitID returns the mount point in the id of a client, "" for none, and its client
// identifier.
func SplitID(id string) (mount, clientID string) {
	if at := strings.Index(id, mountMark); at > 0 {
		return id[:at], id[at+len(mountMark):]
	}
	return "", id
}

func (s *Session) append(dst []byte, l timeline) []byte {
	dst = appendString(dst, s.ClientID)
	dst = binary.AppendUvarint(dst, uint64(s.Expiry))
	dst = binary.AppendUvarint(dst, l.stamp(s.Left))
	if s.Sent == 0 {
		return dst
	}
	return binary.AppendUvarint(dst, s.Sent)
}

func (s *Session) decode(b []byte, l timeline) error {
	r := reader{b: b}
	s.ClientID = string(r.bytes())
	s.Expiry = uint32(r.uvarint())
	s.Left = l.engine(r.uvarint())
	if len(r.b) > 0 {
		s.Sent = r.uvarint()
	}
	return r.err()
}

// Subscription is a subscription of such a session.
type Subscription struct {
	Filter            string // with $share
	ID                uint32 // subscription identifier, 0 for none
	QoS               packet.QoS
	NoLocal           bool
	RetainAsPublished bool
}

const (
	bitNoLocal = 1 << 2
	bitRAP     = 1 << 3
)

func (s *Subscription) append(dst []byte) []byte {
	flags := byte(s.QoS)
	if s.NoLocal {
		flags |= bitNoLocal
	}
	if s.RetainAsPublished {
		flags |= bitRAP
	}
	return binary.AppendUvarint(append(dst, flags), uint64(s.ID))
}

func (s *Subscription) decode(b []byte) error {
	r := reader{b: b}
	flags := r.byte()
	s.QoS, s.NoLocal, s.RetainAsPublished = packet.QoS(flags&3), flags&bitNoLocal != 0, flags&bitRAP != 0
	s.ID = uint32(r.uvarint())
	if s.QoS > 2 || len(s.Filter) == 0 {
		r.broken = true
	}
	return r.err()
}

// Will is the will of a client that is connected or within its delay.
type Will struct {
	Number   uint64 // as a message's (Store.NextSeq): a client's next will has another
	ClientID string
	Delay    time.Duration // Will Delay Interval
	Expiry   time.Duration // Message Expiry Interval, from its publication; 0: none
	Message  message.Message
}

func (w *Will) append(dst []byte, l timeline) []byte {
	dst = appendString(dst, w.ClientID)
	dst = binary.AppendUvarint(dst, uint64(w.Delay/time.Second))
	var expiry uint64 // 0: none, otherwise one more than the seconds
	if w.Expiry > 0 {
		expiry = 1 + uint64(w.Expiry/time.Second)
	}
	dst = binary.AppendUvarint(dst, expiry)
	return appendMessage(dst, &w.Message, l)
}

func (w *Will) decode(b []byte, l timeline) (err error) {
	r := reader{b: b}
	w.ClientID = string(r.bytes())
	w.Delay = time.Duration(uint32(r.uvarint())) * time.Second
	if expiry := r.uvarint(); expiry > 0 {
		w.Expiry = max(time.Duration(uint32(expiry-1))*time.Second, 1)
	}
	if w.Message, err = decodeMessage(r.b, l); err != nil {
		return err
	}
	return r.err()
}

// Receiver is a session that is to get a message.
type Receiver struct {
	Session uint64 // its number
	QoS     packet.QoS
	Retain  bool     // as the client is to see it
	IDs     []uint32 // subscription identifiers
	Share   string   // the shared subscription it came by, as a filter with $share; "": none
	Begun   Outgoing // its QoS 2 exchange, with an ID if it has begun; in a record of its own
}

const bitVia = 1 << 3

func (rc *Receiver) append(dst []byte) []byte {
	dst = binary.AppendUvarint(dst, rc.Session)
	flags := byte(rc.QoS)
	if rc.Retain {
		flags |= bitRetain
	}
	if len(rc.IDs) == 0 && rc.Share == "" {
		return append(dst, flags)
	}
	dst = append(dst, flags|bitVia)
	dst = appendString(dst, rc.Share)
	dst = binary.AppendUvarint(dst, uint64(len(rc.IDs)))
	for _, id := range rc.IDs {
		dst = binary.AppendUvarint(dst, uint64(id))
	}
	return dst
}

func (r *reader) receiver() (rc Receiver) {
	rc.Session = r.uvarint()
	flags := r.byte()
	rc.QoS, rc.Retain = packet.QoS(flags&3), flags&bitRetain != 0
	if rc.QoS != 1 && rc.QoS != 2 {
		r.broken = true
	}
	if flags&bitVia == 0 {
		return rc
	}
	rc.Share = string(r.bytes())
	n := r.uvarint()
	if n > uint64(len(r.b)) {
		r.broken = true
		return rc
	}
	for range n {
		rc.IDs = append(rc.IDs, uint32(r.uvarint()))
	}
	return rc
}

// Receivers is the record of those sessions of one shard that are to get a
// message.
type Receivers struct {
	Key      message.Key
	Size     int           // of the message (message.Message.Size)
	Expires  time.Duration // of the message
	Interval uint32        // likewise
	All      []Receiver
	Message  message.Message // unless it is separate; borrowed
	Separate bool
}

// The bits of the first byte of such a record.
const (
	bitSeparate = 1 << 0 // the message is separate
	bitEnds     = 1 << 1 // the interval of the message follows the time of its end
)

// appendReceivers appends the record of n encoded receivers.
func appendReceivers(dst []byte, n int, encoded []byte, m *message.Message, separate bool, l timeline) []byte {
	head := byte(0)
	if separate {
		head |= bitSeparate
	}
	if m.Expires != 0 {
		head |= bitEnds
	}
	dst = append(dst, head)
	dst = binary.AppendUvarint(dst, uint64(m.Size()))
	if m.Expires != 0 {
		dst = appendEnd(dst, m, l)
	} else {
		dst = append(dst, 0)
	}
	dst = binary.AppendUvarint(dst, uint64(n))
	dst = appendBytes(dst, encoded)
	if separate {
		return dst
	}
	return appendMessage(dst, m, l)
}

// decode reads the record; all is set if the receivers are wanted.
func (rs *Receivers) decode(b []byte, l timeline, all bool) (err error) {
	r := reader{b: b}
	head := r.byte()
	rs.Separate = head&bitSeparate != 0
	rs.Size = int(r.uvarint())
	rs.Expires, rs.Interval = r.end(l, head&bitEnds != 0)
	n := r.uvarint()
	list := reader{b: r.bytes()}
	rs.All = rs.All[:0]
	if all {
		for ; n > 0 && !list.broken; n-- {
			rs.All = append(rs.All, list.receiver())
		}
	}
	if r.broken || list.broken {
		return errDamaged
	}
	if !rs.Separate {
		rs.Message, err = decodeMessage(r.b, l)
	}
	return err
}

// Outgoing is a QoS 2 exchange towards a client.
type Outgoing struct {
	ID            packet.ID
	AwaitsPubcomp bool // PUBREC has come; otherwise PUBLISH is or may be under way
}

func (o Outgoing) append(dst []byte) []byte {
	state := byte(0)
	if o.AwaitsPubcomp {
		state = 1
	}
	return binary.BigEndian.AppendUint16(append(dst, state), uint16(o.ID))
}

func (o *Outgoing) decode(b []byte) error {
	if len(b) != 3 {
		return errDamaged
	}
	o.AwaitsPubcomp, o.ID = b[0] != 0, packet.ID(binary.BigEndian.Uint16(b[1:]))
	if o.ID == 0 {
		return errDamaged
	}
	return nil
}
