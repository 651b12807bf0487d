package broker

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"midge/internal/packet"
	"midge/internal/settings"
	"midge/internal/store"
	"midge/internal/store/pebblestore"
)

// history is a broker over its lives, with its clients.
type history struct {
	t    *testing.T
	seed uint64
	kind kind
	rand *rand.Rand

	fs      *vfs.MemFS
	w       *world
	st      *store.Store // nil: everything is in memory
	backend *pebblestore.Store
	access  *oftenLate

	upBefore time.Duration // the time that earlier lives took
	age      time.Duration // time that has really passed when this life began
	blind    int           // the last life that could not know when it began
	wall     time.Time     // what the clock on the wall showed then
	ntp      time.Duration // what it is wrong by since a start
	step     int           // of all lives
	life     int
	since    int // step at which this life began

	clients []*actor
	lines   []*simLine
	sent    []*sending // all publications
	largest int        // of the packets that were published, in bytes
	trace   []string

	lack     lack
	budget   budget
	durable  []string // filters of which a client with a lasting session may have had a subscription
	earlier  counts   // of earlier lives
	refusals uint64   // that clients were told of
	closures uint64   // of connections, to get memory back
}

// runHistory runs one history. A panic of the broker is a finding like any other.
func runHistory(t *testing.T, seed uint64, k kind) {
	t.Helper()
	h := newHistory(t, seed, k)
	defer func() {
		if p := recover(); p != nil {
			h.fail("PANIC: %v\n%s", p, debug.Stack())
		}
	}()
	h.run()
}

func newHistory(t *testing.T, seed uint64, k kind) *history {
	h := &history{
		t: t, seed: seed, kind: k, rand: rand.New(rand.NewPCG(seed, 1)), fs: vfs.NewCrashableMem(),
		wall: time.Unix(1_800_000_000, 0),
	}
	for i := range k.clients {
		h.clients = append(h.clients, newActor(h, i))
	}
	return h
}

// now is the time that has passed since the history began, whatever clocks show.
func (h *history) now() time.Duration { return h.age + h.w.now }

func (h *history) log(format string, args ...any) {
	h.trace = append(h.trace, fmt.Sprintf("%d ", h.step)+fmt.Sprintf(format, args...))
}

func (h *history) fail(format string, args ...any) {
	h.t.Helper()
	trace := h.trace[max(0, len(h.trace)-3000):]
	h.t.Fatalf("%s\nMIDGE_SEED=%d (%v) step %d: %s", strings.Join(trace, "\n"), h.seed, h.kind, h.step, fmt.Sprintf(format, args...))
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

// oftenLate is an Authenticator that answers some late.
type oftenLate struct {
	lateAuthenticator
	late  func() bool
	mount string
}

// Connect implements Authenticator.
func (a *oftenLate) Connect(r Request, done func(Verdict)) {
	if !a.late() {
		done(Verdict{MountPoint: a.mount})
		return
	}
	a.lateAuthenticator.Connect(r, done)
}

// first answers the one that waits longest.
func (a *oftenLate) first() {
	if len(a.asked) > 0 {
		done := a.asked[0]
		a.asked = a.asked[1:]
		done(Verdict{MountPoint: a.mount})
	}
}

// begin starts the broker on what the disk has.
func (h *history) begin() {
	h.life++
	h.since = h.step
	h.access = &oftenLate{late: func() bool { return h.kind.late && h.rand.IntN(2) == 0 }, mount: h.kind.mount}
	shards := 1 + h.rand.IntN(4)
	cfg := quietly(shards)
	cfg.Logger, cfg.Authenticator = slog.New(h), h.access
	cfg.Session.Inflight = 1 + h.rand.IntN(4)
	cfg.Limits.PendingBytes, cfg.Limits.ConnectTimeout = settings.Size(h.kind.pending), time.Hour
	if h.kind.few {
		cfg.Limits.Connections = h.kind.clients
	}
	if h.kind.retained > 0 {
		cfg.Limits.RetainedMessages = h.kind.retained
	}
	if h.kind.mount != "" {
		cfg.Listeners = map[int]settings.ListenerLimits{0: {Limits: cfg.Limits, Mounts: true}}
	}
	if h.kind.durable {
		backend, _, err := pebblestore.Open("data", pebblestore.Options{FS: h.fs, MemTableBytes: 256 << 10})
		if err != nil {
			h.fail("open: %v", err)
		}
		h.backend = backend
		h.w, h.st = storedWorld(h.t, backend, cfg, store.Config{Clock: h.clock}, dawn, false)
	} else {
		h.w = &world{t: h.t, b: New(cfg.Config, cfg.Core), now: dawn, posts: make(chan func(), 1024), sips: map[int]bool{}}
	}
	damaged, err := h.w.b.Load(dawn)
	if err != nil || len(damaged) > 0 {
		h.fail("load: %v, damaged %v", err, damaged)
	}
	h.w.b.Start(h.w)
	h.lack.of, h.lack.ended = nil, h.step
	h.budget = budget{most: int64(h.kind.memory), short: h.budget.short, shortUp: h.budget.shortUp}
	h.log("life %d with %d shards, the wall says %v", h.life, shards, h.wall.UTC())
}

// dawn is what the engine's clock shows when a broker starts: 0 is no time.
const dawn = time.Millisecond

// clock is a store.Clock.
func (h *history) clock() store.Reading {
	if h.w == nil { // a start
		return store.Reading{Engine: dawn, Wall: h.wall}
	}
	return store.Reading{Engine: h.w.now, Wall: h.wall.Add(h.w.now)}
}

// cut ends the life: what was not synced is lost at random.
func (h *history) cut() {
	h.log("CUT")
	h.earlier = h.counts()
	h.loseMemory()
	if h.rand.IntN(2) == 0 { // a commit is complete, and nobody has heard of it
		h.st.Step()
	}
	// Pebble works in the background: how often this rolls the dice is not for the seed to say.
	luck := rand.New(rand.NewPCG(h.rand.Uint64(), 2))
	clone := h.fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: h.rand.IntN(101), RNG: luck})
	if err := h.backend.Close(); err != nil {
		h.fail("close: %v", err)
	}
	h.fs = clone
	for _, a := range h.clients {
		if a.line != nil && h.rand.IntN(2) == 0 {
			a.read() // was in the kernel already
		}
		a.crashed()
	}
	h.lines = nil
	off := time.Duration(h.rand.IntN(3)) * time.Second
	h.age, h.wall, h.upBefore = h.now()+off, h.wall.Add(h.w.now+off), h.up()
	h.w.now = dawn
	if does("clock steps") && h.rand.IntN(4) == 0 { // a board without a clock
		h.ntp = h.ntp + h.wall.Sub(time.Unix(1000, 0))
		h.wall = time.Unix(1000, 0)
	}
	if h.wall.Year() < 2026 {
		h.blind = h.life + 1
	}
}

// stepClock sets the clock on the wall, to what is right if it is not.
func (h *history) stepClock() {
	by := h.ntp
	if h.ntp = 0; by == 0 {
		by = time.Duration(h.rand.Int64N(int64(2*time.Hour))) << h.rand.IntN(14) // up to two years
		if h.rand.IntN(2) == 0 {
			by = -by
		}
	}
	h.wall = h.wall.Add(by)
	h.log("the clock on the wall steps by %v", by)
	h.pass(2 * time.Second)
	h.settle()
	h.write()
}

// write puts something on disk.
func (h *history) write() {
	h.w.b.shards[0].disk.turn().Urgent = true
	h.w.b.shards[0].disk.submit(h.w.b.shards[0].outgoing)
	h.st.Step()
}

// run runs the lives.
func (h *history) run() {
	h.begin()
	for life := range h.kind.lives {
		if life > 0 {
			h.cut()
			h.begin()
		}
		for range h.kind.steps/5 + h.rand.IntN(h.kind.steps*4/5) {
			h.step++
			h.runShort()
			h.act()
			h.bounds()
		}
	}
	h.drain()
	if h.backend != nil {
		if err := h.backend.Close(); err != nil {
			h.fail("close: %v", err)
		}
	}
}

// act does one small thing.
func (h *history) act() {
	switch h.rand.IntN(13) {
	case 0, 1, 2:
		h.turn(h.w.b.shards[h.rand.IntN(len(h.w.b.shards))])
	case 3:
		h.commit()
	case 4:
		h.reads()
		h.post()
	case 5, 6:
		h.network()
	case 7:
		h.pass(time.Duration(h.rand.IntN(300)) * time.Millisecond)
		if h.rand.IntN(40) == 0 {
			for range 6 { // nothing is on its way for so long
				for _, l := range h.lines {
					l.flush()
				}
				h.network()
				h.turns()
			}
			h.network()
			h.pass(time.Duration(h.rand.IntN(40)) * time.Second)
		}
	case 8:
		h.access.first()
		h.post()
		switch n := h.rand.IntN(40); {
		case n < 2:
			h.settle()
		case n == 2 && h.kind.durable && does("clock steps") && !h.stalled():
			h.stepClock()
		}
	default:
		h.clients[h.rand.IntN(len(h.clients))].act()
	}
}

// pass lets time pass. No turn lasts so long, so that shards read the clock again.
func (h *history) pass(d time.Duration) {
	h.w.now += d
	h.checkGroups() // sessions may have ended
	for _, s := range h.w.b.shards {
		s.fresh = false
	}
}

func (h *history) commit() {
	if h.st != nil && !h.stalled() {
		h.st.Step()
	}
}

func (h *history) reads() {
	if h.st != nil && !h.lack.files() {
		h.st.StepReads()
	}
}

// post runs what is posted, in the order of time.
func (h *history) post() {
	for len(h.w.posts) > 0 {
		h.markBehind()
		(<-h.w.posts)()
		h.moves()
	}
}

// moves moves the connections that a call which was posted gave to other shards.
func (h *history) moves() {
	for _, l := range h.lines {
		l.peer.move()
	}
}

// network moves bytes in all directions.
func (h *history) network() {
	open := h.lines[:0]
	for _, l := range h.lines {
		l.move()
		if !l.told || len(l.out) > 0 && l == l.of.line {
			open = append(open, l)
		}
	}
	h.lines = open
	h.w.exhausted()
	for _, a := range h.clients {
		a.read()
	}
}

// turn gives a shard its turn, at whose end the network takes nothing.
func (h *history) turn(s *shard) {
	s.Turn(h.w.now)
	for _, l := range h.lines {
		if l.shard == s.index && len(l.pending) > 0 {
			l.blocked, l.held = true, 0
		}
	}
}

func (h *history) turns() {
	for _, s := range h.w.b.shards {
		h.turn(s)
	}
}

// settle lets everything that is under way come to rest, in memory and on disk,
// and compares what clients have that are connected.
func (h *history) settle() {
	h.rest()
	h.pass(200 * time.Millisecond) // for timers that are due
	h.rest()
	if h.st != nil && !h.stalled() {
		h.st.Sync()
		for _, a := range h.clients {
			a.settled()
		}
	}
	h.log("settled")
	h.compare(func(a *actor) bool { return a.joined && !a.slow && !(a.lasting && h.behindDisk()) })
}

// rest goes on until nothing moves any more. Slow readers that the broker looks at
// in a moment (see firstLook) get that moment.
func (h *history) rest() {
	h.goOn()
	for looks := 0; h.looksSoon(); looks++ {
		if looks > 10_000 {
			h.fail("no end of looks at slow readers")
		}
		h.pass(firstLook)
		h.goOn()
	}
}

// looksSoon reports whether there is a slow reader that has taken all: for who has done
// so before Drained could be due, the broker looks a little later.
func (h *history) looksSoon() bool {
	return slices.ContainsFunc(h.lines, func(l *simLine) bool {
		c, _ := l.state.(*conn)
		return c != nil && !l.closed && c.client != nil && c.pace != inTime && l.Pending() == 0
	})
}

// goOn goes on until nothing moves without time. Windows are small: it takes as many
// rounds as something still moves.
func (h *history) goOn() {
	for quiet, rounds := 0, 0; quiet < 10; quiet, rounds = quiet+1, rounds+1 {
		if rounds > 100_000 {
			h.fail("no end of packets")
		}
		h.step++
		before := len(h.trace)
		if h.budget.most > 0 {
			h.measure()
		}
		for len(h.access.asked) > 0 {
			h.access.first()
		}
		h.post()
		for _, l := range h.lines {
			l.flush()
		}
		h.turns()
		h.commit()
		h.reads()
		h.post()
		h.network()
		h.bounds()
		for _, a := range h.clients {
			a.answer(len(a.answers))
		}
		if len(h.trace) != before {
			quiet = 0
		}
	}
}

// drain lets everything come to an end, and compares.
func (h *history) drain() {
	h.log("drain")
	h.enough()
	for round := range 5 {
		for _, a := range h.clients {
			if a.line != nil && a.waitsInVain() {
				a.hangUp()
			}
			if a.line == nil {
				a.connect(false)
			}
		}
		for _, l := range h.lines {
			l.rate = 0
		}
		h.rest()
		for _, a := range h.clients {
			a.slow = false
		}
		if round < 4 {
			h.pass(maxWait) // so that everybody gets his turn to take over
		}
	}
	h.compare(func(*actor) bool { return true })
	h.compareRest()
}

// simLine is a network connection in the world of the test. Bytes of the client
// are under way for a while, and arrive in pieces.
type simLine struct {
	*peer
	h        *history
	of       *actor
	way      []byte
	welcomed bool          // CONNACK has come
	hanging  bool          // what is under way is lost, and then the connection
	slow     bool          // its client reads slowly at first
	accepted bool          // the broker knows of it
	over     bool          // there were more connections than may be
	behind   bool          // more was held for it than for a client that keeps up
	open     time.Duration // the last time at which it was, see history.now
}

func (h *history) dial(a *actor, rate int) *simLine {
	p := &peer{
		w: h.w, version: packet.Version(a.v), moveTo: -1, shard: h.rand.IntN(len(h.w.b.shards)),
		rate: rate, read: h.w.now, holds: true,
	}
	l := &simLine{peer: p, h: h, of: a, slow: rate > 0}
	h.lines = append(h.lines, l)
	if !h.lack.files() {
		l.accept()
	}
	return l
}

func (l *simLine) accept() {
	n := 0
	for _, other := range l.h.lines {
		if other.accepted && !other.told {
			n++
		}
	}
	l.accepted = true
	l.h.w.b.shards[l.shard].Open(l.peer)
	if l.over = connOf(l.peer).passage != entered; l.over && n < l.h.kind.clients {
		l.h.fail("REFUSED: a connection of %s, although there are only %d others", l.of.id, n)
	}
}

func (l *simLine) send(b []byte) {
	l.way = append(l.way, b...)
	if l.h.rand.IntN(3) == 0 {
		l.arrive(len(l.way))
	}
}

// arrive gives the broker the first n bytes that are under way.
func (l *simLine) arrive(n int) {
	if n == 0 || l.closed || !l.accepted {
		return
	}
	l.in = append(l.in, l.way[:n]...)
	l.way = append([]byte(nil), l.way[n:]...)
	if !l.paused {
		l.offer()
	}
}

// move lets some bytes arrive, and what the broker has sent leave.
func (l *simLine) move() {
	if !l.accepted {
		if l.h.lack.files() {
			return
		}
		l.accept()
	}
	if n := len(l.way); n > 0 && !l.hanging {
		if l.h.rand.IntN(2) == 0 {
			n = 1 + l.h.rand.IntN(n)
		}
		l.arrive(n)
	}
	if len(l.in) > 0 && !l.paused && !l.closed {
		l.offer()
	}
	l.write()
	if l.hanging {
		l.closed = true
	}
	if l.closed && !l.told && l.held == 0 {
		l.told = true
		l.h.w.b.shards[l.shard].Closed(l.peer, nil)
	}
}

// flush lets everything arrive that is under way, if the broker takes it.
// It reports whether it did.
func (l *simLine) flush() bool {
	l.arrive(len(l.way))
	return len(l.way) == 0 && len(l.in) == 0
}

func (l *simLine) hang() { l.hanging = true }
