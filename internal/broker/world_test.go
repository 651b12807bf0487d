package broker

import (
	"context"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"midge/internal/bufpool"
	"midge/internal/engine"
	"midge/internal/message"
	"midge/internal/packet"
	"midge/internal/settings"
	"midge/internal/topic"
)

// world runs the shards of a broker on the goroutine of the test, with a clock
// that only the test moves. It implements engine.Runner.
type world struct {
	t     testing.TB
	b     *Broker
	now   time.Duration
	posts chan func()
	conns []*peer
	sips  map[int]bool // shards of which little is read at once

	exhausts []exhaust
	buffers  bufpool.Pool      // for input
	lent     []*bufpool.Buffer // of those, all that were used, retained
	lends    bool              // lent is kept
}

// setup is what the broker of a test is made from.
type setup struct {
	Config
	settings.Core
}

// quietly is the setup of a broker with so many shards and the default settings,
// but without topics under $SYS.
func quietly(shards int, change ...func(*setup)) setup {
	c := setup{Config{Shards: shards, Refusing: settings.MaxRefusing, Version: "midge"}, settings.Default().Core}
	c.Sys.Interval = 0
	for _, f := range change {
		f(&c)
	}
	return c
}

func newWorld(t testing.TB, cfg setup) *world {
	t.Helper()
	w := &world{t: t, b: New(cfg.Config, cfg.Core), posts: make(chan func(), 1024), sips: map[int]bool{}}
	w.b.Start(w)
	return w
}

func (w *world) Run(context.Context) error   { return nil }
func (w *world) Wake(int)                    {}
func (w *world) Throttle(shard int, on bool) { w.sips[shard] = on }
func (w *world) Now() time.Duration          { return w.now }
func (w *world) Post(_ int, f func())        { w.posts <- f }

// turn gives every shard turns until what they have for each other is done,
// and writes the output of all peers that read.
func (w *world) turn() {
	for range 8 {
		for range len(w.posts) {
			(<-w.posts)()
			w.move()
		}
		for _, s := range w.b.shards {
			s.Turn(w.now)
		}
		for _, p := range w.conns {
			p.write()
		}
		w.settle()
	}
}

// move moves the connections that a call that was posted gave to other shards.
func (w *world) move() {
	for _, p := range w.conns {
		p.move()
	}
}

// until runs what is posted until another goroutine is done.
func (w *world) until(done <-chan error) {
	w.t.Helper()
	for {
		select {
		case f := <-w.posts:
			f()
		case err := <-done:
			if err != nil {
				w.t.Fatal(err)
			}
			w.turn()
			return
		}
	}
}

// settle offers unused bytes again, and reports ends.
func (w *world) settle() {
	for _, p := range w.conns {
		if p.closed && !p.told {
			p.told = true
			w.b.shards[p.shard].Closed(p, nil)
		}
		if (p.resumed || len(p.in) > p.kept) && !p.paused && !p.closed {
			p.offer()
		}
	}
	w.exhausted()
}

// exhausted calls those who wait until all input of a connection is used.
func (w *world) exhausted() {
	list := w.exhausts
	w.exhausts = nil
	for _, x := range list {
		if x.of.paused && !x.of.told {
			w.exhausts = append(w.exhausts, x)
		} else {
			x.then()
		}
	}
}

// exhaust is a call of peer.Exhaust.
type exhaust struct {
	of   *peer
	then func()
}

func (w *world) pass(d time.Duration) {
	for end := w.now + d; w.now < end; {
		w.now += min(tick*10, end-w.now)
		w.turn()
	}
}

// peer is a network connection, seen from both ends. It implements engine.Conn.
type peer struct {
	w       *world
	version packet.Version
	shard   int
	by      int  // listener
	hidden  bool // a proxy has not told its address yet
	state   any
	in      []byte // not used by the shard
	kept    int    // of these, bytes that the engine has read
	room    int    // what the shard expects at most of them; 0: it has not said
	pending []byte
	out     []byte         // what the client has received
	remote  netip.AddrPort // the zero value: the usual one
	deaf    bool           // the client does not read
	rate    int            // bytes a second that it reads; 0: as fast as they come
	read    time.Duration  // until when it has read at that rate
	sip     int            // or at most so many bytes in a turn, if not 0
	taken   uint64         // bytes that it has read
	holds   bool           // what is sent is held until the turn has ended
	held    int            // bytes of pending that are
	blocked bool
	paused  bool
	resumed bool // what is kept is to be offered again
	closed  bool
	told    bool
	moveTo  int
	sent    int // packets that Send was called with
	discard bool
	input   *bufpool.Buffer // of the call of Data that is on
}

func (p *peer) Send(head, body []byte) {
	if p.closed {
		return
	}
	p.sent++
	if p.discard {
		return
	}
	p.pending = append(append(p.pending, head...), body...)
	if p.holds {
		p.held += len(head) + len(body)
	}
}
func (p *peer) Pending() int                                    { return len(p.pending) }
func (p *peer) SendShared(head, body []byte, _ *bufpool.Buffer) { p.Send(head, body) }
func (p *peer) Acked() uint64                                   { return p.taken }
func (p *peer) Pause()                                          { p.paused = true }
func (p *peer) Resume()                                         { p.paused, p.resumed = false, true }
func (p *peer) Close()                                          { p.closed = true }
func (p *peer) Abort()                                          { p.pending, p.held, p.closed = nil, 0, true }
func (p *peer) Move(shard int)                                  { p.moveTo = shard }
func (p *peer) InputBuffer() *bufpool.Buffer                    { return p.input }
func (p *peer) Expect(n int)                                    { p.room = n }
func (p *peer) Exhaust(then func()) {
	p.w.exhausts = append(p.w.exhausts, exhaust{p, then})
}
func (p *peer) Attach(state any) { p.state = state }
func (p *peer) Attached() any    { return p.state }
func (p *peer) Listener() int    { return p.by }
func (p *peer) Remote() netip.AddrPort {
	if p.hidden {
		return netip.AddrPort{}
	}
	if p.remote.IsValid() {
		return p.remote
	}
	return netip.MustParseAddrPort("127.0.0.1:4711")
}

func (p *peer) Peer() engine.Peer {
	return engine.Peer{Listener: "127.0.0.1:1883", Remote: p.Remote(), Local: netip.MustParseAddrPort("127.0.0.1:1883")}
}

func (p *peer) write() {
	if p.deaf && !p.closed {
		p.blocked = len(p.pending) > 0
		return
	}
	ready := len(p.pending) - p.held
	n := ready
	if p.rate > 0 && !p.closed {
		n = min(n, int((p.w.now-p.read)*time.Duration(p.rate)/time.Second))
		p.read += time.Duration(n) * time.Second / time.Duration(p.rate)
	}
	if p.sip > 0 {
		n = min(n, p.sip)
	}
	if n == ready {
		p.read = p.w.now // credit is not saved
	}
	p.out = append(p.out, p.pending[:n]...)
	p.taken += uint64(n)
	p.pending = p.pending[n:]
	if n < ready && !p.closed {
		p.blocked = true
	}
	if len(p.pending) > 0 {
		return
	}
	p.pending = nil
	if p.blocked && !p.closed {
		p.blocked = false
		p.w.b.shards[p.shard].Drained(p)
	}
}

// data calls Data with bytes that are gone when it has returned, unless their buffer is
// retained.
func (p *peer) data(b []byte) (used int) {
	p.input = p.w.buffers.Get(len(b))
	defer func() { p.input = nil }()
	lent := p.input.Bytes()[:copy(p.input.Bytes(), b)]
	if p.w.lends {
		p.input.Retain()
		p.w.lent = append(p.w.lent, p.input)
		defer func() { p.w.scribble() }()
	}
	used = min(p.w.b.shards[p.shard].Data(p, lent), len(b))
	if !p.input.Shared() {
		for i := range lent {
			lent[i] = 0xee
		}
	}
	p.input.Release()
	return used
}

// scribble changes all input that nobody uses any more, and returns how many buffers are
// still used.
func (w *world) scribble() (used int) {
	for _, b := range w.lent {
		if b.Shared() {
			used++
			continue
		}
		for i := range b.Bytes() {
			b.Bytes()[i] = 0xee
		}
	}
	return used
}

// offer reads what the client has sent and offers it, as an engine does: 64 KiB
// at a time, or as much as is expected.
func (p *peer) offer() {
	p.resumed = false
	for again := true; again && len(p.in) > 0 && !p.paused && !p.closed; {
		most := p.kept + 64<<10
		switch {
		case p.room > p.kept:
			most = p.room
		case p.w.sips[p.shard]:
			most = p.kept + engine.ThrottledBytes
		}
		n := min(len(p.in), most)
		again = n < len(p.in)
		room := p.room
		p.moveTo, p.room = -1, 0
		used := p.data(p.in[:n])
		p.in, p.kept = p.in[used:], n-used
		if used == 0 && p.room == 0 {
			p.room = room
		}
		p.move()
	}
}

// move gives a connection to the shard that Move named.
func (p *peer) move() {
	if p.moveTo < 0 || p.closed {
		return
	}
	p.shard, p.moveTo = p.moveTo, -1
	p.w.b.shards[p.shard].Open(p)
	p.offer()
}

// dial opens a connection on shard 0.
func (w *world) dial(v packet.Version) *peer { return w.dialBy(v, 0) }

// dialBy opens a connection that a listener has accepted.
func (w *world) dialBy(v packet.Version, listener int) *peer {
	return w.dialFrom(v, listener, netip.AddrPort{})
}

// dialFrom opens a connection that comes from an address.
func (w *world) dialFrom(v packet.Version, listener int, remote netip.AddrPort) *peer {
	p := &peer{w: w, version: v, by: listener, remote: remote, moveTo: -1}
	w.conns = append(w.conns, p)
	w.b.shards[0].Open(p)
	return p
}

// bytes sends bytes and lets everything happen that follows from them.
func (p *peer) bytes(b []byte) {
	if p.closed {
		return
	}
	p.in = append(p.in, b...)
	if !p.paused {
		p.offer()
	}
	p.w.turn()
}

// offerOnly hands bytes to the shard and runs nothing else.
func (p *peer) offerOnly(b []byte) {
	p.in = append(p.in, b...)
	if !p.paused {
		p.offer()
	}
}

// hang ends the connection without DISCONNECT.
func (p *peer) hang() { p.closed = true; p.w.turn() }

// clientOn is a client id that lives on a shard.
func clientOn(shard, shards int, prefix string) string {
	for i := 0; ; i++ {
		if id := fmt.Sprint(prefix, i); shardOf([]byte(id), shards) == shard {
			return id
		}
	}
}

// connect connects a client and checks that it may.
func (w *world) connect(v packet.Version, id string, change ...func(*packet.Connect)) *peer {
	w.t.Helper()
	p := w.dial(v)
	c := packet.Connect{Version: v, ClientID: []byte(id), CleanStart: true}
	for _, f := range change {
		f(&c)
	}
	p.bytes(c.Append(nil))
	if got := p.next(packet.CONNACK); got == nil {
		w.t.Fatalf("%s: no CONNACK", id)
	} else if got[1] != 0 {
		w.t.Fatalf("%s: CONNACK with 0x%02x", id, got[1])
	}
	return p
}

// next takes the next packet, of the type wanted, and returns its body; nil if
// there is none.
func (p *peer) next(want packet.Type) []byte {
	p.w.t.Helper()
	first, body, size, err := packet.Split(p.out, packet.MaxSize)
	if err != nil {
		p.w.t.Fatalf("the broker sent nonsense: %v", err)
	}
	if size == 0 {
		return nil
	}
	if packet.TypeOf(first) != want {
		p.w.t.Fatalf("got %v, want %v", packet.TypeOf(first), want)
	}
	p.out = p.out[size:]
	return body
}

// message takes the next PUBLISH and answers it; ok is false if there is none.
func (p *peer) message() (m packet.Publish, ok bool) {
	p.w.t.Helper()
	if m, ok = p.silent(); ok && m.QoS == 1 {
		p.bytes((&packet.Ack{Type: packet.PUBACK, ID: m.ID}).Append(nil, p.version))
	}
	return m, ok
}

// silent is message without an answer.
func (p *peer) silent() (m packet.Publish, ok bool) {
	p.w.t.Helper()
	first, body, size, _ := packet.Split(p.out, packet.MaxSize)
	if size == 0 || packet.TypeOf(first) != packet.PUBLISH {
		return m, false
	}
	if err := m.Decode(p.version, first, append([]byte(nil), body...)); err != nil {
		p.w.t.Fatal(err)
	}
	p.out = p.out[size:]
	return m, true
}

// quiet checks that nothing has come.
func (p *peer) quiet() {
	p.w.t.Helper()
	if len(p.out) > 0 {
		p.w.t.Fatalf("got %x, want nothing", p.out)
	}
}

func (p *peer) subscribe(filter string, qos packet.QoS, change ...func(*packet.Subscription)) packet.ReasonCode {
	p.w.t.Helper()
	s := packet.Subscription{Filter: []byte(filter), QoS: qos}
	for _, f := range change {
		f(&s)
	}
	p.bytes((&packet.Subscribe{ID: 7, Subscriptions: []packet.Subscription{s}}).Append(nil, p.version))
	var ack packet.Suback
	if err := ack.Decode(p.version, 0x90, p.next(packet.SUBACK)); err != nil {
		p.w.t.Fatal(err)
	}
	return ack.Codes[0]
}

func (p *peer) publish(topic, payload string, qos packet.QoS, retain bool) {
	m := packet.Publish{Topic: []byte(topic), Payload: []byte(payload), QoS: qos, Retain: retain}
	if qos > 0 {
		m.ID = 9
	}
	p.bytes(m.Append(nil, p.version))
}

// want takes the next message and checks its payload.
func (p *peer) want(payload string) packet.Publish {
	p.w.t.Helper()
	m, ok := p.message()
	if !ok {
		p.w.t.Fatalf("no message, want %.40q (next bytes %x)", payload, p.out[:min(len(p.out), 16)])
	}
	if string(m.Payload) != payload {
		p.w.t.Fatalf("got %.40q, want %.40q", m.Payload, payload)
	}
	return m
}

var (
	_ engine.Conn   = (*peer)(nil)
	_ engine.Runner = (*world)(nil)
)

// matches returns the retained messages that a filter matches.
func (w *world) matches(filter string) (all []*message.Message) {
	r := w.b.retained
	for c, more := topic.NewCursor(filter), true; more; {
		all, _, more = r.Step(all, c, 1000, r.Newest(), w.now)
	}
	return all
}

// retained returns the retained message of a topic, nil if there is none.
func (w *world) retained(topic string) *message.Message {
	return w.b.retained.Get(topic, w.b.retained.Newest(), w.now)
}
