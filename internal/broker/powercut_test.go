package broker

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"midge/internal/packet"
	"midge/internal/store"
	"midge/internal/store/pebblestore"
)

// TestPowerCuts runs random clients against a broker whose disk loses what was
// not synced, cuts the power at random moments, and starts again: between two
// packets, two turns, a write and its sync. Clients follow the standard over all
// lives of the broker, and the test knows what they were promised.
//
// MIDGE_CUTS changes the number of cuts, MIDGE_SEED runs one seed only.
func TestPowerCuts(t *testing.T) {
	cuts := 10_000
	if text := os.Getenv("MIDGE_CUTS"); text != "" {
		var err error
		if cuts, err = strconv.Atoi(text); err != nil {
			t.Fatal(err)
		}
	}
	if text := os.Getenv("MIDGE_SEED"); text != "" {
		seed, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		newHistory(t, seed).run(cutsEach)
		return
	}
	const workers = 4
	start := uint64(time.Now().UnixNano())
	t.Logf("%d cuts, seeds from %d", cuts, start)
	for w := range workers {
		t.Run(fmt.Sprint("worker", w), func(t *testing.T) {
			t.Parallel()
			for i := w; i < cuts/cutsEach; i += workers {
				newHistory(t, start+uint64(i)).run(cutsEach)
			}
		})
	}
}

// cutsEach is how many lives a broker has in one history.
const cutsEach = 40

// history is a broker over its lives, with its clients.
type history struct {
	t       *testing.T
	seed    uint64
	rand    *rand.Rand
	fs      *vfs.MemFS
	w       *world
	st      *store.Store
	backend *pebblestore.Store
	wall    time.Time // at the start of this life
	step    int       // of all lives
	clients []*actor
	sent    []*sending // all publications
	trace   []string
}

// sending is a publication as the test knows it.
type sending struct {
	n         int
	from      *actor
	topic     string
	qos       packet.QoS
	retain    bool
	expires   time.Time // zero: never
	id        packet.ID
	first     int // step of the first PUBLISH
	acked     bool
	owed      map[*actor]bool
	owedGroup bool
	groupGot  int
	groupGot2 int  // at QoS 2
	maybe     bool // its publisher's session ended: nothing is certain
}

// slack is how long a packet may be on its way, in both directions together.
const slack = 3 * time.Second

// actor is a client that follows the standard.
type actor struct {
	h        *history
	id       string
	v        packet.Version
	p        *peer
	joined   bool // CONNACK has come on p
	promised bool // a session was promised once
	wiping   bool // the session was given up, and the broker may not know
	nextID   packet.ID
	open     []*sending // not acknowledged, in order
	releases []packet.ID

	filter    string // "" for none
	filterQoS packet.QoS
	since     int // step of SUBACK, 0: not yet
	group     bool
	subID     packet.ID
	unsubID   packet.ID

	incoming map[packet.ID]bool // QoS 2 that was received and not released
	got      map[int]int
	got2     map[int]int    // at QoS 2, in this session
	last     map[string]int // publisher, topic and QoS -> first receipt of the latest
	answers  [][]byte
}

func newHistory(t *testing.T, seed uint64) *history {
	h := &history{
		t: t, seed: seed, rand: rand.New(rand.NewPCG(seed, 1)), fs: vfs.NewCrashableMem(),
		wall: time.Unix(1_700_000_000, 0),
	}
	for i := range 5 {
		a := &actor{h: h, id: fmt.Sprint("c", i), v: packet.V5, incoming: map[packet.ID]bool{}, got: map[int]int{}, got2: map[int]int{}, last: map[string]int{}}
		if i == 0 {
			a.v = packet.V311
		}
		a.group = i >= 3
		h.clients = append(h.clients, a)
	}
	return h
}

func (h *history) log(format string, args ...any) {
	h.trace = append(h.trace, fmt.Sprintf("%d ", h.step)+fmt.Sprintf(format, args...))
}

func (h *history) fail(format string, args ...any) {
	h.t.Helper()
	trace := h.trace
	if len(trace) > 3000 {
		trace = trace[len(trace)-3000:]
	}
	text := ""
	for _, line := range trace {
		text += line + "\n"
	}
	h.t.Fatalf("%s\nMIDGE_SEED=%d step %d: %s", text, h.seed, h.step, fmt.Sprintf(format, args...))
}

// Enabled implements slog.Handler: what the broker calls an error is one.
func (h *history) Enabled(_ context.Context, level slog.Level) bool { return level >= slog.LevelError }

// Handle implements slog.Handler.
func (h *history) Handle(_ context.Context, r slog.Record) error {
	text := r.Message
	r.Attrs(func(a slog.Attr) bool {
		text += " " + a.String()
		return true
	})
	h.fail("the broker says: %s", text)
	return nil
}

// WithAttrs implements slog.Handler.
func (h *history) WithAttrs([]slog.Attr) slog.Handler { return h }

// WithGroup implements slog.Handler.
func (h *history) WithGroup(string) slog.Handler { return h }

// begin starts the broker on what the disk has.
func (h *history) begin() {
	backend, _, err := pebblestore.Open("data", pebblestore.Options{FS: h.fs, MemTableBytes: 256 << 10})
	if err != nil {
		h.fail("open: %v", err)
	}
	h.backend = backend
	shards := 1 + h.rand.IntN(4)
	var core *Broker
	h.st = store.New(backend, store.Config{
		Shards: shards, Clock: store.NewClock(h.wall, 0),
		Released: func(shard int, turns uint64) { core.Released(shard, turns) },
	})
	cfg := Config{Shards: shards, Store: h.st, Sys: -1, Logger: slog.New(h)}
	cfg.Session.Inflight = 1 + h.rand.IntN(4)
	w := &world{t: h.t, b: New(cfg), posts: make(chan func(), 1024)}
	core = w.b
	damaged, err := w.b.Load(0)
	if err != nil || len(damaged) > 0 {
		h.fail("load: %v, damaged %v", err, damaged)
	}
	w.b.Start(w)
	h.w = w
	h.log("life with %d shards", shards)
}

// cut ends the life: what was not synced is lost at random.
func (h *history) cut() {
	h.log("CUT")
	// Pebble works in the background: how often this rolls the dice is not for the seed to say.
	luck := rand.New(rand.NewPCG(h.rand.Uint64(), 2))
	clone := h.fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: h.rand.IntN(101), RNG: luck})
	if err := h.backend.Close(); err != nil {
		h.fail("close: %v", err)
	}
	h.fs = clone
	h.wall = h.wall.Add(h.w.now + time.Duration(h.rand.IntN(3))*time.Second)
	for _, a := range h.clients {
		if a.p != nil && h.rand.IntN(2) == 0 {
			a.read() // was in the kernel already
		}
		a.lose()
	}
}

func (h *history) run(cuts int) {
	h.begin()
	for range cuts {
		for range 20 + h.rand.IntN(80) {
			h.step++
			h.act()
		}
		h.cut()
		h.begin()
	}
	h.drain()
	if err := h.backend.Close(); err != nil {
		h.fail("close: %v", err)
	}
}

// act does one small thing.
func (h *history) act() {
	switch h.rand.IntN(12) {
	case 0, 1, 2:
		h.w.b.shards[h.rand.IntN(len(h.w.b.shards))].Turn(h.w.now)
	case 3:
		h.st.Step()
	case 4:
		h.st.StepReads()
		h.post()
	case 5, 6:
		for _, a := range h.clients {
			a.network()
		}
	case 7:
		h.w.now += time.Duration(h.rand.IntN(300)) * time.Millisecond
	default:
		h.clients[h.rand.IntN(len(h.clients))].act()
	}
}

func (h *history) post() {
	for len(h.w.posts) > 0 {
		(<-h.w.posts)()
	}
}

// drain lets everything come to an end, and compares.
func (h *history) drain() {
	h.log("drain")
	for range 3 {
		for _, a := range h.clients {
			if a.p == nil {
				a.connect(false)
			}
		}
		// Windows are small: it takes as many rounds as something still moves.
		for quiet, rounds := 0, 0; quiet < 10; quiet, rounds = quiet+1, rounds+1 {
			if rounds > 10_000 {
				h.fail("no end of packets")
			}
			h.step++
			before := len(h.trace)
			for _, s := range h.w.b.shards {
				s.Turn(h.w.now)
			}
			h.st.Step()
			h.st.StepReads()
			h.post()
			for _, a := range h.clients {
				a.network()
				a.answer(len(a.answers))
			}
			if len(h.trace) != before {
				quiet = 0
			}
		}
		h.w.now += time.Second
	}
	for _, s := range h.sent {
		for a := range s.owed {
			if a.got[s.n] == 0 && s.expires.IsZero() {
				h.fail("LOST: message %d (QoS %d, %s, from %s, sent at %d) was acknowledged and never came to %s", s.n, s.qos, s.topic, s.from.id, s.first, a.id)
			}
		}
		if s.owedGroup && s.groupGot == 0 && s.expires.IsZero() {
			h.fail("LOST: message %d (QoS %d, %s, from %s) was acknowledged and came to no member of the group", s.n, s.qos, s.topic, s.from.id)
		}
	}
	h.checkRetained()
	for _, s := range h.w.b.shards {
		if len(s.books.left) > 0 || len(s.books.promises) > 0 {
			h.fail("shard %d: %d messages with receivers, %d promises are left", s.index, len(s.books.left), len(s.books.promises))
		}
	}
	// Only what is retained and the sessions may be left on disk.
	h.w.b.shards[0].disk().Urgent = true
	h.w.b.shards[0].submit()
	h.st.Step()
	for _, kind := range "imrux" {
		err := h.backend.Scan([]byte{byte(kind)}, []byte{byte(kind) + 1}, func(key, _ []byte) error {
			return fmt.Errorf("record %q is left", key)
		})
		if err != nil {
			h.fail("%v", err)
		}
	}
}

// checkRetained proves that the retained message of each topic is the last
// that was acknowledged, or one that was sent later.
func (h *history) checkRetained() {
	last := map[string]*sending{}
	for _, s := range h.sent {
		if s.retain && s.acked && (last[s.topic] == nil || s.n > last[s.topic].n) {
			last[s.topic] = s
		}
	}
	for topic, s := range last {
		m, ok := h.w.b.retained.messages.Get([]byte(topic))
		if !ok {
			h.fail("LOST: retained message %d of %s", s.n, topic)
		}
		if n, _ := strconv.Atoi(string(m.Payload)); n < s.n {
			h.fail("retained message of %s is %d, %d was acknowledged", topic, n, s.n)
		}
	}
}

// act does one thing that a client may do.
func (a *actor) act() {
	r := a.h.rand
	if a.p == nil {
		a.connect(!a.group && r.IntN(20) == 0)
		return
	}
	switch n := r.IntN(20); {
	case n == 0:
		a.h.log("%s hangs up", a.id)
		a.p.closed = true
		a.network()
	case n == 1 && a.joined:
		a.h.log("%s disconnects", a.id)
		a.send((&packet.Disconnect{}).Append(nil, a.v))
		a.network()
	case n < 8 && a.joined:
		a.publish()
	case n < 11 && a.joined:
		a.subscribe()
	default:
		a.answer(1 + r.IntN(3))
	}
}

func (a *actor) send(b []byte) {
	if a.p != nil && !a.p.closed {
		a.p.in = append(a.p.in, b...)
	}
}

// network moves bytes both ways.
func (a *actor) network() {
	p := a.p
	if p == nil {
		return
	}
	if p.closed {
		if !p.told {
			p.told = true
			p.write()
			a.read()
			a.h.w.b.shards[p.shard].Closed(p, nil)
		}
		a.lose()
		return
	}
	if len(p.in) > 0 && !p.paused {
		p.offer()
	}
	p.write()
	a.read()
}

// lose ends the connection on the client's side.
func (a *actor) lose() {
	a.p, a.joined, a.answers = nil, false, nil
	a.subID, a.unsubID = 0, 0
}

func (a *actor) connect(clean bool) {
	h := a.h
	a.p = &peer{w: h.w, version: a.v, moveTo: -1, shard: h.rand.IntN(len(h.w.b.shards))}
	h.w.b.shards[a.p.shard].Open(a.p)
	c := packet.Connect{Version: a.v, ClientID: []byte(a.id)}
	if a.v == packet.V5 {
		c.Properties.SessionExpiry = 0xFFFFFFFF
		if h.rand.IntN(2) == 0 {
			c.Properties.SessionExpiry = 1_000_000
		}
		c.Properties.Set(packet.PropSessionExpiry)
	} else {
		clean = false // 3.1.1 would end the session with the connection
	}
	if clean {
		a.wiping, a.promised = true, false
		a.forget()
	}
	c.CleanStart = a.wiping
	h.log("%s connects, clean %v", a.id, clean)
	a.send(c.Append(nil))
	a.network()
}

// forget gives up the session.
func (a *actor) forget() {
	for _, s := range a.h.sent {
		delete(s.owed, a)
		if s.from == a && !s.acked {
			s.maybe = true
		}
	}
	a.open, a.releases, a.filter, a.since = nil, nil, "", 0
	clear(a.incoming)
	clear(a.got2)
}

func (a *actor) takeID() packet.ID {
	for {
		a.nextID = a.nextID%50 + 1
		used := a.nextID == a.subID || a.nextID == a.unsubID
		for _, s := range a.open {
			used = used || s.id == a.nextID
		}
		for _, id := range a.releases {
			used = used || id == a.nextID
		}
		if !used {
			return a.nextID
		}
	}
}

func (a *actor) publish() {
	h := a.h
	if len(a.open) >= 4 {
		return
	}
	s := &sending{
		n: len(h.sent) + 1, from: a, qos: packet.QoS(h.rand.IntN(3)), topic: fmt.Sprint("t/", h.rand.IntN(3)),
		first: h.step, owed: map[*actor]bool{},
	}
	if h.rand.IntN(5) == 0 && !slices.ContainsFunc(a.open, func(s *sending) bool { return s.retain }) {
		s.topic, s.retain = "r/"+a.id, true
		s.qos = packet.QoS(1 + h.rand.IntN(2))
	} else if a.v == packet.V5 && h.rand.IntN(6) == 0 {
		s.expires = h.wall.Add(h.w.now + 3*time.Second)
	}
	h.sent = append(h.sent, s)
	if s.qos > 0 {
		s.id = a.takeID()
		a.open = append(a.open, s)
	}
	h.log("%s publishes %d QoS %d to %s as %d", a.id, s.n, s.qos, s.topic, s.id)
	a.sendPublish(s, false)
}

func (a *actor) sendPublish(s *sending, dup bool) {
	p := packet.Publish{Dup: dup, QoS: s.qos, Retain: s.retain, ID: s.id, Topic: []byte(s.topic), Payload: []byte(strconv.Itoa(s.n))}
	if !s.expires.IsZero() {
		s.expires = a.h.wall.Add(a.h.w.now + 3*time.Second)
		p.Properties.HasExpiry, p.Properties.MessageExpiry = true, 3
	}
	a.send(p.Append(nil, a.v))
}

// subscribe changes what the client listens to.
func (a *actor) subscribe() {
	h := a.h
	if a.subID != 0 || a.unsubID != 0 {
		return
	}
	if a.filter != "" && (a.group || a.since == 0 || h.rand.IntN(3) > 0) {
		if a.since == 0 { // SUBACK got lost
			a.sendSubscribe()
		}
		return
	}
	if a.filter != "" {
		for _, s := range h.sent {
			delete(s.owed, a)
		}
		a.unsubID = a.takeID()
		h.log("%s unsubscribes %s", a.id, a.filter)
		a.send((&packet.Unsubscribe{ID: a.unsubID, Filters: [][]byte{[]byte(a.filter)}}).Append(nil, a.v))
		a.filter, a.since = "", 0
		return
	}
	a.filter = [...]string{"t/0", "t/1", "t/+", "t/#"}[h.rand.IntN(4)]
	if a.group {
		a.filter = "$share/g/t/+"
	}
	a.filterQoS = packet.QoS(h.rand.IntN(3))
	if a.group {
		a.filterQoS = packet.QoS(1 + h.rand.IntN(2))
	}
	a.sendSubscribe()
}

func (a *actor) sendSubscribe() {
	a.subID = a.takeID()
	a.h.log("%s subscribes to %s QoS %d", a.id, a.filter, a.filterQoS)
	s := packet.Subscribe{ID: a.subID, Subscriptions: []packet.Subscription{{Filter: []byte(a.filter), QoS: a.filterQoS}}}
	if a.v == packet.V5 && a.h.rand.IntN(3) == 0 {
		s.Properties.SubscriptionIDs = []uint32{7}
		s.Properties.Set(packet.PropSubscriptionID)
	}
	a.send(s.Append(nil, a.v))
}

// answer sends some of the acknowledgements that are due.
func (a *actor) answer(n int) {
	for ; n > 0 && len(a.answers) > 0; n-- {
		a.send(a.answers[0])
		a.answers = a.answers[1:]
	}
}

// read takes what the broker has sent.
func (a *actor) read() {
	p := a.p
	for len(p.out) > 0 {
		first, body, size, err := packet.Split(p.out, packet.MaxSize)
		if err != nil || size == 0 {
			a.h.fail("%s got % x", a.id, p.out)
		}
		a.packet(first, append([]byte(nil), body...))
		p.out = p.out[size:]
	}
}

func (a *actor) packet(first byte, body []byte) {
	h := a.h
	must := func(err error) {
		if err != nil {
			h.fail("%s: %v", a.id, err)
		}
	}
	switch t := packet.TypeOf(first); t {
	case packet.CONNACK:
		var c packet.Connack
		must(c.Decode(a.v, first, body))
		a.welcome(&c)
	case packet.PUBLISH:
		var m packet.Publish
		must(m.Decode(a.v, first, body))
		if !a.joined {
			h.fail("%s: PUBLISH before CONNACK", a.id)
		}
		a.receive(&m)
	case packet.PUBACK, packet.PUBREC, packet.PUBREL, packet.PUBCOMP:
		var k packet.Ack
		must(k.Decode(a.v, first, body))
		a.ack(&k)
	case packet.SUBACK:
		h.log("%s: SUBACK", a.id)
		a.since, a.subID = h.step, 0
	case packet.UNSUBACK:
		h.log("%s: UNSUBACK", a.id)
		a.unsubID = 0
	case packet.DISCONNECT:
		var d packet.Disconnect
		must(d.Decode(a.v, first, body))
		h.fail("%s: DISCONNECT %v", a.id, d.Code)
	}
}

// welcome is CONNACK: what is not acknowledged is sent again.
func (a *actor) welcome(c *packet.Connack) {
	h := a.h
	if c.Code != 0 {
		h.fail("%s: CONNACK %v", a.id, c.Code)
	}
	if a.promised && !c.SessionPresent {
		h.fail("LOST: the session of %s", a.id)
	}
	if !c.SessionPresent {
		a.forget()
	}
	a.joined, a.promised, a.wiping = true, true, false
	h.log("%s: CONNACK, present %v", a.id, c.SessionPresent)
	for _, id := range a.releases {
		a.send((&packet.Ack{Type: packet.PUBREL, ID: id}).Append(nil, a.v))
	}
	for _, s := range a.open {
		a.sendPublish(s, true)
	}
}

func (a *actor) ack(k *packet.Ack) {
	h := a.h
	h.log("%s: %v %d %v", a.id, k.Type, k.ID, k.Code)
	switch k.Type {
	case packet.PUBREL:
		delete(a.incoming, k.ID)
		a.answers = append(a.answers, (&packet.Ack{Type: packet.PUBCOMP, ID: k.ID}).Append(nil, a.v))
		return
	case packet.PUBCOMP:
		for i, id := range a.releases {
			if id == k.ID {
				a.releases = append(a.releases[:i], a.releases[i+1:]...)
				break
			}
		}
		return
	}
	for i, s := range a.open {
		if s.id != k.ID {
			continue
		}
		if k.Code.Failed() {
			h.fail("%s: message %d refused: %v", a.id, s.n, k.Code)
		}
		a.open = append(a.open[:i], a.open[i+1:]...)
		a.acknowledged(s)
		if k.Type == packet.PUBREC {
			a.releases = append(a.releases, k.ID)
		}
		break
	}
	if k.Type == packet.PUBREC {
		a.answers = append(a.answers, (&packet.Ack{Type: packet.PUBREL, ID: k.ID}).Append(nil, a.v))
	}
}

// acknowledged makes the broker owe a message to those who had subscribed
// before it was sent.
func (a *actor) acknowledged(s *sending) {
	s.acked = true
	for _, to := range a.h.clients {
		if to.since == 0 || to.since >= s.first || s.retain || to.filterQoS == 0 {
			continue
		}
		switch {
		case to.group:
			s.owedGroup = true
		case to.filter == s.topic, to.filter == "t/+", to.filter == "t/#":
			s.owed[to] = true
		}
	}
}

func (a *actor) receive(m *packet.Publish) {
	h := a.h
	n, _ := strconv.Atoi(string(m.Payload))
	s := h.sent[n-1]
	h.log("%s: PUBLISH %d QoS %d as %d dup %v", a.id, n, m.QoS, m.ID, m.Dup)
	if !s.expires.IsZero() && !m.Dup && h.wall.Add(h.w.now).After(s.expires.Add(slack)) {
		h.fail("%s got message %d, which ended %v ago", a.id, n, h.wall.Add(h.w.now).Sub(s.expires))
	}
	switch m.QoS {
	case 1:
		a.answers = append(a.answers, (&packet.Ack{Type: packet.PUBACK, ID: m.ID}).Append(nil, a.v))
	case 2:
		a.answers = append(a.answers, (&packet.Ack{Type: packet.PUBREC, ID: m.ID}).Append(nil, a.v))
		if a.incoming[m.ID] {
			return
		}
		a.incoming[m.ID] = true
	}
	a.got[n]++
	if a.group {
		s.groupGot++
		if m.QoS == 2 {
			s.groupGot2++
		}
	}
	if m.QoS == 2 {
		a.got2[n]++
	}
	if m.QoS == 2 && !s.maybe && (a.got2[n] > 1 || s.groupGot2 > 1) {
		h.fail("TWICE: QoS 2 message %d came to %s again", n, a.id)
	}
	// A copy that ended on disk may leave the order to one that was sent again.
	if key := fmt.Sprint(s.from.id, " ", s.topic, " ", s.qos, " ", m.QoS); m.QoS > 0 && a.got[n] == 1 && !a.group && !m.Retain && a.since > 0 && s.first > a.since && s.expires.IsZero() {
		if a.last[key] > n {
			h.fail("ORDER: %s got message %d after %d", a.id, n, a.last[key])
		}
		a.last[key] = n
	}
}
