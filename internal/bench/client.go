package bench

import (
	"encoding/binary"
	"time"

	"midge/internal/bench/loop"
	"midge/internal/packet"
)

// role is what a client is for; clientID has a letter for each.
type role uint8

const (
	subscriber role = iota
	publisher
	idler
	watcher  // of wills
	comer    // connects and leaves, again and again
	retainer // lays retained messages down
	reader   // asks for them
)

// stage is how far a client is.
type stage uint8

const (
	away        stage = iota // not connected
	dialing                  // the connection is being made
	greeting                 // CONNACK is awaited
	subscribing              // a SUBACK is awaited
	ready
	gone // for good
)

// client is one MQTT client.
type client struct {
	conn   loop.Conn
	role   role
	n      int // within the role, over all workers
	stage  stage
	slow   bool          // reads slowly
	suback int           // outstanding
	due    time.Duration // when connecting began, or was due
	lastID packet.ID
	pub    *publishing // of a publisher, and of the one who lays retained messages down
	read   *reading    // of a reader
	back   bool        // has returned to its session
}

// publishing is what a publisher knows of its publications.
type publishing struct {
	flows    []int32
	slots    []slot // by packet identifier less 1
	inflight int
	limit    int  // of inflight
	blocked  bool // in the worker's list of publishers that had no room
}

// slot is a publication at QoS 1 or 2 whose last acknowledgement is awaited.
type slot struct {
	awaited packet.Type // PUBACK, PUBREC or PUBCOMP; 0: the identifier is free
	flow    int32
	sent    int64 // on the clock
}

// maxPending is the output in bytes beyond which a publisher waits.
const maxPending = 1 << 20

// take finds a free packet identifier; 0 if there is none.
func (p *publishing) take(last packet.ID) packet.ID {
	n := len(p.slots)
	if p.inflight >= p.limit {
		return 0
	}
	if p.inflight == n {
		p.slots = append(p.slots, make([]slot, min(max(n, 16), p.limit-n))...)
		last = packet.ID(n)
	}
	for { // one is free, since inflight is less than the number of slots
		if last = last%packet.ID(len(p.slots)) + 1; p.slots[last-1].awaited == 0 {
			return last
		}
	}
}

// room reports whether a publisher may send.
func (w *worker) room(c *client) bool {
	return c.stage == ready && len(c.conn.Out) < maxPending && (w.s.QoS == 0 || c.pub.inflight < c.pub.limit)
}

func (w *worker) greet(c *client) {
	p := packet.Connect{Version: w.Version, CleanStart: true, KeepAlive: uint16(time.Duration(w.s.KeepAlive) / time.Second)}
	p.ClientID = []byte(w.clientID(c.role, c.n))
	if w.Username != "" {
		p.UserName = []byte(w.Username)
	}
	if w.Password != "" {
		p.Password = []byte(w.Password)
	}
	if c.role == subscriber && w.s.Keep {
		p.CleanStart = w.cleaning
		if !w.cleaning {
			p.Properties.SessionExpiry = sessionExpiry
			p.Properties.Set(packet.PropSessionExpiry)
		}
	}
	if c.role == comer && w.s.Wills {
		p.HasWill, p.Will = true, packet.Will{QoS: 1, Topic: []byte(w.willTopic()), Payload: []byte("will")}
	}
	c.conn.Out = p.Append(c.conn.Out)
	c.stage = greeting
	w.loop.Touch(&c.conn)
}

// sessionExpiry is how long a broker keeps a persistent session after a run
// that didn't end in order, in seconds.
const sessionExpiry = 600

// subscribe asks for all filters at once.
func (w *worker) subscribe(c *client, filters []string, qos int) {
	c.stage = subscribing
	for len(filters) > 0 {
		n := min(len(filters), maxFilters)
		c.lastID++
		p := packet.Subscribe{ID: c.lastID}
		for _, f := range filters[:n] {
			p.Subscriptions = append(p.Subscriptions, packet.Subscription{Filter: []byte(f), QoS: packet.QoS(qos)})
		}
		c.conn.Out = p.Append(c.conn.Out, w.Version)
		c.suback++
		filters = filters[n:]
	}
	w.loop.Touch(&c.conn)
	if c.suback == 0 {
		c.stage = ready
	}
}

// disconnect says good-bye and closes.
func (w *worker) disconnect(c *client) {
	if c.stage >= greeting && c.stage != gone {
		c.conn.Out = append(c.conn.Out, byte(packet.DISCONNECT)<<4, 0)
	}
	w.loop.Close(&c.conn)
	c.stage = away
}

// appendAck appends a PUBACK, PUBREC, PUBREL or PUBCOMP without reason code.
func appendAck(dst []byte, first byte, id packet.ID) []byte {
	return binary.BigEndian.AppendUint16(append(dst, first, 2), uint16(id))
}

func (w *worker) dial(c *client, due time.Duration) {
	c.stage, c.due = dialing, due
	w.loop.Dial(&c.conn)
}
