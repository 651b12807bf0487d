package broker

import (
	"fmt"
	"slices"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"midge/test/wire"
)

// In some histories something runs short for a while, and then there is enough
// again: room on the disk, descriptors or memory of the system (lack), the memory
// that limits.memory allows (budget), or connections (Limits.Connections). The
// broker may refuse then what it can't do, in the words of the client's version,
// and counts that. What it has acknowledged it owes as ever, and who asks for
// nothing that is short gets all that he is owed.

// lack is what the system is short of.
type lack struct {
	of      *diskFault // nil: nothing
	commits bool       // the store commits all the same: only what it does in the background waits
	since   int        // step at which it began
	until   int        // step at which it ends
	ended   int        // step at which the last one did
}

// shortages are those faults of a disk that pass.
var shortages = slices.DeleteFunc(slices.Clone(diskFaults), func(f diskFault) bool { return !f.passes() })

// files tells that nothing can be opened: no connection is accepted, and nothing
// read.
func (l *lack) files() bool { return l.of != nil && l.of.kind(errorfs.Op{Kind: errorfs.OpOpen}) }

// stalled tells that nothing gets on disk.
func (h *history) stalled() bool { return h.st != nil && h.lack.of != nil && !h.lack.commits }

// behindDisk tells that messages for sessions on disk may have to wait.
func (h *history) behindDisk() bool { return h.stalled() || h.st != nil && h.lack.files() }

// undone tells that nothing of what was asked for at a step can be on disk.
func (h *history) undone(since int) bool { return h.stalled() && since > h.lack.since }

// lacked tells whether the store told of trouble at any time since a step.
func (h *history) lacked(since int) bool {
	return h.st != nil && (h.lack.of != nil || h.lack.ended >= since && h.lack.ended > 0)
}

// runShort begins and ends shortages.
func (h *history) runShort() {
	r := h.rand
	switch {
	case !h.kind.lacks:
	case h.lack.of == nil && r.IntN(80) == 0:
		h.beginLack()
	case h.lack.of != nil && h.step >= h.lack.until:
		h.endLack()
	}
	b := &h.budget
	if b.most == 0 {
		return
	}
	if h.step >= b.until {
		b.other, b.until = 0, h.step+20+r.IntN(150)
		if r.IntN(2) == 0 {
			b.other = b.most * int64(75+r.IntN(30)) / 100
		}
		h.log("%d bytes of %d are used by others", b.other, b.most)
	}
	asked := false
	select {
	case <-h.w.b.MemoryAsked():
		asked = r.IntN(2) == 0 // a busy machine may measure late
	default:
	}
	if asked || r.IntN(12) == 0 {
		h.measure()
	}
}

func (h *history) beginLack() {
	r := h.rand
	h.lack = lack{
		of: &shortages[r.IntN(len(shortages))], commits: r.IntN(3) == 0, since: h.step, until: h.step + 10 + r.IntN(150), ended: h.lack.ended,
	}
	h.log("%s, commits %v", h.lack.of.name, h.lack.commits)
	if h.st != nil {
		h.st.Report(h.lack.of.err)
		h.w.b.StoreChanged()
	}
}

func (h *history) endLack() {
	first := h.rand.IntN(2) == 0
	h.log("enough again")
	h.lack.of, h.lack.ended = nil, h.step
	if h.st == nil {
		return
	}
	if first { // what has waited may be on disk before the store tells
		h.commit()
	}
	h.st.Report(nil)
	h.w.b.StoreChanged()
}

// enough ends all shortages.
func (h *history) enough() {
	if h.lack.of != nil {
		h.endLack()
	}
	if h.budget.most > 0 {
		h.budget.other = 0
		h.measure()
		h.post()
	}
}

// budget is the memory that the broker may use. Who measures it is the test, and
// goes by what it can weigh exactly (held), and by what others of the process use.
type budget struct {
	most     int64 // bytes, 0: as much as it likes
	other    int64 // bytes
	until    int   // step at which that changes
	pressure Pressure
	short    int           // last step at which it was short, in this life or before, 0: never
	shortUp  time.Duration // when that was, as up says
}

// held is what the broker keeps in memory for clients, in bytes.
func (h *history) held() (n int64) {
	for _, l := range h.lines {
		if !l.told { // else the engine has given back what it had read
			n += int64(len(l.pending) + l.kept) // the rest of what was sent is the kernel's, and bounded by TCP
		}
	}
	for _, s := range h.w.b.shards {
		n += s.inbox.bytes.Load()
		for cl := range s.clients.All {
			n += cl.session.ContentBytes()
		}
		for _, q := range s.queues.byGroup {
			n += q.client.session.ContentBytes()
			for _, t := range q.ahead {
				n += int64(t.Stored.Size)
			}
		}
	}
	_, bytes, _ := h.w.b.retained.Count()
	return n + int64(bytes)
}

// measure tells the broker how much is used, as package app does.
func (h *history) measure() {
	b := &h.budget
	used := h.held() + b.other
	before := b.pressure
	b.pressure = NoPressure
	for p, percent := range map[Pressure]int64{RefuseConnects: 80, SlowPublishers: 90, CloseReaders: 100} {
		if used >= b.most/100*percent {
			b.pressure = max(b.pressure, p)
		}
	}
	h.tight(h.step)
	if b.pressure != before {
		h.log("%d bytes are held, pressure %d", used-b.other, b.pressure)
	}
	h.w.b.SetPressure(b.pressure, Memory{Used: used, Budget: b.most, Slow: b.most/100*90 - used, Full: b.most - used})
	if b.pressure == CloseReaders {
		h.w.b.Shed(used - b.most/100*90)
	}
}

// tight tells whether memory was short at any time since a step.
func (h *history) tight(since int) bool {
	b := &h.budget
	if b.most == 0 {
		return false
	}
	shut := slices.ContainsFunc(h.w.b.shards, func(s *shard) bool { return s.budget.shut || s.budget.pressure > NoPressure })
	if shut || b.pressure > NoPressure || h.w.b.memory.short.Load() {
		b.short, b.shortUp = h.step, h.up()
	}
	return b.short > 0 && b.short >= since
}

// mostHeld is how much may be held: the budget; what each shard draws in advance
// and a packet that was on; and what a client may have that counts as one which
// keeps up, in its connection and in its session.
func (h *history) mostHeld() int64 {
	return h.budget.most + int64(len(h.w.b.shards))*(drawBytes+trickle+2*int64(h.largest)) + int64(len(h.clients))*(int64(h.largest)+pendingUnderPressure)
}

// boundMemory proves that the broker keeps to its budget.
func (h *history) boundMemory() {
	if h.budget.most == 0 {
		return
	}
	h.tight(h.step)
	if held := h.held(); held > h.mostHeld() {
		h.fail("MEMORY: %d bytes are held, the budget is %d", held, h.budget.most)
	}
}

// markBehind takes note of who may be closed to get memory back, and when one was.
func (h *history) markBehind() {
	for _, l := range h.lines {
		l.behind = l.behind || l.holds() > pendingUnderPressure
		if !l.closed {
			l.open = h.now()
		}
	}
}

// holds is how many bytes the end of a connection gives back: what is pending, and
// what its session has in memory, unless that outlives it there.
func (l *simLine) holds() int {
	n := len(l.pending)
	if c, ok := l.state.(*conn); ok && c.client != nil && (c.client.stored() || c.client.expiry == 0) {
		n += int(c.client.session.ContentBytes())
	}
	return n
}

// counts are what the broker has counted in all lives.
type counts struct {
	dropped, refused, closed, unretained uint64
}

func (h *history) counts() counts {
	n := h.earlier
	for _, s := range h.w.b.shards {
		c := &s.count
		n.dropped += c.DroppedSlow + c.DroppedQueue + c.DroppedSize + c.DroppedMailbox + c.DroppedDamaged + c.DroppedMemory
		n.refused += c.RefusedStore + c.RefusedRetained + c.RefusedMemory + c.RefusedConnections
		n.closed += c.ClosedMemory + c.ClosedArrivals
		n.unretained += c.RefusedRetained
	}
	return n
}

// refusal takes note of something that was refused, and proves that it is counted.
func (h *history) refusal(of string) {
	h.log("REFUSED: %s", of)
	if h.refusals++; h.refusals > h.counts().refused {
		h.fail("NOT COUNTED: %s was refused", of)
	}
}

// quota is the word of the client's version for what there is not enough of now.
func (a *actor) quota(before5 byte) byte {
	if a.v == wire.V5 {
		return 0x97
	}
	return before5
}

// asks are the steps at which a client has asked for what the disk must have
// before it is answered.
type asks struct {
	connect, subscribe, unsubscribe int
	rec, rel                        map[uint16]int // PUBREC, PUBREL by packet identifier
	resumes                         bool           // CONNECT goes on with what is on disk, see mayResume
}

// comeback is what is known of how a client came back to its session.
type comeback struct {
	life   int           // in which it had CONNACK last
	expiry uint32        // Session Expiry Interval in force since
	stale  bool          // the disk may not know of it, see docs/durability.md, and goes by:
	over   time.Duration // history.now when the session ends, 0: never
	blanks []int         // steps of crashes at which the disk did not
}

// mayResume tells whether CONNECT asks for nothing but a session that is on disk.
// It is not refused then, whatever is short there.
func (a *actor) mayResume(clean bool) bool {
	open := slices.ContainsFunc(a.h.lines, func(l *simLine) bool { return l.of == a && !l.told })
	return a.promised && !clean && a.will == nil && !open && a.came.life == a.h.life && a.came.expiry == a.expiry
}

// notWelcome is a CONNACK that refuses.
func (a *actor) notWelcome(p *wire.Packet) {
	h := a.h
	durable := a.expiry > 0 || a.will != nil || a.wiping && a.lasting
	resumes := a.asks.resumes && a.sessionSure()
	switch {
	case p.Code != a.quota(3):
		h.fail("THROWN OUT: %s got CONNACK 0x%02x %q", a.id, p.Code, p.Properties.Get(wire.ReasonString).Text)
	case a.line.over, h.tight(a.asks.connect), h.lacked(a.asks.connect) && durable && !resumes:
		a.turnedAway()
	default:
		h.fail("REFUSED: %s got CONNACK 0x%02x %q", a.id, p.Code, p.Properties.Get(wire.ReasonString).Text)
	}
}

// turnedAway is the end of a connection that was refused. Nothing has come of it.
func (a *actor) turnedAway() {
	a.h.refusal("CONNECT of " + a.id)
	if w := a.will; w != nil {
		a.will, w.never = nil, true
	}
	a.unheard()
	came := a.came
	a.leave(true)
	a.came = came
	a.back = a.h.step + a.h.rand.IntN(40)
}

// cutOff is a connection that the broker has ended without CONNACK or DISCONNECT.
// It may if there are too many, and if memory is used up and the client has been
// behind, or did not send the rest of a packet.
func (a *actor) cutOff() {
	h, l := a.h, a.line
	switch {
	case l.over && !a.joined:
		a.turnedAway()
	case h.budget.most > 0 && (l.behind || len(l.in) > 0) && h.closures < h.counts().closed:
		h.log("%s is closed", a.id)
		h.closures++
		w, since := a.will, a.since
		a.unheard()
		a.leave(true)
		if w != nil { // it was published before the client could see the end
			w.first = since
			clear(w.due)
			clear(w.groupDue)
		}
		a.back = h.step + h.rand.IntN(40)
	default:
		h.fail("THROWN OUT: the broker has closed the connection of %s", a.id)
	}
}

// notSubscribed is a SUBACK that refuses: what was in force before is still.
func (a *actor) notSubscribed(t *term, code byte) {
	h := a.h
	existed := slices.ContainsFunc(a.terms, func(old *term) bool {
		return old != t && old.Name == t.Name && old.until == 0 && old.sure && !old.ends
	})
	may := a.lasting && h.lacked(a.asks.subscribe) || !existed && h.tight(a.asks.subscribe)
	if code != a.quota(0x80) || !may {
		h.fail("%s: SUBACK 0x%02x for %s QoS %d", a.id, code, t.Name, t.QoS)
	}
	h.refusal(fmt.Sprintf("SUBSCRIBE %s of %s", t.Name, a.id))
	a.terms = slices.DeleteFunc(a.terms, func(other *term) bool { return other == t })
}

// notTaken is a PUBACK or PUBREC that refuses a message, and tells whether it may.
func (a *actor) notTaken(s *sending, code byte) bool {
	h := a.h
	if code != 0x97 {
		return false
	}
	switch {
	case s.retain && (h.retainedFull(s) || h.budget.most > 0):
	case h.lacked(s.tried) && s.needsDisk():
		s.refused = s.sends == 1
	default:
		return false
	}
	h.refusal(fmt.Sprint("message ", s.n))
	clear(s.due)
	clear(s.groupDue)
	return true
}

// needsDisk tells whether a message may have something that is to be on disk.
func (s *sending) needsDisk() bool {
	return s.retain || s.qos == 2 && s.from.lasting ||
		slices.ContainsFunc(s.from.h.durable, func(filter string) bool { return matches(filter, s.topic) })
}

// checkPromised proves that a message was not acknowledged before it is on disk.
func (a *actor) checkPromised(s *sending) {
	h := a.h
	if !h.undone(s.first) {
		return
	}
	durable := s.retain || s.qos == 2 && a.lasting && a.sessionSure()
	for _, to := range h.clients {
		durable = durable || to.lasting && to.sessionSure() && to.certain(s) > 1
		for _, t := range to.terms {
			group, filter := t.group()
			durable = durable || group != "" && matches(filter, s.topic) && h.groupSure(group)
		}
	}
	if durable {
		h.fail("PROMISED: message %d is acknowledged, and can't be on disk", s.n)
	}
}

// checkTold proves the same of other packets that tell a client of what it has
// asked for at a step.
func (a *actor) checkTold(of wire.Type, asked int) {
	if asked > 0 && a.lasting && a.sessionSure() && !a.unsure && a.h.undone(asked) {
		a.h.fail("PROMISED: %s got %v, and what it tells of can't be on disk", a.id, of)
	}
}

// overlooked tells whether the broker may have passed over a message without a
// word, as it does before 5.0 if it can't be on disk. It takes it when it is sent
// again.
func (a *actor) overlooked(s *sending) bool {
	return a.v != wire.V5 && a.h.lacked(s.tried) && s.needsDisk()
}

// waitsInVain tells whether the client must connect again to get an answer.
func (a *actor) waitsInVain() bool {
	return a.joined && a.h.lack.of == nil && slices.ContainsFunc(a.open, a.overlooked)
}

// release takes note of the first PUBREL of an exchange.
func (k *asks) release(id uint16, step int) {
	if k.rel[id] == 0 {
		k.rel[id] = step
	}
}

// cameBack takes note of a CONNACK that accepts.
func (a *actor) cameBack() {
	c := &a.came
	c.life, c.expiry = a.h.life, a.expiry
	switch {
	case !a.h.lacked(a.asks.connect):
		c.stale = false
	case !c.stale:
		c.stale, c.over = true, a.over
	case a.over != 0 && (c.over == 0 || a.over < c.over): // it has gone and come again meanwhile
		c.over = a.over
	}
}
