package broker

import (
	"cmp"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"midge/internal/packet"
	"midge/internal/routing"
	"midge/internal/session"
	"midge/internal/store"
)

// connecting is a CONNECT on its way to CONNACK (MQTT 5.0 section 3.1.4). It
// takes some steps, in their order. Each is done at once, or waits for something
// and is taken again when that has come: see proceed. Nothing that the client
// sends behind CONNECT is looked at meanwhile, but AUTH that it was asked for; the
// engine keeps one buffer of it at most.
type connecting struct {
	c        *conn
	step     connectStep
	first    byte   // of the packet, and
	body     []byte // its body: borrowed, or a copy once it waits (see park)
	id       string // the client's: of CONNECT, until it is judged; see store.MountedID
	assigned bool   // CONNECT has none, and CONNACK has it

	placed   bool              // it is on the shard of its id
	queued   bool              // it waits for its turn; see contest
	had      bool              // it has had it
	enhanced *authentication   // nil if CONNECT has no Authentication Method
	question *question         // that waits for its answer
	judged   bool              // the Authenticator has answered, and it may connect:
	who      *routing.Identity // as this,
	expires  time.Time         // until then; zero: for ever
	data     []byte            // Authentication Data of CONNACK
	drained  *conn             // the connection to take over from, once that was drained
	onDisk   bool              // what CONNACK promises is
	durable  bool              // CONNACK must wait for the disk
	link     *session.Link
	answer   []byte // CONNACK
}

// connectStep is what is done next for a CONNECT.
type connectStep uint8

const (
	placing        connectStep = iota // to the shard of its client id, and until its turn comes there
	authenticating                    // until the Authenticator knows who it is
	authorising                       // its will
	claiming                          // the session, from an older connection that is drained first
	persisting                        // until what CONNACK promises is on disk
	welcoming                         // CONNACK, and what waits for the client
	connected
)

// takeStep takes the next step.
func (s *shard) takeStep(j *connecting) progress {
	switch j.step {
	case placing:
		return s.findPlace(j)
	case authenticating:
		return s.authenticate(j)
	case authorising:
		return s.authorise(j)
	case claiming:
		return s.claim(j)
	case persisting:
		return s.persist(j)
	default:
		return s.welcome(j)
	}
}

// progress is what comes of a step.
type progress uint8

const (
	done      progress = iota
	back               // the client id is another one now: placing again
	later              // proceed is called when what it waits for has come
	elsewhere          // the connection moves, and must not be touched any more
	refused
)

// advance takes steps as long as they are done at once.
func (s *shard) advance(j *connecting) progress {
	for j.step < connected {
		switch p := s.takeStep(j); p {
		case done:
			j.step++
		case back:
			j.step = placing
		default:
			return p
		}
	}
	return done
}

// join begins with a CONNECT that has arrived. It reports false if the packet is
// to be read again, by the shard of its client id.
func (s *shard) join(c *conn, first byte, body []byte) (read bool) {
	p, j := &s.packets.connect, &s.handshakes.current
	err := p.Decode(first, body)
	c.version = p.Version
	if err != nil {
		s.fault(c, err)
		return true
	}
	if s.turnedAway(c) || s.refuseBanned(c, string(p.ClientID), string(p.UserName)) {
		return true
	}
	if err := s.checkConnect(p); err != nil {
		s.fault(c, err)
		return true
	}
	*j = connecting{c: c, first: first, body: body, assigned: len(p.ClientID) == 0}
	if p.Properties.Has(packet.PropAuthMethod) {
		j.enhanced = &authentication{c: c, method: string(p.Properties.AuthMethod), assigned: j.assigned}
	}
	if j.assigned {
		p.ClientID = []byte(s.assign())
	}
	read = s.advance(j) != elsewhere || j.judged
	*j = connecting{}
	return read
}

// park copies a CONNECT that has to wait: s.packets.connect, s.handshakes.current and the engine's
// buffer are for others meanwhile.
func (s *shard) park(j *connecting) *connecting {
	if j != &s.handshakes.current {
		return j
	}
	parked := *j
	parked.body = slices.Clone(j.body)
	s.budget.charge(len(parked.body))
	s.handshakes.waiting[j.c] = &parked
	return &parked
}

// proceed goes on with a CONNECT that has waited, unless its connection has gone
// meanwhile.
func (s *shard) proceed(c *conn) {
	j := s.handshakes.waiting[c]
	if j == nil {
		return
	}
	s.first, s.intact = j.first, j.step <= claiming
	var used int
	defer s.guard(c, &used, 0)
	s.reread(j)
	s.advance(j)
}

// reread puts a CONNECT that was parked into s.packets.connect again.
func (s *shard) reread(j *connecting) {
	if j.body == nil { // it is not needed any more
		return
	}
	if err := s.packets.connect.Decode(j.first, j.body); err != nil {
		panic("a CONNECT that was right is wrong: " + err.Error())
	}
	s.packets.connect.ClientID = []byte(j.id)
}

// findPlace moves the connection to the shard of its client id, and makes it
// wait if connections take that id from each other. Whether there is memory for
// it depends on what that shard has of the client. Which that is shows only once it
// is judged, where clients get mount points.
func (s *shard) findPlace(j *connecting) progress {
	if !j.judged && s.authenticator != nil && s.settings.admit(j.c.net).mounts {
		j.id = string(s.packets.connect.ClientID)
		return done
	}
	if to := shardOf(s.packets.connect.ClientID, len(s.b.shards)); to != s.index {
		s.giveAway(j, to)
		return elsewhere
	}
	if j.id == "" {
		j.id = string(s.packets.connect.ClientID)
	}
	if j.placed = true; j.had {
		return done
	}
	if s.refuseForMemory(j.c, j.id) {
		return refused
	}
	heldOff, tooLong := s.holdOff(j)
	if tooLong {
		return refused
	}
	if wait := max(heldOff, s.delay(j.id)); wait > 0 {
		s.holdBack(j, wait, heldOff)
		return later
	}
	return done
}

// giveAway moves a connection to another shard, before CONNECT is answered. If
// nobody has decided about it, CONNECT is read there again; else it comes along.
func (s *shard) giveAway(j *connecting, to int) {
	c := j.c
	s.intact = false
	if j.judged {
		c.net.Attach(s.park(j))
	}
	s.handshakes.forget(c)
	s.timers.stop(&c.timer)
	s.count.Connections--
	if a := s.input.arriving[c]; a != nil {
		s.endArrival(a) // all of CONNECT is here
	}
	c.net.Move(to)
}

// authenticate asks who the client is, and whether it may connect. An authentication
// method that nobody knows is refused (MQTT-4.12.0-1).
func (s *shard) authenticate(j *connecting) progress {
	a, p := s.authenticator, &s.packets.connect
	switch {
	case j.judged:
		return done
	case j.question != nil: // who was asked decides
	case a == nil && j.enhanced != nil:
		return s.judge(j, &Verdict{Code: packet.BadAuthenticationMethod, Refusal: UnknownMethod, Reason: "there is no authentication method here"})
	case a == nil:
		return done
	default:
		r := Request{Peer: j.c.net.Peer(), ClientID: j.id, Assigned: j.assigned, UserName: p.UserName, Password: p.Password, Version: p.Version}
		if j.enhanced != nil {
			r.Method, r.Data = j.enhanced.method, dataOf(&p.Properties)
		}
		if !s.ask(j, func(gone *atomic.Bool, done func(Verdict)) {
			r.Gone = gone
			a.Connect(r, done)
		}) {
			return later
		}
	}
	return s.judge(j, &j.question.verdict)
}

// ask has the Authenticator decide. It reports false if the verdict comes later.
func (s *shard) ask(j *connecting, about func(gone *atomic.Bool, done func(Verdict))) (now bool) {
	c, q := j.c, &question{}
	if now = q.ask(s, about, func() { s.answered(c) }); !now {
		j = s.waitForAnswer(j)
	}
	j.question = q
	return now
}

// waitForAnswer makes a CONNECT wait for somebody who is asked about it.
func (s *shard) waitForAnswer(j *connecting) *connecting {
	j = s.park(j)
	s.pause(j.c, forAnswer)
	return j
}

// answered goes on with it.
func (s *shard) answered(c *conn) {
	s.readClock()
	s.proceed(c)
}

// judge does what a verdict says.
func (s *shard) judge(j *connecting, v *Verdict) progress {
	if v.Next != nil {
		return s.challenge(j, v)
	}
	if v.Code.Failed() {
		*v.Refusal.of(&s.count)++
		if j.enhanced != nil {
			s.packets.connect.UserName = []byte(v.Principal) // who it said it is, for the log
		}
		s.refuse(j.c, v.Code, cmp.Or(v.Reason, "access was denied"))
		return refused
	}
	j.judged, j.question, j.who, j.expires, j.data = true, nil, v.identity(), v.Expires, v.Data
	id := cmp.Or(v.ClientID, j.id)
	if !validClientID(id) {
		s.count.RefusedAccess++
		s.refuse(j.c, packet.ClientIdentifierNotValid, "who it is gives it a client identifier that MQTT does not allow")
		return refused
	}
	if v.MountPoint != "" {
		if err := checkMountPoint(v.MountPoint); err != nil {
			s.count.RefusedAccess++
			s.refuse(j.c, packet.NotAuthorized, "who it is gives it the mount point "+strconv.QuoteToASCII(v.MountPoint)+": "+err.Error())
			return refused
		}
		id = store.MountedID(v.MountPoint, id)
	}
	if id == j.id && j.placed {
		return done
	}
	j.id, j.had, j.placed = id, false, false
	s.packets.connect.ClientID = []byte(id)
	return back
}

// challenge asks the client something, and waits for its AUTH (MQTT-4.12.0-2).
func (s *shard) challenge(j *connecting, v *Verdict) progress {
	c, e := j.c, j.enhanced
	switch {
	case e == nil: // MQTT-4.12.0-6
		s.refuse(c, packet.ImplementationSpecificError, "whoever decides asks something that a client without an authentication method can't answer")
		return refused
	case e.rounds == maxRounds:
		s.count.RefusedAccess++
		s.refuse(c, packet.NotAuthorized, "the authentication has taken too many AUTH packets")
		return refused
	}
	out := s.authPacket(c, e, packet.ContinueAuthentication, v.Data)
	if len(out) == 0 {
		s.refuseSilently(j, "its Maximum Packet Size is too small for AUTH")
		return refused
	}
	j = s.park(j)
	e.next, j.question = v.Next, nil
	s.resume(c, forAnswer)
	s.send(c, out)
	return later
}

// challenged reports whether the client was asked something, and has not answered.
func (j *connecting) challenged() bool { return j.enhanced != nil && j.enhanced.next != nil }

// authPacket appends an AUTH packet; nothing if the client takes none as large.
func (s *shard) authPacket(c *conn, e *authentication, code packet.ReasonCode, data []byte) []byte {
	p := &s.packets.auth
	*p = packet.Auth{Code: code}
	e.describe(&p.Properties, data)
	return p.AppendWithin(s.out[:0], c.version, s.maxPacket(c))
}

// answersChallenge looks at the first byte of what a connection sends whose CONNECT
// waits. It reports whether the packet is to be read now: AUTH that the client was
// asked for, or DISCONNECT instead. All else is a violation then (MQTT-3.1.2-30), and
// waits otherwise.
func (s *shard) answersChallenge(j *connecting, first byte) bool {
	if !j.challenged() {
		s.pause(j.c, forAnswer) // it has sent more, which we don't pile up
		return false
	}
	if t := packet.TypeOf(first); t != packet.AUTH && t != packet.DISCONNECT {
		s.reread(j)
		s.fault(j.c, fault(packet.V5, packet.ProtocolError, "MQTT-3.1.2-30", "", t.String()+" before the authentication is over"))
		return false
	}
	return true
}

// takeAnswer goes on with a CONNECT whose client answers what it was asked.
func (s *shard) takeAnswer(j *connecting, first byte, body []byte) {
	c, p := j.c, &s.packets.auth
	s.reread(j)
	if packet.TypeOf(first) == packet.DISCONNECT {
		if err := s.packets.disconnect.Decode(c.version, first, body); err != nil {
			s.fault(c, err)
			return
		}
		c.net.Close()
		s.abandon(c, false, "DISCONNECT from the client before CONNACK")
		return
	}
	err := p.Decode(c.version, first, body)
	if err == nil {
		err = j.enhanced.check(p, len(body), len(body))
	}
	if err != nil {
		s.fault(c, err)
		return
	}
	s.work += authWork
	next, data := j.enhanced.takeNext(), dataOf(&p.Properties)
	if s.ask(j, func(_ *atomic.Bool, done func(Verdict)) { next(data, done) }) {
		s.advance(j)
	}
}

// validClientID reports whether MQTT allows a client identifier (MQTT-3.1.3-4).
func validClientID(id string) bool {
	return len(id) <= 65_535 && utf8.ValidString(id) && !strings.ContainsRune(id, 0)
}

// authorise looks at whether the client may have its will. That its CONNACK is
// not too large for it shows now, too.
func (s *shard) authorise(j *connecting) progress {
	p, c := &s.packets.connect, j.c
	if s.asksAboutWill(j) {
		return later
	}
	if p.HasWill {
		if err := s.checkWill(j); err != nil {
			s.fault(c, err)
			return refused
		}
	}
	if s.cantAnswer(j) {
		s.refuseSilently(j, tooSmall)
		return refused
	}
	return done
}

// checkWill looks at whether a client may publish its will.
func (s *shard) checkWill(j *connecting) error {
	p := &s.packets.connect
	w := &p.Will
	mount, id := store.SplitID(j.id)
	if !fits(len(mount), len(w.Topic)) {
		s.count.RefusedTopics++
		return fault(p.Version, packet.TopicNameInvalid, "MQTT-4.7.3-3", "MQTT-4.7.3-3", "will topic: with its mount point over 65,535 bytes")
	}
	if reserved(w.Topic, id) || !j.who.MayPublish(s.fullName(mount, w.Topic), w.QoS, w.Retain) {
		s.count.RefusedAccess++
		return fault(p.Version, packet.NotAuthorized, "3.1.3.3", "3.1.3.2", "will topic is not for this client")
	}
	return nil
}

// asksAboutWill reports whether a CONNECT must wait for an answer about its will.
func (s *shard) asksAboutWill(j *connecting) bool {
	p, c := &s.packets.connect, j.c
	if !p.HasWill || j.who == nil || j.who.Asking == nil {
		return false
	}
	if mount, id := store.SplitID(j.id); !fits(len(mount), len(p.Will.Topic)) || reserved(p.Will.Topic, id) {
		return false
	}
	then := func() { s.b.runner.Post(s.index, func() { s.answered(c) }) }
	if j.who.Asking.ReadyToPublish(p.Will.Topic, p.Will.QoS, p.Will.Retain, then) {
		return false
	}
	s.waitForAnswer(j)
	return true
}

const tooSmall = "its Maximum Packet Size is too small for CONNACK"

// refuseSilently closes the connection of a client that takes no packet as large as
// its CONNACK. It has no will yet.
func (s *shard) refuseSilently(j *connecting, reason string) {
	s.count.RefusedSize++
	s.note(j.c, line{slog.LevelWarn, clientRefused, j.id, "", packet.PacketTooLarge, reason, "v5/MQTT-3.1.2-24"})
	j.c.net.Close()
	s.abandon(j.c, false, reason)
}

// claim takes the session of the client id, from an older connection too.
func (s *shard) claim(j *connecting) progress {
	_, own := store.SplitID(j.id)
	if s.turnedAway(j.c) || s.refuseBanned(j.c, own, string(s.packets.connect.UserName), j.who.Name()) { // since
		return refused
	}
	if s.cantPromise(&s.packets.connect, j.id) {
		code := packet.ServerUnavailable
		if j.c.version == packet.V5 {
			code = packet.QuotaExceeded
		}
		s.count.RefusedStore++
		s.refuse(j.c, code, "the disk is full or has failed")
		return refused
	}
	if s.drainOlder(j) {
		return later
	}
	if s.revoked(j.c.net) {
		s.refuse(j.c, packet.NotAuthorized, revokedReason)
		return refused
	}
	s.admit(j)
	if len(j.answer) == 0 { // other settings than before ask for a larger one
		s.refuseSilently(j, tooSmall)
		return refused
	}
	return done
}

// admit takes over from an older connection (MQTT-3.1.4-3), and resumes or begins
// the session (MQTT-3.1.2-4, MQTT-3.1.2-5, MQTT-3.1.2-6).
func (s *shard) admit(j *connecting) {
	s.intact = false
	s.work += setupWork
	c, p, id := j.c, &s.packets.connect, j.id
	j.durable = s.mustWait(p, id)
	if old := s.clients.Get(id); old != nil && old.conn != nil {
		s.count.TakenOver++
		s.contests.takeover(id, s.now)
		s.end(old.conn, packet.SessionTakenOver, "another connection uses the client id") // MQTT-3.1.4-3
	}
	if cl := s.clients.Get(id); cl != nil && cl.away != nil {
		s.timers.stop(&cl.away.timer)
		cl.away.expire(s) // what is due by now comes first, whenever the wheel turns
	}
	cl := s.clients.Get(id)
	if cl != nil && p.CleanStart {
		s.endSession(cl) // MQTT-3.1.2-4
		cl = nil
	}
	present := cl != nil
	if present {
		s.endAway(cl)
		s.count.Disconnected--
	} else {
		cl = &client{id: id, mount: mountOf(id), session: session.New(&s.session, s.numberFor(p))}
		s.clients.Put(cl)
	}
	cl.expiry = s.expiryOf(p)
	s.writeSession(cl, 0)
	s.setWill(cl, s.newWill(p, id)) // MQTT-3.1.3-9
	cl.setBridge(p.Bridge && p.Version != packet.V5)
	s.identify(cl, j.who)
	cl.conn, c.client = c, cl
	j.link = session.NewLink(p, s.linkConfig(s.settings.admit(c.net)), cl.mount)
	c.encoding = sharedByAll
	switch {
	case j.link.OwnEncoding():
		c.encoding = notShared
	case cl.mount > 0:
		c.encoding = sharedByMount
	}
	s.handshakes.accepted(c)
	s.lapseAt(c, j.expires)
	s.keepAuthentication(j.enhanced)
	s.count.Connects++
	s.count.Connected++
	s.timers.stop(&c.timer)

	answer, keepAlive := s.connack(s.out[:0], j, present)
	j.answer, j.body = answer, nil
	c.keepAlive = uint16(keepAlive / time.Second)
	if s.logsConnections() {
		s.logConnect(c, j.who, present)
	}
}

// persist makes CONNACK wait until what it promises is on disk.
func (s *shard) persist(j *connecting) progress {
	if !j.durable || j.onDisk {
		return done
	}
	j.answer = slices.Clone(j.answer)
	j = s.park(j)
	c, cl := j.c, j.c.client
	s.pause(c, forAnswer)
	s.promise(promise{c: c, then: func() {
		cl.persisted, j.onDisk = cl.stored(), true
		s.proceed(c)
	}})
	return later
}

// welcome sends CONNACK (MQTT-3.2.0-1), and what the session has for the client
// (MQTT-4.4.0-1).
func (s *shard) welcome(j *connecting) progress {
	c, cl := j.c, j.c.client
	delete(s.handshakes.waiting, c)
	s.resume(c, forAnswer)
	cl.session.Attach(j.link)
	s.setOnline(cl, true)
	s.send(c, j.answer)
	c.noteInput(s.now)
	if c.keepAlive > 0 {
		s.timers.start(&c.timer, s.now+c.patience())
	}
	s.answerAck(c, cl.session.Resume(s.out[:0]))
	out, dropped := cl.session.Pump(s.out[:0], s.roomFor(c), s.now)
	s.pumped(c, out, dropped)
	return done
}

// expireUnconnected is expire before CONNECT is answered.
func (s *shard) expireUnconnected(c *conn) {
	j := s.handshakes.waiting[c]
	switch {
	case j != nil && j.queued:
		s.endWait(j)
	case c.passage != entered:
		s.closeUnanswered(c)
	case j != nil && j.challenged():
		s.count.ConnectTimeouts++
		s.reread(j)
		s.refuse(c, packet.NotAuthorized, "it has not answered within limits.connect_timeout what it was asked")
	case j != nil:
		s.count.ConnectTimeouts++
		s.reread(j)
		s.refuse(c, packet.ServerUnavailable, "nobody has decided within limits.connect_timeout whether it may connect")
	default:
		s.count.ConnectTimeouts++
		s.note(c, line{level: slog.LevelInfo, what: clientRefused, code: packet.MaximumConnectTime, reason: "no complete CONNECT within limits.connect_timeout"})
		s.close(c, "no CONNECT in time")
	}
}

// endWait ends the wait of a CONNECT. It goes on in a call of its own, from which
// its connection may move.
func (s *shard) endWait(j *connecting) {
	c := j.c
	j.queued, j.had = false, true
	s.timers.start(&c.timer, s.now+s.settings.admit(c.net).connectTimeout)
	s.pause(c, forAnswer)
	s.b.runner.Post(s.index, func() { s.answered(c) })
}

// holdBack makes a CONNECT wait. Its connection is not paused: so we notice if it
// is given up before its turn comes, and don't take the session over for nobody.
func (s *shard) holdBack(j *connecting, wait, heldOff time.Duration) {
	j = s.park(j)
	j.queued = true
	s.timers.start(&j.c.timer, s.now+wait)
	if heldOff == wait {
		s.count.HeldOff++
		s.note(j.c, line{
			level: slog.LevelWarn, what: clientDelayed, id: j.id, code: packet.ConnectionRateExceeded,
			reason: "it connects more often than limits.reconnects allows",
		})
		return
	}
	s.count.Delayed++
	if ct := s.contests.byID[j.id]; !ct.logged {
		ct.logged = true
		s.note(j.c, line{
			slog.LevelWarn, clientDelayed, j.id, "", packet.SessionTakenOver,
			"several connections take the client id from each other; who comes back at once waits", "MQTT-3.1.4-3",
		})
	}
}

// holdOff is how long a CONNECT has to wait because its client connects too often. Each
// takes its place behind those before it; there is none for one that would wait for
// longer than clients do.
func (s *shard) holdOff(j *connecting) (wait time.Duration, tooLong bool) {
	l := s.settings.reconnects
	if !l.On() || j.assigned {
		return 0, false
	}
	key := s.reconnects.NameAt([]byte(j.id), j.c.net.Remote().Addr())
	wait = s.reconnects.Wait(key, l, s.now)
	if wait > maxWait {
		s.count.RefusedReconnects++
		s.refuse(j.c, packet.ConnectionRateExceeded, "it connects more often than limits.reconnects allows; try later")
		return 0, true
	}
	s.reconnects.Take(key, l, s.now)
	return wait, false
}

// delay is how long a CONNECT has to wait because others use its client id.
func (s *shard) delay(id string) time.Duration {
	if cl := s.clients.Get(id); cl == nil || cl.conn == nil {
		return 0 // there is nobody to take it from
	}
	return s.contests.delay(id, s.now)
}

// drainOlder drains the connection that has the client id now, if there is one
// that j has not waited for. It reports whether j must wait.
func (s *shard) drainOlder(j *connecting) (wait bool) {
	cl := s.clients.Get(j.id)
	if cl == nil || cl.conn == nil || cl.conn == j.drained {
		return false
	}
	c := s.park(j).c
	if d, begins := s.drains.wait(cl.conn, c, s.now); begins {
		d.old.net.Exhaust(func() {
			s.readClock()
			d.expire(s)
		})
	}
	s.timers.stop(&c.timer) // CONNECT is here; the draining has its own end
	s.pause(c, forAnswer)
	return true
}

// expire implements expirer: the older connection is drained, or the time is over.
func (d *draining) expire(s *shard) {
	for _, c := range s.drains.end(d) {
		if j := s.handshakes.waiting[c]; j != nil {
			j.drained = d.old
			s.proceed(c)
		}
	}
}

// expire implements expirer: the client has to connect again.
func (l *lapse) expire(s *shard) {
	delete(s.lapses, l.c)
	s.count.Lapsed++
	s.end(l.c, packet.NotAuthorized, "its token, or another proof of who it is, has expired")
}
