package broker

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"midge/internal/store"
	"midge/test/wire"
)

// sending is a message as the test knows it: a publication or a will.
type sending struct {
	n      int
	from   *actor
	topic  string
	qos    byte
	retain bool
	size   int    // of the payload
	expiry uint32 // Message Expiry Interval, 0: none
	mortal bool   // it ends within the test

	id      uint16
	line    *simLine      // that it was sent on last; of a will, whose end it tells of, nil if the broker is gone
	sends   int           // times that it was sent
	first   int           // step of the first PUBLISH; of a will, that of the end of its connection
	at      time.Duration // when it was sent first, see history.now
	up      time.Duration // when it was sent last, or what it waited behind came to an end, see history.up
	went    time.Duration // when it was sent last, in any case
	life    int           // of the broker, at the first PUBLISH
	acked   bool
	since   int  // step at which it was
	maybe   bool // its publisher's session ended: nothing is certain
	will    bool
	armed   bool // of a will: its connection has ended, and it was not cancelled
	banned  int  // of a will: the life in which it was cancelled
	never   bool // of a will: its CONNECT was refused
	refused bool // at the first time
	missed  bool // it was refused perhaps, by an answer that got lost, and sent again
	tried   int  // step of the last PUBLISH

	due       map[*actor]level
	groupDue  map[string]bool
	groupGot2 map[string]int // at QoS 2
}

// String is the message and who is owed it.
func (s *sending) String() string {
	text := fmt.Sprintf("message %d (QoS %d, %s, from %s, sent at %d, will %v)", s.n, s.qos, s.topic, s.from.id, s.first, s.will)
	for a, l := range s.due {
		text += fmt.Sprintf(", for %s at QoS %d", a.id, l-1)
	}
	for group := range s.groupDue {
		text += ", for " + group
	}
	return text
}

// onItsWay reports whether the broker may not have seen the message, or not the end of
// the connection that a will tells of: it does not read from those who don't
// read what they are owed, and a CONNECT that is to take over may have to wait.
func (s *sending) onItsWay() bool {
	l := s.line
	return l != nil && !l.closed && (s.will || s.qos == 0 && len(l.way)+len(l.in) > 0)
}

// wanted reports whether somebody who is owed the message has a session for sure.
// Others may have lost theirs before it was sent again.
func (s *sending) wanted() bool {
	for a := range s.due {
		if a.sessionSure() && (a.line == nil || !a.line.closed) { // else it may have ended with the connection
			return true
		}
	}
	for group := range s.groupDue {
		if s.from.h.groupSure(group) {
			return true
		}
	}
	return false
}

// level is what a client is owed of a message: nothing, or at least a QoS, plus 1.
// A QoS 0 message is owed only to a connection that stays.
type level byte

// term is a subscription of a client: what it asked for, from SUBSCRIBE until
// the broker has confirmed that something else is in force.
type term struct {
	wire.Filter
	id    uint32 // subscription identifier
	sure  bool   // SUBACK has come
	known int    // step at which it did, 0: not yet
	ends  bool   // UNSUBSCRIBE was sent
	until int    // step at which it was over for sure, 0: it may be in force
}

// group is the shared subscription that a filter names, "" if it is another, and
// the topics that it is about.
func (t *term) group() (group, filter string) {
	rest, shared := strings.CutPrefix(t.Name, "$share/")
	if !shared {
		return "", t.Name
	}
	_, filter, _ = strings.Cut(rest, "/")
	return t.Name, filter
}

// matches reports whether a filter matches a topic (4.7). Topics that begin with
// a dollar sign don't occur.
func matches(filter, topic string) bool {
	f, t := strings.Split(filter, "/"), strings.Split(topic, "/")
	for i, level := range f {
		if level == "#" {
			return true
		}
		if i == len(t) || level != "+" && level != t[i] {
			return false
		}
	}
	return len(f) == len(t)
}

// certain is what the subscriptions of a client grant it of a message in any
// case, whichever of those that may be in force are.
func (a *actor) certain(s *sending) level {
	worst := map[string]level{}
	for _, t := range a.terms {
		if group, filter := t.group(); group != "" || t.until != 0 || !matches(filter, s.topic) {
			continue
		}
		l := level(1 + min(s.qos, t.QoS))
		if t.NoLocal && s.from == a || t.ends || !a.sure(t.Name) {
			l = 0
		}
		if w, ok := worst[t.Name]; !ok || l < w {
			worst[t.Name] = l
		}
	}
	best := level(0)
	for _, l := range worst {
		best = max(best, l)
	}
	return best
}

// sure reports whether a subscription of this filter is in force for sure.
func (a *actor) sure(filter string) bool {
	sure := false
	for _, t := range a.terms {
		if t.Name == filter && t.until == 0 {
			if t.ends {
				return false
			}
			sure = sure || t.sure
		}
	}
	return sure
}

// owe notes who must get a message.
func (h *history) owe(s *sending) {
	s.due, s.groupDue = map[*actor]level{}, map[string]bool{}
	if s.mortal {
		return
	}
	for _, a := range h.clients {
		l := a.certain(s)
		if l > 1 && !a.sessionSure() && !a.joined {
			l = 0
		}
		if l == 1 && !a.joined {
			l = 0
		}
		if l > 0 {
			s.due[a] = l
		}
	}
	if s.qos == 0 {
		return
	}
	for _, a := range h.clients {
		for _, t := range a.terms {
			group, filter := t.group()
			if group == "" || !matches(filter, s.topic) || !h.groupSure(group) || s.qos == 2 && h.mayKeep(group) {
				continue
			}
			s.groupDue[group] = true
		}
	}
}

// groupSure reports whether a shared subscription has a member for sure whose
// session lasts.
func (h *history) groupSure(group string) bool {
	return slices.ContainsFunc(h.clients, func(a *actor) bool {
		return a.lasting && a.sessionSure() && a.sure(group)
	})
}

// loseMemory takes note that the broker ends without notice. What had gone to a
// member without a lasting session is lost, or comes again if the disk has not
// heard of it (docs/durability.md).
func (h *history) loseMemory() {
	for _, a := range h.clients {
		if !a.lasting && a.took {
			for _, s := range h.sent {
				delete(s.groupDue, a.group)
				delete(s.groupGot2, a.group)
			}
		}
		a.took = false
	}
}

// mayKeep reports whether a client has given up a session that the broker may not
// have ended yet. It may still send it messages of a group, and what it sends at
// QoS 2 goes to nobody else (MQTT-4.8.2-5).
func (h *history) mayKeep(group string) bool {
	return slices.ContainsFunc(h.clients, func(a *actor) bool { return a.kept[group] })
}

// changed takes note that the subscriptions of a client may be others from now
// on: what is under way may meet these or those.
func (a *actor) changed() {
	for _, s := range a.h.sent {
		l, ok := s.due[a]
		if !ok || s.acked && s.qos > 0 && !s.will && a.lasting && a.h.kind.durable {
			continue // it is in the session
		}
		if now := a.certain(s); now < l {
			if s.due[a] = now; now == 0 {
				delete(s.due, a)
			}
		}
	}
	a.h.checkGroups()
}

// checkGroups releases the broker from what it owes to groups that may have no
// lasting member any more.
func (h *history) checkGroups() {
	for _, s := range h.sent {
		for group := range s.groupDue {
			if !h.groupSure(group) {
				delete(s.groupDue, group)
			}
		}
	}
}

// disconnected releases the broker from what it owed to a connection only.
func (a *actor) disconnected() {
	for _, s := range a.h.sent {
		if s.due[a] == 1 {
			delete(s.due, a)
		}
	}
}

// unheard takes note that the last bytes a client sent may never have come.
func (a *actor) unheard() {
	for _, s := range a.h.sent {
		if s.from == a && s.qos == 0 && !s.will {
			clear(s.due)
		}
	}
}

// release takes note that the session may have ended, and another begun.
func (a *actor) release() {
	a.promised = false
	a.takeAlong()
	for _, t := range a.terms {
		t.sure = false
	}
	for _, s := range a.h.sent {
		delete(s.due, a)
		if s.from == a && !s.acked && !s.will {
			s.maybe = true
		}
	}
	a.unsure = true
	a.h.checkGroups()
}

// takeAlong takes note that the session has ended, or may have, and what it had
// of groups at QoS 2 with it.
func (a *actor) takeAlong() {
	for _, t := range a.terms {
		if group, _ := t.group(); group != "" && t.QoS == 2 {
			a.kept[group] = true
		}
	}
	for _, s := range a.h.sent {
		for group := range a.kept {
			if s.qos == 2 {
				delete(s.groupDue, group)
			}
		}
	}
}

// forget gives up the session.
func (a *actor) forget() {
	a.takeAlong()
	a.open, a.releases, a.terms = nil, nil, nil
	for _, s := range a.h.sent {
		delete(s.due, a)
		if s.from == a && !s.acked && !s.will {
			s.maybe = true
		}
	}
	a.h.checkGroups()
	a.unsure = false
	clear(a.incoming)
	clear(a.got)
	clear(a.got2)
	clear(a.last)
}

// payload is the content of a message: its number, and bytes that follow from
// that. An empty one is known by its topic.
func (s *sending) payload() []byte {
	if s.size == 0 {
		return nil
	}
	b := fmt.Appendf(nil, "%d:", s.n)
	for i := len(b); i < s.size; i++ {
		b = append(b, byte(i*s.n))
	}
	return b
}

// find is the message that has come, as it was sent.
func (h *history) find(p *wire.Packet) *sending {
	text, _, ok := bytes.Cut(p.Payload[:min(len(p.Payload), 12)], []byte(":"))
	if !ok {
		text = []byte(p.Topic[strings.LastIndex(p.Topic, "/")+1:])
	}
	n, err := strconv.Atoi(string(text))
	if err != nil || n < 1 || n > len(h.sent) {
		h.fail("STRANGE: message %.40q on %q was never sent", p.Payload, p.Topic)
	}
	s := h.sent[n-1]
	if s.topic != p.Topic || !bytes.Equal(s.payload(), p.Payload) {
		h.fail("STRANGE: message %d came on %q with %d bytes, was sent on %q with %d", n, p.Topic, len(p.Payload), s.topic, s.size)
	}
	return s
}

// receive takes a message that has come.
func (a *actor) receive(p *wire.Packet) {
	h := a.h
	if len(p.Payload) == 0 && strings.HasPrefix(p.Topic, "r/") {
		a.removal(p)
		return
	}
	s := h.find(p)
	h.log("%s: PUBLISH %d QoS %d as %d dup %v retain %v", a.id, s.n, p.QoS, p.ID, p.Dup, p.Retain)
	a.checkEntitled(s, p)
	a.checkExpiry(s, p)
	if p.QoS > 0 && !a.take(s.n, p) {
		return // QoS 2 that is known
	}
	if s.refused {
		h.fail("REFUSED: message %d of %s came to %s all the same", s.n, s.from.id, a.id)
	}
	if s.will && s.never {
		h.fail("FALSE WILL: the will %d of %s came to %s although CONNECT was refused", s.n, s.from.id, a.id)
	}
	if s.will && s.banned == h.life {
		h.fail("FALSE WILL: the will %d of %s came to %s although DISCONNECT was sent", s.n, s.from.id, a.id)
	}
	if a.group == "" && p.QoS+1 < byte(s.due[a]) && !p.Retain {
		h.fail("QOS: message %d came to %s with QoS %d, not %d", s.n, a.id, p.QoS, s.due[a]-1)
	}
	delete(s.due, a)
	if a.group != "" {
		delete(s.groupDue, a.group)
		if p.QoS == 2 {
			if s.groupGot2 == nil {
				s.groupGot2 = map[string]int{}
			}
			if s.groupGot2[a.group]++; s.groupGot2[a.group] > 1 && !s.maybe && !a.everRefused[s.n] {
				h.fail("TWICE: QoS 2 message %d came to %s again, to %s", s.n, a.group, a.id)
			}
		}
	}
	a.checkRepeated(s, p)
	a.checkOrder(s, p)
}

// removal takes a message that removes the retained one of its topic. Nobody can
// tell which it is.
func (a *actor) removal(p *wire.Packet) {
	a.h.log("%s: PUBLISH of nothing to %s QoS %d as %d dup %v", a.id, p.Topic, p.QoS, p.ID, p.Dup)
	if p.QoS > 0 {
		a.take(0, p)
	}
	for _, s := range a.h.sent {
		if s.topic == p.Topic && s.size == 0 {
			delete(s.due, a)
			delete(s.groupDue, a.group)
		}
	}
}

// take looks at the packet identifier of message n and answers. It reports false
// for a QoS 2 message that is known.
func (a *actor) take(n int, p *wire.Packet) bool {
	h := a.h
	if other, used := a.unanswered[p.ID]; used && (n != other || !p.Dup) {
		h.fail("message %d came to %s with packet identifier %d, which message %d has", n, a.id, p.ID, other)
	}
	a.unanswered[p.ID] = n
	if len(a.unanswered) > a.window {
		h.fail("%s has %d messages that it did not acknowledge, its Receive Maximum is %d", a.id, len(a.unanswered), a.window)
	}
	if p.QoS == 1 {
		a.answers = append(a.answers, wire.AppendAck(nil, a.v, wire.PUBACK, p.ID, 0))
		return true
	}
	other, known := a.incoming[p.ID]
	if known && other != n {
		if !a.unsure {
			h.fail("message %d came to %s with packet identifier %d, which message %d has, that was not released", n, a.id, p.ID, other)
		}
		known = false
	}
	if !known {
		a.incoming[p.ID] = n
		a.refused[p.ID] = a.v == wire.V5 && does("refuse") && h.rand.IntN(h.refuses()) == 0
		a.everRefused[n] = a.everRefused[n] || a.refused[p.ID]
	}
	var code byte
	if a.refused[p.ID] {
		code = 0x83
	}
	a.answers = append(a.answers, wire.AppendAck(nil, a.v, wire.PUBREC, p.ID, code))
	return !known
}

// refuses is how many QoS 2 messages come to one that is refused.
func (h *history) refuses() int {
	if h.kind.rows {
		return 4
	}
	return 15
}

// checkEntitled proves that the client has asked for a message.
func (a *actor) checkEntitled(s *sending, p *wire.Packet) {
	h := a.h
	any, most, ids := false, byte(0), []uint32{}
	for _, t := range a.terms {
		_, filter := t.group()
		if t.until != 0 && t.until < s.first || !matches(filter, s.topic) {
			continue
		}
		if t.NoLocal && s.from == a && (!s.will || does("wills after a crash")) {
			continue
		}
		any, most, ids = true, max(most, t.QoS), append(ids, t.id)
	}
	switch {
	case !any:
		h.fail("STRANGER: message %d on %s came to %s, which has no subscription for it", s.n, s.topic, a.id)
	case p.QoS > min(most, s.qos):
		h.fail("QOS: message %d of QoS %d came to %s with QoS %d, which was granted %d", s.n, s.qos, a.id, p.QoS, most)
	case p.Retain && !s.retain:
		h.fail("RETAIN 1 in message %d, which was sent without", s.n)
	}
	for _, id := range p.Properties.All(wire.SubscriptionID) {
		if !slices.Contains(ids, id.Value) {
			h.fail("message %d came to %s with subscription identifier %d, of %v", s.n, a.id, id.Value, ids)
		}
	}
}

// slack is how long a packet may be on its way, in both directions together.
const slack = 3 * time.Second

// checkExpiry proves that a message has not ended, and that what remains of its
// Message Expiry Interval is what was sent less the time since.
func (a *actor) checkExpiry(s *sending, p *wire.Packet) {
	h := a.h
	handled := s.line == nil || s.line.welcomed && !s.line.slow // else it may have waited behind CONNECT, or until its publisher has read what it is owed
	since := s.up
	if h.tight(s.tried) { // it may have waited for memory
		since = max(since, h.budget.shortUp)
	}
	if s.mortal && handled && s.life >= h.blind && a.got[s.n] == 0 && !p.Dup && !a.slow && h.up()-since > time.Duration(s.expiry)*time.Second+slack {
		h.fail("ENDED: %s got message %d, %v after it was sent with an interval of %d s", a.id, s.n, h.up()-s.up, s.expiry)
	}
	if a.v != wire.V5 {
		return
	}
	got, has := p.Properties.Get(wire.MessageExpiry).Value, p.Properties.Has(wire.MessageExpiry)
	if has != (s.expiry > 0) {
		h.fail("message %d came to %s with an expiry %v, was sent with %v", s.n, a.id, has, s.expiry > 0)
	}
	if h.kind.durable && !does("stored intervals") {
		return
	}
	gone := uint32((h.now()-s.at)/time.Second) + 2
	if got > s.expiry || !s.mortal && s.expiry > 0 && got < s.expiry-gone {
		h.fail("EXPIRY: message %d came to %s with an interval of %d s of %d, sent %v ago", s.n, a.id, got, s.expiry, h.now()-s.at)
	}
}

// checkRepeated proves that a message comes once at QoS 2, and that DUP tells
// the first time from others at QoS 1.
func (a *actor) checkRepeated(s *sending, p *wire.Packet) {
	h := a.h
	before := a.got[s.n]
	a.got[s.n]++
	if p.QoS == 2 {
		a.got2[s.n]++
		if a.got2[s.n] > 1 && !s.maybe && !a.everRefused[s.n] && !s.will && !p.Retain && !s.retain {
			h.fail("TWICE: QoS 2 message %d came to %s again", s.n, a.id)
		}
	}
	if s.retain || a.group != "" {
		return
	}
	if p.Dup && before == 0 && max(a.since, h.since) < s.first {
		h.fail("DUP 1 in message %d, which %s gets for the first time", s.n, a.id)
	}
	if p.Dup {
		return
	}
	may := s.sends
	for _, step := range a.came.blanks { // the disk did not know what it had
		if step > s.first {
			may += s.sends // each copy of it
		}
	}
	switch again := 1 + h.life - s.life; {
	case s.will && !does("restart dup"):
		may *= again * again
	case s.will, !does("restart dup"):
		may *= again
	}
	if a.fresh[s.n]++; a.fresh[s.n] > may {
		h.fail("DUP 0 in message %d, which %s gets for the %d. time and was sent %d times", s.n, a.id, a.got[s.n], s.sends)
	}
}

// checkOrder proves that messages of a publisher on a topic come in their order
// (4.6).
func (a *actor) checkOrder(s *sending, p *wire.Packet) {
	if p.QoS == 0 && s.sends > 1 {
		return // it may have been away when the first came
	}
	if s.sends > 1 && (a.h.counts().dropped > 0 || s.missed) {
		return // the first may have made room in a queue that was full
	}
	for _, t := range a.terms {
		if _, filter := t.group(); s.sends > 1 && (t.known == 0 || t.known >= s.first) && matches(filter, s.topic) {
			return // it may be the second that comes, because the first overtook SUBSCRIBE
		}
	}
	if a.got[s.n] > 1 || a.group != "" || p.Retain || s.mortal || s.will {
		return // a copy that ended on disk may leave the order to one that was sent again
	}
	key := fmt.Sprint(s.from.id, " ", s.topic, " ", s.qos, " ", p.QoS)
	if a.last[key] > s.n {
		a.h.fail("ORDER: %s got message %d after %d", a.id, s.n, a.last[key])
	}
	a.last[key] = s.n
}

// up is the time that the broker has run, in all lives.
func (h *history) up() time.Duration { return h.upBefore + h.w.now }

// bounds proves that what waits for clients is bounded.
func (h *history) bounds() {
	h.markBehind()
	most := max(h.kind.pending, behindMessages*h.largest) + h.largest + 4096
	for _, l := range h.lines {
		if n := len(l.pending); n > most && !l.closed {
			h.fail("MEMORY: %d bytes are pending for a client, the limit is %d and the largest packet has %d", n, h.kind.pending, h.largest)
		}
	}
	h.boundMemory()
}

// compare proves that everything has come that was owed to those clients who
// could get it by now.
func (h *history) compare(could func(*actor) bool) {
	lost, missing := 0, []string{}
	for _, s := range h.sent {
		if s.qos > 0 && !s.acked || s.onItsWay() {
			continue
		}
		n := 0
		for a := range s.due {
			if could(a) {
				n++
			}
		}
		for group := range s.groupDue {
			if h.st != nil && h.lack.of != nil { // what waits with the group is not dealt out
				break
			}
			// One who is away may have it in flight, also if its session ends or it wants another:
			// until CONNACK the broker may have the former one.
			absent := func(a *actor) bool {
				return a.group == group && !could(a) && (len(a.terms) > 0 || a.wiping || a.line != nil && !a.joined)
			}
			if !slices.ContainsFunc(h.clients, absent) {
				n++
			}
		}
		if n > 0 {
			lost += n
			missing = append(missing, s.String())
		}
	}
	if counted := h.counts().dropped; uint64(lost) > counted {
		for _, a := range h.clients {
			h.log("%s", h.state(a))
		}
		h.fail("LOST: %d messages, %d were counted as dropped:\n%s", lost, counted, strings.Join(missing[:min(len(missing), 20)], "\n"))
	}
}

// compareRest proves at the end that nothing is left that nobody needs.
func (h *history) compareRest() {
	h.compareRetained()
	h.compareAnswers()
	for _, s := range h.w.b.shards {
		if len(s.disk.remaining) > 0 || len(s.disk.promises.all) > 0 {
			h.fail("shard %d: %d messages with receivers, %d promises are left", s.index, len(s.disk.remaining), len(s.disk.promises.all))
		}
	}
	if h.st == nil {
		return
	}
	// Only what is retained and the sessions may be left on disk.
	h.write()
	for _, kind := range "imrux" {
		if kind == 'i' && !does("identifiers of ended sessions") {
			continue
		}
		err := h.backend.Scan([]byte{byte(kind)}, []byte{byte(kind) + 1}, func(key, _ []byte) error {
			return fmt.Errorf("record %q is left", key)
		})
		if err != nil {
			h.fail("%v", err)
		}
	}
}

// compareRetained proves that the retained message of each topic is the last
// that was acknowledged, or one that was sent later.
func (h *history) compareRetained() {
	if h.kind.retained > 0 {
		return // some were refused
	}
	last, later := map[string]*sending{}, map[string]*sending{}
	for _, s := range h.sent {
		switch {
		case !s.retain, s.refused:
		case s.acked:
			last[s.topic] = s
		default:
			later[s.topic] = s
		}
	}
	gone := 0
	for topic, s := range last {
		if s.mortal || later[topic] != nil && later[topic].n > s.n {
			continue
		}
		m := h.w.retained(h.kind.mount + topic)
		switch {
		case s.size == 0 && m != nil:
			h.fail("retained message %.20q of %s is still there, %d removed it", m.Payload, topic, s.n)
		case s.size > 0 && (m == nil || !bytes.Equal(m.Payload, s.payload())):
			if gone++; m != nil || uint64(gone) > h.counts().unretained {
				h.fail("LOST: retained message %d of %s", s.n, topic)
			}
		}
	}
}

// compareAnswers proves that everybody got an answer to all that he has asked.
func (h *history) compareAnswers() {
	for _, a := range h.clients {
		if n := len(a.open) + len(a.releases); !a.joined || n > 0 || a.pings > 0 || a.subID+a.unsubID > 0 {
			h.log("%s", h.state(a))
			h.fail("UNANSWERED: %s, connected %v: %d messages, %d pings, SUBSCRIBE %d, UNSUBSCRIBE %d", a.id, a.joined, n, a.pings, a.subID, a.unsubID)
		}
	}
}

// checkAckOrder proves that messages are acknowledged in the order in which they
// were sent (4.6). i is the place of the message among those that were not.
func (a *actor) checkAckOrder(s *sending, i int) {
	for _, before := range a.open[:i] {
		if before.qos == s.qos && before.line == s.line && !a.overlooked(before) {
			a.h.fail("ORDER: message %d of %s is acknowledged before %d", s.n, a.id, before.n)
		}
	}
}

// state is what the broker has of a client, for messages.
func (h *history) state(a *actor) string {
	for _, s := range h.w.b.shards {
		if cl := s.clients.Get(store.MountedID(a.h.kind.mount, a.id)); cl != nil {
			text := fmt.Sprintf("%s: %d waiting, %d in flight", a.id, cl.session.Queued(), cl.session.Inflight())
			if c := cl.conn; c != nil {
				text += fmt.Sprintf(", %d bytes pending, pace %d, hold %+v", c.net.Pending(), c.pace, cl.session.Link)
			}
			return text
		}
	}
	return a.id + ": no session"
}
