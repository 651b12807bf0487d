package storetool

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"
	"unicode/utf8"

	"midge/internal/message"
	"midge/internal/packet"
	"midge/internal/store"
	"midge/internal/store/pebblestore"
)

// The kinds of messages that Export writes.
const (
	Queued   = "queued"
	Retained = "retained"
	Will     = "will"
)

// Selection says which messages to export.
type Selection struct {
	Kinds  []string // of Queued, Retained and Will; none means all
	Client string   // queued for this client, or its will; "": for all
}

// Export writes messages as JSON, one on each line: wills, then retained
// messages, then those that wait for sessions, each session's in their order.
// The error says how many could not be read; the others are written then.
func Export(w io.Writer, o Options, sel Selection) error {
	e := &exporter{sel: sel, out: json.NewEncoder(w), clients: map[uint64]string{}}
	e.out.SetEscapeHTML(false)
	lost, err := read(o, func(_ *pebblestore.View, st *store.Store) store.Loader {
		e.store = st
		return e
	})
	if err = errors.Join(err, e.err); err != nil {
		return err
	}
	if n := len(lost) + e.lost; n > 0 {
		return fmt.Errorf("%d records cannot be read and are not among the messages written; see 'midge store check'", n)
	}
	return nil
}

// line is a message as Export writes it.
type line struct {
	Kind       string      `json:"kind"`
	Number     uint64      `json:"message,omitempty"` // the same for all lines of a message
	Topic      string      `json:"topic"`
	QoS        int         `json:"qos"`
	Retain     bool        `json:"retain"`
	Payload    string      `json:"payload"`
	Encoding   string      `json:"payload_encoding"` // "text" or "base64"
	Properties *properties `json:"properties,omitempty"`
	Expires    *time.Time  `json:"expires,omitempty"`
	Publisher  string      `json:"publisher,omitempty"` // as displayed writes it, like all clients
	Receivers  []receiver  `json:"receivers,omitempty"`

	// Of wills:
	Client        string `json:"client,omitempty"`
	DelaySeconds  *int64 `json:"delay_seconds,omitempty"`
	ExpirySeconds *int64 `json:"expiry_seconds,omitempty"` // from its publication
}

// receiver is a session that a message waits for.
type receiver struct {
	Client          string   `json:"client"`
	Session         uint64   `json:"session"`
	QoS             int      `json:"qos"`
	Retain          bool     `json:"retain"`
	SubscriptionIDs []uint32 `json:"subscription_ids,omitempty"`
	Share           string   `json:"share,omitempty"`
	PacketID        uint16   `json:"packet_id,omitempty"` // of a QoS 2 exchange that has begun
}

// properties are those that receivers get unaltered.
type properties struct {
	PayloadFormat   *int        `json:"payload_format_indicator,omitempty"`
	ContentType     string      `json:"content_type,omitempty"`
	ResponseTopic   string      `json:"response_topic,omitempty"`
	CorrelationData []byte      `json:"correlation_data,omitempty"` // base64
	User            [][2]string `json:"user_properties,omitempty"`
}

// exporter writes what a broker would load. It implements store.Loader.
type exporter struct {
	sel     Selection
	out     *json.Encoder
	store   *store.Store
	clients map[uint64]string // by the number of the session
	lost    int
	err     error
}

func (e *exporter) Session(s store.Session) {
	e.clients[s.Number] = displayed(s.ClientID)
	if _, ok := store.QueueOf(s.ClientID); ok {
		e.clients[s.Number] = "" // the receiver has the shared subscription
	}
}

func (e *exporter) Will(w store.Will) {
	if !e.wants(Will) || e.sel.Client != "" && e.sel.Client != displayed(w.ClientID) {
		return
	}
	l := e.line(Will, &w.Message)
	l.Client = displayed(w.ClientID)
	delay := int64(w.Delay / time.Second)
	l.DelaySeconds = &delay
	if w.Expiry > 0 {
		expiry := int64(w.Expiry / time.Second)
		l.ExpirySeconds = &expiry
	}
	e.write(l)
}

func (e *exporter) Subscription(uint64, store.Subscription) {}

func (e *exporter) Retained(m *message.Message) {
	if e.wants(Retained) && e.sel.Client == "" {
		e.write(e.line(Retained, m))
	}
}

func (e *exporter) Incoming(uint64, packet.ID) {}

func (e *exporter) Waiting(w store.Waiting) {
	if !e.wants(Queued) {
		return
	}
	var all []receiver
	for _, rc := range w.All {
		client := e.clients[rc.Session]
		if e.sel.Client != "" && e.sel.Client != client {
			continue
		}
		all = append(all, receiver{client, rc.Session, int(rc.QoS), rc.Retain, rc.IDs, displayed(rc.Share), uint16(rc.Begun.ID)})
	}
	if len(all) == 0 {
		return
	}
	m := e.body(&w)
	if m == nil {
		e.lost++
		return
	}
	l := e.line(Queued, m)
	l.Number, l.Receivers = w.Key.Seq(), all
	e.write(l)
}

// body is the message of a record, nil if it cannot be read.
func (e *exporter) body(w *store.Waiting) (m *message.Message) {
	if !w.Separate {
		return &w.Message
	}
	e.store.Fetch(&store.Fetch{Items: []message.Stored{{Key: w.Key, Size: w.Size}}, Done: func(r []store.Result) { m = r[0].Message }})
	e.store.StepReads()
	if e.err == nil {
		e.err = e.store.Err() // the disk does not read
	}
	return m
}

func (e *exporter) AwaitPubcomp(uint64, message.Key, packet.ID) {}

func (e *exporter) Shard(session uint64) int {
	if _, there := e.clients[session]; there {
		return 0
	}
	return -1
}

func (e *exporter) wants(kind string) bool {
	for _, k := range e.sel.Kinds {
		if k == kind {
			return true
		}
	}
	return len(e.sel.Kinds) == 0
}

func (e *exporter) write(l *line) {
	if e.err == nil {
		e.err = e.out.Encode(l)
	}
}

func (e *exporter) line(kind string, m *message.Message) *line {
	l := &line{Kind: kind, Topic: string(m.Topic), QoS: int(m.QoS), Retain: m.Retain, Publisher: displayed(m.Publisher), Properties: decode(m.Properties)}
	l.Payload, l.Encoding = text(m.Payload)
	if m.Expires != 0 {
		at := e.store.TimeOfDay(m.Expires)
		l.Expires = &at
	}
	return l
}

// text is a payload as JSON can hold it.
func text(payload []byte) (s, encoding string) {
	if utf8.Valid(payload) {
		return string(payload), "text"
	}
	return base64.StdEncoding.EncodeToString(payload), "base64"
}

// decode takes properties in wire form apart; nil for none. A broker has
// checked them when they came; at what it would not write decode ends.
func decode(b []byte) *properties {
	if len(b) == 0 {
		return nil
	}
	p := &properties{}
	for len(b) > 0 {
		id := packet.PropertyID(b[0])
		b = b[1:]
		if id == packet.PropPayloadFormat && len(b) > 0 {
			format := int(b[0])
			p.PayloadFormat, b = &format, b[1:]
			continue
		}
		value, rest, ok := field(b)
		if !ok {
			return p
		}
		b = rest
		switch id {
		case packet.PropContentType:
			p.ContentType = string(value)
		case packet.PropResponseTopic:
			p.ResponseTopic = string(value)
		case packet.PropCorrelationData:
			p.CorrelationData = value
		case packet.PropUser:
			if second, rest, ok := field(b); ok {
				p.User = append(p.User, [2]string{string(value), string(second)})
				b = rest
			}
		default:
			return p
		}
	}
	return p
}

// field splits off bytes with their length in two bytes in front.
func field(b []byte) (value, rest []byte, ok bool) {
	if len(b) < 2 {
		return nil, nil, false
	}
	end := 2 + int(binary.BigEndian.Uint16(b))
	if end > len(b) {
		return nil, nil, false
	}
	return b[2:end], b[end:], true
}
