//go:build integration && unix

package crash

import (
	"crypto/sha256"
	"fmt"
	"net"
	"sync"
	"time"

	"midge/internal/packet"
)

// handler is told what happens to a client. Its methods are called one at a time
// for each client, from the goroutine that reads the connection.
type handler interface {
	received(m *packet.Publish)                       // for the first time, as far as the client can tell; m is borrowed
	acknowledged(o *outgoing, code packet.ReasonCode) // the exchange is over
}

// client is an MQTT client with its session: it keeps the session state of MQTT
// 5.0 section 4.1 over connections, whatever becomes of the broker.
type client struct {
	connect packet.Connect // what it sends first
	durable bool           // the session outlives the connection
	handler handler
	verdict *verdict

	mu       sync.Mutex
	changed  sync.Cond // of what mu guards
	conn     net.Conn  // nil: none
	pending  []byte    // to be written
	promised bool      // the broker has acknowledged the session
	abandon  bool      // the client itself ends the connection
	flying   []*outgoing
	incoming map[packet.ID][sha256.Size]byte // QoS 2, from PUBLISH to PUBREL
	answers  map[packet.ID]chan []packet.ReasonCode
	lastID   packet.ID
	running  sync.WaitGroup // the goroutines of the connection
}

// outgoing is a PUBLISH under way to the broker.
type outgoing struct {
	flow     flow
	seq      int
	payload  []byte
	retain   bool
	id       packet.ID
	released bool // PUBREC has come, PUBREL is under way
}

// newClient returns a client without a connection.
func newClient(v *verdict, id string, version packet.Version, durable bool, h handler) *client {
	c := &client{verdict: v, durable: durable, handler: h}
	c.changed.L = &c.mu
	c.connect = packet.Connect{Version: version, ClientID: []byte(id), CleanStart: !durable, KeepAlive: 60}
	if durable && version == packet.V5 {
		c.connect.Properties.SessionExpiry = 3600
		c.connect.Properties.Set(packet.PropSessionExpiry)
	}
	c.incoming = map[packet.ID][sha256.Size]byte{}
	c.answers = map[packet.ID]chan []packet.ReasonCode{}
	return c
}

func (c *client) name() string { return string(c.connect.ClientID) }

// setWill adds a will to CONNECT; delay is in seconds.
func (c *client) setWill(f flow, payload []byte, delay uint32) {
	c.connect.HasWill = true
	c.connect.Will = packet.Will{QoS: f.qos, Topic: []byte(f.topic), Payload: payload, Delay: delay}
}

// dial opens a connection and takes up the session. An error means that there
// is no broker at the moment; violations go to the verdict.
func (c *client) dial(addr string) error {
	conn, err := net.DialTimeout("tcp", addr, patience)
	if err != nil {
		return err
	}
	conn.SetDeadline(time.Now().Add(patience))
	r := &reader{conn: conn}
	ack, err := c.handshake(conn, r)
	if err != nil {
		conn.Close()
		return err
	}
	conn.SetDeadline(time.Time{})

	c.mu.Lock()
	defer c.mu.Unlock()
	if c.promised && !ack.SessionPresent {
		c.verdict.violation(lost, "%s: the session is gone", c.name())
	}
	if !ack.SessionPresent {
		c.flying, c.lastID = nil, 0
		clear(c.incoming)
	}
	c.promised, c.abandon, c.conn, c.pending = c.durable, false, conn, nil
	for _, o := range c.flying {
		c.pending = o.append(c.pending, c.connect.Version, true)
	}
	c.running.Add(2)
	go c.write(conn)
	go c.read(conn, r)
	return nil
}

func (c *client) handshake(conn net.Conn, r *reader) (ack packet.Connack, err error) {
	if _, err := conn.Write(c.connect.Append(nil)); err != nil {
		return ack, err
	}
	first, body, err := r.next()
	if err != nil {
		return ack, err
	}
	if err := ack.Decode(c.connect.Version, first, body); err != nil {
		c.verdict.violation(protocol, "%s: CONNACK: %v", c.name(), err)
		return ack, err
	}
	if ack.Code != packet.Success {
		c.verdict.violation(protocol, "%s: CONNACK %v", c.name(), ack.Code)
		return ack, fmt.Errorf("CONNACK %v", ack.Code)
	}
	return ack, nil
}

// hangUp closes the connection without DISCONNECT and waits for its end.
func (c *client) hangUp() {
	c.mu.Lock()
	c.abandon = true
	if c.conn != nil {
		c.conn.Close()
	}
	c.mu.Unlock()
	c.running.Wait()
}

func (c *client) connected() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.conn != nil
}

func (c *client) append(dst []byte, t packet.Type, id packet.ID) []byte {
	return (&packet.Ack{Type: t, ID: id}).Append(dst, c.connect.Version)
}

// append appends the packet that the exchange waits for an answer to.
func (o *outgoing) append(dst []byte, v packet.Version, again bool) []byte {
	if o.released {
		return (&packet.Ack{Type: packet.PUBREL, ID: o.id}).Append(dst, v)
	}
	m := packet.Publish{Dup: again, QoS: o.flow.qos, Retain: o.retain, ID: o.id, Topic: []byte(o.flow.topic), Payload: o.payload}
	return m.Append(dst, v)
}

// publish sends a message as soon as fewer than window are under way; false
// means that there is no connection, and nothing has been sent. sent is called
// before the first byte leaves.
func (c *client) publish(o *outgoing, sent func()) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.conn != nil && (len(c.flying) >= window || len(c.pending) > maxPending) {
		c.changed.Wait()
	}
	if c.conn == nil {
		return false
	}
	if o.flow.qos > 0 {
		o.id = c.nextID()
		c.flying = append(c.flying, o)
	}
	sent()
	c.pending = o.append(c.pending, c.connect.Version, false)
	c.changed.Broadcast()
	return true
}

// nextID returns an identifier that is not in use; there are far more of them
// than the window takes.
func (c *client) nextID() packet.ID {
	for {
		c.lastID++
		if _, used := c.answers[c.lastID]; c.lastID != 0 && !used && c.find(c.lastID) < 0 {
			return c.lastID
		}
	}
}

func (c *client) find(id packet.ID) int {
	for i, o := range c.flying {
		if o.id == id {
			return i
		}
	}
	return -1
}

// landed waits until nothing is under way; false means that the connection has
// ended, or that nothing moved for so long that it never will.
func (c *client) landed() bool {
	return c.await(func() bool { return len(c.flying) == 0 })
}

// await waits until condition, which c.mu guards, holds; false means that the
// connection has ended, that patience has run out, or that the verdict is clear.
func (c *client) await(condition func() bool) bool {
	over := make(chan struct{})
	defer close(over)
	late := false
	go func() {
		timer := time.NewTimer(patience)
		defer timer.Stop()
		select {
		case <-over:
			return
		case <-timer.C:
		case <-c.verdict.violated:
		}
		c.mu.Lock()
		late = true
		c.mu.Unlock()
		c.changed.Broadcast()
	}()
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.conn != nil && !late && !condition() {
		c.changed.Wait()
	}
	return condition()
}

// request sends what build makes with an identifier and waits for the codes of
// its answer. nil means that the connection has ended before.
func (c *client) request(build func(dst []byte, id packet.ID) []byte) []packet.ReasonCode {
	answer := make(chan []packet.ReasonCode, 1)
	c.mu.Lock()
	if c.conn == nil {
		c.mu.Unlock()
		return nil
	}
	id := c.nextID()
	c.answers[id] = answer
	c.pending = build(c.pending, id)
	c.changed.Broadcast()
	c.mu.Unlock()
	return <-answer // closed at the end of the connection
}

// subscribe returns the code of the SUBACK; false means no answer.
func (c *client) subscribe(filter string, qos packet.QoS) (packet.ReasonCode, bool) {
	codes := c.request(func(dst []byte, id packet.ID) []byte {
		m := packet.Subscribe{ID: id, Subscriptions: []packet.Subscription{{Filter: []byte(filter), QoS: qos}}}
		return m.Append(dst, c.connect.Version)
	})
	if len(codes) != 1 {
		return 0, false
	}
	return codes[0], true
}

// unsubscribe reports whether an UNSUBACK came.
func (c *client) unsubscribe(filter string) bool {
	return c.request(func(dst []byte, id packet.ID) []byte {
		return (&packet.Unsubscribe{ID: id, Filters: [][]byte{[]byte(filter)}}).Append(dst, c.connect.Version)
	}) != nil
}

// write writes what is pending until the connection ends.
func (c *client) write(conn net.Conn) {
	defer c.running.Done()
	for {
		c.mu.Lock()
		for c.conn == conn && len(c.pending) == 0 {
			c.changed.Wait()
		}
		b := c.pending
		c.pending = nil
		ended := c.conn != conn
		c.mu.Unlock()
		c.changed.Broadcast()
		if ended {
			return
		}
		if _, err := conn.Write(b); err != nil {
			conn.Close()
			return
		}
	}
}

// read handles what comes until the connection ends.
func (c *client) read(conn net.Conn, r *reader) {
	defer c.running.Done()
	var err error
	for err == nil {
		var first byte
		var body []byte
		if first, body, err = r.next(); err == nil {
			err = c.handle(first, body)
			if err != nil {
				c.verdict.violation(protocol, "%s: %v", c.name(), err)
			}
		}
	}
	conn.Close()
	c.mu.Lock()
	c.conn, c.pending = nil, nil
	for id, answer := range c.answers {
		close(answer)
		delete(c.answers, id)
	}
	abandon := c.abandon
	c.mu.Unlock()
	c.changed.Broadcast()
	if !abandon {
		c.verdict.connectionEnded(c.name(), err)
	}
}

// handle takes a packet; an error is a violation of the standard.
func (c *client) handle(first byte, body []byte) error {
	v := c.connect.Version
	switch t := packet.TypeOf(first); t {
	case packet.PUBLISH:
		var m packet.Publish
		if err := m.Decode(v, first, body); err != nil {
			return err
		}
		return c.take(&m)
	case packet.PUBACK, packet.PUBREC, packet.PUBREL, packet.PUBCOMP:
		var a packet.Ack
		if err := a.Decode(v, first, body); err != nil {
			return err
		}
		return c.advance(t, a)
	case packet.SUBACK:
		var a packet.Suback
		if err := a.Decode(v, first, body); err != nil {
			return err
		}
		return c.answer(a.ID, a.Codes)
	case packet.UNSUBACK:
		var a packet.Unsuback
		if err := a.Decode(v, first, body); err != nil {
			return err
		}
		return c.answer(a.ID, append([]packet.ReasonCode{}, a.Codes...))
	case packet.DISCONNECT:
		var d packet.Disconnect
		if err := d.Decode(v, first, body); err != nil {
			return err
		}
		return fmt.Errorf("DISCONNECT %v", d.Code)
	default:
		return fmt.Errorf("unexpected %v", t)
	}
}

func (c *client) answer(id packet.ID, codes []packet.ReasonCode) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	answer := c.answers[id]
	if answer == nil {
		return fmt.Errorf("answer to %d, which is not under way", id)
	}
	delete(c.answers, id)
	answer <- codes
	return nil
}

// take takes a message and acknowledges it.
func (c *client) take(m *packet.Publish) error {
	fresh := true
	if m.QoS == 2 {
		sum := sha256.Sum256(append(append([]byte{}, m.Topic...), m.Payload...))
		c.mu.Lock()
		before, known := c.incoming[m.ID]
		c.incoming[m.ID] = sum
		c.mu.Unlock()
		if known && before != sum {
			return fmt.Errorf("PUBLISH %d with another message before PUBREL", m.ID)
		}
		if known && !m.Dup {
			return fmt.Errorf("PUBLISH %d again without DUP", m.ID)
		}
		fresh = !known
	}
	if fresh {
		c.handler.received(m)
	}
	switch m.QoS {
	case 1:
		c.send(packet.PUBACK, m.ID)
	case 2:
		c.send(packet.PUBREC, m.ID)
	}
	return nil
}

func (c *client) send(t packet.Type, id packet.ID) {
	c.mu.Lock()
	c.pending = c.append(c.pending, t, id)
	c.mu.Unlock()
	c.changed.Broadcast()
}

// advance moves an exchange on.
func (c *client) advance(t packet.Type, a packet.Ack) error {
	c.mu.Lock()
	if t == packet.PUBREL {
		delete(c.incoming, a.ID)
		c.pending = c.append(c.pending, packet.PUBCOMP, a.ID)
		c.mu.Unlock()
		c.changed.Broadcast()
		return nil
	}
	i := c.find(a.ID)
	if i < 0 {
		c.mu.Unlock()
		return fmt.Errorf("%v %d, which is not under way", t, a.ID)
	}
	o := c.flying[i]
	if (t == packet.PUBACK) != (o.flow.qos == 1) || t == packet.PUBCOMP && !o.released {
		c.mu.Unlock()
		return fmt.Errorf("%v %d out of place", t, a.ID)
	}
	if t == packet.PUBREC && !a.Code.Failed() {
		o.released = true
		c.pending = c.append(c.pending, packet.PUBREL, a.ID)
		c.mu.Unlock()
		c.changed.Broadcast()
		return nil
	}
	c.mu.Unlock()
	c.handler.acknowledged(o, a.Code)
	c.mu.Lock()
	c.flying = append(c.flying[:i:i], c.flying[i+1:]...) // only this goroutine removes
	c.mu.Unlock()
	c.changed.Broadcast()
	return nil
}

// reader finds packets in a stream.
type reader struct {
	conn net.Conn
	in   []byte
	last int // bytes of in that next has handed out
	b    [32 << 10]byte
}

// next returns the next packet; the body is borrowed until the call after.
func (r *reader) next() (first byte, body []byte, err error) {
	r.in = r.in[r.last:]
	r.last = 0
	for {
		first, body, size, err := packet.Split(r.in, packet.MaxSize)
		if err != nil {
			return 0, nil, err
		}
		if size > 0 {
			r.last = size
			return first, body, nil
		}
		n, err := r.conn.Read(r.b[:])
		if n == 0 && err != nil {
			return 0, nil, err
		}
		r.in = append(append(make([]byte, 0, len(r.in)+n), r.in...), r.b[:n]...)
	}
}
