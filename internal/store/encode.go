package store

import (
	"encoding/binary"
	"fmt"
	"math"
	"time"

	"midge/internal/message"
	"midge/internal/packet"
)

// Clock translates between the engine's clock, which starts with the process,
// and the time of day, which records hold. It is read once, so that a jump of
// the time of day while the broker runs changes nothing.
type Clock struct {
	zero int64 // Unix time at the engine's zero, in milliseconds
}

// NewClock returns the clock of an engine that shows now at this moment.
func NewClock(wall time.Time, now time.Duration) Clock {
	return Clock{zero: wall.UnixMilli() - now.Milliseconds()}
}

// unix is a time of the engine's clock as Unix time in milliseconds; 0 stays 0.
func (c Clock) unix(t time.Duration) uint64 {
	if t == 0 {
		return 0
	}
	return uint64(max(c.zero+t.Milliseconds(), 1))
}

// engine is the reverse of unix.
func (c Clock) engine(unix uint64) time.Duration {
	if unix == 0 {
		return 0
	}
	const most = math.MaxInt64 / int64(time.Millisecond)
	t := time.Duration(min(max(int64(min(unix, 1<<53))-c.zero, -most), most)) * time.Millisecond
	if t == 0 {
		t = 1 // 0 would mean never
	}
	return t
}

// errDamaged is wrapped by all errors about records that make no sense.
var errDamaged = fmt.Errorf("%w record", ErrDamaged)

// reader takes a record apart. After the first piece that is not there, it is
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

// err reports whether the record was whole.
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
	bitRetain  = 1 << 2
	bitExpires = 1 << 3
)

// appendMessage appends a message; it takes the rest of the record.
func appendMessage(dst []byte, m *message.Message, c Clock) []byte {
	flags := byte(m.QoS)
	if m.Retain {
		flags |= bitRetain
	}
	if m.Expires != 0 {
		flags |= bitExpires
	}
	dst = append(dst, flags)
	if m.Expires != 0 {
		dst = binary.AppendUvarint(dst, c.unix(m.Expires))
	}
	dst = appendBytes(dst, m.Topic)
	dst = appendString(dst, m.Publisher)
	dst = appendBytes(dst, m.Properties)
	return append(dst, m.Payload...)
}

// decodeMessage reads what appendMessage wrote. The message borrows b.
func decodeMessage(b []byte, c Clock) (m message.Message, err error) {
	r := reader{b: b}
	flags := r.byte()
	m.QoS, m.Retain = packet.QoS(flags&3), flags&bitRetain != 0
	if flags&bitExpires != 0 {
		m.Expires = c.engine(r.uvarint())
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
}

func (s *Session) append(dst []byte, c Clock) []byte {
	dst = appendString(dst, s.ClientID)
	dst = binary.AppendUvarint(dst, uint64(s.Expiry))
	return binary.AppendUvarint(dst, c.unix(s.Left))
}

func (s *Session) decode(b []byte, c Clock) error {
	r := reader{b: b}
	s.ClientID = string(r.bytes())
	s.Expiry = uint32(r.uvarint())
	s.Left = c.engine(r.uvarint())
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

func (w *Will) append(dst []byte, c Clock) []byte {
	dst = appendString(dst, w.ClientID)
	dst = binary.AppendUvarint(dst, uint64(w.Delay/time.Second))
	var expiry uint64 // 0: none, otherwise one more than the seconds
	if w.Expiry > 0 {
		expiry = 1 + uint64(w.Expiry/time.Second)
	}
	dst = binary.AppendUvarint(dst, expiry)
	return appendMessage(dst, &w.Message, c)
}

func (w *Will) decode(b []byte, c Clock) (err error) {
	r := reader{b: b}
	w.ClientID = string(r.bytes())
	w.Delay = time.Duration(uint32(r.uvarint())) * time.Second
	if expiry := r.uvarint(); expiry > 0 {
		w.Expiry = max(time.Duration(uint32(expiry-1))*time.Second, 1)
	}
	if w.Message, err = decodeMessage(r.b, c); err != nil {
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
	Key     message.Key
	Size    int           // of the message (message.Message.Size)
	Expires time.Duration // of the message
	All     []Receiver
	Message message.Message // unless it lies apart; borrowed
	Apart   bool
}

// appendReceivers appends the record of n encoded receivers.
func appendReceivers(dst []byte, n int, encoded []byte, m *message.Message, apart bool, c Clock) []byte {
	head := byte(0)
	if apart {
		head = 1
	}
	dst = append(dst, head)
	dst = binary.AppendUvarint(dst, uint64(m.Size()))
	dst = binary.AppendUvarint(dst, c.unix(m.Expires))
	dst = binary.AppendUvarint(dst, uint64(n))
	dst = appendBytes(dst, encoded)
	if apart {
		return dst
	}
	return appendMessage(dst, m, c)
}

// decode reads the record; all tells whether the receivers are wanted.
func (rs *Receivers) decode(b []byte, c Clock, all bool) (err error) {
	r := reader{b: b}
	rs.Apart = r.byte() != 0
	rs.Size = int(r.uvarint())
	rs.Expires = c.engine(r.uvarint())
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
	if !rs.Apart {
		rs.Message, err = decodeMessage(r.b, c)
	}
	return err
}

// Outgoing is a QoS 2 exchange towards a client.
type Outgoing struct {
	ID       packet.ID
	Released bool // PUBREC has come; otherwise PUBLISH is or may be under way
}

func (o Outgoing) append(dst []byte) []byte {
	state := byte(0)
	if o.Released {
		state = 1
	}
	return binary.BigEndian.AppendUint16(append(dst, state), uint16(o.ID))
}

func (o *Outgoing) decode(b []byte) error {
	if len(b) != 3 {
		return errDamaged
	}
	o.Released, o.ID = b[0] != 0, packet.ID(binary.BigEndian.Uint16(b[1:]))
	if o.ID == 0 {
		return errDamaged
	}
	return nil
}
